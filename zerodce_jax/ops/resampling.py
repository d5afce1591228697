"""The two bilinear resamplings between an image and its reduced copy, as Zero-DCE++ does them.

The image is reduced with half-pixel centers and without antialiasing; the curve maps are brought
back with corners aligned (PyTorch's ``align_corners`` False and True). Sizes that the scale does
not divide are neither cropped nor padded.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

# NumPy or JAX.
Array = Any


def reduced_size(size: int, scale: int) -> int:
    """Return the number of samples that `size` pixels are reduced to, at least 1."""
    return max(1, round(size / scale))


def down_positions(size: int, scale: int) -> Float[np.ndarray, " reduced"]:
    """Return the position in the image, in pixels, of each sample of the reduced image."""
    reduced = reduced_size(size, scale)
    centers = (np.arange(reduced) + 0.5) * (size / reduced) - 0.5
    return np.clip(centers, 0, size - 1).astype(np.float32)


def up_positions(size: int, reduced: int) -> Float[np.ndarray, " size"]:
    """Return the position in the reduced image, in samples, of each pixel of the image."""
    if size == 1:
        return np.zeros(1, np.float32)
    return (np.arange(size) * ((reduced - 1) / (size - 1))).astype(np.float32)


def resample(
    image: Shaped[Array, "*b h w c"],
    rows: Float[np.ndarray, " out_h"],
    columns: Float[np.ndarray, " out_w"],
) -> Float[Array, "*b out_h out_w c"]:
    """Read an image bilinearly at a grid of positions.

    Args:
        image: An array of any real type.
        rows: Row positions in [0, height - 1], in pixels.
        columns: Column positions in [0, width - 1], in pixels.

    Returns:
        float32 in the input's range.
    """
    above, below, weight = _neighbors(rows, image.shape[-3])
    image = _interpolate(image[..., above, :, :], image[..., below, :, :], weight[:, None, None])
    left, right, weight = _neighbors(columns, image.shape[-2])
    return _interpolate(image[..., left, :], image[..., right, :], weight[:, None])


def linear_weights(positions: Float[Array, "*b out"], count: int) -> Float[Array, "*b out count"]:
    """Return the weights of linear interpolation between samples, as a matrix.

    Args:
        positions: Positions in [0, count - 1], in samples; weights fall to 0 one sample beyond.
        count: Number of samples.
    """
    xp = positions.__array_namespace__()
    # Hat functions around the samples: their weighted sum is linear interpolation.
    return xp.maximum(0, 1 - xp.abs(positions[..., None] - xp.arange(count)))


def _neighbors(positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = np.minimum(positions.astype(np.int32), size - 1)
    weight = (positions - first).astype(np.float32)
    return first, np.minimum(first + 1, size - 1), weight


def _interpolate(a: Array, b: Array, weight: np.ndarray) -> Array:
    # Integers become floats first: their differences would wrap around.
    a, b = a.astype(np.float32), b.astype(np.float32)
    return a + (b - a) * weight
