"""camera.py: the tone curve by hand, light and pixels as inverses, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zerodce_jax.training import camera

ALL_PIXELS = jnp.arange(256, dtype=jnp.float32).reshape(1, 16, 16, 1).repeat(3, -1) / 255


def test_tone_curve_by_hand() -> None:
    for light in (0.0, 0.001, 0.03, 0.25, 0.8, 1.0):
        encoded = light ** (1 / 2.2)
        expected = round(255 * (3 * encoded**2 - 2 * encoded**3)) / 255
        pixels = camera.to_pixels(jnp.full((1, 2, 2, 3), light))
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-6)


def test_pixels_of_the_light_of_pixels_are_these_pixels() -> None:
    light = camera.to_light(ALL_PIXELS)
    assert float(light.min()) < 1e-9
    assert float(light.max()) == 1
    np.testing.assert_allclose(camera.to_pixels(light), ALL_PIXELS, rtol=0, atol=1e-6)


def test_images_are_rounded_to_8_bits_first() -> None:
    image = jnp.full((1, 1, 1, 3), 100.4 / 255)
    rounded = jnp.full((1, 1, 1, 3), 100 / 255)
    np.testing.assert_array_equal(camera.to_light(image), camera.to_light(rounded))


def test_light_outside_the_range_is_cut_off() -> None:
    assert float(camera.to_pixels(jnp.full((1, 1, 1, 3), 1.4)).min()) == 1
    assert float(camera.to_pixels(jnp.full((1, 1, 1, 3), -0.1)).max()) == 0


def test_noise_has_the_given_variance_in_light() -> None:
    light = jnp.full((1, 1, 1, 3), 0.25)
    noisy = camera.add_noise(light, jnp.ones_like(light), shot=0.04, read=0.1)
    # One standard deviation: sqrt(0.04 * 0.25 + 0.1^2).
    np.testing.assert_allclose(noisy, 0.25 + np.sqrt(0.01 + 0.01), rtol=1e-6)


def test_log_uniform_numbers_lie_within_their_bounds_and_half_below_the_geometric_mean() -> None:
    numbers = np.asarray(camera.log_uniform(jax.random.key(0), (4000,), 1e-4, 1e-2))
    assert 1e-4 <= numbers.min() < 1.1e-4
    assert 0.9e-2 < numbers.max() <= 1e-2 * (1 + 1e-6)
    assert np.mean(numbers < 1e-3) == pytest.approx(0.5, abs=0.04)
