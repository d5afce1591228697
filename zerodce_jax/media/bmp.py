"""Read and write BMP files of kinds that Pillow lacks: bit fields, 2-bit palettes, transparency.

A BMP file is a header of 14 bytes, a bitmap header whose length tells its version, masks or a
palette, and rows, the bottom one first.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Shaped, UInt8

from zerodce_jax.errors import InputError
from zerodce_jax.media.metadata import plausible_dpi

MAX_HEADER = 1 << 11
"""Number of bytes at the beginning of a file that hold what `parse_header` needs."""
_START = struct.Struct("<2xI4xI")
_BITMAP = struct.Struct("<IiiHHIIiiII")
# Values of the field "compression". The last one is that of Windows CE, with a mask for alpha.
_PLAIN, _JPEG, _PNG, _BIT_FIELDS = 0, 4, 5, (3, 6)
# Lengths of the bitmap headers that hold masks, for colors alone and with alpha.
_WITH_MASKS, _WITH_ALPHA_MASK, _VERSION_4 = 52, 56, 108


@dataclass(frozen=True)
class Header:
    """What the headers of a BMP file state."""

    width: int
    height: int
    """Number of rows."""
    is_top_down: bool
    bits: int
    """Number of bits of a pixel."""
    compression: int
    dpi: tuple[float, float] | None
    """Horizontal and vertical resolution, in dots per inch, or None."""
    at: int
    """Position of the pixels."""
    length: int
    """Number of bytes of the pixels, if they are a JPEG or PNG file."""
    masks: tuple[int, ...] = ()
    """Bits of red, green, blue and perhaps alpha in the number that each pixel is."""
    palette: bytes = b""
    """Blue, green, red and a spare byte of each color."""

    def embedded(self, data: bytes) -> bytes | None:
        """Return the JPEG or PNG file that holds the pixels, or None if they are stored as rows.

        Raises:
            InputError: There is no such file.
        """
        if self.compression not in {_JPEG, _PNG}:
            return None
        content = data[self.at : self.at + self.length if self.length else None]
        if not content.startswith(b"\xff\xd8" if self.compression == _JPEG else b"\x89PNG"):
            raise InputError("damaged image (BMP without the file that it should hold)")
        return content


def parse_header(data: bytes) -> Header | None:
    """Parse the headers of a BMP file that Pillow does not read in full, or return None.

    Raises:
        InputError: The file states a size of 0, or ends within the masks.
    """
    if not data.startswith(b"BM") or len(data) < 14 + _BITMAP.size:
        return None
    _, at = _START.unpack_from(data)
    version, width, height, _, bits, compression, length, *rest = _BITMAP.unpack_from(data, 14)
    is_plain_palette = compression == _PLAIN and bits == 2
    is_embedded = compression in {_JPEG, _PNG}
    if version < _BITMAP.size or not (
        is_plain_palette or is_embedded or (compression in _BIT_FIELDS and bits in {16, 32})
    ):
        return None
    if width <= 0 or not height:
        raise InputError(f"damaged image (BMP of {width}x{height} pixels)")
    dpi = plausible_dpi(*(0.0254 * dots for dots in rest[:2]))
    header = Header(width, abs(height), height < 0, bits, compression, dpi, at, length)
    after = 14 + _BITMAP.size
    if is_plain_palette:
        return replace(header, palette=data[14 + version : at][: 4 << bits])
    if is_embedded:
        return header
    has_alpha = version >= _WITH_ALPHA_MASK or compression == 6
    count = 4 if has_alpha else 3
    if after + 4 * count > len(data):
        raise InputError("damaged image (BMP that ends within its masks)")
    return replace(header, masks=struct.unpack_from(f"<{count}I", data, after))


def decode(data: bytes, header: Header) -> Shaped[np.ndarray, "h w channels"]:
    """Decode the pixels of a file: RGB, with or without alpha, of the type uint8 or uint16.

    Raises:
        InputError: The file is damaged.
    """
    stride = -(-header.width * header.bits // 32) * 4
    stored = data[header.at : header.at + stride * header.height]
    if len(stored) < stride * header.height:
        raise InputError("damaged image (BMP that ends too early)")
    rows = np.frombuffer(stored, np.uint8).reshape(header.height, stride)
    rows = rows if header.is_top_down else rows[::-1]
    if not header.masks:
        return _look_up(rows, header)
    numbers = np.ascontiguousarray(rows).view("<u4" if header.bits == 32 else "<u2")
    numbers = numbers[:, : header.width]
    # A mask of 0 states that the pixels have no alpha.
    masks = header.masks if header.masks[3:] != (0,) else header.masks[:3]
    tops = [mask >> _lowest_bit(mask) for mask in masks]
    if 0 in tops or any(top & (top + 1) for top in tops):
        raise InputError("damaged image (BMP with masks that are not whole)")
    full = 0xFF if max(tops) <= 0xFF else 0xFFFF
    pixels = np.empty((*numbers.shape, len(masks)), np.uint8 if full == 0xFF else np.uint16)
    for channel, (mask, top) in enumerate(zip(masks, tops, strict=True)):
        values = ((numbers & mask) >> _lowest_bit(mask)).astype(np.uint64)
        pixels[..., channel] = (values * full + top // 2) // top
    return pixels


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1 if mask else 0


def _look_up(rows: UInt8[np.ndarray, "h stride"], header: Header) -> UInt8[np.ndarray, "h w 3"]:
    """Return the colors of a palette of 2 bits."""
    indices = (rows[:, :, None] >> np.array([6, 4, 2, 0], np.uint8)) & 3
    indices = indices.reshape(len(rows), -1)[:, : header.width]
    colors = np.frombuffer(header.palette[: len(header.palette) // 4 * 4], np.uint8).reshape(-1, 4)
    if indices.max() >= len(colors):
        raise InputError("damaged image (BMP: a palette without all of its colors)")
    return colors[:, 2::-1][indices]


def encode_transparent(
    pixels: UInt8[np.ndarray, "h w channels"], dpi: tuple[float, float] | None
) -> bytes:
    """Encode gray or RGB with alpha as a file of version 4, with 32 bits for each pixel.

    Raises:
        InputError: The file would be larger than BMP supports (4 GiB).
    """
    height, width, channels = pixels.shape
    start = 14 + _VERSION_4
    if start + 4 * height * width >= 1 << 32:
        raise InputError(f"bmp cannot hold {width}x{height} pixels; write png or tiff")
    order = [2, 1, 0, 3] if channels == 4 else [0, 0, 0, 1]
    rows = np.ascontiguousarray(pixels[::-1, :, order]).tobytes()
    dots = (round(value / 0.0254) for value in dpi or (0, 0))
    head = b"BM" + struct.pack(
        "<IIIIiiHH", start + len(rows), 0, start, _VERSION_4, width, height, 1, 32
    )
    head += struct.pack("<IIiiII", _BIT_FIELDS[0], len(rows), *dots, 0, 0)
    # Masks of red, green, blue and alpha, and the color space, "sRGB".
    head += struct.pack("<5I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742)
    return head.ljust(start, b"\0") + rows
