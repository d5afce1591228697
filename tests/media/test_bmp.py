"""bmp.py: bit fields, palettes of 2 bits, embedded files and transparency."""

import struct

import numpy as np
import pytest

from helpers.photo_files import IMAGE, encode_image, encode_photo, gradient, open_with_pillow
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding
from zerodce_jax.media.photograph import Photo

PLAIN, JPEG, PNG, BIT_FIELDS = 0, 4, 5, 3


def bmp(
    rows: bytes,
    size: tuple[int, int],
    bits: int,
    compression: int = PLAIN,
    *,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
) -> bytes:
    """Return a BMP file with a header of 40 bytes, or with masks in one of 56 bytes."""
    header = struct.pack("<iiHHIIiiII", *size, 1, bits, compression, len(rows), 0, 0, 0, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + 4 + len(header) + len(palette)
    head = b"BM" + struct.pack("<IIII", start + len(rows), 0, start, 4 + len(header))
    return head + header + palette + rows


FIELDS = {
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "8888, other order": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "2-10-10-10": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("top_down", [False, True])
def test_bit_fields_are_read(name: str, top_down: bool) -> None:
    bits, masks = FIELDS[name]
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 1 << bits, (3, 5), dtype=np.uint64)
    rows = numbers if top_down else numbers[::-1]
    padded = np.pad(rows.astype(f"<u{bits // 8}"), ((0, 0), (0, 5 * bits // 8 % 4 // 2)))
    height = -3 if top_down else 3
    read = decoding.decode(bmp(padded.tobytes(), (5, height), bits, BIT_FIELDS, masks=masks))
    full = np.iinfo(read.pixels.dtype).max
    assert full == (0xFFFF if "10" in name else 0xFF)
    stored = read.pixels if read.alpha is None else np.dstack([read.pixels, read.alpha])
    assert stored.shape == (3, 5, sum(mask > 0 for mask in masks))
    for channel, mask in enumerate(mask for mask in masks if mask):
        lowest = mask & -mask
        values = (numbers & mask) / lowest / (mask // lowest)
        np.testing.assert_array_equal(stored[..., channel], np.round(values * full))


def test_palettes_of_2_bits_are_read() -> None:
    colors = np.arange(16, dtype=np.uint8).reshape(4, 4) * 15
    rows = bytes([0b00_01_10_11, 0b11_00_00_00, 0, 0]) + bytes([0b11_11_00_01, 0b01_00_00_00, 0, 0])
    read = decoding.decode(bmp(rows, (5, 2), 2, palette=colors.tobytes()))
    indices = [[3, 3, 0, 1, 1], [0, 1, 2, 3, 3]]
    np.testing.assert_array_equal(read.pixels, colors[indices][..., 2::-1])


@pytest.mark.parametrize(("compression", "suffix"), [(JPEG, "jpg"), (PNG, "png")])
def test_embedded_files_are_read(compression: int, suffix: str) -> None:
    content = encode_image(IMAGE, suffix)
    read = decoding.decode(bmp(content, IMAGE.size, 0, compression))
    np.testing.assert_array_equal(read.pixels, decoding.decode(content).pixels)
    assert read.format == "bmp"
    with pytest.raises(InputError, match="without the file that it should hold"):
        decoding.decode(bmp(b"x" + content, IMAGE.size, 0, compression))


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_transparency_is_written_as_other_programs_read_it(shape: tuple[int, ...]) -> None:
    alpha = gradient(5, 7)[::-1].copy()
    data, losses = encode_photo(Photo(gradient(*shape), alpha), "bmp")
    assert losses == ()
    colors = gradient(*shape) if len(shape) == 3 else np.dstack([gradient(*shape)] * 3)
    reference = open_with_pillow(data)
    assert reference.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(reference), np.dstack([colors, alpha]))
    read = decoding.decode(data)
    np.testing.assert_array_equal(read.pixels, colors)
    np.testing.assert_array_equal(read.alpha, alpha)


def test_files_that_end_too_early_or_state_nonsense_are_refused() -> None:
    masks = FIELDS["8888"][1]
    whole = bmp(bytes(60), (5, 3), 32, BIT_FIELDS, masks=masks)
    assert decoding.decode(whole).pixels.shape == (3, 5, 3)
    with pytest.raises(InputError, match="ends too early"):
        decoding.decode(whole[:-1])
    with pytest.raises(InputError, match="ends within its masks"):
        decoding.decode(whole[:60])
    with pytest.raises(InputError, match="masks that are not whole"):
        decoding.decode(bmp(bytes(60), (5, 3), 32, BIT_FIELDS, masks=(5, *masks[1:])))
    with pytest.raises(InputError, match="without all of its colors"):
        decoding.decode(bmp(b"\xff" * 12, (5, 3), 2, palette=bytes(8)))
    with pytest.raises(InputError, match="0x3 pixels"):
        decoding.decode(bmp(bytes(60), (0, 3), 32, BIT_FIELDS, masks=masks))
    with pytest.raises(InputError, match="more than the limit"):
        decoding.decode(whole, max_pixels=14)
