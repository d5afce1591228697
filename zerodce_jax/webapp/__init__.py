"""A page in the browser, with Gradio: upload photographs and videos, see and download the results.

The downloads are the files that the command line writes; the preview is a copy of at most 1,024
pixels. Each visitor has a folder for uploads and results, which is removed when the visitor leaves.
`page` has the layout, `controls` the settings, `actions` what the buttons do.
"""

from zerodce_jax.webapp.page import build, launch

__all__ = ["build", "launch"]
