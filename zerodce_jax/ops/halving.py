"""Images at half size and back: means over 2x2 pixels, and bilinear interpolation between them.

Blocks of 2x2 pixels begin at even rows and columns of an image, so tiles must begin there too.
Arrays and masks are those of `guided_filter`: tiles with a mask, or whole images without one, whose
last block may have a single row or column.
"""

from typing import Any

from jaxtyping import Float

from zerodce_jax.ops.grid import blocks
from zerodce_jax.ops.guided_filter import Mask
from zerodce_jax.ops.kernels import overridable

# NumPy or JAX.
Array = Any
_LEAST_WEIGHT = 0.5


@overridable
def halve(x: Float[Array, "b h w c"], inside: Mask = None) -> Float[Array, "b y x c"]:
    """Return the mean of each block of 2x2 pixels, or of its part in the image.

    Args:
        x: Values of any range.
        inside: The mask of the image.

    Returns:
        (batch, height / 2, width / 2, channels), rounded up; 0 for blocks beyond the edge.
    """
    if inside is None:
        inside = x.__array_namespace__().ones_like(x[..., :1])
    return _block_sums(x * inside) / x.__array_namespace__().maximum(_block_sums(inside), 1)


def halve_mask(inside: Mask) -> Float[Array, "b y x 1"] | None:
    """Return the mask of the blocks with a pixel of the image."""
    return None if inside is None else inside.__array_namespace__().sign(_block_sums(inside))


@overridable
def double(
    x: Float[Array, "b y x c"],
    like: Float[Array, "b h w _"],
    inside: Float[Array, "b y x 1"] | None = None,
) -> Float[Array, "b h w c"]:
    """Interpolate between the centers of blocks, and repeat the outermost ones at the edges.

    Args:
        x: Values of any range; with a mask, one more block on every side than `like` has.
        like: An array of the size to return.
        inside: The mask of the blocks.
    """
    xp = x.__array_namespace__()
    height, width = like.shape[1:3]
    if inside is None:
        x = _upsample(xp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"))
    else:
        # To leave out what lies beyond the edge is to repeat what lies before it.
        x = _upsample(x * inside) * (1 / xp.maximum(_upsample(inside), _LEAST_WEIGHT))
    return x[:, :height, :width]


def _block_sums(x: Array) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = blocks(height, 2), blocks(width, 2)
    padding = ((0, 0), (0, 2 * rows - height), (0, 2 * columns - width), (0, 0))
    x = x.__array_namespace__().pad(x, padding)
    # XLA would compute sums of slices, and the curves before them, anew for each of their uses.
    return x.reshape(batch, rows, 2, columns, 2, channels).sum((2, 4))


def _upsample(x: Array) -> Array:
    """Interpolate between the centers of blocks, of which the outermost ones are lost.

    The result is made of sums of shifted copies, which XLA fuses with what follows.
    """
    for axis in (1, 2):
        index = (slice(None),) * axis
        count = x.shape[axis] - 2
        before, here, after = (x[(*index, slice(start, start + count))] for start in range(3))
        phases = [here + 0.25 * (other - here) for other in (before, after)]
        shape = list(here.shape)
        shape[axis] = 2 * count
        x = x.__array_namespace__().stack(phases, axis + 1).reshape(shape)
    return x
