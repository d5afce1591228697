"""Read and write AVIF files with libavif, through imagecodecs, and their metadata.

imagecodecs decodes and encodes pixels only. Metadata are items and properties in the box `meta` of
the file (ISO/IEC 23008-12, sections 6 and 9).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media import boxes
from zerodce_jax.media.metadata import Metadata, make_upright, read_orientation
from zerodce_jax.media.samples import check_size, expand, reduce

_QUALITY, _SPEED, _DEEP_BITS = 90, 6, 10
# Limits of libavif.
_MAX_SIDE, _MAX_PIXELS = 32_768, 1 << 28
_XMP_TYPE = b"application/rdf+xml"
# EXIF orientation by the axis of the mirror (0 swaps top and bottom, 1 left and right), and by
# the quarter turns to the left, which come first (ISO/IEC 23000-22, section 7.3.6.7).
_NO_MIRROR = -1
_ORIENTATIONS = {
    _NO_MIRROR: (1, 8, 3, 6),
    0: (4, 5, 2, 7),
    1: (2, 7, 4, 5),
}


@dataclass
class _Item:
    """An image or a block of metadata in the file."""

    kind: bytes
    entry: bytes
    """Content of the box `infe`, which states the kind."""
    extents: list[tuple[int, int]] = field(default_factory=list)
    """Start and length of each part, in the file or, if `in_meta`, in the box `idat`."""
    in_meta: bool = False
    properties: list[int] = field(default_factory=list)
    """Numbers of properties from 1 on; the highest of 16 bits marks those that are essential."""


@dataclass
class _Meta:
    """Content of the box `meta`."""

    handler: bytes
    primary: int
    items: dict[int, _Item]
    references: bytes
    """Boxes in `iref`, behind version and flags."""
    properties: list[tuple[bytes, bytes]]
    idat: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the box in a file.

        Raises:
            InputError: The box is missing or damaged.
        """
        content = dict(boxes.parse(data)).get(b"meta")
        if content is None:
            raise InputError("damaged image (AVIF without images)")
        parts = dict(boxes.parse(content[4:]))
        try:
            primary = _integer(parts[b"pitm"], 4, 2 if parts[b"pitm"][0] == 0 else 4)
            items = dict(_parse_entries(parts[b"iinf"]))
            _parse_locations(parts[b"iloc"], items)
            shared = dict(boxes.parse(parts[b"iprp"]))
            _parse_associations(shared[b"ipma"], items)
            if primary not in items:
                raise InputError("damaged image (AVIF without an image)")
        except (KeyError, IndexError, struct.error) as error:
            raise InputError("damaged image (AVIF with damaged boxes)") from error
        properties = list(boxes.parse(shared.get(b"ipco", b"")))
        references = parts.get(b"iref", bytes(4))[4:]
        idat = parts.get(b"idat", b"")
        return cls(parts.get(b"hdlr", b""), primary, items, references, properties, idat)

    def properties_of(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the type and the content of each property of an item."""
        for index in self.items[number].properties:
            if 0 < index & 0x7FFF <= len(self.properties):
                yield self.properties[(index & 0x7FFF) - 1]

    def read(self, data: bytes, item: _Item) -> bytes:
        """Return the content of an item."""
        source = self.idat if item.in_meta else data
        return b"".join(source[start : start + length] for start, length in item.extents)

    def serialize(self, moved: int) -> bytes:
        """Return the box, for a file in which all items lie `moved` bytes later."""
        locations = struct.pack(">HH", 0x4400, len(self.items))
        entries, associations = b"", struct.pack(">I", len(self.items))
        for number, item in self.items.items():
            locations += struct.pack(">HHH", number, 0, len(item.extents))
            for start, length in item.extents:
                locations += struct.pack(">II", start + moved, length)
            entries += boxes.serialize(b"infe", item.entry)
            associations += struct.pack(">HB", number, len(item.properties))
            associations += struct.pack(f">{len(item.properties)}H", *item.properties)
        properties = b"".join(boxes.serialize(*each) for each in self.properties)
        content = [
            boxes.serialize(b"hdlr", self.handler),
            boxes.serialize(b"pitm", struct.pack(">IH", 0, self.primary)),
            boxes.serialize(b"iloc", bytes(4), locations),
            boxes.serialize(b"iinf", struct.pack(">IH", 0, len(self.items)), entries),
            boxes.serialize(b"iref", bytes(4), self.references) if self.references else b"",
            boxes.serialize(
                b"iprp",
                boxes.serialize(b"ipco", properties),
                # The flag 1 says that the numbers of properties have 16 bits.
                boxes.serialize(b"ipma", struct.pack(">I", 1), associations),
            ),
        ]
        return boxes.serialize(b"meta", bytes(4), *content)


def is_avif(head: bytes) -> bool:
    """Return whether a file is AVIF, by its first 32 bytes."""
    return head[4:8] == b"ftyp" and (b"avif" in head[8:] or b"avis" in head[8:])


def is_still(data: bytes) -> bool:
    """Return whether a file is AVIF that surely has one image only."""
    # `imagecodecs` may crash at several images, so that a box that is hidden counts too.
    return is_avif(data[:32]) and b"moov" not in data


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height that an AVIF file states, as stored, in pixels.

    Raises:
        InputError: The file is damaged.
    """
    meta = _Meta.parse(data)
    for kind, content in meta.properties_of(meta.primary):
        if kind == b"ispe" and len(content) >= 12:
            width, height = struct.unpack_from(">II", content, 4)
            return width, height
    raise InputError("damaged image (AVIF without a size)")


def decode(
    data: bytes, max_pixels: int
) -> tuple[Shaped[np.ndarray, "h w *channels"], Metadata, int]:
    """Return the samples of a still image as stored, its metadata set upright, the orientation.

    Samples are uint8, or, if the file has more than 8 bits, uint16.

    Raises:
        InputError: The file is damaged, or has more than `max_pixels`.
        imagecodecs.AvifError: The pixels are damaged.
    """
    import imagecodecs

    check_size(*size(data), max_pixels)
    meta = _Meta.parse(data)
    properties = list(meta.properties_of(meta.primary))
    native = _encoding_options(properties)
    pixels = imagecodecs.avif_decode(data)
    check_size(pixels.shape[1], pixels.shape[0], max_pixels)
    if pixels.dtype == np.uint16:
        pixels = expand(pixels, native.get("bits", _DEEP_BITS))
    exif = xmp = b""
    for item in meta.items.values():
        content = meta.read(data, item) if item.kind in {b"Exif", b"mime"} else b""
        if item.kind == b"Exif":
            exif = content[4 + _integer(content, 0, 4) :]
        elif _XMP_TYPE in item.entry:
            xmp = content
    icc = next((x[4:] for kind, x in properties if kind == b"colr" and x[:4] == b"prof"), None)
    metadata = make_upright(exif, xmp, icc, native=native)
    turns = [content[0] & 3 for kind, content in properties if kind == b"irot" and content]
    mirrors = [content[0] & 1 for kind, content in properties if kind == b"imir" and content]
    orientation = _ORIENTATIONS[(mirrors or [_NO_MIRROR])[0]][(turns or [0])[0]]
    if orientation == 1 and not exif:
        # Without these properties, decoders do not turn the image, whatever EXIF says.
        orientation = read_orientation(None, xmp)
    return pixels, metadata, orientation


def check_format(width: int, height: int) -> None:
    """Raise an InputError if AVIF cannot hold an image of a size."""
    if max(height, width) > _MAX_SIDE or height * width > _MAX_PIXELS:
        raise InputError(f"avif cannot hold {width}x{height} pixels; write png or tiff (--format)")


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode gray or RGB samples (uint8 or uint16), with or without alpha, and metadata.

    The metadata may hold the result of `decode` in `native`: bits per sample, and the format of
    the chroma samples. By default, samples of 16 bits become samples of 10.

    Raises:
        InputError: The image is too large for AVIF.
    """
    import imagecodecs

    height, width = pixels.shape[:2]
    check_format(width, height)
    # Versions of imagecodecs differ in how they name these formats.
    chroma = f"YUV{metadata.native.get('chroma', '420')}"
    options: dict[str, Any] = {"pixelformat": imagecodecs.AVIF.PIXEL_FORMAT[chroma]}
    if pixels.dtype == np.uint16:
        bits = metadata.native.get("bits", _DEEP_BITS)
        pixels, options["bitspersample"] = reduce(pixels, bits), bits
    pixels = np.ascontiguousarray(pixels)
    plain = bytes(imagecodecs.avif_encode(pixels, level=_QUALITY, speed=_SPEED, **options))
    blocks = [(b"Exif", b"", bytes(4) + metadata.exif)] if metadata.exif else []
    if metadata.xmp:
        blocks.append((b"mime", _XMP_TYPE + b"\0", metadata.xmp))
    return _add_metadata(plain, blocks, metadata.icc)


def _add_metadata(
    plain: bytes, blocks: list[tuple[bytes, bytes, bytes]], icc: bytes | None
) -> bytes:
    """Add items (kind, end of the entry, content) and a color profile to a file of libavif."""
    meta = _Meta.parse(plain)
    if icc:
        meta.properties.append((b"colr", b"prof" + icc))
        meta.items[meta.primary].properties.append(len(meta.properties))
    kept = [(kind, content) for kind, content in boxes.parse(plain) if kind != b"meta"]
    end = len(plain)
    for kind, details, content in blocks:
        number = max(meta.items) + 1
        entry = struct.pack(">IHH4s", 2 << 24, number, 0, kind) + b"\0" + details
        # Each new item lies behind the file of libavif, behind the head of a box.
        meta.items[number] = _Item(kind, entry, [(end + 8, len(content))])
        reference = struct.pack(">HHH", number, 1, meta.primary)
        meta.references += boxes.serialize(b"cdsc", reference)
        kept.append((b"mdat", content))
        end += 8 + len(content)
    before = len(boxes.serialize(b"meta", dict(boxes.parse(plain))[b"meta"]))
    head = boxes.serialize(*kept[0]) + meta.serialize(len(meta.serialize(0)) - before)
    return head + b"".join(boxes.serialize(*box) for box in kept[1:])


def _encoding_options(properties: list[tuple[bytes, bytes]]) -> MappingProxyType[str, Any]:
    """Return bits per sample and the format of chroma samples (AV1-ISOBMFF, section 2.3.3)."""
    native: dict[str, Any] = {}
    for kind, content in properties:
        if kind == b"av1C" and len(content) >= 4:
            bits = 12 if content[2] & 0x20 else 10 if content[2] & 0x40 else 8
            chroma = {0: "444", 8: "422"}.get(content[2] & 0xC, "420")
            native = {"bits": bits, "chroma": chroma} if bits > 8 else {"chroma": chroma}
        elif kind == b"pixi" and len(content) >= 6 and content[5] in {10, 12}:
            native.setdefault("bits", content[5])
    return MappingProxyType(native)


def _integer(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise InputError("damaged image (AVIF with damaged boxes)")
    return int.from_bytes(data[at : at + length], "big")


def _parse_entries(content: bytes) -> Iterator[tuple[int, _Item]]:
    """Yield the number of each item in the box `iinf`, and the item without its place."""
    for kind, entry in boxes.parse(content[6 if content[0] == 0 else 8 :]):
        if kind == b"infe":
            length = 2 if entry[0] < 3 else 4
            yield _integer(entry, 4, length), _Item(entry[6 + length : 10 + length], entry)


def _parse_locations(content: bytes, items: dict[int, _Item]) -> None:
    """Read the box `iloc`."""
    version, sizes = content[0], _integer(content, 4, 2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at = 6

    def take(size: int) -> int:
        nonlocal at
        at += size
        return _integer(content, at - size, size)

    for _ in range(take(2 if version < 2 else 4)):
        item = items.get(take(2 if version < 2 else 4), _Item(b"", b""))
        item.in_meta = version > 0 and take(2) & 15 == 1
        take(2)
        start = take(base)
        for _ in range(take(2)):
            take(index if version > 0 else 0)
            item.extents.append((start + take(offset), take(length)))


def _parse_associations(content: bytes, items: dict[int, _Item]) -> None:
    """Read the box `ipma`."""
    width, mark = (2, 0x8000) if content[3] & 1 else (1, 0x80)
    at = 8
    for _ in range(_integer(content, 4, 4)):
        length = 2 if content[0] == 0 else 4
        item = items.get(_integer(content, at, length), _Item(b"", b""))
        count, at = _integer(content, at + length, 1), at + length + 1
        for _ in range(count):
            value, at = _integer(content, at, width), at + width
            item.properties.append((value & ~mark) | (0x8000 if value & mark else 0))
