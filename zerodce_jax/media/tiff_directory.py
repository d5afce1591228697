"""Parse and serialize TIFF directories, which hold the tags of TIFF files and of EXIF.

Values stay as bytes in the byte order of the file, so that tags which no library knows survive
(TIFF 6.0, section 2).
"""

import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Literal, Self

from zerodce_jax.errors import InputError

ByteOrder = Literal["<", ">"]
"""Byte order, as a `struct` prefix: little-endian or big-endian."""

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files: TIFF and BigTIFF, each little-endian and big-endian."""


class Tag:
    """Numbers of tags (TIFF 6.0; CIPA DC-008 for the pointers to EXIF directories)."""

    SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
    STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR = 273, 277, 278, 279, 284
    X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
    PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT = 317, 338, 339
    XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
    EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005


class Type:
    """Numbers of value types (TIFF 6.0, section 2; LONG8 is from BigTIFF)."""

    SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16


# Values of Tag.SUBFILE: a reduced copy, a transparency mask.
_NO_PAGE = 1 | 4
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

    @property
    def pointer(self) -> int:
        """Position of the pointer to the next directory in what `serialize` returns."""
        return 2 + 12 * len({*self.tags, *self.subdirectories})

    def serialize(self, offset: int) -> bytes:
        """Return the bytes of the directory and its subdirectories, for a position in a file.

        The pointer to the next directory is 0: none follows.
        """
        tags = sorted({*self.tags, *self.subdirectories})
        free = offset + self.pointer + 4
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


@dataclass(frozen=True)
class Page:
    """Where a page of a TIFF file is."""

    index: int
    """Number of its directory, from 0."""
    place: int
    """Offset of its directory."""


def find_pages(data: bytes) -> tuple[list[Page], int]:
    """Return the pages of a TIFF structure, at least one, and the number of images that are none.

    Those are reduced copies, such as thumbnails, transparency masks, and the thumbnail of EXIF,
    which states no size. If there is nothing else, the first one is the page.

    Raises:
        InputError: The data does not start with a TIFF structure.
    """
    found = [Page(index, place) for index, place in enumerate(_places(data))]
    if not found:
        raise InputError("not a TIFF structure")
    pages = [page for page in found if _is_page(Directory.parse(data, page.place))] or found[:1]
    return pages, len(found) - len(pages)


def _is_page(directory: Directory) -> bool:
    return 0 not in directory.size and not directory.integers(Tag.SUBFILE, (0,))[0] & _NO_PAGE


def _places(data: bytes) -> Iterator[int]:
    """Yield the offsets of directories, to the end of their chain or to where it breaks."""
    order: ByteOrder = "<" if data[:2] == b"II" else ">"
    big = data[:4] in SIGNATURES[2:]
    (count_code, head, entry), pointer = (("Q", 8, 20), "Q") if big else (("H", 2, 12), "I")
    at, seen = 8 if big else 4, set()
    # Directories of a valid file do not overlap. The limit keeps a damaged one from taking forever.
    remaining = len(data)
    while at + struct.calcsize(f"={pointer}") <= len(data):
        (place,) = struct.unpack_from(order + pointer, data, at)
        if seen and (place == 0 or place in seen or place + head > len(data)):
            return
        yield place
        if place + head > len(data):
            return
        seen.add(place)
        (count,) = struct.unpack_from(order + count_code, data, place)
        at = place + head + count * entry
        remaining -= at - place
        if remaining < 0:
            return


def header(order: ByteOrder, first: int) -> bytes:
    """Return the eight bytes before a TIFF structure whose first directory is at `first`."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)
