"""Names and suffixes of the image formats."""

from pathlib import Path
from typing import Literal

Format = Literal["png", "jpeg", "webp", "tiff", "bmp", "avif", "heif", "gif"]

_SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".avif": "avif",
    ".heic": "heif",
    ".heif": "heif",
    ".hif": "heif",
    ".gif": "gif",
}


def format_of(path: Path) -> Format | None:
    """Return the image format that the suffix of a path stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def output_format(source_format: Format) -> Format:
    """Return the format to write a photograph of a format in: the same, but PNG for GIF."""
    return "png" if source_format == "gif" else source_format


def suffix_of(file_format: Format) -> str:
    """Return the usual suffix of a format, with its dot."""
    return {"jpeg": ".jpg", "tiff": ".tif", "heif": ".heic"}.get(file_format, f".{file_format}")
