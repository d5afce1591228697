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
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.highlights import max_curve_strength

THUMBNAIL = 128
"""Longer side of the small copy, in pixels, for networks that see pictures at full size."""
_SAMPLES = 64
MAX_EXPOSURE_STRENGTH = 4.0
"""Factor on curve maps beyond which no picture is enhanced."""
_HALVINGS = 20


class Response:
    """How bright a picture becomes, by the strength of its curves.

    Args:
        image: A small copy of the picture, in [0, 1].
        maps: The network's curve maps of it, in [-1, 1].
        gamma: Exponent after the curves.
        protection: Of highlights, in [0, 1].
        iterations: How often the curve is applied.
    """

    def __init__(
        self,
        image: Float[np.ndarray, "h w 3"],
        maps: Float[np.ndarray, "h w maps"],
        *,
        gamma: float,
        protection: float,
        iterations: int,
    ) -> None:
        self._image, self._maps = image, maps
        self._gamma, self._iterations = gamma, iterations
        # A pixel's own brightness stands for that of its surroundings: on the mean the two agree.
        self._most: Any = 1
        if protection:
            self._most = max_curve_strength(
                image.max(-1, keepdims=True), protection, iterations=iterations
            )

    def __call__(self, strength: float) -> float:
        """Mean brightness after curves of this strength and gamma."""
        maps = np.clip(strength * self._maps, -self._most, 1)
        bent = apply_curves(self._image, maps, iterations=self._iterations)
        return float((bent**self._gamma).mean())

    def strength_for(self, level: float) -> float:
        """The strength up to `MAX_EXPOSURE_STRENGTH` that brings the picture nearest to a level."""
        low, high = 0.0, MAX_EXPOSURE_STRENGTH
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self(middle) < level else (low, middle)
        return high


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
        that even so stay darker than the level; 1 where there is no level.
    """
    level = settings.level
    if level is None:
        return 1.0
    step = -(-max(image.shape[:2]) // _SAMPLES)
    # Of what is but a pixel high or wide, that one.
    some = tuple(slice(min(step, side) // 2, None, step) for side in image.shape[:2])
    response = Response(
        image[some],
        maps[some],
        gamma=settings.gamma,
        protection=protection,
        iterations=iterations,
    )
    # After gamma and of these very samples, as what follows: else there is a jump at the level.
    return 0.0 if response(0.0) >= level else response.strength_for(level)
