"""Tests of highlights.py: ceilings by hand, the order of tones, the local brightness."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import whole_image
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.guided_filter import REACH
from zerodce_jax.ops.highlights import highlight_presence, local_brightness, max_curve_strength


def whole_local_brightness(image: np.ndarray) -> np.ndarray:
    """Return the local brightness of a whole image, (height, width, 1)."""
    padding = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    padded = np.pad(image[None], padding)
    inside = np.pad(np.ones((1, *image.shape[:2], 1), np.float32), padding)
    return local_brightness(padded, inside)[0]


def pixel(brightness: float) -> np.ndarray:
    return np.full((1, 1, 1), brightness, np.float32)


def ramp() -> np.ndarray:
    return np.linspace(0, 1, 256, dtype=np.float32)[None, :, None]


def enhance_gray(
    brightness: np.ndarray, protection: float, map_value: float, iterations: int = 8
) -> np.ndarray:
    """Return gray pixels after protected curves with the same map everywhere."""
    limit = max_curve_strength(brightness, protection, iterations=iterations)
    gray = brightness.repeat(3, -1)
    maps = np.maximum(np.full_like(gray, map_value), -limit)
    return apply_curves(gray, maps, iterations=iterations)[0, :, 0]


def test_highlight_presence_by_hand() -> None:
    assert highlight_presence(np.full((9, 9, 3), 0.4, np.float32)) == pytest.approx(0, abs=1e-9)
    assert highlight_presence(np.ones((9, 9, 3), np.float32)) == 1
    # The largest channel decides: t = 0.5, S = 0.5.
    image = np.tile(np.array([0.1, 0.7, 0.3], np.float32), (4, 5, 1))
    assert highlight_presence(image) == pytest.approx(0.5, abs=1e-6)
    # Highlights must cover more than one percent of the image.
    night = np.zeros((100, 100, 3), np.float32)
    night[0, :90] = 1
    assert highlight_presence(night) == 0
    night[1, :90] = 1
    assert highlight_presence(night) == 1


@given(brightness=st.floats(0, 1), increase=st.floats(0, 1))
def test_highlight_presence_does_not_fall_for_brighter_images(
    brightness: float, increase: float
) -> None:
    image = np.random.default_rng(0).random((20, 20, 3), dtype=np.float32) * np.float32(brightness)
    brighter = np.minimum(image + np.float32(increase), 1)
    assert 0 <= highlight_presence(image) <= highlight_presence(brighter) <= 1


def test_curve_strength_limits_by_hand() -> None:
    # The ceiling of 0.5 is 1 - 0.35 (1 - 1/64) = 0.65547. That of 0.8 is 0.74175, below 0.8.
    limit = max_curve_strength(pixel(0.5), 1.0, iterations=1)
    assert limit.item() == pytest.approx((0.65547 - 0.5) / 0.25, abs=0.01)
    assert enhance_gray(pixel(0.5), 1.0, -1.0).item() == pytest.approx(0.65547, abs=1e-3)
    assert enhance_gray(pixel(0.5), 0.5, -1.0).item() == pytest.approx(
        1 - 0.175 * 63 / 64, abs=1e-3
    )
    assert max_curve_strength(pixel(0.8), 1.0, iterations=8).item() == 0
    assert enhance_gray(pixel(0.01), 1.0, -1.0).item() == pytest.approx(0.65, abs=2e-3)


@given(brightness=st.floats(0, 1))
def test_protection_0_sets_no_limit(brightness: float) -> None:
    gray = pixel(brightness).repeat(3, -1)
    unprotected = apply_curves(gray, np.full_like(gray, -1), iterations=8)
    result = enhance_gray(pixel(brightness), 0.0, -1.0).item()
    assert result == pytest.approx(unprotected[0, 0, 0], abs=1e-4)


@given(protection=st.floats(0.001, 1), map_value=st.floats(-1, 0), iterations=st.integers(1, 10))
def test_no_pixel_exceeds_its_ceiling(protection: float, map_value: float, iterations: int) -> None:
    v = ramp()[0, :, 0]
    ceiling = np.maximum(1 - protection * 0.35 * (1 - v.astype(np.float64) ** 6), v)
    assert (enhance_gray(ramp(), protection, map_value, iterations) <= ceiling + 5e-3).all()


@given(protection=st.floats(0, 1), map_value=st.floats(-1, 0))
def test_brighter_tones_stay_brighter(protection: float, map_value: float) -> None:
    steps = np.diff(enhance_gray(ramp(), protection, map_value))
    # The tolerance is half a level of 8 bits.
    assert steps.min() > -0.5 / 255


def test_bright_tones_hardly_change_and_dark_tones_rise() -> None:
    v = ramp()[0, :, 0]
    increase = enhance_gray(ramp(), 1.0, -1.0) - v
    assert increase[v >= 0.75].max() < 1e-4
    assert increase[(v > 0.02) & (v < 0.4)].min() > 0.24


def test_darkening_curves_are_not_limited() -> None:
    gray = ramp().repeat(3, -1)
    unprotected = apply_curves(gray, np.full_like(gray, 0.5), iterations=8)
    np.testing.assert_array_equal(enhance_gray(ramp(), 1.0, 0.5), unprotected[0, :, 0])


def test_local_brightness_is_that_of_the_largest_channel() -> None:
    image = np.tile(np.array([0.1, 0.7, 0.3], np.float32), (9, 8, 1))
    local = whole_local_brightness(image)
    assert local.shape == (9, 8, 1)
    np.testing.assert_allclose(local, 0.7, atol=1e-6)


def test_local_brightness_smooths_structure_and_keeps_edges() -> None:
    clouds = np.random.default_rng(0).uniform(0.5, 0.8, (40, 40, 1)).astype(np.float32)
    local = whole_local_brightness(clouds.repeat(3, -1))
    assert local.std() < 0.3 * clouds.std()
    assert local.mean() == pytest.approx(clouds.mean(), abs=0.01)
    edge = np.full((20, 40, 3), 0.1, np.float32)
    edge[:, 20:] = 0.95
    local = whole_local_brightness(edge)
    assert np.abs(local[:, :20] - 0.1).max() < 0.1
    assert np.abs(local[:, 20:] - 0.95).max() < 0.1


def test_numpy_and_jax_and_the_reference_agree() -> None:
    image = np.random.default_rng(7).random((19, 18, 3), dtype=np.float32)
    inside = np.ones((1, 19, 18, 1), np.float32)
    with_numpy = local_brightness(image[None], inside)
    with_jax = jax.jit(local_brightness)(image[None], inside)
    assert isinstance(with_numpy, np.ndarray)
    assert isinstance(with_jax, jax.Array)
    np.testing.assert_allclose(with_numpy, with_jax, rtol=0, atol=1e-5)
    limit_with_numpy = max_curve_strength(with_numpy, 0.7, iterations=8)
    jitted_limit = jax.jit(partial(max_curve_strength, iterations=8))
    limit_with_jax = jitted_limit(with_jax, np.full((1, 1, 1, 1), 0.7))
    np.testing.assert_allclose(limit_with_numpy, limit_with_jax, rtol=0, atol=5e-5)
    limit = max_curve_strength(whole_local_brightness(image), 0.7, iterations=8)
    strongest_maps = np.full(image.shape, -1.0)
    expected = whole_image.limit_maps(strongest_maps, image.astype(np.float64), 0.7, 8)
    np.testing.assert_allclose(-limit.repeat(3, -1), expected, rtol=0, atol=2e-5)
