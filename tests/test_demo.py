"""The live demo of docs/demo, in a real browser."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from helpers import browser
from helpers import photo_files as files
from zerodce_jax import Enhancer

pytestmark = [pytest.mark.slow, pytest.mark.browser, browser.NEEDED]


class Demo:
    """The page in a browser."""

    def __init__(self, driver: Any, address: str, folder: Path) -> None:
        self.driver, self.address, self.folder = driver, address, folder

    def text(self, name: str) -> str:
        return self.driver.find_element(By.ID, name).text

    def wait_for(self, name: str, start: str) -> None:
        def found(_: object) -> bool:
            return self.text(name).startswith(start)

        try:
            WebDriverWait(self.driver, 60, 0.1).until(found)
        except Exception as error:
            shown = self.text("state"), self.text("problem"), self.driver.get_log("browser")
            raise AssertionError(shown) from error

    def load(self) -> None:
        self.driver.get(self.address)
        self.wait_for("state", "Ready (")

    def open(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.write_bytes(data)
        self.driver.find_element(By.ID, "file").send_keys(str(path))

    def set_strength(self, value: float) -> None:
        script = """const slider = document.getElementById("strength");
            slider.value = arguments[0];
            for (const name of ["input", "change"]) slider.dispatchEvent(new Event(name));"""
        self.driver.execute_script(script, value)

    def shown(self, name: str) -> np.ndarray:
        script = "return document.getElementById(arguments[0]).toDataURL('image/png')"
        url = self.driver.execute_script(script, name)
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        return np.asarray(image.convert("RGB"))

    def download(self) -> bytes:
        """Press the button, and return the file that the browser saves."""
        before = {*self.folder.iterdir()}
        button = self.driver.find_element(By.ID, "download")
        # It is disabled while a preview is computed.
        WebDriverWait(self.driver, 60, 0.1).until(lambda _: button.is_enabled())
        button.click()
        for _ in range(600):
            new = [path for path in {*self.folder.iterdir()} - before if "_bright" in path.name]
            if new and new[0].suffix != ".crdownload" and "saved" in self.text("state"):
                return new[0].read_bytes()
            time.sleep(0.1)
        raise AssertionError(self.text("problem") or "no file was saved")


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the page was built."""
    npm = shutil.which("npm")
    if npm is None and not browser.IN_CI:
        pytest.skip("npm is not installed")
    # The sources stay as they are, since other tests read them at the same time.
    copy = tmp_path_factory.mktemp("built") / "docs" / "demo"
    unwanted = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(root / "docs" / "demo", copy, ignore=unwanted)
    (copy.parent.parent / "examples").symlink_to(root / "examples")
    variables = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(root)}
    for command in (["ci", "--no-audit", "--no-fund", "--ignore-scripts"], ["run", "build"]):
        subprocess.run(
            [npm or "npm", *command], cwd=copy, env=variables, check=True, capture_output=True
        )
    return copy / "dist"


@pytest.fixture(scope="module")
def demo(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("downloads")
    with browser.served(built) as address, browser.chromium() as driver:
        driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
        )
        page = Demo(driver, address, folder)
        page.load()
        yield page


def dark_png(name: str, root: Path) -> tuple[bytes, np.ndarray]:
    image = Image.open(root / "examples" / name).convert("RGB")
    return files.encode_image(image, "png"), np.asarray(image)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("name", ["chelsea.jpg", "coffee_night.jpg"])
def test_results_are_those_of_the_package(
    demo: Demo, root: Path, name: str, strength: float
) -> None:
    data, dark = dark_png(name, root)
    demo.open(f"{name}-{strength}.png", data)
    demo.wait_for("state", f"{name}-{strength}.png: enhanced in ")
    demo.set_strength(strength)
    saved = np.asarray(Image.open(io.BytesIO(demo.download())).convert("RGB"))
    expected = Enhancer.load(engine="onnx")(dark, strength=strength)
    assert np.abs(saved.astype(int) - expected).max() <= 2
    assert saved.mean() > 1.2 * dark.mean()
    np.testing.assert_array_equal(demo.shown("before"), dark)
    assert np.abs(demo.shown("after").astype(int) - expected).max() <= 2
    demo.set_strength(1)


def test_the_photograph_keeps_its_exif_and_is_upright(demo: Demo, root: Path) -> None:
    upright = Image.open(root / "examples" / "coffee.jpg").convert("RGB")
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    exif = files.exif(6, thumbnail=files.THUMBNAIL)
    demo.open("turned.jpg", files.encode_image(stored, "jpg", exif=exif, quality=95))
    demo.wait_for("state", "turned.jpg: enhanced in ")
    saved = Image.open(io.BytesIO(demo.download()))
    assert (saved.format, saved.size) == ("JPEG", upright.size)
    kept = saved.info["exif"].removeprefix(b"Exif\0\0")
    assert kept == files.exif(1, thumbnail=files.THUMBNAIL)
    expected = Enhancer.load(engine="onnx")(np.asarray(upright))
    assert np.abs(np.asarray(saved.convert("RGB")).astype(int) - expected).mean() < 4


def test_files_that_are_not_images_are_named_in_one_line(demo: Demo) -> None:
    demo.open("bad.jpg", b"not an image")
    demo.wait_for("problem", "bad.jpg: this is not an image that the browser can read")
    assert demo.text("state") == ""
    demo.driver.find_element(By.ID, "sample").click()
    demo.wait_for("state", "sample.jpg: enhanced in ")
    assert demo.text("problem") == ""


# Notes the longest time for which the page could not react.
WATCH = """
window.longest = 0;
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  window.longest = Math.max(window.longest, now - last);
  last = now;
}, 5);
"""


def test_the_page_reacts_while_a_photograph_is_computed(demo: Demo) -> None:
    pixels = files.gradient(1500, 2000, 3) // 5
    demo.driver.execute_script(WATCH)
    demo.open("large.jpg", files.encode_image(Image.fromarray(pixels), "jpg"))
    demo.wait_for("state", "large.jpg: enhanced in ")
    saved = Image.open(io.BytesIO(demo.download()))
    assert saved.size == (2000, 1500)
    # Far below the seconds that the computation takes, also on a busy machine.
    assert demo.driver.execute_script("return window.longest") < 1000


def test_nothing_is_asked_of_other_machines_and_the_page_works_offline(built: Path) -> None:
    with ExitStack() as server, browser.chromium(log_requests=True) as driver:
        address = server.enter_context(browser.served(built))
        page = Demo(driver, address, built)
        page.load()
        driver.find_element(By.ID, "sample").click()
        page.wait_for("state", "sample.jpg: enhanced in ")
        expected = page.shown("after")
        entries = [
            json.loads(entry["message"])["message"] for entry in driver.get_log("performance")
        ]
        asked = [
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
        ]
        assert len(asked) > 3
        assert {url for url in asked if not url.startswith((address, "blob:", "data:"))} == set()
        server.close()
        page.load()
        driver.find_element(By.ID, "sample").click()
        page.wait_for("state", "sample.jpg: enhanced in ")
        np.testing.assert_array_equal(page.shown("after"), expected)
