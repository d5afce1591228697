"""heif.py: HEIC files of 10 and 12 bits."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from helpers import photo_files as files
from helpers.photo_files import assert_same, encode_photo, gradient, open_with_pillow
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, heif
from zerodce_jax.media.metadata import Metadata, upright_exif
from zerodce_jax.media.photograph import Photo

pytestmark = pytest.mark.needs("pillow_heif")
METADATA = Metadata(upright_exif(files.exif(1)), files.xmp(1), files.ICC)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("shape", [(32, 40, 3), (32, 40)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_deep_files_stay_deep(bits: int, shape: tuple[int, ...], has_alpha: bool) -> None:
    alpha = gradient(32, 40, dtype="uint16")[::-1] if has_alpha else None
    metadata = replace(METADATA, native=MappingProxyType({"bits": bits}))
    source = Photo(gradient(*shape, dtype="uint16"), alpha, "heif", metadata)
    data, losses = encode_photo(source, "heic")
    assert losses == ()
    assert open_with_pillow(data).info["bit_depth"] == bits
    read = decoding.decode(data)
    assert read.notes == ()
    colors = np.dstack([source.pixels] * 3) if has_alpha and len(shape) == 2 else source.pixels
    assert_same(read, Photo(colors, alpha), within=700)
    assert dict(read.metadata.native) == {"bits": bits}
    assert read.metadata.exif == METADATA.exif
    assert (read.metadata.xmp, read.metadata.icc) == (METADATA.xmp, METADATA.icc)


def test_white_and_black_are_kept() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 1024).astype(np.uint16)[None], 16, axis=0)
    read = decoding.decode(encode_photo(Photo(ramp), "heic")[0])
    assert len(np.unique(read.pixels)) > 700
    assert (read.pixels.min(), read.pixels.max()) == (0, 65535)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_large_images_are_made_of_tiles(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heif.tile_options(16_384, 8_192) == {}
    assert heif.tile_options(16_384, 12_288) == {"tile_size": 1024}
    assert heif.tile_options(60_000, 5_000)["tile_size"] == 1024
    assert heif.tile_options(65_000, 65_000)["tile_size"] == 4096
    monkeypatch.setattr(heif, "MAX_PIXELS_IN_ONE", 5_000)
    monkeypatch.setattr(heif, "_TILE", 64)
    source = Photo(gradient(80, 100, 3, dtype=dtype))
    data, _ = encode_photo(source, "heic")
    assert b"grid" in data
    assert_same(decoding.decode(data), source, within=3 if dtype == "uint8" else 700)
    alpha = gradient(80, 100, dtype=dtype)
    with pytest.raises(InputError, match=r"cannot hold 100x80 pixels with transparency.*--format"):
        encode_photo(Photo(source.pixels, alpha), "heic")
