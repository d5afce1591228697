"""pillow.py: modes, encoding options, limits of formats, and Pillow images."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from helpers import photo_files as files
from helpers.photo_files import (
    ALPHA,
    IMAGE,
    LOSSLESS_SUFFIXES,
    METADATA_SUFFIXES,
    assert_same,
    encode_image,
    encode_photo,
    file_with_metadata,
    gradient,
    open_with_pillow,
    round_trip,
)
from zerodce_jax.errors import InputError, install_command
from zerodce_jax.media import decoding, formats, photo, profiles
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.photograph import Photo


def image_of_mode(name: str) -> tuple[Image.Image, dict[str, int]]:
    """Return an image of a mode and, if the name ends in tRNS, the option for transparency."""
    color, transparent = Image.fromarray(np.dstack([gradient(20, 30, 3), ALPHA])), {}
    plain, _, extra = name.partition(" ")
    if plain == "P":
        image = color.convert("RGB").quantize(9)
        transparent = {"transparency": 4}
    else:
        image = color.convert(plain)
        corner = image.getpixel((0, 0))
        transparent = {"transparency": corner}
    return image, transparent if extra else {}


MODES = {
    "png": ("L", "RGB", "LA", "RGBA", "P", "P tRNS", "1", "1 tRNS", "L tRNS", "RGB tRNS"),
    "tif": ("L", "RGB", "LA", "RGBA", "P", "1"),
    "bmp": ("L", "RGB", "P", "1"),
    "gif": ("L", "P", "P tRNS", "1"),
    "webp": ("RGB", "RGBA"),
    "jpg": ("L", "RGB"),
    "avif": ("L", "RGB", "RGBA"),
    "heic": ("L", "RGB", "LA", "RGBA"),
}


@pytest.mark.parametrize(
    ("suffix", "name"), [(suffix, name) for suffix in MODES for name in MODES[suffix]]
)
def test_every_mode_is_read_and_written_again(suffix: str, name: str) -> None:
    image, options = image_of_mode(name)
    data = encode_image(image, suffix, **options)
    reference = open_with_pillow(data)
    gray = reference.mode in {"L", "LA", "1"}
    target = ("L" if gray else "RGB") + ("A" if reference.has_transparency_data else "")
    expected = np.asarray(reference.convert({"RGBA": "RGBA", "LA": "LA"}.get(target, target)))
    read = decoding.decode(data)
    actual = read.pixels if read.alpha is None else np.dstack([read.pixels, read.alpha])
    np.testing.assert_array_equal(actual, expected)
    assert (read.alpha is not None) == (" " in name or name.endswith("A"))
    assert read.pixels.dtype == np.uint8
    assert read.format == formats.format_of(Path(f"x.{suffix}"))
    for other in {suffix, "png", "tif"} - {"gif"}:
        tolerance = 0 if other in LOSSLESS_SUFFIXES else 4
        assert_same(round_trip(read, other), read, within=tolerance)
        assert open_with_pillow(encode_photo(read, other)[0]).format == files.FORMATS[other]


@pytest.mark.parametrize("adobe", [False, True])
def test_cmyk_is_converted_with_a_note(adobe: bool) -> None:
    inks = Image.merge("CMYK", [Image.fromarray(gradient(20, 30) // 2)] * 4)
    data = encode_image(inks, "jpg", quality=100, icc_profile=b"not a profile")
    if not adobe:
        # Pillow writes inverted inks, and the mark of Adobe that says so.
        at = data.index(b"\xff\xeeAdobe"[:2] + b"\0\x0eAdobe")
        data = data[:at] + data[at + 16 :]
    read = decoding.decode(data)
    expected, note = profiles.from_cmyk(np.asarray(inks), b"not a profile")
    if not adobe:
        expected, _ = profiles.from_cmyk(255 - np.asarray(inks), None)
    assert np.abs(read.pixels.astype(int) - expected).mean() < 2
    assert read.metadata.icc == profiles.srgb()
    assert read.notes == (note,)
    written, losses = encode_photo(read, "jpg")
    assert (open_with_pillow(written).mode, losses) == ("RGB", ())


@pytest.mark.parametrize("source", METADATA_SUFFIXES)
def test_bmp_keeps_no_metadata_but_the_resolution(source: str) -> None:
    first = decoding.decode(file_with_metadata(source))
    data, losses = encode_photo(first, "bmp")
    assert losses == ("bmp does not support metadata, which is dropped",)
    if first.metadata.dpi:
        assert decoding.decode(data).metadata.dpi == pytest.approx((300, 300), abs=0.01)
    assert encode_photo(decoding.decode(encode_image(IMAGE, source)), "bmp")[1] == ()


def test_blocks_too_large_for_jpeg_are_dropped_with_a_message() -> None:
    exif = files.exif(6, extra=((0xC000, 7, bytes(66_000)),))
    xmp = files.xmp(6).replace(b"</rdf:RDF>", b"</rdf:RDF>" + b" " * 66_000)
    first = decoding.decode(file_with_metadata("png", exif=exif, xmp=xmp))
    data, losses = encode_photo(first, "jpg")
    assert losses == (
        "EXIF is too large for jpeg and is dropped",
        "XMP is too large for jpeg and is dropped",
    )
    assert decoding.decode(data).metadata.exif is None
    assert decoding.decode(data).metadata.icc == files.ICC
    assert encode_photo(first, "webp")[1] == encode_photo(first, "tif")[1] == ()
    # A color profile of any size fits, together with the other blocks.
    full = Metadata(files.exif(), files.xmp(), bytes(range(256)) * 1500, (72.0, 72.0))
    assert round_trip(Photo(gradient(3, 3, 3), metadata=full), "jpg").metadata.icc == full.icc


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [3, 50, 95, 100])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("name", ["RGB", "L"])
def test_jpeg_keeps_its_encoding_options(
    subsampling: int, quality: int, progressive: bool, name: str
) -> None:
    options = {"subsampling": subsampling, "quality": quality, "progressive": progressive}
    first = encode_image(IMAGE.convert(name), "jpg", **options)
    before = open_with_pillow(first)
    after = open_with_pillow(encode_photo(decoding.decode(first), "jpg")[0])
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
    assert after.info.get("progressive") == before.info.get("progressive")
    assert after.mode == name
    # A photograph of another format is encoded with the default options.
    png = decoding.decode(encode_image(IMAGE, "png"))
    assert open_with_pillow(encode_photo(png, "jpg")[0]).quantization[0][0] < 3


def test_jpeg_keeps_its_comment_and_unknown_segments() -> None:
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x04\x1c\x02\0\0"
    segments = [(b"\xed", iptc), (b"\xe2", b"FPXR\0own"), (b"\xeb", b"JP\0\1"), (b"\xe1", b"other")]
    extra = b"".join(
        b"\xff" + name + (len(body) + 2).to_bytes(2, "big") + body for name, body in segments
    )
    first = decoding.decode(file_with_metadata("jpg", comment=b"words \xff", extra=extra))
    image = open_with_pillow(encode_photo(first, "jpg")[0])
    assert image.info["comment"] == b"words \xff"
    for _, body in segments:
        assert [content for _, content in image.applist].count(body) == 1
    names = [name + content[:5].decode("latin1") for name, content in image.applist]
    assert sorted(names) == sorted(set(names))
    _, losses = encode_photo(first, "webp")
    assert losses == ("webp does not support its comment, which is dropped",)


@pytest.mark.parametrize("tables", [(1, 1), (2, 1), (1, 0), (3, 0)])
def test_jpeg_tables_may_have_any_number(tables: tuple[int, int]) -> None:
    data = bytearray(encode_image(IMAGE, "jpg", quality=40))
    first, second = data.index(b"\xff\xdb\0C\0"), data.index(b"\xff\xdb\0C\1")
    frame = data.index(b"\xff\xc0")
    data[first + 4], data[second + 4] = tables
    data[frame + 12], data[frame + 15], data[frame + 18] = tables[0], tables[1], tables[1]
    before = decoding.decode(bytes(data))
    after = open_with_pillow(encode_photo(before, "jpg")[0])
    if tables[0] != tables[1]:
        expected = open_with_pillow(encode_image(IMAGE, "jpg", quality=40)).quantization
        assert after.quantization == expected
    assert_same(decoding.decode(encode_photo(before, "jpg")[0]), before, within=2)


def test_jpeg_with_coarse_tables_is_written_without_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = encode_image(IMAGE, "jpg", qtables=[[1000] * 64, [300] * 64])
    capfd.readouterr()
    round_trip(decoding.decode(data), "jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("metadata", [{}, {"exif": files.exif(1), "icc_profile": files.ICC}])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossless_webp_stays_lossless(metadata: dict[str, bytes], has_alpha: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    noise[:5, :, 3] = 0
    image = Image.fromarray(noise if has_alpha else noise[..., :3])
    first = decoding.decode(encode_image(image, "webp", lossless=True, exact=True, **metadata))
    second = round_trip(first, "webp")
    assert_same(second, Photo(noise[..., :3], noise[..., 3] if has_alpha else None))
    assert_same(round_trip(second, "webp"), first)


def test_lossy_webp_is_written_with_default_options() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    first = decoding.decode(encode_image(noise, "webp", quality=90))
    assert encode_photo(first, "webp")[0] == encode_photo(Photo(first.pixels), "webp")[0]


def test_heic_without_its_package_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.heic"
    path.write_bytes(encode_image(IMAGE, "heic"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    needed = f"HEIC needs a package: {install_command('heif')}"
    for attempt in (
        lambda: photo.read(path),
        lambda: photo.size(path),
        lambda: photo.write(path, Photo(gradient(20, 30, 3))),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert str(caught.value) == f"{path}: {needed}"
    # AVIF needs no further package.
    assert decoding.decode(encode_image(IMAGE, "avif")).pixels.shape == (20, 30, 3)


TOO_LONG = [("webp", 16_384), ("jpg", 65_501), ("avif", 32_769)]
TOO_LONG += [pytest.param("heic", 65_536, marks=pytest.mark.needs("pillow_heif"))]


@pytest.mark.parametrize(("suffix", "width"), TOO_LONG)
def test_images_too_large_for_a_format_are_refused(
    suffix: str, width: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"x.{suffix}"
    for shape in ((16, width, 3), (width, 16)):
        with pytest.raises(InputError, match=f"x.{suffix}: "):
            photo.write(path, Photo(np.zeros(shape, np.uint8)))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["RGB", "L", "RGBA", "LA", "P", "P tRNS", "1", "RGBX", "La"])
def test_pillow_images_are_converted_and_restored(name: str) -> None:
    image = image_of_mode(name)[0] if name != "La" else image_of_mode("LA")[0].convert("La")
    image.info |= image_of_mode(name)[1] if name.endswith("tRNS") else {}
    image.info |= {"icc_profile": files.ICC, "dpi": (300, 300), "xmp": files.xmp(1)}
    image.info["exif"] = b"Exif\0\0" + files.exif(1)
    taken = photo.from_pil(image)
    assert taken.format is None
    made = photo.to_pil(taken)
    target = {"P": "RGB", "P tRNS": "RGBA", "1": "L", "RGBX": "RGB", "La": "LA"}.get(name, name)
    assert made.mode == target
    np.testing.assert_array_equal(np.asarray(made), np.asarray(image.convert(target)))
    # Users of Pillow pass these entries on when they save an image.
    for suffix in ("jpg", "png", "webp", "tif"):
        file = io.BytesIO()
        kept = {key: made.info[key] for key in ("exif", "icc_profile", "dpi")}
        made.convert("RGB").save(file, format=files.FORMATS[suffix], **kept)
        read = decoding.decode(file.getvalue()).metadata
        assert files.exif_tags(read.exif) == files.exif_tags(files.exif())
        assert read.icc == files.ICC


@pytest.mark.parametrize("suffix", METADATA_SUFFIXES)
def test_pillow_images_are_turned_upright(suffix: str) -> None:
    taken = photo.from_pil(Image.open(io.BytesIO(file_with_metadata(suffix))))
    assert taken.pixels.shape == (30, 20, 3)
    np.testing.assert_array_equal(taken.pixels, decoding.decode(file_with_metadata(suffix)).pixels)
    assert photo.to_pil(taken).getexif().get(files.ORIENTATION, 1) == 1


def test_gray_pillow_images_of_16_bits_are_kept() -> None:
    deep = gradient(20, 30, dtype="uint16")
    image = Image.fromarray(deep)
    taken = photo.from_pil(image)
    np.testing.assert_array_equal(taken.pixels, deep)
    assert photo.to_pil(taken).mode == "I;16"
    with pytest.raises(InputError, match="uint16"):
        photo.to_pil(Photo(gradient(4, 4, 3, dtype="uint16")))


UNSUPPORTED_IMAGES = [
    None,
    "x.png",
    *(Image.new(name, (4, 4)) for name in ("CMYK", "LAB", "HSV", "I", "F")),
]


@pytest.mark.parametrize(
    "image", UNSUPPORTED_IMAGES, ids=lambda image: getattr(image, "mode", None)
)
def test_unsupported_pillow_images_are_refused(image: object) -> None:
    with pytest.raises(
        InputError,
        match=r"not an array or a Pillow image but a|images of mode \w+ are not supported",
    ):
        photo.from_pil(image)


def test_pillow_images_with_damaged_exif_are_converted() -> None:
    image = Image.fromarray(gradient(4, 5, 3))
    for exif in (b"garbage", b"II*\0\xff\xff\xff\xff", b"Exif\0\0", b""):
        image.info["exif"] = exif
        assert photo.from_pil(image).pixels.shape == (4, 5, 3)
