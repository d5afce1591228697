"""The guided filter of an image by itself: it smooths what varies little, and keeps edges.

Arrays are (batch, height, width, channels), NumPy or JAX; each channel is filtered alone, over
windows of 7x7 pixels. They are either tiles, with a mask `inside` that tells where their image ends
and a border that the windows use up; or, without a mask, whole images, which keep their size.

References:
    He et al., "Guided Image Filtering", TPAMI 2013.
"""

from typing import Any

from jaxtyping import Float

from zerodce_jax.ops.kernels import overridable

# NumPy or JAX.
Array = Any
Mask = Float[Array, "b h w 1"] | None
"""1 on pixels of the image and 0 beyond its edge; None for arrays that end where the image ends."""

RADIUS = 3
"""Radius of the windows, in pixels."""
REACH = 2 * RADIUS
"""Distance up to which pixels influence a result, in pixels: two window means, one of the other."""


def smooth(
    image: Float[Array, "b h w c"], eps: Float[Array, "b y x c"] | float, inside: Mask = None
) -> Float[Array, "b p q c"]:
    """Smooth what varies less than a given variance.

    With means and variances over windows: ``a = var / (var + eps)``, ``b = mean (1 - a)``, and the
    result is ``mean(a) x + mean(b)`` (eqs. 5, 6 and 8).

    Args:
        image: Values in [0, 1]; with a mask, `REACH` more pixels on every side than the result.
        eps: The variance, for the window around each pixel that is `RADIUS` from the borders.
        inside: The mask of the image; window means are those of the pixels inside.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, channels), or the size of the image without a
        mask; in [0, 1] but for rounding. Where `eps` is 0, the image as it was.
    """
    xp = image.__array_namespace__()
    average = window_means(image, inside)
    variance = xp.maximum(window_means(image * image, inside) - average * average, 0)
    total = variance + eps
    positive = total > 0
    # 0 / 0 is a flat window of which nothing is to be removed.
    a = xp.where(positive, variance / xp.where(positive, total, 1), 1)
    b = average * (1 - a)
    inner = crop(inside, RADIUS, inside)
    return window_means(a, inner) * crop(image, REACH, inside) + window_means(b, inner)


@overridable
def window_means(
    x: Float[Array, "b h w c"], inside: Mask = None, *, radius: int = RADIUS
) -> Float[Array, "b y x c"]:
    """Return the means over windows, of the pixels inside.

    Args:
        x: Values of any range.
        inside: The mask of the image. With it, `radius` pixels are lost on every side.
        radius: The radius of the windows, in pixels.
    """
    xp = x.__array_namespace__()
    if inside is None:
        border = ((0, 0), (radius, radius), (radius, radius), (0, 0))
        x, inside = xp.pad(x, border), xp.pad(xp.ones_like(x[..., :1]), border)
    # Beyond the edges of the image a window may be empty; its mean is never used.
    return _window_sums(x * inside, radius) / xp.maximum(_window_sums(inside, radius), 1)


def crop(x: Any, border: int, inside: Mask) -> Any:
    """Remove a border of some pixels from a tile; a whole image (no mask) has none."""
    if inside is None:
        return x
    return x[:, border : x.shape[1] - border, border : x.shape[2] - border]


def _window_sums(x: Array, radius: int) -> Array:
    for axis in (1, 2):
        size = x.shape[axis] - 2 * radius
        index = (slice(None),) * axis
        x = sum(x[(*index, slice(start, start + size))] for start in range(2 * radius + 1))
    return x
