"""Image formats, by the names of their files."""

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
    """The image format that a file's name stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def written_as(kind: Format) -> Format:
    """The format that a picture is written in where it is to keep its own: GIF becomes PNG."""
    return "png" if kind == "gif" else kind


def suffix_of(kind: Format) -> str:
    """The usual suffix of a format, with its dot."""
    return {"jpeg": ".jpg", "tiff": ".tif", "heif": ".heic"}.get(kind, f".{kind}")
