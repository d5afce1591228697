"""Training on darkened photographs: the network learns to restore the photograph as it was.

A well-exposed photograph is darkened as if a camera had taken it with less light. The network
restores it, at the strength that automatic exposure would choose (`zerodce_jax.ops.exposure`). This
needs no reference images: any folder of well-exposed photographs will do.

Images are float32 (batch, height, width, 3) in [0, 1].
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.config import LossConfig
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.exposure import MAX_EXPOSURE_STRENGTH
from zerodce_jax.training import camera
from zerodce_jax.training.losses import (
    Images,
    Loss,
    illumination_smoothness_loss,
    region_means,
    spatial_consistency_loss,
)

_MIN_FACTOR = 0.02
_SHOT_NOISE = (1e-5, 3e-4)
_READ_NOISE = (1e-5, 1e-3)
_BISECTIONS = 12


def darken(images: Images, key: Array) -> Images:
    """Take photographs again with less light, in 8 bits.

    The factor on the light, between 0.02 and 1, and the shot and read noise are drawn for each
    image, all log-uniform; see `retake`.
    """
    *keys, noise_key = jax.random.split(key, 4)
    bounds = ((_MIN_FACTOR, 1.0), _SHOT_NOISE, _READ_NOISE)
    factor, shot, read = (
        camera.log_uniform(key, (len(images), 1, 1, 1), low, high)
        for key, (low, high) in zip(keys, bounds, strict=True)
    )
    return retake(images, noise_key, factor=factor, shot=shot, read=read)


def retake(
    images: Images,
    key: Array,
    *,
    factor: Float[Array, "b 1 1 1"] | float,
    shot: Float[Array, "b 1 1 1"] | float,
    read: Float[Array, "b 1 1 1"] | float,
) -> Images:
    """Take photographs again with other light and a camera's noise, in 8 bits.

    The light changes in linear light. The tone curve of the camera is a smooth step after a gamma
    of 2.2 (`camera`).

    Args:
        images: Photographs.
        key: Random key of the noise.
        factor: Factor on the light, in (0, 1].
        shot: Variance of the shot noise per unit of light.
        read: Standard deviation of the read noise.
    """
    light = factor * camera.to_light(images)
    normal = jax.random.normal(key, images.shape)
    return camera.to_pixels(camera.add_noise(light, normal, shot=shot, read=read))


def restoration_losses(
    images: Images,
    dark: Images,
    maps: Float[Array, "b h w maps"],
    config: LossConfig,
    iterations: int,
) -> dict[str, Loss]:
    """Compare photographs with what the network makes of their darkened copies.

    Each copy is enhanced at the strength that gives it back the mean brightness of its photograph,
    so that the losses judge the shape of the curves, not their strength.

    `dark` are the copies that `darken` makes, and `maps` are the curve maps, in [-1, 1], that the
    network predicts for them.

    Returns:
        The weighted losses: ``consistency``, the mean absolute difference of regions of 4x4
        pixels, in which noise averages out; ``spatial``, the spatial consistency with the
        photograph; ``exposure``, the squared difference of the mean brightness at strength 1; and
        ``smoothness``, the illumination smoothness of the applied maps.
    """
    brightness = images.mean((1, 2, 3))
    strength = jax.lax.stop_gradient(_strengths(dark, maps, brightness, iterations))
    enhanced = _enhance(dark, maps, strength, iterations)
    at_strength_1 = apply_curves(dark, maps, iterations=iterations).mean((1, 2, 3))
    # The limits keep smoothness in force where a photograph needs little or much strength.
    applied = jnp.clip(strength, 0.5, 2)[:, None, None, None] * maps
    difference = jnp.abs(region_means(enhanced, 4) - region_means(images, 4)).mean()
    return {
        "consistency": config.consistency_weight * difference,
        "spatial": config.spatial_weight * spatial_consistency_loss(images, enhanced),
        "exposure": config.exposure_weight * jnp.square(at_strength_1 - brightness).mean(),
        "smoothness": config.smoothness_weight * illumination_smoothness_loss(applied),
    }


def _enhance(dark: Images, maps: Array, strength: Float[Array, " b"], iterations: int) -> Images:
    maps = jnp.clip(strength[:, None, None, None] * maps, -1, 1)
    return apply_curves(dark, maps, iterations=iterations)


def _strengths(
    dark: Images, maps: Array, brightness: Float[Array, " b"], iterations: int
) -> Float[Array, " b"]:
    """Find the strength that brings each image to its brightness, by bisection."""
    dark, maps = dark[:, 2::4, 2::4], maps[:, 2::4, 2::4]

    def bisect(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        darker = _enhance(dark, maps, middle, iterations).mean((1, 2, 3)) < brightness
        return jnp.where(darker, middle, low), jnp.where(darker, high, middle)

    bounds = jnp.zeros(len(dark)), jnp.full(len(dark), MAX_EXPOSURE_STRENGTH)
    return jax.lax.fori_loop(0, _BISECTIONS, bisect, bounds)[1]
