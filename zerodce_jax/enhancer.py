"""Enhancer: images in, images out, whatever their size and kind."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from jaxtyping import Array, Float, Shaped

from zerodce_jax import convert, resampling
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.convert import Network
from zerodce_jax.engine import Dtype, XlaEngine
from zerodce_jax.errors import InputError
from zerodce_jax.tiling import Tile, tiles

if TYPE_CHECKING:
    from PIL.Image import Image

    from zerodce_jax.photo import Photo

    # What comes in is what comes out.
    ImageT = TypeVar("ImageT", np.ndarray, Image)
else:
    # Pillow is imported only where an image of its own comes in.
    ImageT = TypeVar("ImageT")

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


class Enhancer:
    """Enhances images with one network.

    Images are NumPy arrays, (height, width, 3) or gray (height, width), of 8 or 16 unsigned bits
    or floats in [0, 1] (what lies outside is clipped), or Pillow images; the result is of the same
    kind, size and type. A gray image stays gray; the alpha of a Pillow image is left as it is.

    Args:
        network: The network, as `convert.load` reads it.
        tile: Side of the tiles that images are cut into, in pixels; None suits the device.
        batch: Tiles computed together; None suits the device.
        dtype: What the convolutions compute in, ``float32`` or ``bfloat16``.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        self.network = network
        self._engine = XlaEngine(network, tile=tile, batch=batch, dtype=dtype)

    @classmethod
    def load(
        cls,
        source: str | Path = "reduced",
        *,
        preset: str | None = None,
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> Self:
        """Read a network and make an enhancer of it.

        Args:
            source: A shipped name, an Orbax folder, a ``.safetensors`` or a ``.pth`` file, as for
                `convert.load`, which says what can go wrong.
            preset: The architecture of a file that does not say it.
            tile: As for the class.
            batch: As for the class.
            dtype: As for the class.
        """
        return cls(convert.load(source, preset=preset), tile=tile, batch=batch, dtype=dtype)

    def __call__(self, image: ImageT, *, gamma: float = 1.15, strength: float = 1.0) -> ImageT:
        """Enhance one image; see `many`."""
        (result,) = self.many([image], gamma=gamma, strength=strength)
        return result

    def many(
        self, images: Iterable[ImageT], *, gamma: float = 1.15, strength: float = 1.0
    ) -> Iterator[ImageT]:
        """Enhance images as they come; tiles of several images share a batch.

        Args:
            images: Of any sizes and kinds, read one after another and not kept.
            gamma: Exponent after the curves, in (0, 10]; 1 is off.
            strength: Factor on the curve maps, in [0, 2]: 0 gives the input back, 1 is the
                network's own choice. Maps are kept within [-1, 1].

        Returns:
            An iterator over the enhanced images, in the order of the images.

        Raises:
            InputError: An image is empty or of a kind that cannot be handled.
            UsageError: `gamma` or `strength` is out of range.
        """
        # Checked here and now, not at the first image.
        settings = EnhanceSettings(gamma=gamma, strength=strength)
        return self._stream(images, settings)

    def _stream(self, images: Iterable[ImageT], settings: EnhanceSettings) -> Iterator[ImageT]:
        batches = _Batches(self._engine, settings, scale=self.network.config.scale)
        waiting: deque[_Job] = deque()
        for image in images:
            job = _Job.open(image)
            if self.network.config.scale > 1:
                job.maps = self._reduced_maps(job.pixels)
            waiting.append(job)
            for tile in tiles(*job.pixels.shape[:2], size=self._engine.tile, halo=batches.halo):
                batches.add(job, tile)
            while waiting and not waiting[0].missing:
                yield waiting.popleft().result()
        batches.finish()
        for job in waiting:
            yield job.result()

    def _reduced_maps(self, pixels: Shaped[np.ndarray, "h w 3"]) -> Float[np.ndarray, "y x maps"]:
        """Estimate the curve maps of a whole image at the network's scale."""
        scale, engine = self.network.config.scale, self._engine
        reduced = resampling.resample(
            pixels,
            resampling.down_positions(pixels.shape[0], scale),
            resampling.down_positions(pixels.shape[1], scale),
        )
        if pixels.dtype.kind == "u":
            reduced /= np.iinfo(pixels.dtype).max
        maps = np.empty((*reduced.shape[:2], self.network.config.maps), np.float32)
        places = tiles(*reduced.shape[:2], size=engine.tile, halo=engine.halo)
        while some := list(itertools.islice(places, engine.batch)):
            windows = np.zeros((engine.batch, *2 * (some[0].window,), 3), np.float32)
            valid = np.zeros((engine.batch, 4), np.int32)
            for slot, tile in enumerate(some):
                tile.cut(reduced, windows[slot])
                valid[slot] = tile.valid(*reduced.shape[:2])
            for tile, result in zip(
                some, np.asarray(engine.estimate(windows, valid)), strict=False
            ):
                tile.paste(result, maps)
        return maps


@dataclass
class _Job:
    """One image on its way through the engine."""

    pixels: Shaped[np.ndarray, "h w 3"]
    gray: bool
    enhanced: Shaped[np.ndarray, "h w c"]
    """Filled tile by tile; gray images have one channel."""
    missing: int
    """Pixels of `enhanced` still to come."""
    close: Callable[[Shaped[np.ndarray, "h w *rgb"]], Any]
    """Turns the enhanced pixels into the kind of image that came in."""
    maps: Float[np.ndarray, "y x maps"] | None = None
    """Reduced curve maps, for networks that estimate curves at a reduced scale."""

    @classmethod
    def open(cls, image: Any) -> Self:
        if isinstance(image, np.ndarray):
            pixels = image
            close = partial(_close_array, image.dtype)
        else:
            from zerodce_jax import photo

            opened = photo.from_pil(image)
            pixels = opened.pixels
            close = partial(_close_pil, opened)
        gray = pixels.ndim == 2
        if pixels.dtype.name not in _DTYPES:
            raise InputError(f"images of {pixels.dtype} are not handled; only {', '.join(_DTYPES)}")
        if not (gray or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
            raise InputError(
                f"an image must be (height, width, 3) or (height, width), not {pixels.shape}"
            )
        if pixels.dtype.kind == "f":
            # Clipped first: float32 cannot hold all that float64 can.
            pixels = pixels.clip(0, 1).astype(np.float32)
        else:
            # Devices know no other byte order than their own.
            pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        enhanced = np.empty(pixels.shape if not gray else (*pixels.shape, 1), pixels.dtype)
        if gray:
            pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
        return cls(pixels, gray, enhanced, pixels.shape[0] * pixels.shape[1], close)

    def result(self) -> Any:
        return self.close(self.enhanced[:, :, 0] if self.gray else self.enhanced)


def _close_array(dtype: np.dtype, enhanced: np.ndarray) -> np.ndarray:
    return enhanced.astype(dtype, copy=False)


def _close_pil(opened: "Photo", enhanced: np.ndarray) -> "Image":
    from zerodce_jax import photo

    return photo.to_pil(replace(opened, pixels=enhanced))


class _Batches:
    """Collects tiles into batches and keeps the device one batch ahead of the host."""

    def __init__(self, engine: XlaEngine, settings: EnhanceSettings, *, scale: int) -> None:
        self._engine = engine
        self._settings = settings
        self._scale = scale
        self.halo = engine.halo if scale == 1 else 0
        self._slots: list[tuple[_Job, Tile]] = []
        self._running: deque[tuple[Array, list[tuple[_Job, Tile]]]] = deque()

    def add(self, job: _Job, tile: Tile) -> None:
        """Put a tile of an image into the batch, and send the batch off once it is full."""
        if self._slots and self._tiles.dtype != job.pixels.dtype:
            self._send()
        if not self._slots:
            self._new_batch(job, tile.window)
        slot = len(self._slots)
        height, width = job.pixels.shape[:2]
        tile.cut(job.pixels, self._tiles[slot])
        self._gray[slot] = job.gray
        self._valid[slot] = tile.valid(height, width)
        if job.maps is not None:
            self._cut_maps(job.maps, tile, height, width, slot)
        self._slots.append((job, tile))
        if len(self._slots) == self._engine.batch:
            self._send()

    def finish(self) -> None:
        """Send off what is left and wait for everything."""
        if self._slots:
            self._send()
        while self._running:
            self._collect()

    def _new_batch(self, job: _Job, window: int) -> None:
        # Fresh arrays for each batch: the device may still be reading the last ones.
        batch, tile, patch = self._engine.batch, self._engine.tile, self._engine.patch
        self._tiles = np.zeros((batch, window, window, 3), job.pixels.dtype)
        self._valid = np.zeros((batch, 4), np.int32)
        self._gray = np.zeros(batch, bool)
        if job.maps is not None:
            self._maps = np.zeros((batch, patch, patch, job.maps.shape[-1]), np.float32)
            self._rows = np.zeros((batch, tile), np.float32)
            self._columns = np.zeros((batch, tile), np.float32)

    def _cut_maps(self, maps: np.ndarray, tile: Tile, height: int, width: int, slot: int) -> None:
        """Give a tile the samples of the reduced curve maps that surround its pixels."""
        rows = resampling.up_positions(height, maps.shape[0])[tile.top : tile.top + tile.size]
        columns = resampling.up_positions(width, maps.shape[1])[tile.left : tile.left + tile.size]
        y, x = int(rows[0]), int(columns[0])
        some = maps[y : y + self._engine.patch, x : x + self._engine.patch]
        self._maps[slot, : some.shape[0], : some.shape[1]] = some
        self._rows[slot, : len(rows)] = rows - y
        self._columns[slot, : len(columns)] = columns - x

    def _send(self) -> None:
        if self._scale == 1:
            result = self._engine.enhance(self._tiles, self._valid, self._gray, self._settings)
        else:
            result = self._engine.apply(
                self._tiles, self._maps, self._rows, self._columns, self._gray, self._settings
            )
        self._running.append((result, self._slots))
        self._slots = []
        if len(self._running) > 1:
            self._collect()

    def _collect(self) -> None:
        result, slots = self._running.popleft()
        for (job, tile), pixels in zip(slots, np.asarray(result), strict=False):
            tile.paste(pixels[:, :, : job.enhanced.shape[2]], job.enhanced)
            job.missing -= tile.area(*job.enhanced.shape[:2])
