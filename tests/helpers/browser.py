"""A real browser, Debian's Chromium, and a file server on loopback for it."""

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
# In CI a missing browser is an error: .ci/run installs it.
IN_CI = os.environ.get("CI") == "true"
NEEDED = pytest.mark.skipif(
    (BROWSER is None or DRIVER is None) and not IN_CI, reason="apt-get install chromium-driver"
)


@contextmanager
def chromium(*, log_requests: bool = False) -> Iterator[webdriver.Chrome]:
    """Run a headless browser, whose log ``performance`` may list all requests."""
    options = webdriver.ChromeOptions()
    if log_requests:
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.binary_location = BROWSER or "chromium"
    # The sandbox does not run as root, and /dev/shm is small in containers.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    # Otherwise Chromium contacts its maker's servers.
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
    """Serve the files of a folder, and yield the address."""
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
