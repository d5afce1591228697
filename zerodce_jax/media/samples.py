"""Arrays of samples: size limit, type conversion, orientation and alpha channel."""

from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt16

from zerodce_jax.errors import InputError


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise an InputError for an image of more than `max_pixels`."""
    if width * height > max_pixels:
        raise InputError(
            f"{width}x{height} pixels are more than the limit of {max_pixels:,} (--max-pixels)"
        )


def convert(
    samples: Shaped[np.ndarray, "h w *channels"], dtype: Any
) -> Shaped[np.ndarray, "h w *channels"]:
    """Convert samples to uint8, uint16 or float32.

    The full range of the old type maps to the full range of the new one: 0 to 255, 0 to 65535, or
    0 to 1. Integers are rounded to the nearest.
    """
    dtype = np.dtype(dtype)
    if samples.dtype == dtype:
        return samples
    scaled = samples * np.float32(white(dtype) / white(samples.dtype))
    return (scaled + np.float32(0.5)).astype(dtype) if dtype.kind == "u" else scaled


def expand(
    samples: Shaped[np.ndarray, "h w *channels"], bits: int
) -> Shaped[np.ndarray, "h w *channels"]:
    """Scale unsigned samples of some bits to the whole range of their type, uint8 or uint16.

    Raises:
        InputError: A sample has more bits.
    """
    top, full = (1 << bits) - 1, white(samples.dtype)
    if top == full:
        return samples
    if not top or samples.max(initial=0) > top:
        raise InputError(f"damaged image (samples of more than {bits} bits)")
    return ((samples.astype(np.uint32) * full + top // 2) // top).astype(samples.dtype)


def scale_bits(
    samples: Shaped[np.ndarray, "h w *channels"], bits: int
) -> Shaped[np.ndarray, "h w *channels"]:
    """Scale samples of 1 to 16 bits to the whole range of their type, uint8 or uint16.

    Raises:
        InputError: A sample has more bits.
    """
    if samples.dtype == np.uint16:
        return expand(samples, bits)
    if samples.max(initial=0) >> bits:
        raise InputError(f"damaged image (samples of more than {bits} bits)")
    levels = np.round(np.arange(1 << bits) * (255 / ((1 << bits) - 1))).astype(np.uint8)
    return levels[samples]


def reduce(
    samples: UInt16[np.ndarray, "h w *channels"], bits: int
) -> UInt16[np.ndarray, "h w *channels"]:
    """Scale samples of 16 bits to the range of 9 to 16 bits; the inverse of `expand`."""
    top = (1 << bits) - 1
    return ((samples.astype(np.uint32) * top + 0x7FFF) // 0xFFFF).astype(np.uint16)


def white(dtype: np.dtype) -> int:
    """Return the value of white: the largest integer of the type, or 1 for floats."""
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 1


def unmultiply(
    premultiplied: Shaped[np.ndarray, "h w channels"], alpha: Shaped[np.ndarray, "h w"]
) -> Shaped[np.ndarray, "h w channels"]:
    """Divide colors, which were multiplied by the opacity, by it; where it is 0, they stay."""
    divisor, top = np.where(alpha == 0, white(alpha.dtype), alpha)[:, :, None], white(alpha.dtype)
    if alpha.dtype.kind == "f":
        return np.minimum(premultiplied / divisor, premultiplied.dtype.type(1))
    # Up to 16 bits, the products and their rounding fit into 32 bits.
    rounded = (premultiplied.astype(np.uint32) * np.uint32(top) + divisor // 2) // divisor
    return np.minimum(rounded, top).astype(premultiplied.dtype)


def unpack(
    stored: Shaped[np.ndarray, "h w *channels"], orientation: int
) -> tuple[Shaped[np.ndarray, "height width *rgb"], Shaped[np.ndarray, "height width"] | None]:
    """Turn an image upright, and split it into gray or RGB samples and the alpha channel or None.

    The EXIF orientation of the stored image is 1 to 8 (CIPA DC-008, tag 0x0112).
    """
    if orientation in {5, 6, 7, 8}:
        stored = stored.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        stored = stored[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        stored = stored[::-1]
    if stored.ndim < 3 or stored.shape[2] not in {2, 4}:
        return np.ascontiguousarray(stored), None
    colors = stored[:, :, 0] if stored.shape[2] == 2 else stored[:, :, :3]
    return np.ascontiguousarray(colors), np.ascontiguousarray(stored[:, :, -1])
