"""The guided filter of an image by itself: it levels what varies little, and keeps edges.

He et al., "Guided Image Filtering", TPAMI 2013. Arrays are (batch, height, width, channels), NumPy
or JAX, each channel filtered alone, over windows of 7x7 pixels.
"""

from typing import Any

from jaxtyping import Float

# NumPy or JAX.
Array = Any

RADIUS = 3
"""Of the windows, in pixels."""
REACH = 2 * RADIUS
"""How far the result depends on the image around it, in pixels: two means, one after the other."""


def smooth(
    image: Float[Array, "b h w c"],
    eps: Float[Array, "b y x c"] | float,
    inside: Float[Array, "b h w 1"],
) -> Float[Array, "b p q c"]:
    """Level what varies less than some variance.

    With means and variances over windows: ``a = var / (var + eps)``, ``b = mean (1 - a)``, and the
    result is ``mean(a) x + mean(b)`` (eqs. 5, 6 and 8, ibid.).

    Args:
        image: With `REACH` more pixels on every side than the result, in [0, 1].
        eps: The variance, of the window around each pixel that is `RADIUS` from the borders.
        inside: 1 on pixels of the image, 0 beyond its edge; means are those of pixels inside.

    Returns:
        (batch, height - 2 REACH, width - 2 REACH, channels), in [0, 1] but for rounding; where eps
        is 0 the image as it was.
    """
    xp = image.__array_namespace__()
    average = window_means(image, inside)
    variance = xp.maximum(window_means(image * image, inside) - average * average, 0)
    both = variance + eps
    a = xp.where(both > 0, variance / xp.where(both > 0, both, 1), 1)
    b = average * (1 - a)
    inside = within(inside, RADIUS)
    return window_means(a, inside) * within(image, REACH) + window_means(b, inside)


def window_means(
    x: Float[Array, "b h w c"], inside: Float[Array, "b h w 1"]
) -> Float[Array, "b y x c"]:
    """Means over windows, of the pixels inside; `RADIUS` pixels are lost on every side."""
    xp = x.__array_namespace__()
    # Beyond the edges some windows are empty: there anything will do.
    return _window_sums(x * inside) / xp.maximum(_window_sums(inside), 1)


def within(x: Float[Array, "b h w c"], border: int) -> Float[Array, "b y x c"]:
    """What is left without a border of some pixels."""
    return x[:, border : x.shape[1] - border, border : x.shape[2] - border]


def _window_sums(x: Array) -> Array:
    for axis in (1, 2):
        size = x.shape[axis] - 2 * RADIUS
        index = (slice(None),) * axis
        x = sum(x[(*index, slice(start, start + size))] for start in range(2 * RADIUS + 1))
    return x
