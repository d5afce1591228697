"""highlights.py: the share of the curve by hand, surroundings, structure that is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import whole_image
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.guided import REACH
from zerodce_jax.highlights import local_brightness, unprotected


def brightness_of(image: np.ndarray) -> np.ndarray:
    """Local brightness of a whole image, (height, width, 1)."""
    around = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
    padded = np.pad(image[None], around)
    inside = np.pad(np.ones((1, *image.shape[:2], 1), np.float32), around)
    return local_brightness(padded, inside)[0]


def one(brightness: float) -> np.ndarray:
    return np.full((1, 1, 1), brightness, np.float32)


@given(brightness=st.floats(0, 0.4), protection=st.floats(0, 1))
def test_dark_places_keep_the_whole_curve(brightness: float, protection: float) -> None:
    assert unprotected(one(brightness), protection).item() == pytest.approx(1, abs=1e-9)


@given(brightness=st.floats(0.8, 1), protection=st.floats(0, 1))
def test_highlights_keep_what_their_protection_leaves(brightness: float, protection: float) -> None:
    left = unprotected(one(brightness), protection)
    assert left.shape == (1, 1, 1)
    assert left.item() == pytest.approx(1 - protection, abs=1e-6)


@given(protection=st.floats(0, 1))
def test_brighter_places_are_protected_more(protection: float) -> None:
    ramp = np.linspace(0, 1, 201, dtype=np.float32)[None, :, None]
    left = unprotected(ramp, protection)[0, :, 0]
    assert (np.diff(left) <= 1e-7).all()
    assert left.min() + 1e-6 >= 0
    assert left.max() <= 1
    if protection > 0.01:
        assert (np.diff(left)[82:158] < 0).all()


def test_share_by_hand() -> None:
    # V = 0.5: t = 0.25, S = 0.0625 * 2.5 = 0.15625; V = 0.6: S = 0.5.
    left = unprotected(np.array([[[0.5], [0.6]]], np.float32), 0.8)
    np.testing.assert_allclose(left, [[[1 - 0.125], [0.6]]], rtol=1e-5)


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
    theirs = local_brightness(jnp.asarray(image[None]), jnp.asarray(inside))
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, jax.Array)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    left, same = unprotected(ours, 0.7), unprotected(theirs, jnp.float32(0.7))
    np.testing.assert_allclose(left, same, rtol=0, atol=5e-5)
    left = unprotected(brightness_of(image), 0.7)
    expected = whole_image.unprotected(image.astype(np.float64), 0.7)
    np.testing.assert_allclose(left, expected, rtol=0, atol=1e-5)
