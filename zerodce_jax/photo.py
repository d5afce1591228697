"""A photograph: a file on disk, or a Pillow image <-> its pixels and all else it carries.

Pixels go in and out as they are encoded: what the numbers mean is said by the colour profile, which
goes along. Pillow reads and writes most files; `png` and `tiff` hold what it cannot.
"""

import ctypes
import io
import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont, JpegImagePlugin, UnidentifiedImageError

from zerodce_jax import metadata, png, tiff
from zerodce_jax.atomic import replacing
from zerodce_jax.atomic import sweep as sweep  # part of what `storage.Files` asks for
from zerodce_jax.errors import InputError, one_line
from zerodce_jax.metadata import Metadata

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
_WITHOUT_ALPHA: frozenset[Format] = frozenset({"jpeg", "bmp"})
_JPEG_BLOCK = 65_000
# The longest sides that the usual decoders take; others end at what TIFF or the memory holds.
_LONGEST: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768, "heif": 65_535}
MAX_PIXELS = 300_000_000
"""Pixels of the largest picture that is decoded, unless told otherwise."""
# Checked here instead; Pillow's own limit warns of pictures that a camera takes.
Image.MAX_IMAGE_PIXELS = None


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


def format_of(path: Path) -> Format | None:
    """The image format that a file's name stands for, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def written_as(kind: Format) -> Format:
    """The format that a picture is written in where it is to keep its own: GIF becomes PNG."""
    return "png" if kind == "gif" else kind


def suffix_of(kind: Format) -> str:
    """The usual suffix of a format, with its dot."""
    return {"jpeg": ".jpg", "tiff": ".tif", "heif": ".heic"}.get(kind, f".{kind}")


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


def name(path: Path) -> str:
    """What a file is called in messages."""
    return str(path)


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
        return _open(file, max_pixels).size


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
    photo = read(path)
    image = Image.fromarray(_as_type(photo.pixels, np.uint8)).convert("RGB")
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
        image = _open(io.BytesIO(data), max_pixels)
        kind = _KINDS[image.format or ""]
        # Before anything is asked of it: some formats keep metadata behind the pixels.
        image.load()
        # HEIF may promise one size and hold another.
        _check(*image.size, max_pixels)
        pixels = png.decode(data) if kind == "png" and png.bits(data) > 8 else _samples(image)
        carried, turn = _carried(image)
        native: dict[str, Any] = {}
        if kind == "jpeg":
            native = _jpeg_options(image)
        elif kind == "png":
            native = {"chunks": png.own_chunks(data)}
        elif kind == "webp" and b"VP8L" in (data[12:16], _webp_picture(data)):
            native = {"lossless": True, "exact": True}
        carried = replace(carried, native=MappingProxyType(native))
        return _photo(pixels, turn, kind, carried, _notes(image))


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
        pixels, turn = _samples(_open(io.BytesIO(data), max_pixels)), 1
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
        return _encode_by_pillow(pixels, kind, carried, losses), tuple(losses)


def _encode_by_pillow(
    pixels: UInt8[np.ndarray, "h w *channels"], kind: Format, carried: Metadata, losses: list[str]
) -> bytes:
    if kind not in _OPTIONS:
        raise InputError(f"{kind} is not written")
    height, width = pixels.shape[:2]
    too_long = max(height, width) > _LONGEST.get(kind, height + width)
    if too_long or (kind == "avif" and height * width > 1 << 28):
        raise InputError(f"{width}x{height} pixels are more than {kind} holds; write png or tiff")
    if kind == "heif":
        _register_heif()
    image = Image.fromarray(pixels)
    options = dict(carried.native or _OPTIONS[kind])
    if kind != "bmp":
        options |= {"icc_profile": carried.icc} if carried.icc else {}
        for name, block in (("exif", carried.exif), ("xmp", carried.xmp)):
            if block and kind == "jpeg" and len(block) > _JPEG_BLOCK:
                losses.append(f"{name.upper()} is too large for jpeg and left out")
            elif block:
                options |= {name: (b"Exif\0\0" if name == "exif" else b"") + block}
    elif carried.exif or carried.xmp or carried.icc:
        losses.append("bmp holds no metadata, which is left out")
    if carried.dpi:
        options |= {"dpi": carried.dpi}
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


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


def from_pil(image: object) -> Photo:
    """Take a Pillow image apart.

    Args:
        image: Of mode RGB, L, RGBA, LA, P, 1, or 16-bit gray.

    Raises:
        InputError: The image has another mode.
    """
    if not isinstance(image, Image.Image):
        raise InputError(f"a {type(image).__name__} is no image")
    with _refusing("unusable image"):
        image.load()
        carried, turn = _carried(image)
        # Which raises anything where EXIF is damaged.
        with suppress(Exception):
            turn = image.getexif().get(metadata.ORIENTATION, 1)
        return _photo(_samples(image), turn, None, carried, ())


def to_pil(photo: Photo) -> Image.Image:
    """Put a Pillow image together again, of mode RGB, L, RGBA, LA or I;16.

    Its `info` holds what Pillow's formats take from there by themselves, such as the profile.

    Raises:
        InputError: Pillow has no mode for such pixels: more than 8 bits with colour or alpha.
    """
    alpha = photo.alpha
    samples = photo.pixels if alpha is None else np.dstack([photo.pixels, alpha])
    if samples.dtype != np.uint8 and samples.ndim > 2:
        raise InputError(f"Pillow has no images of {samples.dtype} with colour or alpha")
    image = Image.fromarray(samples)
    carried = photo.metadata
    exif = b"Exif\0\0" + carried.exif if carried.exif else None
    named = {"exif": exif, "xmp": carried.xmp, "icc_profile": carried.icc}
    image.info |= {name: value for name, value in named.items() if value}
    if carried.dpi:
        image.info["dpi"] = carried.dpi
    return image


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


def _samples(image: Image.Image) -> Shaped[np.ndarray, "h w *channels"]:
    """The samples of a Pillow image: gray, gray and alpha, RGB, or RGB and alpha."""
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


def _carried(image: Image.Image) -> tuple[Metadata, int]:
    """What a Pillow image carries, set upright, and how its pixels are to be turned."""
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


def _jpeg_options(image: Image.Image) -> dict[str, Any]:
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


# Segments that `Metadata` holds, or that point to pictures behind the first one.
_JPEG_NAMED = (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0")


def _webp_picture(data: bytes) -> bytes:
    """The name of the chunk that holds the pixels of an extended WebP file."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] in {b"VP8L", b"VP8 "}:
            return data[at : at + 4]
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return b""


def _notes(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if (count := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"only the first of its {count} pictures is taken")
    if (bits := image.info.get("bit_depth", 8)) > 8:
        notes.append(f"its {bits} bits are taken as 8")
    return tuple(notes)


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
    _check(*directory.size, max_pixels)
    if 0 in directory.size:
        raise InputError("damaged image (TIFF without a size)")
    return directory


def _open(file: io.BytesIO | io.BufferedReader, max_pixels: int) -> Image.Image:
    """Read the header of an image file."""
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
    _check(*image.size, max_pixels)
    return image


def _check(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InputError(
            f"{width}x{height} pixels are more than the limit of {max_pixels:,} (--max-pixels)"
        )


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError("HEIC needs a package: pip install 'zerodce-jax[heif]'") from error
    pillow_heif.register_heif_opener()


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
