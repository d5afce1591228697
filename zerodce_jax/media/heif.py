"""Read and write the pixels of HEIC files of more than 8 bits, which Pillow reduces to 8."""

import io
from typing import Any

import numpy as np
from jaxtyping import UInt16

from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.samples import expand, reduce

_QUALITY, _BITS = 90, 10
_MODES = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}


# Larger files are made of tiles, because no level of HEVC allows larger pictures (ITU-T H.265,
# annex A). Readers accept about 1,000 tiles.
MAX_PIXELS_IN_ONE = 142_606_336
_TILE, _MAX_TILES = 1024, 900


def tile_options(width: int, height: int) -> dict[str, Any]:
    """Return the options with which an image of a size is encoded in tiles, if it needs that."""
    if width * height <= MAX_PIXELS_IN_ONE:
        return {}
    tile = _TILE
    while -(-width // tile) * -(-height // tile) > _MAX_TILES:
        tile *= 2
    return {"tile_size": tile}


def decode(data: bytes, bits: int) -> UInt16[np.ndarray, "h w *channels"]:
    """Decode the first image of a file with 9 to 16 bits per sample, turned as the file states."""
    import pillow_heif

    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    # The decoder puts the bits at the top of 16.
    return expand(np.asarray(image) >> (16 - bits), bits)


def encode(pixels: UInt16[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode gray or RGB samples, with or without alpha, and metadata, with 10 or 12 bits.

    The metadata may state the number of bits in `native`, as ``bits``; the default is 10.
    """
    import pillow_heif

    if pixels.shape[2:] == (2,):
        pixels = np.dstack([pixels[:, :, :1]] * 3 + [pixels[:, :, 1:]])
    height, width, channels = (*pixels.shape, 1)[:3]
    bits = metadata.native.get("bits", _BITS)
    samples = np.ascontiguousarray(reduce(pixels, bits) << (16 - bits))
    blocks = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    options: dict[str, Any] = {name: block for name, block in blocks.items() if block}
    file = io.BytesIO()
    options |= {"quality": _QUALITY, "bit_depth": bits, **tile_options(width, height)}
    pillow_heif.encode(_MODES[channels], (width, height), samples.tobytes(), file, **options)
    return file.getvalue()
