"""Pictures as files, with all that cameras and programs put into them besides the pixels."""

import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from zerodce_jax.media import formats, photo
from zerodce_jax.media.photo import Photo

HEIC = find_spec("pillow_heif") is not None
if HEIC:
    pytest.importorskip("pillow_heif").register_heif_opener()

MAKE, ORIENTATION, SOFTWARE, MAKER_NOTE, EXPOSURE = 0x010F, 0x0112, 0x0131, 0x927C, 0x829A
EXIF_POINTER, GPS_POINTER, XMP = 0x8769, 0x8825, 0x02BC
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = b"Maker\0\1\2" + struct.pack("<6I", 8, 60, 0xFFFF, 6, 0x112, 0x201) + b"kept to the byte" * 3
THUMBNAIL = b"\xff\xd8\xff\xdb" + b"small picture" * 9 + b"\xff\xd9"
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"} | {
    "avif": "AVIF",
    **({"heic": "HEIF"} if HEIC else {}),
    "gif": "GIF",
}
CARRYING = ("png", "jpg", "webp", "tif", "avif", *(("heic",) if HEIC else ()))
_FORM = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s"}

Entry = tuple[int, int, Any]


def smooth(*shape: int, dtype: str = "uint8") -> np.ndarray:
    """Pixels that change slowly, as lossy formats like them; floats within [0, 1]."""
    height, width = shape[:2]
    ramp = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width)) / 2
    if len(shape) == 3:
        ramp = np.stack([ramp, 1 - ramp, ramp**2, ramp[::-1]], axis=-1)[..., : shape[2]]
    if dtype == "float32":
        return ramp.astype(dtype)
    return np.round(ramp * np.iinfo(dtype).max).astype(dtype)


PICTURE = Image.fromarray(smooth(20, 30, 3))


def directory(order: str, at: int, entries: list[Entry], link: int = 0) -> bytes:
    """One TIFF directory for the place `at`: of each tag its number, type and value or values."""
    head, behind = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, value in sorted(entries):
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(value, bytes):
            content, count = value, len(value)
        else:
            content = struct.pack(f"{order}{len(values)}{_FORM[kind]}", *values)
            count = len(values) // (2 if kind == 5 else 1)
        head += struct.pack(f"{order}HHI", tag, kind, count)
        if len(content) > 4:
            place = at + 2 + 12 * len(entries) + 4 + len(behind)
            head += struct.pack(f"{order}I", place)
            behind += content + bytes(len(content) % 2)
        else:
            head += content.ljust(4, b"\0")
    return head + struct.pack(f"{order}I", link) + behind


def tiff_head(order: str, first: int = 8) -> bytes:
    """The first eight bytes of a TIFF structure."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)


def exif(
    orientation: int | None = 6,
    *,
    order: str = "<",
    thumbnail: bytes = b"",
    behind: bytes = b"",
    extra: tuple[Entry, ...] = (),
) -> bytes:
    """EXIF as a camera writes it, with a maker's note and a place on the map.

    Args:
        orientation: Or None, where the camera does not say.
        order: Of the bytes, as `struct` names it.
        thumbnail: A JPEG file.
        behind: What follows the thumbnail.
        extra: Further tags of the first directory.
    """
    places = [0, 0, 0, 0]
    for _ in range(2):
        first = [
            (MAKE, 2, b"camera\0"),
            (SOFTWARE, 2, b"firmware 1.0\0"),
            (0x011A, 5, (300, 1)),
            (0x011B, 5, (300, 1)),
            (0x0128, 3, 2),
            (EXIF_POINTER, 4, places[0]),
            (GPS_POINTER, 4, places[1]),
            *([(ORIENTATION, 3, orientation)] if orientation is not None else []),
            *extra,
        ]
        below = [(EXPOSURE, 5, (1, 30)), (MAKER_NOTE, 7, NOTE), (0x9286, 7, b"ASCII\0\0\0text")]
        gps = [(0, 1, (2, 3, 0, 0)), (1, 2, b"N\0"), (2, 5, (48, 1, 8, 1, 14, 1))]
        second = [(259, 3, 6), (0x0201, 4, places[3]), (0x0202, 4, len(thumbnail))]
        blocks: list[bytes] = [tiff_head(order)]
        starts = []
        for entries in (first, below, gps, second if thumbnail else None):
            at = sum(map(len, blocks))
            starts.append(at)
            link = places[2] if entries is first and thumbnail else 0
            blocks.append(directory(order, at, entries, link) if entries else b"")
        places = [starts[1], starts[2], starts[3], sum(map(len, blocks))]
    return b"".join(blocks) + thumbnail + behind


def xmp(orientation: int | None = None, *, as_element: bool = False) -> bytes:
    """An XMP packet."""
    attribute, element = "", ""
    if orientation and as_element:
        element = f"<tiff:Orientation>{orientation}</tiff:Orientation>"
    elif orientation:
        attribute = f' tiff:Orientation="{orientation}"'
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmp:Rating="5"{attribute}>{element}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def skip_without_package(suffix: str) -> None:
    """Skip the test if its format is HEIC and the package for it is not installed."""
    if suffix == "heic":
        pytest.importorskip("pillow_heif")


def content(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """A file's bytes as Pillow writes them, with `exif` and `xmp` in every format that has them."""
    skip_without_package(suffix)
    carried = options.pop("exif", None)
    packet = options.pop("xmp", None)
    if suffix == "tif" and (carried or packet):
        options["exif"] = Image.Exif()
        options["exif"].load(carried or b"")
        if packet:
            options["exif"][XMP] = packet
    else:
        options |= {"exif": b"Exif\0\0" + carried} if carried else {}
        options |= {"xmp": packet} if packet else {}
    file = io.BytesIO()
    image.save(file, format=FORMATS[suffix], **options)
    if suffix == "png" and packet:
        text = b"XML:com.adobe.xmp" + bytes(5) + packet
        return with_chunks(file.getvalue(), (b"iTXt", text))
    return file.getvalue()


def tags_of(carried: bytes | None) -> dict[object, object]:
    """All tags of EXIF but the orientation, as Pillow reads them."""
    read = Image.Exif()
    read.load(carried or b"")
    found: dict[object, object] = dict(read)
    for pointer in (EXIF_POINTER, GPS_POINTER):
        if found.pop(pointer, None):
            found |= {(pointer, tag): value for tag, value in read.get_ifd(pointer).items()}
    found.pop(ORIENTATION, None)
    return found


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file."""
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def with_chunks(png: bytes, *added: tuple[bytes, bytes]) -> bytes:
    """A PNG file with more chunks behind its header."""
    return png[:33] + b"".join(chunk(*one) for one in added) + png[33:]


def png16(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of 16 bits a sample, put together by hand; `chunks` go before the pixels."""
    height, width = pixels.shape[:2]
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2] if pixels.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def carrying(suffix: str, **options: Any) -> bytes:
    """A file with EXIF, XMP, a profile and a resolution, as far as the format has them."""
    carried = {"exif": exif(6, thumbnail=THUMBNAIL), "xmp": xmp(6), "icc_profile": ICC}
    return content(PICTURE, suffix, **(carried | {"dpi": (300, 300)} | options))


def encoded(given: Photo, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """A photograph as a file of that suffix, and what got lost."""
    skip_without_package(suffix)
    kind = formats.format_of(Path(f"x.{suffix}"))
    assert kind is not None
    return photo.encode(given, kind)


def again(given: Photo, suffix: str) -> Photo:
    """What is read of a photograph that was written."""
    return photo.decode(encoded(given, suffix)[0])


def opened(data: bytes) -> Image.Image:
    """What Pillow makes of a file."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
