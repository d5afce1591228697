"""TIFF beyond what Pillow holds: 16 bits and floats in colour, and every tag to the byte.

Directories of tags (TIFF 6.0, section 2) are read and written as they lie in the file, so that
what no library knows survives too; samples of more than 8 bits are decoded by libtiff through
imagecodecs.
"""

import struct
import zlib
from collections.abc import Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media.metadata import (
    ORIENTATION,
    Metadata,
    orientation,
    plausible_dpi,
    upright_xmp,
)

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 317, 338, 339
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
# How the samples lie in the file: strips, tiles, colour maps, JPEG tables, pages.
_STRUCTURE = frozenset(
    {254, 255, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 263, 264, 265, 266}
    | {_STRIP_OFFSETS, ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, 280, 281, _PLANAR}
    | {288, 289, 290, 291, 292, 293, 297, 301, _PREDICTOR, 318, 319, 320, 321, 322, 323, 324, 325}
    | {330, 332, 333, 334, 336, 337, _EXTRA_SAMPLES, _SAMPLE_FORMAT, 340, 341, 342, 347}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)
_BLOCKS = frozenset({_XMP, _IPTC, _PHOTOSHOP, _ICC})
_SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 3, 4, 5, 7, 16
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_SIZES[_LONG8] = 8
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", _LONG8: "Q"}
_FROM_WHITE, _FROM_BLACK, _RGB, _YCBCR = 0, 1, 2, 6
_STRIP_BYTES = 1 << 18


@dataclass
class Directory:
    """Tags as they lie in a file, and the directories that some of them point to."""

    order: Literal["<", ">"] = "<"
    """Byte order, as `struct` writes it."""
    tags: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Type and value of each tag, the value in the file's byte order."""
    below: dict[int, "Directory"] = field(default_factory=dict)
    """EXIF, GPS and the like, by the tag that points there."""
    pages: int = 1
    """1, or 2 where another directory follows."""

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read the first directory of a TIFF structure; tags that are damaged are left out.

        Raises:
            InputError: This is no TIFF structure.
        """
        big = data[:4] in SIGNATURES[2:]
        if data[:4] not in SIGNATURES or len(data) < (16 if big else 8):
            raise InputError("no TIFF structure")
        order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
        (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        return cls._read(data, order, first, big=big, pointers={_EXIF, _GPS})

    @classmethod
    def _read(
        cls,
        data: bytes,
        order: Literal["<", ">"],
        offset: int,
        *,
        big: bool,
        pointers: Set[int],
    ) -> Self:
        directory = cls(order)
        head, entry, inline, pointer = (8, "HHQ", 8, "Q") if big else (2, "HHI", 4, "I")
        entry_size = struct.calcsize(f"={entry}") + inline
        if offset + head > len(data):
            return directory
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
        count = min(count, (len(data) - offset) // entry_size)
        # Together they are no longer than the file, unless it lies.
        left = len(data)
        for start in range(offset + head, offset + head + count * entry_size, entry_size):
            if start + entry_size > len(data):
                break
            tag, kind, number = struct.unpack_from(order + entry, data, start)
            length = _TYPE_SIZES.get(kind, 0) * number
            at = start + entry_size - inline
            if length > inline:
                (at,) = struct.unpack_from(order + pointer, data, at)
            # Of a tag that is there twice, libtiff too takes the first.
            if not length or at + length > len(data) or length > left or tag in directory.tags:
                continue
            left -= length
            directory.tags[tag] = kind, data[at : at + length]
            if tag in pointers:
                for place in directory.integers(tag, ())[:1]:
                    directory.below.setdefault(
                        tag,
                        cls._read(
                            data, order, place, big=big, pointers={_INTEROPERABILITY} - pointers
                        ),
                    )
                del directory.tags[tag]
        link = offset + head + count * entry_size
        if link + inline <= len(data):
            directory.pages += struct.unpack_from(order + pointer, data, link)[0] > 0
        return directory

    def integers(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of a tag, or a default where it is missing or of another type."""
        kind, value = self.tags.get(tag, (0, b""))
        if kind not in _INTEGERS:
            return default
        return struct.unpack(
            f"{self.order}{len(value) // _TYPE_SIZES[kind]}{_INTEGERS[kind]}", value
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored; 0 where the file does not say."""
        return self.integers(_WIDTH, (0,))[0], self.integers(_HEIGHT, (0,))[0]

    @property
    def is_deep(self) -> bool:
        """Whether samples have more bits than Pillow keeps."""
        return max(self.integers(_BITS, (1,))) > 8

    @property
    def is_odd(self) -> bool:
        """Whether gray has a second sample without a meaning, which Pillow knows since 13.0."""
        gray = self.integers(_PHOTOMETRIC, (_FROM_BLACK,))[0] in {_FROM_WHITE, _FROM_BLACK}
        return (
            gray
            and self.integers(_SAMPLES, (1,))[0] == 2
            and self.integers(_EXTRA_SAMPLES, (2,))[0] == 0
        )

    @property
    def is_ycbcr(self) -> bool:
        """Whether colours lie as luma and chroma that no JPEG decoder turns into RGB."""
        jpeg = self.integers(_COMPRESSION, (1,))[0] in {6, 7}
        return not jpeg and self.integers(_PHOTOMETRIC, (_FROM_BLACK,))[0] == _YCBCR

    def put(self, tag: int, *numbers: int, kind: int = _LONG) -> None:
        """Set a tag to whole numbers."""
        self.tags[tag] = kind, struct.pack(f"{self.order}{len(numbers)}{_INTEGERS[kind]}", *numbers)

    def without(self, dropped: Set[int]) -> "Directory":
        """The same without some tags, and without those that only BigTIFF knows."""
        kept = {
            tag: (kind, value)
            for tag, (kind, value) in self.tags.items()
            if tag not in dropped and kind != _LONG8
        }
        below = {tag: directory.without(frozenset()) for tag, directory in self.below.items()}
        return Directory(self.order, kept, below)

    def dump(self, offset: int) -> bytes:
        """Write the directory and those below it, for a place `offset` bytes into a file."""
        places = sorted({*self.tags, *self.below})
        free = offset + 2 + 12 * len(places) + 4
        entries, behind = bytearray(), bytearray()
        for tag in places:
            if tag in self.below:
                kind, count, value = _LONG, 1, self.below[tag].dump(free + len(behind))
            else:
                kind, value = self.tags[tag]
                count = len(value) // _TYPE_SIZES[kind]
            entries += struct.pack(f"{self.order}HHI", tag, kind, count)
            if tag in self.below or len(value) > 4:
                entries += struct.pack(f"{self.order}I", free + len(behind))
                behind += value + bytes(len(value) % 2)
            else:
                entries += value.ljust(4, b"\0")
        return b"".join((struct.pack(f"{self.order}H", len(places)), entries, bytes(4), behind))


def decode(data: bytes, directory: Directory) -> Shaped[np.ndarray, "h w *channels"]:
    """Decode what Pillow does not: uint8, uint16, or float32 in [0, 1].

    Args:
        data: The file.
        directory: Its first directory.

    Returns:
        Gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        InputError: Samples of this kind are not handled.
        imagecodecs.TiffError: The file is damaged.
    """
    (photometric, *_) = directory.integers(_PHOTOMETRIC, (_FROM_BLACK,))
    (samples, *_) = directory.integers(_SAMPLES, (1,))
    extra = samples - (3 if photometric == _RGB else 1)
    if photometric not in {_FROM_WHITE, _FROM_BLACK, _RGB} or extra not in {0, 1}:
        raise InputError(
            f"TIFF of {samples} samples of more than 8 bits and photometric interpretation "
            f"{photometric} is not handled"
        )
    meaning = directory.integers(_EXTRA_SAMPLES, (2,))[0]
    if extra and meaning == 1:
        raise InputError("TIFF with premultiplied alpha of more than 8 bits is not handled")
    import imagecodecs

    pixels = imagecodecs.tiff_decode(data, index=0)
    if pixels.ndim == 3 and directory.integers(_PLANAR, (1,))[0] == 2:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape[:2] != directory.size[::-1] or pixels.shape[2:] not in {(), (samples,)}:
        raise InputError("damaged image (the pixels do not have the size that is promised)")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"TIFF with samples of type {pixels.dtype} is not handled")
    if pixels.dtype == np.float32 and not ((pixels >= 0) & (pixels <= 1)).all():
        raise InputError("TIFF with floats outside of 0 to 1 is not handled")
    if extra and meaning == 0:
        # Which might be anything; of 8 bits, Pillow leaves it out too.
        pixels, extra = pixels[:, :, :-1] if samples > 2 else pixels[:, :, 0], 0
    bits = set(directory.integers(_BITS, (8 * pixels.itemsize,)))
    if bits != {8 * pixels.itemsize}:
        if len(bits) > 1 or pixels.dtype != np.uint16:
            raise InputError(f"TIFF with samples of {bits} bits is not handled")
        # Such as the 12 of a camera or a scanner.
        pixels = _widened(pixels, *bits)
    if photometric == _FROM_WHITE:
        top = pixels.dtype.type(1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max)
        colours = pixels[:, :, :1] if extra else pixels
        inverted = top - colours
        pixels = np.dstack([inverted, pixels[:, :, 1:]]) if extra else inverted
    return pixels


def _widened(pixels: Shaped[np.ndarray, "h w *channels"], bits: int) -> np.ndarray:
    """Samples of 9 to 15 bits as 16, the largest to the largest."""
    top = (1 << bits) - 1
    if pixels.max(initial=0) > top:
        raise InputError(f"damaged image (samples of more than {bits} bits)")
    return ((pixels.astype(np.uint32) * 0xFFFF + top // 2) // top).astype(np.uint16)


def metadata_of(directory: Directory) -> tuple[Metadata, int]:
    """What a file carries, set upright, and how its pixels are to be turned (1 to 8).

    EXIF becomes what it is in other formats: the tags that tell of the photograph, not of the
    file. Of the blocks, those that EXIF elsewhere has no place for are the ``tags`` of `native`.
    """
    exif = directory.without(_STRUCTURE | _BLOCKS)
    own = {tag: directory.tags[tag] for tag in (_IPTC, _PHOTOSHOP) if tag in directory.tags}
    xmp = directory.tags.get(_XMP, (0, b""))[1]
    turn = directory.integers(ORIENTATION, (0,))[0]
    return (
        Metadata(
            exif=_head(directory.order, 8) + exif.dump(8) if exif.tags or exif.below else None,
            xmp=upright_xmp(xmp) or None,
            icc=directory.tags.get(_ICC, (0, b""))[1] or None,
            dpi=_dpi(directory),
            native=MappingProxyType({"tags": own, "order": directory.order}),
        ),
        turn if 1 <= turn <= 8 else orientation(None, xmp),
    )


def _dpi(directory: Directory) -> tuple[float, float] | None:
    numbers = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        kind, value = directory.tags.get(tag, (0, b""))
        if kind != _RATIONAL:
            return None
        over, under = struct.unpack_from(f"{directory.order}II", value)
        numbers.append(over / (under or 1))
    unit = {2: 1.0, 3: 2.54}.get(directory.integers(_RESOLUTION_UNIT, (2,))[0])
    return plausible_dpi(numbers[0] * unit, numbers[1] * unit) if unit else None


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode pixels and metadata, compressed without loss.

    Args:
        pixels: uint8, uint16 or float32; gray, gray and alpha, RGB, or RGB and alpha.
        metadata: Of which `native` may hold the ``tags`` that `metadata_of` found.

    Raises:
        InputError: The file would be larger than TIFF's offsets reach (4 GiB).
    """
    directory = Directory()
    if metadata.exif:
        directory = Directory.of(metadata.exif).without(_STRUCTURE | _BLOCKS)
    if metadata.native.get("order") == directory.order:
        directory.tags |= metadata.native.get("tags", {})
    for tag, block in ((_XMP, metadata.xmp), (_ICC, metadata.icc)):
        if block:
            directory.tags[tag] = _UNDEFINED, block
    if metadata.dpi and _X_RESOLUTION not in directory.tags:
        for tag, dots in zip((_X_RESOLUTION, _Y_RESOLUTION), metadata.dpi, strict=True):
            fraction = struct.pack(f"{directory.order}II", round(dots * 10_000), 10_000)
            directory.tags[tag] = _RATIONAL, fraction
        directory.put(_RESOLUTION_UNIT, 2, kind=_SHORT)
    strips, rows = _compress(pixels, directory.order)
    _describe(directory, pixels, rows)
    ends = np.cumsum([8, *map(len, strips)]).tolist()
    if ends[-1] >= (1 << 32) - (1 << 24):
        raise InputError("too large for TIFF, which ends at 4 GiB")
    directory.put(_STRIP_OFFSETS, *ends[:-1])
    directory.put(_STRIP_SIZES, *map(len, strips))
    # Directories begin at even offsets.
    end = ends[-1] + ends[-1] % 2
    body = b"".join(strips) + bytes(end - ends[-1])
    return _head(directory.order, end) + body + directory.dump(end)


def _describe(directory: Directory, pixels: np.ndarray, rows: int) -> None:
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    colours = 3 if samples >= 3 else 1
    for tag, number in (
        (_WIDTH, pixels.shape[1]),
        (_HEIGHT, pixels.shape[0]),
        (_ROWS_PER_STRIP, rows),
    ):
        directory.put(tag, number)
    for tag, number in (
        (_COMPRESSION, 8),
        (_PHOTOMETRIC, _RGB if colours == 3 else _FROM_BLACK),
        (_SAMPLES, samples),
        (_PLANAR, 1),
        (_PREDICTOR, 2 if pixels.dtype.kind == "u" else 1),
    ):
        directory.put(tag, number, kind=_SHORT)
    directory.put(_BITS, *[8 * pixels.itemsize] * samples, kind=_SHORT)
    directory.put(_SAMPLE_FORMAT, *[1 if pixels.dtype.kind == "u" else 3] * samples, kind=_SHORT)
    if samples > colours:
        directory.put(_EXTRA_SAMPLES, 2, kind=_SHORT)


def _compress(pixels: np.ndarray, order: Literal["<", ">"]) -> tuple[list[bytes], int]:
    """Strips of deflated rows, and how many rows each has."""
    rows = max(1, _STRIP_BYTES // (pixels[0].nbytes or 1))
    strips = []
    for top in range(0, len(pixels), rows):
        strip = pixels[top : top + rows]
        if pixels.dtype.kind == "u":
            # Horizontal differencing, modulo the range of the type.
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        strip = strip.astype(strip.dtype.newbyteorder(order))
        strips.append(zlib.compress(strip.tobytes(), 6))
    return strips, rows


def _head(order: Literal["<", ">"], first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)
