"""``zerodce enhance`` with files: photographs and videos into a folder."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from zerodce_jax.cli.options import FileFlags, VideoFlags
from zerodce_jax.cli.progress import Progress, say

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.jobs.plan import Item
    from zerodce_jax.jobs.runner import Result


def enhance_files(
    items: "list[Item]",
    load: "Callable[[str], tuple[Enhancer, EnhanceSettings]]",
    model: str | None,
    video: VideoFlags,
    file: FileFlags,
    *,
    strip: bool,
    max_pixels: int,
    overwrite: bool,
) -> int:
    """Enhance photographs, then videos, and show and report the results.

    Args:
        items: The photographs and videos.
        load: Returns the enhancer and the settings of a network by its name.
        model: Name of the network; None takes the default for photographs and that for videos.
        video: The flags for videos.
        file: The flags for files.
        strip: Whether to leave out metadata.
        max_pixels: Number of pixels of the largest image that is decoded.
        overwrite: Whether to replace results that exist.

    Returns:
        The exit status.
    """
    from zerodce_jax.jobs import photos, reports, runner, videos

    progress = Progress()
    items = sorted(items, key=lambda item: item.is_video)
    photographs = sum(not item.is_video for item in items)
    photo_executor = video_executor = None
    if photographs or not items:
        photo_executor = photos.PhotoExecutor(
            *load(model or "reduced"), jobs=file.jobs, strip=strip, max_pixels=max_pixels
        )
    if photographs < len(items):
        video_executor = videos.VideoExecutor(
            *load(model or "fast"),
            smoothing=video.smoothing,
            encoding=video.encoding(),
            strip=strip,
            max_pixels=max_pixels,
            on_frame=progress.on_frame,
        )
    executor = runner.ByKind(photo_executor, video_executor)
    results: list[Result] = []
    running = runner.run(items, executor, overwrite=overwrite, fail_fast=file.fail_fast)
    progress.follow(running, photographs, results.append)
    if file.report is not None:
        reports.write_json(file.report, results)
    return progress.end()


def print_plan(items: "list[Item]", *, overwrite: bool) -> int:
    """Print what a run would do.

    Returns:
        The exit status.
    """
    from zerodce_jax.errors import one_line
    from zerodce_jax.jobs.storage import LocalFiles

    counts = Counter()
    for item in items:
        if item.problem:
            counts["problems"] += 1
            say(item.problem)
        elif not overwrite and LocalFiles().modification_time(item.target) is not None:
            counts["done"] += 1
            print(f"{one_line(item.target)} exists")
        else:
            counts["to do"] += 1
            print(f"{one_line(item.source)} -> {one_line(item.target)}")
    print(f"{counts['to do']} to do, {counts['done']} exist")
    return 1 if counts["problems"] else 0
