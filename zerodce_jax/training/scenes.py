"""Training of scene networks: photographs are degraded, and the network restores them.

Every photograph counts as well exposed, night shots too; this is how the network learns what should
stay dark. Degradation takes light away, from everything or from what is dark already (backlight),
casts a color, and adds noise, as in a camera. Some photographs stay as they are. This needs no
reference images: any folder of good photographs will do.

Images are float32 (batch, height, width, 3) in [0, 1].
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.grid import block_means
from zerodce_jax.training import camera
from zerodce_jax.training.losses import Images, Loss, region_means

MIN_FACTOR = 0.012
"""Smallest factor on the light of a photograph."""
MIN_BACKLIGHT_FACTOR = 0.1
"""Smallest factor on the light of the brightest places of a backlit photograph."""
BACKLIT, BACKLIT_AND_DARK = 0.35, 0.4
"""Shares of the photographs that become backlit, and backlit and dark."""
UNCHANGED, UNCHANGED_IF_DARK = 0.2, 0.5
"""Share of the photographs that stay as they are, and the share by which it grows for dark ones."""
_DARK_RANGE = (0.18, 0.38)
_EXPONENTS = (0.2, 1.2)
_CAST = 0.12
_SHOT_NOISE, _READ_NOISE = (1e-5, 6e-4), (1e-5, 1.2e-3)
_MIN_LUMINANCE = 1e-4
_BLURS = (8, 16, 32)
_REGION = 4
_PIXEL_WEIGHT, _MEAN_WEIGHT, _EDGE_WEIGHT, _ERROR_WEIGHT = 0.3, 0.3, 0.5, 0.05
_SMOOTHNESS_WEIGHT, _LEVEL_WEIGHT = 0.5, 0.05
_ERROR_FLOOR = 1e-3


def degrade(images: Images, key: Array, normal: Images) -> Images:
    """Return photographs as a camera takes them in bad light.

    The light of an image is multiplied by a factor f0 (log-uniform, at least 0.012), by
    ``f1 (L / M)^k`` (backlight), or by both. L is the luminance, or its mean over 1/8, 1/16 or 1/32
    of the sides; M lies between the mean and the largest value of L; k is at most 1.2 and f1 at
    least 0.1. Half of the images get a color cast of up to 12 %. Dark photographs, whose darkness
    is meant, lose less light, and more of them stay as they are.

    Args:
        images: Photographs, in 8 bits.
        key: Random key.
        normal: Random numbers with a standard normal distribution, for the noise. They come from
            another program, because XLA would compute them again in each of its loops.

    Returns:
        Images of the same shape, in 8 bits.
    """
    shape = (len(images), 1, 1, 1)
    keys = iter(jax.random.split(key, 12))

    def uniform(low: float = 0, high: float = 1, shape: tuple[int, ...] = shape) -> Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    low, high = _DARK_RANGE
    darkness = jnp.clip((high - images.mean((1, 2, 3), keepdims=True)) / (high - low), 0, 1)
    # Dark photographs lose less light: at most the 0.3rd power of the smallest factor is left.
    exponent = 1 - 0.7 * darkness
    contrast = jax.random.randint(next(keys), shape, 0, len(camera.CONTRASTS))
    light = camera.to_light(images, contrast)

    dim = jnp.exp(math.log(MIN_FACTOR) * exponent * uniform())
    luminance = _blurred(light.mean(-1, keepdims=True), jax.random.randint(next(keys), shape, 0, 4))
    largest = luminance.max((1, 2, 3), keepdims=True) + _MIN_LUMINANCE
    mean = luminance.mean((1, 2, 3), keepdims=True) + _MIN_LUMINANCE
    share = jnp.maximum(0, uniform(-1, 1))
    middle = jnp.exp((1 - share) * jnp.log(largest) + share * jnp.log(mean))
    relative = jnp.log(jnp.maximum(luminance / middle, _MIN_LUMINANCE))
    backlight = jnp.exp(uniform(*_EXPONENTS) * relative)
    backlight = backlight * jnp.exp(math.log(MIN_BACKLIGHT_FACTOR) * exponent * uniform())
    kind = uniform()
    both = jnp.where(kind < BACKLIT + BACKLIT_AND_DARK, backlight * dim, dim)
    factor = jnp.where(kind < BACKLIT, backlight, both)

    cast = _CAST * uniform(-1, 1, (len(images), 1, 1, 3)) * (uniform() < 0.5)
    shot, read = (
        camera.log_uniform(next(keys), shape, *bounds) for bounds in (_SHOT_NOISE, _READ_NOISE)
    )
    degraded = camera.take(
        light * factor * (1 + cast), normal, contrast=contrast, shot=shot, read=read
    )
    return jnp.where(uniform() < UNCHANGED + UNCHANGED_IF_DARK * darkness, images, degraded)


def scene_losses(model: SceneNet, images: Images, inputs: Images) -> dict[str, Loss]:
    """Compare photographs with what the network makes of their degraded copies.

    Both are compared at the size of the thumbnail, in which most noise averages out.

    Args:
        model: The network.
        images: Photographs; their sides are multiples of the thumbnail's.
        inputs: The copies that `degrade` makes.

    Returns:
        The weighted losses: ``regions``, the mean absolute difference of regions of 4x4 pixels;
        ``pixels``, that of pixels; ``mean``, that of the means; ``edges``, that of the differences
        of neighboring regions; ``error``, the mean logarithm of each image's squared error, as in
        the PSNR; and ``smoothness``, squared differences in the grid along place and brightness.
    """
    side = images.shape[1] // model.config.thumbnail
    images, inputs = block_means(images, side), block_means(inputs, side)
    grid = model.forward(inputs)
    maps = model.upsample(grid, inputs)
    enhanced: Any = apply_shared_curve(inputs, maps, model.config.iterations)
    difference = enhanced - images
    regions = region_means(difference, _REGION)
    edges = [jnp.abs(jnp.diff(regions, axis=axis)).mean() for axis in (1, 2)]
    errors = jnp.square(difference).mean((1, 2, 3))
    levels = grid.reshape(*grid.shape[:3], model.config.levels, -1)
    places = sum(jnp.square(jnp.diff(grid, axis=axis)).mean() for axis in (1, 2))
    return {
        "regions": jnp.abs(regions).mean(),
        "pixels": _PIXEL_WEIGHT * jnp.abs(difference).mean(),
        "mean": _MEAN_WEIGHT * jnp.abs(difference.mean((1, 2))).mean(),
        "edges": _EDGE_WEIGHT * sum(edges, jnp.zeros(())),
        "error": _ERROR_WEIGHT * jnp.log(errors + _ERROR_FLOOR).mean(),
        "smoothness": _SMOOTHNESS_WEIGHT * places
        + _LEVEL_WEIGHT * jnp.square(jnp.diff(levels, axis=3)).mean(),
    }


def _blurred(luminance: Float[Array, "b h w 1"], choice: Array) -> Float[Array, "b h w 1"]:
    """Return the luminance, or its mean over a share of the sides, as chosen for each image."""
    height, width = luminance.shape[1:3]
    result = luminance
    for index, parts in enumerate(_BLURS, start=1):
        means = region_means(luminance, max(1, height // parts))
        blurred = jax.image.resize(means, (len(means), height, width, 1), "linear")
        result = jnp.where(choice == index, blurred, result)
    return result


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def apply_shared_curve(image: Images, maps: Images, iterations: int) -> Images:
    """Iterate one curve, as `curves.apply_curves`, with a gradient for the maps alone.

    The derivative by the maps is computed along with the image. JAX's own gradient would compute
    the iterations anew for each of them, which takes four times as long.
    """
    return _with_derivative(image, maps, iterations)[0]


def _with_derivative(image: Images, maps: Images, iterations: int) -> tuple[Images, Images]:
    derivative = jnp.zeros_like(image)
    for _ in range(iterations):
        bend = image * image - image
        derivative = bend + derivative * (1 + maps * (2 * image - 1))
        image = image + maps * bend
    return image, derivative


def _backward(_: int, derivative: Images, gradient: Images) -> tuple[None, Images]:
    return None, gradient * derivative


apply_shared_curve.defvjp(_with_derivative, _backward)
