"""samples.py: sample types, orientation and alpha, checked through photo.py."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers import photo_files as files
from helpers.photo_files import (
    ALPHA,
    LOSSLESS_SUFFIXES,
    METADATA_SUFFIXES,
    assert_same,
    encode_image,
    encode_photo,
    gradient,
    open_with_pillow,
    round_trip,
)
from zerodce_jax.media import decoding
from zerodce_jax.media.photograph import Photo


def turn(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return an upright image as a camera with an orientation stores it."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("source", ["exif", "xmp", "xmp element", "both"])
@pytest.mark.parametrize("suffix", METADATA_SUFFIXES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_upright_and_written_with_orientation_1(
    suffix: str, orientation: int, source: str
) -> None:
    upright = np.zeros((64, 128, 3), np.uint8)
    upright[:32, :64], upright[32:, :64], upright[32:, 64:] = 250, (120, 60, 60), 170
    stored = Image.fromarray(np.ascontiguousarray(turn(upright, orientation)))
    metadata = {}
    if source in {"exif", "both"}:
        metadata["exif"] = files.exif(orientation, thumbnail=files.THUMBNAIL)
    if source != "exif":
        metadata["xmp"] = files.xmp(orientation, as_element=source == "xmp element")
    read = decoding.decode(encode_image(stored, suffix, **metadata))
    assert_same(read, Photo(upright), within=0 if suffix in LOSSLESS_SUFFIXES else 2)
    for other in METADATA_SUFFIXES if source == "both" else (suffix,):
        data, _ = encode_photo(read, other)
        image = open_with_pillow(data)
        assert image.getexif().get(files.ORIENTATION, 1) == 1
        assert image.info.get("original_orientation") in {None, 1}
        assert ImageOps.exif_transpose(image).size == image.size == (128, 64)
        for value in (image.info.get("xmp"), data):
            assert b"tiff:Orientation" not in (value or b"").replace(
                b'tiff:Orientation="1"', b""
            ).replace(b"<tiff:Orientation>1</tiff:Orientation>", b"")


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_samples_are_rounded_for_formats_of_8_bits(suffix: str, dtype: str) -> None:
    deep = Photo(gradient(24, 24, 3, dtype=dtype), gradient(24, 24, dtype=dtype))
    top = 1.0 if dtype == "float32" else 65535.0
    rounded = [np.floor(x / top * 255 + 0.5).astype(np.uint8) for x in (deep.pixels, deep.alpha)]
    data, _ = encode_photo(deep, suffix)
    assert data == encode_photo(Photo(*rounded), suffix)[0]


def test_floats_are_written_as_16_bits_in_png() -> None:
    deep = Photo(gradient(9, 9, 3, dtype="float32"), gradient(9, 9, dtype="float32"))
    read = round_trip(deep, "png")
    assert read.pixels.dtype == read.alpha.dtype == np.uint16
    np.testing.assert_allclose(read.pixels / 65535, deep.pixels, atol=1 / 65535)


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_jpeg_drops_alpha_with_a_message(shape: tuple[int, ...]) -> None:
    data, losses = encode_photo(Photo(gradient(*shape), ALPHA), "jpg")
    assert losses == ("jpeg does not support transparency, which is dropped",)
    assert decoding.decode(data).alpha is None
    assert decoding.decode(data).pixels.shape == shape
