"""Flags that several modules of the command line share.

A terminal of 80 columns leaves 58 for the help of a flag, which keeps the line breaks of these
texts. So they are 58 columns wide, in all modules of the command line.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from zerodce_jax.cli.messages import note
from zerodce_jax.config import SMOOTHING_SECONDS, EnhanceSettings, SettingOverrides
from zerodce_jax.errors import UsageError

if TYPE_CHECKING:
    from zerodce_jax.cli.progress import Progress
    from zerodce_jax.enhancer import EngineName, Enhancer
    from zerodce_jax.jobs.runner import ByKind
    from zerodce_jax.media.video import Encoding

Engine = Annotated[Literal["auto", "xla", "onnx"], arg(metavar="NAME")]
_OWN = "the network's own"
ResultFormat = Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif", "jxl", "jp2"]


def unless(metavar: str, default: str) -> Any:
    """Describe a flag that has no value by default, and what then happens instead."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class SettingFlags:
    """How to enhance. The network decides each setting that is not given."""

    exposure: Annotated[str | None, unless("auto|off|LEVEL", _OWN)] = None
    """Mean brightness, 0 to 1, to which a darker image is
    brought by a strength of its own. auto is the network's
    own choice for scene networks, and 0.4 for others; off
    gives all images the same strength."""
    strength: Annotated[float | None, unless("X", _OWN)] = None
    """Strength of the enhancement, 0 to 2: 0 changes nothing, 1
    is what the network or the exposure chooses."""
    gamma: Annotated[float | None, unless("X", _OWN)] = None
    """Exponent applied after the curves, against over-exposure;
    1 is off."""
    protect_highlights: Annotated[float | None, unless("X", _OWN)] = None
    """Strength of the highlight protection, 0 to 1; it keeps
    bright areas from becoming too bright."""
    denoise: Annotated[str | None, unless("auto|X", _OWN)] = None
    """Denoising strength where the curve amplifies noise, 0 to
    1; auto measures the noise of each image."""

    def overrides(self) -> SettingOverrides:
        """Return the settings that were given; raise UsageError for a word that has no meaning."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        for name, words in (("exposure", ["auto", "off"]), ("denoise", ["auto"])):
            if (value := given.get(name, "auto")) not in words:
                try:
                    given[name] = float(value)
                except ValueError as error:
                    allowed = " or ".join([*words, "a number"])
                    raise UsageError(f"--{name} must be {allowed}, not {value}") from error
        return SettingOverrides(**given)


@dataclass(frozen=True)
class VideoFlags:
    """Flags for videos; --smoothing is for animations too."""

    codec: Annotated[
        Literal["keep", "h264", "hevc", "av1", "vp9", "prores", "ffv1"], arg(metavar="NAME")
    ] = "keep"
    """Codec: h264, hevc, av1, vp9, prores or ffv1; keep takes the
    video's own, or else h264."""
    quality: Annotated[
        float | None, unless("CRF", "18 for h264, 20 for hevc, 25 for av1, 24 for vp9")
    ] = None
    """Constant rate factor of the codec; a lower value means
    better quality and a larger file."""
    pixel_format: Annotated[str | None, unless("NAME", "the video's own")] = None
    """FFmpeg's name of the pixel format, such as yuv420p10le."""
    smoothing: Annotated[float, arg(metavar="SECONDS")] = SMOOTHING_SECONDS
    """Time constant of the exposure smoothing, in seconds, which
    prevents flicker; 0 enhances each frame independently."""

    def given(self) -> bool:
        """Return whether a flag is given that only videos have."""
        return self != type(self)(smoothing=self.smoothing)

    def encoding(self) -> "Encoding":
        """Return how to encode; raise UsageError if flags conflict."""
        from zerodce_jax.media.video import Encoding

        codec = None if self.codec == "keep" else self.codec
        return Encoding(codec, self.quality, self.pixel_format)


@dataclass(frozen=True)
class FrameFlags(VideoFlags):
    """Flags for videos, and for raw frames in a pipe."""

    raw: Annotated[str | None, unless("WxH@FPS", "off")] = None
    """Enhance raw frames from - to -, such as 1920x1080@25;
    --pixel-format is rgb24 (the default) or rgb48le."""


@dataclass(frozen=True)
class FileFlags:
    """Flags for files."""

    suffix: Annotated[str, unless("TEXT", "no text")] = ""
    """Text between the name of a result and its extension."""
    jobs: int = min(8, os.cpu_count() or 1)
    """Number of threads that decode and encode, and of
    photographs that are read ahead and written behind."""
    shard: Annotated[str, arg(metavar="I/N")] = "1/1"
    """Process only the I-th of N shares, from 1/N to N/N, for
    job arrays."""
    dry_run: Annotated[bool, FlagCreatePairsOff] = False
    """Print what would be done, and do nothing."""
    fail_fast: Annotated[bool, FlagCreatePairsOff] = False
    """Stop at the first file that fails."""
    report: Annotated[Path | None, unless("FILE", "no report")] = None
    """File to write, .json or .csv, with the outcome of each
    file."""


def load_enhancer(
    model: str,
    settings: SettingFlags,
    engine: "EngineName",
    *,
    tile: int | None = None,
    key: str | None = None,
) -> "tuple[Enhancer, EnhanceSettings]":
    """Load a network, and return it with its settings, some of which flags replace.

    Raises:
        InputError: The network cannot be loaded, a setting is out of range, or the engine is not
            installed.
    """
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.models import serialization

    # Invalid values are refused before the network is loaded.
    EnhanceSettings().changed(**settings.overrides())
    network = serialization.load_network(model, key=key)
    note(*network.notes)
    enhancer = Enhancer(network, engine=prepare_engine(engine), tile=tile)
    return enhancer, network.settings.changed(**settings.overrides())


def executor(
    enhancer: "Enhancer",
    settings: EnhanceSettings,
    video: VideoFlags,
    progress: "Progress",
    *,
    jobs: int,
    strip: bool,
    max_pixels: int,
    first_frame: bool,
) -> "ByKind":
    """Return what enhances photographs and videos on this machine, and shows its progress."""
    from zerodce_jax.jobs import photos, runner, videos

    common = {"strip": strip, "max_pixels": max_pixels, "smoothing": video.smoothing}
    return runner.ByKind(
        photos.PhotoExecutor(enhancer, settings, jobs=jobs, first_frame=first_frame, **common),
        videos.VideoExecutor(
            enhancer,
            settings,
            encoding=video.encoding(),
            on_frame=progress.on_frame,
            **common,
        ),
    )


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
