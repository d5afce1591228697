"""Pixels of any type to floats and back, and small operations on whole arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.ops.kernels import overridable

# NumPy or JAX.
Array = Any


def max_value(dtype: Any) -> int:
    """Return the value that stands for 1.0: the largest of unsigned integers, 1 of floats."""
    dtype = np.dtype(dtype)
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 1


def rounding_step(dtype: Any) -> float:
    """Return the distance of neighboring values of a type, in [0, 1]; 0 for floats."""
    return 1 / max_value(dtype) if np.dtype(dtype).kind == "u" else 0.0


def to_float(pixels: Shaped[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Scale pixels to [0, 1].

    Args:
        pixels: uint8 or uint16, or float32 in [0, 1], which stays as it is.

    Returns:
        float32 of the same shape, in [0, 1].
    """
    if np.dtype(pixels.dtype).kind != "u":
        return pixels
    return pixels.astype(np.float32) / max_value(pixels.dtype)


def from_float(image: Float[Array, "*b h w c"], dtype: Any) -> Shaped[Array, "*b h w c"]:
    """Undo `to_float`: round to the nearest integer, or clip floats to [0, 1].

    Args:
        image: Values in [0, 1], but for rounding errors.
        dtype: uint8, uint16 or float32.
    """
    if np.dtype(dtype).kind != "u":
        return image.__array_namespace__().clip(image, 0, 1)
    # The conversion drops the fraction.
    return (image * max_value(dtype) + 0.5).astype(dtype)


def broadcast(per_image: Shaped[Array, "*b"] | float) -> Shaped[Array, "*b 1 1 1"] | float:
    """Shape one number for each image so that it applies to all its pixels and channels."""
    return per_image if isinstance(per_image, float | int) else per_image[..., None, None, None]


@overridable
def choose(condition: Array, if_true: Callable[[], Array], if_false: Callable[[], Array]) -> Array:
    """Return one of two arrays, which an array type may compute only where it is needed.

    Args:
        condition: Boolean, one for all or one for each image, shaped to broadcast.
        if_true: Computes the result where the condition holds.
        if_false: Computes the result elsewhere.
    """
    result = if_false()
    return result.__array_namespace__().where(condition, if_true(), result)


@overridable
def channel_mean(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w 1"]:
    """Return the mean over the channels, which keeps its axis."""
    # XLA fuses a sum of slices with what comes before and after, and NumPy adds it up faster.
    channels = image.shape[-1]
    return sum(image[..., i : i + 1] for i in range(channels)) / channels
