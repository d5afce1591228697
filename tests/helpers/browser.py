"""A real browser, Debian's Chromium, and a server of files on loopback for it."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# There it must be: .ci/run installs it.
IN_CI = os.environ.get("CI") == "true"
NEEDED = pytest.mark.skipif(
    (BROWSER is None or DRIVER is None) and not IN_CI, reason="apt-get install chromium-driver"
)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A headless browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or "chromium"
    # The sandbox wants another user than root, and containers have a small /dev/shm.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    # It asks the makers' servers for news, else.
    options.add_argument("--disable-background-networking")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER or "chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's files."""
    handler = functools.partial(_Silent, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
