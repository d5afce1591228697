"""Curve maps in a bilateral grid: coarse in place and in brightness, read at every pixel.

A scene network sees a thumbnail of the whole image, and predicts curve maps for the cells of a grid
and for a few brightness levels in each. A pixel interpolates its own maps between the four cells
around it and the two levels around its brightness. So a dark branch and the bright sky beside it
get curves of their own, though they share a cell.

References:
    Chen et al., "Real-time Edge-Aware Image Processing with the Bilateral Grid", 2007; Gharbi et
    al., "Deep Bilateral Learning for Real-Time Image Enhancement", 2017.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

# NumPy or JAX.
Array = Any
# An int, or the symbol of a free size in a program that is exported.
Size = Any

LEVEL_EXPONENT = 0.4
"""Exponent from the brightness of a pixel to its position among the levels."""
MIN_BRIGHTNESS = 1e-7
"""Smallest brightness whose logarithm is taken; it stands for 0."""
DARK_OFFSET = 1e-4
"""Brightness that a scene network adds before this power, whose slope at 0 is infinite."""
CENTER, AMPLITUDE = -0.15, 0.6
"""The curve maps of scene networks lie in CENTER +- AMPLITUDE."""
MAX_LEVEL_DROP = 0.1
"""Largest difference by which the curves of one brightness level may exceed those of the next."""


def blocks(size: Size, scale: int) -> Size:
    """Return the number of blocks that cover `size` pixels; the last one may be smaller."""
    return -(-size // scale)


def evenly_spaced(size: int, count: int) -> np.ndarray:
    """Return `count` of `size` indices, each in the middle of an equal share."""
    return (2 * np.arange(count) + 1) * size // (2 * count)


def block_means(image: Shaped[Array, "*b h w c"], scale: int) -> Float[Array, "*b rows columns c"]:
    """Return the mean of each block of ``scale x scale`` pixels, or of its part in the image.

    Args:
        image: An array of any real type.
        scale: Side of the blocks, in pixels.

    Returns:
        float32 in the input's range.
    """
    xp = image.__array_namespace__()
    *batch, height, width, channels = image.shape
    rows, columns = blocks(height, scale), blocks(width, scale)
    padding = [(0, rows * scale - height), (0, columns * scale - width), (0, 0)]
    # Sizes that are free in an exported program cannot be compared.
    if xp is not np or any(after for _, after in padding):
        image = xp.pad(image, [(0, 0)] * len(batch) + padding)
    # Integers are added up as integers of the smallest type that holds the sums: with floats or a
    # wider type NumPy is many times slower.
    row_type = block_type = xp.float32
    if image.dtype.kind == "u":
        top = np.iinfo(image.dtype).max
        row_type, block_type = (np.min_scalar_type(top * n) for n in (scale, scale * scale))
    sums = image.reshape(*batch, rows, scale, columns * scale * channels).sum(-2, dtype=row_type)
    sums = sums.reshape(*batch, rows, columns, scale, channels).sum(-2, dtype=block_type)
    heights = xp.minimum(scale, height - scale * xp.arange(rows))
    widths = xp.minimum(scale, width - scale * xp.arange(columns))
    return sums.astype(xp.float32) / xp.outer(heights, widths)[:, :, None].astype(xp.float32)


def area_weights(size: Size, count: int, xp: Any = np) -> Float[Array, "count size"]:
    """Return the weights that average `size` pixels over `count` equal shares, as a matrix.

    Pixels that two shares cut count for both, in proportion.

    Args:
        size: Number of pixels.
        count: Number of shares.
        xp: Array library of the result.

    Returns:
        float32; every row has the sum 1.
    """
    edges = xp.arange(count + 1, dtype=xp.float32) * size / count
    pixels = xp.arange(size, dtype=xp.float32)
    overlap = xp.minimum(edges[1:, None], pixels + 1) - xp.maximum(edges[:-1, None], pixels)
    return (xp.clip(overlap, 0, 1) * count / size).astype(xp.float32)


def reduce_rows(
    image: Shaped[np.ndarray, "h w c"], weights: Float[np.ndarray, "rows h"]
) -> Float[np.ndarray, "rows w c"]:
    """Return weighted sums of the rows of an image, each of a few neighboring rows.

    Args:
        image: An array of any real type.
        weights: The weight of each row of the image in each row of the result, as `area_weights`
            returns them.

    Returns:
        float32, (rows, width, channels).
    """
    flat = image.reshape(len(image), -1)
    rows = np.empty((len(weights), flat.shape[1]), np.float32)
    for row, in_row in enumerate(weights):
        (seen,) = in_row.nonzero()
        band = slice(seen[0], seen[-1] + 1)
        # The products are many times as fast in float32 as in the type of the pixels.
        rows[row] = in_row[band] @ flat[band].astype(np.float32, copy=False)
    return rows.reshape(-1, *image.shape[1:])


def cell_positions(size: Size, cells: int, xp: Any = np) -> Float[Array, " size"]:
    """Return the position of each pixel among the cells along one axis, in cells.

    The centers of the cells are at 0, 1, ..., cells - 1; pixels beyond the outer centers belong to
    these.
    """
    centers = (xp.arange(size, dtype=xp.float32) + 0.5) * (cells / size) - 0.5
    return xp.clip(centers, 0, cells - 1)


def limit_levels(maps: Float[Array, "*b _"], levels: int) -> list[Float[Array, "*b maps"]]:
    """Limit the curves of darker levels, so that brighter pixels stay brighter.

    In continuous time, n iterations of the curve x -> x + a (x - x^2) move the logit of x by about
    n log(1 + a). Where a falls with the brightness, order is kept as long as this falls more slowly
    than the logit of x rises. For 6 levels at x = (k/5)^2.5 and 8 iterations, steps of 0.1 from
    level to level keep at least a quarter of the contrast for a up to 0.6.

    Args:
        maps: Maps of the levels behind one another, (..., levels x maps), in [-1, 1]; negative ones
            brighten.
        levels: Number of brightness levels, from black to white.

    Returns:
        The maps of each level, of which none brightens by more than 0.1 more than the next.
    """
    if levels == 1:
        return [maps]
    xp = maps.__array_namespace__()
    per_level = list(xp.split(maps, levels, axis=-1))
    for level in range(levels - 2, -1, -1):
        per_level[level] = xp.maximum(per_level[level], per_level[level + 1] - MAX_LEVEL_DROP)
    return per_level


def interpolate_levels(
    maps: Float[Array, "*b y x _"],
    images: Float[Array, "*b h w 3"],
    levels: int,
    upsample: Callable[[Array], Array] = lambda maps: maps,
) -> Float[Array, "*b h w maps"]:
    """Interpolate the curve maps of each pixel between those of the levels, by its brightness.

    The brightness is the largest channel v, and the position among the levels is v^0.4 (levels -
    1), so that the levels lie densely in the dark. `limit_levels` keeps the order of tones.

    Args:
        maps: Curve maps of the levels behind one another, (..., levels x maps).
        images: (..., height, width, 3), in [0, 1].
        levels: Number of brightness levels, from black to white; 1 is one curve for all.
        upsample: Brings maps of one level to the size of the images; it must be linear.

    Returns:
        (..., height, width, maps), within the range of the levels' maps.
    """
    return combine_levels(maps, level_ramps(images, levels), upsample)


def level_ramps(images: Float[Array, "*b h w 3"], levels: int) -> list[Float[Array, "*b h w 1"]]:
    """Return how far the brightness of each pixel has come from each level to the next, in [0, 1].

    They are all that `interpolate_levels` needs of images.
    """
    if levels == 1:
        return []
    xp = images.__array_namespace__()
    brightness = xp.maximum(images.max(-1, keepdims=True), MIN_BRIGHTNESS)
    position = (levels - 1) * xp.exp(LEVEL_EXPONENT * xp.log(brightness))
    return [xp.clip(position - level, 0, 1) for level in range(levels - 1)]


def combine_levels(
    maps: Float[Array, "*b y x _"],
    ramps: list[Float[Array, "*b h w 1"]],
    upsample: Callable[[Array], Array],
) -> Float[Array, "*b h w maps"]:
    """Interpolate curve maps as `interpolate_levels` does, from the result of `level_ramps`."""
    per_level = limit_levels(maps, len(ramps) + 1)
    result = upsample(per_level[0])
    for level, ramp in enumerate(ramps, start=1):
        # A sum of ramps, each a straight line from one level to the next.
        result = result + ramp * upsample(per_level[level] - per_level[level - 1])
    return result
