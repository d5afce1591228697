"""Enhancer: images in, images out, whatever their size and kind."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, get_args

import numpy as np

from zerodce_jax.config import SMOOTHING_SECONDS, Dtype, EnhanceSettings, SettingOverrides
from zerodce_jax.engines.base import Engine
from zerodce_jax.engines.batches import Batches, Job
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import serialization
from zerodce_jax.models.serialization import Network
from zerodce_jax.ops.temporal import Smoothing, check_seconds

if TYPE_CHECKING:
    from PIL.Image import Image

    from zerodce_jax.media.photo import Photo

    # What comes in is what comes out.
    ImageT = TypeVar("ImageT", np.ndarray, Image)
else:
    # Pillow is imported only where an image of its own comes in.
    ImageT = TypeVar("ImageT")

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")

EngineName = Literal["auto", "xla", "onnx"]


def choose_engine(name: EngineName) -> Literal["xla", "onnx"]:
    """The engine that a name stands for here.

    Raises:
        UsageError: There is no such engine, or it is not installed.
    """
    if name not in get_args(EngineName):
        raise UsageError(f"no engine {name!r}; there are {', '.join(get_args(EngineName))}")
    installed = find_spec("onnxruntime") is not None and find_spec("onnx") is not None
    if name == "onnx" and not installed:
        raise UsageError("the engine onnx needs packages: pip install 'zerodce-jax[onnx]'")
    if name == "auto":
        # JAX finds accelerators through plugins; asking it itself would take a second.
        accelerator = any(find_spec(name) is not None for name in ("jax_plugins", "libtpu"))
        return "onnx" if installed and not accelerator else "xla"
    return name


class Enhancer:
    """Enhances images with one network.

    Images are NumPy arrays, (height, width, 3) or gray (height, width), of 8 or 16 unsigned bits
    or floats in [0, 1] (what lies outside is clipped), or Pillow images; the result is of the same
    kind, size and type. A gray image stays gray; the alpha of a Pillow image is left as it is.

    Args:
        network: The network, as `serialization.load` reads it.
        tile: Side of the tiles that images are cut into, in pixels; None suits the device.
        batch: Tiles computed together; None suits the device.
        dtype: What the convolutions compute in, ``float32`` or ``bfloat16`` (``xla`` alone).
        engine: What computes: ``xla`` (JAX), ``onnx`` (ONNX Runtime, on CPUs, the extra ``onnx``),
            or ``auto``, the fastest that is installed for the device. They agree to one level of
            8 bits.

    Raises:
        UsageError: The engine is not installed, or cannot do what is asked for.
    """

    def __init__(
        self,
        network: Network,
        *,
        engine: EngineName = "auto",
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        self.network = network
        plain = batch is None and dtype == "float32"
        self._engine: Engine
        if choose_engine(engine if plain or engine != "auto" else "xla") == "onnx":
            if not plain:
                raise UsageError("the engine onnx knows neither batches nor bfloat16")
            from zerodce_jax.engines.onnx_runtime import OnnxEngine

            self._engine = OnnxEngine(network, tile=tile)
        else:
            from zerodce_jax.engines.xla import XlaEngine

            self._engine = XlaEngine(network, tile=tile, batch=batch, dtype=dtype)

    @classmethod
    def load(
        cls,
        source: str | Path = "reduced",
        *,
        preset: str | None = None,
        engine: EngineName = "auto",
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> Self:
        """Read a network and make an enhancer of it.

        Args:
            source: A shipped name, an Orbax folder, a file, or ``hf://OWNER/NAME`` (hub), as for
                `serialization.load`, which says what can go wrong.
            preset: The architecture of a file that does not say it.
            engine: As for the class.
            tile: As for the class.
            batch: As for the class.
            dtype: As for the class.
        """
        network = serialization.load(source, preset=preset)
        return cls(network, engine=engine, tile=tile, batch=batch, dtype=dtype)

    def __call__(
        self,
        image: ImageT,
        settings: EnhanceSettings | None = None,
        **overrides: Unpack[SettingOverrides],
    ) -> ImageT:
        """Enhance one image; see `many`."""
        (result,) = self.many([image], settings, **overrides)
        return result

    def many(
        self,
        images: Iterable[ImageT],
        settings: EnhanceSettings | None = None,
        **overrides: Unpack[SettingOverrides],
    ) -> Iterator[ImageT]:
        """Enhance images as they come; tiles of several images share a batch.

        Args:
            images: Images of any sizes and kinds. They are read one after another, small ones a few
                ahead of the results, and not kept.
            settings: How to enhance; None takes the network's own settings.
            **overrides: Single settings to replace, by name, such as ``exposure=0.5``;
                `EnhanceSettings` describes them.

        Returns:
            An iterator over the enhanced images, in the order of the images.

        Raises:
            InputError: An image is empty or of a kind that cannot be handled; it comes after the
                results of those before it.
            UsageError: A setting is out of range.
        """
        # Checked here and now, not at the first image.
        settings = (settings or self.network.settings).changed(**overrides)
        return self._stream(((0.0, image) for image in images), settings, None)

    def clip(
        self,
        frames: Iterable[tuple[float, ImageT]],
        settings: EnhanceSettings | None = None,
        *,
        smoothing: float = SMOOTHING_SECONDS,
        **overrides: Unpack[SettingOverrides],
    ) -> Iterator[ImageT]:
        """Enhance the frames of a video without flicker.

        As `many`, but what is decided on each frame is smoothed over the frames before it, up to
        the last cut (`ops.temporal`): exposure and highlight protection with every network, curve
        maps with those that estimate them at a reduced size (``fast``).

        Args:
            frames: Times in seconds, not falling, and images.
            settings: As for `many`.
            smoothing: Time constant in seconds; 0 enhances each frame independently.
            **overrides: As for `many`.

        Returns:
            An iterator over the enhanced images, in order.

        Raises:
            InputError: As for `many`.
            UsageError: A setting is out of range.
        """
        check_seconds(smoothing)
        settings = (settings or self.network.settings).changed(**overrides)
        smoother = Smoothing(smoothing, maps=self.network.config.two_passes) if smoothing else None
        return self._stream(frames, settings, smoother)

    def _stream(
        self,
        images: Iterable[tuple[float, ImageT]],
        settings: EnhanceSettings,
        smoothing: Smoothing | None,
    ) -> Iterator[ImageT]:
        waiting: deque[tuple[Job, Callable[[np.ndarray], Any]]] = deque()
        failure = None
        with ThreadPoolExecutor(self._engine.workers) as pool:
            batches = Batches(self._engine, self.network.config, settings, pool, smoothing)
            for time, image in images:
                try:
                    job, close = _open(image)
                except InputError as error:
                    failure = error
                    break
                job.time = time
                waiting.append((job, close))
                batches.add(job)
                while waiting and not waiting[0][0].missing:
                    yield _finished(*waiting.popleft())
            batches.finish()
        for job, close in waiting:
            yield _finished(job, close)
        if failure is not None:
            raise failure


def _open(image: Any) -> tuple[Job, Callable[[np.ndarray], Any]]:
    """Take an image of any kind apart, and tell how to put its enhanced pixels together again."""
    if isinstance(image, np.ndarray):
        pixels = image
        close = partial(_close_array, image.dtype)
    else:
        from zerodce_jax.media import photo

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
    return Job(pixels, gray, enhanced, pixels.shape[0] * pixels.shape[1]), close


def _finished(job: Job, close: Callable[[np.ndarray], Any]) -> Any:
    return close(job.enhanced[:, :, 0] if job.gray else job.enhanced)


def _close_array(dtype: np.dtype, enhanced: np.ndarray) -> np.ndarray:
    return enhanced.astype(dtype, copy=False)


def _close_pil(opened: "Photo", enhanced: np.ndarray) -> "Image":
    from zerodce_jax.media import photo

    return photo.to_pil(replace(opened, pixels=enhanced))
