"""Tests of tiling.py: tiles cover an image once, and windows are parts of the padded image."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zerodce_jax.engines.tiling import Tile, tiles

sides = st.integers(1, 40)
sizes = st.integers(5, 50)
halos = st.integers(0, 12)
fewer_examples = settings(max_examples=40)


def numbered_image(height: int, width: int) -> np.ndarray:
    return np.arange(1, height * width * 2 + 1, dtype=np.int64).reshape(height, width, 2)


def test_tiles_of_an_image_by_hand() -> None:
    assert list(tiles(5, 3, size=2, halo=1)) == [
        Tile(0, 0, 2, 1),
        Tile(0, 2, 2, 1),
        Tile(2, 0, 2, 1),
        Tile(2, 2, 2, 1),
        Tile(4, 0, 2, 1),
        Tile(4, 2, 2, 1),
    ]
    last = Tile(4, 2, 2, 1)
    assert last.window == 4
    # The window has a row of halo and a row of the image; its other rows lie below the image.
    assert last.valid(5, 3) == (0, 2, 0, 2)
    assert Tile(0, 0, 2, 1).valid(5, 3) == (1, 4, 1, 4)
    assert last.area(5, 3) == 1
    assert Tile(2, 0, 2, 1).area(5, 3) == 4


@fewer_examples
@given(sides, sides, sizes, halos)
def test_every_pixel_is_covered_once(height: int, width: int, size: int, halo: int) -> None:
    covered = np.zeros((height, width, 1), np.int64)
    area = 0
    for tile in tiles(height, width, size=size, halo=halo):
        pasted = np.zeros_like(covered)
        tile.paste(np.ones((size, size, 1), np.int64), pasted)
        assert pasted.sum() == tile.area(height, width) > 0
        covered += pasted
        area += tile.area(height, width)
    assert (covered == 1).all()
    assert area == height * width


@fewer_examples
@given(sides, sides, sizes, halos)
def test_windows_are_parts_of_the_zero_padded_image(
    height: int, width: int, size: int, halo: int
) -> None:
    image = numbered_image(height, width)
    padded = np.pad(image, ((halo, halo + size), (halo, halo + size), (0, 0)))
    for tile in tiles(height, width, size=size, halo=halo):
        window = np.full((tile.window, tile.window, 2), -1, np.int64)
        tile.cut(image, window)
        rows = slice(tile.top, tile.top + tile.window)
        columns = slice(tile.left, tile.left + tile.window)
        np.testing.assert_array_equal(window, padded[rows, columns])


@fewer_examples
@given(sides, sides, sizes, halos)
def test_valid_bounds_enclose_the_pixels_of_the_image(
    height: int, width: int, size: int, halo: int
) -> None:
    image = numbered_image(height, width)
    for tile in tiles(height, width, size=size, halo=halo):
        window = np.zeros((tile.window, tile.window, 2), np.int64)
        tile.cut(image, window)
        y0, y1, x0, x1 = tile.valid(height, width)
        assert 0 <= y0 < y1 <= tile.window
        assert 0 <= x0 < x1 <= tile.window
        inside = np.zeros((tile.window, tile.window), bool)
        inside[y0:y1, x0:x1] = True
        # Pixels of the image are numbered from 1; padding is 0.
        np.testing.assert_array_equal(window[..., 0] > 0, inside)


@fewer_examples
@given(sides, sides, sizes, halos)
def test_cut_and_paste_reproduce_the_image(height: int, width: int, size: int, halo: int) -> None:
    image = numbered_image(height, width)
    result = np.zeros_like(image)
    for tile in tiles(height, width, size=size, halo=halo):
        window = np.zeros((tile.window, tile.window, 2), np.int64)
        tile.cut(image, window)
        tile.paste(window[halo : halo + size, halo : halo + size], result)
    np.testing.assert_array_equal(result, image)
