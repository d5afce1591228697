"""Names and suffixes of the image formats, and the search for photographs by their suffixes."""

import os
from pathlib import Path
from typing import Literal, get_args

from zerodce_jax.errors import InputError

Format = Literal["png", "jpeg", "webp", "tiff", "bmp", "avif", "heif", "jxl", "jp2", "gif", "raw"]

# Suffixes of the camera makers, and DNG. Files named .raw may hold anything.
_RAW_SUFFIXES = (".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".mef", ".mrw", ".nef")
_RAW_SUFFIXES += (".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".srw", ".x3f")
# Formats to write photographs in whose own format is only read.
_SUBSTITUTES: dict[Format, Format] = {"gif": "png", "raw": "tiff"}
_SUFFIXES: dict[str, Format] = {f".{name}": name for name in get_args(Format) if name != "raw"}
_SUFFIXES |= {".jpg": "jpeg", ".tif": "tiff", ".heic": "heif", ".hif": "heif", ".j2k": "jp2"}
_SUFFIXES |= dict.fromkeys(_RAW_SUFFIXES, "raw")
_SUFFIXES |= {".apng": "png", ".avifs": "avif"}


def format_of(path: Path) -> Format | None:
    """Return the image format that the suffix of a path stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def output_format(source_format: Format, *, animated: bool = False) -> Format:
    """Return the format to write a photograph in: the same, but PNG for still GIF, TIFF for RAW."""
    return source_format if animated else _SUBSTITUTES.get(source_format, source_format)


def can_write(path: Path) -> bool:
    """Return whether the suffix of a path stands for a format that holds still images."""
    return format_of(path) not in {None, *_SUBSTITUTES}


def suffix_of(file_format: Format) -> str:
    """Return the usual suffix of a format, with its dot."""
    return {"jpeg": ".jpg", "tiff": ".tif", "heif": ".heic"}.get(file_format, f".{file_format}")


def find_photographs(folder: Path, *, hidden: bool = False) -> list[Path]:
    """Return the sorted photographs in a folder and its subfolders, with or without hidden ones.

    Raises:
        InputError: The folder does not exist, or holds no photographs.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: this folder does not exist")
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    found = [
        path
        for path in paths
        if format_of(path)
        and (hidden or not any(part[0] == "." for part in path.relative_to(folder).parts))
    ]
    if not found:
        raise InputError(f"{folder}: no photographs in this folder")
    return sorted(found)
