"""Read and write PNG files with features that Pillow lacks: 16-bit color, and all chunks.

A PNG file is a signature and a sequence of chunks (PNG specification, third edition, section 5).
Pixels are encoded anew, and the other chunks are copied unchanged.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.media.metadata import Metadata

Chunk = tuple[bytes, bytes]
"""Type and data of a chunk."""

COLOR_CHUNKS = frozenset({b"iCCP", b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})
"""Types of the chunks that define the meaning of the pixel values."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
