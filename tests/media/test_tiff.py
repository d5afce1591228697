"""tiff.py: deep pixels of every layout, and tags of every type, there and back."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import picture_files as files
from helpers.damage import damaged_exif
from helpers.picture_files import again, content, encoded, opened, smooth
from zerodce_jax.errors import InputError
from zerodce_jax.media import photo, tiff
from zerodce_jax.media.photo import Photo

tifffile = pytest.importorskip("tifffile")


def made(pixels: np.ndarray, **options: Any) -> bytes:
    """A TIFF file by tifffile; of two or four channels, the last one is alpha."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = "rgb" if channels > 2 else "minisblack"
    defaults = {"photometric": kind, "metadata": None, "planarconfig": "contig"}
    if channels in {2, 4}:
        defaults["extrasamples"] = ["unassalpha"]
    options = defaults | options
    if options["planarconfig"] == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def together(read: Photo) -> np.ndarray:
    """Colours and alpha in one array."""
    return read.pixels if read.alpha is None else np.dstack([read.pixels, read.alpha])


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "big-endian BigTIFF": {"bigtiff": True, "byteorder": ">"},
    "LZW": {"compression": "lzw"},
    "big-endian LZW, predicted": {"compression": "lzw", "byteorder": ">", "predictor": True},
    "Deflate": {"compression": "deflate"},
    "Deflate, predicted": {"compression": "deflate", "predictor": True},
    "PackBits": {"compression": "packbits"},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16), "compression": "deflate"},
    "planar": {"planarconfig": "separate"},
    "planar tiles": {"planarconfig": "separate", "tile": (16, 16)},
}


# Planes of 8 bits, gray and alpha, are what nobody writes and Pillow does not read.
CASES = [
    (layout, dtype, channels)
    for layout in LAYOUTS
    for dtype in ("uint8", "uint16", "float32")
    for channels in (1, 2, 3, 4)
    if "planar" not in layout or channels > 2 or (channels == 2 and dtype != "uint8")
]


@pytest.mark.parametrize(("layout", "dtype", "channels"), CASES)
def test_every_layout_is_read_and_written_again(layout: str, dtype: str, channels: int) -> None:
    pixels = smooth(37, 41, 4, dtype=dtype)[..., :channels]
    pixels = pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels)
    read = photo.decode(made(pixels, **LAYOUTS[layout]))
    assert read.pixels.dtype == dtype
    assert (read.alpha is None) == (channels in {1, 3})
    np.testing.assert_array_equal(together(read), pixels)
    data, losses = encoded(read, "tif")
    assert losses == ()
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    np.testing.assert_array_equal(together(photo.decode(data)), pixels)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert page.compression.name == "ADOBE_DEFLATE"
    assert [kind.name for kind in page.extrasamples] == ["UNASSALPHA"] * (channels in {2, 4})
    if dtype == "uint8":
        np.testing.assert_array_equal(np.asarray(opened(data)), pixels)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("channels", [1, 3])
def test_9_to_15_bits_fill_the_16(bits: int, channels: int) -> None:
    top = (1 << bits) - 1
    values = np.arange(600 * channels, dtype=np.uint16).reshape(20, 30, channels) * 37 % (top + 1)
    values[0, 0], values[0, 1] = 0, top
    values = values[..., 0] if channels == 1 else values
    read = photo.decode(made(values, bitspersample=bits))
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels, np.round(values / top * 65535))
    np.testing.assert_array_equal(again(read, "tif").pixels, read.pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_may_be_zero(dtype: str) -> None:
    top = {"uint8": 0xFF, "uint16": 0xFFFF, "float32": 1}[dtype]
    pixels = smooth(9, 9, dtype=dtype)
    read = photo.decode(made(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(read.pixels, pixels.dtype.type(top) - pixels)
    np.testing.assert_array_equal(again(read, "tif").pixels, read.pixels)


def test_white_may_be_zero_but_alpha_is_as_ever() -> None:
    pixels = smooth(9, 9, 2, dtype="uint16")
    read = photo.decode(made(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(read.pixels, 0xFFFF - pixels[..., 0])
    np.testing.assert_array_equal(read.alpha, pixels[..., 1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_channels_without_a_meaning_are_no_alpha(dtype: str) -> None:
    pixels = smooth(9, 9, 4, dtype=dtype)
    read = photo.decode(made(pixels, extrasamples=["unspecified"]))
    assert read.alpha is None
    np.testing.assert_array_equal(read.pixels, pixels[..., :3])
    read = photo.decode(made(np.ascontiguousarray(pixels[..., :2]), extrasamples=["unspecified"]))
    assert read.alpha is None
    np.testing.assert_array_equal(read.pixels, pixels[..., 0])


def test_premultiplied_alpha_is_divided_out_of_8_bits_and_else_refused() -> None:
    pixels = np.full((4, 4, 4), (50, 100, 25, 128), np.uint8)
    read = photo.decode(made(pixels, extrasamples=["assocalpha"]))
    assert read.pixels[0, 0].tolist() == pytest.approx([100, 199, 50], abs=1)
    assert read.alpha[0, 0] == 128
    with pytest.raises(InputError, match="premultiplied alpha of more than 8 bits"):
        photo.decode(made(pixels.astype(np.uint16), extrasamples=["assocalpha"]))


def with_pixel(value: float) -> np.ndarray:
    pixels = smooth(4, 4, 3, dtype="float32")
    pixels[1, 2, 0] = value
    return pixels


@pytest.mark.parametrize("value", [-0.001, 1.001, np.inf, -np.inf, np.nan])
def test_floats_that_are_no_part_of_white_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="floats outside of 0 to 1"):
        photo.decode(made(with_pixel(value)))
    np.testing.assert_array_equal(photo.decode(made(with_pixel(1))).pixels, with_pixel(1))


OTHERS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "int16": (smooth(4, 4).astype(np.int16), {}),
    "uint32": (smooth(4, 4).astype(np.uint32), {}),
    "int32": (smooth(4, 4, 3).astype(np.int32), {}),
    "float16": (smooth(4, 4, 3).astype(np.float16), {}),
    "float64": (smooth(4, 4, 3, dtype="float32").astype(np.float64), {}),
    "complex64": (smooth(4, 4).astype(np.complex64), {}),
    "CMYK": (smooth(4, 4, 4, dtype="uint16"), {"photometric": "separated", "extrasamples": ()}),
    "Lab": (smooth(4, 4, 3, dtype="uint16"), {"photometric": "cielab"}),
    "five channels": (np.zeros((4, 4, 5), np.uint16), {"extrasamples": [0, 0]}),
    "palette": (
        smooth(4, 4, dtype="uint16"),
        {"photometric": "palette", "colormap": np.zeros((3, 65536), np.uint16)},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_pixels_are_refused(name: str) -> None:
    pixels, options = OTHERS[name]
    with pytest.raises(InputError, match="is not handled"):
        photo.decode(made(pixels, **options))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_of_several_pages_the_first_is_taken_with_a_note(dtype: str) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in (smooth(5, 6, 3, dtype=dtype), np.zeros((9, 9), np.uint8)):
            writer.write(page)
    read = photo.decode(file.getvalue())
    assert read.notes == ("only the first of its pictures is taken",)
    np.testing.assert_array_equal(read.pixels, smooth(5, 6, 3, dtype=dtype))
    assert len(tifffile.TiffFile(io.BytesIO(encoded(read, "tif")[0])).pages) == 1


TAGS = [
    (270, 2, "a description, 7-bit"),
    (305, 2, "software 1.0"),
    (315, 2, "artist"),
    (306, 2, "2026:01:02 03:04:05"),
    (33432, 2, "copyright"),
    (33723, 4, (1, 2, 3)),
    (34377, 1, b"8BIM\x04\x04\0\0\0\0\0\4abcd"),
    (40091, 1, b"X\0P\0\0\0"),
    (50341, 7, b"PrintIM\0000300\0\0"),
    (65000, 12, (0.5, -1e300)),
    (65001, 3, tuple(range(100))),
    (65002, 9, (-5, 1 << 30)),
    (65003, 10, (-1, 3)),
    (65004, 11, (1.5,)),
    (65005, 8, (-300,)),
    (65006, 6, (-3,)),
    (65007, 1, b""),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tags_keep_their_types_and_values(order: str, big: bool, dtype: str) -> None:
    extra = []
    for tag, kind, value in TAGS:
        count = len(value) // (2 if kind == 10 else 1)
        extra.append((tag, kind, count, value, True))
    data = made(
        smooth(5, 6, 3, dtype=dtype),
        extratags=extra,
        byteorder=order,
        bigtiff=big,
        software=False,
        resolution=(240, 240),
        resolutionunit="INCH",
    )

    def tags(file: bytes) -> dict[int, tuple[int, object]]:
        page = tifffile.TiffFile(io.BytesIO(file)).pages[0]
        found = {tag.code: (tag.dtype.value, tag.value) for tag in page.tags}
        kept = {tag for tag, *_ in TAGS} | {282, 283, 296}
        return {tag: value for tag, value in found.items() if tag in kept}

    before, after = tags(data), tags(encoded(photo.decode(data), "tif")[0])
    assert len(before) >= len(TAGS)
    before.pop(65007, None)
    assert after == before
    # Elsewhere, they are EXIF.
    other = files.tags_of(photo.decode(encoded(photo.decode(data), "jpg")[0]).metadata.exif)
    assert other[270] == "a description, 7-bit"
    assert other[305] == "software 1.0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_goes_through_a_tiff_file_and_out_again(order: str) -> None:
    jpeg = photo.decode(files.carrying("jpg", exif=files.exif(3, order=order)))
    data, losses = encoded(jpeg, "tif")
    assert losses == ()
    assert data[:2] == (b"II" if order == "<" else b"MM")
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert page.tags[305].value == "firmware 1.0"
    assert page.tags[700].value == files.xmp(1)
    assert page.tags[34675].value == files.ICC
    assert 274 not in page.tags or page.tags[274].value == 1
    read = tiff.Directory.of(photo.decode(data).metadata.exif)
    first = tiff.Directory.of(files.exif(None, order=order))
    assert read.tags == first.tags
    assert {tag: below.tags for tag, below in read.below.items()} == {
        tag: below.tags for tag, below in first.below.items()
    }


def test_a_file_without_tags_has_no_metadata() -> None:
    read = photo.decode(content(files.PICTURE, "tif"))
    assert read.metadata.exif is None
    assert read.metadata.xmp is None
    assert read.metadata.icc is None
    assert encoded(read, "bmp")[1] == ()
    assert b"eXIf" not in encoded(read, "png")[0]


@pytest.mark.parametrize(("unit", "factor"), [("INCH", 1), ("CENTIMETER", 2.54), ("NONE", None)])
def test_resolutions_have_a_unit(unit: str, factor: float | None) -> None:
    data = made(smooth(4, 4, 3), resolution=(100, 50), resolutionunit=unit)
    wanted = factor and (100 * factor, 50 * factor)
    assert photo.decode(data).metadata.dpi == wanted
    assert again(photo.decode(data), "tif").metadata.dpi == wanted


def test_of_a_tag_that_is_there_twice_the_first_counts() -> None:
    # As libtiff has it; else it would decode a larger picture than was checked.
    data = bytearray(made(smooth(40, 30, dtype="uint16")))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    tags = [struct.unpack_from("<H", data, first + 2 + 12 * i)[0] for i in range(count)]
    at = first + 2 + 12 * tags.index(258)
    struct.pack_into("<HHII", data, at, 256, 4, 1, 3)
    assert tiff.Directory.of(bytes(data)).size == (30, 40)


def test_files_that_promise_no_size_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "x.tif"
    for tag in (256, 257):
        data = bytearray(made(smooth(4, 4, 3, dtype="uint16")))
        (first,) = struct.unpack_from("<I", data, 4)
        at = first + 2 + 12 * (tag - 256)
        assert struct.unpack_from("<H", data, at) == (tag,)
        struct.pack_into("<I", data, at + 8, 0)
        path.write_bytes(data)
        for attempt in (photo.read, photo.size):
            with pytest.raises(InputError, match="without a size"):
                attempt(path)


@pytest.mark.usefixtures("little_memory")
def test_tags_that_all_claim_the_whole_file_fill_no_memory() -> None:
    count = 20_000
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 7, 12 * count, 8) for tag in range(count))
    data = files.tiff_head("<") + struct.pack("<H", count) + entries + bytes(4)
    directory = tiff.Directory.of(data)
    assert sum(len(value) for _, value in directory.tags.values()) <= len(data)
    with pytest.raises(InputError):
        photo.decode(data)


@pytest.mark.slow
@given(st.binary(max_size=80) | damaged_exif() | st.sampled_from(tiff.SIGNATURES))
def test_any_bytes_have_a_directory_or_are_refused(data: bytes) -> None:
    try:
        directory = tiff.Directory.of(data)
    except InputError:
        return
    assert 1 <= directory.pages <= 2
    assert min(directory.size) >= 0
    assert isinstance(directory.is_deep, bool)
    metadata, turn = tiff.metadata_of(directory)
    assert 1 <= turn <= 8
    if metadata.exif:
        # What is written is read back, and is the same once written again.
        kept = tiff.Directory.of(metadata.exif)
        assert kept.tags == directory.without({*directory.tags} - {*kept.tags}).tags
        assert metadata.exif == metadata.exif[:8] + kept.dump(8)
    Photo(smooth(2, 2, 3), metadata=metadata)
    for suffix in ("tif", "png", "jpg"):
        read = again(Photo(smooth(2, 2, 3), metadata=metadata), suffix)
        assert read.pixels.shape == (2, 2, 3)
