"""Zero-reference losses: they judge an enhanced image without knowing the right one.

Images are float32 (batch, height, width, 3) in [0, 1]; enhanced images have the same shape. Curve
maps are (batch, height, width, maps) in [-1, 1]. Every loss is a scalar, averaged over the batch,
and has finite gradients on all images, constant ones included.

References:
    Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement", CVPR 2020,
    section 3.3, as its published code computes them.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.config import LossConfig, TrainConfig
from zerodce_jax.errors import UsageError

Images = Float[Array, "b h w 3"]
Loss = Float[Array, ""]

LossFunction = Callable[[Images, Images, Float[Array, "b y x maps"], TrainConfig], dict[str, Loss]]
"""Function that judges a batch; `weighted_losses` is the default.

Its arguments are the images, the enhanced images, the curve maps (or the grid that a network with
several brightness levels estimates) and the `TrainConfig`. It returns named scalars, weights
included. Training minimizes their sum, which is logged as ``total``. It runs inside `jax.jit`.
"""


def spatial_consistency_loss(images: Images, enhanced: Images) -> Loss:
    """Penalize changed differences between neighboring regions: eq. 4 with regions of 4x4 pixels.

    With Y the mean of a region over its pixels and channels, the loss is the mean over regions i of
    ``sum_j ((Y'_i - Y'_j) - (Y_i - Y_j))^2`` over the 4 neighbors j; Y is 0 outside the image.

    Raises:
        ValueError: The images are smaller than a region.
    """
    # The differences are linear, so the differences of the change are enough.
    change = region_means(enhanced.mean(-1), 4) - region_means(images.mean(-1), 4)
    padded = jnp.pad(change, ((0, 0), (1, 1), (1, 1)))
    center = padded[:, 1:-1, 1:-1]
    rows, columns = padded[:, 1:-1], padded[:, :, 1:-1]
    neighbors = rows[:, :, :-2], rows[:, :, 2:], columns[:, :-2], columns[:, 2:]
    return sum((jnp.square(center - other) for other in neighbors), jnp.zeros(())).mean()


def exposure_loss(enhanced: Images, *, level: float = 0.6) -> Loss:
    """Penalize regions of 16x16 pixels that miss a brightness: eq. 5, squared.

    The loss is the mean of ``(Y_k - E)^2`` over regions k with mean Y_k, for the level E in [0, 1].

    Raises:
        ValueError: The images are smaller than a region.
    """
    return jnp.square(region_means(enhanced.mean(-1), 16) - level).mean()


def color_constancy_loss(enhanced: Images) -> Loss:
    """Penalize different means of the color channels (eq. 6).

    The loss of an image is ``sqrt(D_rg^2 + D_rb^2 + D_gb^2)``, where D is the squared difference
    of two channel means.
    """
    red, green, blue = jnp.moveaxis(enhanced.mean((1, 2)), -1, 0)
    squares = (red - green) ** 4 + (red - blue) ** 4 + (green - blue) ** 4
    # The square root has an infinite slope at 0, where the slope of the loss is 0.
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0).mean()


def illumination_smoothness_loss(maps: Float[Array, "b h w maps"]) -> Loss:
    """Penalize curve maps that are not smooth: the total variation of eq. 7, with squares.

    The loss is ``2 (sum dy^2 / ((H - 1) W) + sum dx^2 / (H (W - 1))) / batch``, with sums over all
    maps.
    """
    batch, height, width, _ = maps.shape
    vertical = jnp.square(maps[:, 1:] - maps[:, :-1]).sum() / max(1, (height - 1) * width)
    horizontal = jnp.square(maps[:, :, 1:] - maps[:, :, :-1]).sum() / max(1, height * (width - 1))
    return 2 * (vertical + horizontal) / batch


def weighted_losses(
    images: Images, enhanced: Images, maps: Float[Array, "b y x maps"], config: LossConfig
) -> dict[str, Loss]:
    """Return the four losses of Zero-DCE, each times its weight; the default `LossFunction`.

    Their names are ``spatial``, ``exposure``, ``color`` and ``smoothness``.

    Raises:
        ValueError: The images are smaller than 16x16.
    """
    return {
        "spatial": config.spatial_weight * spatial_consistency_loss(images, enhanced),
        "exposure": config.exposure_weight * exposure_loss(enhanced, level=config.exposure_level),
        "color": config.color_weight * color_constancy_loss(enhanced),
        "smoothness": config.smoothness_weight * illumination_smoothness_loss(maps),
    }


def loss_name(losses: LossFunction) -> str:
    """Return the name that a run records for its loss function.

    Raises:
        UsageError: The function is a lambda or has no name.
    """
    name = getattr(losses, "__qualname__", "<lambda>")
    if "<lambda>" in name:
        raise UsageError("losses: define the loss function with def; a run is resumed by its name")
    return f"{losses.__module__}.{name}"


def region_means(values: Float[Array, "b h w *c"], size: int) -> Float[Array, "b y x *c"]:
    """Return the means over regions of size x size pixels; drop a remainder at the far edges.

    Raises:
        ValueError: The images are smaller than a region.
    """
    batch, height, width, *channels = values.shape
    rows, columns = height // size, width // size
    if not rows or not columns:
        raise ValueError(f"images of {height}x{width} are smaller than a region, {size}x{size}")
    regions = values[:, : rows * size, : columns * size]
    return regions.reshape(batch, rows, size, columns, size, *channels).mean((2, 4))
