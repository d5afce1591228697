"""Metadata of a photograph, and the changes to EXIF and XMP when the pixels are turned upright.

EXIF is a TIFF structure (TIFF 6.0, section 2; CIPA DC-008) full of offsets. Camera makers add
offsets of their own that no library knows. For this reason EXIF is edited in place, byte by byte,
and is never written anew.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from zerodce_jax.media.attachments import without_gain_map
from zerodce_jax.media.tiff_directory import SIGNATURES

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_SHORT, _LONG = 3, 4
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")


@dataclass(frozen=True)
class Metadata:
    """Metadata of a photograph whose pixels are stored upright."""

    exif: bytes | None = None
    """TIFF structure, starting with the byte order; the orientation is 1, without a thumbnail."""
    xmp: bytes | None = None
    """XMP packet."""
    icc: bytes | None = None
    """ICC color profile."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical resolution, in dots per inch."""
    native: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Data that only the source format can hold: encoding options, chunks, segments or tags."""
    trailer: bytes = b""
    """End of the file from the video of a motion photo on, or no bytes."""


def make_upright(
    exif: bytes,
    xmp: bytes,
    icc: bytes | None,
    *,
    dpi: tuple[float, float] | None = None,
    native: Mapping[str, Any] = MappingProxyType({}),
) -> Metadata:
    """Return the metadata of a photograph that is stored upright from the blocks of its file.

    Empty blocks, and EXIF that is not a TIFF structure, are left out.
    """
    has_exif = exif.startswith(SIGNATURES[:2]) and len(exif) >= 8
    return Metadata(
        exif=upright_exif(exif) if has_exif else None,
        xmp=without_gain_map(upright_xmp(xmp)) or None,
        icc=icc or None,
        dpi=dpi,
        native=native,
    )


def read_orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Return the orientation of the stored image, 1 to 8 (CIPA DC-008, tag 0x0112); 1 is upright.

    XMP is read only if EXIF does not state the orientation.
    """
    order = _byte_order(exif or b"")
    if exif and order:
        entries, _ = _directory(exif, order, 4)
        for tag, at in entries:
            if tag == ORIENTATION:
                (kind,) = struct.unpack_from(f"{order}H", exif, at)
                # The standard asks for a short integer, but some programs write a long one.
                code = {_SHORT: "H", _LONG: "I"}.get(kind, "x")
                value = struct.unpack_from(order + code, exif, at + 6)
                return value[0] if value and 1 <= value[0] <= 8 else 1
    found = _XMP_ORIENTATION.search(xmp or b"")
    return int(found[2]) if found else 1


def upright_exif(exif: bytes) -> bytes:
    """Return EXIF with the orientation set to 1 and without the thumbnail.

    All other bytes keep their values and positions. The result is shorter only if the thumbnail
    was at the end. Damaged EXIF is edited as far as it can be parsed.
    """
    order = _byte_order(exif)
    if order is None:
        return exif
    data = bytearray(exif)
    entries, link = _directory(data, order, 4)
    for tag, at in entries:
        if tag == ORIENTATION:
            data[at : at + 8] = struct.pack(f"{order}HIH", _SHORT, 1, 1)
    if link + 4 <= len(data):
        _remove_thumbnail(data, order, link)
    return bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet with the orientation, if it states one, set to 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def plausible_dpi(x: float, y: float) -> tuple[float, float] | None:
    """Return a resolution if every format can hold it, or None."""
    return (x, y) if 1 <= x <= 0xFFFF and 1 <= y <= 0xFFFF else None


def _byte_order(exif: bytes) -> str | None:
    """Return the byte order of a TIFF structure as a `struct` prefix, or None for other data."""
    return {b"II": "<", b"MM": ">"}.get(exif[:2]) if len(exif) >= 8 else None


def _remove_thumbnail(data: bytearray, order: str, link: int) -> None:
    """Set the link to the second directory, which describes the thumbnail, to 0; clear the JPEG."""
    entries, _ = _directory(data, order, link)
    values = dict.fromkeys((_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH), 0)
    for tag, at in entries if any(data[link : link + 4]) else ():
        if tag in values:
            is_long = struct.unpack_from(f"{order}H", data, at)[0] == _LONG
            (values[tag],) = struct.unpack_from(f"{order}{'I' if is_long else 'H'}", data, at + 6)
    struct.pack_into(f"{order}I", data, link, 0)
    start, length = values[_THUMBNAIL_OFFSET], values[_THUMBNAIL_LENGTH]
    # A thumbnail is a JPEG file. Other data there may belong to another tag and must stay.
    end = start + length
    if length and data[start : start + 2] == b"\xff\xd8" and end <= len(data):
        data[start:end] = bytes(length) if end < len(data) else b""


def _directory(
    data: bytes | bytearray, order: str, pointer: int
) -> tuple[list[tuple[int, int]], int]:
    """Parse the directory whose offset is at the position `pointer`.

    Returns:
        The number of each tag with the position of its type, count and value; and the position of
        the offset of the next directory, which may be out of bounds.
    """
    (start,) = struct.unpack_from(f"{order}I", data, pointer)
    end = start + 2
    if end <= len(data):
        end += 12 * struct.unpack_from(f"{order}H", data, start)[0]
    positions = range(start + 2, min(end, len(data) - 11), 12)
    return [(struct.unpack_from(f"{order}H", data, at)[0], at + 2) for at in positions], end
