"""Write TIFF files, and read their metadata; `tiff_pixels` reads the pixels.

Tags are copied unchanged.
"""

import struct
import zlib
from collections.abc import Iterable
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
from zerodce_jax.media.tiff_directory import ByteOrder, Directory, Tag, Type, header

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
_BLACK_IS_ZERO, _RGB = 1, 2
# Value of Tag.EXTRA_SAMPLES.
_ALPHA = 2
_STRIP_BYTES = 1 << 18
_MAX_BYTES = (1 << 32) - (1 << 24)


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


def encode(pages: Iterable[tuple[Shaped[np.ndarray, "h w *channels"], Metadata]]) -> bytes:
    """Encode one or more pages without loss; they are taken one at a time.

    Args:
        pages: Gray or RGB pixels (uint8, uint16 or float32), with or without alpha, and metadata,
            which may hold the ``tags`` that `read_metadata` returned in `native`. The byte order of
            the EXIF is the same in all pages.

    Raises:
        InputError: The file would be larger than TIFF supports (4 GiB).
    """
    file = bytearray()
    pointer = 4
    for pixels, metadata in pages:
        directory = _describe_metadata(metadata)
        file = file or bytearray(header(directory.order, 0))
        strips, rows = _compress(pixels, directory.order)
        _describe_pixels(directory, pixels, rows)
        ends = np.cumsum([len(file), *map(len, strips)]).tolist()
        directory.set_integers(Tag.STRIP_OFFSETS, *ends[:-1])
        directory.set_integers(Tag.STRIP_SIZES, *map(len, strips))
        # Directories, and the next strips behind them, start at even offsets.
        place = ends[-1] + ends[-1] % 2
        if place >= _MAX_BYTES:
            raise InputError("too large for TIFF, which is limited to 4 GiB")
        struct.pack_into(f"{directory.order}I", file, pointer, place)
        for strip in strips:
            file += strip
        file += bytes(place - ends[-1]) + directory.serialize(place)
        pointer = place + directory.pointer
    return bytes(file)


def _describe_metadata(metadata: Metadata) -> Directory:
    directory = Directory(metadata.native.get("order", "<"))
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
    return directory


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
