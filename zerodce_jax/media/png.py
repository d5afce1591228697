"""Read and write PNG files with features that Pillow lacks: 16-bit color, and all chunks.

A PNG file is a signature and a sequence of chunks (PNG specification, third edition, section 5).
Pixels are encoded anew, and the other chunks are copied unchanged.
"""

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.media.metadata import Metadata

Chunk = tuple[bytes, bytes]
"""Type and data of a chunk."""

COLOR_CHUNKS = frozenset({b"iCCP", b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})
"""Types of the chunks that define the meaning of the pixel values."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_SHORT = 0xFFFF
_XMP = b"XML:com.adobe.xmp\0"
_TEXT_EXIF = b"Raw profile type exif\0"
# Chunks that describe the stored pixels or the frames of an animation, and EXIF, which has a
# field of its own in `Metadata`.
_NOT_COPIED = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"acTL", b"fcTL", b"fdAT", b"eXIf"}
)
# Chunks that are valid only for the bit depth and color type that they were written for.
_TYPE_DEPENDENT = frozenset({b"bKGD", b"sBIT"})


def bit_depth(data: bytes) -> int:
    """Return the number of bits of each sample in a PNG file."""
    return data[24]


def decode(data: bytes) -> Shaped[np.ndarray, "h w *channels"]:
    """Decode the pixels, with their own bit depth and channels; a transparent color gives alpha.

    Raises:
        imagecodecs.PngError: The file is damaged.
    """
    import imagecodecs

    return imagecodecs.png_decode(data)


def extra_chunks(data: bytes) -> tuple[Chunk, ...]:
    """Return the chunks of a PNG file that hold neither pixels nor other fields of `Metadata`.

    Chunks that depend on the bit depth and color type carry both before their data, so that
    `encode` can compare them.
    """
    kept = []
    for name, content in _chunks(data):
        # Bytes behind the end of the image, or in a damaged file, may look like chunks.
        if name == b"IEND" or not name.isalpha():
            break
        # A capital first letter marks chunks that a reader must understand: do not copy those.
        if name in _NOT_COPIED or name[:1].isupper() or content.startswith((_XMP, _TEXT_EXIF)):
            continue
        kept.append((name, _pixel_type(data) + content if name in _TYPE_DEPENDENT else content))
    return tuple(kept)


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode gray or RGB pixels (uint8 or uint16), with or without alpha, and metadata.

    The metadata may hold the result of `extra_chunks` in `native`, as ``chunks``.
    """
    import imagecodecs

    # Level 6 is the usual one. Higher levels take much longer and save little on photographs.
    plain = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6))
    kept = []
    for name, content in metadata.native.get("chunks", ()):
        if name in _TYPE_DEPENDENT:
            if not content.startswith(_pixel_type(plain)):
                continue
            content = content.removeprefix(_pixel_type(plain))
        kept.append((name, content))
    (header, *rest) = _chunks(plain)
    chunks = [header, *_metadata_chunks(metadata, {name for name, _ in kept}), *kept, *rest]
    return _SIGNATURE + b"".join(map(_serialize, chunks))


def encode_frames(
    frames: Iterable[tuple[Shaped[np.ndarray, "h w *channels"], float]],
    plays: int,
    metadata: Metadata,
) -> bytes:
    """Encode an animation, and metadata as `encode` does.

    Args:
        frames: At least one image, all of the same size and type, and how long each is shown, in
            milliseconds. They are taken one at a time; each one is compared with the one before.
        plays: How often the animation is played; 0 is for ever.
        metadata: The metadata.
    """
    import imagecodecs

    header: list[Chunk] = []
    parts: list[Chunk] = []
    numbers = itertools.count()
    before: np.ndarray | None = None
    count = 0
    for pixels, milliseconds in frames:
        top, bottom, left, right = _changed_area(before, pixels)
        height, width = bottom - top, right - left
        if before is None:
            chunks = list(_chunks(encode(pixels, metadata)))
            header = [chunk for chunk in chunks if chunk[0] not in {b"IDAT", b"IEND"}]
        else:
            area = np.ascontiguousarray(pixels[top:bottom, left:right])
            chunks = list(_chunks(bytes(imagecodecs.png_encode(area, level=6))))
        content = b"".join(data for name, data in chunks if name == b"IDAT")
        # Frames are neither cleared before the next one, nor blended with the one before.
        place = struct.pack(">5I", next(numbers), width, height, left, top)
        parts.append((b"fcTL", place + struct.pack(">HHBB", *_delay(milliseconds), 0, 0)))
        if before is None:
            parts.append((b"IDAT", content))
        else:
            parts.append((b"fdAT", struct.pack(">I", next(numbers)) + content))
        before, count = pixels, count + 1
    control = (b"acTL", struct.pack(">II", count, plays))
    all_chunks = [header[0], control, *header[1:], *parts, (b"IEND", b"")]
    return _SIGNATURE + b"".join(map(_serialize, all_chunks))


def _changed_area(before: np.ndarray | None, pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Return the top, bottom, left and right end of what differs; at least one pixel."""
    if before is None:
        return 0, pixels.shape[0], 0, pixels.shape[1]
    differs = before != pixels
    if differs.ndim == 3:
        differs = differs.any(axis=2)
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return 0, 1, 0, 1
    top, bottom, left, right = map(int, (rows[0], rows[-1], columns[0], columns[-1]))
    return top, bottom + 1, left, right + 1


def _delay(milliseconds: float) -> tuple[int, int]:
    """Return a time as the numerator and the denominator of a fraction of seconds."""
    delay = Fraction(milliseconds / 1000).limit_denominator(_MAX_SHORT)
    if delay.numerator > _MAX_SHORT:
        # Fewer digits, or the longest time that the format knows.
        return min(round(milliseconds / 1000), _MAX_SHORT), 1
    return delay.numerator, delay.denominator


def _metadata_chunks(metadata: Metadata, existing: set[bytes]) -> Iterator[Chunk]:
    if metadata.icc and b"iCCP" not in existing:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)
    if metadata.dpi and b"pHYs" not in existing:
        x, y = (round(dots / 0.0254) for dots in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", x, y, 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp


def _chunks(data: bytes) -> Iterator[Chunk]:
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _serialize(chunk: Chunk) -> bytes:
    name, content = chunk
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _pixel_type(data: bytes) -> bytes:
    """Return the bit depth and the color type of a PNG file, as in the header."""
    return data[24:26]
