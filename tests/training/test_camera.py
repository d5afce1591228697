"""camera.py: tone curves by hand, light and pixels as inverses, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zerodce_jax.training import camera

ALL_PIXELS = jnp.arange(256, dtype=jnp.float32).reshape(1, 16, 16, 1).repeat(3, -1) / 255
CONTRASTS = range(len(camera.CONTRASTS))


def take(light: jax.Array, contrast: int, *, shot: float = 0.0, read: float = 0.0) -> np.ndarray:
    normal = jnp.ones_like(light)
    return np.asarray(camera.take(light, normal, contrast=contrast, shot=shot, read=read))


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_tone_curves_by_hand(contrast: int) -> None:
    for light in (0.0, 0.001, 0.03, 0.25, 0.8, 1.0):
        encoded = light ** (1 / 2.2)
        smooth_step = 3 * encoded**2 - 2 * encoded**3
        share = contrast / 4
        expected = round(255 * ((1 - share) * encoded + share * smooth_step)) / 255
        pixels = take(jnp.full((1, 2, 2, 3), light), contrast)
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_without_noise_taking_a_photograph_undoes_to_light(contrast: int) -> None:
    light = camera.to_light(ALL_PIXELS, contrast)
    assert float(light.min()) == 0
    assert float(light.max()) == 1
    np.testing.assert_allclose(take(light, contrast), ALL_PIXELS, rtol=0, atol=1e-6)


def test_contrast_may_differ_between_images() -> None:
    images = jnp.concatenate([ALL_PIXELS, ALL_PIXELS])
    contrast = jnp.asarray([0, 4]).reshape(2, 1, 1, 1)
    light = camera.to_light(images, contrast)
    for image, index in zip(light, (0, 4), strict=True):
        np.testing.assert_array_equal(image, camera.to_light(ALL_PIXELS, index)[0])
    # A pure gamma of 2.2.
    np.testing.assert_allclose(light[0], ALL_PIXELS[0] ** 2.2, rtol=0, atol=1e-5)
    taken = camera.take(light, jnp.zeros_like(light), contrast=contrast, shot=0, read=0)
    np.testing.assert_allclose(taken, images, rtol=0, atol=1e-6)


def test_images_are_rounded_to_8_bits_first() -> None:
    image = jnp.full((1, 1, 1, 3), 100.4 / 255)
    rounded = jnp.full((1, 1, 1, 3), 100 / 255)
    np.testing.assert_array_equal(camera.to_light(image, 2), camera.to_light(rounded, 2))


def test_noise_has_the_given_variance_in_light() -> None:
    light = jnp.full((1, 1, 1, 3), 0.25)
    # One standard deviation: sqrt(0.04 * 0.25 + 0.1^2).
    pixels = take(light, 0, shot=0.04, read=0.1)
    expected = (0.25 + np.sqrt(0.01 + 0.01)) ** (1 / 2.2)
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=0.5 / 255 + 1e-6)
    # Light beyond white, or below black, is cut off.
    assert take(jnp.full((1, 1, 1, 3), 0.9), 0, read=0.5).max() == 1
    dark = camera.take(light, -jnp.ones_like(light), contrast=0, shot=0, read=0.5)
    assert float(dark.max()) == 0


def test_log_uniform_numbers_lie_within_their_bounds_and_half_below_the_geometric_mean() -> None:
    numbers = np.asarray(camera.log_uniform(jax.random.key(0), (4000,), 1e-4, 1e-2))
    assert 1e-4 <= numbers.min() < 1.1e-4
    assert 0.9e-2 < numbers.max() <= 1e-2 * (1 + 1e-6)
    assert np.mean(numbers < 1e-3) == pytest.approx(0.5, abs=0.04)
