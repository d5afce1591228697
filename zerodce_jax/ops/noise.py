"""The amount of noise in an image."""

import math

import numpy as np
from jaxtyping import Float


def immerkaer(blocks: Float[np.ndarray, "blocks y x c"]) -> Float[np.ndarray, " blocks"]:
    """Estimate the standard deviation of white noise in blocks without structure.

    The estimate is the mean over the inner pixels of ``|block * N| sqrt(pi / 2) / 6`` with the
    kernel ``N = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]``.

    Args:
        blocks: (blocks, height, width, channels), of any range.

    Returns:
        The mean over the channels, for each block.

    References:
        Immerkaer, "Fast Noise Variance Estimation", Computer Vision and Image Understanding, 1996.
    """
    # The kernel is a second difference down and another one across.
    response = np.diff(np.diff(blocks, n=2, axis=1), n=2, axis=2)
    return np.abs(response).mean(axis=(1, 2, 3)) * np.float32(math.sqrt(math.pi / 2) / 6)
