"""Tests of denoise.py: a float64 reference, pixels that must not change, how much noise is left."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import whole_image
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH, NOISE, denoise, resolve_denoise
from zerodce_jax.ops.guided_filter import REACH


def padded_batch(image: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a batch of one image with arbitrary values beyond its edges, its gain and its mask."""
    padding = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    inside = np.pad(np.ones((1, *image.shape[:2], 1), np.float32), padding)
    image = np.pad(image[None], padding, constant_values=0.7)
    return image, np.pad(gain[None], padding, constant_values=100), inside


def denoise_whole(
    image: np.ndarray, gain: np.ndarray | float, strength: float, xp: Any = np
) -> np.ndarray:
    """Denoise a whole image through a batch with a mask."""
    gain = np.broadcast_to(np.float32(gain), image.shape)
    image, gain, inside = (xp.asarray(array) for array in padded_batch(image, gain))
    (result,) = np.asarray(denoise(image, gain, strength, inside))
    return result


def noisy_image(*size: int, level: float = 0.4, sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return a flat image with noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, (*size, 3))
    return (level + noise).clip(0, 1).astype(np.float32)


def image_and_gain(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with structure and noise, and gains from 0 to 8."""
    rng = np.random.default_rng(seed)
    structure = rng.random((-(-height // 5), -(-width // 5), 3)).repeat(5, 0).repeat(5, 1)
    image = 0.9 * structure[:height, :width] + rng.normal(0, 0.03, (height, width, 3))
    gain = rng.uniform(0, 8, (height, width, 3))
    return image.clip(0, 1).astype(np.float32), gain.astype(np.float32)


@settings(max_examples=20)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    strength=st.floats(0.05, 1),
    seed=st.integers(0, 1000),
)
def test_masked_image_equals_the_whole_image_up_to_its_edges(
    height: int, width: int, strength: float, seed: int
) -> None:
    image, gain = image_and_gain(height, width, seed)
    expected = whole_image.remove_noise(image, gain, strength)
    np.testing.assert_allclose(denoise_whole(image, gain, strength), expected, rtol=0, atol=1e-4)


def test_each_image_of_a_batch_has_its_own_edges() -> None:
    image, gain = image_and_gain(20, 30)
    whole = whole_image.remove_noise(image, gain, 0.7)
    inside = np.zeros((2, 20, 30, 1), np.float32)
    inside[0, 2:, :23] = 1
    inside[1, :, 4:] = 1
    images = np.where(inside > 0, image, np.float32(0.3))
    first, second = denoise(images, np.broadcast_to(gain, images.shape), 0.7, inside)
    assert first.shape == (20 - 2 * REACH, 30 - 2 * REACH, 3)
    expected = whole_image.remove_noise(image[2:, :23], gain[2:, :23], 0.7)
    np.testing.assert_allclose(first[:, :17], expected[4:12, 6:], rtol=0, atol=1e-4)
    expected = whole_image.remove_noise(image[:, 4:], gain[:, 4:], 0.7)
    np.testing.assert_allclose(second, expected[6:14, 2:20], rtol=0, atol=1e-4)
    # Close to the edge, the mask makes a difference.
    assert np.abs(whole[6:14, 18:23] - first[:, 12:17]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0])
def test_pixels_with_gain_at_most_1_keep_every_bit(gain: float, xp: Any) -> None:
    image, _ = image_and_gain(23, 17)
    image[:5], image[5:8], image[8:10] = 0, 1, 0.3
    np.testing.assert_array_equal(denoise_whole(image, gain, 1.0, xp), image)


@pytest.mark.parametrize(
    "xp", [np, pytest.param(jnp, marks=pytest.mark.slow)], ids=["numpy", "jax"]
)
def test_strength_0_changes_nothing(xp: Any) -> None:
    image, gain = image_and_gain(23, 17)
    image[:5], image[5:8] = 0, 1
    np.testing.assert_array_equal(denoise_whole(image, gain, 0.0, xp), image)
    assert np.abs(denoise_whole(image, gain, 0.1, xp) - image).max() > 1e-4


def test_pixels_change_only_within_reach_of_an_amplified_pixel() -> None:
    image = noisy_image(40, 40)
    gain = np.ones_like(image)
    gain[20, 20] = 30
    changed = np.argwhere((denoise_whole(image, gain, 1.0) != image).any(axis=-1))
    assert np.abs(changed - 20).max() == REACH


@pytest.mark.parametrize(("gain", "sigma"), [(2.0, 0.02), (4.0, 0.05), (8.0, 0.1)])
def test_remaining_noise_follows_the_formula(gain: float, sigma: float) -> None:
    image = noisy_image(120, 120, sigma=sigma)
    before = sigma
    for strength in (0.3, 0.6, 1.0):
        result = denoise_whole(image, gain, strength)
        brightness = result.mean(axis=-1)
        # The filter keeps the share a of the noise, and averages the rest over windows.
        for channel, noise, factor in (
            (brightness, sigma / np.sqrt(3), 1),
            (result[..., 0] - brightness, sigma * np.sqrt(2 / 3), 4),
        ):
            a = noise**2 / (noise**2 + factor * (strength * 0.02 * (gain - 1)) ** 2)
            expected = np.hypot(a * noise, (1 - a) * noise / 12)
            assert channel.std() == pytest.approx(expected, rel=0.3)
        assert result.std() < before
        assert result.mean() == pytest.approx(float(image.mean()), abs=1e-3)
        before = result.std()


def test_gray_images_stay_gray() -> None:
    image = noisy_image(40, 40)
    image[:] = image[..., :1]
    result = denoise_whole(image, 4.0, 1.0)
    np.testing.assert_allclose(result[..., 1:], result[..., :2], rtol=0, atol=1e-6)
    assert result.std() < 0.6 * image.std()


def test_edges_far_above_the_noise_are_kept() -> None:
    image = np.full((24, 40, 3), 0.1, np.float32)
    image[:, 20:] = 0.9
    result = denoise_whole(image, 2.0, 1.0)
    assert np.abs(result - image).max() < 1 / 255
    noisy = (image + np.random.default_rng(0).normal(0, 0.01, image.shape)).astype(np.float32)
    result = denoise_whole(noisy, 2.0, 1.0)
    # The edge keeps its position and height; a few pixels away, the noise is reduced.
    columns = slice(14, 26)
    change = (result - noisy)[:, columns].mean(axis=0)
    assert np.abs(change).max() < 1 / 255
    assert result[:, :12].std() < 0.3 * noisy[:, :12].std()
    assert np.abs(result[:, :12].mean() - 0.1) < 1e-3


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    strength=st.floats(0, 1),
    gain=st.floats(0, 256),
    contrast=st.floats(0, 10),
)
def test_denoised_image_stays_between_0_and_1(
    seed: int, strength: float, gain: float, contrast: float
) -> None:
    pixels = np.random.default_rng(seed).normal(0.5, 1, (9, 11, 3)) * contrast
    image = pixels.clip(0, 1).astype(np.float32)
    result = denoise_whole(image, gain, strength)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_numpy_and_jax_agree(strength: float) -> None:
    image, gain, inside = padded_batch(*image_and_gain(19, 33))
    with_numpy = denoise(image, gain, strength, inside)
    jitted = jax.jit(lambda image, gain, inside: denoise(image, gain, strength, inside))
    with_jax = jitted(image, gain, inside)
    assert isinstance(with_numpy, np.ndarray)
    assert isinstance(with_jax, jnp.ndarray)
    np.testing.assert_allclose(with_numpy, with_jax, rtol=0, atol=1e-5)


# The denoising strength that resolve_denoise chooses.

AUTO = EnhanceSettings(denoise="auto")


def test_strength_of_the_settings_is_returned() -> None:
    image = noisy_image(64, 64)
    for strength in (0, 0.35, 1):
        assert resolve_denoise(image, EnhanceSettings(denoise=strength)) == strength


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("sigma", [0.002, 0.004, 0.006, 0.02])
def test_auto_removes_three_times_the_measured_noise(sigma: float, dtype: str) -> None:
    image = noisy_image(200, 300, level=0.2, sigma=sigma)
    if dtype != "float32":
        image = np.round(image * 65535).astype(dtype)
    # Brightness has less noise than a channel, and the flattest tenth of the blocks has less still.
    expected = 3 * 0.73 * sigma / np.sqrt(3) / NOISE
    assert resolve_denoise(image, AUTO) == pytest.approx(np.clip(expected, 0.17, 1), rel=0.1)


def test_auto_detects_noise_that_a_camera_has_smoothed() -> None:
    fine = np.random.default_rng(0).normal(0, 1, (201, 301, 3))
    smoothed = (fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1]) / 2
    fine_strength, smoothed_strength = (
        resolve_denoise((0.2 + 0.004 * noise).astype(np.float32), AUTO)
        for noise in (fine[1:, 1:], smoothed)
    )
    assert fine_strength < smoothed_strength < 2 * fine_strength


def test_auto_ignores_structure_beside_flat_regions() -> None:
    image = noisy_image(160, 160, level=0.2, sigma=0.004)
    without_structure = resolve_denoise(image, AUTO)
    image[:, :80] = np.random.default_rng(1).random((160, 80, 3)) * 0.4
    assert resolve_denoise(image, AUTO) == pytest.approx(without_structure, rel=0.1)


@given(height=st.integers(1, 80), width=st.integers(1, 80), seed=st.integers(0, 100))
def test_auto_equals_the_reference(height: int, width: int, seed: int) -> None:
    image = (0.2 + np.random.default_rng(seed).normal(0, 0.01, (height, width, 3))) ** 2
    strength = resolve_denoise(image.astype(np.float32), AUTO)
    assert strength == pytest.approx(whole_image.auto_denoising_strength(image), rel=1e-3)


def test_auto_is_minimal_without_noise_or_with_few_dark_blocks() -> None:
    bright, black = noisy_image(160, 160, level=0.7), noisy_image(160, 160, level=0, sigma=0.004)
    flat, small = np.full((160, 160, 3), 60, np.uint8), noisy_image(63, 63)
    for image in (bright, black, flat, small, np.zeros((1, 500, 3), np.uint8)):
        assert resolve_denoise(image, AUTO) == MIN_AUTO_STRENGTH


def test_auto_measures_blocks_from_all_over_a_large_image() -> None:
    image = np.full((1024, 1536, 3), 0.9, np.float32)
    assert resolve_denoise(image, AUTO) == MIN_AUTO_STRENGTH
    # Only the last eighth of the rows and of the columns has noise.
    image[896:, 1344:] = noisy_image(128, 192, level=0.2, sigma=0.02)
    assert resolve_denoise(image, AUTO) > 0.8
