"""jpegxl.py: samples, color encodings, metadata and damage of JPEG XL files."""

import io

import imagecodecs
import numpy as np
import pytest

from helpers import photo_files as files
from helpers.photo_files import assert_same, encode_photo, gradient, round_trip
from zerodce_jax.errors import InputError
from zerodce_jax.media import boxes, decoding, jpegxl
from zerodce_jax.media.jpegxl_header import Header
from zerodce_jax.media.metadata import Metadata, upright_exif
from zerodce_jax.media.photograph import Photo

METADATA = Metadata(upright_exif(files.exif(1)), files.xmp(1), files.ICC)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30), (1, 1, 3), (16, 256)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_samples_and_metadata_are_kept(dtype: str, shape: tuple[int, ...], has_alpha: bool) -> None:
    # The encoder drops the colors of what is invisible.
    alpha = np.maximum(gradient(*shape[:2], dtype=dtype)[::-1], 1) if has_alpha else None
    source = Photo(gradient(*shape, dtype=dtype), alpha, metadata=METADATA)
    data, losses = encode_photo(source, "jxl")
    assert losses == ()
    read = decoding.decode(data)
    assert read.format == "jxl"
    assert_same(read, source, within=6 if dtype == "uint8" else 0)
    assert (read.metadata.exif, read.metadata.xmp) == (METADATA.exif, METADATA.xmp)
    assert decoding.measure(io.BytesIO(data)) == shape[1::-1]
    # The header declares the encoding of sRGB, whatever imagecodecs wrote there.
    assert Header.parse(jpegxl._codestream(data)).is_srgb


def test_files_without_loss_stay_without_loss() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    read = decoding.decode(bytes(imagecodecs.jpegxl_encode(noise, lossless=True)))
    assert_same(read, Photo(noise[..., :3], noise[..., 3]))
    assert_same(round_trip(read, "jxl"), read)


@pytest.mark.parametrize("bits", [1, 5, 10, 12])
def test_other_depths_fill_the_range(bits: int) -> None:
    deep = gradient(20, 30, 3, dtype="uint16") >> (16 - bits)
    samples = deep.astype(np.uint8) if bits <= 8 else deep
    data = bytes(imagecodecs.jpegxl_encode(samples, bitspersample=bits, usecontainer=False))
    codestream = jpegxl._codestream(data)
    read = decoding.decode(jpegxl._declare_srgb(codestream, is_gray=False) if bits > 8 else data)
    top = 255 if bits <= 8 else 65535
    assert read.pixels.dtype == samples.dtype
    np.testing.assert_allclose(read.pixels / top, deep / ((1 << bits) - 1), atol=0.5 / top)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("channels", [3, 4])
def test_linear_light_is_encoded(dtype: str, channels: int) -> None:
    # imagecodecs declares samples of more than 8 bits as linear.
    light = gradient(20, 30, channels, dtype=dtype)
    read = decoding.decode(bytes(imagecodecs.jpegxl_encode(light, lossless=True)))
    expected = light / (65535 if dtype == "uint16" else 1)
    colors = expected[..., :3]
    encoded = np.where(
        colors <= 0.0031308, 12.92 * colors, 1.055 * colors ** (1 / 2.4) - 0.055
    )  # IEC 61966-2-1
    np.testing.assert_allclose(read.pixels / 65535, encoded, atol=2e-5)
    if channels == 4:
        np.testing.assert_allclose(read.alpha / 65535, expected[..., 3], atol=2e-5)


def test_files_made_of_jpeg_files_are_read_as_these() -> None:
    jpeg = files.file_with_metadata("jpg")
    data = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True))
    expected, read = decoding.decode(jpeg), decoding.decode(data)
    assert read.format == "jxl"
    assert_same(read, expected)
    assert read.metadata.exif == expected.metadata.exif
    assert (read.metadata.xmp, read.metadata.icc) == (expected.metadata.xmp, files.ICC)


def test_colors_of_other_profiles_are_converted_with_a_message() -> None:
    adobe = Photo(gradient(20, 30, 3), metadata=Metadata(icc=imagecodecs.cms_profile("adobergb")))
    data, losses = encode_photo(adobe, "jxl")
    assert losses == ("jxl is written in sRGB; its colors are converted",)
    read = decoding.decode(data)
    # The red of Adobe RGB is stronger.
    assert read.pixels[..., 0].max() >= adobe.pixels[..., 0].max()
    damaged = Photo(adobe.pixels, metadata=Metadata(icc=b"no profile"))
    data, losses = encode_photo(damaged, "jxl")
    assert losses == ("jxl is written in sRGB; its color profile is damaged and is dropped",)
    assert_same(decoding.decode(data), Photo(adobe.pixels), within=3)


def test_files_in_parts_with_compressed_metadata_are_read() -> None:
    data, _ = encode_photo(Photo(gradient(20, 30, 3), metadata=METADATA), "jxl")
    parts = []
    for kind, content in boxes.parse(data):
        if kind == b"jxlc":
            parts += [(b"jxlp", bytes(4) + content[:9]), (b"jxlp", b"\x80\0\0\1" + content[9:])]
        elif kind in {b"Exif", b"xml "}:
            parts.append((b"brob", kind + imagecodecs.brotli_encode(content)))
        else:
            parts.append((kind, content))
    packed = decoding.decode(b"".join(boxes.serialize(*part) for part in parts))
    assert_same(packed, decoding.decode(data))
    assert packed.metadata == decoding.decode(data).metadata


def test_only_the_first_image_of_animations_is_read_with_a_note() -> None:
    frames = np.stack([gradient(20, 30, 3), gradient(20, 30, 3)[::-1]])
    read = decoding.decode(bytes(imagecodecs.jpegxl_encode(frames, lossless=True)))
    assert read.notes == ("only the first of its images is read",)
    assert_same(read, Photo(gradient(20, 30, 3)))


def test_damaged_files_raise_one_line() -> None:
    data, _ = encode_photo(Photo(gradient(20, 30, 3), metadata=METADATA), "jxl")
    for cut in range(12, len(data), 37):
        with pytest.raises(InputError, match="damaged image"):
            decoding.decode(data[:cut])
    with pytest.raises(InputError, match="30x20 pixels are more than the limit of 599"):
        decoding.decode(data, max_pixels=599)
