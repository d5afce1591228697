"""Highlight protection: curves are limited where they would make bright surroundings too bright.

In an image that has highlights, each brightness gets a ceiling that rises with it and meets it at
white. So bright places stay about as they are, darker places stay below them, and the order of
tones is kept. The brightness of a pixel's surroundings, not its own, decides: a pixel that stands
out from its surroundings, such as structure in clouds, keeps its contrast.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from zerodce_jax.ops import guided_filter
from zerodce_jax.ops.grid import LEVEL_EXPONENT
from zerodce_jax.ops.guided_filter import Mask

# NumPy or JAX.
Array = Any

BLACK_CEILING = 0.65
"""Brightness ceiling for black pixels at full highlight protection."""
STRUCTURE_VARIANCE = 0.03
"""Variance up to which differences count as structure of one surface, not as an edge."""
MIN_LOG_ARGUMENT = 1e-30
"""Smallest argument of a logarithm; it stands for 0."""
MIN_DIVISOR = 1e-6
"""Smallest divisor; it stands for 0."""
MIN_DISTANCE = 1e-3
"""Smallest distance of a brightness from 0 and from 1."""
NEARLY_WHITE = 0.9
"""Brightness that the last level of a bilateral grid stands for."""
CORRECTIONS = 2
"""Corrections of the limit. With one, tones can fall by 3.5 levels of 8 bits where they should
rise; with two, by 0.4."""
_HIGHLIGHT_RANGE, _LIGHT_RANGE = (0.4, 1.0), (0.5, 0.9)
_PERCENTILE = 99
_LOG_2 = math.log(2)


def highlight_presence(image: Float[np.ndarray, "h w 3"]) -> float:
    """Return how far an image has highlights that may get too bright.

    The value is ``S((V - 0.4) / 0.6)`` with V the 99th percentile of the largest channel and the
    smooth step ``S(t) = t^2 (3 - 2t)``.

    Args:
        image: The image, or samples of it, in [0, 1].

    Returns:
        A number in [0, 1], which does not fall when the image gets brighter.
    """
    low, high = _HIGHLIGHT_RANGE
    brightest = np.percentile(image.max(axis=-1), _PERCENTILE)
    return float(_smooth_step(np.clip((brightest - low) / (high - low), 0, 1)))


def light_presence(brightest: Any) -> Any:
    """Return how far an image has lights, by its thumbnail.

    At night some lamps are bright, and black is meant to be black. In a photograph that is too dark
    as a whole, nothing is bright.

    Args:
        brightest: The largest value of a thumbnail, in [0, 1]: a number, or an array of numbers.

    Returns:
        ``S((V - 0.5) / 0.4)`` of that value V, with the smooth step of `highlight_presence`.
    """
    low, high = _LIGHT_RANGE
    t = (brightest - low) * (1 / (high - low))
    t = min(max(t, 0.0), 1.0) if isinstance(t, float) else t.__array_namespace__().clip(t, 0, 1)
    return _smooth_step(t)


def _smooth_step(t: Any) -> Any:
    return t * t * (3 - 2 * t)


def local_brightness(
    image: Float[Array, "b h w 3"], inside: Mask = None
) -> Float[Array, "b y x 1"]:
    """Return the brightness of each pixel's surroundings, on its side of edges.

    It is the largest channel after a guided filter with ``eps = 0.03``.

    Args:
        image: The image before enhancement, in [0, 1]; with a mask, `guided_filter.REACH` more
            pixels on every side than the result.
        inside: The mask of the image, as for `guided_filter.smooth`.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, 1), or the size of the image without a mask; in
        [0, 1] but for rounding.
    """
    return guided_filter.smooth(image.max(-1, keepdims=True), STRUCTURE_VARIANCE, inside)


def protect_levels(
    maps: Float[Array, "*b y x _"],
    protection: Float[Array, "*b 1 1 1"] | float,
    *,
    levels: int,
    iterations: int,
) -> Float[Array, "*b y x _"]:
    """Limit the curves of a bilateral grid, by the brightness that each level stands for.

    `grid.limit_levels` then limits the curves of darker levels too, which keeps the order of tones.

    Args:
        maps: Curve maps of the levels behind one another, in [-1, 1].
        protection: The highlight protection in [0, 1].
        levels: Number of brightness levels, from black to white.
        iterations: The number of iterations of the curve.
    """
    xp = maps.__array_namespace__()
    limited = []
    for level, part in enumerate(xp.split(maps, levels, axis=-1)):
        # White stays white with any curve, so the last level stands for what is nearly white.
        brightness = min((level / (levels - 1)) ** (1 / LEVEL_EXPONENT), NEARLY_WHITE)
        everywhere = 0 * part[..., :1] + brightness
        limit = max_curve_strength(everywhere, protection, iterations=iterations)
        limited.append(xp.maximum(part, -limit))
    return xp.concatenate(limited, axis=-1)


def max_curve_strength(
    brightness: Float[Array, "*b h w 1"],
    protection: Float[Array, "*b 1 1 1"] | float,
    *,
    iterations: int,
) -> Float[Array, "*b h w 1"]:
    """Return the largest curve strength that keeps a brightness V below its ceiling.

    The ceiling is ``1 - p (1 - C) (1 - V^6)`` with p the protection and C = 0.65. A curve map of -s
    maps V to ``1 - LE_n(V) >= (1 - V)^((1 + s)^n)``, equal for s = 0 and 1. The s that the equation
    gives for the ceiling is corrected twice by the exponent that s really has.

    Args:
        brightness: The result of `local_brightness`.
        protection: The highlight protection in [0, 1]; 0 sets no visible limit.
        iterations: The number of iterations of the curve.

    Returns:
        s, of the shape of `brightness`, in [0, 1]: curve maps must be at least -s.
    """
    xp = brightness.__array_namespace__()
    v = xp.clip(brightness, MIN_DISTANCE, 1 - MIN_DISTANCE)
    base = xp.log(1 - v)
    square = v * v
    below_ceiling = protection * (1 - BLACK_CEILING) * (1 - square * square * square)
    wanted = xp.log(xp.maximum(xp.log(xp.maximum(below_ceiling, MIN_LOG_ARGUMENT)) / base, 1))
    # (1 + s)^n is the exponent; `step` is its logarithm divided by n.
    step = wanted / iterations
    for _ in range(CORRECTIONS):
        x, s = v, xp.exp(xp.minimum(step, _LOG_2)) - 1
        for _ in range(iterations):
            x = x + s * (x - x * x)
        reached = xp.log(xp.maximum(xp.log(xp.maximum(1 - x, MIN_LOG_ARGUMENT)) / base, 1))
        step = step * wanted / xp.maximum(reached, MIN_DIVISOR)
    return xp.exp(xp.minimum(step, _LOG_2)) - 1
