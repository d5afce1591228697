"""denoise.py: against plain loops in float64, what it leaves alone, what it takes away."""

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


def batch_of(image: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture as the middle of a batch of one; what lies beyond its edges is anything."""
    around = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    inside = np.pad(np.ones((1, *image.shape[:2], 1), np.float32), around)
    image = np.pad(image[None], around, constant_values=0.7)
    return image, np.pad(gain[None], around, constant_values=100), inside


def denoised(
    image: np.ndarray, gain: np.ndarray | float, amount: float, xp: Any = np
) -> np.ndarray:
    """A whole picture, held down to its edges."""
    full = np.broadcast_to(np.float32(gain), image.shape)
    image, gain, inside = (xp.asarray(array) for array in batch_of(image, full))
    (result,) = np.asarray(denoise(image, gain, amount, inside))
    return result


def grain(*size: int, level: float = 0.4, sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    """A flat picture with noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, (*size, 3))
    return (level + noise).clip(0, 1).astype(np.float32)


def picture(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture with structure and noise, and gains from none to strong ones."""
    rng = np.random.default_rng(seed)
    structure = rng.random((-(-height // 5), -(-width // 5), 3)).repeat(5, 0).repeat(5, 1)
    image = 0.9 * structure[:height, :width] + rng.normal(0, 0.03, (height, width, 3))
    gain = rng.uniform(0, 8, (height, width, 3))
    return image.clip(0, 1).astype(np.float32), gain.astype(np.float32)


@settings(max_examples=20)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    amount=st.floats(0.05, 1),
    seed=st.integers(0, 1000),
)
def test_whole_pictures_to_their_edges(height: int, width: int, amount: float, seed: int) -> None:
    image, gain = picture(height, width, seed)
    expected = whole_image.denoised(image, gain, amount)
    np.testing.assert_allclose(denoised(image, gain, amount), expected, rtol=0, atol=1e-4)


def test_pictures_of_a_batch_end_at_edges_of_their_own() -> None:
    image, gain = picture(20, 30)
    whole = whole_image.denoised(image, gain, 0.7)
    inside = np.zeros((2, 20, 30, 1), np.float32)
    inside[0, 2:, :23] = 1
    inside[1, :, 4:] = 1
    images = np.where(inside > 0, image, np.float32(0.3))
    first, second = denoise(images, np.broadcast_to(gain, images.shape), 0.7, inside)
    assert first.shape == (20 - 2 * REACH, 30 - 2 * REACH, 3)
    alone = whole_image.denoised(image[2:, :23], gain[2:, :23], 0.7)
    np.testing.assert_allclose(first[:, :17], alone[4:12, 6:], rtol=0, atol=1e-4)
    alone = whole_image.denoised(image[:, 4:], gain[:, 4:], 0.7)
    np.testing.assert_allclose(second, alone[6:14, 2:20], rtol=0, atol=1e-4)
    # Near those edges it makes a difference.
    assert np.abs(whole[6:14, 18:23] - first[:, 12:17]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0])
def test_what_was_not_amplified_stays_to_the_last_bit(gain: float, xp: Any) -> None:
    image, _ = picture(23, 17)
    image[:5], image[5:8], image[8:10] = 0, 1, 0.3
    np.testing.assert_array_equal(denoised(image, gain, 1.0, xp), image)


@pytest.mark.parametrize(
    "xp", [np, pytest.param(jnp, marks=pytest.mark.slow)], ids=["numpy", "jax"]
)
def test_an_amount_of_none_changes_nothing(xp: Any) -> None:
    image, gain = picture(23, 17)
    image[:5], image[5:8] = 0, 1
    np.testing.assert_array_equal(denoised(image, gain, 0.0, xp), image)
    assert np.abs(denoised(image, gain, 0.1, xp) - image).max() > 1e-4


def test_only_what_lies_near_an_amplified_pixel_changes() -> None:
    image = grain(40, 40)
    gain = np.ones_like(image)
    gain[20, 20] = 30
    changed = np.argwhere((denoised(image, gain, 1.0) != image).any(axis=-1))
    assert np.abs(changed - 20).max() == REACH


@pytest.mark.parametrize(("gain", "sigma"), [(2.0, 0.02), (4.0, 0.05), (8.0, 0.1)])
def test_noise_falls_as_the_formula_says(gain: float, sigma: float) -> None:
    image = grain(120, 120, sigma=sigma)
    before = sigma
    for amount in (0.3, 0.6, 1.0):
        result = denoised(image, gain, amount)
        light = result.mean(axis=-1)
        # Brightness, and red beside it: of the noise the share a is left, and of the rest the mean
        # over windows.
        for found, noise, factor in (
            (light, sigma / np.sqrt(3), 1),
            (result[..., 0] - light, sigma * np.sqrt(2 / 3), 4),
        ):
            a = noise**2 / (noise**2 + factor * (amount * 0.02 * (gain - 1)) ** 2)
            expected = np.hypot(a * noise, (1 - a) * noise / 12)
            assert found.std() == pytest.approx(expected, rel=0.3)
        assert result.std() < before
        assert result.mean() == pytest.approx(float(image.mean()), abs=1e-3)
        before = result.std()


def test_gray_stays_gray() -> None:
    image = grain(40, 40)
    image[:] = image[..., :1]
    result = denoised(image, 4.0, 1.0)
    np.testing.assert_allclose(result[..., 1:], result[..., :2], rtol=0, atol=1e-6)
    assert result.std() < 0.6 * image.std()


def test_edges_far_above_the_noise_stay() -> None:
    image = np.full((24, 40, 3), 0.1, np.float32)
    image[:, 20:] = 0.9
    result = denoised(image, 2.0, 1.0)
    assert np.abs(result - image).max() < 1 / 255
    noisy = (image + np.random.default_rng(0).normal(0, 0.01, image.shape)).astype(np.float32)
    result = denoised(noisy, 2.0, 1.0)
    # The edge keeps its place and height; a few pixels away the noise falls.
    columns = slice(14, 26)
    moved = (result - noisy)[:, columns].mean(axis=0)
    assert np.abs(moved).max() < 1 / 255
    assert result[:, :12].std() < 0.3 * noisy[:, :12].std()
    assert np.abs(result[:, :12].mean() - 0.1) < 1e-3


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    amount=st.floats(0, 1),
    gain=st.floats(0, 256),
    contrast=st.floats(0, 10),
)
def test_result_stays_in_range(seed: int, amount: float, gain: float, contrast: float) -> None:
    pixels = np.random.default_rng(seed).normal(0.5, 1, (9, 11, 3)) * contrast
    image = pixels.clip(0, 1).astype(np.float32)
    result = denoised(image, gain, amount)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_numpy_and_jax_agree(amount: float) -> None:
    image, gain, inside = batch_of(*picture(19, 33))
    ours = denoise(image, gain, amount, inside)
    theirs = jax.jit(lambda *arrays: denoise(*arrays[:2], amount, arrays[2]))(image, gain, inside)
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, jnp.ndarray)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


# How strongly, by what is found.

AUTO = EnhanceSettings(denoise="auto")


def test_an_amount_that_is_given_is_taken() -> None:
    image = grain(64, 64)
    for amount in (0, 0.35, 1):
        assert resolve_denoise(image, EnhanceSettings(denoise=amount)) == amount


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("sigma", [0.002, 0.004, 0.006, 0.02])
def test_noise_is_found(sigma: float, dtype: str) -> None:
    image = grain(200, 300, level=0.2, sigma=sigma)
    if dtype != "float32":
        image = np.round(image * 65535).astype(dtype)
    # Of brightness; the flattest tenth of the blocks has less.
    expected = 3 * 0.73 * sigma / np.sqrt(3) / NOISE
    assert resolve_denoise(image, AUTO) == pytest.approx(np.clip(expected, 0.17, 1), rel=0.1)


def test_noise_that_was_smoothed_is_found_too() -> None:
    fine = np.random.default_rng(0).normal(0, 1, (201, 301, 3))
    smoothed = (fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1]) / 2
    sharp, soft = (
        resolve_denoise((0.2 + 0.004 * noise).astype(np.float32), AUTO)
        for noise in (fine[1:, 1:], smoothed)
    )
    assert sharp < soft < 2 * sharp


def test_structure_beside_flat_places_is_no_noise() -> None:
    image = grain(160, 160, level=0.2, sigma=0.004)
    alone = resolve_denoise(image, AUTO)
    image[:, :80] = np.random.default_rng(1).random((160, 80, 3)) * 0.4
    assert resolve_denoise(image, AUTO) == pytest.approx(alone, rel=0.1)


@given(height=st.integers(1, 80), width=st.integers(1, 80), seed=st.integers(0, 100))
def test_amounts_by_the_formula(height: int, width: int, seed: int) -> None:
    image = (0.2 + np.random.default_rng(seed).normal(0, 0.01, (height, width, 3))) ** 2
    found = resolve_denoise(image.astype(np.float32), AUTO)
    assert found == pytest.approx(whole_image.amount(image), rel=1e-3)


def test_pictures_without_noise_or_with_few_dark_places_get_the_least() -> None:
    bright, black = grain(160, 160, level=0.7), grain(160, 160, level=0.0, sigma=0.004)
    flat, small = np.full((160, 160, 3), 60, np.uint8), grain(63, 63)
    for image in (bright, black, flat, small, np.zeros((1, 500, 3), np.uint8)):
        assert resolve_denoise(image, AUTO) == MIN_AUTO_STRENGTH


def test_a_large_picture_is_looked_at_everywhere() -> None:
    image = np.full((1024, 1536, 3), 0.9, np.float32)
    assert resolve_denoise(image, AUTO) == MIN_AUTO_STRENGTH
    # The last eighth, below and at the right.
    image[896:, 1344:] = grain(128, 192, level=0.2, sigma=0.02)
    assert resolve_denoise(image, AUTO) > 0.8
