"""The two bilinear resamplings between an image and its reduced copy, as Zero-DCE++ does them.

The image is reduced with half-pixel centres and without antialiasing; the curve maps are brought
back with corners aligned (PyTorch's ``align_corners`` False and True). Sizes that the scale does
not divide are neither cropped nor padded. Everything is index arithmetic on NumPy arrays; the
gathering itself serves NumPy and JAX arrays alike.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

# A NumPy array gives a NumPy array, a JAX array a JAX array.
ArrayLike = Any


def reduced_size(size: int, scale: int) -> int:
    """Number of samples that `size` pixels are reduced to: the nearest whole number, at least 1."""
    return max(1, round(size / scale))


def down_positions(size: int, scale: int) -> Float[np.ndarray, " reduced"]:
    """Where the samples of the reduced image lie in the image, in pixels, one for each sample."""
    reduced = reduced_size(size, scale)
    centres = (np.arange(reduced) + 0.5) * (size / reduced) - 0.5
    return np.clip(centres, 0, size - 1).astype(np.float32)


def up_positions(size: int, reduced: int) -> Float[np.ndarray, " size"]:
    """Where the image's pixels lie in the reduced image, in samples, one for each pixel."""
    if size == 1:
        return np.zeros(1, np.float32)
    return (np.arange(size) * ((reduced - 1) / (size - 1))).astype(np.float32)


def resample(
    image: ArrayLike,
    rows: Float[np.ndarray, " out_h"],
    columns: Float[np.ndarray, " out_w"],
) -> ArrayLike:
    """Read an image bilinearly at a grid of positions.

    Args:
        image: NumPy or JAX array, (..., height, width, channels).
        rows: Row positions in [0, height - 1], in pixels.
        columns: Column positions in [0, width - 1], in pixels.

    Returns:
        The same kind of array, (..., out_h, out_w, channels), float32, in the input's range.
    """
    above, below, weight = _taps(rows, image.shape[-3])
    image = _blend(image[..., above, :, :], image[..., below, :, :], weight[:, None, None])
    left, right, weight = _taps(columns, image.shape[-2])
    return _blend(image[..., left, :], image[..., right, :], weight[:, None])


def _taps(positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = np.minimum(positions.astype(np.int32), size - 1)
    weight = (positions - first).astype(np.float32)
    return first, np.minimum(first + 1, size - 1), weight


def _blend(a: ArrayLike, b: ArrayLike, weight: np.ndarray) -> ArrayLike:
    # Integers first become floats: their differences would wrap around.
    a, b = a.astype(np.float32), b.astype(np.float32)
    return a + (b - a) * weight
