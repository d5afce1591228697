"""``zerodce enhance`` with files: photographs and videos into a folder."""

from collections.abc import Callable

from zerodce_jax.cli.options import FileFlags, VideoFlags
from zerodce_jax.cli.progress import Progress
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs import photos, reports, runner, videos
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import Result


def enhance_files(
    items: list[Item],
    load: Callable[[str], tuple[Enhancer, EnhanceSettings]],
    model: str | None,
    video: VideoFlags,
    file: FileFlags,
    *,
    strip: bool,
    max_pixels: int,
    overwrite: bool,
) -> int:
    """Enhance photographs, then videos; show and report the results; return the exit status.

    `load` returns the enhancer and the settings of a network by its name. The other arguments are
    flags of ``enhance``.
    """
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
