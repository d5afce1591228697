"""losses.py: values and gradients equal those of PyTorch, and gradients are always finite."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zerodce_jax.config import LossConfig
from zerodce_jax.training import losses


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in np.load(goldens / "losses.npz").items()}


def relative_error(value: jax.Array, expected: jax.Array) -> float:
    return float(jnp.abs(value - expected).max() / jnp.abs(expected).max())


@pytest.mark.parametrize("name", ["spatial", "exposure", "color", "smoothness"])
def test_value_and_gradient_equal_those_of_pytorch(name: str, golden: dict[str, jax.Array]) -> None:
    functions: dict[str, Callable] = {
        "spatial": lambda x: losses.spatial_consistency_loss(golden["input"], x),
        "exposure": losses.exposure_loss,
        "color": losses.color_constancy_loss,
        "smoothness": losses.illumination_smoothness_loss,
    }
    x = golden["curves" if name == "smoothness" else "enhanced"]
    value, gradient = jax.jit(jax.value_and_grad(functions[name]))(x)
    assert relative_error(value, golden[name]) < 1e-5
    assert relative_error(gradient, golden[f"grad_{name}"]) < 1e-5


def test_weighted_losses_are_losses_times_weights(golden: dict[str, jax.Array]) -> None:
    config = LossConfig(
        spatial_weight=2, exposure_weight=3, color_weight=5, smoothness_weight=7, exposure_level=0.6
    )
    weighted_losses = jax.jit(losses.weighted_losses, static_argnums=3)
    terms = weighted_losses(golden["input"], golden["enhanced"], golden["curves"], config)
    expected = {
        "spatial": 2 * golden["spatial"],
        "exposure": 3 * golden["exposure"],
        "color": 5 * golden["color"],
        "smoothness": 7 * golden["smoothness"],
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert relative_error(terms[name], value) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("color", [(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (0.2, 0.4, 0.6)])
def test_constant_images_have_finite_losses_and_gradients(color: tuple[float, ...]) -> None:
    image = jnp.broadcast_to(jnp.array(color, jnp.float32), (2, 32, 32, 3))

    def total(enhanced: jax.Array, maps: jax.Array) -> jax.Array:
        terms = losses.weighted_losses(image, enhanced, maps, LossConfig())
        return sum(terms.values(), jnp.zeros(()))

    maps = jnp.zeros((2, 32, 32, 24))
    value, gradients = jax.value_and_grad(total, argnums=(0, 1))(image, maps)
    assert jnp.isfinite(value)
    assert all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.slow
def test_nearly_gray_images_have_finite_gradients() -> None:
    for difference in 10.0 ** -jnp.arange(1, 20):
        image = jnp.full((1, 16, 16, 3), 0.5).at[..., 0].add(difference)
        assert bool(jnp.isfinite(jax.grad(losses.color_constancy_loss)(image)).all()), difference


def test_color_loss_of_known_colors() -> None:
    image = jnp.broadcast_to(jnp.array([0.1, 0.3, 0.7], jnp.float32), (1, 16, 16, 3))
    expected = (0.2**4 + 0.6**4 + 0.4**4) ** 0.5
    assert losses.color_constancy_loss(image) == pytest.approx(expected, rel=1e-5)


def test_exposure_loss_of_known_regions() -> None:
    image = jnp.zeros((1, 16, 32, 3)).at[:, :, 16:].set(1.0)
    expected = (0.6**2 + 0.4**2) / 2
    assert losses.exposure_loss(image, level=0.6) == pytest.approx(expected, rel=1e-6)


def test_spatial_loss_of_a_known_change() -> None:
    # One region of four gets brighter by 1. It then differs from its 4 neighbors, two of which
    # lie outside the image, and 2 neighbors differ from it.
    change = jnp.zeros((1, 8, 8, 3)).at[:, :4, :4].set(1.0)
    loss = jax.jit(losses.spatial_consistency_loss)(jnp.zeros_like(change), change)
    assert loss == pytest.approx(6 / 4)


def test_smoothness_loss_of_a_ramp() -> None:
    ramp = jnp.broadcast_to(jnp.arange(5.0)[None, :, None, None], (2, 5, 7, 24)) * 0.1
    assert losses.illumination_smoothness_loss(ramp) == pytest.approx(2 * 24 * 0.01, rel=1e-4)


def test_remainders_at_the_far_edges_are_dropped() -> None:
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((2, 16, 32, 3)), jnp.float32)
    larger = jnp.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0)), constant_values=1.0)
    for loss in (
        jax.jit(losses.exposure_loss),
        jax.jit(lambda x: losses.spatial_consistency_loss(jnp.zeros_like(x), x)),
    ):
        assert loss(larger) == pytest.approx(float(loss(image)), rel=1e-6)


def test_images_smaller_than_a_region_are_refused() -> None:
    with pytest.raises(ValueError, match="smaller than a region"):
        losses.exposure_loss(jnp.zeros((1, 15, 40, 3)))


def test_maps_of_one_row_or_column_are_smooth() -> None:
    assert losses.illumination_smoothness_loss(jnp.ones((1, 1, 1, 24))) == 0
