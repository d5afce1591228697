"""What Pillow reads and writes: samples as they are stored, and what lies beside them.

`png` and `tiff` do what it cannot. What goes wrong is raised as Pillow raises it: `photo` sees to
that.
"""

import ctypes
import io
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont, JpegImagePlugin, UnidentifiedImageError

from zerodce_jax.errors import InputError
from zerodce_jax.media import metadata, tiff
from zerodce_jax.media.formats import Format
from zerodce_jax.media.metadata import Metadata

# Pillow's names; MPO is a JPEG with more pictures behind it.
_KINDS: dict[str, Format] = {
    "PNG": "png",
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "WEBP": "webp",
    "TIFF": "tiff",
    "BMP": "bmp",
    "AVIF": "avif",
    "HEIF": "heif",
    "GIF": "gif",
}
# Where the source does not say how it was encoded.
_OPTIONS: dict[Format, dict[str, Any]] = {
    "jpeg": {"quality": 95},
    "webp": {"quality": 95, "exact": True},
    "avif": {"quality": 90},
    "heif": {"quality": 90},
    "bmp": {},
}
# The longest sides that the usual decoders take; others end at what TIFF or the memory holds.
_LONGEST: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768, "heif": 65_535}
_JPEG_BLOCK = 65_000
# Segments that `Metadata` holds, or that point to pictures behind the first one.
_JPEG_NAMED = (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0")
# Checked here instead; Pillow's own limit warns of pictures that a camera takes.
Image.MAX_IMAGE_PIXELS = None


def open_image(file: io.BytesIO | io.BufferedReader, max_pixels: int) -> Image.Image:
    """Read the header of an image file.

    Raises:
        InputError: It is none, or promises more pixels than that.
    """
    head = file.read(32)
    file.seek(0)
    formats = [name for name in _KINDS if name not in {"MPO", "HEIF"}]
    if head[4:8] == b"ftyp" and b"avif" not in head[8:]:
        _register_heif()
        formats.append("HEIF")
    try:
        image = Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        raise InputError("not an image of a known format") from error
    check_size(*image.size, max_pixels)
    return image


def format_of(image: Image.Image) -> Format:
    """The format of an opened file."""
    return _KINDS[image.format or ""]


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture that is too large.

    Raises:
        InputError: It has more pixels than that.
    """
    if width * height > max_pixels:
        raise InputError(
            f"{width}x{height} pixels are more than the limit of {max_pixels:,} (--max-pixels)"
        )


def taken_apart(image: object) -> tuple[Shaped[np.ndarray, "h w *channels"], int, Metadata]:
    """The samples of an image, how they are to be turned (EXIF's number), and what it carries.

    Raises:
        InputError: It is no image, or of a mode that is not handled.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"a {type(image).__name__} is no image")
    image.load()
    beside, turn = carried(image)
    # Which raises anything where EXIF is damaged.
    with suppress(Exception):
        turn = image.getexif().get(metadata.ORIENTATION, 1)
    return samples(image), turn, beside


def put_together(samples: Shaped[np.ndarray, "h w *channels"], beside: Metadata) -> Image.Image:
    """An image of samples and what it carries.

    Raises:
        InputError: Pillow has no mode for such samples.
    """
    if samples.dtype != np.uint8 and samples.ndim > 2:
        raise InputError(f"Pillow has no images of {samples.dtype} with colour or alpha")
    image = Image.fromarray(samples)
    exif = b"Exif\0\0" + beside.exif if beside.exif else None
    named = {"exif": exif, "xmp": beside.xmp, "icc_profile": beside.icc}
    image.info |= {name: value for name, value in named.items() if value}
    if beside.dpi:
        image.info["dpi"] = beside.dpi
    return image


def samples(image: Image.Image) -> Shaped[np.ndarray, "h w *channels"]:
    """The samples of an image: gray, gray and alpha, RGB, or RGB and alpha.

    Raises:
        InputError: It is of a mode that is not handled.
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
    raise InputError(f"images of mode {image.mode} are not handled; convert it to RGB")


def carried(image: Image.Image) -> tuple[Metadata, int]:
    """What an image carries, set upright, and how its pixels are to be turned."""
    info = image.info
    exif = info.get("exif")
    if exif is None and "Raw profile type exif" in info:
        # What programs wrote into PNG before it had a chunk for EXIF.
        with suppress(ValueError):
            exif = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    exif = exif or b""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    turn = metadata.orientation(exif, xmp)
    is_exif = exif.startswith(tiff.SIGNATURES[:2]) and len(exif) >= 8
    dpi = None
    if "dpi" in info:
        dpi = metadata.plausible_dpi(*map(float, info["dpi"]))
    return (
        Metadata(
            exif=metadata.upright_exif(exif) if is_exif else None,
            xmp=metadata.upright_xmp(xmp) or None,
            icc=info.get("icc_profile") or None,
            dpi=dpi,
        ),
        turn,
    )


def jpeg_options(image: Image.Image) -> dict[str, Any]:
    """How a JPEG was encoded, and the segments of it that Pillow does not hold by name."""
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    # By component, the last one standing for all that follow; more than 255 is no baseline JPEG.
    used = [layer[3] for layer in image.layer]
    while len(used) > 1 and used[-1] == used[-2]:
        used.pop()
    tables = [[min(255, step) for step in image.quantization[name]] for name in used]
    # Pillow's own names are 4:4:4, 4:2:2 and 4:2:0; nothing is lost where it is another.
    options: dict[str, Any] = {
        "qtables": tables,
        "subsampling": max(0, JpegImagePlugin.get_sampling(image)),
        "progressive": bool(image.info.get("progressive")),
    }
    if image.info.get("comment"):
        options["comment"] = image.info["comment"]
    extra = b""
    for name, content in image.applist:
        if name in {"COM", "APP0", "APP14"} or content.startswith(_JPEG_NAMED):
            continue
        length = (len(content) + 2).to_bytes(2, "big")
        extra += bytes([0xFF, 0xE0 + int(name[3:])]) + length + content
    return options | {"extra": extra}


def is_lossless_webp(data: bytes) -> bool:
    """Whether the pixels of a WebP file are stored without loss."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] in {b"VP8L", b"VP8 "}:
            return data[at : at + 4] == b"VP8L"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False


def notes(image: Image.Image) -> tuple[str, ...]:
    """What of a file is not taken over, a line each."""
    told = []
    if (count := getattr(image, "n_frames", 1)) > 1:
        told.append(f"only the first of its {count} pictures is taken")
    if (bits := image.info.get("bit_depth", 8)) > 8:
        told.append(f"its {bits} bits are taken as 8")
    return tuple(told)


def encode(
    pixels: UInt8[np.ndarray, "h w *channels"], kind: Format, beside: Metadata, losses: list[str]
) -> bytes:
    """Encode samples, with what lies beside them.

    Args:
        pixels: The samples, of colours and alpha.
        kind: The format.
        beside: How it was encoded, where it was read from that format, and its metadata.
        losses: Takes what of it the format cannot hold, a line each.

    Raises:
        InputError: The format is not written, or holds no picture of that size.
    """
    if kind not in _OPTIONS:
        raise InputError(f"{kind} is not written")
    height, width = pixels.shape[:2]
    too_long = max(height, width) > _LONGEST.get(kind, height + width)
    if too_long or (kind == "avif" and height * width > 1 << 28):
        raise InputError(f"{width}x{height} pixels are more than {kind} holds; write png or tiff")
    if kind == "heif":
        _register_heif()
    image = Image.fromarray(pixels)
    options = dict(beside.native or _OPTIONS[kind])
    if kind != "bmp":
        options |= {"icc_profile": beside.icc} if beside.icc else {}
        for name, block in (("exif", beside.exif), ("xmp", beside.xmp)):
            if block and kind == "jpeg" and len(block) > _JPEG_BLOCK:
                losses.append(f"{name.upper()} is too large for jpeg and left out")
            elif block:
                options |= {name: (b"Exif\0\0" if name == "exif" else b"") + block}
    elif beside.exif or beside.xmp or beside.icc:
        losses.append("bmp holds no metadata, which is left out")
    if beside.dpi:
        options |= {"dpi": beside.dpi}
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def as_rgb(
    pixels: UInt8[np.ndarray, "h w *channels"], size: int | None
) -> UInt8[np.ndarray, "height width 3"]:
    """RGB of gray or colour, and scaled (Lanczos) to a square where a side is given."""
    image = Image.fromarray(pixels).convert("RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def thumbnail(
    pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Scale an image (Lanczos) to fit into a width and a height, in the middle of white."""
    image = Image.fromarray(pixels)
    ratio = min(size[0] / image.width, size[1] / image.height)
    image = image.resize(
        (max(1, round(image.width * ratio)), max(1, round(image.height * ratio))),
        Image.Resampling.LANCZOS,
    )
    cell = Image.new("RGB", size, "white")
    cell.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return np.asarray(cell)


def lettering(text: str, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """A line of black text in the middle of white of some width and height, in pixels."""
    image = Image.new("RGB", size, "white")
    font = ImageFont.load_default(size=0.7 * size[1])
    place = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).text(place, text, fill="black", font=font, anchor="mm")
    return np.asarray(image)


def quiet_decoders() -> None:
    """Keep libraries from writing of damaged files on standard error, amidst other lines.

    For programs; what is wrong is said by the error that is raised. Pillow has no switch for its
    libtiff; where that cannot be found, it writes on.
    """
    for name in ("PIL", "imagecodecs"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with suppress(OSError, AttributeError):
        for library in (Path(Image.__file__).parent.parent / "pillow.libs").glob("libtiff-*"):
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError("HEIC needs a package: pip install 'zerodce-jax[heif]'") from error
    pillow_heif.register_heif_opener()
