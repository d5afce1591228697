"""png.py: copied chunks, 16-bit color, and data after the end of the image."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from helpers import photo_files as files
from helpers.photo_files import (
    add_chunks,
    encode_image,
    encode_photo,
    gradient,
    open_with_pillow,
    png_chunks,
)
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, png
from zerodce_jax.media.photograph import Photo

PLAIN = encode_image(files.IMAGE, "png")
TEXTS = (
    (b"tEXt", b"Comment\0words \xe9"),
    (b"zTXt", b"Long comment\0\0" + zlib.compress(b"words " * 50)),
    (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Wörter".encode()),
    (b"iTXt", b"Packed\0\1\0\0\0" + zlib.compress(b"words")),
    (b"tEXt", b"Comment\0a second one"),
)
COLORS = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", *range(30_000, 38_000, 1000))),
    (b"sRGB", b"\1"),
    (b"cICP", b"\x09\x10\0\1"),
    (b"mDCV", bytes(24)),
    (b"cLLI", bytes(8)),
)
OTHERS = (
    (b"tIME", b"\x07\xea\1\2\3\4\5"),
    (b"pHYs", struct.pack(">IIB", 2835, 5670, 1)),
    (b"oFFs", bytes(9)),
    (b"sPLT", b"name\0\x08" + bytes(6)),
    (b"prIv", b"a program's own\0\xff"),
)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 2), (8, 9, 3), (8, 9, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_chunks_are_copied_unchanged(shape: tuple[int, ...], dtype: str) -> None:
    pixels = gradient(8, 9, 4, dtype=dtype)[..., : shape[2] if len(shape) == 3 else 1]
    background = (b"bKGD", bytes(2 * (1 if pixels.shape[2] < 3 else 3)))
    added = (*TEXTS, *COLORS, *OTHERS, (b"sBIT", bytes([5] * pixels.shape[2])), background)
    plain = files.encode_png16(pixels) if dtype == "uint16" else encode_8_bits(pixels)
    first = decoding.decode(add_chunks(plain, *added))
    assert first.pixels.dtype == dtype
    data, losses = encode_photo(first, "png")
    assert losses == ()
    kept = [chunk for chunk in png_chunks(data) if chunk[0] not in {b"IHDR", b"IDAT", b"IEND"}]
    assert sorted(kept) == sorted(added)
    # Only the order of the texts matters.
    assert [chunk for chunk in kept if chunk in TEXTS] == list(TEXTS)
    assert [name for name, _ in png_chunks(data)][:1] == [b"IHDR"]
    # A second round changes nothing.
    assert png_chunks(encode_photo(decoding.decode(data), "png")[0]) == png_chunks(data)


def encode_8_bits(pixels: np.ndarray) -> bytes:
    return encode_image(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), "png")


def test_a_stripped_photograph_keeps_the_color_chunks() -> None:
    significant = (b"sBIT", b"\5\5\5")
    first = decoding.decode(add_chunks(PLAIN, *TEXTS, *COLORS, *OTHERS, significant))
    data, _ = encode_photo(first.stripped(), "png")
    kept = [chunk for chunk in png_chunks(data) if chunk[0] not in {b"IHDR", b"IDAT", b"IEND"}]
    assert kept == [*COLORS, significant]


def test_chunks_are_not_written_in_other_formats() -> None:
    first = decoding.decode(add_chunks(PLAIN, *TEXTS, *COLORS))
    for suffix in files.METADATA_SUFFIXES:
        assert b"Long comment" not in encode_photo(first, suffix)[0] or suffix == "png"
    # The options of another format are not taken for chunks of PNG.
    assert encode_photo(decoding.decode(files.file_with_metadata("jpg")), "png")[1] == ()


def test_chunks_for_another_pixel_type_are_dropped() -> None:
    palette = encode_image(files.IMAGE.quantize(9), "png", transparency=3)
    at = palette.index(b"IDAT") - 4
    kept = files.make_chunk(b"bKGD", b"\2") + files.make_chunk(b"hIST", bytes(18))
    first = decoding.decode(palette[:at] + kept + palette[at:])
    data, _ = encode_photo(first, "png")
    assert {name for name, _ in png_chunks(data)} == {b"IHDR", b"IDAT", b"IEND"}
    assert open_with_pillow(data).mode == "RGBA"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_kept_for_every_number_of_channels(channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 16, (7, 5, channels), dtype=np.uint16)
    first = decoding.decode(files.encode_png16(noise))
    second = decoding.decode(encode_photo(first, "png")[0])
    for read in (first, second, decoding.decode(encode_photo(first, "tif")[0])):
        planes = [read.pixels.reshape(7, 5, -1)]
        planes += [] if read.alpha is None else [read.alpha[..., None]]
        np.testing.assert_array_equal(np.concatenate(planes, axis=2), noise)
    header = png_chunks(encode_photo(first, "png")[0])[0][1]
    assert header[8:10] == bytes([16, {1: 0, 2: 4, 3: 2, 4: 6}[channels]])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_color_of_16_bits_becomes_alpha(channels: int) -> None:
    pixels = gradient(6, 6, 3, dtype="uint16")[..., :channels]
    color = (b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    first = decoding.decode(files.encode_png16(pixels, color))
    assert first.alpha.dtype == np.uint16
    transparent = (pixels == pixels[2, 3]).all(axis=2)
    np.testing.assert_array_equal(first.alpha, np.where(transparent, 0, 0xFFFF))
    assert b"tRNS" not in dict(png_chunks(encode_photo(first, "png")[0]))


def text_exif(exif: bytes) -> bytes:
    """Return EXIF as text, in the form that older versions of ImageMagick wrote."""
    lines = [exif.hex()[start : start + 72] for start in range(0, 2 * len(exif), 72)]
    return f"\nexif\n{len(exif):8}\n".encode() + "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_in_a_text_becomes_a_chunk(compressed: bool, prefix: bytes) -> None:
    text = text_exif(prefix + files.exif(6))
    chunk = (b"tEXt", b"Raw profile type exif\0" + text)
    if compressed:
        chunk = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    first = decoding.decode(add_chunks(PLAIN, chunk))
    assert first.pixels.shape == (30, 20, 3)
    chunks = png_chunks(encode_photo(first, "png")[0])
    assert (b"eXIf", files.exif(1)) in chunks
    assert b"Raw profile" not in b"".join(content for _, content in chunks)


def test_damaged_exif_in_a_text_is_dropped() -> None:
    for text in (b"", b"\nexif\n 4\nnot hex", b"\nexif\n 4\n49492"):
        chunk = (b"tEXt", b"Raw profile type exif\0" + text)
        assert decoding.decode(add_chunks(PLAIN, chunk)).metadata.exif is None


def test_metadata_after_the_pixels_is_read() -> None:
    xmp = b"XML:com.adobe.xmp" + bytes(5) + files.xmp(6)
    late = files.make_chunk(b"eXIf", files.exif(6)) + files.make_chunk(b"iTXt", xmp)
    text = files.make_chunk(*TEXTS[0])
    first = decoding.decode(PLAIN[:-12] + late + text + PLAIN[-12:])
    assert first.pixels.shape == (30, 20, 3)
    chunks = png_chunks(encode_photo(first, "png")[0])
    for expected in ((b"eXIf", files.exif(1)), TEXTS[0]):
        assert chunks.count(expected) == 1
    assert first.metadata.xmp == files.xmp(1)


TRAILING_DATA = [
    np.random.default_rng(0).bytes(500),
    PLAIN,
    PLAIN[8:],
    files.make_chunk(b"tEXt", b"Comment\0of another image"),
    struct.pack(">I4s", 5, b"a\0c ") + b"hello1234",
    bytes(100),
]


@pytest.mark.parametrize("trailing", TRAILING_DATA, ids=range(len(TRAILING_DATA)))
def test_data_after_the_end_is_dropped(trailing: bytes) -> None:
    # Some programs crop screenshots in place, and the old data stays after the end.
    first = decoding.decode(PLAIN + trailing)
    data, _ = encode_photo(first, "png")
    assert [name for name, _ in png_chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(np.asarray(open_with_pillow(data)), gradient(20, 30, 3))


def test_damaged_chunks_after_the_pixels_are_dropped() -> None:
    for late in (b"\0\0\0\x05a\0c hello1234", b"\0\0\0\x05pri", b"\xff" * 40, bytes(40)):
        first = decoding.decode(PLAIN[:-12] + late)
        data, _ = encode_photo(first, "png")
        np.testing.assert_array_equal(np.asarray(open_with_pillow(data)), gradient(20, 30, 3))


def test_unknown_critical_chunks_are_dropped() -> None:
    read = decoding.decode(add_chunks(PLAIN, (b"NEWc", b"changes the pixels")))
    assert b"NEWc" not in dict(png_chunks(encode_photo(read, "png")[0]))


def test_the_first_frame_of_an_animation_becomes_a_single_image() -> None:
    frames = [files.IMAGE.rotate(90)]
    data = encode_image(files.IMAGE, "png", save_all=True, append_images=frames)
    made = encode_photo(decoding.decode(data).still(), "png")[0]
    assert not {b"acTL", b"fcTL", b"fdAT"} & {name for name, _ in png_chunks(made)}
    assert open_with_pillow(made).n_frames == 1


def test_metadata_is_not_written_twice() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", files.xmp(1).decode(), zip=True)
    metadata = {"icc_profile": files.ICC, "dpi": (300, 300), "exif": files.exif(1)}
    first = decoding.decode(encode_image(files.IMAGE, "png", pnginfo=text, **metadata))
    names = [name for name, _ in png_chunks(encode_photo(first, "png")[0])]
    assert sorted(names) == [b"IDAT", b"IEND", b"IHDR", b"eXIf", b"iCCP", b"iTXt", b"pHYs"]


@given(st.binary(max_size=60) | st.builds(lambda end: PLAIN[:60] + end, st.binary(max_size=60)))
def test_extra_chunks_accepts_any_bytes(data: bytes) -> None:
    data = PLAIN[:26] + data
    kept = png.extra_chunks(data)
    assert sum(len(content) for _, content in kept) <= 3 * len(data)
    for name, _ in kept:
        assert name.isalpha()


@given(st.integers(33, len(PLAIN) - 1), st.integers(1, 255))
def test_damaged_files_are_refused_or_give_a_complete_result(at: int, change: int) -> None:
    damaged = bytearray(add_chunks(PLAIN, *TEXTS))
    damaged[at] ^= change
    try:
        read = decoding.decode(bytes(damaged))
    except InputError:
        return
    assert open_with_pillow(encode_photo(read, "png")[0]).size == (30, 20)


def test_resolutions_are_rounded_to_whole_dots_per_metre() -> None:
    data, _ = encode_photo(decoding.decode(files.file_with_metadata("jpg")), "png")
    assert dict(png_chunks(data))[b"pHYs"] == struct.pack(">IIB", 11811, 11811, 1)
    assert b"pHYs" not in dict(png_chunks(encode_photo(Photo(gradient(3, 3, 3)), "png")[0]))
