"""A camera, roughly: linear light, noise, and the tone curve that turns light into pixels.

The tone curve is a gamma of 2.2 and then a smooth step, which darkens shadows and brightens
highlights. Images are float32 (batch, height, width, 3) in [0, 1].

References:
    Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zerodce_jax.training.losses import Images

GAMMA = 2.2
_MIN_LIGHT = 1e-9
# The inverse of the smooth step takes an arcsine, which is slow.
_PIXELS = np.arange(256) / 255
_LIGHT_OF_PIXELS = ((0.5 - np.sin(np.arcsin(1 - 2 * _PIXELS) / 3)) ** GAMMA).astype(np.float32)


def to_light(images: Images) -> Images:
    """Return the light, 1 for white, of images, which are rounded to 8 bits."""
    return jnp.asarray(_LIGHT_OF_PIXELS)[jnp.round(images * 255).astype(jnp.uint8)]


def to_pixels(light: Images) -> Images:
    """Return the images that a camera makes of light, in 8 bits; light above 1 becomes white."""
    # A power is many times as slow.
    encoded = jnp.exp(jnp.log(jnp.clip(light, _MIN_LIGHT, 1)) / GAMMA)
    return jnp.round(encoded * encoded * (3 - 2 * encoded) * 255) / 255


def add_noise(
    light: Images,
    normal: Images,
    *,
    shot: Float[Array, "b 1 1 1"] | float,
    read: Float[Array, "b 1 1 1"] | float,
) -> Images:
    """Add the noise of a sensor to light.

    Args:
        light: The light, 1 for white.
        normal: Random numbers with a standard normal distribution.
        shot: Variance of the shot noise per unit of light.
        read: Standard deviation of the read noise.
    """
    return light + jnp.sqrt(shot * light + read**2) * normal


def log_uniform(key: Array, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Draw numbers whose logarithms are uniform."""
    return jnp.exp(jax.random.uniform(key, shape, minval=math.log(low), maxval=math.log(high)))
