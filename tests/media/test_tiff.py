"""tiff.py: pixels of every layout and depth, and metadata."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers import photo_files as files
from helpers.photo_files import (
    encode_image,
    encode_photo,
    gradient,
    open_with_pillow,
    round_trip,
)
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, photo, profiles
from zerodce_jax.media.photograph import Photo
from zerodce_jax.media.tiff_directory import Directory


def encode_with_tifffile(pixels: np.ndarray, **options: Any) -> bytes:
    """Encode a TIFF file with tifffile; the last of two or four channels is alpha."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    photometric = "rgb" if channels > 2 else "minisblack"
    defaults = {"photometric": photometric, "metadata": None, "planarconfig": "contig"}
    if channels in {2, 4}:
        defaults["extrasamples"] = ["unassalpha"]
    options = defaults | options
    if options["planarconfig"] == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def join_alpha(read: Photo) -> np.ndarray:
    """Return colors and alpha in one array."""
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


# Pillow does not read separate planes of 8-bit gray and alpha, which no known program writes.
CASES = [
    (layout, dtype, channels)
    for layout in LAYOUTS
    for dtype in ("uint8", "uint16", "float32")
    for channels in (1, 2, 3, 4)
    if "planar" not in layout or channels > 2 or (channels == 2 and dtype != "uint8")
]


@pytest.mark.parametrize(("layout", "dtype", "channels"), CASES)
def test_every_layout_is_read_and_written_again(layout: str, dtype: str, channels: int) -> None:
    pixels = gradient(37, 41, 4, dtype=dtype)[..., :channels]
    pixels = pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels)
    read = decoding.decode(encode_with_tifffile(pixels, **LAYOUTS[layout]))
    assert read.pixels.dtype == dtype
    assert (read.alpha is None) == (channels in {1, 3})
    np.testing.assert_array_equal(join_alpha(read), pixels)
    data, losses = encode_photo(read, "tif")
    assert losses == ()
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    np.testing.assert_array_equal(join_alpha(decoding.decode(data)), pixels)
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert page.compression.name == "ADOBE_DEFLATE"
    assert [kind.name for kind in page.extrasamples] == ["UNASSALPHA"] * (channels in {2, 4})
    if dtype == "uint8":
        np.testing.assert_array_equal(np.asarray(open_with_pillow(data)), pixels)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("channels", [1, 3])
def test_9_to_15_bits_are_expanded_to_16(bits: int, channels: int) -> None:
    top = (1 << bits) - 1
    values = np.arange(600 * channels, dtype=np.uint16).reshape(20, 30, channels) * 37 % (top + 1)
    values[0, 0], values[0, 1] = 0, top
    values = values[..., 0] if channels == 1 else values
    read = decoding.decode(encode_with_tifffile(values, bitspersample=bits))
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels, np.round(values / top * 65535))
    np.testing.assert_array_equal(round_trip(read, "tif").pixels, read.pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_is_zero_pixels_are_inverted(dtype: str) -> None:
    top = {"uint8": 0xFF, "uint16": 0xFFFF, "float32": 1}[dtype]
    pixels = gradient(9, 9, dtype=dtype)
    read = decoding.decode(encode_with_tifffile(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(read.pixels, pixels.dtype.type(top) - pixels)
    np.testing.assert_array_equal(round_trip(read, "tif").pixels, read.pixels)


def test_white_is_zero_leaves_alpha_unchanged() -> None:
    pixels = gradient(9, 9, 2, dtype="uint16")
    read = decoding.decode(encode_with_tifffile(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(read.pixels, 0xFFFF - pixels[..., 0])
    np.testing.assert_array_equal(read.alpha, pixels[..., 1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_unspecified_channels_are_dropped(dtype: str) -> None:
    pixels = gradient(9, 9, 4, dtype=dtype)
    read = decoding.decode(encode_with_tifffile(pixels, extrasamples=["unspecified"]))
    assert read.alpha is None
    np.testing.assert_array_equal(read.pixels, pixels[..., :3])
    read = decoding.decode(
        encode_with_tifffile(np.ascontiguousarray(pixels[..., :2]), extrasamples=["unspecified"])
    )
    assert read.alpha is None
    np.testing.assert_array_equal(read.pixels, pixels[..., 0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_alpha_is_divided_out(dtype: str) -> None:
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    parts = np.array([50, 100, 25, 128]) / 255
    pixels = np.full((4, 4, 4), parts * top).astype(dtype)
    pixels[0, 1] = 0
    read = decoding.decode(encode_with_tifffile(pixels, extrasamples=["assocalpha"]))
    expected = np.minimum(pixels[0, 0, :3] / pixels[0, 0, 3] * top, top)
    np.testing.assert_allclose(read.pixels[0, 0], expected, atol=0.51 if top > 1 else 1e-6)
    assert read.pixels[0, 1].tolist() == [0, 0, 0]
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, pixels[..., 3])


def with_pixel(value: float) -> np.ndarray:
    pixels = gradient(4, 4, 3, dtype="float32")
    pixels[1, 2, 0] = value
    return pixels


@pytest.mark.parametrize("value", [-0.001, 1.001, np.inf, -np.inf, np.nan])
def test_floats_outside_of_0_to_1_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="floats outside of 0 to 1"):
        decoding.decode(encode_with_tifffile(with_pixel(value)))
    np.testing.assert_array_equal(
        decoding.decode(encode_with_tifffile(with_pixel(1))).pixels, with_pixel(1)
    )


UNSUPPORTED: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "int16": (gradient(4, 4).astype(np.int16), {}),
    "uint32": (gradient(4, 4).astype(np.uint32), {}),
    "int32": (gradient(4, 4, 3).astype(np.int32), {}),
    "float16": (gradient(4, 4, 3).astype(np.float16), {}),
    "float64": (gradient(4, 4, 3, dtype="float32").astype(np.float64), {}),
    "complex64": (gradient(4, 4).astype(np.complex64), {}),
    "CMYK of floats": (gradient(4, 4, 4, dtype="float32"), {"photometric": "separated"}),
    "transparency mask": (gradient(4, 4), {"photometric": "mask"}),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_samples_are_refused(name: str) -> None:
    pixels, options = UNSUPPORTED[name]
    with pytest.raises(InputError, match="is not supported"):
        decoding.decode(encode_with_tifffile(pixels, **options))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cmyk_and_lab_are_converted_with_a_note(dtype: str) -> None:
    inks = gradient(9, 9, 4, dtype=dtype)
    read = decoding.decode(encode_with_tifffile(inks, photometric="separated", extrasamples=()))
    expected, note = profiles.from_cmyk(inks, None)
    np.testing.assert_array_equal(read.pixels, expected)
    assert (read.notes, read.metadata.icc) == ((note,), profiles.srgb())
    gray = gradient(9, 9, dtype=dtype)
    lab = np.dstack([gray, 0 * gray, 0 * gray])
    read = decoding.decode(encode_with_tifffile(lab, photometric="cielab"))
    assert read.notes == ("its L*a*b* colors are converted to sRGB",)
    top = np.iinfo(dtype).max
    # L* to linear light (CIE 1976), and the encoding of sRGB.
    lightness = gray / top * 100
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    encoded = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    np.testing.assert_allclose(read.pixels / top, np.dstack([encoded] * 3), atol=0.01)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), None])
def test_ycbcr_is_converted(subsampling: tuple[int, int] | None) -> None:
    rgb = gradient(32, 48, 3)
    data = encode_image(Image.fromarray(rgb), "tif", compression="jpeg", quality=100)
    read = decoding.decode(uncompressed_ycbcr(rgb, subsampling) if subsampling else data)
    assert np.abs(read.pixels.astype(int) - rgb).mean() < 2.5
    assert read.notes == (("its YCbCr colors are converted to RGB",) if subsampling else ())


def uncompressed_ycbcr(rgb: np.ndarray, subsampling: tuple[int, int]) -> bytes:
    """Return a file whose units of pixels hold their luma, and then their mean chroma."""
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    across, down = subsampling
    height, width = rgb.shape[:2]
    units = ycbcr.reshape(height // down, down, width // across, across, 3).swapaxes(1, 2)
    luma = units[..., 0].reshape(*units.shape[:2], -1)
    chroma = units[..., 1:].mean((2, 3)).round().astype(np.uint8)
    strip = np.concatenate([luma, chroma], axis=-1).tobytes()
    entries = [(256, 3, width), (257, 3, height), (258, 3, (8, 8, 8)), (259, 3, 1), (262, 3, 6)]
    entries += [(273, 4, 8), (277, 3, 3), (278, 3, height), (279, 4, len(strip))]
    entries += [(530, 3, subsampling), (532, 5, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))]
    at = 8 + len(strip)
    return files.tiff_head("<", at) + strip + files.directory("<", at, entries)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_palettes_are_looked_up(dtype: str) -> None:
    indices = gradient(4, 4, dtype=dtype)
    count = 1 << 8 * indices.itemsize
    colors = np.random.default_rng(0).integers(0, 65536, (3, count), dtype=np.uint16)
    read = decoding.decode(encode_with_tifffile(indices, photometric="palette", colormap=colors))
    np.testing.assert_array_equal(read.pixels, (colors >> 8).T.astype(np.uint8)[indices])


def test_channels_of_unknown_meaning_are_left_out_with_a_note() -> None:
    pixels = gradient(4, 4, 4)[..., [0, 1, 2, 3, 0]]
    read = decoding.decode(encode_with_tifffile(pixels, extrasamples=[0, 2]))
    assert read.notes == ("one channel of unknown meaning is not read",)
    np.testing.assert_array_equal(join_alpha(read), pixels[..., [0, 1, 2, 4]])


DAMAGED = {
    "group3": (gradient(64, 64) > 99, {}),
    "group4": (gradient(64, 64) > 99, {}),
    "tiff_ccitt": (gradient(64, 64) > 99, {}),
    "jpeg": (gradient(64, 64, 3), {}),
    "tiff_lzw": (gradient(64, 64, 3), {}),
    "tiff_adobe_deflate": (gradient(64, 64, 3), {}),
    "packbits": (gradient(64, 64, 3), {}),
    "raw": (gradient(64, 64, 3), {}),
}


CUT_OFF, ZERO = "half of a strip is missing", "half of a strip is zero"
# Plain samples and PackBits state nothing that zeros could contradict.
DAMAGES = [(name, CUT_OFF) for name in DAMAGED]
DAMAGES += [(name, ZERO) for name in DAMAGED.keys() - {"raw", "packbits"}]


@pytest.mark.parametrize(("compression", "kind"), sorted(DAMAGES))
def test_damaged_strips_are_refused(compression: str, kind: str) -> None:
    pixels, options = DAMAGED[compression]
    data = encode_image(Image.fromarray(pixels), "tif", compression=compression, **options)
    assert decoding.decode(data).pixels.shape == pixels.shape
    tags = open_with_pillow(data).tag_v2
    start, size = tags[273][0], tags[279][0]
    if kind == ZERO:
        half = start + size // 2
        damaged = data[:half] + bytes(size - size // 2) + data[start + size :]
    else:
        before = struct.pack("<HHII", 279, 4, 1, size)
        assert data.count(before) == 1
        damaged = data.replace(before, struct.pack("<HHII", 279, 4, 1, size // 2))
    with pytest.raises(InputError):
        decoding.decode(damaged)


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
    data = encode_with_tifffile(
        gradient(5, 6, 3, dtype=dtype),
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

    before, after = tags(data), tags(encode_photo(decoding.decode(data), "tif")[0])
    assert len(before) >= len(TAGS)
    before.pop(65007, None)
    assert after == before
    # In other formats, the tags are part of EXIF.
    other = files.exif_tags(
        decoding.decode(encode_photo(decoding.decode(data), "jpg")[0]).metadata.exif
    )
    assert other[270] == "a description, 7-bit"
    assert other[305] == "software 1.0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_unchanged_after_a_tiff_file(order: str) -> None:
    jpeg = decoding.decode(files.file_with_metadata("jpg", exif=files.exif(3, order=order)))
    data, losses = encode_photo(jpeg, "tif")
    assert losses == ()
    assert data[:2] == (b"II" if order == "<" else b"MM")
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    assert page.tags[305].value == "firmware 1.0"
    assert page.tags[700].value == files.xmp(1)
    assert page.tags[34675].value == files.ICC
    assert 274 not in page.tags or page.tags[274].value == 1
    read = Directory.parse(decoding.decode(data).metadata.exif)
    first = Directory.parse(files.exif(None, order=order))
    assert read.tags == first.tags
    assert {tag: child.tags for tag, child in read.subdirectories.items()} == {
        tag: child.tags for tag, child in first.subdirectories.items()
    }


def test_a_file_without_tags_has_no_metadata() -> None:
    read = decoding.decode(encode_image(files.IMAGE, "tif"))
    assert read.metadata.exif is None
    assert read.metadata.xmp is None
    assert read.metadata.icc is None
    assert encode_photo(read, "bmp")[1] == ()
    assert b"eXIf" not in encode_photo(read, "png")[0]


@pytest.mark.parametrize(("unit", "factor"), [("INCH", 1), ("CENTIMETER", 2.54), ("NONE", None)])
def test_resolutions_are_converted_to_dots_per_inch(unit: str, factor: float | None) -> None:
    data = encode_with_tifffile(gradient(4, 4, 3), resolution=(100, 50), resolutionunit=unit)
    expected = factor and (100 * factor, 50 * factor)
    assert decoding.decode(data).metadata.dpi == expected
    assert round_trip(decoding.decode(data), "tif").metadata.dpi == expected


def test_files_without_a_size_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "x.tif"
    for tag in (256, 257):
        data = bytearray(encode_with_tifffile(gradient(4, 4, 3, dtype="uint16")))
        (first,) = struct.unpack_from("<I", data, 4)
        at = first + 2 + 12 * (tag - 256)
        assert struct.unpack_from("<H", data, at) == (tag,)
        struct.pack_into("<I", data, at + 8, 0)
        path.write_bytes(data)
        for attempt in (photo.read, photo.size):
            with pytest.raises(InputError, match="without a size"):
                attempt(path)
