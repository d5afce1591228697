"""jpeg2000.py: samples, colors, metadata and damage of JPEG 2000 files."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from helpers import photo_files as files
from helpers.photo_files import assert_same, encode_photo, gradient, open_with_pillow, round_trip
from zerodce_jax.errors import InputError
from zerodce_jax.media import boxes, decoding
from zerodce_jax.media.metadata import Metadata, upright_exif
from zerodce_jax.media.photograph import Photo

METADATA = Metadata(
    upright_exif(files.exif(1)), files.xmp(1), bytes(imagecodecs.cms_profile("adobergb"))
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30), (1, 1, 3), (4, 4, 3), (3, 64)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_samples_and_metadata_are_kept(dtype: str, shape: tuple[int, ...], has_alpha: bool) -> None:
    alpha = gradient(*shape[:2], dtype=dtype)[::-1] if has_alpha else None
    source = Photo(gradient(*shape, dtype=dtype), alpha, metadata=METADATA)
    data, losses = encode_photo(source, "jp2")
    assert losses == ()
    read = decoding.decode(data)
    assert read.format == "jp2"
    # A profile does not change the samples.
    assert_same(read, source)
    for name in ("exif", "xmp", "icc"):
        assert getattr(read.metadata, name) == getattr(METADATA, name)
    assert decoding.measure(io.BytesIO(data)) == shape[1::-1]
    if dtype == "uint8":
        samples = source.pixels if alpha is None else np.dstack([source.pixels, alpha])
        np.testing.assert_array_equal(np.asarray(open_with_pillow(data)), samples)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "YCbCr"])
def test_files_of_other_encoders_are_read(mode: str) -> None:
    image, file = Image.fromarray(gradient(20, 30, 4)).convert(mode), io.BytesIO()
    image.save(file, format="JPEG2000")
    read = decoding.decode(file.getvalue())
    samples = read.pixels if read.alpha is None else np.dstack([read.pixels, read.alpha])
    expected = np.asarray(image.convert("RGB") if mode == "YCbCr" else image)
    assert np.abs(samples.astype(int) - expected).max() <= (2 if mode == "YCbCr" else 0)


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_other_depths_fill_the_range(bits: int) -> None:
    deep = gradient(20, 30, 3, dtype="uint16") >> (16 - bits)
    samples = deep.astype(np.uint8) if bits <= 8 else deep
    read = decoding.decode(bytes(imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits)))
    top = 255 if bits <= 8 else 65535
    np.testing.assert_allclose(read.pixels / top, deep / ((1 << bits) - 1), atol=0.5 / top)


def test_photographs_are_turned_upright() -> None:
    plain, _ = encode_photo(Photo(gradient(20, 30, 3)), "jp2")
    added = boxes.serialize(b"uuid", b"JpgTiffExif->JP2", files.exif(6))
    at = plain.index(b"jp2c") - 4
    read = decoding.decode(plain[:at] + added + plain[at:])
    np.testing.assert_array_equal(read.pixels, np.rot90(gradient(20, 30, 3), -1))
    assert read.metadata.exif == upright_exif(files.exif(6))


def test_other_boxes_are_kept_unless_the_photograph_is_stripped() -> None:
    plain, _ = encode_photo(Photo(gradient(20, 30, 3)), "jp2")
    at = plain.index(b"jp2c") - 4
    box = boxes.serialize(b"xml ", b"<place>here</place>")
    read = decoding.decode(plain[:at] + box + plain[at:])
    assert box in encode_photo(read, "jp2")[0]
    assert b"place" not in encode_photo(read.stripped(), "jp2")[0]


def test_codestreams_without_boxes_are_read() -> None:
    data = imagecodecs.jpeg2k_encode(gradient(20, 30, 3), level=0, codecformat="j2k")
    read = decoding.decode(bytes(data))
    assert_same(read, Photo(gradient(20, 30, 3)))
    assert_same(round_trip(read, "jp2"), read)


def test_damaged_files_and_other_colors_raise_one_line() -> None:
    data, _ = encode_photo(Photo(gradient(20, 30, 3), metadata=METADATA), "jp2")
    for cut in (20, 60, data.index(b"jp2c") + 10, data.index(b"jp2c") + 60):
        with pytest.raises(InputError, match="damaged image"):
            decoding.decode(data[:cut])
    plain, _ = encode_photo(Photo(gradient(20, 30, 3)), "jp2")
    with pytest.raises(InputError, match="other colors than gray and RGB"):
        decoding.decode(plain.replace(b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0\0\0\0\x0c"))
    with pytest.raises(InputError, match="30x20 pixels are more than the limit of 599"):
        decoding.decode(data, max_pixels=599)
