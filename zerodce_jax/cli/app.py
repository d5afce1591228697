"""``zerodce app``."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Literal


def app(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    engine: Literal["auto", "xla", "onnx"] = "auto",
    max_pixels: int = 300_000_000,
) -> int:
    """Open a page in the browser for dark photographs.

    Args:
        host: Address to listen on; other machines reach 0.0.0.0.
        port: Port to listen on; 0 takes a free one.
        engine: What computes, as for enhance.
        max_pixels: Pixels of the largest picture that is decoded.
    """
    from importlib.util import find_spec

    from zerodce_jax.atomic import sweep, working_folder
    from zerodce_jax.errors import UsageError

    if find_spec("gradio") is None:
        raise UsageError("the page needs a package: pip install 'zerodce-jax[app]'")
    # A service manager stops programs in this way: as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    temporary, prefix = Path(tempfile.gettempdir()), "zerodce-app-"
    sweep(temporary, prefix)
    with working_folder(temporary, prefix) as place:
        # Read when the page is made; nothing is sent anywhere.
        os.environ |= {"GRADIO_TEMP_DIR": str(place), "GRADIO_ANALYTICS_ENABLED": "False"}

        from zerodce_jax import webapp
        from zerodce_jax.cli.enhancing import make_ready

        page = webapp.build(place, engine=make_ready(engine), max_pixels=max_pixels)
        print(webapp.launch(page, host, port), flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)
    return 0
