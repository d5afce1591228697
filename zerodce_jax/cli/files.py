"""``zerodce enhance`` with files: photographs and videos into a folder."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zerodce_jax.cli.progress import Progress, say

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.jobs.plan import Item
    from zerodce_jax.jobs.runner import Result
    from zerodce_jax.media.video import Encoding


def enhance_files(
    items: "list[Item]",
    load: "Callable[[str], tuple[Enhancer, EnhanceSettings]]",
    model: str | None,
    *,
    smoothing: float,
    encoding: "Encoding",
    jobs: int,
    strip: bool,
    max_pixels: int,
    overwrite: bool,
    fail_fast: bool,
    report: Path | None,
) -> int:
    """Enhance photographs, then videos, and show and report the results.

    Args:
        items: The photographs and videos.
        load: Returns the enhancer and the settings of a network by its name.
        model: Name of the network, or None for the default of each kind.
        smoothing: See `VideoExecutor`.
        encoding: See `VideoExecutor`.
        jobs: See `PhotoExecutor`.
        strip: See `PhotoExecutor` and `VideoExecutor`.
        max_pixels: See `PhotoExecutor` and `VideoExecutor`.
        overwrite: See `runner.run`.
        fail_fast: See `runner.run`.
        report: JSON file to write, or None.

    Returns:
        The exit status.
    """
    from zerodce_jax.jobs import photos, reports, runner

    progress = Progress()
    items = sorted(items, key=lambda item: item.is_video)
    photographs = sum(not item.is_video for item in items)
    photo_executor = video_executor = None
    if photographs or not items:
        photo_executor = photos.PhotoExecutor(
            *load(model or "reduced"), jobs=jobs, strip=strip, max_pixels=max_pixels
        )
    if photographs < len(items):
        from zerodce_jax.jobs.videos import VideoExecutor

        video_executor = VideoExecutor(
            *load(model or "fast"),
            smoothing=smoothing,
            encoding=encoding,
            strip=strip,
            max_pixels=max_pixels,
            on_frame=progress.on_frame,
        )
    results: list[Result] = []
    executor = runner.ByKind(photo_executor, video_executor)
    running = runner.run(items, executor, overwrite=overwrite, fail_fast=fail_fast)
    progress.follow(running, photographs, results.append)
    if report is not None:
        reports.write_json(report, results)
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
