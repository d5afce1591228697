"""``zerodce enhance``, and ``enhance.py``: the flags, their checks, and files or pipes."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli import files, options, pipes
from zerodce_jax.cli.progress import say
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import UsageError
from zerodce_jax.media.limits import MAX_PIXELS

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer


def enhance(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str | None, arg(aliases=["-m"])] = None,
    settings: OmitArgPrefixes[options.SettingFlags] = options.SettingFlags(),  # noqa: B008 (frozen)
    video: OmitArgPrefixes[options.VideoFlags] = options.VideoFlags(),  # noqa: B008 (frozen)
    engine: options.Engine = "auto",
    tile: int | None = None,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    format: options.ResultFormat = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    max_pixels: int = MAX_PIXELS,
    file: OmitArgPrefixes[options.FileFlags] = options.FileFlags(),  # noqa: B008 (frozen)
) -> int:
    """Light up photographs and videos.

    Args:
        inputs: Photographs, videos, folders (their structure is kept) or glob patterns; - reads one
            photograph, or raw frames, from standard input.
        output: Folder for the results. For one input it may be a file, or - for standard output.
        model: Network: reduced or fast, a training folder (DIR or DIR@STEP), a .safetensors file or
            a .pth file. By default reduced for photographs and fast for videos.
        settings: How to enhance. The network decides each setting that is not given.
        video: Flags for videos.
        engine: Engine that computes: JAX (xla), ONNX Runtime (onnx, an extra), or the fastest that
            is installed (auto).
        tile: Side of the tiles that images are cut into, in pixels; small tiles need less memory.
        overwrite: Replace results that exist, instead of skipping them.
        format: Format of photographs.
        strip: Leave out EXIF, XMP, texts and resolution; the colour profile stays.
        max_pixels: Number of pixels of the largest image that is decoded.
        file: Flags for files, which have no use with -.
    """
    from zerodce_jax.jobs import plan
    from zerodce_jax.media import pillow
    from zerodce_jax.models import serialization
    from zerodce_jax.ops import temporal

    pillow.silence_decoders()
    # Invalid values are refused before any network is loaded.
    EnhanceSettings().changed(**settings.overrides())
    temporal.check_smoothing(video.smoothing)
    video.encoding()
    if not inputs:
        raise UsageError("enhance: name photographs, videos or folders to enhance")
    if file.report is not None and not file.report.absolute().parent.is_dir():
        raise UsageError(f"{file.report}: the folder does not exist")
    if max_pixels < 1 or file.jobs < 1:
        raise UsageError("--max-pixels and --jobs must be whole numbers >= 1")

    @functools.cache
    def load(name: str) -> "tuple[Enhancer, EnhanceSettings]":
        network = serialization.load_network(name)
        for note in network.notes:
            say(f"note: {note}")
        from zerodce_jax.enhancer import Enhancer

        enhancer = Enhancer(network, engine=options.prepare_engine(engine), tile=tile)
        return enhancer, network.settings.changed(**settings.overrides())

    if "-" in inputs or str(output) == "-" or video.raw is not None:
        if file.suffix or file.shard != "1/1" or file.report is not None or file.dry_run:
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

    items = plan.plan(inputs, output, suffix=file.suffix, format=format)
    items = plan.share(items, output, file.shard)
    if file.dry_run:
        return files.print_plan(items, overwrite=overwrite)
    return files.enhance_files(
        items, load, model, video, file, strip=strip, max_pixels=max_pixels, overwrite=overwrite
    )
