"""perceptual.py: LPIPS and NIQE by pyiqa, with weights that were made up for these tests.

pyiqa needs several gigabytes: where it is not installed, what needs it is skipped.
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
from zerodce_jax.errors import UsageError
from zerodce_jax.evaluation import perceptual

# In a process of its own: pyiqa looks for its folder of weights once, when it is imported.
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
PROXY = "http://127.0.0.1:9"  # Nobody listens there.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PyTorch, with weights of LPIPS and NIQE."""
    pytest.importorskip("pyiqa")
    folder = tmp_path_factory.mktemp("torch")
    environment = os.environ | {"TORCH_HOME": str(folder)}
    subprocess.run([sys.executable, "-c", WEIGHTS], env=environment, check=True)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folders low, of a dark picture of noise and a small one, and high."""
    for name, size in (("large", 200), ("small", 90)):
        pixels = np.random.default_rng(0).integers(0, 64, (size, size, 3), dtype=np.uint8)
        for folder, factor in (("low", 1), ("high", 3)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels * np.uint8(factor)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def evaluated(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zerodce_jax", "evaluate", "fast", "--engine", "onnx"]
    offline = {"https_proxy": PROXY, "http_proxy": PROXY, "TORCH_HOME": str(home)}
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=os.environ | offline,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_lpips_and_niqe_of_pairs(home: Path, pictures: Path) -> None:
    folders = (pictures / "low", pictures / "high")
    table = pictures / "figures.csv"
    done = evaluated(home, "--pairs", *folders, "--perceptual", "lpips", "niqe", "--csv", table)
    assert done.returncode == 0, done.stderr
    assert "| lpips ↓ | niqe ↓ |" in done.stdout.splitlines()[0]
    rows = [line.split(",") for line in table.read_text().splitlines()]
    columns = {name: rows[0].index(name) for name in ("image", "network", "lpips", "niqe")}
    found = {
        (Path(row[columns["image"]]).stem, row[columns["network"]], name): row[columns[name]]
        for row in rows[1:]
        for name in ("lpips", "niqe")
    }
    # The enhanced picture is nearer to the reference than the dark one.
    assert 0 < float(found["large", "fast", "lpips"]) < float(found["large", "input", "lpips"])
    assert float(found["large", "fast", "niqe"]) > 0
    # NIQE needs a block of 96x96.
    assert float(found["small", "fast", "lpips"]) > 0
    assert found["small", "fast", "niqe"] == ""


@pytest.mark.slow
def test_what_pyiqa_says_is_what_it_says_alone(home: Path, pictures: Path) -> None:
    script = """
import sys
import numpy, pyiqa, torch
from PIL import Image
from zerodce_jax import perceptual
image, reference = (numpy.asarray(Image.open(path)) / numpy.float32(255) for path in sys.argv[1:])
lpips, niqe = perceptual.load(["lpips", "niqe", "lpips"], references=True)
print(lpips(image, reference), pyiqa.create_metric("lpips")(*sys.argv[1:]).item())
print(niqe(image, reference), pyiqa.create_metric("niqe")(sys.argv[1]).item())
print(lpips(image, image), niqe(numpy.zeros_like(image), None))
"""
    paths = [str(pictures / folder / "large.png") for folder in ("low", "high")]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:zerodce_jax", "-c", script, *paths],
        env=os.environ | {"TORCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    *_, lpips, niqe, last = done.stdout.splitlines()
    for line in (lpips, niqe):
        ours, alone = map(float, line.split())
        assert ours == pytest.approx(alone, rel=1e-5)
    assert last == "0.0 nan"


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_weights_that_are_not_there(
    home: Path, pictures: Path, tmp_path: Path, damaged: bool
) -> None:
    if damaged:
        for source in home.rglob("*.*"):
            target = tmp_path / source.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"no weights")
    images = ("--images", pictures / "low")
    done = evaluated(tmp_path, *images, "--perceptual", "niqe")
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"zerodce: niqe: its weights are not in {tmp_path / 'hub'}, or not ")


@pytest.mark.slow
def test_metrics_that_make_no_sense(home: Path, pictures: Path) -> None:
    images = ("--images", pictures / "low")
    pairs = ("--pairs", pictures / "low", pictures / "high")
    for arguments, cause in (
        ((*images, "lpips"), "lpips compares with references: name --pairs LOW HIGH"),
        ((*images, "beauty"), "beauty: pyiqa has no such metric of images"),
        ((*images, "fid"), "fid: pyiqa has no such metric of images"),
        ((*pairs, "psnr"), "psnr is a figure that is there anyway"),
    ):
        *folders, name = arguments
        done = evaluated(home, *folders, "--perceptual", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1] == f"zerodce: {cause}"


def test_without_its_packages(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    arguments = ("fast", "--images", pictures / "low", "--engine", "onnx")
    assert run("evaluate", *arguments, "--perceptual", "niqe", "musiq") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    needed = "niqe, musiq: needs packages: pip install 'zerodce-jax[perceptual]'"
    assert captured.err == f"zerodce: {needed}\n"


def test_none_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert perceptual.load([], references=True) == []
    with pytest.raises(UsageError, match=re.escape("pip install 'zerodce-jax[perceptual]'")):
        perceptual.load(["lpips"], references=True)
