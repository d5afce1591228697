"""``zerodce enhance``, and ``enhance.py``: the flags, their checks, and files or pipes."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli import files, pipes
from zerodce_jax.cli.options import Engine, ResultFormat, SettingFlags, prepare_engine
from zerodce_jax.cli.progress import say
from zerodce_jax.config import SMOOTHING_SECONDS, EnhanceSettings
from zerodce_jax.errors import UsageError
from zerodce_jax.media.limits import MAX_PIXELS

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer


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


def enhance(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str | None, arg(aliases=["-m"])] = None,
    settings: OmitArgPrefixes[SettingFlags] = SettingFlags(),  # noqa: B008 (frozen)
    video: OmitArgPrefixes[VideoFlags] = VideoFlags(),
    engine: Engine = "auto",
    tile: int | None = None,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    suffix: str = "",
    format: ResultFormat = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    jobs: int = min(8, os.cpu_count() or 1),
    shard: Annotated[str, arg(metavar="I/N")] = "1/1",
    dry_run: Annotated[bool, FlagCreatePairsOff] = False,
    fail_fast: Annotated[bool, FlagCreatePairsOff] = False,
    report: Annotated[Path | None, arg(metavar="FILE.json")] = None,
    max_pixels: int = MAX_PIXELS,
) -> int:
    """Light up photographs and videos.

    Args:
        inputs: Photographs, videos, folders (their structure is kept) or glob patterns; - reads one
            photograph, or raw frames, from standard input.
        output: Folder for the results. For one input it may be a file, or - for standard output.
        model: Network: reduced or fast, a training folder (DIR or DIR@STEP), a .safetensors file or
            a .pth file. By default reduced for photographs and fast for videos.
        settings: How to enhance.
        video: Flags for videos.
        engine: Engine that computes: JAX (xla), ONNX Runtime (onnx, an extra), or the fastest that
            is installed (auto).
        tile: Side of the tiles that images are cut into, in pixels; small tiles need less memory.
        overwrite: Replace results that exist, instead of skipping them.
        suffix: Text between the name of a result and its extension.
        format: Format of photographs.
        strip: Leave out EXIF, XMP, texts and resolution; the colour profile stays.
        jobs: Number of threads that decode and encode, and of photographs that are read ahead and
            written behind.
        shard: Process only the I-th of N shares, from 1/N to N/N, for job arrays.
        dry_run: Print what would be done, and do nothing.
        fail_fast: Stop at the first file that fails.
        report: JSON file to write, with the outcome of each file.
        max_pixels: Number of pixels of the largest image that is decoded.
    """
    from zerodce_jax.jobs import plan
    from zerodce_jax.media import pillow
    from zerodce_jax.media.video import Encoding
    from zerodce_jax.models import serialization
    from zerodce_jax.ops import temporal

    pillow.quiet_decoders()
    # Invalid values are refused before any network is loaded.
    EnhanceSettings().changed(**settings.overrides())
    temporal.check_seconds(video.smoothing)
    encoding = Encoding(video.codec, video.quality, None if video.raw else video.pixel_format)
    if not inputs:
        raise UsageError("enhance: name photographs, videos or folders to enhance")
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"{report}: the folder does not exist")
    if max_pixels < 1 or jobs < 1:
        raise UsageError("--max-pixels and --jobs must be whole numbers >= 1")

    @functools.cache
    def load(name: str) -> "tuple[Enhancer, EnhanceSettings]":
        network = serialization.load(name)
        for note in network.notes:
            say(f"note: {note}")
        from zerodce_jax.enhancer import Enhancer

        enhancer = Enhancer(network, engine=prepare_engine(engine), tile=tile)
        return enhancer, network.settings.changed(**settings.overrides())

    if "-" in inputs or str(output) == "-" or video.raw is not None:
        if suffix or shard != "1/1" or report is not None or dry_run:
            raise UsageError("--suffix, --shard, --report and --dry-run are for files, not for -")
        if video.raw is not None:
            form = pipes.raw_format(video.raw, video.pixel_format)
            if inputs != ("-",) or str(output) != "-":
                raise UsageError("--raw goes from - to -: zerodce enhance - -o - --raw WxH@FPS")
            pipes.pipe_frames(form, *load(model or "fast"), video.smoothing)
            return 0
        pipes.check_pipe(inputs, output, overwrite=overwrite)
        losses = pipes.pipe_photograph(
            inputs[0], output, *load(model or "reduced"), format, strip, max_pixels
        )
        for line in losses:
            say(f"note: {line}")
        return 0

    items = plan.plan(inputs, output, suffix=suffix, format=format)
    items = plan.share(items, output, shard)
    if dry_run:
        return files.print_plan(items, overwrite=overwrite)
    return files.enhance_files(
        items,
        load,
        model,
        smoothing=video.smoothing,
        encoding=encoding,
        jobs=jobs,
        strip=strip,
        max_pixels=max_pixels,
        overwrite=overwrite,
        fail_fast=fail_fast,
        report=report,
    )
