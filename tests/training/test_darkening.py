"""darkening.py: photographs with less light, and the losses of bringing them back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zerodce_jax.config import NetworkConfig, TrainConfig
from zerodce_jax.models.dcenet import init_params
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.training import darkening
from zerodce_jax.training.darkening import darken
from zerodce_jax.training.hosts import shared
from zerodce_jax.training.step import init_state, make_losses, make_step

RAMP = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (64, 64, 3))


def photographs(count: int) -> jax.Array:
    return jnp.asarray(np.broadcast_to(RAMP, (count, *RAMP.shape)))


@pytest.mark.slow
def test_photographs_come_out_darker_in_8_bits_and_in_order() -> None:
    dark = np.asarray(darken(photographs(32), jax.random.key(0)))
    assert dark.min() >= 0
    assert dark.max() <= 1
    np.testing.assert_allclose(dark * 255, np.round(dark * 255), atol=1e-4)
    rows = dark.mean((2, 3))
    assert (rows <= RAMP.mean((1, 2)) + 0.02).all()
    # Noise aside, brighter stays brighter.
    assert (np.diff(rows, axis=1) > -0.03).all()


@pytest.mark.slow
def test_the_light_is_what_the_camera_would_have_got() -> None:
    # Through gamma and smooth step, all pixels lost one factor in linear light.
    gray = jnp.full((200, 16, 16, 3), 0.9)
    encoded = darken(gray, jax.random.key(1)).mean((1, 2, 3))
    factors = (np.asarray(_untoned(encoded)) / _untoned(0.9)) ** 2.2
    assert factors.min() == pytest.approx(0.02, rel=0.2)
    assert factors.max() == pytest.approx(1, rel=0.1)
    # Log-uniform: half of them below the geometric mean of the ends.
    assert np.mean(factors < np.sqrt(0.02)) == pytest.approx(0.5, abs=0.12)


def _untoned(y: float | jax.Array) -> jax.Array:
    return 0.5 - jnp.sin(jnp.arcsin(1 - 2 * jnp.asarray(y)) / 3)


@pytest.mark.slow
def test_noise_grows_with_light_and_differs_from_picture_to_picture() -> None:
    flat = jnp.full((64, 32, 32, 3), 0.9)
    spreads = np.asarray(darken(flat, jax.random.key(2)).std((1, 2, 3)))
    assert spreads.max() > 4 * spreads.min()
    assert spreads.max() < 0.2


def test_one_key_one_outcome() -> None:
    one, same, other = (darken(photographs(2), jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any()


@pytest.mark.slow
def test_a_network_that_brings_everything_back_has_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    # Darkened by the curve itself, with maps that take it back: 0.25 -> 0.4375 at A = -1.
    bright = jnp.full((2, 32, 32, 3), 0.4375)
    monkeypatch.setattr(darkening, "darken", lambda images, key: jnp.full_like(images, 0.25))
    maps = jnp.full((2, 32, 32, 3), -1.0)
    terms = darkening.losses(
        lambda images: (maps, maps),
        bright,
        jax.random.key(0),
        TrainConfig(),
        iterations=1,
    )
    for name, value in terms.items():
        assert float(value) == pytest.approx(0, abs=1e-3), name


@pytest.mark.slow
def test_losses_see_the_shape_of_curves_and_not_their_strength(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = photographs(1) * 0.8 + 0.05
    monkeypatch.setattr(darkening, "darken", lambda images, key: images * 0.5)

    def consistency(maps: jax.Array) -> float:
        config = TrainConfig()
        terms = darkening.losses(
            lambda images: (maps, maps), image, jax.random.key(0), config, iterations=8
        )
        return float(terms["consistency"])

    flat = jnp.full((1, 64, 64, 3), -0.1)
    assert consistency(flat) == pytest.approx(consistency(2 * flat), rel=0.01)
    # More light for bright places comes nearer to a gain than the same for all.
    assert consistency(flat * (0.2 + photographs(1))) < 0.8 * consistency(flat)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["reduced", "fast"])
def test_steps_lower_the_loss_and_can_be_repeated(model: str) -> None:
    config = TrainConfig(model=model, scale=8 if model == "fast" else None, darken=True, lr=5e-3)
    pixels = (np.asarray(photographs(2)) * 160).astype(np.uint8)
    pixels[1] = pixels[1].transpose(1, 0, 2)

    def run() -> list[float]:
        state = init_state(init_params(config.network, seed=0), config, 12)
        step = make_step(config.network, config, 12)
        totals = []
        for _ in range(12):
            state, terms = step(state, shared(pixels))
            totals.append(float(terms["total"]))
        return totals

    totals = run()
    assert all(np.isfinite(totals))
    assert np.mean(totals[-4:]) < np.mean(totals[:4])
    assert run() == totals


@pytest.mark.slow
def test_each_step_darkens_anew_and_validation_always_the_same_way() -> None:
    losses = make_losses(NetworkConfig(), TrainConfig(darken=True))
    params = init_params(NetworkConfig(), seed=0)
    validation, again, first = (
        float(losses(params, photographs(2), *step)["consistency"]) for step in ((), (0,), (1,))
    )
    assert validation == again != first


@pytest.mark.slow
def test_gradients_are_finite_on_black_and_on_plain_images() -> None:
    losses = make_losses(NetworkConfig(), TrainConfig(darken=True))
    params = init_params(NetworkConfig(), seed=0)
    gradient = jax.jit(jax.grad(lambda p, x: losses(p, x)["total"]))
    for value in (0.0, 0.4, 1.0):
        grads = gradient(params, jnp.full((2, 32, 32, 3), value))
        assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(grads))


def test_strengths_bring_pictures_to_their_brightness() -> None:
    dark = photographs(2) * jnp.asarray([0.2, 0.5])[:, None, None, None]
    maps = jnp.full((2, 64, 64, 3), -0.2)
    wanted = jnp.asarray([0.3, 0.4])
    strengths = darkening._strengths(dark, maps, wanted, 8)
    enhanced = apply_curves(dark, strengths[:, None, None, None] * maps, iterations=8)
    np.testing.assert_allclose(enhanced.mean((1, 2, 3)), wanted, atol=0.01)
