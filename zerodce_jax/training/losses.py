"""The zero-reference losses: how an enhanced image is judged without knowing the right one.

Images are float32 in [0, 1], channels last; curve maps lie in [-1, 1]. Every loss is a scalar,
averaged over the batch, and has finite gradients on all images, constant ones too.

References:
    Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement", CVPR 2020,
    section 3.3, as its published code computes them.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from zerodce_jax.config import LossConfig

Images = Float[Array, "b h w 3"]
Loss = Float[Array, ""]


def spatial_consistency(images: Images, enhanced: Images) -> Loss:
    """Keep differences between neighbouring regions: eq. 4 with regions of 4x4 pixels.

    With Y the mean of a region over its pixels and channels, the mean over regions i of
    ``sum_j ((Y'_i - Y'_j) - (Y_i - Y_j))^2`` over the 4 neighbours j; Y is 0 outside the image.

    Args:
        images: (batch, height, width, 3), in [0, 1].
        enhanced: Of the same shape.

    Raises:
        ValueError: The images are smaller than a region.
    """
    # The differences are linear, so it is enough to take those of the change.
    change = region_means(enhanced.mean(-1), 4) - region_means(images.mean(-1), 4)
    padded = jnp.pad(change, ((0, 0), (1, 1), (1, 1)))
    center = padded[:, 1:-1, 1:-1]
    neighbours = (
        padded[:, 1:-1, :-2],
        padded[:, 1:-1, 2:],
        padded[:, :-2, 1:-1],
        padded[:, 2:, 1:-1],
    )
    return sum((jnp.square(center - other) for other in neighbours), jnp.zeros(())).mean()


def exposure(enhanced: Images, *, level: float = 0.6) -> Loss:
    """Bring regions of 16x16 pixels to a level: eq. 5, squared: the mean of ``(Y_k - E)^2``.

    Args:
        enhanced: (batch, height, width, 3), in [0, 1].
        level: The well-exposedness level E, in [0, 1].

    Raises:
        ValueError: The images are smaller than a region.
    """
    return jnp.square(region_means(enhanced.mean(-1), 16) - level).mean()


def color_constancy(enhanced: Images) -> Loss:
    """Keep the means of the color channels alike (eq. 6).

    Of each image ``sqrt(D_rg^2 + D_rb^2 + D_gb^2)``, D being the squared difference of two channel
    means.

    Args:
        enhanced: (batch, height, width, 3), in [0, 1].
    """
    red, green, blue = jnp.moveaxis(enhanced.mean((1, 2)), -1, 0)
    squares = (red - green) ** 4 + (red - blue) ** 4 + (green - blue) ** 4
    # The root has no finite slope at 0, where the loss as a whole is flat.
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0).mean()


def illumination_smoothness(maps: Float[Array, "b h w maps"]) -> Loss:
    """Keep each curve map smooth: the total variation of eq. 7, with squares.

    ``2 (sum dy^2 / ((H - 1) W) + sum dx^2 / (H (W - 1))) / batch``, the sums over all maps.

    Args:
        maps: Curve maps, (batch, height, width, maps), in [-1, 1].
    """
    batch, height, width, _ = maps.shape
    vertical = jnp.square(maps[:, 1:] - maps[:, :-1]).sum() / max(1, (height - 1) * width)
    horizontal = jnp.square(maps[:, :, 1:] - maps[:, :, :-1]).sum() / max(1, height * (width - 1))
    return 2 * (vertical + horizontal) / batch


def weighted_losses(
    images: Images, enhanced: Images, maps: Float[Array, "b h w maps"], config: LossConfig
) -> dict[str, Loss]:
    """All four losses, weighted, and their sum.

    Args:
        images: (batch, height, width, 3), in [0, 1].
        enhanced: The same after enhancement.
        maps: The curve maps that did it.
        config: Weights and exposure level.

    Returns:
        ``spatial``, ``exposure``, ``color`` and ``smoothness``, each times its weight, and
        ``total``.

    Raises:
        ValueError: The images are smaller than 16x16.
    """
    terms = {
        "spatial": config.spatial_weight * spatial_consistency(images, enhanced),
        "exposure": config.exposure_weight * exposure(enhanced, level=config.exposure_level),
        "color": config.color_weight * color_constancy(enhanced),
        "smoothness": config.smoothness_weight * illumination_smoothness(maps),
    }
    return terms | {"total": sum(terms.values(), jnp.zeros(()))}


def region_means(values: Float[Array, "b h w *c"], size: int) -> Float[Array, "b y x *c"]:
    """Means over regions of size x size pixels; a remainder at the far edges is dropped.

    Args:
        values: (batch, height, width) or (batch, height, width, channels).
        size: Side of a region, in pixels.

    Raises:
        ValueError: The images are smaller than a region.
    """
    batch, height, width, *channels = values.shape
    rows, columns = height // size, width // size
    if not rows or not columns:
        raise ValueError(f"images of {height}x{width} are smaller than a region, {size}x{size}")
    regions = values[:, : rows * size, : columns * size]
    return regions.reshape(batch, rows, size, columns, size, *channels).mean((2, 4))
