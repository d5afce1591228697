"""How much light a picture needs: one strength for the whole of it, from a small copy.

Brightness is the mean over pixels and channels. A picture that is bright enough is left alone; a
darker one gets the strength that brings it to the level. So the result depends on nothing but the
picture as a whole, darker pictures never come out brighter than brighter ones by the choice of
the strength alone, and pictures that hardly differ get strengths that hardly differ.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.curves import apply_curves
from zerodce_jax.highlights import strongest

THUMBNAIL = 128
"""Longer side of the small copy, in pixels, for networks that see pictures at full size."""
_SAMPLES = 64
STRONGEST = 4.0
"""Factor on curve maps beyond which no picture is enhanced."""
_HALVINGS = 20


def strength(
    image: Float[np.ndarray, "h w 3"],
    maps: Float[np.ndarray, "h w maps"],
    settings: EnhanceSettings,
    *,
    protection: float,
    iterations: int,
) -> float:
    """Find the strength that brings a picture to the level of its settings.

    Args:
        image: A small copy of the picture, in [0, 1].
        maps: The network's curve maps of it, in [-1, 1].
        settings: The exposure is found for their gamma.
        protection: Of highlights, in [0, 1].
        iterations: How often the curve is applied.

    Returns:
        Factor on the curve maps, in [0, 4]: 0 for pictures that are bright enough, 4 also for those
        that even so stay darker than the level.
    """
    level = settings.level
    if level is None:
        return 1.0
    step = -(-max(image.shape[:2]) // _SAMPLES)
    # Of what is but a pixel high or wide, that one.
    some = tuple(slice(min(step, side) // 2, None, step) for side in image.shape[:2])
    image, maps = image[some], maps[some]
    # A pixel's own brightness stands for that of its surroundings: on the mean the two agree.
    most: Any = 1
    if protection:
        most = strongest(image.max(-1, keepdims=True), protection, iterations=iterations)

    def brightness(factor: float) -> Any:
        bent = apply_curves(image, np.clip(factor * maps, -most, 1), iterations=iterations)
        return (bent**settings.gamma).mean()

    # After gamma and of these very samples, as what follows: else there is a jump at the level.
    if brightness(0.0) >= level:
        return 0.0
    low, high = 0.0, STRONGEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if brightness(middle) < level else (low, middle)
    return high
