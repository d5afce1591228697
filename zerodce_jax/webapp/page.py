"""The layout of the page, its events, and its server."""

# Gradio declares its events with a type that is not theirs.
# pyright: reportArgumentType=false, reportPrivateImportUsage=false
# pyright: reportAttributeAccessIssue=false

import socket
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from zerodce_jax.enhancer import EngineName
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.media.formats import Format
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.webapp import controls
from zerodce_jax.webapp.actions import Actions

LARGEST_FILE = "4gb"
"""Size of the largest file that can be uploaded."""
_TITLE = "Light up dark photographs and videos"
_HEADER = f"""
<h1>{_TITLE}</h1>
<p>Drop your files to see them in better light. They are deleted when you leave this page.</p>
"""
_FORMATS = f"""
<p>Photographs ({", ".join(sorted(name.upper() for name in get_args(Format)))}) and videos.</p>
"""
_MAKE = "Enhance at full size"
_SCROLL = "() => document.getElementById('results-area').scrollIntoView({block: 'nearest'})"
"""Moves the view to the progress, and then to the results."""
_STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def build(place: Path, *, engine: EngineName = "auto", max_pixels: int = MAX_PIXELS) -> gr.Blocks:
    """Build the page.

    Args:
        place: Folder for uploads and results; the caller removes it.
        engine: Engine that computes.
        max_pixels: Number of pixels of the largest image that is decoded.

    Returns:
        The page, with its queue, ready for `launch`.
    """
    actions = Actions(place, engine=engine, max_pixels=max_pixels)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.HTML(_HEADER, elem_id="header")
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="inputs"):
                files = gr.Files(label="Your files", elem_id="files", height=180)
                gr.HTML(_FORMATS, elem_id="formats")
                which = gr.Dropdown(
                    [],
                    label="Shown",
                    info="The settings apply to all of your files.",
                    visible=False,
                    elem_id="which",
                )
                refused = gr.HTML(visible=False, elem_id="refused")
            with gr.Column(elem_id="preview", visible=False) as preview:
                problem = gr.HTML(visible=False, elem_id="problem")
                slider = gr.ImageSlider(
                    label="Before and after", format="png", elem_id="slider", max_height=700
                )
                with gr.Accordion("Where it became brighter", open=False, elem_id="where") as where:
                    gain = gr.HTML(elem_id="gain")
            with gr.Column(elem_id="results-area", visible=False) as area:
                make = gr.Button(_MAKE, variant="primary", elem_id="make")
                stop = gr.Button("Stop", visible=False, elem_id="stop")
                outcome = gr.HTML(visible=False, elem_id="outcome")
                results = gr.Files(
                    label="Results",
                    interactive=False,
                    visible=False,
                    elem_id="results",
                    height=240,
                )
            with gr.Column(elem_id="settings", visible=False) as settings:
                network = controls.network_choice()
                default = actions.enhancer(network.value).network
                main = controls.main_controls(default)
                with gr.Accordion("More settings", open=False, elem_id="more"):
                    more = controls.more_controls(default)

        def own_settings(name: str) -> list[gr.components.Component]:
            chosen = actions.enhancer(name).network
            return [*controls.main_controls(chosen), *controls.more_controls(chosen)]

        def begin(request: gr.Request) -> tuple[Any, ...]:
            actions.start(request)
            return (
                gr.Button("Enhancing …", interactive=False),
                gr.Button(visible=True),
                gr.HTML("", visible=True),
                gr.Files(visible=False),
            )

        values = [*main, *more]
        exposure, level, *_, denoise, amount = values
        # One computation runs at a time, whichever visitor asked for it.
        one = {"concurrency_id": "enhancing", "concurrency_limit": 1}
        shown = {
            "fn": actions.show,
            "inputs": [which, network, *values],
            "outputs": [slider, gain, where, problem],
            **one,
        }
        files.change(
            actions.upload,
            files,
            [which, refused, preview, area, settings],
            show_progress_on=files,
        ).then(**shown)
        network.change(own_settings, network, values).then(**shown)
        for control in (which, *values):
            control.input(**shown, trigger_mode="always_last", show_progress="hidden")
        for control, shows, detail in (
            (exposure, controls.shows_level, level),
            (denoise, controls.shows_amount, amount),
        ):
            control.change(
                lambda value, shows=shows: gr.Slider(visible=shows(value)),
                control,
                detail,
                queue=False,
            )
        for cause in (files, network, *values):
            # A change makes the results outdated.
            cause.change(
                lambda: (gr.Files(visible=False), gr.HTML(visible=False)),
                None,
                [results, outcome],
                queue=False,
            )
        make.click(begin, None, [make, stop, outcome, results], queue=False).then(
            None, js=_SCROLL
        ).then(
            actions.enhance,
            [files, network, *values],
            [results, outcome],
            show_progress_on=outcome,
            **one,
        ).then(
            lambda: (gr.Button(_MAKE, interactive=True), gr.Button(visible=False)),
            None,
            [make, stop],
            queue=False,
        ).then(None, js=_SCROLL)
        stop.click(actions.stop, queue=False)
        page.unload(actions.leave)
    return page.queue(default_concurrency_limit=1)


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Serve the page until `gr.Blocks.close`.

    Args:
        page: The page that `build` returns.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Returns:
        The address of the page, for a browser on this machine.

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
            js=_SCRIPT,
            theme=_theme(),
        )
    except OSError as error:
        raise InputError(f"{name}:{port}: {one_line(error)}") from error
    # Browsers refuse the addresses that stand for all networks of a machine.
    return f"http://{'localhost' if host in ('0.0.0.0', '::') else name}:{port}"


def _theme() -> gr.themes.Base:
    """Return colors with enough contrast, and the fonts of the visitor's machine."""
    # Gradio's default fonts are loaded from another server.
    theme = gr.themes.Default(
        primary_hue="amber",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["monospace"],
    )
    text = {"link_text_color_dark": "*secondary_300"}
    for name in ("block_info_text_color", "body_text_color_subdued", "block_label_text_color"):
        text |= {name: "*neutral_600", f"{name}_dark": "*neutral_300"}
    button = {}
    for suffix in ("", "_dark"):
        button |= {
            f"button_primary_background_fill{suffix}": "*primary_400",
            f"button_primary_background_fill_hover{suffix}": "*primary_300",
            f"button_primary_text_color{suffix}": "*neutral_950",
        }
    return theme.set(**text, **button)
