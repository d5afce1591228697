"""Parse and serialize boxes, of which HEIF, AVIF, JPEG 2000, JPEG XL and CR3 files consist.

A box is a length, a type of four bytes and a content (ISO/IEC 14496-12, section 4.2).
"""

import struct
from collections.abc import Iterator


def parse(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box; a box that is cut off ends the sequence."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and start + 8 <= len(data):
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else at + length
        if not start <= end <= len(data):
            return
        yield kind, data[start:end]
        at = end


def serialize(kind: bytes, *contents: bytes) -> bytes:
    """Return a box of a type, with the contents one behind the other."""
    length = 8 + sum(map(len, contents))
    if length >= 1 << 32:
        return b"".join((struct.pack(">I4sQ", 1, kind, length + 8), *contents))
    return b"".join((struct.pack(">I4s", length, kind), *contents))
