"""PNG beyond what Pillow holds: 16 bits in colour, and every chunk that a file carries.

The format is a signature and a row of chunks (PNG specification, third edition, section 5), so
pixels are encoded apart and the chunks that went with them are put back word for word.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.media.metadata import Metadata

Chunk = tuple[bytes, bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0"
_OLD_EXIF = b"Raw profile type exif\0"
# What describes the pixels as they are stored, the frames of an animation, and what `Metadata`
# holds by itself.
_NOT_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"acTL", b"fcTL", b"fdAT"} | {
    b"eXIf"
}
_SAME_PIXELS = {b"bKGD", b"sBIT"}
COLOUR = frozenset({b"iCCP", b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})
"""Chunks that say what the numbers of the pixels mean."""


def bits(data: bytes) -> int:
    """Bits of a sample in a PNG file."""
    return data[24]


def decode(data: bytes) -> Shaped[np.ndarray, "h w *channels"]:
    """Decode the pixels, as many bits and channels as they have; a transparent colour is alpha.

    Raises:
        imagecodecs.PngError: The file is damaged.
    """
    import imagecodecs

    return imagecodecs.png_decode(data)


def own_chunks(data: bytes) -> tuple[Chunk, ...]:
    """The chunks of a PNG file that are neither pixels nor held by `Metadata`.

    Those that only hold for pixels of the same kind carry that kind before their data, for
    `encode` to compare.
    """
    kept = []
    for name, content in _chunks(data):
        # Behind the picture, or where it is damaged, follows what only looks like chunks.
        if name == b"IEND" or not name.isalpha():
            break
        # A capital marks what a reader has to understand: not for us to pass on.
        if name in _NOT_KEPT or name[:1].isupper() or content.startswith((_XMP, _OLD_EXIF)):
            continue
        kept.append((name, _kind(data) + content if name in _SAME_PIXELS else content))
    return tuple(kept)


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode pixels and metadata.

    Args:
        pixels: uint8 or uint16; gray, gray and alpha, RGB, or RGB and alpha.
        metadata: Of which `native` may hold the ``chunks`` of `own_chunks`.
    """
    import imagecodecs

    # Level 6 is what the others take too; higher ones cost much and gain little on photographs.
    plain = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6))
    kept = []
    for name, content in metadata.native.get("chunks", ()):
        if name in _SAME_PIXELS:
            if not content.startswith(_kind(plain)):
                continue
            content = content.removeprefix(_kind(plain))
        kept.append((name, content))
    (header, *rest) = _chunks(plain)
    chunks = [header, *_made(metadata, {name for name, _ in kept}), *kept, *rest]
    return _SIGNATURE + b"".join(map(_joined, chunks))


def _made(metadata: Metadata, there: set[bytes]) -> Iterator[Chunk]:
    if metadata.icc and b"iCCP" not in there:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)
    if metadata.dpi and b"pHYs" not in there:
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


def _joined(chunk: Chunk) -> bytes:
    name, content = chunk
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _kind(data: bytes) -> bytes:
    """Depth and colour type of the pixels, from the header."""
    return data[24:26]
