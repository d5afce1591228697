"""A page in the browser: drop photographs in, see them lit, take them away (Gradio).

What is downloaded is what `photos.enhance_all` writes; what is shown is a copy of at most 1,024
pixels. All that a visitor brings and makes lies in a folder of their own, which goes with them.
"""

# Gradio's events are typed as what they are made by, not as what they are.
# pyright: reportArgumentType=false, reportPrivateImportUsage=false
# pyright: reportAttributeAccessIssue=false

import html
import re
import secrets
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from jaxtyping import UInt8

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import EngineName, Enhancer
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.jobs import photos, plan
from zerodce_jax.media import photo
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH
from zerodce_jax.ops.grid import block_means

SHOWN = 1024
"""Longer side of what is shown, in pixels."""
LARGEST_FILE = "500mb"
NETWORKS = ("reduced", "fast")
_TITLE = "Light up dark photographs"
_STYLE = """
#page {display: grid; grid-template: auto 1fr / minmax(280px, 1fr) 3fr}
#preview {grid-area: 1 / 2 / span 2 / auto}
@media (max-width: 700px) {
  #page {grid-template: none / 100%}
  #preview {grid-area: auto}
}
"""
"""On narrow screens one below the other: what is brought, what is shown, and the controls."""

Picture = UInt8[np.ndarray, "h w 3"]


def build(
    place: Path, *, engine: EngineName = "auto", max_pixels: int = photo.MAX_PIXELS
) -> gr.Blocks:
    """Make the page.

    Args:
        place: A folder for what visitors bring and make; whoever starts the page removes it.
        engine: What computes.
        max_pixels: Pixels of the largest picture that is decoded.

    Returns:
        The page, to be launched with its queue.
    """
    enhancer_of = _enhancers(engine)
    visitors = _Visitors(place)

    def bring(request: gr.Request, files: list[str] | None) -> Any:
        files = files or []
        visitors.brought(request, files)
        names = list(zip(_distinct(Path(file).name for file in files), files, strict=True))
        return gr.Dropdown(names, value=names[0][1] if names else None, visible=len(names) > 1)

    def show(request: gr.Request, file: str | None, network: str, *values: Any) -> tuple[Any, ...]:
        if file is None:
            return None, None, ""
        try:
            before = _shown(Path(file), max_pixels)
            after = enhancer_of(network)(before, **_settings(*values).to_dict())
        except (InputError, UsageError, OSError) as error:
            return None, None, _lines(place, [error])
        images = (before, after, _gain_map(before, after))
        first, second, third = visitors.keep(request, images)
        visitors.tidy(request)
        return (first, second), third, ""

    def make(
        request: gr.Request, files: list[str] | None, network: str, *values: Any
    ) -> tuple[Any, str]:
        own = visitors.folder(request) / "enhanced"
        shutil.rmtree(own, ignore_errors=True)
        try:
            if not files:
                raise UsageError("no photographs yet")
            items = [item for file in files for item in plan.plan([file], own)]
            settings = _settings(*values)
        except (InputError, UsageError, OSError) as error:
            return gr.Files(visible=False), _lines(place, [error])
        names = _distinct(item.target.name for item in items)
        items = [replace(item, target=own / name) for item, name in zip(items, names, strict=True)]
        results = list(
            photos.enhance_all(items, enhancer_of(network), settings, max_pixels=max_pixels)
        )
        made = [result.item.target for result in results if result.status == "done"]
        if len(made) > 1:
            archive = own / "enhanced.zip"
            # Pictures are compressed already.
            with zipfile.ZipFile(archive, "w") as together:
                for file in made:
                    together.write(file, file.name)
            made.append(archive)
        visitors.tidy(request)
        problems = [result.message for result in results if result.message]
        return gr.Files([str(file) for file in made], visible=bool(made)), _lines(place, problems)

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.Markdown(f"# {_TITLE}")
        with gr.Row(elem_id="page"):
            with gr.Column():
                files = gr.Files(label="Photographs", type="filepath", elem_id="files", height=130)
                which = gr.Dropdown([], label="Shown", visible=False, elem_id="which")
            with gr.Column(elem_id="preview"):
                problem = gr.HTML(elem_id="problem", padding=False)
                slider = gr.ImageSlider(
                    label="Before and after", format="png", elem_id="slider", max_height=700
                )
                with gr.Accordion("Where the curve acted", open=False, elem_id="where"):
                    gain = gr.Image(
                        label="Brightened 1 (black) to 16 (white) times",
                        format="png",
                        buttons=["download", "fullscreen"],
                        elem_id="gain",
                    )
            with gr.Column():
                network = gr.Dropdown(
                    NETWORKS, label="Network", elem_id="network", interactive=True
                )
                controls = _controls(enhancer_of(NETWORKS[0]).network.settings)
                button = gr.Button("Enhance at full size", variant="primary", elem_id="make")
                results = gr.Files(label="Results", visible=False, elem_id="results")
        # Whatever computes waits for one another, whoever asked for it.
        one = {"concurrency_id": "enhancing", "concurrency_limit": 1}
        shown = {
            "inputs": [which, network, *controls],
            "outputs": [slider, gain, problem],
            **one,
        }
        files.change(bring, files, which).then(show, **shown)
        network.change(
            lambda name: _values(enhancer_of(name).network.settings), network, controls
        ).then(show, **shown)
        for control in (which, *controls):
            control.input(show, **shown, trigger_mode="always_last", show_progress="hidden")
        for cause in (files, network, *controls):
            # What was made otherwise is no result of these.
            cause.change(lambda: gr.Files(visible=False), None, results, queue=False)
        button.click(make, [files, network, *controls], [results, problem], **one)
        page.unload(visitors.left)
    return page.queue(default_concurrency_limit=1)


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Open the page to visitors, until `gr.Blocks.close`.

    Args:
        page: As of `build`.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Returns:
        Where it is.

    Raises:
        InputError: The address cannot be listened on.
        UsageError: There is no such port.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, not {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Gradio does not tell why it could not.
        with socket.socket(family) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, port))
            port = found.getsockname()[1]
    except OSError as error:
        raise InputError(f"{host}:{port}: {one_line(error)}") from error
    host = f"[{host}]" if ":" in host else host
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=LARGEST_FILE,
            ssr_mode=False,
            footer_links=[],
            css=_STYLE,
            # The default ones come from elsewhere.
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        )
    except OSError as error:
        raise InputError(f"{host}:{port}: {one_line(error)}") from error
    return f"http://{host}:{port}"


class _Visitors:
    """What each visitor brought and made, until they leave.

    Gradio keeps an upload in a folder that goes by its content, which two visitors may share.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._uploads: dict[str, set[Path]] = {}
        self._gone: set[str] = set()
        self._lock = threading.Lock()

    def folder(self, request: gr.Request) -> Path:
        """A visitor's own."""
        return self._place / f"visitor-{request.session_hash}"

    def brought(self, request: gr.Request, files: list[str]) -> None:
        """Remember what somebody uploaded."""
        with self._lock:
            own = self._uploads.setdefault(str(request.session_hash), set())
            own.update(Path(file).parent for file in files)

    def keep(self, request: gr.Request, images: Sequence[Picture]) -> list[str]:
        """Write what is shown; browsers ask for new names alone."""
        shown = self.folder(request) / "shown"
        # The browser may still be fetching the last ones.
        shown_before = sorted(shown.glob("*.png"), key=lambda file: file.stat().st_mtime)
        for old in shown_before[: -len(images)]:
            old.unlink(missing_ok=True)
        files = [shown / f"{secrets.token_hex(8)}.png" for _ in images]
        for file, image in zip(files, images, strict=True):
            photo.write(file, photo.Photo(image))
        return [str(file) for file in files]

    def tidy(self, request: gr.Request) -> None:
        """Remove what was made for somebody who had left meanwhile."""
        if str(request.session_hash) in self._gone:
            shutil.rmtree(self.folder(request), ignore_errors=True)

    def left(self, request: gr.Request) -> None:
        """Remove all that was a visitor's alone."""
        self._gone.add(str(request.session_hash))
        shutil.rmtree(self.folder(request), ignore_errors=True)
        with self._lock:
            own = self._uploads.pop(str(request.session_hash), set())
            for upload in own.difference(*self._uploads.values()):
                shutil.rmtree(upload, ignore_errors=True)


def _enhancers(engine: EngineName) -> Callable[[str], Enhancer]:
    """Enhancers by the names of networks, each made once."""
    made: dict[str, Enhancer] = {}
    lock = threading.Lock()

    def enhancer_of(name: str) -> Enhancer:
        with lock:
            if name not in made:
                made[name] = Enhancer.load(name, engine=engine)
            return made[name]

    return enhancer_of


def _controls(settings: EnhanceSettings) -> list[gr.components.Component]:
    exposure, level, strength, gamma, protection, denoise, amount = _values(settings)
    return [
        gr.Radio(["auto", "level", "off"], value=exposure, label="Exposure", elem_id="exposure"),
        _number(0.05, 0.95, level, label="Level", elem_id="level"),
        _number(0, 2, strength, label="Strength", elem_id="strength"),
        _number(0.2, 3, gamma, label="Gamma", elem_id="gamma"),
        _number(0, 1, protection, label="Protect highlights", elem_id="protection"),
        gr.Radio(["auto", "amount"], value=denoise, label="Denoise", elem_id="denoise"),
        _number(0, 1, amount, label="Amount", elem_id="amount"),
    ]


def _number(least: float, most: float, value: float, **how: Any) -> gr.Slider:
    """A number to slide or to type; None where the field is emptied, which Gradio fails at."""
    slider = gr.Slider(least, most, value, step=0.05, **how)
    checked = slider.preprocess
    slider.preprocess = lambda payload: None if payload is None else checked(payload)
    return slider


def _values(settings: EnhanceSettings) -> list[Any]:
    """What the controls show for some settings."""
    named, found = settings.exposure in ("auto", "off"), settings.denoise == "auto"
    return [
        settings.exposure if named else "level",
        0.4 if named else settings.exposure,
        settings.strength,
        settings.gamma,
        settings.protect_highlights,
        "auto" if found else "amount",
        MIN_AUTO_STRENGTH if found else settings.denoise,
    ]


def _settings(
    exposure: Any,
    level: float | None,
    strength: float | None,
    gamma: float | None,
    protection: float | None,
    denoise: Any,
    amount: float | None,
) -> EnhanceSettings:
    if None in (level, strength, gamma, protection, amount):
        raise UsageError("a setting has no number")
    return EnhanceSettings(
        exposure=level if exposure == "level" else exposure,
        strength=strength,
        gamma=gamma,
        protect_highlights=protection,
        denoise=amount if denoise == "amount" else denoise,
    )


def _shown(file: Path, max_pixels: int) -> Picture:
    pixels = photo.read(file, max_pixels=max_pixels).pixels
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    means = block_means(pixels, -(-max(pixels.shape[:2]) // SHOWN))
    return np.rint(means * (255 / top)).astype(np.uint8)


def _gain_map(before: Picture, after: Picture) -> Picture:
    """How many times brighter each place became, in stops from black (none) to white (four)."""
    side = 4
    one, other = (block_means(image, side).mean(-1) + 1 for image in (before, after))
    stops = np.clip(np.log2(other / one) / 4, 0, 1)
    large = stops.repeat(side, 0).repeat(side, 1)[: before.shape[0], : before.shape[1]]
    return np.rint(255 * large[:, :, None].repeat(3, -1)).astype(np.uint8)


def _distinct(names: Iterable[str]) -> list[str]:
    """Names of which no two are the same: a.jpg, a-2.jpg."""
    taken: dict[str, None] = {}
    for name in names:
        number, other = 1, name
        while other in taken:
            number += 1
            other = f"{Path(name).stem}-{number}{Path(name).suffix}"
        taken[other] = None
    return list(taken)


def _lines(place: Path, problems: Sequence[Exception | str]) -> str:
    """Problems, a line each, without the folders that files lie in here."""
    folders = rf"{re.escape(str(place))}/([^/\s]+/)*"
    lines = [html.escape(re.sub(folders, "", one_line(problem))) for problem in problems]
    return "".join(f"<p>{line}</p>" for line in lines)
