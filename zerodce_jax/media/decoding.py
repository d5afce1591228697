"""Decode the content of image files: choose the decoder, and return what it finds as a `Photo`.

`pillow` handles most files; the other modules handle those that Pillow cannot.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from zerodce_jax.errors import InputError, codec_errors
from zerodce_jax.media import (
    animation,
    attachments,
    avif,
    bmp,
    heif,
    jpeg2000,
    jpegxl,
    pillow,
    png,
    profiles,
    raw,
    samples,
    tiff,
)
from zerodce_jax.media.animation import Animation, Frame
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.photograph import Pages, Photo
from zerodce_jax.media.tiff_directory import SIGNATURES, Directory, Page, find_pages

# Of files that Pillow may not read, by their first 32 bytes.
_OWN = (avif.is_avif, jpeg2000.is_jpeg2000, jpegxl.is_jpegxl, raw.has_signature)


def measure(
    file: io.BytesIO | io.BufferedReader, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Return what `size` returns, for an open file, which messages of errors do not name."""
    with codec_errors():
        head = file.read(bmp.MAX_HEADER)
        file.seek(0)
        if header := bmp.parse_header(head):
            samples.check_size(header.width, header.height, max_pixels)
            return header.width, header.height
        if not any(is_own(head[:32]) for is_own in _OWN):
            return pillow.open_image(file, max_pixels).size
        data = file.read()
        if avif.is_still(data):
            found = avif.size(data)
        elif jpegxl.is_jpegxl(head):
            found = jpegxl.size(data)
        elif jpeg2000.is_jpeg2000(head):
            found = jpeg2000.size(data)
        elif raw.is_raw(data):
            found = raw.size(data)
        elif data.startswith(SIGNATURES):
            found = _tiff_directory(data, find_pages(data)[0][0], max_pixels).size
        else:
            found = pillow.open_image(io.BytesIO(data), max_pixels).size
        samples.check_size(*found, max_pixels)
        return found


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode the content of an image file; see `read`. Messages of errors do not name the file."""
    with codec_errors():
        if raw.is_raw(data):
            pixels, metadata = raw.develop(data, max_pixels)
            return Photo(pixels, format="raw", metadata=metadata)
        if avif.is_still(data):
            stored, metadata, orientation = avif.decode(data, max_pixels)
            pixels, alpha = samples.unpack(stored, orientation)
            notes = (attachments.GAIN_MAP_NOTE,) if attachments.has_gain_map(data, "avif") else ()
            return Photo(pixels, alpha, "avif", metadata, notes)
        if jpegxl.is_jpegxl(data[:32]):
            return _decode_jpegxl(data, max_pixels)
        if jpeg2000.is_jpeg2000(data[:32]):
            stored, metadata, orientation = jpeg2000.decode(data, max_pixels)
            pixels, alpha = samples.unpack(stored, orientation)
            return Photo(pixels, alpha, "jp2", metadata)
        if data.startswith(SIGNATURES):
            return _decode_tiff(data, max_pixels)
        if header := bmp.parse_header(data):
            return _decode_bmp(data, header, max_pixels)
        image = pillow.open_image(io.BytesIO(data), max_pixels)
        file_format = pillow.format_of(image)
        # Load the pixels first: some formats store metadata behind them.
        image.load()
        # The header of a HEIF file may state another size than the image has.
        samples.check_size(*image.size, max_pixels)
        native: dict[str, Any] = {}
        if file_format == "jpeg":
            native = pillow.jpeg_options(image)
        elif file_format == "png":
            native = {"chunks": png.extra_chunks(data)}
        elif file_format == "webp" and pillow.is_lossless_webp(data):
            native = {"lossless": True, "exact": True}
        elif file_format == "heif" and image.info.get("bit_depth", 8) > 8:
            native = {"bits": min(image.info["bit_depth"], 12)}
        elif file_format == "gif" and "comment" in image.info:
            native = {"comment": image.info["comment"]}
        metadata, orientation = pillow.read_metadata(image, native)
        notes = pillow.read_notes(image, gain_map=attachments.has_gain_map(data, file_format))
        if trailer := attachments.video_trailer(data, file_format, metadata.xmp or b""):
            metadata = replace(metadata, trailer=trailer)
        if image.mode == "CMYK":
            stored, note = profiles.from_cmyk(pillow.read_inks(image), metadata.icc)
            metadata, notes = replace(metadata, icc=profiles.srgb()), (*notes, note)
        elif file_format == "png" and png.bit_depth(data) > 8:
            stored = png.decode(data)
        elif file_format == "heif" and (bits := image.info.get("bit_depth", 8)) > 8:
            stored = heif.decode(data, bits)
        else:
            stored = pillow.read_samples(image)
        pixels, alpha = samples.unpack(stored, orientation)
        frames = None
        if (count := animation.count_frames(image)) > 1:
            decoded = partial(_frames, data, orientation, max_pixels)
            frames = Animation(decoded, count, animation.count_plays(image))
            if stored.dtype != np.uint8 and image.mode in {"RGB", "RGBA"}:
                notes = (*notes, "the 16 bits per sample of its animation are reduced to 8")
        return Photo(pixels, alpha, file_format, metadata, notes, frames)


def _frames(data: bytes, orientation: int, max_pixels: int) -> Iterator[Frame]:
    with codec_errors():
        yield from animation.decode(data, orientation, max_pixels)


def _decode_jpegxl(data: bytes, max_pixels: int) -> Photo:
    samples.check_size(*jpegxl.size(data), max_pixels)
    if (original := jpegxl.jpeg(data)) is not None:
        opened = decode(original, max_pixels=max_pixels)
        metadata = replace(opened.metadata, native=MappingProxyType({}))
        return replace(opened, format="jxl", metadata=metadata)
    stored, metadata, notes = jpegxl.decode(data, max_pixels)
    pixels, alpha = samples.unpack(stored, 1)
    return Photo(pixels, alpha, "jxl", metadata, notes)


def _decode_tiff(data: bytes, max_pixels: int) -> Photo:
    places, left_out = find_pages(data)
    first = _decode_tiff_page(data, places[0], max_pixels)
    if left_out:
        note = f"reduced copies and masks in the file are left out: {left_out}"
        first = replace(first, notes=(*first.notes, note))
    if len(places) == 1:
        return first
    pages = Pages(partial(_tiff_pages, data, places, max_pixels), len(places))
    return replace(first, pages=pages)


def _tiff_pages(data: bytes, places: list[Page], max_pixels: int) -> Iterator[Photo]:
    sizes = (_tiff_directory(data, place, max_pixels).size for place in places)
    total = sum(width * height for width, height in sizes)
    if total > max_pixels:
        raise InputError(
            f"{len(places)} pages with {total:,} pixels together are more than the limit of "
            f"{max_pixels:,} (--max-pixels)"
        )
    return (_decode_tiff_page(data, place, max_pixels) for place in places)


def _decode_tiff_page(data: bytes, page: Page, max_pixels: int) -> Photo:
    from zerodce_jax.media import tiff_pixels

    with codec_errors():
        metadata, orientation = tiff.read_metadata(_tiff_directory(data, page, max_pixels))
        decoded = tiff_pixels.decode(data, page.index)
        pixels, alpha = samples.unpack(decoded.pixels, orientation)
        metadata = replace(metadata, icc=decoded.icc or metadata.icc)
        return Photo(pixels, alpha, "tiff", metadata, decoded.notes)


def _decode_bmp(data: bytes, header: bmp.Header, max_pixels: int) -> Photo:
    samples.check_size(header.width, header.height, max_pixels)
    if content := header.embedded(data):
        held = decode(content, max_pixels=max_pixels)
        metadata = replace(held.metadata, native=MappingProxyType({}))
        return replace(held, format="bmp", metadata=metadata)
    pixels, alpha = samples.unpack(bmp.decode(data, header), 1)
    return Photo(pixels, alpha, "bmp", Metadata(dpi=header.dpi))


def _tiff_directory(data: bytes, page: Page, max_pixels: int) -> Directory:
    directory = Directory.parse(data, page.place)
    samples.check_size(*directory.size, max_pixels)
    if 0 in directory.size:
        raise InputError("damaged image (TIFF without a size)")
    return directory
