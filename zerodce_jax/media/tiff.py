"""Read and write TIFF files with features that Pillow lacks: deep color, and all tags.

Samples of more than 8 bits are decoded by libtiff through imagecodecs. Tags are copied unchanged.
"""

import struct
import zlib
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media.metadata import (
    ORIENTATION,
    Metadata,
    plausible_dpi,
    read_orientation,
    upright_xmp,
)
from zerodce_jax.media.samples import expand, white
from zerodce_jax.media.tiff_directory import SIGNATURES, ByteOrder, Directory, Tag, Type, header

# Tags that describe how the samples are stored: strips, tiles, color maps, JPEG tables, pages.
_STRUCTURE_TAGS = frozenset(
    {254, 255, Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, 263, 264, 265}
    | {266, Tag.STRIP_OFFSETS, ORIENTATION, Tag.SAMPLES, Tag.ROWS_PER_STRIP, Tag.STRIP_SIZES, 280}
    | {281, Tag.PLANAR, 288, 289, 290, 291, 292, 293, 297, 301, Tag.PREDICTOR, 318, 319, 320, 321}
    | {322, 323, 324, 325, 330, 332, 333, 334, 336, 337, Tag.EXTRA_SAMPLES, Tag.SAMPLE_FORMAT}
    | {340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)
# Tags of metadata in formats of their own; EXIF of other image formats cannot hold the native ones.
_NATIVE_TAGS = (Tag.IPTC, Tag.PHOTOSHOP)
_BLOCK_TAGS = frozenset({Tag.XMP, Tag.ICC, *_NATIVE_TAGS})
# Values of Tag.PHOTOMETRIC.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
# Values of Tag.EXTRA_SAMPLES.
_UNSPECIFIED, _PREMULTIPLIED_ALPHA, _ALPHA = 0, 1, 2
_STRIP_BYTES = 1 << 18
_MAX_BYTES = (1 << 32) - (1 << 24)


def is_for_pillow(data: bytes, directory: Directory) -> bool:
    """Return whether Pillow decodes a file without loss, so that `decode` is not needed.

    Raises:
        InputError: The colors are YCbCr and not compressed as JPEG, which is not supported.
    """
    (photometric, *_) = directory.integers(Tag.PHOTOMETRIC, (_BLACK_IS_ZERO,))
    if photometric == _YCBCR and directory.integers(Tag.COMPRESSION, (1,))[0] not in {6, 7}:
        # Some versions of Pillow report such files as damaged.
        raise InputError("images of mode YCbCr are not supported; convert them to RGB")
    # Pillow keeps 8 bits per sample only, and does not know big-endian BigTIFF.
    if max(directory.integers(Tag.BITS, (1,))) > 8 or data.startswith(SIGNATURES[3]):
        return False
    # Pillow reads gray with an unspecified second channel only from version 13.0 on.
    return not (
        photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO}
        and directory.integers(Tag.SAMPLES, (1,))[0] == 2
        and directory.integers(Tag.EXTRA_SAMPLES, (_ALPHA,))[0] == _UNSPECIFIED
    )


def decode(data: bytes, directory: Directory) -> Shaped[np.ndarray, "h w *channels"]:
    """Decode the pixels of a file as uint8, uint16, or float32 in [0, 1], with or without alpha.

    Raises:
        InputError: Samples of this type are not supported.
        imagecodecs.TiffError: The file is damaged.
    """
    (photometric, *_) = directory.integers(Tag.PHOTOMETRIC, (_BLACK_IS_ZERO,))
    (samples, *_) = directory.integers(Tag.SAMPLES, (1,))
    extra = samples - (3 if photometric == _RGB else 1)
    if photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB} or extra not in {0, 1}:
        raise InputError(
            f"TIFF with {samples} samples of more than 8 bits and photometric interpretation "
            f"{photometric} is not supported"
        )
    meaning = directory.integers(Tag.EXTRA_SAMPLES, (_ALPHA,))[0]
    if extra and meaning == _PREMULTIPLIED_ALPHA:
        raise InputError("TIFF with premultiplied alpha of more than 8 bits is not supported")
    import imagecodecs

    pixels = imagecodecs.tiff_decode(data, index=0)
    if pixels.ndim == 3 and directory.integers(Tag.PLANAR, (1,))[0] == 2:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape[:2] != directory.size[::-1] or pixels.shape[2:] not in {(), (samples,)}:
        raise InputError("damaged image (the pixels do not have the size that the file states)")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"TIFF with samples of type {pixels.dtype} is not supported")
    if pixels.dtype == np.float32 and not ((pixels >= 0) & (pixels <= 1)).all():
        raise InputError("TIFF with floats outside of 0 to 1 is not supported")
    if extra and meaning == _UNSPECIFIED:
        # Drop a channel of unknown meaning, as Pillow does for 8 bits.
        pixels, extra = pixels[:, :, :-1] if samples > 2 else pixels[:, :, 0], 0
    bits = set(directory.integers(Tag.BITS, (8 * pixels.itemsize,)))
    if bits != {8 * pixels.itemsize}:
        if len(bits) > 1 or pixels.dtype != np.uint16:
            raise InputError(f"TIFF with samples of {bits} bits is not supported")
        # Cameras and scanners store 12 bits, for example.
        pixels = expand(pixels, *bits)
    if photometric == _WHITE_IS_ZERO:
        colors = pixels[:, :, :1] if extra else pixels
        inverted = pixels.dtype.type(white(pixels.dtype)) - colors
        pixels = np.dstack([inverted, pixels[:, :, 1:]]) if extra else inverted
    return pixels


def read_metadata(directory: Directory) -> tuple[Metadata, int]:
    """Return the metadata of a file, set upright, and the orientation of the stored pixels.

    The EXIF of the result holds the tags about the photograph, without those about the file, as in
    other formats. The IPTC and Photoshop blocks become the ``tags`` of `native`.
    """
    exif = directory.without(_STRUCTURE_TAGS | _BLOCK_TAGS)
    blocks = {tag: directory.tags[tag] for tag in _NATIVE_TAGS if tag in directory.tags}
    xmp = directory.tags.get(Tag.XMP, (0, b""))[1]
    has_exif = exif.tags or exif.subdirectories
    metadata = Metadata(
        exif=header(directory.order, 8) + exif.serialize(8) if has_exif else None,
        xmp=upright_xmp(xmp) or None,
        icc=directory.tags.get(Tag.ICC, (0, b""))[1] or None,
        dpi=_dpi(directory),
        native=MappingProxyType({"tags": blocks, "order": directory.order}),
    )
    orientation = directory.integers(ORIENTATION, (0,))[0]
    return metadata, orientation if 1 <= orientation <= 8 else read_orientation(None, xmp)


def _dpi(directory: Directory) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(directory.integers(Tag.RESOLUTION_UNIT, (2,))[0], 0)
    dpi = []
    for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION):
        kind, value = directory.tags.get(tag, (0, b""))
        if kind != Type.RATIONAL:
            return None
        numerator, denominator = struct.unpack_from(f"{directory.order}II", value)
        dpi.append(numerator / (denominator or 1) * unit)
    return plausible_dpi(*dpi)


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode gray or RGB pixels (uint8, uint16 or float32), with or without alpha, without loss.

    The metadata may hold the ``tags`` that `read_metadata` returned in `native`.

    Raises:
        InputError: The file would be larger than TIFF supports (4 GiB).
    """
    directory = Directory()
    if metadata.exif:
        directory = Directory.parse(metadata.exif).without(_STRUCTURE_TAGS | _BLOCK_TAGS)
    if metadata.native.get("order") == directory.order:
        directory.tags |= metadata.native.get("tags", {})
    for tag, block in ((Tag.XMP, metadata.xmp), (Tag.ICC, metadata.icc)):
        if block:
            directory.tags[tag] = Type.UNDEFINED, block
    if metadata.dpi and Tag.X_RESOLUTION not in directory.tags:
        for tag, dots in zip((Tag.X_RESOLUTION, Tag.Y_RESOLUTION), metadata.dpi, strict=True):
            fraction = struct.pack(f"{directory.order}II", round(dots * 10_000), 10_000)
            directory.tags[tag] = Type.RATIONAL, fraction
        directory.set_integers(Tag.RESOLUTION_UNIT, 2, kind=Type.SHORT)
    strips, rows = _compress(pixels, directory.order)
    _describe_pixels(directory, pixels, rows)
    ends = np.cumsum([8, *map(len, strips)]).tolist()
    if ends[-1] >= _MAX_BYTES:
        raise InputError("too large for TIFF, which is limited to 4 GiB")
    directory.set_integers(Tag.STRIP_OFFSETS, *ends[:-1])
    directory.set_integers(Tag.STRIP_SIZES, *map(len, strips))
    # Directories start at even offsets.
    end = ends[-1] + ends[-1] % 2
    body = b"".join(strips) + bytes(end - ends[-1])
    return header(directory.order, end) + body + directory.serialize(end)


def _describe_pixels(directory: Directory, pixels: np.ndarray, rows: int) -> None:
    """Set the tags that a reader needs for pixels in strips of `rows` rows."""
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    colors = 3 if samples >= 3 else 1
    is_integer = pixels.dtype.kind == "u"
    height, width = pixels.shape[:2]
    for tag, number in ((Tag.WIDTH, width), (Tag.HEIGHT, height), (Tag.ROWS_PER_STRIP, rows)):
        directory.set_integers(tag, number)
    for tag, *numbers in (
        (Tag.COMPRESSION, 8),
        (Tag.PHOTOMETRIC, _RGB if colors == 3 else _BLACK_IS_ZERO),
        (Tag.SAMPLES, samples),
        (Tag.PLANAR, 1),
        (Tag.PREDICTOR, 2 if is_integer else 1),
        (Tag.BITS, *[8 * pixels.itemsize] * samples),
        (Tag.SAMPLE_FORMAT, *[1 if is_integer else 3] * samples),
    ):
        directory.set_integers(tag, *numbers, kind=Type.SHORT)
    if samples > colors:
        directory.set_integers(Tag.EXTRA_SAMPLES, _ALPHA, kind=Type.SHORT)


def _compress(pixels: np.ndarray, order: ByteOrder) -> tuple[list[bytes], int]:
    """Return compressed strips (Deflate) and the number of rows in each."""
    rows = max(1, _STRIP_BYTES // (pixels[0].nbytes or 1))
    strips = []
    for top in range(0, len(pixels), rows):
        strip = pixels[top : top + rows]
        if pixels.dtype.kind == "u":
            # Horizontal differencing, modulo the range of the type (TIFF 6.0, section 14).
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        strip = strip.astype(strip.dtype.newbyteorder(order))
        strips.append(zlib.compress(strip.tobytes(), 6))
    return strips, rows
