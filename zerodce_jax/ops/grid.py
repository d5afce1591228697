"""Curve maps in a bilateral grid: coarse in place and in brightness, read at every pixel.

The network sees block means of the image and predicts the curve maps of a few brightness levels.
A pixel interpolates its own maps between the four blocks around it and the two levels around its
brightness. So a dark branch and the bright sky beside it get curves of their own, though they share
a block.

References:
    Chen et al., "Real-time Edge-Aware Image Processing with the Bilateral Grid", 2007; Gharbi et
    al., "Deep Bilateral Learning for Real-Time Image Enhancement", 2017.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.ops.pixels import channel_mean
from zerodce_jax.ops.resampling import linear_weights

# NumPy or JAX.
Array = Any
# An int, or the symbol of a free size in a program that is exported.
Size = Any

LEVEL_CONTRAST = 0.125
"""Share of their difference that the curves of different brightness levels keep."""


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


def neighbor_blocks(rows: int, first: int, count: int) -> np.ndarray:
    """Return the indices of some blocks and of one more on each side, to interpolate between.

    Beyond the image, the outermost block is repeated.

    Args:
        rows: Number of blocks of the image along this axis.
        first: Index of the first block.
        count: Number of blocks.
    """
    return np.clip(np.arange(first - 1, first + count + 1), 0, rows - 1)


def shrink_level_contrast(maps: Float[Array, "*b _"], levels: int) -> Float[Array, "*b _"]:
    """Make the curves of different levels alike enough for brighter pixels to stay brighter.

    In continuous time, n iterations of the curve move the logit of a pixel x by n log(1 - A). Where
    A grows by d from black to white, order is kept as long as n d / (1 - A) stays below the least
    slope of the logit, which is 4: for the usual 8 iterations and A <= 0, as long as d < 0.5. Here
    d is at most half of that.

    Args:
        maps: Maps of the levels behind one another, (..., levels x maps), in [-1, 1].
        levels: Number of brightness levels.

    Returns:
        Maps with the same mean over the levels, and an eighth of the differences from it.
    """
    if levels == 1:
        return maps
    xp = maps.__array_namespace__()
    per_level = xp.split(maps, levels, axis=-1)
    mean = sum(per_level) / levels
    return xp.concatenate([mean + LEVEL_CONTRAST * (x - mean) for x in per_level], axis=-1)


def slice_grid(
    grid: Float[Array, "*b y x _"], images: Float[Array, "*b h w 3"], *, scale: int, levels: int
) -> Float[Array, "*b h w _"]:
    """Read the grid at each pixel: bilinear in place, linear in brightness (the channel mean).

    Args:
        grid: Curve maps of the levels behind one another, (..., rows + 2, columns + 2,
            levels x maps): the blocks of the image with their `neighbor_blocks`.
        images: (..., rows x scale, columns x scale, 3), in [0, 1].
        scale: Side of the blocks, in pixels.
        levels: Number of brightness levels, from black to white.

    Returns:
        Curve maps at the size of the images, within the range of the grid's.
    """
    return interpolate_levels(upsample(grid, scale), images, levels)


def interpolate_levels(
    maps: Float[Array, "*b y x _"],
    images: Float[Array, "*b h w 3"],
    levels: int,
    upsample: Callable[[Array], Array] = lambda maps: maps,
) -> Float[Array, "*b h w _"]:
    """Interpolate the curve maps of each pixel between those of the levels, by its brightness.

    Args:
        maps: Curve maps of the levels behind one another, (..., levels x maps).
        images: (..., height, width, 3), in [0, 1]; their channel mean is the brightness.
        levels: Number of brightness levels, from black to white.
        upsample: Brings maps of one level to the size of the images; it must be linear.

    Returns:
        (..., height, width, maps), within the range of the levels' maps.
    """
    if levels == 1:
        return upsample(maps)
    xp = maps.__array_namespace__()
    per_level = xp.split(maps, levels, axis=-1)
    brightness = channel_mean(images) * (levels - 1)
    result = upsample(per_level[0])
    for level in range(1, levels):
        # A sum of ramps, each a straight line from one level to the next.
        ramp = xp.clip(brightness - (level - 1), 0, 1)
        result = result + ramp * upsample(per_level[level] - per_level[level - 1])
    return result


def upsample(grid: Float[Array, "*b rows columns c"], scale: int) -> Float[Array, "*b y x c"]:
    """Interpolate bilinearly between the centers of blocks.

    Args:
        grid: One value for each block, and one more block on each side.
        scale: Side of the blocks, in pixels.

    Returns:
        (..., (rows - 2) x scale, (columns - 2) x scale, channels).
    """
    return _upsample(_upsample(grid, scale, axis=-3), scale, axis=-2)


def upsample_weights(count: int, scale: int) -> Float[np.ndarray, "pixels samples"]:
    """Return the interpolation between the centers of blocks as a matrix.

    Args:
        count: Number of blocks, without the one more on each side.
        scale: Side of the blocks, in pixels.

    Returns:
        (count x scale, count + 2), float32.
    """
    centers = (np.arange(count * scale) + 0.5) / scale + 0.5
    return linear_weights(centers, count + 2).astype(np.float32)


def _upsample(grid: Array, scale: int, *, axis: int) -> Array:
    """Interpolate between the centers of blocks along one axis, which loses its outer blocks.

    The result is a sum of shifted copies, which XLA fuses with what follows.
    """
    xp = grid.__array_namespace__()
    axis = axis % grid.ndim
    count = grid.shape[axis] - 2
    before, here, after = (
        grid[(slice(None),) * axis + (slice(start, start + count),)] for start in range(3)
    )
    phases = []
    for phase in range(scale):
        offset = (phase + 0.5) / scale - 0.5
        phases.append(here + abs(offset) * ((before if offset < 0 else after) - here))
    shape = list(grid.shape)
    shape[axis] = count * scale
    return xp.stack(phases, axis + 1).reshape(shape)
