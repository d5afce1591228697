"""RAW, JPEG XL, JPEG 2000 and AVIF of 10 bits: folders, pipes, evaluate, page and storage."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.command import enhance, run
from helpers.photo_files import encode_photo, gradient
from helpers.raw_files import encode_dng
from zerodce_jax.jobs.storage import folder_at
from zerodce_jax.media import decoding, photo
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.photograph import Photo

pytestmark = pytest.mark.needs("rawpy")
DARK = gradient(32, 48, 3, dtype="uint16") // 16
RESULTS = {"dng": "tif", "jxl": "jxl", "jp2": "jp2", "avif": "avif"}
ONNX = ("--engine", "onnx")


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """Return a dark file of 16, 10 or more bits by its suffix."""
    encoded = {suffix: encode_photo(Photo(DARK), suffix)[0] for suffix in ("jxl", "jp2", "avif")}
    return encoded | {"dng": encode_dng(DARK / 65535)}


@pytest.fixture
def folder(contents: dict[str, bytes], tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for suffix, content in contents.items():
        (tmp_path / "in" / f"{suffix}.{suffix}").write_bytes(content)
    return tmp_path / "in"


def assert_brighter(opened: Photo, suffix: str) -> None:
    """Assert a result of 16 bits that is brighter than its source."""
    assert opened.pixels.shape == DARK.shape
    assert opened.pixels.dtype == np.uint16
    # RAW holds linear light, which its encoding brightens.
    assert opened.pixels.mean() > (2 if suffix != "dng" else 1) * DARK.mean()


def test_folders(folder: Path, tmp_path: Path) -> None:
    assert enhance(folder, "-o", tmp_path / "out", *ONNX) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{suffix}.{result}" for suffix, result in RESULTS.items()}
    for suffix, result in RESULTS.items():
        assert_brighter(photo.read(tmp_path / "out" / f"{suffix}.{result}"), suffix)
    assert enhance(folder, "-o", tmp_path / "jpeg", *ONNX, "--format", "jpeg") == 0
    assert photo.read(tmp_path / "jpeg" / "dng.jpg").format == "jpeg"


@pytest.mark.parametrize("suffix", RESULTS)
def test_pipes(
    suffix: str,
    contents: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(contents[suffix])))
    assert enhance("-", "-o", "-", *ONNX) == 0
    result = decoding.decode(capfdbinary.readouterr().out)
    assert result.format == {"dng": "tiff"}.get(suffix, suffix)
    assert_brighter(result, suffix)


def test_evaluate(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert run("evaluate", "scene", "--images", folder, "--json", report, *ONNX) == 0
    text = json.dumps(json.loads(report.read_text()))
    assert all(f"{suffix}.{suffix}" in text for suffix in RESULTS)


PAGE = """
import sys
from pathlib import Path
import gradio as gr
from zerodce_jax import webapp

page = webapp.build(Path(sys.argv[1]), engine="onnx")
functions = {entry.fn.__name__: entry.fn for entry in page.fns.values() if entry.fn is not None}
visitor, files = gr.Request(session_hash="one"), sys.argv[2:]
settings = ("auto", 0.4, 1.0, 1.0, 1.0, "auto", 0.5)
functions["upload"](visitor, files)
for file in files:
    slider, *_, message = functions["show"](visitor, file, "scene", *settings)
    assert slider.visible, message.value
results, message = functions["enhance"](visitor, files, "scene", *settings)
assert f"Enhanced {len(files)} of {len(files)}." in message.value, message.value
print(*(Path(file["path"]).name for file in results.value))
"""


@pytest.mark.slow
@pytest.mark.needs("gradio")
def test_the_page(folder: Path, tmp_path: Path, python: Callable) -> None:
    result = python("-c", PAGE, tmp_path / "page", *sorted(folder.iterdir()))
    assert result.returncode == 0, result.stderr
    shown = set(result.stdout.split())
    assert shown >= {f"{suffix}.{name}" for suffix, name in RESULTS.items()}


@pytest.mark.parametrize("suffix", RESULTS)
@pytest.mark.needs("pyarrow", "fsspec")
def test_storage_of_clusters(suffix: str, contents: dict[str, bytes]) -> None:
    storage = folder_at("memory://formats")
    path = storage.root / f"a.{suffix}"
    storage.files.put(path, io.BytesIO(contents[suffix]))
    assert {str(item.target) for item in storage.files.find(storage.root, None)} >= {path.name}
    assert storage.files.size(path, max_pixels=MAX_PIXELS) == (48, 32)
    opened = storage.files.read(path, max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(opened.pixels, decoding.decode(contents[suffix]).pixels)
    target = storage.root / f"b.{RESULTS[suffix]}"
    assert storage.files.write(target, opened) == ()
    assert storage.files.read(target, max_pixels=MAX_PIXELS).pixels.dtype == np.uint16
