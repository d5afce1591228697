"""Read and write JPEG 2000 with OpenJPEG, through imagecodecs, and its metadata.

imagecodecs decodes and encodes pixels only. Metadata are boxes around the codestream (ISO/IEC
15444-1, annex I); EXIF and XMP are in boxes of the type `uuid`.
"""

import struct
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media import boxes
from zerodce_jax.media.metadata import Metadata, make_upright, read_orientation
from zerodce_jax.media.samples import check_size, scale_bits

_CONTAINER = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_EXIF = b"JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# Contents of `colr`: the kind of the specification (a number, or an ICC profile), two bytes without
# a use here, and the number or the profile.
_NUMBER, _ICC_KINDS = 1, (2, 3)
_SRGB, _GRAY, _SYCC = 16, 17, 18


def is_jpeg2000(head: bytes) -> bool:
    """Return whether a file is JPEG 2000, by its first 32 bytes."""
    return head.startswith((_CONTAINER, _CODESTREAM))


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a JPEG 2000 file states, in pixels.

    Raises:
        InputError: The file is damaged.
    """
    return _read_header(data)[:2]


def decode(
    data: bytes, max_pixels: int
) -> tuple[Shaped[np.ndarray, "h w *channels"], Metadata, int]:
    """Return the samples of a file as stored, its metadata set upright, and the orientation.

    Samples are uint8, or, if the file has more than 8 bits, uint16.

    Raises:
        InputError: The file is damaged, has more than `max_pixels`, or has samples of a type that
            is not supported.
        imagecodecs.Jpeg2kError: The pixels are damaged.
    """
    import imagecodecs

    width, height, bits = _read_header(data)
    check_size(width, height, max_pixels)
    icc, plain = _take_profile(data)
    pixels = imagecodecs.jpeg2k_decode(plain)
    if pixels.dtype not in (np.uint8, np.uint16) or bits > 16:
        raise InputError(f"JPEG 2000 with samples of type {pixels.dtype} is not supported")
    if pixels.shape[:2] != (height, width) or pixels.shape[2:] not in {(), (2,), (3,), (4,)}:
        raise InputError(f"JPEG 2000 with an array of shape {pixels.shape} is not supported")
    if bits not in {8, 16}:
        pixels = scale_bits(pixels, bits)
    exif, xmp, other = b"", b"", []
    for kind, content in boxes.parse(data) if data.startswith(_CONTAINER) else ():
        if kind == b"uuid" and content.startswith(_EXIF):
            exif = content.removeprefix(_EXIF)
        elif kind == b"uuid" and content.startswith(_XMP):
            xmp = content.removeprefix(_XMP)
        elif kind in {b"uuid", b"xml "}:
            other.append((kind, content))
    native = MappingProxyType({"boxes": tuple(other)})
    return pixels, make_upright(exif, xmp, icc, native=native), read_orientation(exif, xmp)


def encode(pixels: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> bytes:
    """Encode gray or RGB samples (uint8 or uint16), with or without alpha, without loss.

    The metadata may hold the ``boxes`` that `decode` returned in `native`.
    """
    import imagecodecs

    plain = bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(pixels), level=0, reversible=True))
    blocks = [(_EXIF, metadata.exif), (_XMP, metadata.xmp)]
    added = [(b"uuid", name + block) for name, block in blocks if block]
    added += metadata.native.get("boxes", ())
    result = []
    for kind, content in boxes.parse(plain):
        if kind == b"jp2h":
            content = _describe(content, metadata.icc, pixels.shape[2:])
        result += [*(added if kind == b"jp2c" else ()), (kind, content)]
    return b"".join(boxes.serialize(*each) for each in result)


def _describe(header: bytes, icc: bytes | None, channels: tuple[int, ...]) -> bytes:
    """Return the content of `jp2h` with a color profile, and with the mark of an alpha channel."""
    parts = [part for part in boxes.parse(header) if part[0] != b"cdef"]
    if icc:
        colors = b"colr", bytes((_ICC_KINDS[0], 0, 0)) + icc
        parts = [colors if kind == b"colr" else (kind, content) for kind, content in parts]
    if channels in {(2,), (4,)}:
        # Each entry is a channel, its kind (0 is color, 1 is opacity) and what it belongs to.
        last = channels[0] - 1
        entries = [(channel, 0, channel + 1) for channel in range(last)] + [(last, 1, 0)]
        content = struct.pack(">H", len(entries))
        parts.append(
            (b"cdef", content + b"".join(struct.pack(">HHH", *entry) for entry in entries))
        )
    return b"".join(boxes.serialize(*part) for part in parts)


def _take_profile(data: bytes) -> tuple[bytes | None, bytes]:
    """Return the color profile of a file, and the file without it.

    imagecodecs would convert the colors of a file with a profile.

    Raises:
        InputError: The colors are neither gray, RGB nor sYCC.
    """
    if not data.startswith(_CONTAINER):
        return None, data
    icc, result = None, []
    for outer, content in boxes.parse(data):
        parts = []
        for kind, part in boxes.parse(content) if outer == b"jp2h" else ():
            if kind == b"colr" and part[:1] and part[0] in _ICC_KINDS:
                icc = part[3:]
                # The profile states for which colors it is.
                number = {b"GRAY": _GRAY, b"RGB ": _SRGB}.get(icc[16:20], 0)
                part = struct.pack(">BBBI", _NUMBER, 0, 0, number)
            if kind == b"colr" and int.from_bytes(part[3:7], "big") not in (_SRGB, _GRAY, _SYCC):
                raise InputError("JPEG 2000 with other colors than gray and RGB is not supported")
            parts.append(boxes.serialize(kind, part))
        result.append(boxes.serialize(outer, b"".join(parts) if parts else content))
    return icc, b"".join(result)


def _read_header(data: bytes) -> tuple[int, int, int]:
    """Return width, height and bits per sample, from the beginning of the codestream."""
    start = data.find(_CODESTREAM)
    if start < 0 or start + 43 > len(data):
        raise InputError("damaged image (JPEG 2000 without a codestream)")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    if right <= left or bottom <= top:
        raise InputError("damaged image (JPEG 2000 without a size)")
    return right - left, bottom - top, (data[start + 42] & 0x7F) + 1
