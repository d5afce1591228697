"""Read and write JPEG XL with libjxl, through imagecodecs, and its metadata.

imagecodecs decodes and encodes pixels only. EXIF and XMP are boxes of the file (ISO/IEC 18181-2),
and the color encoding is in the header of the codestream.
"""

from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media import boxes, profiles
from zerodce_jax.media.jpegxl_header import D65, GRAY, SRGB, Bits, Header
from zerodce_jax.media.metadata import Metadata, make_upright
from zerodce_jax.media.samples import check_size, convert, scale_bits

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_FILE_TYPE = b"jxl \0\0\0\0jxl "
# The level of files with more than 12 bits per sample.
_LEVEL = b"\x0a"
_QUALITY, _LOSSLESS_EFFORT = 90, 3
_MAX_METADATA = 1 << 24


def is_jpegxl(head: bytes) -> bool:
    """Return whether a file is JPEG XL, by its first 32 bytes."""
    return head.startswith((_CONTAINER, _CODESTREAM))


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a JPEG XL file states, as stored, in pixels.

    Raises:
        InputError: The file is damaged.
    """
    header = Header.parse(_codestream(data))
    return header.width, header.height


def jpeg(data: bytes) -> bytes | None:
    """Return the JPEG file that a file was made of without loss, or None for other files."""
    import imagecodecs

    if not data.startswith(_CONTAINER) or b"jbrd" not in dict(boxes.parse(data)):
        return None
    return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))


def decode(
    data: bytes, max_pixels: int
) -> tuple[Shaped[np.ndarray, "h w *channels"], Metadata, tuple[str, ...]]:
    """Return upright samples of the first image, the metadata and messages of one line each.

    Samples are uint8, or, if the file has more than 8 bits, uint16.

    Raises:
        InputError: The file is damaged, has more than `max_pixels`, or has colors or floats that
            are not supported.
        imagecodecs.JpegxlError: The pixels are damaged.
    """
    import imagecodecs

    header = Header.parse(_codestream(data))
    check_size(header.width, header.height, max_pixels)
    if header.has_profile or not (header.is_srgb or header.is_linear):
        raise InputError("JPEG XL with other colors than those of sRGB is not supported")
    # Decoders turn the image upright as the header says, whatever EXIF says.
    pixels = imagecodecs.jpegxl_decode(data, index=0)
    if pixels.dtype.kind == "f":
        if not (header.is_linear and np.isfinite(pixels).all()):
            raise InputError("JPEG XL with floats is supported for linear light only")
        pixels = np.clip(pixels, 0, 1).astype(np.float32)
    elif header.bits not in {8, 16}:
        pixels = scale_bits(pixels, header.bits)
    if header.is_linear:
        has_alpha = pixels.shape[2:] in {(2,), (4,)}
        light = convert(pixels[..., :-1] if has_alpha else pixels, np.float32)
        encoded = convert(_encode_srgb(light), np.uint16)
        alpha = convert(pixels[..., -1:], np.uint16)
        pixels = np.concatenate([encoded, alpha], axis=-1) if has_alpha else encoded
    found = dict(_metadata_boxes(data))
    exif = found.get(b"Exif", b"")
    exif = exif[4 + int.from_bytes(exif[:4], "big") :]
    native = {} if header.is_xyb else {"lossless": True}
    metadata = make_upright(exif, found.get(b"xml ", b""), None, native=MappingProxyType(native))
    notes = ("only the first of its images is read",) if header.is_animated else ()
    return pixels, metadata, notes


def encode(
    pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata, losses: list[str]
) -> bytes:
    """Encode gray or RGB samples (uint8 or uint16), with or without alpha, and metadata.

    Samples of 16 bits, and those of files without loss, are written without loss. Colors of other
    profiles are converted to sRGB, of which `losses` receives a message.
    """
    import imagecodecs

    pixels = np.ascontiguousarray(pixels)
    if metadata.icc and not profiles.is_srgb(metadata.icc):
        pixels, message = profiles.from_rgb(pixels, metadata.icc)
        losses.append(f"jxl is written in sRGB; {message}")
    if pixels.dtype == np.uint16 or "lossless" in metadata.native:
        plain = imagecodecs.jpegxl_encode(pixels, lossless=True, effort=_LOSSLESS_EFFORT)
    else:
        plain = imagecodecs.jpegxl_encode(pixels, level=_QUALITY)
    codestream = _codestream(bytes(plain))
    parts = [(b"ftyp", _FILE_TYPE)]
    if pixels.dtype == np.uint16:
        # imagecodecs declares that samples of 16 bits are linear light.
        codestream = _declare_srgb(codestream, is_gray=pixels.shape[2:] not in {(3,), (4,)})
        parts.append((b"jxll", _LEVEL))
    if metadata.exif:
        parts.append((b"Exif", bytes(4) + metadata.exif))
    if metadata.xmp:
        parts.append((b"xml ", metadata.xmp))
    parts.append((b"jxlc", codestream))
    return _CONTAINER + b"".join(boxes.serialize(*part) for part in parts)


def _declare_srgb(codestream: bytes, *, is_gray: bool) -> bytes:
    """Return a codestream of libjxl with the color encoding of sRGB in its header."""
    header = Header.parse(codestream)
    start, end = header.colors
    # Behind the color encoding are no extensions (2 bits) and the mark of default transforms.
    bits = Bits(codestream)
    bits.at = end
    assert bits.take(2) == 0
    assert bits.take(1) == 1
    fields = [(0, 1), (0, 1), (GRAY, 2), (D65, 2), (0, 1), (2, 2), (SRGB - 2, 4), (1, 2)]
    colors = fields if is_gray else [(1, 1)]
    value, at = bits.value & ((1 << start) - 1), start
    for number, length in [*colors, (0, 2), (1, 1)]:
        value |= number << at
        at += length
    # The frames start at a byte.
    return value.to_bytes(-(-at // 8), "little") + codestream[-(-bits.at // 8) :]


def _codestream(data: bytes) -> bytes:
    if not data.startswith(_CONTAINER):
        return data
    parts = [
        content if kind == b"jxlc" else content[4:]
        for kind, content in boxes.parse(data)
        if kind in {b"jxlc", b"jxlp"}
    ]
    return b"".join(parts)


def _metadata_boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and the content of the boxes of EXIF and XMP, decompressed."""
    import imagecodecs

    found = []
    for kind, content in boxes.parse(data) if data.startswith(_CONTAINER) else ():
        if kind == b"brob" and content[:4] in {b"Exif", b"xml "}:
            unpacked = imagecodecs.brotli_decode(content[4:], out=_MAX_METADATA)
            found.append((content[:4], bytes(unpacked)))
        elif kind in {b"Exif", b"xml "}:
            found.append((kind, content))
    return found


def _encode_srgb(light: Float32[np.ndarray, "h w *channels"]) -> np.ndarray:
    """Return the sRGB encoding of linear light (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(
        np.float32
    )
