"""Read and write image files with Pillow: samples as stored, and metadata.

Errors of Pillow pass through; `photo` converts them.
"""

import io
import logging
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont, JpegImagePlugin, UnidentifiedImageError

from zerodce_jax.errors import InputError, install_command
from zerodce_jax.media import bmp, heif
from zerodce_jax.media.attachments import GAIN_MAP_NOTE, GAIN_MAP_SEGMENT
from zerodce_jax.media.formats import Format
from zerodce_jax.media.metadata import (
    ORIENTATION,
    Metadata,
    make_upright,
    plausible_dpi,
    read_orientation,
)
from zerodce_jax.media.samples import check_size

# Pillow's names of the formats. MPO is a JPEG file with further images behind the first one.
_FORMATS: dict[str, Format] = {
    name.upper(): name for name in get_args(Format) if name not in {"jp2", "jxl", "raw"}
}
_FORMATS["MPO"] = "jpeg"
# Encoding options for photographs that were read from another format.
_DEFAULT_OPTIONS: dict[Format, dict[str, Any]] = {
    "jpeg": {"quality": 95},
    "webp": {"quality": 95, "exact": True},
    "heif": {"quality": 90},
    "bmp": {},
}
# Longest side that common decoders accept, in pixels; for bmp, the memory is the limit.
_MAX_SIDES: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383, "heif": 65_535}
_MAX_JPEG_SEGMENT = 65_000
# Segments that `Metadata` holds in fields of their own, or that describe images behind the first.
_KNOWN_SEGMENTS = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0")
_KNOWN_SEGMENTS += (GAIN_MAP_SEGMENT,)
# `check_size` replaces Pillow's own limit, which warns about photographs of common cameras.
Image.MAX_IMAGE_PIXELS = None


def open_image(file: io.BytesIO | io.BufferedReader, max_pixels: int) -> Image.Image:
    """Read the header of an image file.

    Raises:
        InputError: The file is not an image, or the header states more than `max_pixels`.
    """
    head = file.read(32)
    file.seek(0)
    formats = [name for name in _FORMATS if name not in {"MPO", "HEIF", "TIFF"}]
    if head[4:8] == b"ftyp" and b"avi" not in head[8:]:
        _register_heif()
        formats.append("HEIF")
    try:
        image = Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        raise InputError("not an image of a known format") from error
    check_size(*image.size, max_pixels)
    return image


def format_of(image: Image.Image) -> Format:
    """Return the format of an image that was opened from a file."""
    return _FORMATS[image.format or ""]


def unpack_image(image: object) -> tuple[Shaped[np.ndarray, "h w *channels"], int, Metadata]:
    """Return the samples of a Pillow image, its EXIF orientation and its metadata.

    Raises:
        InputError: The object is not a Pillow image, or its mode is not supported.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"not an array or a Pillow image but a {type(image).__name__}")
    image.load()
    metadata, orientation = read_metadata(image, {})
    # Pillow may raise any error for damaged EXIF.
    with suppress(Exception):
        orientation = image.getexif().get(ORIENTATION, 1)
    return read_samples(image), orientation, metadata


def make_image(samples: Shaped[np.ndarray, "h w *channels"], metadata: Metadata) -> Image.Image:
    """Return a Pillow image of some samples, with metadata.

    Raises:
        InputError: Pillow has no mode for such samples.
    """
    if samples.dtype != np.uint8 and samples.ndim > 2:
        raise InputError(f"Pillow has no mode for {samples.dtype} samples with color or alpha")
    image = Image.fromarray(samples)
    image.info |= _info(metadata)
    return image


def _info(metadata: Metadata) -> dict[str, Any]:
    """Return metadata under the names that Pillow uses."""
    exif = metadata.exif and b"Exif\0\0" + metadata.exif
    info = {"exif": exif, "xmp": metadata.xmp, "icc_profile": metadata.icc, "dpi": metadata.dpi}
    return {name: value for name, value in info.items() if value}


def read_samples(image: Image.Image) -> Shaped[np.ndarray, "h w *channels"]:
    """Return the samples of an image: gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        InputError: The mode of the image is not supported.
    """
    transparent = image.has_transparency_data
    if image.mode in {"P", "PA", "RGBX", "RGBa"}:
        image = image.convert("RGBA" if transparent else "RGB")
    elif image.mode in {"1", "La"} or (image.mode == "L" and transparent):
        image = image.convert("LA" if transparent else "L")
    elif image.mode == "RGB" and transparent:
        image = image.convert("RGBA")
    if image.mode in {"RGB", "L", "RGBA", "LA"}:
        return np.asarray(image)
    if image.mode in {"I;16", "I;16B", "I;16L", "I;16N"}:
        return np.asarray(image).astype(np.uint16)
    raise InputError(f"images of mode {image.mode} are not supported; convert them to RGB")


def read_inks(image: Image.Image) -> UInt8[np.ndarray, "h w 4"]:
    """Return CMYK of a JPEG file, in which 0 is no ink."""
    # Pillow inverts the samples as if all programs stored them as those of Adobe do.
    inks = np.asarray(image)
    return inks if "adobe" in image.info else 255 - inks


def read_metadata(image: Image.Image, native: dict[str, Any]) -> tuple[Metadata, int]:
    """Return the metadata of an image, set upright, and the orientation of the stored pixels."""
    info = image.info
    exif = info.get("exif")
    if exif is None and "Raw profile type exif" in info:
        # Older programs write EXIF as hexadecimal text, because PNG had no chunk for it.
        with suppress(ValueError):
            exif = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    exif = exif or b""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    dpi = plausible_dpi(*map(float, info["dpi"])) if "dpi" in info else None
    icc = info.get("icc_profile")
    metadata = make_upright(exif, xmp, icc, dpi=dpi, native=MappingProxyType(native))
    return metadata, read_orientation(exif, xmp)


def jpeg_options(image: Image.Image) -> dict[str, Any]:
    """Return the encoding options of a JPEG file, and the segments that Pillow does not name."""
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    # One table per component; the encoder repeats the last one. Baseline JPEG ends at 255.
    # Three of them, because CMYK is written as RGB.
    used = [layer[3] for layer in image.layer[:3]]
    while len(used) > 1 and used[-1] == used[-2]:
        used.pop()
    tables = [[min(255, step) for step in image.quantization[name]] for name in used]
    extra = b""
    for name, content in image.applist:
        if name not in {"COM", "APP0", "APP14"} and not content.startswith(_KNOWN_SEGMENTS):
            length = (len(content) + 2).to_bytes(2, "big")
            extra += bytes([0xFF, 0xE0 + int(name[3:])]) + length + content
    comment = {"comment": image.info["comment"]} if image.info.get("comment") else {}
    return comment | {
        "qtables": tables,
        # Pillow knows 4:4:4, 4:2:2 and 4:2:0. Write others as 4:4:4, which loses nothing.
        "subsampling": max(0, JpegImagePlugin.get_sampling(image)),
        "progressive": bool(image.info.get("progressive")),
        "extra": extra,
    }


def is_lossless_webp(data: bytes) -> bool:
    """Return whether the pixels of a WebP file are stored without loss."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] in {b"VP8L", b"VP8 "}:
            return data[at : at + 4] == b"VP8L"
        if data[at : at + 4] == b"ANMF":
            # The first frame of an animation; its chunks follow the place and time.
            at += 24
            continue
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False


def read_notes(image: Image.Image, *, gain_map: bool = False) -> tuple[str, ...]:
    """Return messages, one line each, about parts of a file, such as a gain map, not read."""
    notes = []
    if gain_map:
        notes.append(GAIN_MAP_NOTE)
    count = getattr(image, "n_frames", 1)
    # Pillow counts a gain map as an image of a JPEG file.
    unread = count - 1 - (gain_map and image.format == "MPO")
    if unread > 0 and image.format in {"MPO", "HEIF"}:
        notes.append(f"only the first of its {count} images is read")
    return tuple(notes)


def check_format(file_format: Format, width: int, height: int, *, has_alpha: bool = False) -> None:
    """Raise an InputError if a format cannot hold an image of a size, or needs a package."""
    is_too_large = max(height, width) > _MAX_SIDES.get(file_format, height + width)
    # The encoder makes no tiles of images with transparency.
    is_too_large |= file_format == "heif" and has_alpha and width * height > heif.MAX_PIXELS_IN_ONE
    if is_too_large:
        transparent = " with transparency" if has_alpha else ""
        raise InputError(
            f"{file_format} cannot hold {width}x{height} pixels{transparent}; write png or tiff "
            "(--format)"
        )
    if file_format == "heif":
        _register_heif()


def encode(
    pixels: UInt8[np.ndarray, "h w *channels"],
    file_format: Format,
    metadata: Metadata,
    losses: list[str],
) -> bytes:
    """Encode gray or RGB samples, with or without alpha, and metadata.

    The list `losses` receives messages, one line each, about metadata that the format cannot hold.

    Raises:
        InputError: Writing the format is not supported, or it cannot hold an image of this size.
    """
    if file_format not in _DEFAULT_OPTIONS:
        raise InputError(f"writing {file_format} is not supported")
    height, width = pixels.shape[:2]
    check_format(file_format, width, height, has_alpha=pixels.shape[2:] in {(2,), (4,)})
    image = Image.fromarray(pixels)
    if file_format == "jpeg":
        for name in ("exif", "xmp"):
            if len(getattr(metadata, name) or b"") > _MAX_JPEG_SEGMENT:
                losses.append(f"{name.upper()} is too large for jpeg and is dropped")
                metadata = replace(metadata, **{name: None})
    elif file_format == "bmp":
        if metadata.exif or metadata.xmp or metadata.icc:
            losses.append("bmp does not support metadata, which is dropped")
        if pixels.shape[2:] in {(2,), (4,)}:
            return bmp.encode_transparent(pixels, metadata.dpi)
    options = save_options(file_format, metadata)
    if file_format == "heif":
        options |= heif.tile_options(width, height)
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


def save_options(file_format: Format, metadata: Metadata) -> dict[str, Any]:
    """Return the options with which Pillow saves a file: of encoding, and metadata."""
    native = {name: value for name, value in metadata.native.items() if name != "bits"}
    return (native or _DEFAULT_OPTIONS.get(file_format, {})) | _info(metadata)


def to_rgb(
    pixels: UInt8[np.ndarray, "h w *channels"], size: int | None
) -> UInt8[np.ndarray, "height width 3"]:
    """Convert a gray or RGB image to RGB, and scale it (Lanczos) to a square of side `size`."""
    image = Image.fromarray(pixels).convert("RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def thumbnail(
    pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Scale an image (Lanczos) to fit a white canvas of a width and height, and center it there."""
    image = Image.fromarray(pixels)
    ratio = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * ratio)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", size, "white")
    canvas.paste(image, ((size[0] - width) // 2, (size[1] - height) // 2))
    return np.asarray(canvas)


def draw_text(text: str, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a white image of a width and height, in pixels, with centered black text."""
    image = Image.new("RGB", size, "white")
    font = ImageFont.load_default(size=0.7 * size[1])
    center = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).text(center, text, fill="black", font=font, anchor="mm")
    return np.asarray(image)


def silence_decoders() -> None:
    """Stop the image libraries from writing warnings about damaged files to standard error.

    The errors that they raise state the problem.
    """
    for name in ("PIL", "imagecodecs", "tifffile"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(f"HEIC needs a package: {install_command('heif')}") from error
    pillow_heif.register_heif_opener()
