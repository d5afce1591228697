"""A page in the browser, with Gradio: upload photographs, see them enhanced, download the results.

The downloads are the files that `PhotoExecutor` writes; the preview is a copy of at most 1,024
pixels. Each visitor has a folder for uploads and results, which is removed when the visitor leaves.
"""

# Gradio declares its events with a type that is not theirs.
# pyright: reportArgumentType=false, reportPrivateImportUsage=false
# pyright: reportAttributeAccessIssue=false

import functools
import html
import re
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from jaxtyping import UInt8

from zerodce_jax.config import AUTO_EXPOSURE, EnhanceSettings, SceneConfig
from zerodce_jax.enhancer import EngineName, Enhancer
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.jobs import plan, runner
from zerodce_jax.jobs.photos import PhotoExecutor
from zerodce_jax.media import photo
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.models.network import Network
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH
from zerodce_jax.ops.grid import block_means
from zerodce_jax.webapp.visitors import Visitors

PREVIEW_SIDE = 1024
"""Longer side of the preview, in pixels."""
LARGEST_FILE = "500mb"
"""Size of the largest file that can be uploaded."""
NETWORKS = ("scene", "reduced")
"""Names of the networks that the page offers; the first is the default."""
_TITLE = "Light up dark photographs"
_STYLE = """
#page {display: grid; grid-template: auto 1fr / minmax(280px, 1fr) 3fr}
#preview {grid-area: 1 / 2 / span 2 / auto}
@media (max-width: 700px) {
  #page {grid-template: none / 100%}
  #preview {grid-area: auto}
}
"""
"""Layout; on narrow screens uploads, preview and controls are one below the other."""

Image = UInt8[np.ndarray, "h w 3"]


def build(place: Path, *, engine: EngineName = "auto", max_pixels: int = MAX_PIXELS) -> gr.Blocks:
    """Build the page.

    Args:
        place: Folder for uploads and results; the caller removes it.
        engine: Engine that computes.
        max_pixels: Number of pixels of the largest photograph that is decoded.

    Returns:
        The page, with its queue, ready for `launch`.
    """
    visitors = Visitors(place)
    load, lock = functools.cache(functools.partial(Enhancer.load, engine=engine)), threading.Lock()

    def enhancer_of(name: str) -> Enhancer:
        # Two requests for one network must not both load it.
        with lock:
            return load(name)

    def upload(request: gr.Request, files: list[str] | None) -> Any:
        files = files or []
        visitors.add_uploads(request.session_hash, files)
        names = list(zip(_distinct(Path(file).name for file in files), files, strict=True))
        return gr.Dropdown(names, value=names[0][1] if names else None, visible=len(names) > 1)

    def show(request: gr.Request, file: str | None, network: str, *values: Any) -> tuple[Any, ...]:
        if file is None:
            return None, None, ""
        try:
            before = _preview(Path(file), max_pixels)
            after = enhancer_of(network)(before, _settings(*values))
        except (InputError, UsageError, OSError) as error:
            return None, None, _lines(place, [error])
        images = (before, after, _gain_map(before, after))
        first, second, third = visitors.write_previews(request.session_hash, images)
        visitors.clean_up(request.session_hash)
        return (first, second), third, ""

    def enhance(
        request: gr.Request, files: list[str] | None, network: str, *values: Any
    ) -> tuple[Any, str]:
        folder = visitors.folder(request.session_hash) / "enhanced"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if not files:
                raise UsageError("no photographs yet")
            items = [item for file in files for item in plan.plan([file], folder)]
            enhancer, settings = enhancer_of(network), _settings(*values)
        except (InputError, UsageError, OSError) as error:
            return gr.Files(visible=False), _lines(place, [error])
        names = _distinct(item.target.name for item in items)
        items = [
            replace(item, target=folder / name) for item, name in zip(items, names, strict=True)
        ]
        executor = PhotoExecutor(enhancer, settings, max_pixels=max_pixels)
        results = list(runner.run(items, executor))
        done = [result.item.target for result in results if result.status == "done"]
        if len(done) > 1:
            archive = folder / "enhanced.zip"
            # Photographs are compressed already, so the archive only stores them.
            with zipfile.ZipFile(archive, "w") as together:
                for file in done:
                    together.write(file, file.name)
            done.append(archive)
        visitors.clean_up(request.session_hash)
        problems = [result.message for result in results if result.message]
        return gr.Files([str(file) for file in done], visible=bool(done)), _lines(place, problems)

    def leave(request: gr.Request) -> None:
        visitors.remove(request.session_hash)

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
                controls = _controls(enhancer_of(NETWORKS[0]).network)
                button = gr.Button("Enhance at full size", variant="primary", elem_id="make")
                results = gr.Files(label="Results", visible=False, elem_id="results")
        # One computation runs at a time, whichever visitor asked for it.
        one = {"concurrency_id": "enhancing", "concurrency_limit": 1}
        shown = {"inputs": [which, network, *controls], "outputs": [slider, gain, problem], **one}
        files.change(upload, files, which).then(show, **shown)
        network.change(lambda name: _controls(enhancer_of(name).network), network, controls).then(
            show, **shown
        )
        for control in (which, *controls):
            control.input(show, **shown, trigger_mode="always_last", show_progress="hidden")
        for cause in (files, network, *controls):
            # A change makes the results outdated.
            cause.change(lambda: gr.Files(visible=False), None, results, queue=False)
        button.click(enhance, [files, network, *controls], [results, problem], **one)
        page.unload(leave)
    return page.queue(default_concurrency_limit=1)


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Serve the page until `gr.Blocks.close`.

    Args:
        page: The page that `build` returns.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Returns:
        The address of the page.

    Raises:
        InputError: The address is not available.
        UsageError: The port is out of range.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, not {port}")
    family, name = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
    try:
        # Gradio would not report why an address is not available.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        page.launch(
            server_name=name,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=LARGEST_FILE,
            ssr_mode=False,
            footer_links=[],
            css=_STYLE,
            # Gradio's default fonts are loaded from another server.
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        )
    except OSError as error:
        raise InputError(f"{name}:{port}: {one_line(error)}") from error
    return f"http://{name}:{port}"


def _controls(network: Network) -> list[gr.components.Component]:
    """Return the controls, with the settings of a network as their values."""
    exposure, level, strength, gamma, protection, denoise, amount = _values(network.settings)
    if isinstance(network.config, SceneConfig):
        # For these networks, auto and off are the same.
        choices, info = ["auto", "level"], "auto is the network's own choice"
    else:
        choices, info = ["auto", "level", "off"], f"auto is a mean brightness of {AUTO_EXPOSURE}"
    return [
        gr.Radio(choices, value=exposure, label="Exposure", info=info, elem_id="exposure"),
        _number(0.05, 0.95, level, label="Level", elem_id="level"),
        _number(0, 2, strength, label="Strength", elem_id="strength"),
        _number(0.2, 3, gamma, label="Gamma", elem_id="gamma"),
        _number(0, 1, protection, label="Protect highlights", elem_id="protection"),
        gr.Radio(["auto", "amount"], value=denoise, label="Denoise", elem_id="denoise"),
        _number(0, 1, amount, label="Amount", elem_id="amount"),
    ]


def _number(low: float, high: float, value: float, **options: Any) -> gr.Slider:
    """Return a slider whose value is None if its field is empty; Gradio alone would fail."""
    slider = gr.Slider(low, high, value, step=0.05, **options)
    preprocess = slider.preprocess
    slider.preprocess = lambda payload: None if payload is None else preprocess(payload)
    return slider


def _values(settings: EnhanceSettings) -> list[Any]:
    """Return the values of the controls for some settings."""
    named, auto = settings.exposure in ("auto", "off"), settings.denoise == "auto"
    return [
        settings.exposure if named else "level",
        AUTO_EXPOSURE if named else settings.exposure,
        settings.strength,
        settings.gamma,
        settings.protect_highlights,
        "auto" if auto else "amount",
        MIN_AUTO_STRENGTH if auto else settings.denoise,
    ]


def _settings(*values: Any) -> EnhanceSettings:
    """Return the settings for the values of the controls."""
    if None in values:
        raise UsageError("a setting has no number")
    exposure, level, strength, gamma, protection, denoise, amount = values
    return EnhanceSettings(
        exposure=level if exposure == "level" else exposure,
        strength=strength,
        gamma=gamma,
        protect_highlights=protection,
        denoise=amount if denoise == "amount" else denoise,
    )


def _preview(file: Path, max_pixels: int) -> Image:
    pixels = photo.read(file, max_pixels=max_pixels).pixels
    maximum = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    means = block_means(pixels, -(-max(pixels.shape[:2]) // PREVIEW_SIDE))
    return np.rint(means * (255 / maximum)).astype(np.uint8)


def _gain_map(before: Image, after: Image) -> Image:
    """Return how much brighter each place became, from black (equal) to white (16 times)."""
    side = 4
    dark, bright = (block_means(image, side).mean(-1) + 1 for image in (before, after))
    stops = np.clip(np.log2(bright / dark) / 4, 0, 1)
    large = stops.repeat(side, 0).repeat(side, 1)[: before.shape[0], : before.shape[1]]
    return np.rint(255 * large[:, :, None].repeat(3, -1)).astype(np.uint8)


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


def _lines(place: Path, problems: Sequence[Exception | str]) -> str:
    """Return problems as HTML, a line each, without the folders of the server."""
    folders = rf"{re.escape(str(place))}/([^/\s]+/)*"
    lines = [html.escape(re.sub(folders, "", one_line(problem))) for problem in problems]
    return "".join(f"<p>{line}</p>" for line in lines)
