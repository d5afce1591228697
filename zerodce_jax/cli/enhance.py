"""``zerodce enhance``, and ``enhance.py``."""

import functools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli import pipes
from zerodce_jax.cli.enhancing import Settings, make_ready
from zerodce_jax.cli.following import Follower, say
from zerodce_jax.errors import UsageError

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.jobs.plan import Item


@dataclass(frozen=True)
class Video:
    """Flags for videos."""

    codec: Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"] | None = None
    """Codec; the video's own where it is one of these, else h264."""
    quality: Annotated[float | None, arg(metavar="CRF")] = None
    """Constant rate factor of the codec; lower is better and larger: 18 for h264, 20 for hevc, 25
    for av1, 24 for vp9 where it is not given."""
    pixel_format: Annotated[str | None, arg(metavar="NAME")] = None
    """FFmpeg's name of the pixels, such as yuv420p10le; the video's own where it is not given."""
    smoothing: Annotated[float, arg(metavar="SECONDS")] = 0.5
    """Over which light follows the frames, so that it does not flicker; 0 is frame by frame."""
    raw: Annotated[str | None, arg(metavar="WxH@FPS")] = None
    """Raw frames from - to -, such as 1920x1080@25, rgb24 or (--pixel-format) rgb48le."""


def enhance(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str | None, arg(aliases=["-m"])] = None,
    settings: OmitArgPrefixes[Settings] = Settings(),  # noqa: B008 (frozen)
    video: OmitArgPrefixes[Video] = Video(),
    engine: Literal["auto", "xla", "onnx"] = "auto",
    tile: int | None = None,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    suffix: str = "",
    format: Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif"] = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    jobs: int = min(8, os.cpu_count() or 1),
    shard: Annotated[str, arg(metavar="I/N")] = "1/1",
    dry_run: Annotated[bool, FlagCreatePairsOff] = False,
    fail_fast: Annotated[bool, FlagCreatePairsOff] = False,
    report: Annotated[Path | None, arg(metavar="FILE.json")] = None,
    max_pixels: int = 300_000_000,
) -> int:
    """Light up photographs and videos.

    Args:
        inputs: Photographs, videos, folders of them (structure is kept), or glob patterns; - reads
            one photograph, or raw frames, from standard input.
        output: Folder for the results; for one input also a file name, or - for standard output.
        model: Network: reduced or fast, a training folder (DIR or DIR@STEP), a .safetensors or
            a .pth file; where it is not given, reduced for photographs and fast for videos.
        settings: How to enhance.
        video: Videos only.
        engine: What computes: JAX (xla), ONNX Runtime (onnx, an extra), or the fastest there is.
        tile: Side of the tiles that pictures are computed in, in pixels; smaller needs less memory.
        overwrite: Make results anew that exist already, instead of skipping them.
        suffix: Added to the names of the results, before the extension.
        format: Format of photographs.
        strip: Leave out EXIF, XMP, texts and resolution; the colour profile stays.
        jobs: Threads that decode and encode, and pictures that each keeps ahead and behind.
        shard: Do the I-th of N shares only, for job arrays: 1/N to N/N.
        dry_run: Print what would be done, and do nothing.
        fail_fast: Stop at the first picture that fails.
        report: Write what became of each file, as JSON.
        max_pixels: Pixels of the largest picture that is decoded.
    """
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.jobs import photos, plan
    from zerodce_jax.media import pillow
    from zerodce_jax.media.video import Encoding
    from zerodce_jax.models import serialization
    from zerodce_jax.ops import temporal

    pillow.silence_decoders()
    # Wrong values are wrong for every network.
    EnhanceSettings().changed(**settings.given())
    temporal.check_smoothing(video.smoothing)
    encoding = Encoding(video.codec, video.quality, None if video.raw else video.pixel_format)
    if not inputs:
        raise UsageError("enhance: nothing to enhance; name photographs, videos or folders")
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"{report}: there is no such folder")
    if max_pixels < 1 or jobs < 1:
        raise UsageError("--max-pixels and --jobs must be whole numbers >= 1")

    @functools.cache
    def load(name: str) -> "tuple[Enhancer, EnhanceSettings]":
        network = serialization.load_network(name)
        for note in network.notes:
            say(f"note: {note}")
        from zerodce_jax.enhancer import Enhancer

        enhancer = Enhancer(network, engine=make_ready(engine), tile=tile)
        return enhancer, network.settings.changed(**settings.given())

    if "-" in inputs or str(output) == "-" or video.raw is not None:
        if suffix or shard != "1/1" or report is not None or dry_run:
            raise UsageError("--suffix, --shard, --report and --dry-run are for files, not for -")
        if video.raw is not None:
            form = pipes.raw_form(video.raw, video.pixel_format)
            if inputs != ("-",) or str(output) != "-":
                raise UsageError("--raw goes from - to -: zerodce enhance - -o - --raw WxH@FPS")
            pipes.pipe_frames(*load(model or "fast"), video.smoothing, form)
            return 0
        pipes.check_pipe(inputs, output, overwrite=overwrite)
        lost = pipes.pipe_picture(
            inputs[0], output, *load(model or "reduced"), format, strip, max_pixels
        )
        for line in lost:
            say(f"note: {line}")
        return 0
    items = plan.plan(inputs, output, suffix=suffix, format=format)
    items = plan.share(items, output, shard)
    if dry_run:
        return _print_plan(items, overwrite=overwrite)
    pictures = [item for item in items if not item.is_video]
    videos = [item for item in items if item.is_video]
    follower = Follower(fail_fast=fail_fast)
    if pictures or not videos:
        enhancer, chosen = load(model or "reduced")
        results = photos.enhance_all(
            pictures,
            enhancer,
            chosen,
            jobs=jobs,
            overwrite=overwrite,
            fail_fast=fail_fast,
            strip=strip,
            max_pixels=max_pixels,
        )
        follower.pictures(pictures, results)
    if videos:
        from zerodce_jax.jobs.videos import enhance_all

        enhancer, chosen = load(model or "fast")
        results = enhance_all(
            videos,
            enhancer,
            chosen,
            smoothing=video.smoothing,
            encoding=encoding,
            overwrite=overwrite,
            fail_fast=fail_fast,
            strip=strip,
            max_pixels=max_pixels,
            on_frame=follower.frame,
        )
        follower.videos(videos, results)
    return follower.end(report)


def _print_plan(items: "list[Item]", *, overwrite: bool) -> int:
    from zerodce_jax.errors import one_line
    from zerodce_jax.jobs import plan

    counts = Counter()
    for item in items:
        if item.problem:
            counts["problems"] += 1
            say(item.problem)
        elif plan.is_done(item) and not overwrite:
            counts["done"] += 1
            print(f"{one_line(item.target)} exists")
        else:
            print(f"{one_line(item.source)} -> {one_line(item.target)}")
    to_do = len(items) - counts["done"] - counts["problems"]
    print(f"{to_do} to do, {counts['done']} exist")
    return 1 if counts["problems"] else 0
