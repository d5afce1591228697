"""Tests of grid.py: block means and the interpolation of a bilateral grid, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.grid import (
    block_means,
    blocks,
    neighbor_blocks,
    shrink_level_contrast,
    slice_grid,
    upsample_weights,
)

sides = st.integers(1, 40)


def random_image(height: int, width: int, dtype: str = "uint8") -> np.ndarray:
    pixels = np.random.default_rng(height * 100 + width).random((height, width, 3))
    return (pixels * (255 if dtype == "uint8" else 65535)).astype(dtype)


@settings(max_examples=40)
@given(height=sides, width=sides, scale=st.integers(1, 12))
def test_block_means_count_only_pixels_of_the_image(height: int, width: int, scale: int) -> None:
    image = random_image(height, width)
    means = block_means(image, scale)
    assert means.dtype == np.float32
    assert means.shape == (blocks(height, scale), blocks(width, scale), 3)
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            block = image[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            np.testing.assert_allclose(means[y, x], block.mean((0, 1)), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_block_means_of_numpy_and_jitted_jax_agree(dtype: str) -> None:
    image = random_image(19, 21, "uint16").astype(dtype)
    jitted = jax.jit(lambda x: block_means(x, 4))(image[None])[0]
    np.testing.assert_allclose(block_means(image, 4), jitted, rtol=2e-6)


def test_sums_of_large_blocks_do_not_overflow() -> None:
    image = np.full((300, 300, 3), 65535, np.uint16)
    np.testing.assert_array_equal(block_means(image, 250), np.full((2, 2, 3), 65535))


def test_outermost_block_is_repeated_beyond_the_image() -> None:
    assert neighbor_blocks(5, 0, 2).tolist() == [0, 0, 1, 2]
    assert neighbor_blocks(5, 3, 4).tolist() == [2, 3, 4, 4, 4, 4]
    assert neighbor_blocks(1, 0, 1).tolist() == [0, 0, 0]


@settings(max_examples=20)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    scale=st.integers(1, 6),
    levels=st.integers(2, 4),
)
def test_slicing_interpolates_in_position_and_brightness(
    rows: int, columns: int, scale: int, levels: int
) -> None:
    rng = np.random.default_rng(rows + 10 * columns + 100 * scale + 1000 * levels)
    grid = rng.uniform(-1, 1, (rows + 2, columns + 2, levels * 3)).astype(np.float32)
    image = rng.random((rows * scale, columns * scale, 3), dtype=np.float32)
    maps = slice_grid(grid, image, scale=scale, levels=levels)
    assert maps.shape == image.shape
    by_level = grid.reshape(rows + 2, columns + 2, levels, 3)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            # Position of the pixel among block centers; block 0 lies beyond the image.
            position = ((y + 0.5) / scale + 0.5, (x + 0.5) / scale + 0.5)
            level = image[y, x].mean() * (levels - 1)
            expected = np.zeros(3)
            for cell in np.ndindex(by_level.shape[:3]):
                weights = [
                    max(0, 1 - abs(a - b)) for a, b in zip((*position, level), cell, strict=True)
                ]
                expected += np.prod(weights) * by_level[cell]
            np.testing.assert_allclose(maps[y, x], expected, atol=1e-5)


def test_slicing_a_batch_under_jit_equals_slicing_single_images() -> None:
    rng = np.random.default_rng(1)
    grids = rng.uniform(-1, 1, (2, 5, 4, 6)).astype(np.float32)
    images = rng.random((2, 24, 16, 3), dtype=np.float32)
    batched = jax.jit(lambda g, x: slice_grid(g, x, scale=8, levels=2))(grids, images)
    for maps, grid, image in zip(batched, grids, images, strict=True):
        single = slice_grid(grid, image, scale=8, levels=2)
        np.testing.assert_allclose(maps, single, atol=1e-6)


def test_black_and_white_pixels_use_the_outermost_levels() -> None:
    grid = jnp.concatenate([jnp.full((4, 4, 3), level) for level in (-0.5, 0.0, 0.25)], axis=-1)
    for value, expected in ((0.0, -0.5), (0.5, 0.0), (1.0, 0.25), (0.25, -0.25)):
        maps = slice_grid(grid, jnp.full((6, 6, 3), value), scale=3, levels=3)
        np.testing.assert_allclose(maps, expected, atol=1e-6)


@pytest.mark.parametrize(("count", "scale"), [(1, 1), (3, 8), (5, 12)])
def test_upsample_weights_equal_slicing(count: int, scale: int) -> None:
    weights = upsample_weights(count, scale)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    column = np.random.default_rng(0).random((count + 2, 3, 3), dtype=np.float32)
    black = np.zeros((count * scale, scale, 3), np.float32)
    grid = np.concatenate([column[:, :1].repeat(3, 1)] * 2, axis=-1)
    maps = slice_grid(grid, black, scale=scale, levels=2)
    np.testing.assert_allclose(maps[:, 0], weights @ column[:, 0], atol=1e-6)


@given(seed=st.integers(0, 1000), levels=st.integers(2, 4))
def test_shrinking_the_level_contrast_keeps_the_mean(seed: int, levels: int) -> None:
    maps = np.random.default_rng(seed).uniform(-1, 1, (2, 3, levels * 3)).astype(np.float32)
    shrunk = shrink_level_contrast(maps, levels)
    assert shrunk.shape == maps.shape
    by_level = shrunk.reshape(2, 3, levels, 3)
    mean = maps.reshape(2, 3, levels, 3).mean(axis=2)
    np.testing.assert_allclose(by_level.mean(axis=2), mean, atol=1e-6)
    assert np.ptp(by_level, axis=2).max() <= 0.25 + 1e-6


@given(black=st.floats(-1, 0), white=st.floats(-1, 0))
def test_brighter_pixels_stay_brighter_with_any_brightening_levels(
    black: float, white: float
) -> None:
    grid = shrink_level_contrast(np.repeat(np.float32([black, white]), 3), 2)
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None, :, None].repeat(3, 2)
    maps = slice_grid(np.broadcast_to(grid, (3, 258, 6)), ramp, scale=1, levels=2)
    enhanced = apply_curves(jnp.asarray(ramp), jnp.asarray(maps), iterations=8)[0, :, 0]
    assert (np.diff(enhanced) >= -1e-6).all()
