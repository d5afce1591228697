"""Tests of grid.py: means, reading a bilateral grid, and the order of tones, by plain loops."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import scene_image, whole_image
from zerodce_jax.config import SceneConfig
from zerodce_jax.ops.curves import scale_maps
from zerodce_jax.ops.grid import (
    AMPLITUDE,
    CENTER,
    MAX_LEVEL_DROP,
    area_weights,
    block_means,
    blocks,
    cell_positions,
    evenly_spaced,
    interpolate_levels,
    limit_levels,
    reduce_rows,
)

sides = st.integers(1, 40)


def random_image(height: int, width: int, dtype: str = "uint8") -> np.ndarray:
    pixels = np.random.default_rng(height * 100 + width).random((height, width, 3))
    return (pixels * (255 if dtype == "uint8" else 65535)).astype(dtype)


def random_maps(*shape: int, seed: int = 0) -> np.ndarray:
    """Return maps as a scene network makes them."""
    values = np.random.default_rng(seed).uniform(-1, 1, shape)
    return (CENTER + AMPLITUDE * values).astype(np.float32)


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


def test_evenly_spaced_indices_by_hand() -> None:
    assert evenly_spaced(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(12, 3).tolist() == [2, 6, 10]
    assert evenly_spaced(1, 1).tolist() == [0]


def slow_area_weights(size: int, count: int) -> list[list[float]]:
    """Return the share of each pixel in each of `count` equal shares, with exact fractions."""
    share = Fraction(size, count)
    return [
        [
            float(max(0, min((i + 1) * share, x + 1) - max(i * share, x)) / share)
            for x in range(size)
        ]
        for i in range(count)
    ]


@settings(max_examples=30)
@given(size=st.integers(1, 300), count=st.integers(1, 140))
def test_area_weights_are_the_exact_shares_of_the_pixels(size: int, count: int) -> None:
    weights = area_weights(size, count)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, slow_area_weights(size, count), rtol=0, atol=2e-5)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 4000, 20_000])
def test_area_weights_of_photographs_sum_to_1_and_use_every_pixel_alike(size: int) -> None:
    weights = area_weights(size, 128)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0, atol=1e-3)
    np.testing.assert_allclose(weights.sum(0), 128 / size, rtol=2e-3)
    np.testing.assert_allclose(weights, area_weights(size, 128, jnp), rtol=0, atol=1e-6)


def test_area_weights_by_hand() -> None:
    np.testing.assert_allclose(area_weights(3, 2) * 3, [[2, 1, 0], [0, 1, 2]], atol=1e-6)
    np.testing.assert_allclose(area_weights(1, 3), [[1], [1], [1]], atol=1e-6)
    np.testing.assert_allclose(area_weights(4, 4), np.eye(4), atol=1e-6)


@settings(max_examples=20)
@given(height=st.integers(1, 300), width=sides, dtype=st.sampled_from(["uint8", "uint16"]))
def test_reduced_rows_equal_the_dense_product(height: int, width: int, dtype: str) -> None:
    image = random_image(height, width, dtype)
    weights = area_weights(height, 128)
    expected = np.tensordot(weights.astype(np.float64), image.astype(np.float64), 1)
    rows = reduce_rows(image, weights)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-5)


def test_a_thumbnail_of_area_means_equals_an_independent_one() -> None:
    for size in ((1, 1), (5, 300), (200, 131), (128, 128)):
        image = random_image(*size, "uint16") / np.float32(65535)
        rows = np.tensordot(area_weights(size[0], 128), image, 1)
        thumbnail = np.einsum("xw,ywc->yxc", area_weights(size[1], 128), rows)
        expected = scene_image.area_means(image, 128)
        np.testing.assert_allclose(thumbnail, expected, rtol=0, atol=1e-5)


def test_cell_positions_by_hand() -> None:
    # Eight pixels and two cells: centers of the cells lie between pixels 1 and 2, and 5 and 6.
    expected = [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]
    np.testing.assert_allclose(cell_positions(8, 2), expected, atol=1e-6)
    np.testing.assert_allclose(cell_positions(16, 16), np.arange(16), atol=1e-6)
    # One pixel covers all cells, and lies in their middle.
    np.testing.assert_allclose(cell_positions(1, 16), [7.5], atol=1e-6)
    for size in (1, 3, 100, 4001):
        positions = cell_positions(size, 16)
        assert 0 <= positions[0] <= positions[-1] <= 15
        np.testing.assert_allclose(positions + positions[::-1], 15, atol=1e-3)


def test_levels_are_limited_from_white_to_black_by_hand() -> None:
    # Negative maps brighten: black may brighten by at most MAX_LEVEL_DROP more than the next level.
    drop = MAX_LEVEL_DROP
    maps = np.float32([-0.9, -0.5, -0.4, 0.3])[None, None, :]
    limited = np.concatenate(limit_levels(maps, 4), axis=-1)[0, 0]
    np.testing.assert_allclose(
        limited, [0.3 - 3 * drop, 0.3 - 2 * drop, 0.3 - drop, 0.3], atol=1e-6
    )
    # Curves that brighten bright pixels more stay.
    maps = np.float32([0.3, -0.4, -0.5, -0.9])[None, None, :]
    np.testing.assert_array_equal(np.concatenate(limit_levels(maps, 4), axis=-1), maps)


@given(seed=st.integers(0, 1000), levels=st.integers(2, 7))
def test_limited_levels_never_brighten_more_and_keep_within_the_drop(
    seed: int, levels: int
) -> None:
    maps = random_maps(3, 4, levels * 3, seed=seed)
    limited = np.stack(limit_levels(maps, levels))
    by_level = np.stack(np.split(maps, levels, axis=-1))
    assert (limited >= by_level).all()
    np.testing.assert_array_equal(limited[-1], by_level[-1])
    assert (limited[1:] - limited[:-1]).max() <= MAX_LEVEL_DROP + 1e-6
    # Limiting again changes nothing.
    again = limit_levels(np.concatenate(list(limited), axis=-1), levels)
    np.testing.assert_array_equal(np.stack(again), limited)


def test_interpolation_by_hand() -> None:
    maps = np.float32([0.1, 0.15, 0.2])[None, None, :].repeat(3, -1)
    # Three levels at the brightness 0, (1/2)^2.5 and 1.
    for value, expected in (
        (0, 0.1),
        (0.5**2.5, 0.15),
        (1, 0.2),
        (0.25**2.5, 0.125),
        (0.75**2.5, 0.175),
    ):
        pixel = np.float32([0, value, value / 2])[None, None]
        result = interpolate_levels(maps, pixel, 3)
        # The largest channel decides. Black stands for 1e-7, so it lies a little above level 0.
        np.testing.assert_allclose(result, np.full((1, 1, 3), expected), atol=2e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), levels=st.integers(2, 7))
def test_interpolated_maps_equal_the_reference_and_lie_within_the_range(
    seed: int, levels: int
) -> None:
    config = SceneConfig(levels=levels)
    grid = random_maps(16, 16, levels * 3, seed=seed)
    image = np.random.default_rng(seed).random((16, 16, 3), dtype=np.float32) ** 3
    maps = interpolate_levels(grid, image, levels)
    places = np.arange(16.0)
    expected = scene_image.read_grid(grid.astype(np.float64), image, places, places, config)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5)
    limited = np.stack(limit_levels(grid, levels))
    assert (maps >= limited.min(0) - 1e-6).all()
    assert (maps <= limited.max(0) + 1e-6).all()


def test_one_level_is_upsampled_alone() -> None:
    maps, image = random_maps(1, 1, 3), np.zeros((4, 5, 3), np.float32)
    result = interpolate_levels(maps, image, 1, lambda maps: np.broadcast_to(maps, image.shape))
    np.testing.assert_array_equal(result, np.broadcast_to(maps, image.shape))


def test_a_batch_under_jit_equals_single_images() -> None:
    grids, images = random_maps(2, 7, 5, 12), np.random.default_rng(1).random((2, 7, 5, 3))
    images = images.astype(np.float32)
    batched = jax.jit(lambda grid, image: interpolate_levels(grid, image, 4))(grids, images)
    for maps, grid, image in zip(batched, grids, images, strict=True):
        np.testing.assert_allclose(maps, interpolate_levels(grid, image, 4), atol=1e-6)


LEVELS = SceneConfig().levels
ITERATIONS = SceneConfig().iterations
# At strengths above 1, tones may fall by a twentieth of a level of 8 bits.
TOLERANCE, TOLERANCE_ABOVE_1 = 1e-6, 2e-4


def largest_fall(per_level: np.ndarray) -> float:
    """Return by how much a brighter gray pixel may become darker than a darker one.

    Args:
        per_level: The curve maps of one place, one for each level, in float64.
    """
    ramp = np.linspace(0, 1, 4001)[:, None] ** 2.5
    maps = np.interp(ramp**0.4 * (LEVELS - 1), np.arange(LEVELS), per_level)
    enhanced = whole_image.apply_curves(ramp, maps, ITERATIONS)
    return float((np.maximum.accumulate(enhanced) - enhanced).max())


def limited_maps(maps: np.ndarray, strength: float) -> np.ndarray:
    scaled = scale_maps(np.asarray(maps, np.float64)[None, None, :], strength)
    return np.concatenate(limit_levels(scaled, LEVELS), axis=-1)[0, 0]


@settings(max_examples=400)
@given(
    position=st.lists(st.floats(-1, 1), min_size=LEVELS, max_size=LEVELS),
    strength=st.floats(0, 4) | st.just(1.0),
)
def test_brighter_pixels_stay_brighter_at_every_strength(
    position: list[float], strength: float
) -> None:
    maps = CENTER + AMPLITUDE * np.array(position)
    tolerance = TOLERANCE if strength <= 1 else TOLERANCE_ABOVE_1
    assert largest_fall(limited_maps(maps, strength)) < tolerance


@pytest.mark.parametrize("falling", range(1, LEVELS))
def test_brighter_pixels_stay_brighter_with_the_steepest_levels(falling: int) -> None:
    for last in np.linspace(-1, 1, 81):
        # Every level brightens as much more than the next as the limit lets it.
        maps = limited_maps(np.array([-1.0] * falling + [last] * (LEVELS - falling)), 1.0)
        in_range = maps.min() >= CENTER - AMPLITUDE and maps.max() <= CENTER + AMPLITUDE
        assert largest_fall(maps) < (TOLERANCE if in_range else TOLERANCE_ABOVE_1), last


def test_without_the_limit_the_order_of_tones_would_be_lost() -> None:
    assert largest_fall(np.array([-0.7, -0.6, -0.3, 0, 0.2, 0.4])) > 0.05
