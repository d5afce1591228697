"""A photograph: a file on disk, or a Pillow image <-> its pixels and what else belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError

T = TypeVar("T")
Format = Literal["png", "jpeg", "webp", "tiff", "bmp"]

_SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
}
_OPTIONS: dict[Format, dict] = {
    "jpeg": {"quality": 95},
    "webp": {"quality": 95},
    "tiff": {"compression": "tiff_deflate"},
    "png": {},
    "bmp": {},
}
MAX_PIXELS = 1_000_000_000
# Checked here instead; Pillow's own limit warns of pictures that a camera takes.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Photo:
    """Pixels of a photograph as it is looked at, and what goes round the network untouched."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """(height, width, 3) or, gray, (height, width); uint8 or uint16."""
    alpha: UInt8[np.ndarray, "h w"] | None = None
    """Opacity, or None."""


def format_of(path: Path) -> Format | None:
    """The image format that a file's name stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def suffix_of(kind: Format) -> str:
    """The usual suffix of a format, with its dot."""
    return {"jpeg": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")


def read(path: Path) -> Photo:
    """Decode an image file, turned upright.

    Raises:
        InputError: The file is no image, is damaged, or holds pixels that cannot be handled.
        OSError: The file cannot be read.
    """
    return _decode(path, from_pil)


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

    def scaled(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode not in {"RGB", "L", "RGBA", "LA", "P"}:
            raise InputError(f"images of mode {image.mode} are not trained on")
        image = image.convert("RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(image)

    return _decode(path, scaled)


def _decode(path: Path, take: Callable[[Image.Image], T]) -> T:
    """Open an image file and take from it what is asked for; every failure names the file."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not an image")
    try:
        with path.open("rb") as file, Image.open(file, formats=list(get_args(Format))) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path}: {image.width}x{image.height} pixels are too many")
            return take(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image of a known format") from error
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{path}: damaged image ({error})") from error
    except (SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        # Pillow's decoders raise these on damaged files.
        raise InputError(f"{path}: damaged image ({error})") from error


def write(path: Path, photo: Photo) -> None:
    """Encode a photograph, whole or not at all, in the format that the file's name stands for.

    Args:
        path: Ends in a suffix that `format_of` knows; its folder is made where it is missing.
        photo: What to write; a format without transparency drops alpha.

    Raises:
        InputError: The format cannot hold these pixels.
        OSError: The file cannot be written.
    """
    kind = format_of(path)
    if kind is None:
        raise InputError(f"{path}: no image format goes by the suffix {path.suffix!r}")
    if kind in {"jpeg", "bmp"}:
        photo = replace(photo, alpha=None)
    if photo.pixels.dtype == np.uint16 and kind not in {"png", "tiff"}:
        raise InputError(f"{path}: {kind} holds no 16-bit pixels; write png or tiff")
    image = to_pil(photo)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            image.save(temporary, format=kind, **_OPTIONS[kind])
        except ValueError as error:
            # WebP ends at 16383 pixels a side.
            raise InputError(f"{path}: cannot be written as {kind} ({error})") from error


def from_pil(image: object) -> Photo:
    """Take a Pillow image apart.

    Args:
        image: Of mode RGB, L, RGBA, LA, P, 1, or 16-bit gray.

    Raises:
        InputError: The image has another mode.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"a {type(image).__name__} is no image")
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        # Not in place: the image is the caller's.
        image = ImageOps.exif_transpose(image)
    if image.mode in {"P", "1"}:
        transparent = image.has_transparency_data
        gray = image.mode == "1"
        image = image.convert("L" if gray else "RGBA" if transparent else "RGB")
    if image.mode in {"RGB", "L"}:
        return Photo(np.asarray(image))
    if image.mode in {"RGBA", "LA"}:
        *colors, alpha = image.split()
        merged = Image.merge("RGB", colors) if len(colors) == 3 else colors[0]
        return Photo(np.asarray(merged), np.asarray(alpha))
    if image.mode in {"I;16", "I;16B", "I;16L"}:
        return Photo(np.asarray(image).astype(np.uint16))
    raise InputError(f"images of mode {image.mode} are not handled")


def to_pil(photo: Photo) -> Image.Image:
    """Put a Pillow image together again, of mode RGB, L, RGBA, LA or I;16."""
    image = Image.fromarray(photo.pixels)
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(photo.alpha))
    return image
