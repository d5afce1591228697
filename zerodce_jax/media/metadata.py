"""What a photograph carries besides its pixels, and how that is set upright.

EXIF is a small TIFF file in itself (TIFF 6.0, section 2; CIPA DC-008), full of offsets: camera
makers' notes hold some that no library knows. So it is changed in place, byte by byte, and never
written anew.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

ORIENTATION = 0x0112
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_SHORT, _LONG = 3, 4
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")


@dataclass(frozen=True)
class Metadata:
    """What goes round the network untouched, of a picture that is stored upright."""

    exif: bytes | None = None
    """A TIFF structure, beginning with its byte order; orientation is 1, there is no thumbnail."""
    xmp: bytes | None = None
    """An XMP packet."""
    icc: bytes | None = None
    """An ICC colour profile."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontally and vertically."""
    native: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What only the picture's own format knows: how it was encoded, chunks or tags of its own."""


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """How the stored picture is to be turned, 1 to 8 (CIPA DC-008, tag 0x0112); 1 is upright.

    XMP is asked where EXIF does not say it.
    """
    order = _order(exif or b"")
    if exif and order:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        for tag, at in _entries(exif, order, first):
            if tag == ORIENTATION:
                (kind,) = struct.unpack_from(f"{order}H", exif, at)
                # A short number; some programs write a long one.
                form = {_SHORT: "H", _LONG: "I"}.get(kind, "x")
                value = struct.unpack_from(order + form, exif, at + 6)
                return value[0] if value and 1 <= value[0] <= 8 else 1
    found = _XMP_ORIENTATION.search(xmp or b"")
    return int(found[2]) if found else 1


def upright_exif(exif: bytes) -> bytes:
    """Reset the orientation to 1 and take the thumbnail out; all else keeps its bytes and place.

    Args:
        exif: A TIFF structure; one that is damaged is followed as far as it makes sense.

    Returns:
        As many bytes, or fewer where the thumbnail stood at the end.
    """
    order = _order(exif)
    if order is None:
        return exif
    data = bytearray(exif)
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    for tag, at in _entries(data, order, first):
        if tag == ORIENTATION:
            data[at : at + 8] = struct.pack(f"{order}HIH", _SHORT, 1, 1)
    link = _link(data, order, first)
    if link is not None:
        _drop_thumbnail(data, order, link)
    return bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """Reset the orientation that an XMP packet may repeat to 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def plausible_dpi(x: float, y: float) -> tuple[float, float] | None:
    """A resolution that every format can hold, or None."""
    return (x, y) if 1 <= x <= 0xFFFF and 1 <= y <= 0xFFFF else None


def _order(exif: bytes) -> str | None:
    """Byte order of a TIFF structure as `struct` writes it, or None where it is none."""
    return {b"II": "<", b"MM": ">"}.get(exif[:2]) if len(exif) >= 8 else None


def _drop_thumbnail(data: bytearray, order: str, link: int) -> None:
    """Cut the link to the second directory, which is the thumbnail's, and blank its picture."""
    (second,) = struct.unpack_from(f"{order}I", data, link)
    place = dict.fromkeys((_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH), 0)
    for tag, at in _entries(data, order, second) if second else ():
        if tag in place:
            wide = struct.unpack_from(f"{order}H", data, at)[0] == _LONG
            (place[tag],) = struct.unpack_from(f"{order}{'I' if wide else 'H'}", data, at + 6)
    struct.pack_into(f"{order}I", data, link, 0)
    start, length = place[_THUMBNAIL_OFFSET], place[_THUMBNAIL_LENGTH]
    # A thumbnail is a JPEG; anything else there is not what it claims to be.
    if length and data[start : start + 2] == b"\xff\xd8" and start + length <= len(data):
        if start + length == len(data):
            del data[start:]
        else:
            data[start : start + length] = bytes(length)


def _entries(data: bytes | bytearray, order: str, directory: int) -> Iterator[tuple[int, int]]:
    """Yield each tag of a directory, and where its type, count and value stand."""
    if directory + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    for start in range(directory + 2, directory + 2 + 12 * count, 12):
        if start + 12 > len(data):
            return
        yield struct.unpack_from(f"{order}H", data, start)[0], start + 2


def _link(data: bytearray, order: str, directory: int) -> int | None:
    """Where the offset of the next directory stands, or None outside of the data."""
    if directory + 2 > len(data):
        return None
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    at = directory + 2 + 12 * count
    return at if at + 4 <= len(data) else None
