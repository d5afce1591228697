"""What the page does when files come, settings change, or a button is pressed."""

# Gradio does not export the names that it documents.
# pyright: reportPrivateImportUsage=false

import functools
import html
import re
import shutil
import threading
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import EngineName, Enhancer
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.jobs import plan, runner
from zerodce_jax.jobs.photos import PhotoExecutor
from zerodce_jax.jobs.videos import VideoExecutor
from zerodce_jax.webapp import previews
from zerodce_jax.webapp.controls import settings_of
from zerodce_jax.webapp.visitors import Visitors

_ERRORS = (InputError, OSError)
_PREVIEWS_IN_MEMORY = 16

Names = list[str] | None


class Stopped(Exception):  # noqa: N818 (not an error)
    """Raised when a visitor stops a run, or leaves."""


class Actions:
    """The actions of the page, for all its visitors.

    Args:
        place: Folder for uploads and results.
        engine: Engine that computes.
        max_pixels: Number of pixels of the largest image that is decoded.
    """

    def __init__(self, place: Path, *, engine: EngineName, max_pixels: int) -> None:
        self._place, self._max_pixels = place, max_pixels
        self._visitors = Visitors(place)
        self._load = functools.cache(functools.partial(Enhancer.load, engine=engine))
        self._lock = threading.Lock()
        # Each change of a setting shows the same file again.
        self._preview = functools.lru_cache(_PREVIEWS_IN_MEMORY)(
            functools.partial(previews.preview, max_pixels=max_pixels)
        )

    def enhancer(self, network: str) -> Enhancer:
        """Return the enhancer for a network, by its name."""
        # Two requests for one network must not both load it.
        with self._lock:
            return self._load(network)

    def upload(self, request: gr.Request, files: Names) -> tuple[Any, ...]:
        """Choose the first file that can be shown.

        Returns:
            The choice of the shown file, the problems of the files before it, and the parts of
            the page that need something to show.
        """
        files = files or []
        self._visitors.add_uploads(request.session_hash, files)
        problems, first = [], None
        for file in files:
            try:
                self._preview(Path(file))
            except _ERRORS as error:
                problems.append(error)
            else:
                first = file
                break
        names = list(zip(_distinct(Path(file).name for file in files), files, strict=True))
        some = first is not None
        which = gr.Dropdown(names, value=first, visible=some and len(names) > 1)
        return which, self._message(problems), *(gr.Column(visible=some) for _ in range(3))

    def show(self, request: gr.Request, file: str | None, network: str, *values: Any) -> Any:
        """Return the preview before and after, the map of the gain, and a problem."""
        nothing = gr.ImageSlider(None, visible=False), None, gr.Accordion(visible=False)
        if file is None:
            return *nothing, self._message([])
        try:
            before = self._preview(Path(file))
            after = self.enhancer(network)(before, settings_of(*values))
        except _ERRORS as error:
            return *nothing, self._message([error])
        images = (before, after, previews.gain_map(before, after))
        first, second, third = self._visitors.write_previews(request.session_hash, images)
        self._visitors.clean_up(request.session_hash)
        slider = gr.ImageSlider((first, second), visible=True)
        # An image of Gradio would have no text for those who cannot see it.
        gain = (
            f'<figure><img src="gradio_api/file={html.escape(third)}" alt="Map of the gain">'
            "<figcaption>From equal (black) to 16 times as bright (white).</figcaption></figure>"
        )
        return slider, gain, gr.Accordion(visible=True), self._message([])

    def enhance(self, request: gr.Request, files: Names, network: str, *values: Any) -> Any:
        """Enhance all files at full size.

        Returns:
            The results, and what became of the files.
        """
        visitor = request.session_hash
        folder = self._visitors.folder(visitor) / "enhanced"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            items = self._items(files or [], folder)
            enhancer, settings = self.enhancer(network), settings_of(*values)
        except _ERRORS as error:
            return gr.Files(visible=False), self._message([error])
        results = self._run(visitor, items, enhancer, settings)
        done = [result.item.target for result in results if result.status == "done"]
        summary = f"Enhanced {len(done)} of {len(items)}."
        if len(done) > 1:
            archive = folder / "enhanced.zip"
            # Photographs and videos are compressed already, so the archive only stores them.
            with zipfile.ZipFile(archive, "w") as together:
                for file in done:
                    together.write(file, file.name)
            done.append(archive)
        self._visitors.clean_up(visitor)
        problems = [result.message for result in results if result.message]
        downloads = gr.Files([str(file) for file in done], visible=bool(done))
        return downloads, self._message(problems, summary)

    def start(self, request: gr.Request) -> None:
        """Prepare a run, so that a visitor can stop it, even while it waits for others."""
        self._visitors.start(request.session_hash)

    def stop(self, request: gr.Request) -> None:
        """Stop the run of a visitor after the photograph, or at the frame, that it is at."""
        self._visitors.stop(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """Remove the files of a visitor who leaves; this also stops the run."""
        self._visitors.remove(request.session_hash)

    def _run(
        self,
        visitor: str | None,
        items: Sequence[plan.Item],
        enhancer: Enhancer,
        settings: EnhanceSettings,
    ) -> list[runner.Result]:
        """Enhance items, show the progress, and return the results until the visitor stops."""
        progress, results = gr.Progress(), []

        def show(name: str, share: float = 0) -> None:
            if self._visitors.stopped(visitor):
                raise Stopped
            number = len(results) + 1
            progress((number - 1 + share) / len(items), f"{name} ({number} of {len(items)})")

        def on_frame(item: plan.Item, done: int, total: int | None) -> None:
            show(item.source.name, min(done / total, 1) if total else 0)

        executor = runner.ByKind(
            PhotoExecutor(enhancer, settings, max_pixels=self._max_pixels),
            VideoExecutor(enhancer, settings, max_pixels=self._max_pixels, on_frame=on_frame),
        )
        running = runner.run(items, executor)
        try:
            show(items[0].source.name)
            for result in running:
                results.append(result)
                if len(results) < len(items):
                    show(items[len(results)].source.name)
        except Stopped:
            running.close()
        return results

    def _items(self, files: Sequence[str], folder: Path) -> list[plan.Item]:
        if not files:
            raise UsageError("no photographs yet")
        items = [item for file in files for item in plan.plan([file], folder)]
        # Photographs come first, because they take less time.
        items.sort(key=lambda item: item.is_video)
        names = _distinct(item.target.name for item in items)
        return [
            replace(item, target=folder / name) for item, name in zip(items, names, strict=True)
        ]

    def _message(self, problems: Iterable[Exception | str], summary: str = "") -> gr.HTML:
        """Return a summary and problems, a line each, without the folders of the server."""
        folders = rf"{re.escape(str(self._place))}/([^/\s]+/)*"
        # Several files may have one problem, such as a package that is not installed.
        lines = dict.fromkeys(re.sub(folders, "", one_line(problem)) for problem in problems)
        text = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        text = f"<ul>{text}</ul>" if text else ""
        if summary:
            text = f"<p>{html.escape(summary)}</p>{text}"
        # The role lets programs that read the screen aloud announce it.
        return gr.HTML(f'<div class="message" role="status">{text}</div>', visible=bool(text))


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names without duplicates, such as a.jpg and a-2.jpg."""
    taken: dict[str, None] = {}
    for name in names:
        number, other = 1, name
        while other in taken:
            number += 1
            other = f"{Path(name).stem}-{number}{Path(name).suffix}"
        taken[other] = None
    return list(taken)
