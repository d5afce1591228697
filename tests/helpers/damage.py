"""Image files of every format, damaged at random and by false values in their headers."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from helpers import photo_files as files
from helpers.animation_files import encode_frames
from helpers.raw_files import encode_dng
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.photograph import Photo

EXTREMES = [0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF]
EXTREMES += [0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


def intact_files(seed: int) -> list[tuple[str, bytes]]:
    """Return the suffix and the content of small files of every format, most with metadata."""
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(12, 40, 2))
    noise = rng.integers(-9, 10, (height, width, 4))
    pixels = np.clip(files.gradient(height, width, 4) + noise, 0, 255).astype(np.uint8)
    color, gray = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels[..., 0])
    alpha = Image.fromarray(pixels)
    deep = pixels.astype(np.uint16) * 257
    exif = files.exif(int(rng.integers(1, 9)), thumbnail=files.THUMBNAIL, order="<>"[seed % 2])
    metadata = {"exif": exif, "icc_profile": files.ICC}
    result = []
    for suffix in files.FORMATS:
        options = {} if suffix in {"bmp", "gif"} else dict(metadata)
        if options:
            options["xmp"] = files.xmp(int(rng.integers(1, 9)))
        result += [(suffix, files.encode_image(color, suffix, **options))]
        if suffix != "heic":
            result += [(suffix, files.encode_image(gray, suffix))]
        if suffix not in {"jpg", "bmp", "gif"}:
            result += [(suffix, files.encode_image(alpha, suffix, **options))]
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words" * 20, zip=True)
    text.add_itxt("XML:com.adobe.xmp", files.xmp(6).decode())
    palette = color.quantize(17)
    result += [
        ("png", files.encode_image(color, "png", pnginfo=text, dpi=(300, 300))),
        ("png", files.encode_image(palette, "png", transparency=3)),
        ("png", files.encode_image(gray.convert("1"), "png")),
        (
            "png",
            files.encode_image(color, "png", save_all=True, append_images=[color.rotate(180)]),
        ),
        ("jpg", files.encode_image(color, "jpg", progressive=True, comment=b"words", **metadata)),
        ("jpg", files.encode_image(color, "jpg", quality=20, subsampling=2)),
        ("webp", files.encode_image(alpha, "webp", lossless=True, **metadata)),
        (
            "gif",
            files.encode_image(palette, "gif", save_all=True, append_images=[palette.rotate(180)]),
        ),
        ("bmp", files.encode_image(palette, "bmp")),
        ("tif", files.encode_image(palette, "tif", compression="tiff_lzw")),
        ("tif", files.encode_image(gray.convert("1"), "tif", compression="group4")),
        ("tif", files.encode_image(color, "tif", compression="jpeg")),
    ]
    for shape in ((height, width, 3), (height, width, 4), (height, width)):
        image = deep[..., : shape[2]] if len(shape) == 3 else deep[..., 0]
        result.append(("png", files.encode_png16(image)))
        kind = "rgb" if len(shape) == 3 else "minisblack"
        for options in (
            {},
            {"compression": "lzw", "byteorder": ">"},
            {"compression": "deflate", "predictor": True, "bigtiff": True},
            {"tile": (16, 16), "compression": "deflate"},
        ):
            file = io.BytesIO()
            tifffile.imwrite(file, image, photometric=kind, metadata=None, **options)
            result.append(("tif", file.getvalue()))
    result += [
        (suffix, encode_frames(suffix, [pixels[..., :channels] // n for n in (3, 2, 1)]))
        for suffix in ("gif", "png", "webp", "avif")
        for channels in (3, 4)
    ]
    file = io.BytesIO()
    floats = (deep[..., :3] / 65535).astype(np.float32)
    tifffile.imwrite(file, floats, photometric="rgb", metadata=None)
    result.append(("tif", file.getvalue()))
    block = Metadata(files.exif(1), files.xmp(1), files.ICC)
    for suffix in ("jxl", "jp2", "avif", *(("heic",) if files.HAS_HEIF else ())):
        for image in (pixels, deep):
            result += [
                (suffix, files.encode_photo(Photo(image[..., :3], metadata=block), suffix)[0]),
                (suffix, files.encode_photo(Photo(image[..., 0], image[..., 3]), suffix)[0]),
            ]
    # LibRaw refuses smaller files.
    light = files.gradient(24 + height // 8 * 2, 32, 3) / 255
    return [*result, *(("dng", encode_dng(light, with_preview=x)) for x in (False, True))]


def damage(rng: np.random.Generator, intact: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Choose one of the files, and damage a copy in one to three ways."""
    suffix, content = intact[rng.integers(len(intact))]
    data = bytearray(content)
    ways = (
        _truncate,
        _flip_bits,
        _overwrite,
        _write_extreme,
        _write_extreme,
        _remove_bytes,
        _repeat_bytes,
        _set_false_header,
        _set_false_header,
    )
    for _ in range((1, 1, 1, 2, 3)[rng.integers(5)]):
        if rng.random() < 0.1:
            _, other = intact[rng.integers(len(intact))]
            data[_random_position(rng, data) :] = other[_random_position(rng, other) :]
        elif len(data) > 8:
            ways[rng.integers(len(ways))](rng, data)
    if data[:4] == b"\x89PNG" and rng.random() < 0.7:
        _update_checksums(data)
    return suffix, bytes(data)


def _random_position(rng: np.random.Generator, data: bytes | bytearray) -> int:
    """Return a random position; half of them are near the beginning, where the headers are."""
    end = max(1, len(data) - 8)
    return int(rng.integers(end if rng.random() < 0.5 else min(end, 200)))


def _truncate(rng: np.random.Generator, data: bytearray) -> None:
    del data[_random_position(rng, data) :]


def _flip_bits(rng: np.random.Generator, data: bytearray) -> None:
    for _ in range(2 ** rng.integers(0, 5)):
        data[_random_position(rng, data)] ^= 1 << rng.integers(8)


def _overwrite(rng: np.random.Generator, data: bytearray) -> None:
    at, length = _random_position(rng, data), int(rng.integers(1, 9))
    fill = (rng.bytes(length), bytes(length), b"\xff" * length)[rng.integers(3)]
    data[at : at + length] = fill


def _write_extreme(rng: np.random.Generator, data: bytearray) -> None:
    """Write an extreme number of two, four or eight bytes at a random position."""
    at, kind = _random_position(rng, data), "HIQ"[rng.integers(3)]
    number = EXTREMES[rng.integers(len(EXTREMES))]
    number = min(number, 0xFFFF) if kind == "H" else number
    _write_at(data, at, struct.pack("<>"[rng.integers(2)] + kind, number))


def _remove_bytes(rng: np.random.Generator, data: bytearray) -> None:
    at = _random_position(rng, data)
    del data[at : at + int(rng.integers(1, 40))]


def _repeat_bytes(rng: np.random.Generator, data: bytearray) -> None:
    at, length = _random_position(rng, data), int(rng.integers(1, 200))
    data[at:at] = data[at : at + length] * int(rng.integers(1, 4))


def _set_false_header(rng: np.random.Generator, data: bytearray) -> None:
    """Change the size, the depth or a length in the header of a format."""
    number = int(EXTREMES[rng.integers(len(EXTREMES))])
    if rng.random() < 0.5:
        number = int(rng.integers(1, 70_000))
    head = bytes(data[:12])
    if head.startswith(b"\x89PNG"):
        _set_number(rng, data, number, ((16, ">I"), (20, ">I"), (24, ">B"), (25, ">B"), (28, ">B")))
    elif head.startswith(b"GIF8"):
        _set_number(rng, data, number, ((6, "<H"), (8, "<H"), (10, "<B")))
    elif head.startswith(b"BM"):
        places = ((2, "<I"), (10, "<I"), (14, "<I"), (18, "<I"), (22, "<I"), (28, "<H"), (30, "<I"))
        _set_number(rng, data, number, places)
    elif head.startswith(b"RIFF"):
        places = ((4, "<I"), (16, "<I"), (20, "<B"), (24, "<H"), (26, "<H"), (27, "<H"), (28, "<H"))
        _set_number(rng, data, number, places)
    elif head.startswith(b"\xff\xd8"):
        found = [at for at in range(2, len(data) - 12) if bytes(data[at : at + 2]) in _MARKERS]
        at = found[rng.integers(len(found))] if found else 2
        _set_number(
            rng, data, number, ((at + 2, ">H"), (at + 4, ">B"), (at + 5, ">H"), (at + 7, ">H"))
        )
    elif head[4:8] in {b"ftyp", b"jP  ", b"JXL "}:
        found = [at for at in range(len(data) - 12) if bytes(data[at : at + 4]) in _BOXES]
        at = found[rng.integers(len(found))] if found else 0
        _set_number(
            rng, data, number, ((at - 4, ">I"), (at + 4, ">I"), (at + 8, ">I"), (at + 12, ">I"))
        )
    elif head[:2] in {b"II", b"MM"}:
        _set_false_tiff_value(rng, data, number)


_MARKERS = {bytes((0xFF, kind)) for kind in (0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xE1, 0xE2, 0xE0)}
_BOXES = {b"ispe", b"iloc", b"iinf", b"ipma", b"pixi", b"hvcC", b"av1C", b"irot", b"colr", b"meta"}
_BOXES |= {
    b"jp2h",
    b"ihdr",
    b"jp2c",
    b"cdef",
    b"uuid",
    b"jxlc",
    b"jxll",
    b"Exif",
    b"\xff\x4f\xff\x51",
}


def _set_number(
    rng: np.random.Generator, data: bytearray, number: int, places: tuple[tuple[int, str], ...]
) -> None:
    at, kind = places[rng.integers(len(places))]
    _write_at(data, at, struct.pack(kind, number % (1 << 8 * struct.calcsize(kind))))


def _set_false_tiff_value(rng: np.random.Generator, data: bytearray, number: int) -> None:
    """Change the type, the count or the value of a tag in the first directory."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    if len(data) < 24:
        return
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    size = 20 if big else 12
    at = first + (8 if big else 2) + size * int(rng.integers(0, 16))
    if at + size > len(data):
        return
    places = ((0, "H"), (2, "H"), (4, "Q" if big else "I"), (12 if big else 8, "H"), (8, "I"))
    _set_number(rng, data, number, tuple((at + place, order + kind) for place, kind in places))


def _write_at(data: bytearray, at: int, content: bytes) -> None:
    """Overwrite bytes, without making the file longer."""
    at = max(0, at)
    data[at : at + len(content)] = content[: max(0, len(data) - at)]


def _update_checksums(data: bytearray) -> None:
    """Correct the checksums of PNG chunks, so that decoders go on to read their content."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length


_NUMBERS = st.sampled_from([8, 12, files.ORIENTATION, *EXTREMES])


@st.composite
def damaged_exif(draw: st.DrawFn) -> bytes:
    """Return EXIF with changed numbers and a cut end, or random data after an EXIF header."""
    order = draw(st.sampled_from("<>"))
    if draw(st.booleans()):
        return files.tiff_head(order, draw(_NUMBERS)) + draw(st.binary(max_size=200))
    options = {"thumbnail": files.THUMBNAIL} if draw(st.booleans()) else {}
    data = bytearray(files.exif(draw(st.integers(1, 8)), order=order, **options))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 5) | st.integers(0, 160))
        kind = draw(st.sampled_from("BHI"))
        number = draw(_NUMBERS | st.integers(0, len(data)))
        struct.pack_into(f"{order}{kind}", data, at, number % (1 << 8 * struct.calcsize(kind)))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])
