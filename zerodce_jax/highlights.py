"""Highlights kept: the curve is taken back where the surroundings of a pixel are bright already.

The surroundings, and not the pixel itself, decide: so what stands out from them, as structure in
clouds does, keeps its contrast.
"""

from typing import Any

from jaxtyping import Float

from zerodce_jax import guided

# NumPy or JAX.
Array = Any

BRIGHT = (0.4, 0.8)
"""Local brightness where the protection begins, and where it is whole."""
STRUCTURE = 0.03
"""Variance up to which differences are structure of one surface, and not an edge between two."""


def local_brightness(
    image: Float[Array, "b h w 3"], inside: Float[Array, "b h w 1"]
) -> Float[Array, "b y x 1"]:
    """How bright the surroundings of each pixel are, on its side of edges.

    The largest channel after a guided filter with ``eps = 0.03``.

    Args:
        image: Before enhancement, with `guided.REACH` more pixels on every side, in [0, 1].
        inside: 1 on pixels of the image, 0 beyond its edge.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 1), in [0, 1] but for rounding.
    """
    return guided.smooth(image.max(-1, keepdims=True), STRUCTURE, inside)


def unprotected(
    brightness: Float[Array, "*b h w 1"], protection: Float[Array, ""] | float
) -> Float[Array, "*b h w 1"]:
    """Share of the curve that is left.

    ``1 - p S((V - 0.4) / 0.4)`` with V the local brightness, p the protection and the smooth step
    ``S(t) = t^2 (3 - 2t)``: all of it up to V = 0.4, 1 - p from 0.8 on.

    Args:
        brightness: As of `local_brightness`.
        protection: In [0, 1].

    Returns:
        Factors on the curve maps, of the same shape, in [0, 1].
    """
    xp = brightness.__array_namespace__()
    low, high = BRIGHT
    bright = xp.clip((brightness - low) / (high - low), 0, 1)
    return 1 - protection * bright * bright * (3 - 2 * bright)
