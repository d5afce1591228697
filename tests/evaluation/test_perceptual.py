"""Tests of perceptual.py: LPIPS and NIQE from pyiqa, with random weights.

pyiqa needs several gigabytes. Tests that use it are skipped if it is not installed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command import run
from zerodce_jax.errors import UsageError, install_command
from zerodce_jax.evaluation import perceptual

# A script for a separate process, because pyiqa finds its folder of weights at import time.
WEIGHTS = """
import numpy, scipy.io, torch, torchvision
from pathlib import Path
from pyiqa.archs.lpips_arch import LPIPS, default_model_urls

torch.manual_seed(0)
hub = Path(torch.hub.get_dir())
(hub / "pyiqa").mkdir(parents=True)
(hub / "checkpoints").mkdir()
model = {"mu_prisparam": numpy.zeros((1, 36)), "cov_prisparam": numpy.eye(36)}
scipy.io.savemat(hub / "pyiqa/niqe_modelparameters.mat", model)
backbone = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
torch.save(torchvision.models.alexnet().state_dict(), hub / "checkpoints" / Path(backbone).name)
state = LPIPS(pretrained=False, pnet_rand=True).state_dict()
linear = {name: value.abs() for name, value in state.items() if name.startswith("lin")}
torch.save(linear, hub / "pyiqa" / Path(default_model_urls["0.1_alex"]).name)
"""
PROXY = "http://127.0.0.1:9"  # No server listens on this port.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for PyTorch, with weights of LPIPS and NIQE."""
    pytest.importorskip("pyiqa")
    folder = tmp_path_factory.mktemp("torch")
    environment = os.environ | {"TORCH_HOME": str(folder)}
    subprocess.run([sys.executable, "-c", WEIGHTS], env=environment, check=True)
    return folder


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder with the subfolders low (two dark photographs, one small) and high."""
    for name, size in (("large", 200), ("small", 90)):
        pixels = np.random.default_rng(0).integers(0, 64, (size, size, 3), dtype=np.uint8)
        for folder, factor in (("low", 1), ("high", 3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels * np.uint8(factor)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def run_evaluate(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zerodce_jax", "evaluate", "reduced", "--engine", "onnx"]
    offline = {"https_proxy": PROXY, "http_proxy": PROXY, "TORCH_HOME": str(home)}
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=os.environ | offline,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_lpips_and_niqe_score_pairs(home: Path, photographs: Path) -> None:
    folders = (photographs / "low", photographs / "high")
    table = photographs / "scores.csv"
    done = run_evaluate(home, "--pairs", *folders, "--perceptual", "lpips", "niqe", "--csv", table)
    assert done.returncode == 0, done.stderr
    assert "| lpips ↓ | niqe ↓ |" in done.stdout.splitlines()[0]
    rows = [line.split(",") for line in table.read_text().splitlines()]
    columns = {name: rows[0].index(name) for name in ("image", "network", "lpips", "niqe")}
    scores = {
        (Path(row[columns["image"]]).stem, row[columns["network"]], name): row[columns[name]]
        for row in rows[1:]
        for name in ("lpips", "niqe")
    }
    # The enhanced photograph is nearer to the reference than the dark one.
    assert 0 < float(scores["large", "reduced", "lpips"]) < float(scores["large", "input", "lpips"])
    assert float(scores["large", "reduced", "niqe"]) > 0
    # NIQE needs at least 96x96 pixels.
    assert float(scores["small", "reduced", "lpips"]) > 0
    assert scores["small", "reduced", "niqe"] == ""


@pytest.mark.slow
def test_scores_equal_those_of_pyiqa(home: Path, photographs: Path) -> None:
    script = """
import sys
import numpy, pyiqa, torch
from PIL import Image
from zerodce_jax.evaluation import perceptual
image, reference = (numpy.asarray(Image.open(path)) / numpy.float32(255) for path in sys.argv[1:])
lpips, niqe = perceptual.load_metrics(["lpips", "niqe", "lpips"], references=True)
print(lpips(image, reference), pyiqa.create_metric("lpips")(*sys.argv[1:]).item())
print(niqe(image, reference), pyiqa.create_metric("niqe")(sys.argv[1]).item())
print(lpips(image, image), niqe(numpy.zeros_like(image), None))
"""
    paths = [str(photographs / folder / "large.png") for folder in ("low", "high")]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:zerodce_jax", "-c", script, *paths],
        env=os.environ | {"TORCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    *_, lpips, niqe, last = done.stdout.splitlines()
    for line in (lpips, niqe):
        score, expected = map(float, line.split())
        assert score == pytest.approx(expected, rel=1e-5)
    assert last == "0.0 nan"


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_missing_or_damaged_weights_give_one_line(
    home: Path, photographs: Path, tmp_path: Path, damaged: bool
) -> None:
    if damaged:
        for source in home.rglob("*.*"):
            target = tmp_path / source.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"not weights")
    images = ("--images", photographs / "low")
    done = run_evaluate(tmp_path, *images, "--perceptual", "niqe")
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.splitlines()[-1]
    cause = f"its weights are missing or damaged in {tmp_path / 'hub'}, "
    assert line.startswith(f"zerodce: niqe: {cause}")


@pytest.mark.slow
def test_unsuitable_metrics_are_refused(home: Path, photographs: Path) -> None:
    images = ("--images", photographs / "low")
    pairs = ("--pairs", photographs / "low", photographs / "high")
    for arguments, cause in (
        ((*images, "lpips"), "lpips needs references: use --pairs LOW HIGH"),
        ((*images, "beauty"), "beauty: not a metric of images in pyiqa"),
        ((*images, "fid"), "fid: not a metric of images in pyiqa"),
        ((*pairs, "psnr"), "psnr is always computed; it is not a perceptual metric"),
    ):
        *folders, name = arguments
        done = run_evaluate(home, *folders, "--perceptual", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1] == f"zerodce: {cause}"


def test_the_error_names_the_extra_if_pyiqa_is_missing(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    arguments = ("reduced", "--images", photographs / "low", "--engine", "onnx")
    assert run("evaluate", *arguments, "--perceptual", "niqe", "musiq") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = f"niqe, musiq: needs packages: {install_command('perceptual')}"
    assert captured.err == f"zerodce: {message}\n"


def test_no_names_need_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert perceptual.load_metrics([], references=True) == []
    with pytest.raises(UsageError, match=re.escape(install_command("perceptual"))):
        perceptual.load_metrics(["lpips"], references=True)
