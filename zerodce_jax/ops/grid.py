"""Curve maps in a bilateral grid: coarse in place and in brightness, read where each pixel stands.

The network looks at block means of the image and predicts the curve maps of a few levels of
brightness. A pixel takes its own from the four blocks around it and the two levels around its
brightness, so that a dark branch and the bright sky beside it get curves of their own, though they
share a block (Chen et al., "Real-time Edge-Aware Image Processing with the Bilateral Grid", 2007;
Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", 2017).
"""

from typing import Any

import numpy as np

# A NumPy array gives a NumPy array, a JAX array a JAX array.
ArrayLike = Any
# An int, or what stands for one in a program that is exported for free sizes.
Size = Any

TOGETHER = 0.125
"""Share of their difference that the curves of different levels keep."""


def blocks(size: Size, scale: int) -> Size:
    """Number of blocks that cover `size` pixels; the last one may be smaller."""
    return -(-size // scale)


def evenly(size: int, count: int) -> np.ndarray:
    """`count` places among `size` ones, each in the middle of its share."""
    return (2 * np.arange(count) + 1) * size // (2 * count)


def block_means(image: ArrayLike, scale: int) -> ArrayLike:
    """Mean of each block of ``scale x scale`` pixels, or of what of it lies in the image.

    Args:
        image: NumPy or JAX array, (..., height, width, channels), of any real type.
        scale: Side of the blocks, in pixels.

    Returns:
        The same kind of array, (..., rows, columns, channels), float32, in the input's range.
    """
    xp = image.__array_namespace__()
    *batch, height, width, channels = image.shape
    rows, columns = blocks(height, scale), blocks(width, scale)
    beyond = [(0, rows * scale - height), (0, columns * scale - width), (0, 0)]
    # Sizes that are not known yet, as when a program is exported, cannot be asked.
    if xp is not np or any(after for _, after in beyond):
        image = xp.pad(image, [(0, 0)] * len(batch) + beyond)
    # Integers are added up as such, as small as they may be: NumPy is many times slower with
    # floats, or with a wider type than it needs.
    across = down = xp.float32
    if image.dtype.kind == "u":
        top = np.iinfo(image.dtype).max
        down, across = (np.min_scalar_type(top * count) for count in (scale, scale * scale))
    sums = image.reshape(*batch, rows, scale, columns * scale * channels).sum(-2, dtype=down)
    sums = sums.reshape(*batch, rows, columns, scale, channels).sum(-2, dtype=across)
    tall = xp.minimum(scale, height - scale * xp.arange(rows))
    wide = xp.minimum(scale, width - scale * xp.arange(columns))
    return sums.astype(xp.float32) / xp.outer(tall, wide)[:, :, None].astype(xp.float32)


def surroundings(rows: int, first: int, count: int) -> np.ndarray:
    """Blocks that `count` ones from the `first` on are interpolated from, one more on each side.

    Beyond the image they are its outermost ones.

    Args:
        rows: Blocks of the image along this axis.
        first: Index of the first block.
        count: Blocks.
    """
    return np.clip(np.arange(first - 1, first + count + 1), 0, rows - 1)


def shrink_level_contrast(maps: ArrayLike, levels: int) -> ArrayLike:
    """Keep the curves of different levels alike enough for brighter pixels to stay brighter.

    In continuous time n iterations of the curve move the logit of a pixel x by n log(1 - A). Where
    A grows by d from black to white, order is kept as long as n d / (1 - A) stays below the least
    slope of the logit, which is 4: for the usual 8 iterations and A <= 0, as long as d < 0.5. Here
    it is half of that at most.

    Args:
        maps: Maps of each level behind one another, (..., levels x maps), in [-1, 1].
        levels: Levels of brightness.

    Returns:
        The same mean over the levels, and differences from it of an eighth of the size.
    """
    parts = maps.reshape(*maps.shape[:-1], levels, -1)
    mean = parts.mean(-2, keepdims=True)
    return (mean + TOGETHER * (parts - mean)).reshape(maps.shape)


def slice_grid(grid: ArrayLike, images: ArrayLike, *, scale: int, levels: int) -> ArrayLike:
    """Read the grid at each pixel: bilinear in place, linear in brightness (the channel mean).

    Args:
        grid: Curve maps of each level behind one another, (..., rows + 2, columns + 2,
            levels x maps): the blocks of the image with their `surroundings`.
        images: (..., rows x scale, columns x scale, 3), in [0, 1].
        scale: Side of the blocks, in pixels.
        levels: Levels of brightness, from black to white.

    Returns:
        Curve maps at the size of the images, within the range of the grid's.
    """
    maps = _upsample(_upsample(grid, scale, axis=-3), scale, axis=-2)
    return at_brightness(maps, images, levels)


def at_brightness(maps: ArrayLike, images: ArrayLike, levels: int) -> ArrayLike:
    """The curve maps of each pixel's brightness (the channel mean), between those of the levels.

    Args:
        maps: Curve maps of each level behind one another, (..., height, width, levels x maps).
        images: (..., height, width, 3), in [0, 1].
        levels: Levels of brightness, from black to white.

    Returns:
        (..., height, width, maps), within the range of the levels'.
    """
    xp = maps.__array_namespace__()
    parts = xp.split(maps, levels, axis=-1)
    brightness = images.mean(-1, keepdims=True) * (levels - 1)
    result = parts[0]
    for level in range(1, levels):
        # Straight lines from level to level, as a sum of ramps.
        ramp = xp.clip(brightness - (level - 1), 0, 1)
        result = result + ramp * (parts[level] - parts[level - 1])
    return result


def up_weights(count: int, scale: int) -> np.ndarray:
    """Interpolation between the centres of blocks as a matrix.

    Returns:
        (count x scale, count + 2), float32: from the blocks with one more on each side to pixels.
    """
    centres = (np.arange(count * scale) + 0.5) / scale + 0.5
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(count + 2))).astype(np.float32)


def _upsample(grid: ArrayLike, scale: int, *, axis: int) -> ArrayLike:
    """Interpolate between the centres of blocks along one axis; its surroundings go.

    As sums of shifted copies, which XLA fuses with all that follows.
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
