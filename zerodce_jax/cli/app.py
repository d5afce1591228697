"""``zerodce app``."""

import os
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff

from zerodce_jax.atomic import sweep, working_folder
from zerodce_jax.cli.options import Engine, prepare_engine
from zerodce_jax.errors import require
from zerodce_jax.media.limits import MAX_PIXELS


def app(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    engine: Engine = "auto",
    max_pixels: int = MAX_PIXELS,
    no_browser: Annotated[bool, FlagCreatePairsOff] = False,
) -> int:
    """Open a page in the browser for dark photographs and videos.

    Args:
        host: Address to listen on; use 0.0.0.0 to let other machines
            reach the page.
        port: Port to listen on; 0 takes a free one.
        engine: Engine, as for enhance: auto, xla or onnx.
        max_pixels: Number of pixels of the largest image that is decoded.
        no_browser: Do not open the browser, such as on a server.
    """
    require("the page", "app", "gradio")
    temporary, prefix = Path(tempfile.gettempdir()), "zerodce-app-"
    sweep(temporary, prefix)
    with working_folder(temporary, prefix) as place:
        # Gradio reads it when it is imported.
        os.environ["GRADIO_TEMP_DIR"] = str(place)

        from zerodce_jax import webapp

        page = webapp.build(place, engine=prepare_engine(engine), max_pixels=max_pixels)
        address = webapp.launch(page, host, port)
        print(address, "Press Ctrl-C to stop the page.", sep="\n", flush=True)
        try:
            if not no_browser:
                webbrowser.open(address)
            page.block_thread()
        finally:
            page.close(verbose=False)
    return 0
