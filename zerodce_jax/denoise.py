"""Noise held down where the curve amplified it, edges kept: a guided filter with the gain as guide.

The curve says by how much it amplifies each pixel's noise: its gain. The guided filter of an image
by itself (He et al., "Guided Image Filtering", TPAMI 2013) takes for noise what varies less than
``eps``; here that is the noise that the gain accounts for, so what the curve leaves alone stays as
it is, to the last bit.
"""

from typing import Any

from jaxtyping import Float

# NumPy or JAX.
Array = Any

RADIUS = 3
"""Of the windows, in pixels."""
REACH = 2 * RADIUS
"""How far the result depends on the image around it, in pixels: two means, one after the other."""
NOISE = 0.02
"""Standard deviation of the noise before enhancement that an amount of 1 takes away, in [0, 1]."""


def denoise(
    image: Float[Array, "b h w 3"],
    gain: Float[Array, "b h w 3"],
    inside: Float[Array, "b h w 1"],
    amount: Float[Array, ""] | float,
) -> Float[Array, "b y x 3"]:
    """Hold down noise in proportion to the gain.

    Of each channel, with means and variances over windows of 7x7 pixels and
    ``eps = mean((amount 0.02 max(gain - 1, 0))^2)``: ``a = var / (var + eps)``,
    ``b = mean (1 - a)``, and the result is ``mean(a) x + mean(b)`` (eqs. 5, 6 and 8 of He et al.).

    Args:
        image: The enhanced image with `REACH` more pixels on every side, in [0, 1].
        gain: By how much the curve amplified differences at each pixel (`curves.curve_gain`).
        inside: 1 on pixels of the image, 0 beyond its edge; means are those of pixels inside.
        amount: In [0, 1].

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 3), in [0, 1]; where the gain is at most 1, the
        image as it was.
    """
    xp = image.__array_namespace__()
    # Beyond the edges some windows are empty: there anything will do.
    count = xp.maximum(_window_sums(inside), 1)

    def mean(x: Array) -> Array:
        return _window_sums(x * inside) / count

    average = mean(image)
    variance = xp.maximum(mean(image * image) - average * average, 0)
    noise = mean(xp.square(amount * NOISE * xp.maximum(gain - 1, 0)))
    both = variance + noise
    a = xp.where(both > 0, variance / xp.where(both > 0, both, 1), 1)
    b = average * (1 - a)
    inside = _within(inside, RADIUS)
    count = xp.maximum(_window_sums(inside), 1)
    result = mean(a) * _within(image, REACH) + mean(b)
    return xp.clip(result, 0, 1)


def _within(x: Array, border: int) -> Array:
    return x[:, border : x.shape[1] - border, border : x.shape[2] - border]


def _window_sums(x: Array) -> Array:
    """Sums over windows; the image loses `RADIUS` pixels on every side."""
    for axis in (1, 2):
        size = x.shape[axis] - 2 * RADIUS
        index = (slice(None),) * axis
        x = sum(x[(*index, slice(start, start + size))] for start in range(2 * RADIUS + 1))
    return x
