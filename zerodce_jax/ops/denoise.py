"""Noise held down where the curve amplified it, edges kept: a guided filter with the gain as guide.

The curve says by how much it amplifies each pixel's noise: its gain. The guided filter takes for
noise what varies less than ``eps``; here that is the noise that the gain accounts for, so what the
curve leaves alone stays as it is, to the last bit. Brightness and colour are filtered apart, colour
more strongly: eyes see its noise as specks, and miss little of its detail.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops import guided_filter
from zerodce_jax.ops.grid import evenly
from zerodce_jax.ops.noise import immerkaer

# NumPy or JAX.
Array = Any

NOISE = 0.02
"""Standard deviation that an amount of 1 takes away, of the noise in brightness before enhancement,
in [0, 1]."""
COLOR = 4
"""How many times as large the variance is that is taken away in colour."""
# From red, green and blue to brightness, and red and blue beside it; and back.
APART = np.array([[1, 1, 1], [2, -1, -1], [-1, -1, 2]], np.float32) / 3
BACK = np.array([[1, 1, 0], [1, -1, -1], [1, 0, 1]], np.float32)
LEAST = 0.17
"""The amount for pictures without any noise to be found: what rounding and JPEG leave shows too."""
# Of the blocks that noise is measured in: their side in pixels, how many at most across and down,
# and fewer than say anything.
_SIDE, _ACROSS, _FEW = 16, 32, 16
_BLACK, _DARK = 2 / 255, 0.5
_LOWEST = 0.1
# So much of the noise found is taken away: more than there is, since the filter spares half of what
# varies like eps, and the flattest places have less noise than others.
_FACTOR = 3


def denoise(
    image: Float[Array, "b h w 3"],
    gain: Float[Array, "b h w 3"],
    inside: Float[Array, "b h w 1"],
    amount: Float[Array, "b 1 1 1"] | float,
) -> Float[Array, "b y x 3"]:
    """Hold down noise in proportion to the gain.

    The guided filter of brightness Y, the mean of the channels, with ``eps = mean((amount 0.02
    max(gain - 1, 0))^2)`` over each window and the channels, and of red - Y and blue - Y with
    4 eps.

    Args:
        image: The enhanced image with `guided_filter.REACH` more pixels on every side, in [0, 1].
        gain: By how much the curve amplified differences at each pixel (`curves.curve_gain`).
        inside: 1 on pixels of the image, 0 beyond its edge.
        amount: In [0, 1].

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 3), in [0, 1]; where the gain is at most 1, the
        image as it was.
    """
    xp = image.__array_namespace__()
    square = xp.square(amount * NOISE * xp.maximum(gain - 1, 0)).mean(axis=-1, keepdims=True)
    noise = guided_filter.window_means(square, inside)
    apart = _mixed(image, APART)
    eps = xp.concatenate([noise, COLOR * noise, COLOR * noise], axis=-1)
    change = guided_filter.smooth(apart, eps, inside) - guided_filter.within(
        apart, guided_filter.REACH
    )
    # Added, so that no change is none to the last bit.
    return xp.clip(guided_filter.within(image, guided_filter.REACH) + _mixed(change, BACK), 0, 1)


def _mixed(image: Array, matrix: Float[np.ndarray, "3 3"]) -> Array:
    """Each pixel's channels times a matrix, in sums: fast, and exact on accelerators too."""
    xp = image.__array_namespace__()
    channels = [image[..., i : i + 1] for i in range(3)]
    mixed = [sum(float(x) * c for x, c in zip(row, channels, strict=True)) for row in matrix]
    return xp.concatenate(mixed, axis=-1)


def resolve_denoise(pixels: Shaped[np.ndarray, "h w 3"], settings: EnhanceSettings) -> float:
    """The amount for a picture: that of the settings, or ``auto`` by the noise found in it.

    Noise is measured by `noise.immerkaer` on the brightness of means over 2x2 pixels, times 2, so
    that noise that a camera has smoothed counts too: in up to 32x32 blocks of 16x16 pixels spread
    over the picture, of those with a mean above 2/255 and up to 0.5 the lowest tenth, where there
    is least structure. The amount is what takes away three times as much.

    Args:
        pixels: The picture, uint8, uint16 or floats in [0, 1].
        settings: How to enhance it.

    Returns:
        In [0, 1]; ``auto`` gives at least 0.17, also where fewer than 16 such blocks are found.
    """
    if settings.denoise != "auto":
        return float(settings.denoise)
    rows, columns = (side // _SIDE for side in pixels.shape[:2])
    if rows * columns < _FEW:
        return LEAST
    whole = pixels[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE, 3)
    places = np.ix_(*(evenly(count, min(count, _ACROSS)) for count in (rows, columns)))
    halves = whole.swapaxes(1, 2)[places].reshape(-1, _SIDE // 2, 2, _SIDE // 2, 2, 3)
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    blocks = halves.mean(axis=(2, 4, 5), dtype=np.float32)[..., None] / np.float32(top)
    means = blocks.mean(axis=(1, 2, 3))
    dark = blocks[(means > _BLACK) & (means <= _DARK)]
    if len(dark) < _FEW:
        return LEAST
    noise = 2 * float(np.quantile(immerkaer(dark), _LOWEST))
    return min(max(_FACTOR * noise / NOISE, LEAST), 1.0)
