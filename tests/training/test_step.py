"""step.py: the original's step on one and two devices; schedule, moving average, bfloat16."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig, TrainConfig
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
