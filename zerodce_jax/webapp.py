"""A page in the browser: drop photographs in, see them lit, take them away (Gradio).

What is downloaded is what `folder.enhance_all` writes; what is shown is a copy of at most 1,024
pixels. All that a visitor brings and makes lies in a folder of their own, which goes with them.
"""

# Gradio's events are typed as what they are made by, not as what they are.
# pyright: reportArgumentType=false, reportPrivateImportUsage=false
# pyright: reportAttributeAccessIssue=false

import re
import secrets
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from jaxtyping import UInt8

from zerodce_jax import folder, photo, plan
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import EngineName, Enhancer
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.grid import block_means

SHOWN = 1024
"""Longer side of what is shown, in pixels."""
LARGEST_FILE = "500mb"
NETWORKS = ("reduced", "fast")
_TITLE = "Light up dark photographs"

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
        visitors.brought(request, files or [])
        names = [(Path(file).name, file) for file in files or []]
        return gr.Dropdown(names, value=names[0][1] if names else None, visible=len(names) > 1)

    def show(request: gr.Request, file: str | None, network: str, *values: Any) -> tuple[Any, ...]:
        if file is None:
            return None, None, ""
        try:
            before = _shown(Path(file), max_pixels)
            after = enhancer_of(network)(before, **_settings(*values).to_dict())
        except (InputError, UsageError, OSError) as error:
            return None, None, _without(place, error)
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
            items = plan.plan(files or [], own)
            settings = _settings(*values)
        except (InputError, UsageError, OSError) as error:
            return gr.Files(visible=False), _without(place, error)
        results = list(
            folder.enhance_all(items, enhancer_of(network), settings, max_pixels=max_pixels)
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
        problems = [_without(place, result.message) for result in results if result.message]
        return gr.Files([str(file) for file in made], visible=bool(made)), "\n\n".join(problems)

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.Markdown(f"# {_TITLE}")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                files = gr.Files(label="Photographs", type="filepath", elem_id="files", height=130)
                which = gr.Dropdown([], label="Shown", visible=False, elem_id="which")
                network = gr.Dropdown(
                    NETWORKS, label="Network", elem_id="network", interactive=True
                )
                controls = _controls(enhancer_of(NETWORKS[0]).network.settings)
                button = gr.Button("Enhance at full size", variant="primary", elem_id="make")
                results = gr.Files(label="Results", visible=False, elem_id="results")
            with gr.Column(scale=3):
                problem = gr.Markdown(elem_id="problem")
                slider = gr.ImageSlider(
                    label="Before and after", format="png", elem_id="slider", max_height=700
                )
                with gr.Accordion("Where the curve acted", open=False, elem_id="where"):
                    gain = gr.Image(
                        label="Brightened 1 (black) to 16 (white) times",
                        format="png",
                        elem_id="gain",
                    )
        shown = {"inputs": [which, network, *controls], "outputs": [slider, gain, problem]}
        files.change(bring, files, which).then(show, **shown)
        network.change(
            lambda name: _values(enhancer_of(name).network.settings), network, controls
        ).then(show, **shown)
        for control in (which, *controls):
            control.input(show, **shown, trigger_mode="always_last", show_progress="hidden")
        button.click(make, [files, network, *controls], [results, problem])
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
    """
    if port == 0:
        with socket.socket() as free:
            free.bind((host, 0))
            port = free.getsockname()[1]
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
    exposure, level, strength, gamma, protection, denoise = _values(settings)
    return [
        gr.Radio(["auto", "level", "off"], value=exposure, label="Exposure", elem_id="exposure"),
        gr.Slider(0.05, 0.95, level, step=0.05, label="Level", elem_id="level"),
        gr.Slider(0, 2, strength, step=0.05, label="Strength", elem_id="strength"),
        gr.Slider(0.2, 3, gamma, step=0.05, label="Gamma", elem_id="gamma"),
        gr.Slider(0, 1, protection, step=0.05, label="Protect highlights", elem_id="protection"),
        gr.Slider(0, 1, denoise, step=0.05, label="Denoise", elem_id="denoise"),
    ]


def _values(settings: EnhanceSettings) -> list[Any]:
    """What the controls show for some settings."""
    named = settings.exposure in ("auto", "off")
    return [
        settings.exposure if named else "level",
        0.4 if named else settings.exposure,
        settings.strength,
        settings.gamma,
        settings.protect_highlights,
        settings.denoise,
    ]


def _settings(
    exposure: Any, level: float, strength: float, gamma: float, protection: float, denoise: float
) -> EnhanceSettings:
    return EnhanceSettings(
        exposure=level if exposure == "level" else exposure,
        strength=strength,
        gamma=gamma,
        protect_highlights=protection,
        denoise=denoise,
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


def _without(place: Path, problem: Exception | str) -> str:
    """A problem in one line, without the folders that files lie in here."""
    return re.sub(rf"{re.escape(str(place))}/([^/]+/)*", "", one_line(problem))
