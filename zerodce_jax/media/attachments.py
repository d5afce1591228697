"""Gain maps and the videos of motion photos, which files hold beside the photograph.

A gain map makes an HDR image of a photograph (Ultra HDR, ISO 21496-1, and Apple's). It does not fit
the enhanced photograph, so it is left out, with all that XMP says about it.

The video of a motion photo follows the photograph. Its place is counted from the end of the file
(Google's motion photo format 1.0, and Samsung's trailer), so that the end of the file can be copied
unchanged, and all that XMP says about it stays right.
"""

import re
import struct

from zerodce_jax.media.formats import Format

GAIN_MAP_SEGMENT = b"urn:iso:std:iso:ts:21496:-1\0"
"""Start of the JPEG segment that states how a gain map is stored (ISO 21496-1)."""
GAIN_MAP_NOTE = "its gain map, which no longer fits, is left out"
"""Message about a file with a gain map."""
_GAIN_MAPS = b"http://ns.adobe.com/hdr-gain-map/1.0/"
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
# Bytes that occur only in files with a gain map: names of segments, XMP namespaces, image types.
_GAIN_MAP_MARKS = (
    GAIN_MAP_SEGMENT,
    _GAIN_MAPS,
    b"http://ns.apple.com/HDRGainMap/",
    b"urn:com:apple:photo:2020:aux:hdrgainmap",
)
# An item of a HEIF or AVIF file that is an image with its gain map applied.
_TONE_MAPPED_ITEM = re.compile(rb"infe[\2\3]...(?:..)?..\0\0tmap", re.DOTALL)
_HEIF_HEAD = 1 << 16
_ITEM = re.compile(rb"<rdf:li\b[^<>]*/>\s*|<rdf:li\b[^<>]*>(?:(?!</?rdf:li\b).)*</rdf:li>\s*", re.S)
_LENGTH = re.compile(rb":Length(?:\s*=\s*[\"']|>)\s*(\d{1,12})")
_OFFSET = re.compile(rb":MicroVideoOffset(?:\s*=\s*[\"']|>)\s*(\d{1,12})")
_SAMSUNG_END, _SAMSUNG_DIRECTORY, _SAMSUNG_VIDEO = b"SEFT", b"SEFH", b"MotionPhoto_Data"


def has_gain_map(data: bytes, file_format: Format) -> bool:
    """Return whether a file holds a gain map."""
    if file_format not in {"jpeg", "heif", "avif"}:
        return False
    if file_format != "jpeg" and _TONE_MAPPED_ITEM.search(data[:_HEIF_HEAD]):
        return True
    return any(mark in data for mark in _GAIN_MAP_MARKS)


def without_gain_map(xmp: bytes) -> bytes:
    """Return an XMP packet without what it says about a gain map."""
    return _without_item(_without_properties(xmp, _GAIN_MAPS, rb"[\w.-]+"), b"GainMap")


def without_video(xmp: bytes) -> bytes:
    """Return an XMP packet without what it says about the video of a motion photo."""
    names = rb"(?:MotionPhoto|MicroVideo)\w*"
    return _without_item(_without_properties(xmp, _CAMERA, names), b"MotionPhoto")


def video_trailer(data: bytes, file_format: Format, xmp: bytes) -> bytes:
    """Return the end of a file from the video of a motion photo on, or no bytes."""
    if file_format == "heif":
        return data[_video_box(data) :]
    starts = []
    if file_format == "jpeg":
        lengths = [found[1] for found in _OFFSET.finditer(xmp)]
        for item in _ITEM.finditer(xmp):
            found = _LENGTH.search(item[0])
            if found and _has_semantic(item[0], b"MotionPhoto"):
                lengths.append(found[1])
        starts = [len(data) - int(length) for length in lengths]
        starts = [at for at in starts if at > 0 and data[at + 4 : at + 8] == b"ftyp"]
        starts.append(_samsung_video(data))
    return data[min(starts, default=len(data)) :]


def _video_box(data: bytes) -> int:
    """Return the position of the box of a HEIF file that holds a video, or the end of the file."""
    at = 0
    while at + 16 <= len(data):
        size, name, long_size = struct.unpack_from(">I4sQ", data, at)
        if name == b"mpvd":
            return at
        size = {0: len(data), 1: long_size}.get(size, size)
        at += max(size, 8)
    return len(data)


def _samsung_video(data: bytes) -> int:
    """Return where Samsung's trailer with a video starts, or the end of the file.

    The trailer ends with a directory, which states how far before it each part starts, the length
    of the directory, and a name.
    """
    end = len(data)
    if end < 20 or not data.endswith(_SAMSUNG_END):
        return end
    (length,) = struct.unpack_from("<I", data, end - 8)
    directory = end - 8 - length
    if directory < 0 or data[directory : directory + 4] != _SAMSUNG_DIRECTORY or length < 12:
        return end
    (count,) = struct.unpack_from("<I", data, directory + 8)
    places = range(directory + 12, min(directory + 12 + 12 * count, end - 19), 12)
    offsets = [struct.unpack_from("<I", data, place + 4)[0] for place in places]
    start = directory - max(offsets, default=0)
    return start if start > 0 and _SAMSUNG_VIDEO in data[start:directory] else end


def _has_semantic(item: bytes, semantic: bytes) -> bool:
    return (
        re.search(rb":Semantic(?:\s*=\s*[\"']|>)\s*" + semantic + rb"\s*[\"'<]", item) is not None
    )


def _without_item(xmp: bytes, semantic: bytes) -> bytes:
    """Remove the items with a meaning from the list of what the file holds."""
    return _ITEM.sub(lambda found: b"" if _has_semantic(found[0], semantic) else found[0], xmp)


def _without_properties(xmp: bytes, namespace: bytes, names: bytes) -> bytes:
    """Remove the properties of a namespace whose names match an expression."""
    # One space only: a search for several would take long in the blank end of a packet.
    declaration = rb"\sxmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']"
    for prefix in {found[1] for found in re.finditer(declaration, xmp)}:
        name = re.escape(prefix) + b":" + names
        xmp = re.sub(rb"\s" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"<" + name + rb"\b[^<>]*/>\s*", b"", xmp)
        element = rb"<(" + name + rb")(?=[\s>])[^<>]*>.{0,1000}?</\1\s*>\s*"
        xmp = re.sub(element, b"", xmp, flags=re.S)
        if not re.search(rb"[\s</]" + re.escape(prefix) + rb":", xmp):
            xmp = re.sub(declaration, b"", xmp)
    return xmp
