"""Small copies of photographs and videos, and the map of where they became brighter."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from zerodce_jax.errors import InputError
from zerodce_jax.jobs.plan import is_video
from zerodce_jax.media import photo
from zerodce_jax.media.video import Reader
from zerodce_jax.ops.grid import block_means

PREVIEW_SIDE = 1024
"""Longer side of a preview, in pixels."""
_FRAME_SECONDS = 1
"""Time of the frame that stands for a video; the first frames are often black."""

Image = UInt8[np.ndarray, "h w 3"]


def preview(file: Path, *, max_pixels: int) -> Image:
    """Return a small copy of a photograph, or of a frame of a video.

    Raises:
        InputError: The file cannot be decoded, or has more than `max_pixels`.
        OSError: The file cannot be read.
    """
    if is_video(file):
        pixels = _frame(file, max_pixels)
    else:
        pixels = photo.read(file, max_pixels=max_pixels).pixels
    maximum = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    means = block_means(pixels, -(-max(pixels.shape[:2]) // PREVIEW_SIDE))
    return np.rint(means * (255 / maximum)).astype(np.uint8)


def _frame(file: Path, max_pixels: int) -> Shaped[np.ndarray, "h w *rgb"]:
    """Return the frame at `_FRAME_SECONDS`, or the last one of a shorter video."""
    pixels = None
    with Reader(file, max_pixels=max_pixels) as reader:
        for frame in reader.frames():
            pixels = frame.pixels
            if frame.time >= _FRAME_SECONDS:
                break
    if pixels is None:
        raise InputError(f"{file}: no frames")
    return pixels


def gain_map(before: Image, after: Image) -> Image:
    """Return how much brighter each place became, from black (equal) to white (16 times)."""
    side = 4
    dark, bright = (block_means(image, side).mean(-1) + 1 for image in (before, after))
    stops = np.clip(np.log2(bright / dark) / 4, 0, 1)
    large = stops.repeat(side, 0).repeat(side, 1)[: before.shape[0], : before.shape[1]]
    return np.rint(255 * large[:, :, None].repeat(3, -1)).astype(np.uint8)
