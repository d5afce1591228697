"""Encode photographs as the content of image files.

`pillow` writes most formats; the other modules write those that Pillow cannot.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import codec_errors
from zerodce_jax.media import (
    animation,
    attachments,
    avif,
    heif,
    jpeg2000,
    jpegxl,
    pillow,
    png,
    samples,
    tiff,
)
from zerodce_jax.media.formats import Format
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.photograph import Pages, Photo

# Formats of more than 8 bits per sample, but without floats.
_DEEP = frozenset({"avif", "heif", "jp2", "jxl", "png"})


def encode(photo: Photo, file_format: Format) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph. If the format stays the same, so do the encoding options.

    Returns:
        The content of the file, and messages, one line each, about parts of the photograph that
        the format cannot hold. Messages about its pages, but the first, are among them.

    Raises:
        InputError: The format cannot hold this image at all, or writing it is not supported.
    """
    metadata, pixels, alpha, losses = photo.metadata, photo.pixels, photo.alpha, []
    if photo.format != file_format:
        if metadata.trailer:
            losses.append(f"{file_format} does not support its video, which is dropped")
            xmp = attachments.without_video(metadata.xmp or b"")
            metadata = replace(metadata, xmp=xmp or None, trailer=b"")
        if "comment" in metadata.native:
            losses.append(f"{file_format} does not support its comment, which is dropped")
        metadata = replace(metadata, native=MappingProxyType({}))
    if photo.animation is not None and file_format in animation.FORMATS:
        with codec_errors(f"cannot be written as {file_format}"):
            return animation.encode(photo.animation, file_format, metadata), ()
    if photo.animation is not None:
        losses.append(f"{file_format} does not support animations; the first frame is kept")
    if photo.pages is not None and file_format == "tiff":
        with codec_errors(f"cannot be written as {file_format}"):
            return _encode_pages(photo, photo.pages)
    if photo.pages is not None:
        losses.append(f"{file_format} does not support several pages; the first one is kept")
    if alpha is not None and file_format == "jpeg":
        losses.append(f"{file_format} does not support transparency, which is dropped")
        alpha = None
    if file_format in _DEEP and pixels.dtype == np.float32:
        pixels = samples.convert(pixels, np.uint16)
    elif file_format not in {*_DEEP, "tiff"}:
        if photo.format == file_format == "bmp" and pixels.dtype != np.uint8:
            losses.append("bmp is written with 8 bits per sample")
        pixels = samples.convert(pixels, np.uint8)
    pixels = _with_alpha(pixels, alpha)
    with codec_errors(f"cannot be written as {file_format}"):
        if file_format == "png":
            return png.encode(pixels, metadata), tuple(losses)
        if file_format == "heif" and pixels.dtype == np.uint16:
            height, width = pixels.shape[:2]
            pillow.check_format(file_format, width, height, has_alpha=alpha is not None)
            return heif.encode(pixels, metadata), tuple(losses)
        if file_format == "jp2":
            return jpeg2000.encode(pixels, metadata), tuple(losses)
        if file_format == "jxl":
            return jpegxl.encode(pixels, metadata, losses), tuple(losses)
        if file_format == "avif":
            return avif.encode(pixels, metadata), tuple(losses)
        if file_format == "tiff":
            return tiff.encode([(pixels, metadata)]), tuple(losses)
        return pillow.encode(pixels, file_format, metadata, losses) + metadata.trailer, tuple(
            losses
        )


def _encode_pages(photo: Photo, pages: Pages) -> tuple[bytes, tuple[str, ...]]:
    notes: list[str] = []

    def contents() -> Iterator[tuple[Shaped[np.ndarray, "h w *channels"], Metadata]]:
        for page in pages.photos():
            notes.extend(note for note in page.notes if note not in {*photo.notes, *notes})
            yield _with_alpha(page.pixels, page.alpha), page.metadata

    return tiff.encode(contents()), tuple(notes)


def _with_alpha(
    pixels: Shaped[np.ndarray, "h w *rgb"], alpha: Shaped[np.ndarray, "h w"] | None
) -> Shaped[np.ndarray, "h w *channels"]:
    if alpha is None:
        return pixels
    return np.dstack([pixels, samples.convert(alpha, pixels.dtype)])
