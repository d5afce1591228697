"""Tests of resampling.py: sizes, positions and values by hand, NumPy against JAX."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.ops.resampling import (
    down_positions,
    linear_weights,
    reduced_size,
    resample,
    up_positions,
)

sizes, scales = st.integers(1, 200), st.integers(1, 40)


def test_reduced_sizes_by_hand() -> None:
    assert [reduced_size(size, 12) for size in (1, 5, 12, 17, 19, 60, 100)] == [1, 1, 1, 1, 2, 5, 8]


def test_positions_by_hand() -> None:
    # Half-pixel centers: where 8 pixels become 2 samples, each is the middle of 4 pixels.
    assert down_positions(8, 4).tolist() == [1.5, 5.5]
    assert down_positions(9, 3).tolist() == [1, 4, 7]
    # Aligned corners: the first pixel is the first sample, and the last pixel the last sample.
    assert up_positions(5, 3).tolist() == [0, 0.5, 1, 1.5, 2]
    assert up_positions(4, 1).tolist() == [0, 0, 0, 0]
    assert up_positions(1, 1).tolist() == [0]


@given(sizes, scales)
def test_positions_increase_and_lie_inside_the_image(size: int, scale: int) -> None:
    reduced = reduced_size(size, scale)
    down, up = down_positions(size, scale), up_positions(size, reduced)
    assert (len(down), len(up)) == (reduced, size)
    for positions, count in ((down, size), (up, reduced)):
        assert positions.dtype == np.float32
        assert 0 <= positions.min() <= positions.max() <= count - 1
        assert (np.diff(positions) >= 0).all()
    assert (np.diff(down) > 0).all()


@given(sizes)
def test_scale_one_is_the_identity(size: int) -> None:
    positions = np.arange(size)
    np.testing.assert_array_equal(down_positions(size, 1), positions)
    np.testing.assert_array_equal(up_positions(size, size), positions)


def test_bilinear_values_by_hand() -> None:
    image = np.array([[0, 10], [20, 50]], np.float32)[:, :, None]
    rows, columns = np.array([0, 0.5, 1], np.float32), np.array([0.25], np.float32)
    # Row 0 gives 2.5 and row 1 gives 27.5; the position between them gives their mean.
    assert resample(image, rows, columns)[:, 0, 0].tolist() == [2.5, 15, 27.5]


def test_resampling_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).random((7, 5, 3)).astype(np.float32)
    resampled = resample(image, down_positions(7, 1), up_positions(5, 5))
    np.testing.assert_array_equal(resampled, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_do_not_wrap_around(dtype: type) -> None:
    max_value = np.iinfo(dtype).max
    image = np.array([[max_value, 0]], dtype)[:, :, None]
    middle = resample(image, np.zeros(1, np.float32), np.array([0.5], np.float32))
    assert middle.dtype == np.float32
    assert middle.item() == max_value / 2


@pytest.mark.parametrize("scale", [1, 3, 12])
def test_numpy_and_jax_agree(scale: int) -> None:
    images = np.random.default_rng(1).random((2, 31, 26, 3)).astype(np.float32)
    rows, columns = down_positions(31, scale), down_positions(26, scale)
    with_numpy = resample(images, rows, columns)
    with_jax = jax.jit(lambda x: resample(x, rows, columns))(images)
    assert isinstance(with_numpy, np.ndarray)
    assert isinstance(with_jax, jax.Array)
    np.testing.assert_allclose(with_numpy, with_jax, atol=1e-6)


def test_linear_weights_interpolate_between_neighboring_samples() -> None:
    weights = linear_weights(np.array([0.0, 0.25, 2.0, 2.5]), 3)
    np.testing.assert_array_equal(weights, [[1, 0, 0], [0.75, 0.25, 0], [0, 0, 1], [0, 0, 0.5]])
    np.testing.assert_array_equal(
        jax.jit(lambda x: linear_weights(x, 3))(np.float32([0.25])), [[0.75, 0.25, 0]]
    )
