"""png.py: chunks word for word, 16 bits in colour, and nothing from behind the picture."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from helpers import picture_files as files
from helpers.picture_files import content, encoded, opened, png_chunks, smooth, with_chunks
from zerodce_jax.errors import InputError
from zerodce_jax.media import photo, png
from zerodce_jax.media.photo import Photo

PLAIN = content(files.PICTURE, "png")
TEXTS = (
    (b"tEXt", b"Comment\0words \xe9"),
    (b"zTXt", b"Long comment\0\0" + zlib.compress(b"words " * 50)),
    (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Wörter".encode()),
    (b"iTXt", b"Packed\0\1\0\0\0" + zlib.compress(b"words")),
    (b"tEXt", b"Comment\0a second one"),
)
COLOURS = (
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
def test_chunks_come_out_word_for_word(shape: tuple[int, ...], dtype: str) -> None:
    pixels = smooth(8, 9, 4, dtype=dtype)[..., : shape[2] if len(shape) == 3 else 1]
    background = (b"bKGD", bytes(2 * (1 if pixels.shape[2] < 3 else 3)))
    added = (*TEXTS, *COLOURS, *OTHERS, (b"sBIT", bytes([5] * pixels.shape[2])), background)
    plain = files.png16(pixels) if dtype == "uint16" else content_of(pixels)
    first = photo.decode(with_chunks(plain, *added))
    assert first.pixels.dtype == dtype
    data, losses = encoded(first, "png")
    assert losses == ()
    kept = [one for one in png_chunks(data) if one[0] not in {b"IHDR", b"IDAT", b"IEND"}]
    assert sorted(kept) == sorted(added)
    # Their order matters only to readers of the texts.
    assert [one for one in kept if one in TEXTS] == list(TEXTS)
    assert [name for name, _ in png_chunks(data)][:1] == [b"IHDR"]
    # The second time too.
    assert png_chunks(encoded(photo.decode(data), "png")[0]) == png_chunks(data)


def content_of(pixels: np.ndarray) -> bytes:
    return content(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), "png")


def test_a_stripped_picture_keeps_the_chunks_of_colours() -> None:
    significant = (b"sBIT", b"\5\5\5")
    first = photo.decode(with_chunks(PLAIN, *TEXTS, *COLOURS, *OTHERS, significant))
    data, _ = encoded(first.stripped(), "png")
    kept = [one for one in png_chunks(data) if one[0] not in {b"IHDR", b"IDAT", b"IEND"}]
    assert kept == [*COLOURS, significant]


def test_chunks_go_to_no_other_format() -> None:
    first = photo.decode(with_chunks(PLAIN, *TEXTS, *COLOURS))
    for suffix in files.CARRYING:
        assert b"Long comment" not in encoded(first, suffix)[0] or suffix == "png"
    # Nor are another format's options taken for those of PNG.
    assert encoded(photo.decode(files.carrying("jpg")), "png")[1] == ()


def test_chunks_for_other_kinds_of_pixels_are_dropped() -> None:
    palette = content(files.PICTURE.quantize(9), "png", transparency=3)
    at = palette.index(b"IDAT") - 4
    kept = files.chunk(b"bKGD", b"\2") + files.chunk(b"hIST", bytes(18))
    first = photo.decode(palette[:at] + kept + palette[at:])
    data, _ = encoded(first, "png")
    assert {name for name, _ in png_chunks(data)} == {b"IHDR", b"IDAT", b"IEND"}
    assert opened(data).mode == "RGBA"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_kept_in_every_mode(channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 16, (7, 5, channels), dtype=np.uint16)
    first = photo.decode(files.png16(noise))
    second = photo.decode(encoded(first, "png")[0])
    for read in (first, second, photo.decode(encoded(first, "tif")[0])):
        got = [read.pixels.reshape(7, 5, -1)]
        got += [] if read.alpha is None else [read.alpha[..., None]]
        np.testing.assert_array_equal(np.concatenate(got, axis=2), noise)
    header = png_chunks(encoded(first, "png")[0])[0][1]
    assert header[8:10] == bytes([16, {1: 0, 2: 4, 3: 2, 4: 6}[channels]])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits_is_alpha(channels: int) -> None:
    pixels = smooth(6, 6, 3, dtype="uint16")[..., :channels]
    colour = (b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    first = photo.decode(files.png16(pixels, colour))
    assert first.alpha.dtype == np.uint16
    clear = (pixels == pixels[2, 3]).all(axis=2)
    np.testing.assert_array_equal(first.alpha, np.where(clear, 0, 0xFFFF))
    assert b"tRNS" not in dict(png_chunks(encoded(first, "png")[0]))


def old_exif(exif: bytes) -> bytes:
    """EXIF as ImageMagick wrote it into texts."""
    lines = [exif.hex()[start : start + 72] for start in range(0, 2 * len(exif), 72)]
    return f"\nexif\n{len(exif):8}\n".encode() + "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_in_a_text_becomes_a_chunk(packed: bool, prefix: bytes) -> None:
    text = old_exif(prefix + files.exif(6))
    chunk = (b"tEXt", b"Raw profile type exif\0" + text)
    if packed:
        chunk = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    first = photo.decode(with_chunks(PLAIN, chunk))
    assert first.pixels.shape == (30, 20, 3)
    chunks = png_chunks(encoded(first, "png")[0])
    assert (b"eXIf", files.exif(1)) in chunks
    assert b"Raw profile" not in b"".join(content for _, content in chunks)


def test_damaged_exif_in_a_text_does_no_harm() -> None:
    for text in (b"", b"\nexif\n 4\nnot hex", b"\nexif\n 4\n49492"):
        chunk = (b"tEXt", b"Raw profile type exif\0" + text)
        assert photo.decode(with_chunks(PLAIN, chunk)).metadata.exif is None


def test_metadata_behind_the_pixels_is_found() -> None:
    xmp = b"XML:com.adobe.xmp" + bytes(5) + files.xmp(6)
    late = files.chunk(b"eXIf", files.exif(6)) + files.chunk(b"iTXt", xmp)
    text = files.chunk(*TEXTS[0])
    first = photo.decode(PLAIN[:-12] + late + text + PLAIN[-12:])
    assert first.pixels.shape == (30, 20, 3)
    chunks = png_chunks(encoded(first, "png")[0])
    for one in ((b"eXIf", files.exif(1)), TEXTS[0]):
        assert chunks.count(one) == 1
    assert first.metadata.xmp == files.xmp(1)


RUBBISH = [
    np.random.default_rng(0).bytes(500),
    PLAIN,
    PLAIN[8:],
    files.chunk(b"tEXt", b"Comment\0of another picture"),
    struct.pack(">I4s", 5, b"a\0c ") + b"hello1234",
    bytes(100),
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_what_follows_the_end_is_no_chunk(rubbish: bytes) -> None:
    # Screenshots that were cropped in place end with what was there before.
    first = photo.decode(PLAIN + rubbish)
    data, _ = encoded(first, "png")
    assert [name for name, _ in png_chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(np.asarray(opened(data)), smooth(20, 30, 3))


def test_damage_behind_the_pixels_is_not_handed_on() -> None:
    for late in (b"\0\0\0\x05a\0c hello1234", b"\0\0\0\x05pri", b"\xff" * 40, bytes(40)):
        first = photo.decode(PLAIN[:-12] + late)
        data, _ = encoded(first, "png")
        np.testing.assert_array_equal(np.asarray(opened(data)), smooth(20, 30, 3))


def test_chunks_that_a_reader_must_know_are_not_handed_on() -> None:
    read = photo.decode(with_chunks(PLAIN, (b"NEWc", b"changes the pixels")))
    assert b"NEWc" not in dict(png_chunks(encoded(read, "png")[0]))


def test_animations_become_one_picture() -> None:
    frames = [files.PICTURE.rotate(90)]
    data = content(files.PICTURE, "png", save_all=True, append_images=frames)
    made = encoded(photo.decode(data), "png")[0]
    assert not {b"acTL", b"fcTL", b"fdAT"} & {name for name, _ in png_chunks(made)}
    assert opened(made).n_frames == 1


def test_own_metadata_is_not_written_twice() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", files.xmp(1).decode(), zip=True)
    whole = {"icc_profile": files.ICC, "dpi": (300, 300), "exif": files.exif(1)}
    first = photo.decode(content(files.PICTURE, "png", pnginfo=text, **whole))
    names = [name for name, _ in png_chunks(encoded(first, "png")[0])]
    assert sorted(names) == [b"IDAT", b"IEND", b"IHDR", b"eXIf", b"iCCP", b"iTXt", b"pHYs"]


@given(st.binary(max_size=60) | st.builds(lambda end: PLAIN[:60] + end, st.binary(max_size=60)))
def test_any_bytes_have_chunks_or_none(data: bytes) -> None:
    data = PLAIN[:26] + data
    kept = png.own_chunks(data)
    assert sum(len(content) for _, content in kept) <= 3 * len(data)
    for name, _ in kept:
        assert name.isalpha()


@given(st.integers(33, len(PLAIN) - 1), st.integers(1, 255))
def test_damage_within_is_refused_or_the_result_is_whole(at: int, change: int) -> None:
    damaged = bytearray(with_chunks(PLAIN, *TEXTS))
    damaged[at] ^= change
    try:
        read = photo.decode(bytes(damaged))
    except InputError:
        return
    assert opened(encoded(read, "png")[0]).size == (30, 20)


def test_resolutions_are_rounded_to_whole_dots_a_metre() -> None:
    data, _ = encoded(photo.decode(files.carrying("jpg")), "png")
    assert dict(png_chunks(data))[b"pHYs"] == struct.pack(">IIB", 11811, 11811, 1)
    assert b"pHYs" not in dict(png_chunks(encoded(Photo(smooth(3, 3, 3)), "png")[0]))
