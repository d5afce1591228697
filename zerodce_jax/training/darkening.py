"""Training on photographs that are dark on purpose: what was there before tells how it went.

A well-exposed photograph is darkened as a camera would have taken it with less light. The network
is to bring it back, given the strength that a picture is enhanced with (`exposure`). It still needs
no reference: any folder of photographs will do.

Images are float32 in [0, 1], channels last.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.config import LossConfig
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.exposure import MAX_EXPOSURE_STRENGTH
from zerodce_jax.training.losses import (
    Images,
    Loss,
    illumination_smoothness,
    region_means,
    spatial_consistency,
)

_DARKEST = 0.02
_SHOT = (1e-5, 3e-4)
_READ = (1e-5, 1e-3)
_GAMMA = 2.2
_HALVINGS = 12

Curves = Callable[[Images], tuple[Float[Array, "b h w maps"], Float[Array, "b y x n"]]]


def darken(images: Images, key: Array) -> Images:
    """Take photographs again with less light, in 8 bits.

    Each by a factor between 0.02 and 1, with shot noise and read noise, all log-uniform; see
    `retake`.

    Args:
        images: (batch, height, width, 3), in [0, 1].
        key: Decides factors and noise.
    """

    def drawn(key: Array, low: float, high: float) -> Float[Array, "b 1 1 1"]:
        logarithms = jax.random.uniform(
            key, (len(images), 1, 1, 1), minval=math.log(low), maxval=math.log(high)
        )
        return jnp.exp(logarithms)

    keys = jax.random.split(key, 4)
    factor, shot, read = (
        drawn(keys[0], _DARKEST, 1.0),
        drawn(keys[1], *_SHOT),
        drawn(keys[2], *_READ),
    )
    return retake(images, keys[3], factor=factor, shot=shot, read=read)


def retake(
    images: Images,
    key: Array,
    *,
    factor: Float[Array, "b 1 1 1"] | float,
    shot: Float[Array, "b 1 1 1"] | float,
    read: Float[Array, "b 1 1 1"] | float,
) -> Images:
    """Take photographs again with another light and a camera's noise, in 8 bits.

    In linear light. The tone curve of the camera is a smooth step after a gamma of 2.2, as in
    Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019.

    Args:
        images: (batch, height, width, 3), in [0, 1].
        key: Decides the noise.
        factor: On the light, in (0, 1].
        shot: Variance of shot noise, in proportion to the light.
        read: Standard deviation of read noise.
    """
    untoned = 0.5 - jnp.sin(jnp.arcsin(1 - 2 * images) / 3)
    light = factor * untoned**_GAMMA
    variance = shot * light + read**2
    light = light + jnp.sqrt(variance) * jax.random.normal(key, images.shape)
    encoded = jnp.clip(light, 0, 1) ** (1 / _GAMMA)
    toned = encoded * encoded * (3 - 2 * encoded)
    return jnp.round(toned * 255) / 255


def losses(
    curves: Curves, images: Images, key: Array, config: LossConfig, *, iterations: int
) -> dict[str, Loss]:
    """Darken photographs, bring them back, and compare.

    Each is enhanced with the strength that gives it back its mean brightness, so that only the
    shape of the curves is judged: ``consistency``, the mean absolute difference of regions of 4x4
    pixels, where noise does not dominate; ``spatial`` consistency with the photograph as it was;
    the ``smoothness`` of the maps that were applied; and ``exposure``, the squared difference of
    the mean brightness that the network gives at a strength of 1.

    Args:
        curves: The network: from images to curve maps at full size, and those whose smoothness
            counts.
        images: Well-exposed photographs, (batch, height, width, 3).
        key: Decides how they are darkened.
        config: Weights.
        iterations: How often the curve is applied.

    Returns:
        The weighted losses, and ``total``.
    """
    dark = jax.lax.stop_gradient(darken(images, key))
    maps, to_smooth = curves(dark)
    brightness = images.mean((1, 2, 3))
    strength = jax.lax.stop_gradient(_strengths(dark, maps, brightness, iterations))
    enhanced = _enhanced(dark, maps, strength, iterations)
    alone = apply_curves(dark, maps, iterations=iterations).mean((1, 2, 3))
    # Also where little or much was to be done.
    applied = jnp.clip(strength, 0.5, 2)[:, None, None, None] * to_smooth
    terms = {
        "consistency": config.consistency_weight
        * jnp.abs(region_means(enhanced, 4) - region_means(images, 4)).mean(),
        "spatial": config.spatial_weight * spatial_consistency(images, enhanced),
        "exposure": config.exposure_weight * jnp.square(alone - brightness).mean(),
        "smoothness": config.smoothness_weight * illumination_smoothness(applied),
    }
    return terms | {"total": sum(terms.values(), jnp.zeros(()))}


def _enhanced(dark: Images, maps: Array, strength: Float[Array, " b"], iterations: int) -> Images:
    maps = jnp.clip(strength[:, None, None, None] * maps, -1, 1)
    return apply_curves(dark, maps, iterations=iterations)


def _strengths(
    dark: Images, maps: Array, brightness: Float[Array, " b"], iterations: int
) -> Float[Array, " b"]:
    """As `exposure.strength`, for a batch."""
    dark, maps = dark[:, 2::4, 2::4], maps[:, 2::4, 2::4]

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        darker = _enhanced(dark, maps, middle, iterations).mean((1, 2, 3)) < brightness
        return jnp.where(darker, middle, low), jnp.where(darker, high, middle)

    ends = jnp.zeros(len(dark)), jnp.full(len(dark), MAX_EXPOSURE_STRENGTH)
    return jax.lax.fori_loop(0, _HALVINGS, halve, ends)[1]
