"""Training of scene networks: photographs are degraded, and the network restores them.

Every photograph counts as well exposed, night shots too; this is how the network learns what should
stay dark. Degradation takes light away, from everything or from what is dark already (backlight),
casts a color, and adds the noise of a camera. Some photographs stay as they are. This needs no
reference images: any folder of good photographs will do.

Images are float32 (batch, height, width, 3) in [0, 1].
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.grid import block_means
from zerodce_jax.ops.pixels import channel_mean
from zerodce_jax.training import camera
from zerodce_jax.training.losses import Images, Loss, region_means

MIN_FACTOR = 0.012
"""Smallest factor on the light of a photograph."""
BACKLIT, CONTRASTY = 0.35, 0.45
"""Shares of the degraded photographs whose dark places lose more light, and whose bright places
gain light meanwhile; the others lose light everywhere alike."""
UNCHANGED, UNCHANGED_IF_DARK = 0.2, 0.7
"""Share of the photographs that stay as they are, and the share by which it grows for dark ones."""
BRIGHTNESS, NORMALIZATION = 0.46, 0.95
"""Mean brightness that the exposure of photographs is brought towards, and how far."""
FUSION = 0.18
"""How far the targets of bright images are brought towards the fusion of synthetic brackets."""
GAINS, SATURATIONS = 0.06, 0.15
"""Standard deviations of the logarithms of the factors that vary the colors of photographs."""
_DIM_RANGE, _DARK_RANGE, _BRIGHT_RANGE = (0.2, 0.42), (0.14, 0.32), (0.1, 0.3)
_MIN_CONTRASTY, _MAX_CONTRASTY = 0.08, 4.0
_MAX_DARKER, _MAX_BRIGHTER = math.exp(-1), math.exp(1.4)
_WIDTHS = (0.15, 1.5)
_CAST = 0.12
_SHOT_NOISE, _READ_NOISE = (1e-5, 6e-4), (1e-5, 1.2e-3)
_MIN_LUMINANCE = 1e-4
_BLURS = (8, 16, 32)
_BRACKET, _MIDDLE_WIDTH, _FUSION_PARTS = (0.25, 1.0, 4.0), 0.08, 8
_REGION = 4
_PIXEL_WEIGHT, _MEAN_WEIGHT, _EDGE_WEIGHT, _ERROR_WEIGHT = 0.3, 0.3, 0.5, 0.05
_SMOOTHNESS_WEIGHT, _LEVEL_WEIGHT = 0.5, 0.05
_ERROR_FLOOR = 1e-3


def vary_colors(images: Images, key: Array) -> Images:
    """Return photographs with other saturation and other gains of the channels, in 8 bits.

    The logarithms of these factors are normal, with standard deviations of 0.15 and 0.06.
    """
    gain_key, saturation_key = jax.random.split(key)
    saturation = jnp.exp(SATURATIONS * jax.random.normal(saturation_key, (len(images), 1, 1, 1)))
    gains = jnp.exp(GAINS * jax.random.normal(gain_key, (len(images), 1, 1, 3)))
    gray = channel_mean(images)
    colored = jnp.clip(gray + saturation * (images - gray), 0, 1)
    return camera.to_pixels(gains * camera.to_light(colored))


def degrade(images: Images, key: Array, normal: Images) -> tuple[Images, Images]:
    """Take photographs again in bad light.

    First the exposure of a photograph is brought towards a mean brightness of 0.46; the result is
    the target. Then its light is multiplied by a factor between f0, where it is dark, and f1, where
    it is bright:
    ``log f = log f0 + (log f1 - log f0) sigmoid((log L - log M) / w)``. L is the luminance, or its
    mean over 1/8, 1/16 or 1/32 of the sides, M lies between the mean and the largest value of L,
    and w between 0.15 and 1.5. Some photographs are dark everywhere (f1 = f0 >= 0.012), some are
    backlit (f1 >= f0), and some have too much contrast (f0 >= 0.08, f1 <= 4). Half get a color cast
    of up to 12 %. Dark photographs, whose darkness is meant, keep their exposure, lose less light,
    and more of them stay as they are.

    What the network should do about shadows before a bright sky, the photographs do not tell, since
    many have such shadows themselves. So the targets of images that are not dark as a whole are
    moved by a fifth towards an exposure fusion (Mertens et al., "Exposure Fusion", 2007).

    Args:
        images: Photographs, in 8 bits.
        key: Random key.
        normal: Random numbers with a standard normal distribution, for the noise. They come from
            another program, because XLA would compute them again in each of its loops.

    Returns:
        The degraded images, and the targets; both of the same shape, and in 8 bits.
    """
    shape = (len(images), 1, 1, 1)
    keys = iter(jax.random.split(key, 14))

    def uniform(low: float = 0, high: float = 1, shape: tuple[int, ...] = shape) -> Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    brightness = images.mean((1, 2, 3), keepdims=True)
    dimness, darkness = (
        jnp.clip((high - brightness) / (high - low), 0, 1)
        for low, high in (_DIM_RANGE, _DARK_RANGE)
    )
    # The brightness rises with about the square root of the light.
    exposure = (BRIGHTNESS / jnp.maximum(brightness, 0.01)) ** (2 * NORMALIZATION * (1 - darkness))
    light = jnp.clip(exposure, _MAX_DARKER, _MAX_BRIGHTER) * camera.to_light(images)

    # Dark photographs lose less light: at most the 0.3rd power of the smallest factor is left.
    dark = math.log(MIN_FACTOR) * (1 - 0.7 * darkness) * uniform()
    kind = uniform()
    bright = jnp.where(kind < BACKLIT, dark * uniform(), dark)
    contrasty = kind > 1 - CONTRASTY
    dark = jnp.where(contrasty, math.log(_MIN_CONTRASTY) * uniform(), dark)
    bright = jnp.where(contrasty, math.log(_MAX_CONTRASTY) * uniform(), bright)

    luminance = _blurred(light.mean(-1, keepdims=True), jax.random.randint(next(keys), shape, 0, 4))
    logarithm = jnp.log(luminance + _MIN_LUMINANCE)
    largest = logarithm.max((1, 2, 3), keepdims=True)
    mean = jnp.log(luminance.mean((1, 2, 3), keepdims=True) + _MIN_LUMINANCE)
    middle = largest + uniform(-0.1, 1.2) * (mean - largest)
    width = camera.log_uniform(next(keys), shape, *_WIDTHS)
    factor = jnp.exp(dark + (bright - dark) * jax.nn.sigmoid((logarithm - middle) / width))

    cast = _CAST * uniform(-1, 1, (len(images), 1, 1, 3)) * (uniform() < 0.5)
    shot, read = (
        camera.log_uniform(next(keys), shape, *bounds) for bounds in (_SHOT_NOISE, _READ_NOISE)
    )
    noisy = camera.add_noise(light * factor * (1 + cast), normal, shot=shot, read=read)
    unchanged = uniform() < UNCHANGED + UNCHANGED_IF_DARK * dimness
    degraded = jnp.where(unchanged, images, camera.to_pixels(noisy))
    targets = jnp.where(unchanged, images, camera.to_pixels(light))
    low, high = _BRIGHT_RANGE
    brightness = degraded.mean((1, 2, 3), keepdims=True)
    share = FUSION * jnp.clip((brightness - low) / (high - low), 0, 1) * (1 - darkness)
    return degraded, targets + share * (_fusion(targets) - targets)


def _fusion(images: Images) -> Images:
    """Return the exposure fusion of photographs with shots of a quarter and four times their light.

    Where a shot is nearer to middle gray, it has more weight; the weights are smooth over an eighth
    of the sides.
    """
    light = camera.to_light(images)
    side = max(1, images.shape[1] // _FUSION_PARTS)
    total, weights = jnp.zeros(()), jnp.zeros(())
    for factor in _BRACKET:
        shot = images if factor == 1 else camera.to_pixels(factor * light)
        weight = jnp.exp(-jnp.square(shot.mean(-1, keepdims=True) - 0.5) / _MIDDLE_WIDTH)
        weight = jax.image.resize(region_means(weight, side), weight.shape, "linear") + 1e-3
        total, weights = total + weight * shot, weights + weight
    return total / weights


def scene_losses(model: SceneNet, inputs: Images, targets: Images) -> dict[str, Loss]:
    """Compare what the network makes of degraded photographs with the photographs.

    Both are compared at the size of the thumbnail, in which most noise averages out.

    Args:
        model: The network.
        inputs: The images that `degrade` returns; their sides are multiples of the thumbnail's.
        targets: The targets that it returns.

    Returns:
        The weighted losses: ``regions``, the mean absolute difference of regions of 4x4 pixels;
        ``pixels``, that of pixels; ``mean``, that of the means; ``edges``, that of the differences
        of neighboring regions; ``error``, the mean logarithm of each image's squared error, as in
        the PSNR; and ``smoothness``, squared differences in the grid along place and brightness.
    """
    side = inputs.shape[1] // model.config.thumbnail
    inputs, targets = block_means(inputs, side), block_means(targets, side)
    grid = model.forward(inputs)
    enhanced = apply_shared_curve(inputs, model.upsample(grid, inputs), model.config.iterations)
    difference = jnp.asarray(enhanced) - targets
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
