"""Parse and serialize TIFF directories, which hold the tags of TIFF files and of EXIF.

Values stay as bytes in the byte order of the file, so that tags which no library knows survive
(TIFF 6.0, section 2).
"""

import struct
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal, Self

from zerodce_jax.errors import InputError

ByteOrder = Literal["<", ">"]
"""Byte order, as a `struct` prefix: little-endian or big-endian."""

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files: TIFF and BigTIFF, each little-endian and big-endian."""


class Tag:
    """Numbers of tags (TIFF 6.0; CIPA DC-008 for the pointers to EXIF directories)."""

    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
    STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR = 273, 277, 278, 279, 284
    X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
    PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT = 317, 338, 339
    XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
    EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005


class Type:
    """Numbers of value types (TIFF 6.0, section 2; LONG8 is from BigTIFF)."""

    SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16


_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_SIZES[Type.LONG8] = 8
_INTEGER_CODES = {1: "B", Type.SHORT: "H", Type.LONG: "I", 13: "I", Type.LONG8: "Q"}


@dataclass
class Directory:
    """A TIFF directory: tags, and the directories that some of the tags point to."""

    order: ByteOrder = "<"
    """Byte order of the values."""
    tags: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Type and value of each tag, by the number of the tag."""
    subdirectories: dict[int, "Directory"] = field(default_factory=dict)
    """EXIF, GPS and interoperability directories, by the tag that points to them."""
    pages: int = 1
    """1 for a single page, or 2 if another directory follows."""

    @classmethod
    def parse(cls, data: bytes, place: int | None = None) -> Self:
        """Parse the first directory of a TIFF structure, or the one at a place.

        Damaged tags are skipped.

        Raises:
            InputError: The data does not start with a TIFF structure.
        """
        big = data[:4] in SIGNATURES[2:]
        if data[:4] not in SIGNATURES or len(data) < (16 if big else 8):
            raise InputError("not a TIFF structure")
        order: ByteOrder = "<" if data[:2] == b"II" else ">"
        (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        at = first if place is None else place
        return cls._parse_at(data, order, at, big=big, pointers={Tag.EXIF, Tag.GPS})

    @classmethod
    def _parse_at(
        cls, data: bytes, order: ByteOrder, offset: int, *, big: bool, pointers: Set[int]
    ) -> Self:
        directory = cls(order)
        head, entry, inline, pointer = (8, "HHQ", 8, "Q") if big else (2, "HHI", 4, "I")
        entry_size = struct.calcsize(f"={entry}") + inline
        if offset + head > len(data):
            return directory
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
        end = offset + head + count * entry_size
        # In a valid file, all values together are no longer than the file. The limit keeps a
        # damaged file, in which many tags claim the same bytes, from filling the memory.
        remaining = len(data)
        for start in range(offset + head, min(end, len(data) - entry_size + 1), entry_size):
            tag, kind, number = struct.unpack_from(order + entry, data, start)
            length = _TYPE_SIZES.get(kind, 0) * number
            at = start + entry_size - inline
            if length > inline:
                (at,) = struct.unpack_from(order + pointer, data, at)
            # Use the first of two equal tags, as libtiff does.
            is_valid = 0 < length <= remaining and at + length <= len(data)
            if not is_valid or tag in directory.tags:
                continue
            remaining -= length
            directory.tags[tag] = kind, data[at : at + length]
            if tag in pointers:
                for place in directory.integers(tag, ())[:1]:
                    below = {Tag.INTEROPERABILITY} - pointers
                    parsed = cls._parse_at(data, order, place, big=big, pointers=below)
                    directory.subdirectories.setdefault(tag, parsed)
                del directory.tags[tag]
        if end + inline <= len(data):
            directory.pages += struct.unpack_from(order + pointer, data, end)[0] > 0
        return directory

    def integers(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return the integers of a tag, or a default if it is missing or of another type."""
        kind, value = self.tags.get(tag, (0, b""))
        if kind not in _INTEGER_CODES:
            return default
        count = len(value) // _TYPE_SIZES[kind]
        return struct.unpack(f"{self.order}{count}{_INTEGER_CODES[kind]}", value)

    def set_integers(self, tag: int, *numbers: int, kind: int = Type.LONG) -> None:
        """Set a tag to integers of a type, by default LONG."""
        code = f"{self.order}{len(numbers)}{_INTEGER_CODES[kind]}"
        self.tags[tag] = kind, struct.pack(code, *numbers)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored, in pixels; 0 if the file does not state them."""
        return self.integers(Tag.WIDTH, (0,))[0], self.integers(Tag.HEIGHT, (0,))[0]

    def without(self, dropped: Set[int]) -> "Directory":
        """Return a copy without some tags, and without tags of types that only BigTIFF has."""
        tags = {tag: self.tags[tag] for tag in self.tags.keys() - dropped}
        kept = {tag: typed for tag, typed in tags.items() if typed[0] != Type.LONG8}
        below = {tag: child.without(frozenset()) for tag, child in self.subdirectories.items()}
        return Directory(self.order, kept, below)

    def serialize(self, offset: int) -> bytes:
        """Return the bytes of the directory and its subdirectories, for a position in a file."""
        tags = sorted({*self.tags, *self.subdirectories})
        free = offset + 2 + 12 * len(tags) + 4
        entries, values = bytearray(), bytearray()
        for tag in tags:
            if tag in self.subdirectories:
                kind, count = Type.LONG, 1
                value = self.subdirectories[tag].serialize(free + len(values))
            else:
                kind, value = self.tags[tag]
                count = len(value) // _TYPE_SIZES[kind]
            entries += struct.pack(f"{self.order}HHI", tag, kind, count)
            if tag in self.subdirectories or len(value) > 4:
                entries += struct.pack(f"{self.order}I", free + len(values))
                values += value + bytes(len(value) % 2)
            else:
                entries += value.ljust(4, b"\0")
        return b"".join((struct.pack(f"{self.order}H", len(tags)), entries, bytes(4), values))


def header(order: ByteOrder, first: int) -> bytes:
    """Return the eight bytes before a TIFF structure whose first directory is at `first`."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)
