"""Loss functions and architectures that the package does not contain, and the example of both."""

import json
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig, SceneConfig, TrainConfig
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import serialization
from zerodce_jax.training import fit
from zerodce_jax.training.losses import weighted_losses
from zerodce_jax.training.step import make_losses

EXAMPLE = Path("examples") / "custom_loss.py"
TINY = TrainConfig(steps=2, batch_size=2, image_size=16, log_every=1)
NETWORK = NetworkConfig(features=2, iterations=2)
PARAMS = random_network(NETWORK).params


def brightness(
    _images: jax.Array, enhanced: jax.Array, _maps: jax.Array, config: TrainConfig
) -> dict[str, jax.Array]:
    return {"brightness": jnp.square(enhanced.mean() - config.exposure_level)}


def other_brightness(
    _images: jax.Array, enhanced: jax.Array, _maps: jax.Array, _config: TrainConfig
) -> dict[str, jax.Array]:
    return {"brightness": -enhanced.mean()}


def read_log(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_loss_function_and_an_architecture_are_trained_logged_and_recorded(
    photographs: Path, tmp_path: Path
) -> None:
    init = random_network(NETWORK)
    fit(TINY, data=photographs, workdir=tmp_path, network=NETWORK, init=init, losses=brightness)
    names = {"step", "brightness", "total", "grad_norm", "lr", "images_per_second"}
    log = read_log(tmp_path)
    assert [set(entry) for entry in log] == [names, names]
    assert all(entry["total"] == entry["brightness"] for entry in log)
    assert serialization.load_network(tmp_path).config == NETWORK
    recorded = json.loads((tmp_path / "config.json").read_text())["losses"]
    assert recorded == f"{__name__}.brightness"


def test_total_is_the_sum_of_the_losses_that_the_function_returns() -> None:
    def two_losses(
        images: jax.Array, enhanced: jax.Array, maps: jax.Array, _config: TrainConfig
    ) -> dict[str, jax.Array]:
        assert images.shape == enhanced.shape == (2, 16, 16, 3)
        assert maps.shape == (2, 16, 16, 6)
        return {"first": enhanced.mean() - images.mean(), "second": jnp.abs(maps).mean()}

    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 90, (2, 16, 16, 3), dtype=np.uint8))
    _, terms = jax.jit(make_losses(NETWORK, TINY, two_losses))(PARAMS, pixels)
    assert set(terms) == {"first", "second", "total"}
    assert float(terms["total"]) == pytest.approx(float(terms["first"] + terms["second"]))


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_loss_function(photographs: Path, tmp_path: Path) -> None:
    train = partial(fit, data=photographs, workdir=tmp_path, network=NETWORK)
    train(TINY, losses=brightness)
    longer = TrainConfig(**{**vars(TINY), "steps": 3})
    for losses in (other_brightness, weighted_losses):
        message = f"differs in loss function \\({__name__}.brightness, now .*{losses.__name__}\\)"
        with pytest.raises(InputError, match=message):
            train(longer, losses=losses)
    assert train(longer, losses=brightness).step == 3


@pytest.mark.slow
def test_runs_that_record_no_loss_function_have_the_default_one(
    photographs: Path, tmp_path: Path
) -> None:
    train = partial(fit, TINY, data=photographs, workdir=tmp_path, network=NETWORK)
    train()
    config = json.loads((tmp_path / "config.json").read_text())
    del config["losses"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="differs in loss function"):
        train(losses=brightness)
    assert train().step == 2


def test_unusable_loss_functions_are_refused(photographs: Path, tmp_path: Path) -> None:
    train = partial(fit, data=photographs, workdir=tmp_path / "run", network=NETWORK)
    for unnamed in (lambda *arguments: brightness(*arguments), partial(brightness)):
        with pytest.raises(UsageError, match="define the loss function with def"):
            train(TINY, losses=unnamed)
    with pytest.raises(UsageError, match="has its own losses, not others"):
        train(TrainConfig(**{**vars(TINY), "darken": True}), losses=brightness)
    with pytest.raises(UsageError, match="has its own losses, not others"):
        train(TrainConfig.recipe("scene"), network=SceneConfig(), losses=brightness)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"total": jnp.zeros(())}, "the name 'total' is reserved"),
        ({"lr": jnp.zeros(())}, "the name 'lr' is reserved"),
        ({"map": jnp.zeros((2, 3))}, r"'map' has shape \(2, 3\), not a scalar's"),
    ],
)
def test_unusable_results_of_a_loss_function_are_refused(terms: dict, message: str) -> None:
    losses = make_losses(NETWORK, TINY, lambda *_: terms)
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(losses, PARAMS, jnp.zeros((1, 16, 16, 3)))


def test_the_model_and_the_architecture_must_agree(photographs: Path, tmp_path: Path) -> None:
    scene = SceneConfig(features=8)
    for config, options in (
        (TINY, {"network": scene}),
        (TINY, {"init": random_network(scene)}),
        (TrainConfig.recipe("scene"), {"network": NETWORK}),
    ):
        with pytest.raises(UsageError, match="--model scene trains scene networks"):
            fit(config, data=photographs, workdir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_init_and_network_must_agree(photographs: Path, tmp_path: Path, goldens: Path) -> None:
    init = serialization.load_network(goldens / "reduced_random.pth")
    with pytest.raises(UsageError, match="another architecture"):
        fit(TINY, data=photographs, workdir=tmp_path, init=init, network=NETWORK)


@pytest.mark.slow
def test_the_example_penalizes_lost_saturation_only(root: Path) -> None:
    losses = runpy.run_path(str(root / EXAMPLE))["losses_with_saturation"]
    gray = jnp.full((1, 16, 16, 3), 0.5)
    colored = gray.at[..., 0].set(0.9)
    maps = jnp.zeros((1, 16, 16, 6))
    assert float(losses(colored, gray, maps, TINY)["saturation"]) == pytest.approx(5 * 0.4**2)
    assert float(losses(gray, colored, maps, TINY)["saturation"]) == 0
    assert set(losses(gray, gray, maps, TINY)) > set(weighted_losses(gray, gray, maps, TINY))


@pytest.mark.slow
def test_the_example_trains_and_resumes(
    python: Callable, root: Path, photographs: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        done = python(root / EXAMPLE, photographs, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    log = read_log(tmp_path)
    assert log[-1]["step"] == 100
    assert log[-1]["total"] < log[0]["total"]
    assert "saturation" in log[0]
    assert serialization.load_network(tmp_path).config == NetworkConfig(features=8, iterations=4)


def test_importing_the_training_package_is_cheap(python: Callable) -> None:
    done = python(
        "-c",
        "import sys, zerodce_jax.training\n"
        "print(sorted({'jax', 'flax', 'orbax', 'grain', 'numpy'} & set(sys.modules)))",
    )
    assert done.stdout == "[]\n", done.stderr
