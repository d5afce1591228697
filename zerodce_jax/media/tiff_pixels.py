"""Decode the pixels of TIFF files with tifffile, as gray or RGB with or without alpha.

Every strip and tile must hold all of its rows. Other readers fill what is missing with black.
"""

import io
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import tifffile
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media import ccitt, profiles
from zerodce_jax.media.samples import convert, expand, unmultiply, white

# Values of the tag PhotometricInterpretation. The kinds of L*a*b* store a* and b* differently.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = (
    0,
    1,
    2,
    3,
    5,
    6,
    8,
    9,
)
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_COLORS |= {_YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
# Values of the tags Compression and ExtraSamples.
_CCITT, _JPEG = (2, 3, 4), (6, 7)
_PREMULTIPLIED_ALPHA, _ALPHA = 1, 2
_MAX_SAMPLES = 16
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class Decoded:
    """The pixels of a file."""

    pixels: Shaped[np.ndarray, "h w *channels"]
    """Gray or RGB, with or without alpha, as stored: uint8, uint16, or float32 in [0, 1]."""
    icc: bytes | None = None
    """Color profile of the pixels, if it is not that of the file."""
    notes: tuple[str, ...] = ()
    """Messages, one line each, about conversions and parts that were not read."""


def decode(data: bytes, index: int) -> Decoded:
    """Decode the pixels of an image of a file, by the number of its directory; its size is checked.

    Raises:
        InputError: The file is damaged, or samples of this type are not supported.
        Exception: tifffile and the codecs raise errors of many types for damaged data.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[index]
        assert isinstance(page, tifffile.TiffPage)
        return _decode_page(page, data)


def _decode_page(page: tifffile.TiffPage, data: bytes) -> Decoded:
    photometric, samples = int(page.photometric), page.samplesperpixel
    colors = _COLORS.get(photometric, 0)
    if not 0 < colors <= samples <= _MAX_SAMPLES or page.imagedepth > 1:
        raise InputError(
            f"TIFF with the photometric interpretation {photometric} and {samples} samples is not "
            "supported"
        )
    if photometric == _YCBCR and int(page.compression) not in _JPEG:
        return _decode_ycbcr(data, page.index)
    stored = _read(page, data)
    if stored.dtype == np.float32 and not ((stored >= 0) & (stored <= 1)).all():
        raise InputError("TIFF with floats outside of 0 to 1 is not supported")
    meanings = [int(meaning) for meaning in page.extrasamples][: samples - colors]
    if samples > colors and not page.extrasamples:
        meanings = [_ALPHA]
    at = next((i for i, x in enumerate(meanings) if x in {_PREMULTIPLIED_ALPHA, _ALPHA}), None)
    alpha = None if at is None else _full_range(stored[:, :, colors + at], page)
    pixels = stored[:, :, :colors]
    if photometric != _PALETTE:
        pixels = _full_range(pixels, page)
    notes = []
    if unread := samples - colors - (alpha is not None):
        channels = "one channel" if unread == 1 else f"{unread} channels"
        notes.append(f"{channels} of unknown meaning {'is' if unread == 1 else 'are'} not read")
    if alpha is not None and at is not None and meanings[at] == _PREMULTIPLIED_ALPHA:
        pixels = unmultiply(pixels, alpha)
    icc = None
    if photometric in {_CMYK, _LAB, _ICC_LAB}:
        pixels, note = _convert_colors(pixels, page)
        icc, notes = profiles.srgb(), [*notes, note]
    elif photometric == _WHITE_IS_ZERO:
        pixels = pixels.dtype.type(white(pixels.dtype)) - pixels
    elif photometric == _PALETTE:
        pixels = _look_up(pixels[:, :, 0], page)
    if alpha is not None:
        pixels = np.dstack([pixels, convert(alpha, pixels.dtype)])
    return Decoded(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, icc, tuple(notes))


def _read(page: tifffile.TiffPage, data: bytes) -> Shaped[np.ndarray, "h w samples"]:
    """Return all samples as uint8, uint16 or float32; JPEG's YCbCr is converted to RGB."""
    dtype = np.dtype(np.uint8) if page.dtype == np.bool_ else page.dtype
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(
            f"TIFF with samples of type {dtype or page.bitspersample} is not supported"
        )
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    channels = samples if page.planarconfig == 1 else 1
    down, across = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip or height, height), width)
    )
    if not 0 < down * across <= 4 * (height * width + (1 << 22)):
        raise InputError(f"damaged image (TIFF with tiles of {across}x{down} pixels)")
    count = -(-height // down) * -(-width // across) * (samples // channels)
    starts, sizes = page.dataoffsets, page.databytecounts
    if min(len(starts), len(sizes)) < count:
        raise InputError("damaged image (TIFF: strips are missing)")
    image = np.empty((height, width, samples), dtype)
    for index, (start, size) in enumerate(zip(starts[:count], sizes[:count], strict=True)):
        segment = data[start : start + size]
        if not segment or len(segment) < size:
            raise InputError("damaged image (TIFF: a strip is missing)")
        pixels, (plane, _, top, left, _) = _decode_segment(page, segment, index, down)
        box = image[top : top + down, left : left + across, plane : plane + channels]
        box[:] = pixels[: box.shape[0], : box.shape[1]]
    return image


def _decode_segment(
    page: tifffile.TiffPage, segment: bytes, index: int, down: int
) -> tuple[Shaped[np.ndarray, "rows columns channels"], tuple[int, ...]]:
    """Return the samples of a strip or tile, and its place."""
    compression = int(page.compression)
    if compression in _CCITT:
        top = index * down
        return _decode_ccitt(page, segment, min(down, page.imagelength - top)), (0, 0, top, 0, 0)
    # Where data is missing, the JPEG decoder goes on with gray.
    if compression in _JPEG and _JPEG_END not in segment[-16:]:
        raise InputError("damaged image (TIFF: JPEG data without its end)")
    pixels, place, _ = page.decode(segment, index, jpegtables=page.jpegtables)
    assert pixels is not None
    return pixels[0], place


def _decode_ccitt(
    page: tifffile.TiffPage, segment: bytes, height: int
) -> Shaped[np.ndarray, "rows columns 1"]:
    if page.samplesperpixel * page.bitspersample > 1 or page.is_tiled:
        raise InputError(
            "TIFF with CCITT compression of tiles or of more than one bit is not supported"
        )
    if page.fillorder == 2:
        import imagecodecs

        segment = bytes(imagecodecs.bitorder_decode(segment))
    options = page.tags.valueof("T4Options", 0)
    scheme = cast("Literal[2, 3, 4]", int(page.compression))
    mixed = scheme == 3 and bool(options & 1)
    return ccitt.decode(segment, page.imagewidth, height, scheme, mixed=mixed)[:, :, None]


def _decode_ycbcr(data: bytes, index: int) -> Decoded:
    """Decode YCbCr, perhaps with subsampled chroma, with libtiff; tifffile does not convert it."""
    import imagecodecs

    pixels = imagecodecs.tiff_decode(data, index=index, asrgb=True)
    return Decoded(pixels[:, :, :3], notes=("its YCbCr colors are converted to RGB",))


def _full_range(samples: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
    return samples if samples.dtype.kind == "f" else expand(samples, bits)


def _convert_colors(pixels: np.ndarray, page: tifffile.TiffPage) -> tuple[np.ndarray, str]:
    """Convert CMYK or L*a*b* to sRGB; return the message of the conversion too."""
    photometric = int(page.photometric)
    if pixels.dtype.kind != "u" or (photometric != _CMYK and page.bitspersample not in {8, 16}):
        raise InputError(f"TIFF with CMYK or L*a*b* of {page.bitspersample} bits is not supported")
    if photometric == _CMYK:
        return profiles.from_cmyk(pixels, page.tags.valueof("InterColorProfile"))
    return profiles.from_lab(_standard_lab(pixels, photometric))


def _standard_lab(lab: np.ndarray, photometric: int) -> np.ndarray:
    """Return L*a*b* as ICC profiles of version 4 store it."""
    lab = lab.copy()
    if photometric == _LAB:
        # From two's complement, in which 0 is no color.
        lab[:, :, 1:] ^= 0x80 if lab.dtype == np.uint8 else 0x8000
    if lab.dtype == np.uint16:
        # In 16 bits, a* and b* of 1 are 256 in TIFF, and 257 in version 4.
        scaled = slice(1, 3) if photometric == _LAB else slice(0, 3)
        wide = (lab[:, :, scaled].astype(np.uint32) * 257 + 128) >> 8
        lab[:, :, scaled] = np.minimum(wide, 0xFFFF)
    return lab


def _look_up(indices: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Return the 8-bit colors of a palette."""
    colors = page.colormap
    if colors is None or indices.max(initial=0) >= colors.shape[1]:
        raise InputError("damaged image (TIFF: a palette without all of its colors)")
    # Some programs write 8 bits into the 16 of each color.
    colors = colors >> 8 if colors.max() > 0xFF else colors
    return np.ascontiguousarray(colors.T.astype(np.uint8)[indices])
