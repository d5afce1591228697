"""avif.py: depth, kinds of files, boxes of metadata, and damage."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers import photo_files as files
from helpers.photo_files import ALPHA, assert_same, encode_photo, gradient, open_with_pillow
from zerodce_jax.errors import InputError
from zerodce_jax.media import avif, boxes, decoding
from zerodce_jax.media.metadata import Metadata, upright_exif
from zerodce_jax.media.photograph import Photo

METADATA = Metadata(upright_exif(files.exif(1)), files.xmp(1), files.ICC)


def encode(pixels: np.ndarray, bits: int, chroma: str = "420") -> bytes:
    """Encode samples of 16 bits with fewer, without metadata."""
    samples = np.ascontiguousarray(pixels >> (16 - bits)).astype("u1" if bits == 8 else "u2")
    pixel_format = imagecodecs.AVIF.PIXEL_FORMAT[f"YUV{chroma}"]
    data = imagecodecs.avif_encode(samples, level=95, bitspersample=bits, pixelformat=pixel_format)
    return bytes(data)


def stored_as(data: bytes) -> tuple[int, str]:
    """Return the bits per sample and the chroma format that an AVIF file states."""
    av1 = data[data.index(b"av1C") + 4 :]
    chroma = {0: "444", 8: "422", 12: "420"}[av1[2] & 12]
    return 12 if av1[2] & 0x20 else 10 if av1[2] & 0x40 else 8, chroma


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
def test_depth_and_channels_are_kept(bits: int, channels: tuple[int, ...]) -> None:
    shape = (32, 40, *channels)
    deep = gradient(*shape, dtype="uint16")
    read = decoding.decode(encode(deep, bits))
    top = 255 if bits == 8 else 65535
    assert read.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert (read.pixels.ndim == 3) == (channels in {(3,), (4,)})
    assert (read.alpha is not None) == (channels in {(2,), (4,)})
    expected = deep if not channels else deep[..., 0] if channels == (2,) else deep[..., :3]
    assert np.abs(read.pixels / top - expected / 65535).mean() < 0.008
    written, losses = encode_photo(read, "avif")
    assert losses == ()
    assert stored_as(written)[0] == bits
    assert_same(decoding.decode(written), read, within=0.005 * top)


def test_deep_levels_survive() -> None:
    # Steps of a quarter of an 8-bit level.
    ramp = np.repeat(np.arange(0, 65536, 64, dtype=np.uint16)[None], 16, axis=0)
    read = decoding.decode(encode_photo(Photo(ramp), "avif")[0])
    assert len(np.unique(read.pixels)) > 900
    assert np.abs(read.pixels.astype(int) - ramp).max() <= 64


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_chroma_format_is_kept(chroma: str) -> None:
    read = decoding.decode(encode(gradient(32, 40, 3, dtype="uint16"), 10, chroma))
    assert stored_as(encode_photo(read, "avif")[0]) == (10, chroma)
    # From other formats, photographs become 4:2:0.
    assert stored_as(encode_photo(Photo(read.pixels), "avif")[0]) == (10, "420")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_other_decoders_read_the_metadata(dtype: str, alpha: np.ndarray | None) -> None:
    alpha = None if alpha is None else alpha.astype(dtype)
    source = Photo(gradient(20, 30, 3, dtype=dtype), alpha, metadata=METADATA)
    data, losses = encode_photo(source, "avif")
    assert losses == ()
    image = open_with_pillow(data)
    assert image.size == ImageOps.exif_transpose(image).size == (30, 20)
    assert image.info["exif"].removeprefix(b"Exif\0\0") == METADATA.exif
    assert image.info["xmp"] == METADATA.xmp
    assert image.info["icc_profile"] == METADATA.icc
    assert decoding.decode(data).metadata.exif == METADATA.exif


def test_files_that_pillow_refuses_are_read() -> None:
    # Some programs do not state the size of the alpha plane.
    data = encode(gradient(20, 30, 4, dtype="uint16"), 8)
    properties_of_alpha = struct.pack(">HBB", 2, 4, 1)
    assert data.count(properties_of_alpha) == 1
    data = data.replace(properties_of_alpha, struct.pack(">HBB", 2, 4, 0))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    expected = Photo(gradient(20, 30, 3), gradient(20, 30, 4)[..., 3])
    assert_same(decoding.decode(data), expected, within=4)
    assert decoding.measure(io.BytesIO(data)) == (30, 20)


def with_version_2(data: bytes) -> bytes:
    """Return the same file with boxes of the versions for large numbers, and the items in meta."""
    meta = avif._Meta.parse(data)
    parts = dict(boxes.parse(dict(boxes.parse(data))[b"meta"][4:]))
    location = struct.pack(">IHI", 2 << 24, 0x4480, len(meta.items))
    entries, shares, content = b"", b"", b""
    for number, item in meta.items.items():
        payload = meta.read(data, item)
        location += struct.pack(">IHHQHII", number, 1, 0, len(content), 1, 0, len(payload))
        content += payload
        entries += boxes.serialize(
            b"infe", struct.pack(">II", 3 << 24, number), bytes(2), item.kind, item.entry[12:]
        )
        short = [index & 0x7FFF for index in item.properties]
        shares += struct.pack(f">IB{len(short)}B", number, len(short), *short)
    parts[b"iloc"] = location
    parts[b"iinf"] = struct.pack(">II", 1 << 24, len(meta.items)) + entries
    parts[b"pitm"] = struct.pack(">II", 1 << 24, meta.primary)
    count = struct.pack(">II", 1 << 24, len(meta.items))
    shared = dict(boxes.parse(parts[b"iprp"])) | {b"ipma": count + shares}
    parts[b"iprp"] = b"".join(boxes.serialize(*part) for part in shared.items())
    parts[b"idat"] = content
    head = boxes.serialize(b"ftyp", dict(boxes.parse(data))[b"ftyp"])
    body = b"".join(boxes.serialize(*part) for part in parts.items())
    return head + boxes.serialize(b"meta", bytes(4), body)


def test_boxes_of_all_versions_are_read() -> None:
    data, _ = encode_photo(Photo(gradient(20, 30, 3), metadata=METADATA), "avif")
    expected, read = decoding.decode(data), decoding.decode(with_version_2(data))
    assert_same(read, expected)
    assert read.metadata == expected.metadata
    assert read.metadata.exif == METADATA.exif


def test_sequences_are_left_to_pillow() -> None:
    frames = [files.IMAGE.rotate(90), files.IMAGE.rotate(180)]
    data = files.encode_image(files.IMAGE, "avif", save_all=True, append_images=frames)
    assert not avif.is_still(data)
    sequence = decoding.decode(data).animation
    assert sequence is not None
    assert sequence.count == 3


def test_damaged_boxes_raise_one_line() -> None:
    data, _ = encode_photo(Photo(gradient(20, 30, 3), metadata=METADATA), "avif")
    for name in (b"meta", b"pitm", b"iinf", b"iloc", b"iprp", b"ipma", b"ispe"):
        with pytest.raises(InputError, match="damaged image"):
            decoding.decode(data.replace(name, b"skip"))
    for cut in range(40, data.index(b"mdat"), 7):
        with pytest.raises(InputError, match=r"damaged image|not an image"):
            decoding.decode(data[:cut])
