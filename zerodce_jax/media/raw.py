"""Develop camera RAW files with LibRaw, through rawpy.

The development adds nothing to what the camera measured: its white balance, no automatic
brightness, sRGB colors of 16 bits with the encoding of sRGB, as networks expect. Previews inside of
the files are not used.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt16

from zerodce_jax.errors import InputError, install_command, one_line
from zerodce_jax.media import boxes, profiles, tiff
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.samples import check_size
from zerodce_jax.media.tiff_directory import SIGNATURES, Directory, Tag, header

if TYPE_CHECKING:
    from rawpy import RawPy

# First bytes of files of Canon (CRW), Fujifilm, Minolta, Olympus, Panasonic and Sigma.
_FUJIFILM = b"FUJIFILMCCD-RAW"
_LIKE_TIFF = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_OTHERS = (b"II\x1a\0\0\0HEAPCCDR", _FUJIFILM, b"\0MRM", b"FOVb")
# Tags and values of TIFF files (TIFF/EP; DNG 1.7).
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
_REDUCED = 1
_COLOR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
# Tags that describe the photograph; all others of the first directory describe the sensor or a
# preview: description, make, model, software, time, artist, copyright, rating, IPTC and XMP.
_KEPT = frozenset({270, 271, 272, 305, 306, 315, 33432, 18246, 18249, Tag.IPTC, Tag.XMP})
_LENS_MODEL, _ASCII = 0xA434, 2
# Box of CR3 files that holds the directories below, each as a TIFF structure of its own.
_CANON_BOX = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")


def has_signature(head: bytes) -> bool:
    """Return whether a file may be a RAW file, by its first 32 bytes; `is_raw` decides."""
    return head.startswith((*SIGNATURES, *_LIKE_TIFF, *_OTHERS)) or _is_cr3(head)


def is_raw(data: bytes) -> bool:
    """Return whether the content of a file is that of a RAW file."""
    if not data.startswith(SIGNATURES):
        return has_signature(data[:32])
    if data[8:10] == b"CR":
        return True
    first = Directory.parse(data)
    # Cameras write previews into the first directory, and the sensor's data into one below.
    below = first.integers(_SUB_DIRECTORIES, ())[:16]
    directories = [first, *(Directory.parse(data, place) for place in below)]
    kinds = {directory.integers(Tag.PHOTOMETRIC, (0,))[0] for directory in directories}
    # The directory below may be missing in a file that is cut off.
    is_preview = bool(below) and first.integers(_SUBFILE_TYPE, (0,))[0] == _REDUCED
    is_sensor = not kinds.isdisjoint({_COLOR_FILTER_ARRAY, _LINEAR_RAW})
    return _DNG_VERSION in first.tags or is_sensor or is_preview


def size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a RAW file, as the camera stores it.

    Raises:
        InputError: rawpy is not installed, or the file is damaged or of an unknown camera.
    """
    with _open(data) as file:
        return file.sizes.width, file.sizes.height


def develop(data: bytes, max_pixels: int) -> tuple[UInt16[np.ndarray, "h w *rgb"], Metadata]:
    """Return upright RGB or gray samples of a RAW file, and the metadata of the photograph.

    Raises:
        InputError: As for `size`, or the sensor has more than `max_pixels`.
    """
    with _open(data) as file:
        check_size(file.sizes.raw_width, file.sizes.raw_height, max_pixels)
        # The power and the slope in the dark of the sRGB curve (IEC 61966-2-1).
        pixels = file.postprocess(
            gamma=(2.4, 12.92), no_auto_bright=True, use_camera_wb=True, output_bps=16
        )
        lens = file.lens.model if file.lens else ""
    metadata = replace(_read_metadata(data, lens.encode()), icc=profiles.srgb())
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, metadata


def _read_metadata(data: bytes, lens: bytes) -> Metadata:
    directory = _read_directory(data)
    directory.tags = {tag: directory.tags[tag] for tag in _KEPT & directory.tags.keys()}
    if lens:
        exif = directory.subdirectories.setdefault(Tag.EXIF, Directory(directory.order))
        # LibRaw also knows lenses that only the notes of the camera's maker name.
        exif.tags.setdefault(_LENS_MODEL, (_ASCII, lens + b"\0"))
    metadata, _ = tiff.read_metadata(directory)
    return metadata


def _read_directory(data: bytes) -> Directory:
    """Return the tags about the photograph, or an empty directory."""
    structure = data
    if data.startswith(_LIKE_TIFF):
        order = "<" if data.startswith(b"II") else ">"
        structure = header(order, *struct.unpack_from(f"{order}I", data, 4)) + data[8:]
    elif data.startswith(_FUJIFILM):
        # The preview is a JPEG file with EXIF.
        _, _, exif = data[slice(*_fujifilm_preview(data))].partition(b"Exif\0\0")
        structure = exif
    elif _is_cr3(data):
        return _read_cr3(data)
    return Directory.parse(structure) if structure.startswith(SIGNATURES) else Directory()


def _fujifilm_preview(data: bytes) -> tuple[int, int]:
    start, length = struct.unpack_from(">II", data, 84)
    return start, start + length


def _is_cr3(data: bytes) -> bool:
    return data[4:12] == b"ftypcrx "


def _read_cr3(data: bytes) -> Directory:
    movie = dict(boxes.parse(data)).get(b"moov", b"")
    canon = b"".join(
        content[16:] for _, content in boxes.parse(movie) if content.startswith(_CANON_BOX)
    )
    found = {
        kind: Directory.parse(content)
        for kind, content in boxes.parse(canon)
        if kind in {b"CMT1", b"CMT2", b"CMT4"} and content.startswith(SIGNATURES)
    }
    directory = found.pop(b"CMT1", Directory())
    for kind, tag in ((b"CMT2", Tag.EXIF), (b"CMT4", Tag.GPS)):
        if kind in found and found[kind].order == directory.order:
            directory.subdirectories[tag] = found[kind]
    return directory


@contextmanager
def _open(data: bytes) -> "Iterator[RawPy]":
    try:
        import rawpy
    except ImportError as error:
        raise InputError(f"camera RAW needs a package: {install_command('raw')}") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as file:
            yield file
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        (text, *_) = error.args or ("",)
        reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        raise InputError(f"damaged image, or of an unknown camera ({one_line(reason)})") from error
