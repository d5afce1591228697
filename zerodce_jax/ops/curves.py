"""The light-enhancement curve, its iteration and its gain.

Conventions of this module: images are float32 in [0, 1] with channels last; curve maps lie in
[-1, 1]; the map of iteration ``i`` stands in channels ``3i .. 3i+2``, or there are 3 channels that
all iterations share. With such input the result stays in [0, 1]. A NumPy array gives a NumPy array,
a JAX array a JAX array.
"""

from typing import Any

from jaxtyping import Float

# NumPy or JAX.
Array = Any


def apply_curve(
    x: Float[Array, "*b h w 3"], a: Float[Array, "*b h w 3"]
) -> Float[Array, "*b h w 3"]:
    """Apply the light-enhancement curve once.

    ``LE(x) = x + a (x^2 - x)``, eq. 1 of Guo et al. 2020 with the sign that its code uses: a
    negative ``a`` brightens, 0 leaves the pixel as it is.

    Args:
        x: Image, (..., height, width, 3), in [0, 1].
        a: Curve parameters of the same shape, in [-1, 1].

    Returns:
        Image of the same shape, in [0, 1].
    """
    return x + a * (x * x - x)


def curve_of_iteration(
    maps: Float[Array, "*b h w maps"], iteration: int
) -> Float[Array, "*b h w 3"]:
    """Pick the three curve maps that one iteration uses.

    Args:
        maps: Curve maps, (..., height, width, 3 n) or, shared, (..., height, width, 3).
        iteration: Index from 0.

    Returns:
        Curve parameters, (..., height, width, 3).
    """
    return maps if maps.shape[-1] == 3 else maps[..., 3 * iteration : 3 * iteration + 3]


def apply_curves(
    image: Float[Array, "*b h w 3"], maps: Float[Array, "*b h w maps"], *, iterations: int
) -> Float[Array, "*b h w 3"]:
    """Iterate the curve: ``LE_n(x) = LE_(n-1) + A_n (LE_(n-1)^2 - LE_(n-1))`` (eq. 3, ibid.).

    Args:
        image: (..., height, width, 3), in [0, 1].
        maps: Curve maps, (..., height, width, 3 n) with n >= `iterations`, or 3 shared ones.
        iterations: How many iterations to apply; fewer than there are maps stops early.

    Returns:
        Enhanced image, the shape of `image`, in [0, 1].

    Raises:
        ValueError: There are too few maps for that many iterations.
    """
    _check(maps, iterations)
    for i in range(iterations):
        image = apply_curve(image, curve_of_iteration(maps, i))
    return image


def curve_gain(
    image: Float[Array, "*b h w 3"], maps: Float[Array, "*b h w maps"], *, iterations: int
) -> Float[Array, "*b h w 3"]:
    """Local gain dy/dx of the iterated curve: by how much it amplifies contrast, and noise.

    By the chain rule the product over the iterations of ``1 + A_n (2 x_n - 1)``, the derivative of
    `apply_curve` at the value that the iteration meets.

    Args:
        image: The image before enhancement, (..., height, width, 3), in [0, 1].
        maps: Curve maps as for `apply_curves`.
        iterations: How many iterations are applied.

    Returns:
        Gain, the shape of `image`, in [0, 2^iterations].

    Raises:
        ValueError: There are too few maps for that many iterations.
    """
    _check(maps, iterations)
    gain = image.__array_namespace__().ones_like(image)
    for i in range(iterations):
        a = curve_of_iteration(maps, i)
        gain = gain * (1 + a * (2 * image - 1))
        image = apply_curve(image, a)
    return gain


def _check(maps: Float[Array, "*b h w maps"], iterations: int) -> None:
    channels = maps.shape[-1]
    if channels != 3 and channels < 3 * iterations:
        raise ValueError(f"{channels} curve maps are too few for {iterations} iterations")
