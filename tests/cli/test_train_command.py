"""``zerodce train``: the recipe of the chosen architecture, and refused combinations."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.command import run
from zerodce_jax import training
from zerodce_jax.config import TrainConfig
from zerodce_jax.training.loop import Outcome

SCENE = TrainConfig.recipe("scene")


@pytest.mark.usefixtures("no_compilation_cache")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), TrainConfig()),
        (("--model", "original", "--lr", "1e-3"), TrainConfig(model="original", lr=1e-3)),
        (("--model", "scene"), SCENE),
        (("--model=scene",), SCENE),
        (("--steps", "7", "--model", "scene", "--no-flip"), replace(SCENE, steps=7, flip=False)),
    ],
)
def test_the_model_decides_the_defaults_of_the_other_options(
    options: tuple[str, ...],
    expected: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = []

    def fit(config: TrainConfig, **_: object) -> Outcome:
        seen.append(config)
        return Outcome(1)

    monkeypatch.setattr(training, "fit", fit)
    assert run("train", "--data", tmp_path, "--workdir", tmp_path / "run", *options) == 0
    assert seen == [expected]
    assert capsys.readouterr().out == f"{tmp_path / 'run'}: trained to step 1\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crop",), "--darken, --crop and --scale do not go with --model scene"),
        (("--darken",), "--darken, --crop and --scale do not go with --model scene"),
        (("--scale", 4), "--darken, --crop and --scale do not go with --model scene"),
        (("--image-size", 160), "--image-size must be a multiple of 128 for --model scene"),
    ],
)
def test_options_that_do_not_go_with_a_scene_network_are_refused(
    options: tuple, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", tmp_path, "--workdir", tmp_path / "run", "--model", "scene")
    with pytest.raises(SystemExit) as caught:
        run("train", *arguments, *options)
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_models_that_do_not_exist_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("train", "--data", tmp_path, "--workdir", tmp_path / "run", "--model", "fast")
    assert caught.value.code == 2
    assert "scene" in capsys.readouterr().err
