"""Automatic exposure: the strength of the curves that brings an image to a mean brightness.

Brightness is the mean over pixels and channels. An image that is bright enough is left alone; a
darker one gets the strength that brings it to the level. The strength is one number for the whole
image, found on a small copy of it: so tiles agree, and images that hardly differ get strengths that
hardly differ.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.curves import apply_curves, scale_maps
from zerodce_jax.ops.grid import combine_levels, level_ramps
from zerodce_jax.ops.highlights import max_curve_strength, protect_levels

THUMBNAIL = 128
"""Longer side of the small copy, in pixels, for networks that see images at full size."""
MAX_EXPOSURE_STRENGTH = 4.0
"""Largest strength that automatic exposure chooses."""
_MAX_SAMPLES = 64
_HALVINGS = 20


class Response:
    """The brightness of an image as a function of the strength of its curves.

    Args:
        image: A small copy of the image, in [0, 1].
        maps: The network's curve maps of it, in [-1, 1].
        gamma: Exponent after the curves.
        highlight_protection: How far curves are limited in bright places, in [0, 1].
        iterations: The number of iterations of the curve.
        levels: Number of brightness levels that there are maps for (`grid.interpolate_levels`).
        upsample: Brings maps of one level to the size of the small copy; it must be linear.
    """

    def __init__(
        self,
        image: Float[np.ndarray, "h w 3"],
        maps: Float[np.ndarray, "y x maps"],
        *,
        gamma: float,
        highlight_protection: float,
        iterations: int,
        levels: int = 1,
        upsample: Callable[[np.ndarray], np.ndarray] = lambda maps: maps,
    ) -> None:
        image, self._maps = _in_planes(image), _in_planes(maps)
        self._image, self._upsample = image, upsample
        self._gamma, self._iterations = gamma, iterations
        self._ramps = level_ramps(image, levels)
        self._levels, self._protection = levels, highlight_protection
        self._limit = None
        if highlight_protection and levels == 1:
            # A pixel's own brightness stands for that of its surroundings: their means agree.
            self._limit = max_curve_strength(
                image.max(-1, keepdims=True), highlight_protection, iterations=iterations
            )

    def __call__(self, strength: float) -> float:
        """Return the mean brightness after curves of this strength, and gamma."""
        enhanced = self._image
        if strength:
            maps = scale_maps(self._maps, strength)
            if self._levels > 1 and self._protection:
                maps = protect_levels(
                    maps, self._protection, levels=self._levels, iterations=self._iterations
                )
            maps = combine_levels(maps, self._ramps, self._upsample)
            if self._limit is not None:
                maps = np.maximum(maps, -self._limit)
            enhanced = apply_curves(enhanced, maps, iterations=self._iterations)
        return float((enhanced**self._gamma).mean())

    def strength_for(self, level: float) -> float:
        """Return the strength, at most `MAX_EXPOSURE_STRENGTH`, that comes nearest to a level."""
        low, high = 0.0, MAX_EXPOSURE_STRENGTH
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self(middle) < level else (low, middle)
        return high


def exposure_strength(
    image: Float[np.ndarray, "h w 3"],
    maps: Float[np.ndarray, "h w maps"],
    settings: EnhanceSettings,
    *,
    highlight_protection: float,
    iterations: int,
    levels: int = 1,
) -> float:
    """Return the strength that brings an image to the exposure level of its settings.

    Args:
        image: A small copy of the image, in [0, 1].
        maps: The network's curve maps of it, in [-1, 1].
        settings: Exposure level, and the gamma that it is reached with.
        highlight_protection: How far curves are limited in bright places, in [0, 1].
        iterations: The number of iterations of the curve.
        levels: Number of brightness levels that there are maps for.

    Returns:
        A factor on the curve maps, in [0, 4]: 0 for images that are bright enough, 4 for images
        that stay darker than the level with it, 1 where the settings have no level.
    """
    level = settings.level
    if level is None:
        return 1.0
    step = -(-max(image.shape[:2]) // _MAX_SAMPLES)
    # Images one pixel wide or high keep that pixel.
    samples = tuple(slice(min(step, side) // 2, None, step) for side in image.shape[:2])
    response = Response(
        image[samples],
        maps[samples],
        gamma=settings.gamma,
        highlight_protection=highlight_protection,
        iterations=iterations,
        levels=levels,
    )
    # Measured like the search that follows, after gamma and on the same samples: otherwise the
    # strength would jump for images whose brightness is near the level.
    return 0.0 if response(0.0) >= level else response.strength_for(level)


def _in_planes(image: np.ndarray) -> np.ndarray:
    """Return an image of contiguous channels, for which NumPy is several times as fast."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(image, -1, 0)), 0, -1)
