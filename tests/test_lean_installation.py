"""Without the extra ``train``: enhancing works, and all that needs JAX names the extra."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import video_files
from zerodce_jax.errors import install_command

# Runs commands in one process, without the packages of the extra, and prints their exit statuses.
RUN = """
import json, sys
absent = "absl flax grain jax jaxlib optax orbax platformdirs tensorboardX tensorstore".split()
sys.modules |= dict.fromkeys(absent)
from zerodce_jax.cli import main
print(json.dumps([main(command) for command in json.loads(sys.argv[1])]))
for name in ("zerodce_jax.DCENet", "zerodce_jax.training.fit"):
    try:
        eval(name, {"zerodce_jax": __import__("zerodce_jax")})
    except (ImportError, ValueError) as error:
        print(error, file=sys.stderr)
"""
Run = Callable[..., tuple[list[int], str]]


@pytest.fixture
def run_lean(python: Callable[..., subprocess.CompletedProcess[str]]) -> Run:
    """Return a function from commands to their exit statuses and standard error."""

    def run(*commands: tuple[object, ...]) -> tuple[list[int], str]:
        arguments = [[str(argument) for argument in command] for command in commands]
        result = python("-c", RUN, json.dumps(arguments))
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1]), result.stderr

    return run


def test_enhancing_needs_no_package_of_training(
    run_lean: Run, goldens: Path, pictures: Path, tmp_path: Path
) -> None:
    converted, out = tmp_path / "net.safetensors", tmp_path / "out"
    statuses, _ = run_lean(
        ("convert", goldens / "reduced_random.pth", converted),
        ("enhance", pictures, "-o", out / "scene"),
        ("enhance", pictures, "-m", "reduced", "-o", out / "reduced"),
        ("enhance", pictures, "-m", converted, "-o", out / "converted", "--format", "tiff"),
        ("evaluate", "scene", "--images", pictures),
    )
    assert statuses == [0] * 5
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    names = {"scene/a.png", "scene/sub/gray.png", "reduced/a.png", "reduced/sub/gray.png"}
    assert files == names | {"converted/a.tif", "converted/sub/gray.tif"}


@pytest.mark.needs("av")
def test_videos_need_no_package_of_training(run_lean: Run, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    video_files.write(film, video_files.noisy_frames(2))
    assert run_lean(("enhance", film, "-o", tmp_path / "out.mp4"))[0] == [0]
    assert len(video_files.pixels_of(tmp_path / "out.mp4")) == 2


def test_what_needs_training_packages_names_the_extra_in_one_line(
    run_lean: Run, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    statuses, errors = run_lean(
        ("enhance", pictures, "-o", tmp_path / "out", "--engine", "xla"),
        ("enhance", pictures, "-o", tmp_path / "out", "-m", pictures),
        ("convert", "scene", folder),
        ("export", tmp_path / "net.onnx"),
        ("train", "--data", pictures, "--workdir", tmp_path / "run"),
    )
    assert statuses == [2] * 5
    advice = f"needs packages: {install_command('train')}"
    users = ["the engine xla", f"the folder {pictures}", f"the folder {folder}", "export"]
    assert errors.splitlines() == [
        *(f"zerodce: {user} {advice}" for user in [*users, "training"]),
        f"DCENet needs jax: {install_command('train')}",
        f"training {advice}",
    ]
    assert not folder.exists()
    assert not (tmp_path / "run").exists()
