"""Read and write photographs: pixels, alpha channel and metadata of image files and Pillow images.

Pixels keep the encoding of the file. The color profile, which states what the numbers mean, is
kept with them. `pillow` handles most files; the other modules handle those that Pillow cannot.
"""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped, UInt8

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError, one_line, prefix_errors
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
from zerodce_jax.media.formats import Format, format_of
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.tiff_directory import SIGNATURES, Directory

if TYPE_CHECKING:
    from PIL.Image import Image

# Of files that Pillow may not read, by their first 32 bytes.
_OWN = (avif.is_avif, jpeg2000.is_jpeg2000, jpegxl.is_jpegxl, raw.has_signature)
# Formats of more than 8 bits per sample, but without floats.
_DEEP = frozenset({"avif", "heif", "jp2", "jxl", "png"})


@dataclass(frozen=True)
class Photo:
    """A photograph: upright pixels, alpha channel and metadata."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """RGB (height, width, 3) or gray (height, width); uint8, uint16, or float32 in [0, 1]."""
    alpha: Shaped[np.ndarray, "h w"] | None = None
    """Opacity, of the same type as the pixels, or None."""
    format: Format | None = None
    """Format of the file that the photograph was read from, or None."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF, XMP, color profile and other metadata."""
    notes: tuple[str, ...] = ()
    """Messages, one line each, about parts of the file that were not read."""
    animation: Animation | None = None
    """The frames of an animation, or None. The pixels and the alpha channel are those of the first
    one; `write` and `encode` ignore them where the format holds animations."""

    def still(self) -> "Photo":
        """Return a photograph without animation: the first frame, with a note."""
        if self.animation is None:
            return self
        note = f"only the first of its {self.animation.count} frames is read"
        return replace(self, animation=None, notes=(*self.notes, note))

    def stripped(self) -> "Photo":
        """Return a copy without EXIF, XMP, texts and resolution.

        The color profile stays, because colors would change without it. The encoding options
        stay too. The video of a motion photo, which may state where it was taken, does not.
        """
        dropped = {"boxes", "comment", "extra", "tags"}
        native = {key: x for key, x in self.metadata.native.items() if key not in dropped}
        if "chunks" in native:
            native["chunks"] = tuple(c for c in native["chunks"] if c[0] in png.COLOR_CHUNKS)
        metadata = Metadata(icc=self.metadata.icc, native=MappingProxyType(native))
        return replace(self, metadata=metadata)


def largest_file(max_pixels: int) -> int:
    """Return a file size, in bytes, that no image of `max_pixels` pixels needs to exceed."""
    return 16 * max_pixels + (1 << 28)


def check_file(size: int, max_pixels: int) -> None:
    """Raise an InputError for a file of more bytes than `largest_file`, before it is read."""
    if size > largest_file(max_pixels):
        raise InputError(f"{size:,} bytes are too many for an image")


def size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the width and height that the header of an image file states, as stored, in pixels.

    Raises:
        InputError: The file is not an image, or has more than `max_pixels`.
        OSError: The file cannot be read.
    """
    with _open(path, max_pixels) as file:
        return measure(file, max_pixels=max_pixels)


def measure(
    file: io.BytesIO | io.BufferedReader, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Return what `size` returns, for an open file, which messages of errors do not name."""
    with _decoder_errors():
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
            found = _tiff_directory(data, max_pixels).size
        else:
            found = pillow.open_image(io.BytesIO(data), max_pixels).size
        samples.check_size(*found, max_pixels)
        return found


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode an image file and its metadata, and turn the pixels upright.

    Raises:
        InputError: The file is not an image, is damaged, has more than `max_pixels`, or has pixels
            of a type that is not supported.
        OSError: The file cannot be read.
    """
    with _open(path, max_pixels) as file:
        return decode(file.read(), max_pixels=max_pixels)


def read_rgb(path: Path, *, size: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file as upright 8-bit RGB without alpha; errors are those of `read`.

    `size` is the side of the square that the whole image is scaled to, or None to keep its size.
    The filter is Lanczos, which uses every pixel, as in the PyTorch originals.
    """
    return pillow.to_rgb(samples.convert(read(path).pixels, np.uint8), size)


def scale(pixels: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Scale an RGB image to a square, with the filter of `read_rgb`."""
    return pillow.to_rgb(pixels, size)


def write(path: Path, photo: Photo) -> tuple[str, ...]:
    """Write a photograph atomically, in the format that the suffix of the path stands for.

    A missing folder is created.

    Returns:
        Messages, one line each, about parts of the photograph that the format cannot hold.

    Raises:
        InputError: As for `encode_as`.
        OSError: The file cannot be written.
    """
    with prefix_errors(path):
        data, losses = encode_as(path, photo)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        # The error of a full disk names no file, and other errors name the temporary file.
        error.filename = str(path)
        raise
    return losses


def check_target(path: Path, width: int, height: int) -> None:
    """Raise an InputError if the format of a path cannot hold an image of a size.

    Whether the image has transparency, which is known once it is read, is left to `write`.
    """
    file_format = format_of(path)
    with prefix_errors(path):
        if file_format == "avif":
            avif.check_format(width, height)
        elif file_format:
            pillow.check_format(file_format, width, height)


def encode_as(path: Path, photo: Photo) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph in the format that the suffix of a path stands for; see `encode`.

    Raises:
        InputError: No format has that suffix, or as for `encode`.
    """
    if file_format := format_of(path):
        return encode(photo, file_format)
    raise InputError(f"no image format has the suffix {path.suffix!r}")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode the content of an image file; see `read`. Messages of errors do not name the file."""
    with _decoder_errors():
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
    with _decoder_errors():
        yield from animation.decode(data, orientation, max_pixels)


def is_animated_gif(file: io.BytesIO | io.BufferedReader | Path) -> bool:
    """Return whether a file, which may be open, is a GIF of several frames; damaged ones are not.

    The other formats keep their suffix, whether they hold an animation or not.
    """
    try:
        if isinstance(file, Path):
            with _open(file, MAX_PIXELS) as opened:
                return is_animated_gif(opened)
        with _decoder_errors():
            image = pillow.open_image(file, MAX_PIXELS)
            return image.format == "GIF" and getattr(image, "is_animated", False)
    except (InputError, OSError):
        return False


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
    from zerodce_jax.media import tiff_pixels

    directory = _tiff_directory(data, max_pixels)
    metadata, orientation = tiff.read_metadata(directory)
    decoded = tiff_pixels.decode(data)
    notes = ("only the first of its images is read",) if directory.pages > 1 else ()
    pixels, alpha = samples.unpack(decoded.pixels, orientation)
    metadata = replace(metadata, icc=decoded.icc or metadata.icc)
    return Photo(pixels, alpha, "tiff", metadata, notes + decoded.notes)


def _decode_bmp(data: bytes, header: bmp.Header, max_pixels: int) -> Photo:
    samples.check_size(header.width, header.height, max_pixels)
    if content := header.embedded(data):
        held = decode(content, max_pixels=max_pixels)
        metadata = replace(held.metadata, native=MappingProxyType({}))
        return replace(held, format="bmp", metadata=metadata)
    pixels, alpha = samples.unpack(bmp.decode(data, header), 1)
    return Photo(pixels, alpha, "bmp", Metadata(dpi=header.dpi))


def encode(photo: Photo, file_format: Format) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph. If the format stays the same, so do the encoding options.

    Returns:
        The content of the file, and messages, one line each, about parts of the photograph that
        the format cannot hold.

    Raises:
        InputError: The format cannot hold this image at all, or writing it is not supported.
    """
    metadata, pixels, alpha, losses = photo.metadata, photo.pixels, photo.alpha, []
    if photo.format != file_format:
        if metadata.trailer:
            losses.append(f"{file_format} does not support its video, which is dropped")
            xmp = attachments.without_video(metadata.xmp or b"")
            metadata = replace(metadata, xmp=xmp or None, trailer=b"")
        metadata = replace(metadata, native=MappingProxyType({}))
    if photo.animation is not None and file_format in animation.FORMATS:
        with _decoder_errors(f"cannot be written as {file_format}"):
            return animation.encode(photo.animation, file_format, metadata), ()
    if photo.animation is not None:
        losses.append(f"{file_format} does not support animations; the first frame is kept")
    if alpha is not None and file_format == "jpeg":
        losses.append(f"{file_format} does not support transparency, which is dropped")
        alpha = None
    if file_format in _DEEP and pixels.dtype == np.float32:
        pixels = samples.convert(pixels, np.uint16)
    elif file_format not in {*_DEEP, "tiff"}:
        if photo.format == file_format == "bmp" and pixels.dtype != np.uint8:
            losses.append("bmp is written with 8 bits per sample")
        pixels = samples.convert(pixels, np.uint8)
    if alpha is not None:
        pixels = np.dstack([pixels, samples.convert(alpha, pixels.dtype)])
    with _decoder_errors(f"cannot be written as {file_format}"):
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
            return tiff.encode(pixels, metadata), tuple(losses)
        return pillow.encode(pixels, file_format, metadata, losses) + metadata.trailer, tuple(
            losses
        )


def from_pil(image: object) -> Photo:
    """Convert a Pillow image of the mode RGB, L, RGBA, LA, P, 1, or 16-bit gray to a photograph.

    Raises:
        InputError: The image has another mode, or is not a Pillow image.
    """
    with _decoder_errors("unusable image"):
        stored, orientation, metadata = pillow.unpack_image(image)
        pixels, alpha = samples.unpack(stored, orientation)
        return Photo(pixels, alpha, metadata=metadata)


def to_pil(photo: Photo) -> "Image":
    """Convert a photograph to a Pillow image of the mode RGB, L, RGBA, LA or I;16.

    The dictionary `info` of the image holds the metadata under the keys that Pillow uses.

    Raises:
        InputError: Pillow has no mode for the pixels: more than 8 bits with color or alpha.
    """
    alpha = photo.alpha
    pixels = photo.pixels if alpha is None else np.dstack([photo.pixels, alpha])
    return pillow.make_image(pixels, photo.metadata)


def _tiff_directory(data: bytes, max_pixels: int) -> Directory:
    directory = Directory.parse(data)
    samples.check_size(*directory.size, max_pixels)
    if 0 in directory.size:
        raise InputError("damaged image (TIFF without a size)")
    return directory


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[io.BufferedReader]:
    """Open an image file for reading, and name it in the messages of errors."""
    with prefix_errors(path), _decoder_errors():
        # Check the type of the file before it is opened: opening a pipe may block for ever.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("is a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a regular file; use '-' to read from standard input")
        check_file(status.st_size, max_pixels)
        with path.open("rb") as file:
            yield file


@contextmanager
def _decoder_errors(problem: str = "damaged image") -> Iterator[None]:
    """Convert any error of a decoder or an encoder to an InputError of one line."""
    try:
        yield
    except MemoryError as error:
        raise InputError("not enough memory for this image") from error
    except Exception as error:
        # Decoders raise errors of many types, from SyntaxError to ZeroDivisionError. An OSError
        # with a number comes from the operating system.
        if isinstance(error, InputError) or getattr(error, "errno", None) is not None:
            raise
        raise InputError(f"{problem} ({one_line(error) or type(error).__name__})") from error
