"""A photograph: a file on disk, or a Pillow image <-> its pixels and all else it carries.

Pixels go in and out as they are encoded: what the numbers mean is said by the colour profile, which
goes along. `pillow` reads and writes most files, `png` and `tiff` what it cannot.
"""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped, UInt8

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError, one_line
from zerodce_jax.media import pillow, png, tiff
from zerodce_jax.media.formats import Format, format_of
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.metadata import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image

_WITHOUT_ALPHA: frozenset[Format] = frozenset({"jpeg", "bmp"})


@dataclass(frozen=True)
class Photo:
    """Pixels of a photograph as it is looked at, and what goes round the network untouched."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """(height, width, 3) or, gray, (height, width); uint8, uint16, or float32 in [0, 1]."""
    alpha: Shaped[np.ndarray, "h w"] | None = None
    """Opacity, of the same type as the pixels, or None."""
    kind: Format | None = None
    """The format of the file that it was read from."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF, XMP, colour profile and the like; upright as the pixels are."""
    notes: tuple[str, ...] = ()
    """What of the file could not be taken over, a line each."""

    def stripped(self) -> "Photo":
        """The same without what tells of its making: EXIF, XMP, texts, resolution.

        The colour profile stays, since colours change without it, and so does how it was encoded.
        """
        native = dict(self.metadata.native)
        if "chunks" in native:
            native["chunks"] = tuple(c for c in native["chunks"] if c[0] in png.COLOUR)
        for name in ("tags", "extra", "comment"):
            native.pop(name, None)
        kept = Metadata(icc=self.metadata.icc, native=MappingProxyType(native))
        return replace(self, metadata=kept)


def largest_file(max_pixels: int) -> int:
    """Bytes that are more than any picture of that many pixels needs; larger files are not read."""
    return 16 * max_pixels + (1 << 28)


def check_file(size: int, max_pixels: int) -> None:
    """Refuse a file of so many bytes that it cannot be a picture of that many pixels.

    Raises:
        InputError: It is larger than `largest_file`.
    """
    if size > largest_file(max_pixels):
        raise InputError(f"{size:,} bytes are too large for a picture")


def size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height that a file promises, in pixels, before it is turned upright.

    Raises:
        InputError: The file is no image, or has more than `max_pixels`.
        OSError: The file cannot be read.
    """
    with _opened(path, max_pixels) as file:
        return measure(file, max_pixels=max_pixels)


def measure(
    file: io.BytesIO | io.BufferedReader, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Width and height that the content of an image file promises; see `size`.

    Raises:
        InputError: As for `size`, without the name of a file.
    """
    with _refusing():
        if file.read(4) in tiff.SIGNATURES:
            file.seek(0)
            return _tiff_directory(file.read(), max_pixels).size
        file.seek(0)
        return pillow.open_image(file, max_pixels).size


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode an image file, turned upright, with all that it carries.

    Raises:
        InputError: The file is no image, is damaged, has more than `max_pixels`, or holds pixels
            that cannot be handled.
        OSError: The file cannot be read.
    """
    with _opened(path, max_pixels) as file:
        return decode(file.read(), max_pixels=max_pixels)


def read_rgb(path: Path, *, size: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file for training: upright, 8-bit RGB, without alpha.

    Args:
        path: The file.
        size: Side of the square that the whole image is scaled to (Lanczos, which looks at every
            pixel, as the PyTorch originals do); None keeps its size.

    Returns:
        (size, size, 3), or (height, width, 3).

    Raises:
        InputError: The file is no image, is damaged, or holds pixels that cannot be handled.
        OSError: The file cannot be read.
    """
    return pillow.as_rgb(_as_type(read(path).pixels, np.uint8), size)


def write(path: Path, photo: Photo) -> tuple[str, ...]:
    """Encode a photograph, whole or not at all, in the format that the file's name stands for.

    Args:
        path: Ends in a suffix that `format_of` knows; its folder is made where it is missing.
        photo: What to write.

    Returns:
        What of it the format cannot hold, a line each.

    Raises:
        InputError: The format cannot hold this picture at all, or is not written.
        OSError: The file cannot be written.
    """
    with named(path):
        data, losses = encode_as(path, photo)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        # A full disk names no file, all else the temporary one.
        error.filename = str(path)
        raise
    return losses


def encode_as(path: Path, photo: Photo) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph in the format that a file's name stands for; see `encode`.

    Raises:
        InputError: No format goes by that name, or as for `encode`.
    """
    kind = format_of(path)
    if kind is None:
        raise InputError(f"no image format goes by the suffix {path.suffix!r}")
    return encode(photo, kind)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode the content of an image file; see `read`.

    Raises:
        InputError: As for `read`, without the name of a file.
    """
    with _refusing():
        if data.startswith(tiff.SIGNATURES):
            return _decode_tiff(data, max_pixels)
        image = pillow.open_image(io.BytesIO(data), max_pixels)
        kind = pillow.format_of(image)
        # Before anything is asked of it: some formats keep metadata behind the pixels.
        image.load()
        # HEIF may promise one size and hold another.
        pillow.check_size(*image.size, max_pixels)
        is_deep = kind == "png" and png.bits(data) > 8
        pixels = png.decode(data) if is_deep else pillow.samples(image)
        carried, turn = pillow.carried(image)
        native: dict[str, Any] = {}
        if kind == "jpeg":
            native = pillow.jpeg_options(image)
        elif kind == "png":
            native = {"chunks": png.own_chunks(data)}
        elif kind == "webp" and pillow.is_lossless_webp(data):
            native = {"lossless": True, "exact": True}
        carried = replace(carried, native=MappingProxyType(native))
        return _photo(pixels, turn, kind, carried, pillow.notes(image))


def _decode_tiff(data: bytes, max_pixels: int) -> Photo:
    directory = _tiff_directory(data, max_pixels)
    carried, turn = tiff.metadata_of(directory)
    if directory.is_ycbcr:
        # Which some versions of Pillow take for damaged.
        raise InputError("images of mode YCbCr are not handled; convert it to RGB")
    # Pillow keeps 8 bits, and does not know the last signature.
    if directory.is_deep or directory.is_odd or data.startswith(tiff.SIGNATURES[3]):
        pixels = tiff.decode(data, directory)
    else:
        # Which Pillow turns upright by itself.
        pixels, turn = pillow.samples(pillow.open_image(io.BytesIO(data), max_pixels)), 1
    notes = ("only the first of its pictures is taken",) if directory.pages > 1 else ()
    return _photo(pixels, turn, "tiff", carried, notes)


def encode(photo: Photo, kind: Format) -> tuple[bytes, tuple[str, ...]]:
    """Encode a photograph.

    Args:
        photo: What to encode; in its own format, it is encoded as it was.
        kind: The format.

    Returns:
        The content of the file, and what of the photograph the format cannot hold, a line each.

    Raises:
        InputError: The format cannot hold this picture at all, or is not written.
    """
    carried = photo.metadata
    if photo.kind != kind:
        carried = replace(carried, native=MappingProxyType({}))
    losses = []
    alpha = photo.alpha
    if alpha is not None and kind in _WITHOUT_ALPHA:
        losses.append(f"{kind} has no transparency, which is left out")
        alpha = None
    pixels = photo.pixels
    if kind == "png" and pixels.dtype == np.float32:
        pixels = _as_type(pixels, np.uint16)
    elif kind not in {"png", "tiff"}:
        pixels = _as_type(pixels, np.uint8)
    if alpha is not None:
        alpha = _as_type(alpha, pixels.dtype)
        pixels = np.dstack([pixels, alpha])
    with _refusing(f"cannot be written as {kind}"):
        if kind == "png":
            return png.encode(pixels, carried), tuple(losses)
        if kind == "tiff":
            return tiff.encode(pixels, carried), tuple(losses)
        return pillow.encode(pixels, kind, carried, losses), tuple(losses)


def from_pil(image: object) -> Photo:
    """Take a Pillow image apart.

    Args:
        image: Of mode RGB, L, RGBA, LA, P, 1, or 16-bit gray.

    Raises:
        InputError: The image has another mode.
    """
    with _refusing("unusable image"):
        pixels, turn, carried = pillow.taken_apart(image)
        return _photo(pixels, turn, None, carried, ())


def to_pil(photo: Photo) -> "Image":
    """Put a Pillow image together again, of mode RGB, L, RGBA, LA or I;16.

    Its `info` holds what Pillow's formats take from there by themselves, such as the profile.

    Raises:
        InputError: Pillow has no mode for such pixels: more than 8 bits with colour or alpha.
    """
    alpha = photo.alpha
    samples = photo.pixels if alpha is None else np.dstack([photo.pixels, alpha])
    return pillow.put_together(samples, photo.metadata)


def _photo(
    pixels: Shaped[np.ndarray, "h w *channels"],
    turn: int,
    kind: Format | None,
    carried: Metadata,
    notes: tuple[str, ...],
) -> Photo:
    """Turn the samples upright, and part colours from alpha."""
    if turn in {2, 3}:
        pixels = pixels[:, ::-1]
    if turn in {3, 4}:
        pixels = pixels[::-1]
    if turn in {5, 6}:
        pixels = np.rot90(pixels, -1)
    if turn in {7, 8}:
        pixels = np.rot90(pixels)
    if turn in {5, 7}:
        pixels = pixels[:, ::-1]
    alpha = None
    if pixels.ndim == 3 and pixels.shape[2] in {2, 4}:
        alpha = np.ascontiguousarray(pixels[:, :, -1])
        pixels = pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
    return Photo(np.ascontiguousarray(pixels), alpha, kind, carried, notes)


def _as_type(samples: np.ndarray, dtype: Any) -> np.ndarray:
    """Samples of one type as another, the largest value to the largest, rounded."""
    dtype = np.dtype(dtype)
    if samples.dtype == dtype:
        return samples
    top = {"u": lambda kind: np.iinfo(kind).max, "f": lambda _: 1}
    scale = np.float32(top[dtype.kind](dtype) / top[samples.dtype.kind](samples.dtype))
    scaled = samples * scale
    return (scaled + np.float32(0.5)).astype(dtype) if dtype.kind == "u" else scaled


def _tiff_directory(data: bytes, max_pixels: int) -> tiff.Directory:
    directory = tiff.Directory.of(data)
    pillow.check_size(*directory.size, max_pixels)
    if 0 in directory.size:
        raise InputError("damaged image (TIFF without a size)")
    return directory


@contextmanager
def named(file: object) -> Iterator[None]:
    """Put a file before what goes wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[io.BufferedReader]:
    """Open an image file for reading; what goes wrong with it names it."""
    with named(path), _refusing():
        # Told from its status: opening a pipe waits for ever.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("is a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is no regular file; '-' reads from standard input")
        check_file(status.st_size, max_pixels)
        with path.open("rb") as file:
            yield file


@contextmanager
def _refusing(what: str = "damaged image") -> Iterator[None]:
    """Turn whatever a decoder or an encoder raises into an error of one line."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("not enough memory for this picture") from error
    except OSError as error:
        # With a number it comes from the system and not from the picture.
        if error.errno is not None:
            raise
        raise InputError(f"{what} ({one_line(error)})") from error
    except Exception as error:
        # Decoders raise anything from SyntaxError to ZeroDivisionError.
        raise InputError(f"{what} ({one_line(error) or type(error).__name__})") from error
