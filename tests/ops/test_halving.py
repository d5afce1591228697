"""Tests of halving.py: blocks and interpolation by hand, masks, parts of images."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.ops.halving import double, halve, halve_mask

sides = st.integers(1, 9)


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((1, height, width, 2), dtype=np.float32)


def test_blocks_at_the_end_are_means_of_the_part_in_the_image() -> None:
    image = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    np.testing.assert_allclose(halve(image)[0, :, :, 0], [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_interpolation_by_hand_repeats_the_outermost_blocks() -> None:
    x = np.float32([0, 4, 8]).reshape(1, 1, 3, 1)
    expected = [[0, 1, 3, 5, 7], [0, 1, 3, 5, 7]]
    np.testing.assert_allclose(double(x, np.zeros((1, 2, 5, 3)))[0, :, :, 0], expected)


@given(height=sides, width=sides)
def test_a_mask_is_the_edge_of_the_image(height: int, width: int) -> None:
    image = random_image(height, width)
    padding = ((0, 0), (4, 4 + height % 2), (4, 4 + width % 2), (0, 0))
    inside = np.pad(np.ones_like(image[..., :1]), padding)
    expected = halve(image)
    halved = halve(np.pad(image, padding, constant_values=7), inside)
    rows, columns = expected.shape[1:3]
    np.testing.assert_allclose(halved[:, 2 : 2 + rows, 2 : 2 + columns], expected, atol=1e-6)
    blocks = halve_mask(inside)
    assert blocks is not None
    assert set(np.unique(blocks)) == {0, 1}
    assert blocks.sum() == rows * columns
    # The interpolation uses up one block on every side.
    large = double(halved, inside[:, 2:-2, 2:-2], blocks)[:, 2 : 2 + height, 2 : 2 + width]
    np.testing.assert_allclose(large, double(expected, image), atol=1e-6)


def test_images_without_a_mask_have_no_mask_of_blocks() -> None:
    assert halve_mask(None) is None


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_flat_images_stay_flat(value: float) -> None:
    image = np.full((1, 7, 4, 3), value, np.float32)
    np.testing.assert_allclose(double(halve(image), image), image, rtol=1e-6)


def test_numpy_and_jax_agree() -> None:
    image = random_image(7, 10)
    there_and_back = jax.jit(lambda x: double(halve(x), x))
    np.testing.assert_allclose(there_and_back(image), double(halve(image), image), atol=1e-6)
