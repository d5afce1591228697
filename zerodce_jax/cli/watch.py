"""``zerodce watch``."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli import options
from zerodce_jax.errors import one_line
from zerodce_jax.media.limits import MAX_PIXELS


def watch(
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str, arg(aliases=["-m"], metavar="NET")] = "scene",
    settings: OmitArgPrefixes[options.SettingFlags] = options.SettingFlags(),  # noqa: B008 (frozen)
    video: OmitArgPrefixes[options.VideoFlags] = options.VideoFlags(),  # noqa: B008 (frozen)
    engine: options.Engine = "auto",
    format: options.ResultFormat = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    first_frame: Annotated[bool, FlagCreatePairsOff] = False,
    max_pixels: int = MAX_PIXELS,
) -> int:
    """Light up what appears in a folder, until Ctrl-C.

    Args:
        folder: Folder to watch, with the folders below it. What it holds
            already comes first, unless it has a result. A file that
            changes later is enhanced anew.
        output: Folder for the results.
        model: Network, as for enhance.
        settings: How to enhance. The network decides each setting that is not given.
        video: Flags for videos.
        engine: Engine, as for enhance: auto, xla or onnx.
        format: Format of photographs.
        strip: Leave out EXIF, XMP, texts and resolution; the color
            profile stays.
        first_frame: Take only the first frame of animations, and the first
            page of TIFF files.
        max_pixels: Number of pixels of the largest image that is decoded.
    """
    from zerodce_jax.cli.progress import Progress
    from zerodce_jax.jobs import runner
    from zerodce_jax.jobs.arrivals import arrivals
    from zerodce_jax.media import pillow

    pillow.silence_decoders()
    arriving = arrivals(folder, output, format=format, first_frame=first_frame)
    progress = Progress()
    loaded = options.load_enhancer(model, settings, engine)
    executor = options.executor(
        *loaded,
        video,
        progress,
        jobs=1,
        strip=strip,
        max_pixels=max_pixels,
        first_frame=first_frame,
    )

    def show(result: runner.Result) -> None:
        if result.status == "done":
            print(f"{one_line(result.item.source)} -> {one_line(result.item.target)}", flush=True)

    print(f"watching {one_line(folder)}; Ctrl-C stops", flush=True)
    with suppress(KeyboardInterrupt):
        for number, items in enumerate(arriving):
            running = runner.run(items, executor, overwrite=number > 0)
            progress.follow(running, len(items), show)
            if progress.interrupted:
                break
    progress.interrupted = False
    return progress.end(output)
