"""``zerodce enhance``, and ``enhance.py``: photographs and videos in files; `pipes` does -."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli import options
from zerodce_jax.cli.messages import note, say
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import UsageError, one_line
from zerodce_jax.media.limits import MAX_PIXELS

if TYPE_CHECKING:
    from zerodce_jax.jobs.plan import Item


def enhance(
    inputs: Annotated[
        Positional[tuple[str, ...]], arg(metavar="INPUT...", help_behavior_hint="(required)")
    ],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str, arg(aliases=["-m"], metavar="NET")] = "scene",
    key: Annotated[str | None, options.unless("KEY", "the only network, or its average")] = None,
    settings: OmitArgPrefixes[options.SettingFlags] = options.SettingFlags(),  # noqa: B008 (frozen)
    video: OmitArgPrefixes[options.FrameFlags] = options.FrameFlags(),  # noqa: B008 (frozen)
    engine: options.Engine = "auto",
    tile: Annotated[int | None, options.unless("PIXELS", "what suits the engine")] = None,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    format: options.ResultFormat = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    first_frame: Annotated[bool, FlagCreatePairsOff] = False,
    max_pixels: int = MAX_PIXELS,
    file: OmitArgPrefixes[options.FileFlags] = options.FileFlags(),  # noqa: B008 (frozen)
) -> int:
    """Light up photographs and videos.

    Args:
        inputs: Photographs, videos, folders (their structure is kept) or
            glob patterns; - reads one photograph, or raw frames, from
            standard input.
        output: Folder for the results. For one input it may be a file, or
            - for standard output.
        model: Network: scene or reduced, a training folder (DIR or
            DIR@STEP), a .safetensors file, a .pth file, or
            hf://OWNER/NAME.
        key: Key of the network in a PyTorch checkpoint that holds
            several, such as params.
        settings: How to enhance. The network decides each setting that is
            not given.
        video: Flags for videos.
        engine: Engine that computes: JAX (xla, in the extra train),
            ONNX Runtime (onnx), or the fastest that is installed
            (auto).
        tile: Side of the tiles that images are cut into, in pixels;
            small tiles need less memory.
        overwrite: Replace results that exist, instead of skipping them.
        format: Format of photographs.
        strip: Leave out EXIF, XMP, texts and resolution; the color
            profile stays.
        first_frame: Take only the first frame of animations, and the first
            page of TIFF files.
        max_pixels: Number of pixels of the largest image that is decoded.
        file: Flags for files, which have no use with -.
    """
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.jobs import plan, reports
    from zerodce_jax.media import pillow
    from zerodce_jax.ops import temporal

    pillow.silence_decoders()
    # Invalid values are refused before the network is loaded.
    EnhanceSettings().changed(**settings.overrides())
    temporal.check_smoothing(video.smoothing)
    if video.raw is None:
        video.encoding()
    if not inputs:
        raise UsageError("enhance: name photographs, videos or folders to enhance")
    if file.report is not None:
        if file.dry_run:
            raise UsageError("--report is written after the work, which --dry-run leaves out")
        reports.check_path(file.report)
    if max_pixels < 1 or file.jobs < 1:
        raise UsageError("--max-pixels and --jobs must be whole numbers >= 1")

    def load() -> tuple[Enhancer, EnhanceSettings]:
        return options.load_enhancer(model, settings, engine, tile=tile, key=key)

    if "-" in inputs or str(output) == "-" or video.raw is not None:
        from zerodce_jax.cli import pipes

        if file.suffix or file.shard != "1/1" or file.report is not None or file.dry_run:
            raise UsageError("--suffix, --shard, --report and --dry-run are for files, not for -")
        if video.raw is not None:
            pipes.enhance_frames(inputs, output, video.raw, video, load)
        else:
            pipes.enhance_photograph(
                inputs,
                output,
                load,
                format=format,
                strip=strip,
                max_pixels=max_pixels,
                overwrite=overwrite,
                first_frame=first_frame,
                smoothing=video.smoothing,
            )
        return 0

    items = plan.plan(inputs, output, suffix=file.suffix, format=format, first_frame=first_frame)
    items = plan.share(items, output, file.shard)
    if file.dry_run:
        return _print_plan(items, overwrite=overwrite)

    from zerodce_jax.cli.progress import Progress
    from zerodce_jax.jobs import runner

    progress = Progress()
    items.sort(key=lambda item: item.is_video)
    photographs = sum(not item.is_video for item in items)
    if photographs == len(items) and video.given():
        note("--codec, --quality and --pixel-format are for videos, and there are none")
    executor = options.executor(
        *load(),
        video,
        progress,
        jobs=file.jobs,
        strip=strip,
        max_pixels=max_pixels,
        first_frame=first_frame,
    )
    results: list[runner.Result] = []
    running = runner.run(items, executor, overwrite=overwrite, fail_fast=file.fail_fast)
    progress.follow(running, photographs, results.append)
    if file.report is not None:
        reports.write(file.report, results)
    return progress.end(output)


def _print_plan(items: "list[Item]", *, overwrite: bool) -> int:
    """Print what a run would do, and return the exit status."""
    from zerodce_jax.jobs.runner import result_exists

    counts = Counter()
    for item in items:
        if item.problem:
            counts["problems"] += 1
            say(item.problem)
        elif not overwrite and result_exists(item):
            counts["done"] += 1
            print(f"{one_line(item.target)} exists")
        else:
            counts["to do"] += 1
            print(f"{one_line(item.source)} -> {one_line(item.target)}")
    print(f"{counts['to do']} to do, {counts['done']} exist")
    return 1 if counts["problems"] else 0
