"""Tests of curves.py: values computed by hand, ranges, iterations, the gain as a derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zerodce_jax.ops.curves import apply_curve, apply_curves, curve_gain, curve_of_iteration


def pixel(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32).reshape(1, 1, -1)


def random_arrays(channels: int, low: float) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (2, 2, channels), elements=st.floats(low, 1, width=32))


def test_one_iteration_by_hand() -> None:
    # x + a (x^2 - x): 0.5 + 0.25 = 0.75; 0.5 - 0.5 * 0.25 = 0.375; 0.2 + 0.5 * 0.16 = 0.28
    result = apply_curve(pixel(0.5, 0.5, 0.2), pixel(-1, 0.5, -0.5))
    np.testing.assert_allclose(result, pixel(0.75, 0.375, 0.28), rtol=1e-6)


def test_two_iterations_by_hand() -> None:
    # Red: 0.5 -> 0.75 -> 0.75 + 0.1875 = 0.9375. Green: 0.5. Blue: 0.5 -> 0.25 -> 0.25 + 0.1875.
    maps = pixel(-1, 0, 1, -1, 0, -1)
    result = apply_curves(pixel(0.5, 0.5, 0.5), maps, iterations=2)
    np.testing.assert_allclose(result, pixel(0.9375, 0.5, 0.4375), rtol=1e-6)


def test_curves_stop_after_the_requested_iterations() -> None:
    maps = pixel(-1, -1, -1, 1, 1, 1)
    result = apply_curves(pixel(0.5, 0.5, 0.5), maps, iterations=1)
    np.testing.assert_allclose(result, pixel(0.75, 0.75, 0.75), rtol=1e-6)
    assert apply_curves(pixel(0.5, 0.5, 0.5), maps, iterations=0).tolist() == [[[0.5] * 3]]


def test_shared_maps_apply_to_every_iteration() -> None:
    shared = pixel(-0.3, 0.2, -1)
    repeated = jnp.tile(shared, 5)
    image = pixel(0.1, 0.6, 0.3)
    np.testing.assert_array_equal(
        apply_curves(image, shared, iterations=5), apply_curves(image, repeated, iterations=5)
    )


def test_each_iteration_uses_three_consecutive_channels() -> None:
    maps = jnp.arange(24.0).reshape(1, 1, 24)
    assert curve_of_iteration(maps, 2).ravel().tolist() == [6, 7, 8]


@hypothesis_settings(max_examples=30)
@given(random_arrays(3, 0), random_arrays(24, -1))
def test_enhanced_image_stays_between_0_and_1(image: np.ndarray, maps: np.ndarray) -> None:
    result = apply_curves(jnp.asarray(image), jnp.asarray(maps), iterations=8)
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1


def test_zero_maps_change_nothing_and_black_and_white_stay() -> None:
    image = pixel(0.0, 0.37, 1.0)
    np.testing.assert_array_equal(apply_curves(image, jnp.zeros((1, 1, 24)), iterations=8), image)
    extremes = pixel(0, 1, 1)
    maps = pixel(-0.7, -0.7, 0.4)
    np.testing.assert_array_equal(apply_curves(extremes, maps, iterations=8), extremes)


@pytest.mark.parametrize("channels", [3, 24])
@pytest.mark.parametrize("iterations", [0, 3, 8])
def test_gain_is_the_derivative_of_the_curves(channels: int, iterations: int) -> None:
    rng = np.random.default_rng(5)
    image = jnp.asarray(rng.random((2, 4, 5, 3)), jnp.float32)
    maps = jnp.asarray(rng.uniform(-1, 1, (2, 4, 5, channels)), jnp.float32)
    _, derivative = jax.jvp(
        lambda x: apply_curves(x, maps, iterations=iterations), (image,), (jnp.ones_like(image),)
    )
    gain = curve_gain(image, maps, iterations=iterations)
    np.testing.assert_allclose(gain, derivative, rtol=1e-4, atol=1e-5)


def test_gain_by_hand() -> None:
    # (1 - (2 * 0.25 - 1)) (1 - (2 * 0.4375 - 1)) = 1.5 * 1.125
    gain = curve_gain(pixel(0.25, 0, 1), pixel(-1, -1, -1), iterations=2)
    np.testing.assert_allclose(gain, pixel(1.6875, 4, 0), rtol=1e-6)


@pytest.mark.parametrize("function", [apply_curves, curve_gain])
def test_too_few_maps_raise_an_error(function: Callable) -> None:
    with pytest.raises(ValueError, match="6 curve maps are too few for 3 iterations"):
        function(pixel(0.5, 0.5, 0.5), jnp.zeros((1, 1, 6)), iterations=3)


@pytest.mark.parametrize("function", [apply_curves, curve_gain])
@pytest.mark.parametrize("channels", [3, 12])
def test_numpy_input_gives_numpy_output_that_agrees_with_jax(
    function: Callable, channels: int
) -> None:
    rng = np.random.default_rng(6)
    image = rng.random((4, 5, 3), dtype=np.float32)
    maps = rng.uniform(-1, 1, (4, 5, channels)).astype(np.float32)
    before = image.copy()
    with_numpy = function(image, maps, iterations=4)
    with_jax = function(jnp.asarray(image), jnp.asarray(maps), iterations=4)
    assert isinstance(with_numpy, np.ndarray)
    assert isinstance(with_jax, jax.Array)
    np.testing.assert_allclose(with_numpy, with_jax, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(image, before)
