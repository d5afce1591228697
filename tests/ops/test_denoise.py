"""Tests of denoise.py: a float64 reference, pixels that must not change, noise and color left."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import whole_image
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.curves import apply_curves, curve_gain
from zerodce_jax.ops.denoise import (
    LIGHTLESS_STEPS,
    MIN_AUTO_STRENGTH,
    NOISE,
    REACH,
    denoise,
    gain_of_means,
    resolve_denoise,
)

ROUNDING = 1 / 255


def padded(image: np.ndarray, value: float) -> np.ndarray:
    """Return a batch of one image with a border of one value, of even height and width."""
    sides = [(REACH, REACH + size % 2) for size in image.shape[:2]]
    return np.pad(image[None], ((0, 0), *sides, (0, 0)), constant_values=value)


def denoise_whole(
    image: np.ndarray, enhanced: np.ndarray, strength: float, xp: Any = np
) -> np.ndarray:
    """Denoise a whole image through a batch with a mask."""
    height, width = image.shape[:2]
    inside = padded(np.ones((height, width, 1), np.float32), 0)
    # Values beyond the edges have no influence.
    arrays = (padded(image, 0.1), padded(enhanced, 0.7))
    (result,) = np.asarray(
        denoise(*map(xp.asarray, arrays), strength, ROUNDING, 1.0, xp.asarray(inside))
    )
    return result[:height, :width]


def brighten(image: np.ndarray, strength: float = 0.4) -> np.ndarray:
    """Return an image after eight iterations of one curve; at 0.4, black gets 15 times brighter."""
    maps = np.full_like(image, -strength)
    return apply_curves(image, maps, iterations=8)


def noisy_image(*size: int, level: float = 0.4, sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return a flat image with noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, (*size, 3))
    return (level + noise).clip(0, 1).astype(np.float32)


def structured_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a dark image with structure and noise, in steps of 8 bits."""
    rng = np.random.default_rng(seed)
    structure = rng.random((-(-height // 9), -(-width // 9), 3)).repeat(9, 0).repeat(9, 1) ** 4
    image = structure[:height, :width] / 4 + rng.normal(0, 0.005, (height, width, 3))
    return (np.round(image.clip(0, 1) * 255) / 255).astype(np.float32)


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
    image = structured_image(height, width, seed)
    enhanced = brighten(image)
    expected = whole_image.remove_noise(image, enhanced, strength, ROUNDING, 1.0)
    result = denoise_whole(image, enhanced, strength)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)
    (result,) = denoise(image[None], enhanced[None], strength, ROUNDING, 1.0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_each_image_of_a_batch_has_its_own_edges() -> None:
    image = structured_image(20, 30)
    enhanced = brighten(image)
    whole = whole_image.remove_noise(image, enhanced, 0.7, ROUNDING, 1.0)
    inside = np.zeros((2, 20, 30, 1), np.float32)
    inside[0, 2:, :23] = 1
    inside[1, :, 4:] = 1
    first, second = denoise(
        np.where(inside > 0, image, np.float32(0.3)),
        np.where(inside > 0, enhanced, np.float32(0.9)),
        0.7,
        ROUNDING,
        1.0,
        inside,
    )
    assert first.shape == (20 - 2 * REACH, 30 - 2 * REACH, 3)
    expected = whole_image.remove_noise(image[2:, :23], enhanced[2:, :23], 0.7, ROUNDING, 1.0)
    np.testing.assert_allclose(first[:, :17], expected[4:12, 6:], rtol=0, atol=1e-4)
    expected = whole_image.remove_noise(image[:, 4:], enhanced[:, 4:], 0.7, ROUNDING, 1.0)
    np.testing.assert_allclose(second, expected[6:14, 2:20], rtol=0, atol=1e-4)
    # Close to the edge, the mask makes a difference.
    assert np.abs(whole[6:14, 18:23] - first[:, 12:17]).max() > 1e-3


@pytest.mark.parametrize(
    "xp", [np, pytest.param(jnp, marks=pytest.mark.slow)], ids=["numpy", "jax"]
)
@pytest.mark.parametrize("strength", [0.0, -0.5])
def test_pixels_with_gain_at_most_1_keep_every_bit(strength: float, xp: Any) -> None:
    image = structured_image(23, 17)
    image[:5], image[5:8], image[8:10] = 0, 1, 0.3
    # Curves that darken have a gain below 1 in the dark.
    enhanced = brighten(image / 4, strength)
    assert strength == 0 or enhanced.mean() < 0.9 * image.mean() / 4
    np.testing.assert_array_equal(denoise_whole(image / 4, enhanced, 1.0, xp), enhanced)


@pytest.mark.parametrize(
    "xp", [np, pytest.param(jnp, marks=pytest.mark.slow)], ids=["numpy", "jax"]
)
def test_strength_0_changes_nothing(xp: Any) -> None:
    image = structured_image(23, 17)
    image[:5], image[5:8] = 0, 1
    enhanced = brighten(image)
    np.testing.assert_array_equal(denoise_whole(image, enhanced, 0.0, xp), enhanced)
    assert np.abs(denoise_whole(image, enhanced, 0.1, xp) - enhanced).max() > 1e-4


def test_pixels_change_only_within_reach_of_an_amplified_pixel() -> None:
    image = noisy_image(42, 42, level=0.05, sigma=0.002)
    distances = []
    for place in (20, 21):
        enhanced = image.copy()
        enhanced[place, place] += 0.1
        changed = np.argwhere((denoise_whole(image, enhanced, 1.0) != enhanced).any(axis=-1))
        distances += [np.abs(changed - place).max()]
    assert max(distances) == REACH


@given(
    x=st.floats(0.001, 0.999),
    maps=st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=8),
)
def test_gain_of_means_is_about_the_gain_of_the_curves(x: float, maps: list[float]) -> None:
    image = np.full((1, 1, 1, 3), x)
    curves = np.repeat(maps, 3)[None, None, None]
    options = {"iterations": len(maps)}
    gain = curve_gain(image, curves, **options)
    enhanced = apply_curves(image, curves, **options)
    result = gain_of_means(image[..., :1], enhanced[..., :1])
    # Each iteration leaves out a^2 x (1 - x) <= 0.0225 of at least 0.7.
    np.testing.assert_allclose(result, gain[..., :1], rtol=0.04 * len(maps))


def test_gain_of_means_is_exact_near_black_and_for_unchanged_pixels() -> None:
    x = np.float32([0, 1e-5, 0.2, 0.7, 1])[None, None, :, None]
    np.testing.assert_array_equal(gain_of_means(x, x)[0, 0, 1:4, 0], 1)
    assert gain_of_means(x, x)[0, 0, [0, 4], 0].tolist() == [0, 0]
    dark = np.full((1, 1, 1, 3), 1e-5)
    result = gain_of_means(dark[..., :1], brighten(dark, 0.9)[..., :1])
    np.testing.assert_allclose(result, 1.9**8, rtol=0.01)


def remaining(image: np.ndarray, enhanced: np.ndarray, strength: float) -> tuple[float, float]:
    """Return the deviation of a denoised flat image, in brightness and in color."""
    result = denoise_whole(image, enhanced, strength)[8:-8, 8:-8]
    brightness = result.mean(axis=-1)
    return float(brightness.std()), float((result[..., 0] - brightness).std())


@pytest.mark.parametrize("level", [0.02, 0.04])
def test_noise_that_the_strength_stands_for_is_removed(level: float) -> None:
    image = noisy_image(120, 120, level=level, sigma=0.005)
    enhanced = brighten(image)
    before = enhanced.mean(axis=-1).std(), (enhanced[..., 0] - enhanced.mean(axis=-1)).std()
    # Brightness has the noise of a channel divided by the root of 3.
    exact = 0.005 / np.sqrt(3) / NOISE
    less, more = remaining(image, enhanced, exact), remaining(image, enhanced, 3 * exact)
    assert less[0] < 0.5 * before[0]
    assert less[1] < 0.5 * before[1]
    # Means over windows of 10x10 pixels remain.
    assert more[0] < before[0] / 6
    assert more[1] < before[1] / 6
    result = denoise_whole(image, enhanced, exact)
    # The darkest pixels lose a little light, as black does.
    assert result.mean() == pytest.approx(float(enhanced.mean()), rel=0.01)


def test_noise_far_above_the_strength_stays() -> None:
    image = noisy_image(60, 60, level=0.05, sigma=0.02)
    enhanced = brighten(image, 0.2)
    result = denoise_whole(image, enhanced, 0.1)
    assert result.std() > 0.97 * enhanced.std()


def test_gray_images_stay_gray() -> None:
    image = noisy_image(40, 40, level=0.03, sigma=0.005)
    image[:] = image[..., :1]
    enhanced = brighten(image)
    result = denoise_whole(image, enhanced, 1.0)
    np.testing.assert_allclose(result[..., 1:], result[..., :2], rtol=0, atol=1e-6)
    assert result.std() < 0.6 * enhanced.std()


def test_edges_far_above_the_noise_are_kept() -> None:
    image = np.full((24, 40, 3), 0.02, np.float32)
    image[:, 20:] = 0.4
    noisy = (image + np.random.default_rng(0).normal(0, 0.003, image.shape)).astype(np.float32)
    enhanced = brighten(noisy)
    result = denoise_whole(noisy, enhanced, 0.3)
    # The edge keeps its position and height; a few pixels away, the noise is reduced.
    change = (result - enhanced)[:, 14:26].mean(axis=0)
    assert np.abs(change).max() < 2 / 255
    assert result[:, :12].std() < 0.4 * enhanced[:, :12].std()


# Color in the dark.


def flat_color(
    color: tuple[float, float, float],
    step: float = 1.0,
    *,
    strength: float = 0.5,
    curve: float = 0.8,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a color of 8 bits after denoising, and as it was enhanced, in steps of 8 bits."""
    image = np.broadcast_to(np.float32(color) / 255, (12, 12, 3))
    enhanced = brighten(image, curve)
    (result,) = denoise(image[None], enhanced[None], strength, step / 255, 1.0)
    return 255 * result[6, 6], 255 * enhanced[6, 6]


def test_color_of_the_last_steps_becomes_gray() -> None:
    result, enhanced = flat_color((2, 2, 0), strength=1.0, curve=0.4)
    assert np.ptp(enhanced) > 25
    assert np.ptp(result) < 0.1 * np.ptp(enhanced)


@pytest.mark.parametrize("color", [(12, 10, 8), (9, 0, 0), (40, 60, 90)])
def test_color_well_above_the_steps_is_kept(color: tuple[float, float, float]) -> None:
    result, enhanced = flat_color(color)
    assert np.ptp(result) > 0.9 * np.ptp(enhanced)


@pytest.mark.parametrize("strength", [MIN_AUTO_STRENGTH, 1.0])
@pytest.mark.parametrize("curve", [0.2, 0.4, 0.75])
def test_black_stays_about_as_dark_as_it_was(strength: float, curve: float) -> None:
    # Means of places where few pixels hold a step.
    for color in ((0, 0, 0), (0.3, 0.3, 0.3), (0.6, 0.5, 0.4)):
        result, enhanced = flat_color(color, strength=strength, curve=curve)
        brightened = np.mean(result) - np.mean(color)
        assert 0 <= brightened <= 0.06 * (np.mean(enhanced) - np.mean(color))


@pytest.mark.parametrize("curve", [0.2, 0.4])
def test_about_half_of_the_light_is_left_at_the_threshold(curve: float) -> None:
    result, enhanced = flat_color((LIGHTLESS_STEPS,) * 3, strength=1.0, curve=curve)
    left = (np.mean(result) - LIGHTLESS_STEPS) / (np.mean(enhanced) - LIGHTLESS_STEPS)
    assert 0.4 < left < 0.8


@pytest.mark.parametrize("value", [6, 8, 12, 60])
@pytest.mark.parametrize("curve", [0.2, 0.4, 0.75])
def test_light_well_above_the_steps_is_kept(value: int, curve: float) -> None:
    result, enhanced = flat_color((value, value, value), strength=1.0, curve=curve)
    np.testing.assert_allclose(result, enhanced, rtol=0, atol=1)


@pytest.mark.parametrize("step", [255 / 65535, 0])
def test_inputs_of_finer_steps_keep_their_light(step: float) -> None:
    result, enhanced = flat_color((0.4, 0.4, 0.4), step)
    assert np.mean(enhanced) > 30
    np.testing.assert_allclose(result, enhanced, rtol=0, atol=0.01)


@pytest.mark.parametrize("step", [255 / 65535, 0])
def test_inputs_of_finer_steps_keep_their_color(step: float) -> None:
    result, enhanced = flat_color((1, 1, 0), step)
    np.testing.assert_allclose(result, enhanced, rtol=0, atol=0.01)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), strength=st.floats(0, 1), contrast=st.floats(0, 10))
def test_denoised_image_stays_between_0_and_1(seed: int, strength: float, contrast: float) -> None:
    pixels = np.random.default_rng(seed).normal(0.5, 1, (9, 11, 3)) * contrast
    image = pixels.clip(0, 1).astype(np.float32)
    result = denoise_whole(image, brighten(image, 1.0), strength)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_numpy_and_jax_agree(strength: float) -> None:
    image = structured_image(20, 34)
    arrays = (image[None], brighten(image)[None])
    inside = np.ones((1, 20, 34, 1), np.float32)
    inside[:, 15:] = 0
    for mask in (inside, None):
        with_numpy = denoise(*arrays, strength, ROUNDING, 1.0, mask)
        jitted = jax.jit(lambda x, y, mask: denoise(x, y, strength, ROUNDING, 1.0, mask))
        with_jax = jitted(*arrays, mask)
        assert isinstance(with_numpy, np.ndarray)
        assert isinstance(with_jax, jnp.ndarray)
        np.testing.assert_allclose(with_numpy, with_jax, rtol=0, atol=2e-5)


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
