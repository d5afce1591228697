"""Flags that several modules of the command line share."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from zerodce_jax.cli.messages import note
from zerodce_jax.config import SMOOTHING_SECONDS, Denoise, Exposure, SettingOverrides

if TYPE_CHECKING:
    from zerodce_jax.enhancer import EngineName
    from zerodce_jax.media.video import Encoding

Engine = Literal["auto", "xla", "onnx"]
ResultFormat = Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif"]


@dataclass(frozen=True)
class SettingFlags:
    """How to enhance. The network decides each setting that is not given."""

    exposure: Annotated[Exposure | None, arg(metavar="auto|off|LEVEL")] = None
    """Mean brightness, 0 to 1, to which a darker image is brought by a strength of its own. auto is
    the network's own choice for scene networks, and 0.4 for others; off gives all images the same
    strength."""
    strength: Annotated[float | None, arg(metavar="X")] = None
    """Strength of the enhancement, 0 to 2: 0 changes nothing, 1 is what the network or the exposure
    chooses."""
    gamma: Annotated[float | None, arg(metavar="X")] = None
    """Exponent applied after the curves, against over-exposure; 1 is off."""
    protect_highlights: Annotated[float | None, arg(metavar="X")] = None
    """Strength of the highlight protection, 0 to 1; it keeps bright areas from becoming too
    bright."""
    denoise: Annotated[Denoise | None, arg(metavar="auto|X")] = None
    """Denoising strength where the curve amplifies noise, 0 to 1; auto measures the noise of each
    image."""

    def overrides(self) -> SettingOverrides:
        """Return the settings that were given."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return SettingOverrides(**given)


@dataclass(frozen=True)
class VideoFlags:
    """Flags for videos."""

    codec: Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"] | None = None
    """Codec. By default the codec of the video if it is in this list, h264 otherwise."""
    quality: Annotated[float | None, arg(metavar="CRF")] = None
    """Constant rate factor of the codec; a lower value means better quality and a larger file. By
    default 18 for h264, 20 for hevc, 25 for av1, 24 for vp9."""
    pixel_format: Annotated[str | None, arg(metavar="NAME")] = None
    """FFmpeg's name of the pixel format, such as yuv420p10le. By default the format of the
    video."""
    smoothing: Annotated[float, arg(metavar="SECONDS")] = SMOOTHING_SECONDS
    """Time constant of the exposure smoothing, in seconds, which prevents flicker; 0 enhances each
    frame independently."""
    raw: Annotated[str | None, arg(metavar="WxH@FPS")] = None
    """Enhance raw frames from - to -, such as 1920x1080@25; --pixel-format is rgb24 (the default)
    or rgb48le."""

    def encoding(self) -> "Encoding":
        """Return how to encode; raise UsageError if flags conflict."""
        from zerodce_jax.media.video import Encoding

        return Encoding(self.codec, self.quality, None if self.raw else self.pixel_format)


@dataclass(frozen=True)
class FileFlags:
    """Flags for files."""

    suffix: str = ""
    """Text between the name of a result and its extension."""
    jobs: int = min(8, os.cpu_count() or 1)
    """Number of threads that decode and encode, and of photographs that are read ahead and written
    behind."""
    shard: Annotated[str, arg(metavar="I/N")] = "1/1"
    """Process only the I-th of N shares, from 1/N to N/N, for job arrays."""
    dry_run: Annotated[bool, FlagCreatePairsOff] = False
    """Print what would be done, and do nothing."""
    fail_fast: Annotated[bool, FlagCreatePairsOff] = False
    """Stop at the first file that fails."""
    report: Annotated[Path | None, arg(metavar="FILE")] = None
    """File to write, .json or .csv, with the outcome of each file."""


def prepare_engine(engine: "EngineName") -> "EngineName":
    """Return the engine that a name stands for, and turn its cache of compiled programs on.

    Raises:
        UsageError: The engine is not installed.
    """
    from zerodce_jax.enhancer import choose_engine

    chosen = choose_engine(engine)
    if chosen == "xla":
        from zerodce_jax.engines.xla import use_compilation_cache

        if problem := use_compilation_cache():
            note(problem)
    return chosen
