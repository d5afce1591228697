"""Highlights kept: curves are held back where they would make bright surroundings too bright.

In a picture that has highlights, each brightness gets a ceiling that rises with it and meets it at
white: so what is bright stays about as it is, what is less bright stays below, and the order of
tones is kept. The surroundings of a pixel, and not the pixel itself, tell how bright a place is: so
what stands out from them, as structure in clouds does, keeps its contrast.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from zerodce_jax.ops import guided_filter

# NumPy or JAX.
Array = Any

CEILING = 0.65
"""Of what is black, in pictures whose highlights are white and wholly protected."""
STRUCTURE = 0.03
"""Variance up to which differences are structure of one surface, and not an edge between two."""
SMALLEST = 1e-30
"""Stands for nothing where its logarithm is taken."""
LEAST = 1e-6
"""Stands for nothing where something is divided by it."""
NEARLY_BLACK = 1e-3
"""As far from 0 and 1 is brightness taken to be."""
CORRECTIONS = 2
"""With one, tones can fall by 3.5 levels of 8 bits where they should rise; with two by 0.4."""
_HIGHLIGHTS = (0.4, 1.0)
_PERCENTILE = 99
# Of 1 + s, which is at most 2.
_DOUBLED = math.log(2)


def presence(image: Float[np.ndarray, "h w 3"]) -> float:
    """How far a picture has highlights that may get too bright.

    ``S((V - 0.4) / 0.6)`` with V the 99th percentile of its largest channel and the smooth step
    ``S(t) = t^2 (3 - 2t)``.

    Args:
        image: The picture, or samples of it, in [0, 1].

    Returns:
        In [0, 1]; brighter pictures have no less.
    """
    low, high = _HIGHLIGHTS
    brightest = np.percentile(image.max(axis=-1), _PERCENTILE)
    t = np.clip((brightest - low) / (high - low), 0, 1)
    return float(t * t * (3 - 2 * t))


def local_brightness(
    image: Float[Array, "b h w 3"], inside: Float[Array, "b h w 1"]
) -> Float[Array, "b y x 1"]:
    """How bright the surroundings of each pixel are, on its side of edges.

    The largest channel after a guided filter with ``eps = 0.03``.

    Args:
        image: Before enhancement, with `guided_filter.REACH` more pixels on every side, in [0, 1].
        inside: 1 on pixels of the image, 0 beyond its edge.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 1), in [0, 1] but for rounding.
    """
    return guided_filter.smooth(image.max(-1, keepdims=True), STRUCTURE, inside)


def max_curve_strength(
    brightness: Float[Array, "*b h w 1"],
    protection: Float[Array, "*b 1 1 1"] | float,
    *,
    iterations: int,
) -> Float[Array, "*b h w 1"]:
    """How strong curves may be so that a brightness V stays below its ceiling.

    The ceiling is ``1 - p (1 - C) (1 - V^6)`` with p the protection and C = 0.65. A curve map of -s
    brings V to ``1 - LE_n(V) >= (1 - V)^((1 + s)^n)``, equal for s = 0 and 1; the s that the
    equation gives for the ceiling is corrected twice by the exponent that s really has.

    Args:
        brightness: As of `local_brightness`.
        protection: In [0, 1]; 0 sets no limit that could be seen.
        iterations: How often the curve is applied.

    Returns:
        s, of the same shape, in [0, 1]: curve maps are to be at least -s.
    """
    xp = brightness.__array_namespace__()
    v = xp.clip(brightness, NEARLY_BLACK, 1 - NEARLY_BLACK)
    base = xp.log(1 - v)
    square = v * v
    below = protection * (1 - CEILING) * (1 - square * square * square)
    wanted = xp.log(xp.maximum(xp.log(xp.maximum(below, SMALLEST)) / base, 1))
    # (1 + s)^n = exponent, in logarithms.
    step = wanted / iterations
    for _ in range(CORRECTIONS):
        x, s = v, xp.exp(xp.minimum(step, _DOUBLED)) - 1
        for _ in range(iterations):
            x = x + s * (x - x * x)
        reached = xp.log(xp.maximum(xp.log(xp.maximum(1 - x, SMALLEST)) / base, 1))
        step = step * wanted / xp.maximum(reached, LEAST)
    return xp.exp(xp.minimum(step, _DOUBLED)) - 1
