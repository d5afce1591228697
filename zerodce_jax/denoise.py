"""Noise held down where the curve amplified it, edges kept: a guided filter with the gain as guide.

The curve says by how much it amplifies each pixel's noise: its gain. The guided filter takes for
noise what varies less than ``eps``; here that is the noise that the gain accounts for, so what the
curve leaves alone stays as it is, to the last bit.
"""

from typing import Any

from jaxtyping import Float

from zerodce_jax import guided

# NumPy or JAX.
Array = Any

NOISE = 0.02
"""Standard deviation of the noise before enhancement that an amount of 1 takes away, in [0, 1]."""


def denoise(
    image: Float[Array, "b h w 3"],
    gain: Float[Array, "b h w 3"],
    inside: Float[Array, "b h w 1"],
    amount: Float[Array, ""] | float,
) -> Float[Array, "b y x 3"]:
    """Hold down noise in proportion to the gain.

    The guided filter with ``eps = mean((amount 0.02 max(gain - 1, 0))^2)`` over each window.

    Args:
        image: The enhanced image with `guided.REACH` more pixels on every side, in [0, 1].
        gain: By how much the curve amplified differences at each pixel (`curves.curve_gain`).
        inside: 1 on pixels of the image, 0 beyond its edge.
        amount: In [0, 1].

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 3), in [0, 1]; where the gain is at most 1, the
        image as it was.
    """
    xp = image.__array_namespace__()
    noise = guided.window_means(xp.square(amount * NOISE * xp.maximum(gain - 1, 0)), inside)
    return xp.clip(guided.smooth(image, noise, inside), 0, 1)
