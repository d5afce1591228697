"""Image files for tests, with the metadata that cameras and programs add to the pixels."""

import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from zerodce_jax.media import decoding, encoding, formats
from zerodce_jax.media.photograph import Photo

HAS_HEIF = find_spec("pillow_heif") is not None
if HAS_HEIF:
    pytest.importorskip("pillow_heif").register_heif_opener()

MAKE, ORIENTATION, SOFTWARE, MAKER_NOTE, EXPOSURE = 0x010F, 0x0112, 0x0131, 0x927C, 0x829A
EXIF_POINTER, GPS_POINTER, XMP = 0x8769, 0x8825, 0x02BC
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKER_NOTE_BYTES = (
    b"Maker\0\1\2" + struct.pack("<6I", 8, 60, 0xFFFF, 6, 0x112, 0x201) + b"kept to the byte" * 3
)
THUMBNAIL = b"\xff\xd8\xff\xdb" + b"small image" * 9 + b"\xff\xd9"
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"} | {
    "avif": "AVIF",
    **({"heic": "HEIF"} if HAS_HEIF else {}),
    "gif": "GIF",
}
METADATA_SUFFIXES = ("png", "jpg", "webp", "tif", "avif", *(("heic",) if HAS_HEIF else ()))
WRITABLE_SUFFIXES = (*METADATA_SUFFIXES, "bmp")
LOSSLESS_SUFFIXES = ("png", "tif", "bmp")
_TYPE_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 10: "i"}

Entry = tuple[int, int, Any]


def gradient(*shape: int, dtype: str = "uint8") -> np.ndarray:
    """Return smooth pixels, which lossy formats keep well; floats lie in [0, 1]."""
    height, width = shape[:2]
    ramp = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width)) / 2
    if len(shape) == 3:
        ramp = np.stack([ramp, 1 - ramp, ramp**2, ramp[::-1]], axis=-1)[..., : shape[2]]
    if dtype == "float32":
        return ramp.astype(dtype)
    return np.round(ramp * np.iinfo(dtype).max).astype(dtype)


IMAGE = Image.fromarray(gradient(20, 30, 3))
ALPHA = gradient(20, 30)[::-1]


def assert_same(actual: Photo, expected: Photo, *, within: float = 0) -> None:
    """Assert the same sample types and shapes, and a mean difference of at most `within`."""
    assert actual.pixels.dtype == expected.pixels.dtype
    assert actual.pixels.shape == expected.pixels.shape
    assert (actual.alpha is None) == (expected.alpha is None)
    pairs = [(actual.pixels, expected.pixels)]
    if actual.alpha is not None and expected.alpha is not None:
        pairs.append((actual.alpha, expected.alpha))
    for actual_samples, expected_samples in pairs:
        assert np.abs(actual_samples.astype(float) - expected_samples).mean() <= within


def directory(order: str, at: int, entries: list[Entry], link: int = 0) -> bytes:
    """Return a TIFF directory for the position `at`; entries are tag, type and value or values."""
    head, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, value in sorted(entries):
        numbers = value if isinstance(value, tuple) else (value,)
        if isinstance(value, bytes):
            content, count = value, len(value)
        else:
            content = struct.pack(f"{order}{len(numbers)}{_TYPE_CODES[kind]}", *numbers)
            count = len(numbers) // (2 if kind in {5, 10} else 1)
        head += struct.pack(f"{order}HHI", tag, kind, count)
        if len(content) > 4:
            head += struct.pack(f"{order}I", at + 2 + 12 * len(entries) + 4 + len(values))
            values += content + bytes(len(content) % 2)
        else:
            head += content.ljust(4, b"\0")
    return head + struct.pack(f"{order}I", link) + values


def tiff_head(order: str, first: int = 8) -> bytes:
    """Return the first eight bytes of a TIFF structure."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", first)


def exif(
    orientation: int | None = 6,
    *,
    order: str = "<",
    thumbnail: bytes = b"",
    trailing: bytes = b"",
    extra: tuple[Entry, ...] = (),
) -> bytes:
    """Return EXIF as a camera writes it, with a maker note and GPS coordinates.

    Args:
        orientation: Orientation, or None for EXIF without an orientation.
        order: Byte order, as a `struct` prefix.
        thumbnail: Thumbnail, normally a JPEG file.
        trailing: Bytes after the thumbnail.
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
        camera = [
            (EXPOSURE, 5, (1, 30)),
            (MAKER_NOTE, 7, MAKER_NOTE_BYTES),
            (0x9286, 7, b"ASCII\0\0\0text"),
        ]
        gps = [(0, 1, (2, 3, 0, 0)), (1, 2, b"N\0"), (2, 5, (48, 1, 8, 1, 14, 1))]
        second = [(259, 3, 6), (0x0201, 4, places[3]), (0x0202, 4, len(thumbnail))]
        blocks: list[bytes] = [tiff_head(order)]
        starts = []
        for entries in (first, camera, gps, second if thumbnail else None):
            at = sum(map(len, blocks))
            starts.append(at)
            link = places[2] if entries is first and thumbnail else 0
            blocks.append(directory(order, at, entries, link) if entries else b"")
        places = [starts[1], starts[2], starts[3], sum(map(len, blocks))]
    return b"".join(blocks) + thumbnail + trailing


def xmp(orientation: int | None = None, *, as_element: bool = False) -> bytes:
    """Return an XMP packet with the orientation, if given, in an attribute or an element."""
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
    """Skip the test if its format is HEIC and the package for HEIC is not installed."""
    if suffix == "heic":
        pytest.importorskip("pillow_heif")


def encode_image(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """Encode an image with Pillow; the options `exif` and `xmp` work in every format.

    Unlike Pillow itself, this function takes EXIF without its prefix.
    """
    skip_without_package(suffix)
    exif_block = options.pop("exif", None)
    packet = options.pop("xmp", None)
    if suffix == "tif" and (exif_block or packet):
        options["exif"] = Image.Exif()
        options["exif"].load(exif_block or b"")
        if packet:
            options["exif"][XMP] = packet
    else:
        options |= {"exif": b"Exif\0\0" + exif_block} if exif_block else {}
        options |= {"xmp": packet} if packet else {}
    file = io.BytesIO()
    image.save(file, format=FORMATS[suffix], **options)
    if suffix == "png" and packet:
        text = b"XML:com.adobe.xmp" + bytes(5) + packet
        return add_chunks(file.getvalue(), (b"iTXt", text))
    return file.getvalue()


def exif_tags(exif_block: bytes | None) -> dict[object, object]:
    """Return all tags of EXIF except the orientation, as Pillow reads them."""
    read = Image.Exif()
    read.load(exif_block or b"")
    found: dict[object, object] = dict(read)
    for pointer in (EXIF_POINTER, GPS_POINTER):
        if found.pop(pointer, None):
            found |= {(pointer, tag): value for tag, value in read.get_ifd(pointer).items()}
    found.pop(ORIENTATION, None)
    return found


def make_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file, with its length and checksum."""
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and the data of each chunk in a PNG file."""
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def add_chunks(png: bytes, *added: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file with more chunks after its header."""
    return png[:33] + b"".join(make_chunk(*item) for item in added) + png[33:]


def encode_png16(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Encode a PNG file of 16 bits per sample without a library; `chunks` precede the pixels."""
    height, width = pixels.shape[:2]
    colors = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2] if pixels.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", width, height, 16, colors, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(make_chunk(*part) for part in parts)


def file_with_metadata(suffix: str, **options: Any) -> bytes:
    """Return an image file with EXIF, XMP, a color profile and a resolution, if supported."""
    metadata = {"exif": exif(6, thumbnail=THUMBNAIL), "xmp": xmp(6), "icc_profile": ICC}
    return encode_image(IMAGE, suffix, **(metadata | {"dpi": (300, 300)} | options))


def encode_photo(source: Photo, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph in the format of a suffix; return the file and the losses."""
    skip_without_package(suffix)
    file_format = formats.format_of(Path(f"x.{suffix}"))
    assert file_format is not None
    return encoding.encode(source, file_format)


def round_trip(source: Photo, suffix: str) -> Photo:
    """Encode a photograph in the format of a suffix, and decode the result."""
    return decoding.decode(encode_photo(source, suffix)[0])


def open_with_pillow(data: bytes) -> Image.Image:
    """Decode an image file with Pillow."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
