"""Denoising in proportion to the curve gain, with a guided filter at half size.

The curve gain tells how much the curve amplifies noise. Where an image varies no more than the
noise that the gain accounts for, it is drawn to the mean of its surroundings; a pixel that the
curve left alone stays as it is, to the last bit. Brightness and color are filtered apart, color
more strongly: noise in color is seen as specks, and detail in color is hardly missed. Where no
channel stands out from rounding and noise, color is no more than their trace, and is drawn to gray;
where still less is left, the image keeps the brightness that it had, so that black stays black.

References:
    He and Sun, "Fast Guided Filter", arXiv 1505.00996, 2015.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.grid import evenly_spaced
from zerodce_jax.ops.guided_filter import Mask, crop, window_means
from zerodce_jax.ops.halving import double, halve, halve_mask
from zerodce_jax.ops.noise import immerkaer
from zerodce_jax.ops.pixels import channel_mean, max_value

# NumPy or JAX.
Array = Any

NOISE = 0.02
"""Standard deviation that a denoising strength of 1 removes, of the noise in brightness before
enhancement, in [0, 1]."""
RADIUS, WINDOWS = 1, 2
"""Radius of the windows, in pixels at half size, and how often means over them are taken. Taken
twice, they reach further than the interpolation does, so no edge shines through to its other side,
and their weights fall towards their ends."""
REACH = 2 * (WINDOWS * RADIUS + 1)
"""Distance up to which pixels influence a result, in pixels: windows and interpolation."""
HALF_SIZE_FACTOR = 0.7
"""Variance of which half is removed, at half size, relative to that of the noise at full size."""
COLOR_FACTOR = 8
"""Ratio of the variance that is removed in color to that removed in brightness."""
COLORLESS_STEPS = 5.6
"""Value of the largest channel before enhancement, in steps of rounding, at which half of the color
is kept for a denoising strength of 1."""
LIGHTLESS_STEPS = 2.6
"""Value of the largest channel before enhancement, in steps of rounding, below which the image
keeps the brightness that it had."""
MIN_AUTO_STRENGTH = 0.17
"""Lowest strength that ``auto`` chooses: rounding and JPEG leave noise too small to measure."""
_SMALL_STRENGTH = 0.05
# Smallest divisors, of x (1 - x) and of fourth powers; they stand for 0.
_MIN_SLOPE, _MIN_POWER = 1e-6, 1e-30
# Blocks that noise is measured in: their side in pixels, how many across and down at most, and the
# number below which they tell nothing.
_BLOCK, _MAX_BLOCKS, _MIN_BLOCKS = 16, 32, 16
_DARK_RANGE = (2 / 255, 0.5)
_LOWEST_SHARE = 0.1
# Multiple of the measured noise that is removed: more than there is, since the filter spares half
# of what varies like eps, and the flattest places have less noise than others.
_FACTOR = 3


def denoise(
    image: Float[Array, "b h w 3"],
    enhanced: Float[Array, "b h w 3"],
    strength: Float[Array, "b 1 1 1"] | float,
    rounding: Float[Array, "b 1 1 1"] | float,
    black: Float[Array, "b 1 1 1"] | float,
    inside: Mask = None,
) -> Float[Array, "b y x 3"]:
    """Remove noise in proportion to the curve gain, and color where there is none.

    At half size, with means over windows: let Y be the mean of the channels, C = enhanced - Y, g
    the gain of Y (`gain_of_means`) and h = max(g - 1, 0). The share ``e^2 / (v^2 + e^2)`` of a
    value is replaced by its mean: of Y with v = var(Y) and e = 0.7 (0.02 strength h)^2, of C with v
    = the mean of var(C) and 8 e. Of C, the share with v = M^2, where M is the largest mean of a
    channel, and e = strength (5.6 rounding h)^2 is replaced by 0. Of the result, the share with v
    = M^2 and e = black (2.6 rounding h)^2, for all but the smallest strengths, is replaced by the
    brightness before enhancement. The shares and what replaces them are interpolated, and applied
    at full size.

    Args:
        image: The image before enhancement, in [0, 1].
        enhanced: The image after the curves, in [0, 1]; with a mask, `REACH` more pixels on every
            side than the result. It begins at an even row and column of the whole image.
        strength: The denoising strength in [0, 1].
        rounding: The step of rounding of the image before enhancement (`pixels.rounding_step`).
        black: How far the image keeps black what holds no light, in [0, 1].
        inside: The mask of the image, as for `guided_filter.smooth`.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 3), or the size of the image without a mask; in
        [0, 1]. Where the curves change nothing, the image as it was.
    """
    xp = image.__array_namespace__()
    small = halve(enhanced, inside)
    luma, before = channel_mean(small), channel_mean(halve(image, inside))
    color = small - luma
    planes = [before, luma, luma * luma, channel_mean(color * color), color]
    means, blocks = xp.concatenate(planes, axis=-1), halve_mask(inside)
    for _ in range(WINDOWS):
        means = window_means(means, blocks, radius=RADIUS)
        blocks = crop(blocks, RADIUS, blocks)
    before, luma, luma_square, color_square = (means[..., i : i + 1] for i in range(4))
    color = means[..., 4:]
    excess = xp.maximum(gain_of_means(before, luma) - 1, 0)
    amplification = excess * excess
    deviation, step = strength * NOISE, COLORLESS_STEPS * rounding
    noise = HALF_SIZE_FACTOR * deviation * deviation * amplification
    luma_share = _share(luma_square - luma * luma, noise)
    color_share = _share(color_square - channel_mean(color * color), COLOR_FACTOR * noise)
    largest = luma + color.max(-1, keepdims=True)
    trace = strength * step * step * amplification
    colored = 1 - _share(largest * largest, trace)
    step = LIGHTLESS_STEPS * rounding
    # The threshold is the same for nearly all strengths above 0.
    lightless = strength / (strength + _SMALL_STRENGTH) * black * step * step * amplification
    lit = 1 - _share(largest * largest, lightless)
    replacement = luma_share * luma + colored * color_share * color
    color_share = 1 - colored * (1 - color_share)
    # out = (1 - color_share) enhanced + (color_share - luma_share) Y + replacement, of which only
    # the lit share is kept.
    replacement = before + lit * (replacement - before)
    planes = [1 - lit * (1 - color_share), lit * (color_share - luma_share), replacement]
    enhanced = crop(enhanced, REACH, inside)
    planes = double(xp.concatenate(planes, axis=-1), enhanced, blocks)
    color_share, difference, replacement = planes[..., :1], planes[..., 1:2], planes[..., 2:]
    # Where nothing is replaced, the image keeps its bits.
    luma = channel_mean(enhanced)
    result = (1 - color_share) * enhanced + (difference * luma + replacement)
    return xp.clip(result, 0, 1)


def gain_of_means(
    before: Float[Array, "b h w 1"], after: Float[Array, "b h w 1"]
) -> Float[Array, "b h w 1"]:
    """Return the curve gain of a place from its brightness X before and Y after the curves.

    An iteration ``y = x + a (x^2 - x)`` maps x (1 - x) to y (1 - y) = x (1 - x) (1 + a (2 x - 1) +
    a^2 (x^2 - x)), and its derivative is the last factor without the square. So the gain is about
    ``Y (1 - Y) / (X (1 - X))`` for any number of iterations, and exactly so near black.

    Returns:
        The gain, at least 0; exactly 1 where Y = X, and 0 where both are black or white.
    """
    xp = before.__array_namespace__()
    return after * (1 - after) / xp.maximum(before * (1 - before), _MIN_SLOPE)


def _share(value: Array, eps: Array) -> Array:
    """Return ``eps^2 / (value^2 + eps^2)``: from 1 where the value is far below eps to 0 above."""
    square = eps * eps
    return square / (value * value + square + _MIN_POWER)


def resolve_denoise(pixels: Shaped[np.ndarray, "h w 3"], settings: EnhanceSettings) -> float:
    """Return the denoising strength for an image: that of the settings, or ``auto`` by its noise.

    Noise is measured by `noise.immerkaer` on the brightness of means over 2x2 pixels, times 2, so
    that noise which a camera has smoothed counts too. Up to 32x32 blocks of 16x16 pixels are spread
    over the image; of those with a mean above 2/255 and up to 0.5, the 10th percentile of the
    estimates counts, since flat blocks have the lowest. The strength is the one that removes three
    times as much.

    Args:
        pixels: The image, uint8, uint16 or floats in [0, 1].
        settings: How to enhance it.

    Returns:
        A strength in [0, 1]; ``auto`` gives at least 0.17, also where fewer than 16 such blocks are
        found.
    """
    if settings.denoise != "auto":
        return float(settings.denoise)
    rows, columns = (side // _BLOCK for side in pixels.shape[:2])
    if rows * columns < _MIN_BLOCKS:
        return MIN_AUTO_STRENGTH
    tiled = pixels[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK, 3)
    places = np.ix_(*(evenly_spaced(count, min(count, _MAX_BLOCKS)) for count in (rows, columns)))
    halves = tiled.swapaxes(1, 2)[places].reshape(-1, _BLOCK // 2, 2, _BLOCK // 2, 2, 3)
    blocks = halves.mean(axis=(2, 4, 5), dtype=np.float32)[..., None]
    blocks /= np.float32(max_value(pixels.dtype))
    means = blocks.mean(axis=(1, 2, 3))
    dark = blocks[(means > _DARK_RANGE[0]) & (means <= _DARK_RANGE[1])]
    if len(dark) < _MIN_BLOCKS:
        return MIN_AUTO_STRENGTH
    noise = 2 * float(np.quantile(immerkaer(dark), _LOWEST_SHARE))
    return min(max(_FACTOR * noise / NOISE, MIN_AUTO_STRENGTH), 1.0)
