"""Every format, mode, depth and kind of transparency that is read, with settings without effect.

Each file goes through the command line's own steps: it is decoded, enhanced, and written in its
format. Another decoder than that of the package reads the result, which must hold the samples that
were encoded; after lossy compression it must hold what that decoder reads from the file itself, as
nearly as the compression allows.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers import photo_files as files
from helpers.enhancers import enhancer_of
from helpers.photo_files import encode_image, gradient, open_with_pillow
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.media import formats, photo
from zerodce_jax.media.photograph import Photo
from zerodce_jax.media.samples import unpack

SIZE = (22, 30)
SETTINGS = EnhanceSettings(exposure="off", gamma=1, strength=0, protect_highlights=0, denoise=0)
ALL = gradient(*SIZE, 4)
DEEP = gradient(*SIZE, 4, dtype="uint16")
FLOAT = gradient(*SIZE, 4, dtype="float32")

Decode = Callable[[bytes], np.ndarray]


class Case(NamedTuple):
    """A file, and how to judge its result."""

    name: str
    suffix: str
    """Suffix of the file and of the result."""
    data: bytes
    decode: Decode
    """Decoder of another library than the package uses; there is only one for HEIC."""
    expected: np.ndarray | None = None
    """Samples of the result, with alpha; None stands for what `decode` reads from the file."""
    within: float = 0
    """Mean difference in levels that lossy compression may cause."""


def with_pillow(data: bytes) -> np.ndarray:
    """Return gray or RGB, with alpha if the file has transparency."""
    image = open_with_pillow(data)
    is_gray = image.mode in {"1", "L", "LA"}
    alpha = "A" if image.has_transparency_data else ""
    return np.asarray(image.convert(("L" if is_gray else "RGB") + alpha))


def samples(mode: str, pixels: np.ndarray) -> np.ndarray:
    """Return the channels of a mode, L, LA, RGB or RGBA."""
    picked = pixels[..., {"L": [0], "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}[mode]]
    return np.ascontiguousarray(picked[..., 0] if mode == "L" else picked)


def eight_bits() -> Iterator[Case]:
    """Yield files that Pillow writes with 8 bits."""
    modes = {"png": "L LA RGB RGBA", "tif": "L LA RGB RGBA", "bmp": "L RGB"}
    other_decoders: dict[str, Decode] = {
        "png": with_pillow,
        "tif": lambda data: imagecodecs.tiff_decode(data),
        "bmp": with_pillow,
    }
    for suffix, names in modes.items():
        for mode in names.split():
            pixels = samples(mode, ALL)
            data = encode_image(Image.fromarray(pixels), suffix)
            yield Case(f"{mode}, 8 bits", suffix, data, other_decoders[suffix], pixels)
    palette = Image.fromarray(samples("RGB", ALL)).quantize(9)
    bilevel = Image.fromarray(samples("L", ALL) > 99)
    for name, image, options in (
        ("palette", palette, {}),
        ("palette, transparent color", palette, {"transparency": 3}),
        ("palette of opacities", palette, {"transparency": bytes(range(0, 250, 28))}),
        ("bilevel", bilevel, {}),
        ("L, transparent color", Image.fromarray(samples("L", ALL)), {"transparency": 99}),
        ("RGB, transparent color", Image.fromarray(ALL[..., :3]), {"transparency": (0, 255, 0)}),
    ):
        data = encode_image(image, "png", **options)
        yield Case(name, "png", data, with_pillow, with_pillow(data))
        if not options:
            for suffix in ("tif", "bmp"):
                data = encode_image(image, suffix)
                decode: Decode = other_decoders[suffix]
                yield Case(name, suffix, data, decode, with_pillow(data))
    for count in (2, 4, 16):
        few = Image.fromarray(ALL[..., :3]).quantize(count)
        data = encode_image(few, "png", bits=count.bit_length() - 1)
        yield Case(f"palette of {count}", "png", data, with_pillow, with_pillow(data))
    transparent = Photo(samples("RGB", ALL), ALL[..., 3])
    data, _ = files.encode_photo(transparent, "bmp")
    yield Case("RGBA, 8 bits", "bmp", data, with_pillow, ALL)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        data = encode_image(Image.fromarray(ALL), "tif", compression=compression)
        yield Case(f"RGBA, {compression}", "tif", data, other_decoders["tif"], ALL)
    for compression in ("group3", "group4", "tiff_ccitt"):
        data = encode_image(bilevel, "tif", compression=compression)
        expected = np.asarray(bilevel, np.uint8) * 255
        yield Case(compression, "tif", data, other_decoders["tif"], expected)


def deep() -> Iterator[Case]:
    """Yield files of more than 8 bits."""
    for mode in ("L", "LA", "RGB", "RGBA"):
        pixels = samples(mode, DEEP)
        data = files.encode_png16(pixels)
        yield Case(f"{mode}, 16 bits", "png", data, without_a_library, pixels)
        for all_pixels in (DEEP, FLOAT):
            pixels = samples(mode, all_pixels)
            for layout, options in TIFF_LAYOUTS.items():
                data = with_tifffile(pixels, options)
                name = f"{mode}, {pixels.dtype}, {layout}"
                yield Case(name, "tif", data, lambda x: imagecodecs.tiff_decode(x), pixels)


TIFF_LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian LZW, predicted": {"compression": "lzw", "predictor": True, "byteorder": ">"},
    "tiles": {"tile": (16, 16), "compression": "deflate"},
    "planes": {"planarconfig": "separate"},
}


def with_tifffile(pixels: np.ndarray, options: dict[str, Any]) -> bytes:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    options = {"planarconfig": "contig"} | options
    if channels in {2, 4}:
        options["extrasamples"] = ["unassalpha"]
    if options["planarconfig"] == "separate" and channels > 1:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    file = io.BytesIO()
    photometric = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(file, pixels, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def without_a_library(data: bytes) -> np.ndarray:
    """Return the samples of a PNG file of 16 bits (ISO/IEC 15948, section 9)."""
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[data[25]]
    height, width = SIZE
    content = b"".join(part for name, part in files.png_chunks(data) if name == b"IDAT")
    lines = np.frombuffer(zlib.decompress(content), np.uint8).reshape(height, -1).astype(int)
    pixels = np.zeros((height + 1, (width + 1) * 2 * channels), int)
    for y, (kind, *line) in enumerate(lines.tolist(), start=1):
        for x, value in enumerate(line, start=2 * channels):
            left, above, corner = (
                pixels[y - dy, x - dx] for dx, dy in ((2 * channels, 0), (0, 1), (2 * channels, 1))
            )
            guess = left + above - corner
            nearest = min((left, above, corner), key=lambda known: abs(guess - known))
            predicted = (0, left, above, (left + above) // 2, nearest)[kind]
            pixels[y, x] = (value + predicted) % 256
    found = pixels[1:, 2 * channels :].astype(np.uint8).tobytes()
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.frombuffer(found, ">u2").reshape(shape).astype(np.uint16)


def lossy() -> Iterator[Case]:
    """Yield files whose compression changes the samples, and lossless WebP."""
    webp: Decode = lambda data: imagecodecs.webp_decode(data)  # noqa: E731
    for mode in ("RGB", "RGBA"):
        image = Image.fromarray(samples(mode, ALL))
        data = encode_image(image, "webp", lossless=True, exact=True)
        yield Case(f"{mode}, lossless", "webp", data, webp, samples(mode, ALL))
        yield Case(
            f"{mode}, lossy", "webp", encode_image(image, "webp", quality=95), webp, within=2
        )
    for mode in ("L", "RGB"):
        image = Image.fromarray(samples(mode, ALL))
        for name, options in (
            ("baseline", {}),
            ("progressive", {"progressive": True}),
            ("subsampled", {"subsampling": 2}),
        ):
            data = encode_image(image, "jpg", quality=95, **options)
            yield Case(f"{mode}, {name}", "jpg", data, imagecodecs.jpeg8_decode, within=1)
    for mode in ("L", "RGB", "RGBA"):
        data = encode_image(Image.fromarray(samples(mode, ALL)), "avif", quality=95)
        yield Case(f"{mode}, 8 bits", "avif", data, with_pillow, within=2)
        if files.HAS_HEIF and mode != "L":
            data = encode_image(Image.fromarray(samples(mode, ALL)), "heic", quality=95)
            yield Case(f"{mode}, 8 bits", "heic", data, with_pillow, within=2)


def modern() -> Iterator[Case]:
    """Yield JPEG XL, JPEG 2000, and AVIF of more than 8 bits.

    There is only one decoder of JPEG XL and of deep AVIF here.
    """
    for mode in ("L", "LA", "RGB", "RGBA"):
        for bits, pixels in ((8, samples(mode, ALL)), (16, samples(mode, DEEP))):
            data = imagecodecs.jpegxl_encode(pixels, lossless=True)
            if bits == 16:
                # The codec alone states linear light, which is encoded as it is read.
                colors, alpha = unpack(pixels, 1)
                data, _ = files.encode_photo(Photo(colors, alpha), "jxl")
            yield Case(f"{mode}, {bits} bits", "jxl", data, imagecodecs.jpegxl_decode, pixels)
            data = imagecodecs.jpeg2k_encode(pixels, reversible=True)
            decode = with_pillow if bits == 8 else imagecodecs.jpeg2k_decode
            yield Case(f"{mode}, {bits} bits", "jp2", data, decode, pixels)
    for bits in (10, 12):
        for mode in ("RGB", "RGBA"):
            pixels = samples(mode, DEEP) >> (16 - bits)
            data = imagecodecs.avif_encode(pixels, level=95, bitspersample=bits)
            yield Case(
                f"{mode}, {bits} bits", "avif", data, imagecodecs.avif_decode, within=3 << bits - 8
            )


CASES = [*eight_bits(), *deep(), *lossy(), *modern()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.suffix}, {case.name}")
def test_settings_without_effect_leave_every_sample(case: Case, tmp_path: Path) -> None:
    source, target = (tmp_path / f"{name}.{case.suffix}" for name in ("in", "out"))
    source.write_bytes(case.data)
    read = photo.read(source)
    enhanced = enhancer_of("scene", batch=0)(read.pixels, SETTINGS)
    losses = photo.write(target, replace(read, pixels=enhanced))
    assert (read.notes, losses) == ((), ())
    assert formats.format_of(target) == read.format
    actual = case.decode(target.read_bytes())
    expected = case.decode(case.data) if case.expected is None else case.expected
    if actual.ndim == 3 and actual.shape[2] == 1:
        actual = actual[..., 0]
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if case.within:
        assert np.abs(actual.astype(int) - expected).mean() <= case.within
    else:
        np.testing.assert_array_equal(actual, expected)
