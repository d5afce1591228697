"""Denoising where the curve amplified noise: a guided filter with the curve gain as guide.

The curve gain tells how much the curve amplifies the noise of each pixel. The guided filter removes
what varies less than ``eps``; here that is the noise which the gain accounts for, so a pixel that
the curve left alone stays as it is, to the last bit. Brightness and color are filtered apart,
color more strongly: noise in color is seen as specks, and detail in color is hardly missed.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops import guided_filter
from zerodce_jax.ops.grid import evenly_spaced
from zerodce_jax.ops.guided_filter import Mask
from zerodce_jax.ops.noise import immerkaer
from zerodce_jax.ops.pixels import channel_mean, max_value, mix_channels

# NumPy or JAX.
Array = Any

NOISE = 0.02
"""Standard deviation that a denoising strength of 1 removes, of the noise in brightness before
enhancement, in [0, 1]."""
COLOR_FACTOR = 4
"""Factor of the variance that is removed in color on that in brightness."""
TO_BRIGHTNESS_AND_COLOR = np.array([[1, 1, 1], [2, -1, -1], [-1, -1, 2]], np.float32) / 3
"""Matrix from (red, green, blue) to (brightness Y, red - Y, blue - Y)."""
TO_RGB = np.array([[1, 1, 0], [1, -1, -1], [1, 0, 1]], np.float32)
"""Inverse of `TO_BRIGHTNESS_AND_COLOR`."""
MIN_AUTO_STRENGTH = 0.17
"""Denoising strength for images without measurable noise: rounding and JPEG leave some too."""
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
    gain: Float[Array, "b h w 3"],
    strength: Float[Array, "b 1 1 1"] | float,
    inside: Mask = None,
) -> Float[Array, "b y x 3"]:
    """Remove noise in proportion to the gain.

    The brightness Y, the mean of the channels, goes through the guided filter with ``eps =
    mean((strength 0.02 max(gain - 1, 0))^2)`` over each window and the channels; red - Y and
    blue - Y go through it with 4 eps.

    Args:
        image: The enhanced image in [0, 1]; with a mask, `guided_filter.REACH` more pixels on
            every side than the result.
        gain: The curve gain at each pixel (`curves.curve_gain`).
        strength: The denoising strength in [0, 1].
        inside: The mask of the image, as for `guided_filter.smooth`.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 3), or the size of the image without a mask; in
        [0, 1]. Where the gain is at most 1, the image as it was.
    """
    xp = image.__array_namespace__()
    amplified = xp.square(strength * NOISE * xp.maximum(gain - 1, 0))
    noise = guided_filter.window_means(channel_mean(amplified), inside)
    separated = mix_channels(image, TO_BRIGHTNESS_AND_COLOR)
    eps = xp.concatenate([noise, COLOR_FACTOR * noise, COLOR_FACTOR * noise], axis=-1)
    smoothed = guided_filter.smooth(separated, eps, inside)
    change = smoothed - guided_filter.crop(separated, guided_filter.REACH, inside)
    # The change is added, so that where it is 0 the image keeps its bits.
    original = guided_filter.crop(image, guided_filter.REACH, inside)
    return xp.clip(original + mix_channels(change, TO_RGB), 0, 1)


def resolve_denoise(pixels: Shaped[np.ndarray, "h w 3"], settings: EnhanceSettings) -> float:
    """Return the denoising strength for an image: that of the settings, or ``auto`` by its noise.

    Noise is measured by `noise.immerkaer` on the brightness of means over 2x2 pixels, times 2, so
    that noise which a camera has smoothed counts too. Up to 32x32 blocks of 16x16 pixels are spread
    over the image; of those with a mean above 2/255 and up to 0.5, the lowest tenth counts, where
    there is least structure. The strength is the one that removes three times as much.

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
