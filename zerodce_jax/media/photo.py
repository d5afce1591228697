"""Read and write photographs: image files and Pillow images.

`decoding` and `encoding` convert the content of files.
"""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError, codec_errors, prefix_errors
from zerodce_jax.media import avif, pillow, samples
from zerodce_jax.media.decoding import decode, measure
from zerodce_jax.media.encoding import encode
from zerodce_jax.media.formats import format_of
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.photograph import Photo

if TYPE_CHECKING:
    from PIL.Image import Image


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


def is_animated_gif(file: io.BytesIO | io.BufferedReader | Path) -> bool:
    """Return whether a file, which may be open, is a GIF of several frames; damaged ones are not.

    The other formats keep their suffix, whether they hold an animation or not.
    """
    try:
        if isinstance(file, Path):
            with _open(file, MAX_PIXELS) as opened:
                return is_animated_gif(opened)
        with codec_errors():
            image = pillow.open_image(file, MAX_PIXELS)
            return image.format == "GIF" and getattr(image, "is_animated", False)
    except (InputError, OSError):
        return False


def from_pil(image: object) -> Photo:
    """Convert a Pillow image of the mode RGB, L, RGBA, LA, P, 1, or 16-bit gray to a photograph.

    Raises:
        InputError: The image has another mode, or is not a Pillow image.
    """
    with codec_errors("unusable image"):
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


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[io.BufferedReader]:
    """Open an image file for reading, and name it in the messages of errors."""
    with prefix_errors(path), codec_errors():
        # Check the type of the file before it is opened: opening a pipe may block for ever.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("is a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a regular file; use '-' to read from standard input")
        check_file(status.st_size, max_pixels)
        with path.open("rb") as file:
            yield file
