"""A camera, roughly: linear light, noise, and the tone curve that turns light into pixels.

The tone curve is a mixture of a gamma of 2.2 and a smooth step after it, which darkens shadows and
brightens highlights. Images are float32 (batch, height, width, 3) in [0, 1].

References:
    Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zerodce_jax.training.losses import Images

GAMMA = 2.2
CONTRASTS = np.linspace(0, 1, 5, dtype=np.float32)
"""Shares of the smooth step in the tone curve that `to_light` knows."""
_MIN_LIGHT = 1e-9


def _light_of_pixels() -> Float[np.ndarray, "contrasts 256"]:
    """Tabulate the inverse tone curves, which have no simple formula."""
    encoded = np.linspace(0, 1, 4097)
    pixels = np.arange(256) / 255
    toned = [(1 - c) * encoded + c * encoded**2 * (3 - 2 * encoded) for c in CONTRASTS]
    return np.stack([np.interp(pixels, t, encoded) ** GAMMA for t in toned]).astype(np.float32)


_LIGHT_OF_PIXELS = _light_of_pixels()


def to_light(images: Images, contrast: Array | int) -> Images:
    """Return the light that a camera turned into 8-bit images.

    Args:
        images: The images; they are rounded to 8 bits.
        contrast: Index into `CONTRASTS`, for all images or for each, (batch, 1, 1, 1).
    """
    pixels = jnp.round(images * 255).astype(jnp.int32)
    return jnp.asarray(_LIGHT_OF_PIXELS).ravel()[pixels + 256 * contrast]


def take(
    light: Images,
    normal: Images,
    *,
    contrast: Array | int,
    shot: Float[Array, "b 1 1 1"] | float,
    read: Float[Array, "b 1 1 1"] | float,
) -> Images:
    """Take photographs, with noise and in 8 bits.

    Args:
        light: The light, 1 for white.
        normal: Random numbers with a standard normal distribution.
        contrast: Index into `CONTRASTS`.
        shot: Variance of the shot noise per unit of light.
        read: Standard deviation of the read noise.
    """
    noisy = light + jnp.sqrt(shot * light + read**2) * normal
    # A power is many times as slow.
    encoded = jnp.exp(jnp.log(jnp.clip(noisy, _MIN_LIGHT, 1)) / GAMMA)
    share = jnp.asarray(CONTRASTS)[contrast]
    toned = encoded * ((1 - share) + share * encoded * (3 - 2 * encoded))
    return jnp.round(toned * 255) / 255


def log_uniform(key: Array, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Draw numbers whose logarithms are uniform."""
    return jnp.exp(jax.random.uniform(key, shape, minval=np.log(low), maxval=np.log(high)))
