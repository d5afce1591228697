"""step.py: the original's step on one and two devices; schedule, moving average, bfloat16."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig, SceneConfig, TrainConfig
from zerodce_jax.models import serialization
from zerodce_jax.models.modules import init_params
from zerodce_jax.models.network import flatten
from zerodce_jax.training.hosts import shard_batch
from zerodce_jax.training.step import (
    eval_params,
    init_state,
    learning_rate,
    make_losses,
    make_step,
    normal_numbers,
)


def golden_steps(goldens: Path) -> tuple[list[dict[str, float]], dict]:
    network = serialization.load_network(goldens / "train_start.pth")
    config = TrainConfig()
    state = init_state(network.params, config, 5)
    train_step = make_step(make_losses(network.config, config), config, 5)
    log = []
    for batch in np.load(goldens / "train_5_steps.npz")["batches"]:
        state, metrics = train_step(state, shard_batch(batch))
        log.append({name: float(value) for name, value in metrics.items()})
    return log, jax.tree.map(np.asarray, state["params"])


def test_five_steps_equal_those_of_the_original(goldens: Path) -> None:
    log, params = golden_steps(goldens)
    expected = np.load(goldens / "train_5_steps.npz")
    names = ["total", "spatial", "color", "exposure", "smoothness", "grad_norm"]
    found = np.array([[metrics[name] for name in names] for metrics in log])
    table = expected["loss_total_spatial_color5_exposure10_smoothness300_gradnorm"]
    np.testing.assert_allclose(found, table, rtol=1e-4)
    after = flatten(serialization.load_network(goldens / "train_after_5_steps.pth").params)
    for name, array in flatten(params).items():
        np.testing.assert_allclose(array, after[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_two_devices_take_the_same_steps_as_one(
    goldens: Path, tmp_path: Path, python: Callable
) -> None:
    script = (
        "import sys; sys.path[:0] = ['tests', 'tests/training']\n"
        "import jax, numpy as np; from pathlib import Path\n"
        "from test_step import golden_steps; from zerodce_jax.models.network import flatten\n"
        "assert jax.local_device_count() == 2\n"
        "log, params = golden_steps(Path(sys.argv[1]))\n"
        "totals = np.array([metrics['total'] for metrics in log])\n"
        "np.savez(sys.argv[2], totals=totals, **flatten(params))\n"
    )
    out = tmp_path / "two.npz"
    flags = "--xla_force_host_platform_device_count=2"
    done = python("-c", script, goldens, out, XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    log, params = golden_steps(goldens)
    two = np.load(out)
    np.testing.assert_allclose(two["totals"], [metrics["total"] for metrics in log], rtol=1e-6)
    for name, array in flatten(params).items():
        np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-6, err_msg=name)


def test_total_is_the_sum_of_the_losses() -> None:
    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 90, (2, 16, 16, 3), dtype=np.uint8))
    network = random_network(NetworkConfig(features=2))
    losses = jax.jit(make_losses(network.config, TrainConfig()))
    total, terms = losses(network.params, pixels)
    assert set(terms) == {"spatial", "exposure", "color", "smoothness", "total"}
    assert float(terms.pop("total")) == float(total)
    assert float(total) == pytest.approx(sum(map(float, terms.values())), rel=1e-6)


def test_learning_rate_rises_and_then_falls_or_stays() -> None:
    rate = learning_rate(TrainConfig(lr=1.0, schedule="cosine", warmup_steps=10), 110)
    assert rate(0) == 0
    assert rate(5) == pytest.approx(0.5)
    assert rate(10) == pytest.approx(1.0)
    assert rate(60) == pytest.approx(0.5)
    assert rate(110) == pytest.approx(0.0, abs=1e-6)
    assert learning_rate(TrainConfig(lr=0.3), 110)(100) == pytest.approx(0.3)


@pytest.mark.slow
def test_moving_average_follows_the_parameters() -> None:
    config = TrainConfig(ema=0.9)
    state = init_state(init_params(config.network, seed=0), config, 6)
    train_step = make_step(make_losses(config.network, config), config, 6)
    pixels = np.random.default_rng(0).integers(0, 90, (2, 16, 16, 3), dtype=np.uint8)
    average = jax.tree.map(np.asarray, state["ema"])
    for number in range(3):
        state, _ = train_step(state, shard_batch(pixels))
        decay = min(0.9, (1 + number) / (10 + number))
        average = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), average, state["params"]
        )
    for found, expected in zip(
        jax.tree.leaves(eval_params(state)), jax.tree.leaves(average), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_similar_losses() -> None:
    pixels = np.random.default_rng(0).integers(0, 90, (2, 32, 32, 3), dtype=np.uint8)
    params = jax.tree.map(lambda x: 3 * x, init_params(NetworkConfig(), seed=0))
    full, half = (
        make_losses(NetworkConfig(), TrainConfig(dtype=dtype))(params, jnp.asarray(pixels))[1]
        for dtype in ("float32", "bfloat16")
    )
    assert half["exposure"] == pytest.approx(float(full["exposure"]), rel=0.02)
    assert half["smoothness"] != full["smoothness"]
    config = TrainConfig(dtype="bfloat16")
    state = init_state(params, config, 6)
    state, _ = make_step(make_losses(NetworkConfig(), config), config, 6)(
        state, shard_batch(pixels)
    )
    assert {x.dtype for x in jax.tree.leaves(state["params"])} == {jnp.dtype("float32")}


SCENE = TrainConfig(
    **{**vars(TrainConfig.recipe("scene")), "warmup_steps": 2, "schedule": "constant"}
)
SMALL_SCENE = SceneConfig(features=8, blocks=1, levels=3)


def scene_pixels(count: int) -> np.ndarray:
    """Return well-exposed photographs: soft patches of light."""
    rng = np.random.default_rng(0)
    patches = rng.uniform(0.1, 1, (count, 8, 8, 3))
    large = jax.image.resize(patches, (count, 128, 128, 3), "linear")
    return np.asarray(np.round(255 * large)).astype(np.uint8)


def scene_run(steps: int, config: TrainConfig = SCENE) -> tuple[list[float], dict]:
    pixels = scene_pixels(4)
    state = init_state(init_params(SMALL_SCENE, seed=0), config, steps)
    train_step = make_step(make_losses(SMALL_SCENE, config), config, steps)
    totals = []
    for _ in range(steps):
        state, metrics = train_step(state, shard_batch(pixels))
        totals.append(float(metrics["total"]))
    return totals, jax.tree.map(np.asarray, state["params"])


def test_steps_of_a_scene_network_lower_the_loss_and_are_reproducible() -> None:
    totals, params = scene_run(25)
    again, same = scene_run(25)
    assert totals == again
    for found, expected in zip(jax.tree.leaves(params), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert np.isfinite(totals).all()
    # The same degraded photographs before and after: those of another step.
    losses = jax.jit(make_losses(SMALL_SCENE, SCENE))
    before, after = (
        np.mean([float(losses(x, scene_pixels(4), step)[0]) for step in range(1000, 1010)])
        for x in (init_params(SMALL_SCENE, seed=0), params)
    )
    assert after < before - 0.02


def test_each_step_degrades_differently_and_validation_always_alike() -> None:
    losses = jax.jit(make_losses(SMALL_SCENE, SCENE))
    params, pixels = init_params(SMALL_SCENE, seed=0), scene_pixels(4)
    validation, again, other = (
        float(losses(params, pixels, *step)[0]) for step in ((), (0,), (1,))
    )
    assert validation == again != other
    # The numbers of the noise come from another program, but are the same.
    normal = normal_numbers(SCENE, 1, pixels.shape)
    assert float(losses(params, pixels, 1, normal)[0]) == pytest.approx(other, rel=1e-6)
    assert abs(float(normal.mean())) < 0.01
    assert float(normal.std()) == pytest.approx(1, abs=0.01)
    assert not np.array_equal(normal, normal_numbers(SCENE, 2, pixels.shape))
