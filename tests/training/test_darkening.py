"""darkening.py: photographs with less light, and the losses of restoring them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zerodce_jax.config import NetworkConfig, TrainConfig
from zerodce_jax.models.modules import init_params
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.training import darkening
from zerodce_jax.training.darkening import darken, restoration_losses
from zerodce_jax.training.hosts import shard_batch
from zerodce_jax.training.step import init_state, make_losses, make_step

RAMP = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (64, 64, 3))


def ramps(count: int) -> jax.Array:
    return jnp.asarray(np.broadcast_to(RAMP, (count, *RAMP.shape)))


@pytest.mark.slow
def test_darkened_images_are_darker_8_bit_and_keep_the_order_of_brightness() -> None:
    dark = np.asarray(darken(ramps(32), jax.random.key(0)))
    assert dark.min() >= 0
    assert dark.max() <= 1
    np.testing.assert_allclose(dark * 255, np.round(dark * 255), atol=1e-4)
    rows = dark.mean((2, 3))
    assert (rows <= RAMP.mean((1, 2)) + 0.02).all()
    # Apart from noise, brighter pixels stay brighter.
    assert (np.diff(rows, axis=1) > -0.03).all()


@pytest.mark.slow
def test_factors_act_in_linear_light_and_are_log_uniform() -> None:
    # Behind the gamma and the smooth step, one factor applies to all pixels of an image.
    gray = jnp.full((200, 16, 16, 3), 0.9)
    encoded = darken(gray, jax.random.key(1)).mean((1, 2, 3))
    factors = (np.asarray(inverse_smooth_step(encoded)) / inverse_smooth_step(0.9)) ** 2.2
    assert factors.min() == pytest.approx(0.02, rel=0.2)
    assert factors.max() == pytest.approx(1, rel=0.1)
    # Half of log-uniform factors lie below the geometric mean of the limits.
    assert np.mean(factors < np.sqrt(0.02)) == pytest.approx(0.5, abs=0.12)


def inverse_smooth_step(y: float | jax.Array) -> jax.Array:
    return 0.5 - jnp.sin(jnp.arcsin(1 - 2 * jnp.asarray(y)) / 3)


@pytest.mark.slow
def test_noise_grows_with_light_and_differs_between_images() -> None:
    flat = jnp.full((64, 32, 32, 3), 0.9)
    deviations = np.asarray(darken(flat, jax.random.key(2)).std((1, 2, 3)))
    assert deviations.max() > 4 * deviations.min()
    assert deviations.max() < 0.2


@pytest.mark.slow
def test_the_key_decides_the_result() -> None:
    first, same, other = (darken(ramps(2), jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (np.asarray(first) != np.asarray(other)).any()


@pytest.mark.slow
def test_perfect_restoration_has_no_loss() -> None:
    # The curve with A = -1 maps 0.25 to 0.4375.
    bright = jnp.full((2, 32, 32, 3), 0.4375)
    maps = jnp.full((2, 32, 32, 3), -1.0)
    terms = restoration_losses(
        bright, jnp.full_like(bright, 0.25), maps, TrainConfig(), iterations=1
    )
    assert set(terms) == {"consistency", "spatial", "exposure", "smoothness"}
    for name, value in terms.items():
        assert float(value) == pytest.approx(0, abs=1e-3), name


@pytest.mark.slow
def test_consistency_depends_on_the_shape_of_curves_and_not_on_their_strength() -> None:
    image = ramps(1) * 0.8 + 0.05

    def consistency(maps: jax.Array) -> float:
        terms = restoration_losses(image, image * 0.5, maps, TrainConfig(), iterations=8)
        return float(terms["consistency"])

    flat = jnp.full((1, 64, 64, 3), -0.1)
    assert consistency(flat) == pytest.approx(consistency(2 * flat), rel=0.01)
    # Stronger curves in bright regions come closer to the factor of 2 than equal curves.
    assert consistency(flat * (0.2 + ramps(1))) < 0.8 * consistency(flat)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 8])
def test_steps_lower_the_loss_and_are_reproducible(scale: int) -> None:
    config = TrainConfig(scale=scale, darken=True, lr=5e-3)
    pixels = (np.asarray(ramps(2)) * 160).astype(np.uint8)
    pixels[1] = pixels[1].transpose(1, 0, 2)

    def run() -> list[float]:
        state = init_state(init_params(config.network, seed=0), config, 12)
        step = make_step(make_losses(config.network, config), config, 12)
        totals = []
        for _ in range(12):
            state, metrics = step(state, shard_batch(pixels))
            totals.append(float(metrics["total"]))
        return totals

    totals = run()
    assert all(np.isfinite(totals))
    assert np.mean(totals[-4:]) < np.mean(totals[:4])
    assert run() == totals


@pytest.mark.slow
def test_each_step_darkens_differently_and_validation_always_alike() -> None:
    losses = make_losses(NetworkConfig(), TrainConfig(darken=True))
    params = init_params(NetworkConfig(), seed=0)
    validation, again, first = (
        float(losses(params, ramps(2), *step)[1]["consistency"]) for step in ((), (0,), (1,))
    )
    assert validation == again != first


@pytest.mark.slow
def test_gradients_are_finite_on_black_and_on_constant_images() -> None:
    losses = make_losses(NetworkConfig(), TrainConfig(darken=True))
    params = init_params(NetworkConfig(), seed=0)
    gradient = jax.jit(jax.grad(lambda p, x: losses(p, x)[0]))
    for value in (0.0, 0.4, 1.0):
        grads = gradient(params, jnp.full((2, 32, 32, 3), value))
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(grads))


def test_strengths_bring_images_to_their_brightness() -> None:
    dark = ramps(2) * jnp.asarray([0.2, 0.5])[:, None, None, None]
    maps = jnp.full((2, 64, 64, 3), -0.2)
    brightness = jnp.asarray([0.3, 0.4])
    strengths = darkening._strengths(dark, maps, brightness, 8)
    enhanced = apply_curves(dark, strengths[:, None, None, None] * maps, iterations=8)
    np.testing.assert_allclose(enhanced.mean((1, 2, 3)), brightness, atol=0.01)
