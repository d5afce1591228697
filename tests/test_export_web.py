"""Tests of docs/export/web: an exported network runs in a real browser."""

import base64
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from helpers import browser
from helpers.command import run
from zerodce_jax import Enhancer

VERSION = "1.30.0"


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the web page, an exported network and ONNX Runtime Web."""
    npm = shutil.which("npm")
    if npm is None and not browser.IN_CI:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("web")
    shutil.copy(root / "docs" / "export" / "web" / "index.html", folder)
    assert run("export", folder / "scene.onnx") == 0
    install = ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(
        [npm or "npm", *install, f"onnxruntime-web@{VERSION}"], check=True, capture_output=True
    )
    return folder


@pytest.mark.slow
@pytest.mark.browser
@browser.NEEDED
def test_page_enhances_photographs_in_the_browser_and_reports_damaged_files(
    root: Path, page: Path, tmp_path: Path
) -> None:
    with browser.served(page) as address, browser.chromium() as driver:
        driver.get(address)

        def wait_for(state: str) -> None:
            WebDriverWait(driver, 60).until(
                lambda driver: driver.find_element(By.ID, "state").text == state,
                f"{driver.find_element(By.ID, 'problem').text} {driver.get_log('browser')}",
            )

        wait_for("ready")
        for name in ("coffee.jpg", "chelsea.jpg"):
            dark = Image.open(root / "examples" / name).convert("RGB")
            file = (tmp_path / name).with_suffix(".png")
            dark.save(file)
            driver.find_element(By.ID, "file").send_keys(str(file))
            wait_for(f"{file.name}: done")
            script = "return document.getElementById(arguments[0]).toDataURL('image/png')"
            before, after = (
                Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
                for url in (driver.execute_script(script, id_) for id_ in ("before", "after"))
            )
            np.testing.assert_array_equal(before, dark)
            result = np.asarray(after).astype(float)
            expected = Enhancer.load()(np.asarray(dark)).astype(float)
            assert result.shape == expected.shape
            assert np.abs(result - expected).mean() < 3
            assert result.mean() > 2 * np.asarray(dark).mean()
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"not an image")
        driver.find_element(By.ID, "file").send_keys(str(bad))
        WebDriverWait(driver, 30).until(lambda d: d.find_element(By.ID, "problem").text)
        assert driver.find_element(By.ID, "problem").text.startswith("bad.png: ")
        assert driver.find_element(By.ID, "state").text == ""
