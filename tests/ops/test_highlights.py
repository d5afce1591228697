"""highlights.py: ceilings by hand, the order of tones, surroundings, structure that is kept."""

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


def brightness_of(image: np.ndarray) -> np.ndarray:
    """Local brightness of a whole image, (height, width, 1)."""
    around = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    padded = np.pad(image[None], around)
    inside = np.pad(np.ones((1, *image.shape[:2], 1), np.float32), around)
    return local_brightness(padded, inside)[0]


def column(*brightness: float) -> np.ndarray:
    return np.array(brightness, np.float32)[None, :, None]


def ramp() -> np.ndarray:
    return np.linspace(0, 1, 256, dtype=np.float32)[None, :, None]


def lit(brightness: np.ndarray, protection: float, map_: float, iterations: int = 8) -> np.ndarray:
    """Gray pixels after curves with the same map everywhere, held back."""
    most = max_curve_strength(brightness, protection, iterations=iterations)
    gray = brightness.repeat(3, -1)
    maps = np.maximum(np.full_like(gray, map_), -most)
    return apply_curves(gray, maps, iterations=iterations)[0, :, 0]


def test_presence_by_hand() -> None:
    assert highlight_presence(np.full((9, 9, 3), 0.4, np.float32)) == pytest.approx(0, abs=1e-9)
    assert highlight_presence(np.ones((9, 9, 3), np.float32)) == 1
    # Of the largest channel: t = 0.5, S = 0.5.
    image = np.tile(np.array([0.1, 0.7, 0.3], np.float32), (4, 5, 1))
    assert highlight_presence(image) == pytest.approx(0.5, abs=1e-6)
    # A few stars are no highlights.
    night = np.zeros((100, 100, 3), np.float32)
    night[0, :90] = 1
    assert highlight_presence(night) == 0
    night[1, :90] = 1
    assert highlight_presence(night) == 1


@given(brightness=st.floats(0, 1), more=st.floats(0, 1))
def test_brighter_pictures_have_more_highlights(brightness: float, more: float) -> None:
    image = np.random.default_rng(0).random((20, 20, 3), dtype=np.float32) * np.float32(brightness)
    assert (
        0
        <= highlight_presence(image)
        <= highlight_presence(np.minimum(image + np.float32(more), 1))
        <= 1
    )


def test_limits_by_hand() -> None:
    # The ceiling of 0.5 is 1 - 0.35 (1 - 1/64) = 0.65547, that of 0.8 is 0.74175: below 0.8.
    limit = max_curve_strength(column(0.5), 1.0, iterations=1)
    assert limit.item() == pytest.approx((0.65547 - 0.5) / 0.25, abs=0.01)
    assert lit(column(0.5), 1.0, -1.0).item() == pytest.approx(0.65547, abs=1e-3)
    assert lit(column(0.5), 0.5, -1.0).item() == pytest.approx(1 - 0.175 * 63 / 64, abs=1e-3)
    assert max_curve_strength(column(0.8), 1.0, iterations=8).item() == 0
    assert lit(column(0.01), 1.0, -1.0).item() == pytest.approx(0.65, abs=2e-3)


@given(brightness=st.floats(0, 1))
def test_without_protection_there_is_no_limit(brightness: float) -> None:
    gray = column(brightness).repeat(3, -1)
    without = apply_curves(gray, np.full_like(gray, -1), iterations=8)
    assert lit(column(brightness), 0.0, -1.0).item() == pytest.approx(without[0, 0, 0], abs=1e-4)


@given(protection=st.floats(0.001, 1), map_=st.floats(-1, 0), iterations=st.integers(1, 10))
def test_nothing_comes_above_its_ceiling(protection: float, map_: float, iterations: int) -> None:
    v = ramp()[0, :, 0]
    ceiling = np.maximum(1 - protection * 0.35 * (1 - v.astype(np.float64) ** 6), v)
    assert (lit(ramp(), protection, map_, iterations) <= ceiling + 5e-3).all()


@given(protection=st.floats(0, 1), map_=st.floats(-1, 0))
def test_the_order_of_tones_is_kept(protection: float, map_: float) -> None:
    steps = np.diff(lit(ramp(), protection, map_))
    # Half a level of 8 bits.
    assert steps.min() > -0.5 / 255


def test_what_is_bright_stays_about_as_it_is() -> None:
    v = ramp()[0, :, 0]
    lift = lit(ramp(), 1.0, -1.0) - v
    assert lift[v >= 0.75].max() < 1e-4
    assert lift[(v > 0.02) & (v < 0.4)].min() > 0.24


def test_darkening_is_left_alone() -> None:
    gray = ramp().repeat(3, -1)
    without = apply_curves(gray, np.full_like(gray, 0.5), iterations=8)
    np.testing.assert_array_equal(lit(ramp(), 1.0, 0.5), without[0, :, 0])


def test_local_brightness_is_that_of_the_largest_channel() -> None:
    image = np.tile(np.array([0.1, 0.7, 0.3], np.float32), (9, 8, 1))
    assert brightness_of(image).shape == (9, 8, 1)
    np.testing.assert_allclose(brightness_of(image), 0.7, atol=1e-6)


def test_structure_is_levelled_and_edges_are_kept() -> None:
    clouds = np.random.default_rng(0).uniform(0.5, 0.8, (40, 40, 1)).astype(np.float32)
    local = brightness_of(clouds.repeat(3, -1))
    assert local.std() < 0.3 * clouds.std()
    assert local.mean() == pytest.approx(clouds.mean(), abs=0.01)
    edge = np.full((20, 40, 3), 0.1, np.float32)
    edge[:, 20:] = 0.95
    local = brightness_of(edge)
    assert np.abs(local[:, :20] - 0.1).max() < 0.1
    assert np.abs(local[:, 20:] - 0.95).max() < 0.1


def test_numpy_and_jax_and_the_whole_image_agree() -> None:
    image = np.random.default_rng(7).random((19, 18, 3), dtype=np.float32)
    inside = np.ones((1, 19, 18, 1), np.float32)
    ours = local_brightness(image[None], inside)
    theirs = jax.jit(local_brightness)(image[None], inside)
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, jax.Array)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    most = max_curve_strength(ours, 0.7, iterations=8)
    same = jax.jit(partial(max_curve_strength, iterations=8))(theirs, np.full((1, 1, 1, 1), 0.7))
    np.testing.assert_allclose(most, same, rtol=0, atol=5e-5)
    most = max_curve_strength(brightness_of(image), 0.7, iterations=8)
    no_lower = np.full(image.shape, -1.0)
    expected = whole_image.held_back(no_lower, image.astype(np.float64), 0.7, 8)
    np.testing.assert_allclose(-most.repeat(3, -1), expected, rtol=0, atol=2e-5)
