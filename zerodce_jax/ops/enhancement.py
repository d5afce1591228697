"""The enhancement of an image whose curve maps are known: the one definition, for every engine.

A new step belongs here: one more line in `enhance`, and a function of its own in this package.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Bool, Float

from zerodce_jax.config import Steps
from zerodce_jax.ops import denoise, guided_filter
from zerodce_jax.ops.curves import apply_curves, scale_maps
from zerodce_jax.ops.guided_filter import Mask
from zerodce_jax.ops.highlights import local_brightness, max_curve_strength, protect_levels
from zerodce_jax.ops.pixels import broadcast, channel_mean, choose

# NumPy or JAX.
Array = Any


class Adjustments(NamedTuple):
    """Decisions for one image (scalars), or for each image of a batch (arrays).

    All fields but the first are numbers; batches, ONNX models and the smoothing of videos carry
    every field.
    """

    gray: Bool[Array, "*b"] | bool | None = None
    """Whether the three channels are one gray image; None where no image is gray."""
    strength: Float[Array, "*b"] | float = 1.0
    """Factor on the curve maps: the strength of the settings times the exposure strength."""
    highlight_protection: Float[Array, "*b"] | float = 0.0
    """How far curves are limited in bright places, in [0, 1]."""
    denoise: Float[Array, "*b"] | float = 0.0
    """Denoising strength in [0, 1]."""
    rounding: Float[Array, "*b"] | float = 1 / 255
    """Step of rounding of the pixels before enhancement, in [0, 1]: 1/255 for 8 bits."""
    black: Float[Array, "*b"] | float = 0.0
    """How far denoising keeps black what holds no light, in [0, 1]."""


def reach(steps: Steps, levels: int) -> int:
    """Return how far a result depends on the pixels around it, in pixels."""
    filters_brightness = steps.protect_highlights and levels == 1
    return guided_filter.REACH * filters_brightness + denoise.REACH * steps.denoise


def enhance(
    image: Float[Array, "b h w 3"],
    maps: Float[Array, "b y x _"],
    adjustments: Adjustments,
    gamma: Float[Array, ""] | float,
    *,
    steps: Steps,
    iterations: int,
    levels: int = 1,
    inside: Mask = None,
    upsample: Callable[[Array], Array] = lambda maps: maps,
) -> Float[Array, "b p q 3"]:
    """Apply curve maps to an image, with every other step of an enhancement.

    Args:
        image: The image before enhancement, in [0, 1]; with a mask, `reach` more pixels on every
            side than the result.
        maps: Curve maps as the network estimated them, in [-1, 1].
        adjustments: The decisions for each image of the batch.
        gamma: Exponent after the curves, above 0; 1 is off.
        steps: Which optional steps to take.
        iterations: The number of iterations of the curve.
        levels: Number of brightness levels that there are maps for; 1 unless they are a grid.
        inside: The mask of the image, as for `guided_filter.smooth`; None for whole images.
        upsample: Brings scaled curve maps to the size of the image.

    Returns:
        The enhanced image, in [0, 1] but for rounding.
    """
    maps = scale_maps(maps, broadcast(adjustments.strength))
    protection = broadcast(adjustments.highlight_protection)
    if steps.protect_highlights and levels > 1:
        maps = protect_levels(maps, protection, levels=levels, iterations=iterations)
    maps = upsample(maps)
    if steps.protect_highlights and levels == 1:
        brightness = local_brightness(image, inside)
        image, maps = (guided_filter.crop(x, guided_filter.REACH, inside) for x in (image, maps))
        inside = guided_filter.crop(inside, guided_filter.REACH, inside)
        limit = max_curve_strength(brightness, protection, iterations=iterations)
        maps = image.__array_namespace__().maximum(maps, -limit)
    enhanced = apply_curves(image, maps, iterations=iterations)
    if steps.denoise:
        strength, rounding = broadcast(adjustments.denoise), broadcast(adjustments.rounding)
        black = broadcast(adjustments.black)
        enhanced = denoise.denoise(image, enhanced, strength, rounding, black, inside)
    enhanced = apply_gamma(enhanced, gamma)
    if adjustments.gray is None:
        return enhanced
    return average_gray(enhanced, broadcast(adjustments.gray))


def apply_gamma(
    image: Float[Array, "b h w 3"], gamma: Float[Array, ""] | float
) -> Float[Array, "b h w 3"]:
    """Raise an image to the power of gamma; 1 leaves every bit as it is."""
    xp = image.__array_namespace__()
    if isinstance(gamma, float | int):
        return image if gamma == 1 else xp.exp(gamma * xp.log(image))
    # Several times as fast as a power, and as exact. The logarithm of 0 is -inf, and its power 0.
    return choose(gamma == 1, lambda: image, lambda: xp.exp(gamma * xp.log(image)))


def average_gray(
    image: Float[Array, "b h w 3"], gray: Bool[Array, "b 1 1 1"]
) -> Float[Array, "b h w 3"]:
    """Replace the channels of gray images by their mean."""

    def mean() -> Array:
        # Taken around the first channel, so that three equal channels keep their value exactly.
        first = image[..., :1]
        return first + channel_mean(image - first)

    return choose(gray, mean, lambda: image)
