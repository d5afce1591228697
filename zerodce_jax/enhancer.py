"""Images in, enhanced images out, of any size and kind."""

import sys
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
from zerodce_jax.errors import InputError, UsageError, require_training
from zerodce_jax.models import serialization
from zerodce_jax.models.network import Network
from zerodce_jax.ops.temporal import Smoothing, check_smoothing

if TYPE_CHECKING:
    import jax
    from PIL.Image import Image

    # The result is of the kind of the image.
    ImageT = TypeVar("ImageT", np.ndarray, jax.Array, Image)
else:
    # JAX and Pillow are imported only where they are needed.
    ImageT = TypeVar("ImageT")

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")

EngineName = Literal["auto", "xla", "onnx"]


def choose_engine(name: EngineName) -> Literal["xla", "onnx"]:
    """Return the engine that a name stands for on this machine.

    Raises:
        UsageError: The name is unknown, or the engine is not installed.
    """
    if name not in get_args(EngineName):
        raise UsageError(f"no engine {name!r}; there are {', '.join(get_args(EngineName))}")
    installed = find_spec("onnxruntime") is not None and find_spec("onnx") is not None
    if name == "auto":
        # JAX finds accelerators through plugins; asking JAX would take a second.
        accelerator = any(find_spec(name) is not None for name in ("jax_plugins", "libtpu"))
        name = "onnx" if installed and not accelerator else "xla"
    if name == "onnx" and not installed:
        raise UsageError("the engine onnx needs the packages onnx and onnxruntime")
    if name == "xla":
        require_training("the engine xla")
    return name


class Enhancer:
    """Enhances images with one network.

    Images are NumPy arrays, JAX arrays or Pillow images; the result is of the same kind, size and
    type. Arrays are (height, width, 3) or gray (height, width), of 8 or 16 unsigned bits or floats
    in [0, 1]; floats beyond that range are clipped. A gray image stays gray, and the alpha channel
    of a Pillow image is kept; Pillow images with a palette become RGB, those of 1 bit become gray.

    Args:
        network: The network, as `load_network` returns it.
        engine: ``xla`` (JAX; the extra ``train``), ``onnx`` (ONNX Runtime, on CPUs), or ``auto``,
            the fastest engine that is installed for the device. Engines agree to one level of 8
            bits.
        tile: Side of the tiles that images are cut into, in pixels; None suits the device.
        batch: Number of tiles that are computed together; None suits the device. ``xla`` only.
        dtype: Type that convolutions compute in, ``float32`` or ``bfloat16``. ``xla`` only for
            ``bfloat16``.

    Raises:
        UsageError: The engine is not installed, or does not support `batch` or `dtype`.
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
        only_xla = batch is not None or dtype != "float32"
        self._engine: Engine
        if choose_engine("xla" if only_xla and engine == "auto" else engine) == "onnx":
            if only_xla:
                raise UsageError("the engine onnx supports neither batches nor bfloat16")
            from zerodce_jax.engines.onnx_runtime import OnnxEngine

            self._engine = OnnxEngine(network, tile=tile)
        else:
            from zerodce_jax.engines.xla import XlaEngine

            self._engine = XlaEngine(network, tile=tile, batch=batch, dtype=dtype)

    @classmethod
    def load(
        cls,
        source: str | Path = "scene",
        *,
        preset: str | None = None,
        key: str | None = None,
        engine: EngineName = "auto",
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> Self:
        """Read a network, and return an enhancer for it.

        Args:
            source: A shipped name, an Orbax folder, a file, or ``hf://OWNER/NAME`` (hub), as for
                `load_network`, which lists the errors too.
            preset: Preset of the architecture, for files that do not state it.
            key: Key of the network in a PyTorch checkpoint that holds several.
            engine: As for the class.
            tile: As for the class.
            batch: As for the class.
            dtype: As for the class.
        """
        network = serialization.load_network(source, preset=preset, key=key)
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
            images: Images of any sizes and kinds. They are read one at a time, small ones slightly
                ahead of the results, and not kept: an array may be reused for the next image.
            settings: How to enhance; None takes the network's own settings.
            **overrides: Single settings to replace, by name, such as ``exposure=0.5``;
                `EnhanceSettings` describes them.

        Returns:
            An iterator over the enhanced images, in the order of the images.

        Raises:
            InputError: An image is empty, of an unsupported kind, or holds NaN; raised after the
                results of the images before it.
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

        As `many`, but the decisions for each frame are smoothed over the frames before it, back to
        the last cut (`ops.temporal`): exposure, highlight protection and denoising strength with
        every network, curve maps with networks that see a reduced image (``scene``).

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
        check_smoothing(smoothing)
        settings = (settings or self.network.settings).changed(**overrides)
        if not smoothing:
            return self._stream(frames, settings, None)
        smoother = Smoothing(smoothing, smooth_maps=self.network.config.two_passes)
        return self._stream(frames, settings, smoother)

    def _stream(
        self,
        images: Iterable[tuple[float, ImageT]],
        settings: EnhanceSettings,
        smoothing: Smoothing | None,
    ) -> Iterator[ImageT]:
        in_work: deque[tuple[Job, Callable[[np.ndarray], Any]]] = deque()
        failure = None
        with ThreadPoolExecutor(self._engine.workers) as pool:
            batches = Batches(self._engine, self.network.config, settings, pool, smoothing)
            for time, image in images:
                try:
                    pixels, restore = _pixels_of(image)
                except InputError as error:
                    failure = error
                    break
                job = _job(pixels, time)
                in_work.append((job, restore))
                batches.add(job)
                while in_work and not in_work[0][0].missing:
                    yield _result(*in_work.popleft())
            batches.finish()
        for job, restore in in_work:
            yield _result(job, restore)
        if failure is not None:
            raise failure


def _pixels_of(image: Any) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """Return the pixels of any kind of image, and a function from enhanced pixels to that kind.

    Raises:
        InputError: The image is empty, of a kind that cannot be handled, or holds NaN.
    """
    restore: Callable[[np.ndarray], Any]
    if isinstance(image, np.ndarray):
        pixels, restore = image, partial(np.asarray, dtype=image.dtype)
    elif (jax := sys.modules.get("jax")) is not None and isinstance(image, jax.Array):
        pixels, restore = np.asarray(image), partial(jax.numpy.asarray, dtype=image.dtype)
    else:
        from zerodce_jax.media import photo

        opened = photo.from_pil(image)
        pixels, restore = opened.pixels, lambda made: photo.to_pil(replace(opened, pixels=made))
    if pixels.dtype.name not in _DTYPES:
        raise InputError(f"images of {pixels.dtype} are not supported; only {', '.join(_DTYPES)}")
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise InputError(
            f"an image must be (height, width, 3) or (height, width), not {pixels.shape}"
        )
    # The minimum of numbers that include NaN is NaN.
    if pixels.dtype.kind == "f" and np.isnan(pixels.min()):
        raise InputError("an image must not hold NaN")
    return pixels, restore


def _job(pixels: np.ndarray, time: float) -> Job:
    if pixels.dtype.kind == "f":
        # Clipped first: float32 cannot hold every value of float64.
        pixels = pixels.clip(0, 1).astype(np.float32)
    else:
        # Devices only know their own byte order.
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.ndim == 2:
        return Job(np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3)), gray=True, time=time)
    return Job(pixels, time=time)


def _result(job: Job, restore: Callable[[np.ndarray], Any]) -> Any:
    return restore(job.enhanced[:, :, 0] if job.gray else job.enhanced)
