"""photo.py: every format in and out, with all that it carries; damage, refusals, failed writes."""

import io
import os
import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps, JpegImagePlugin

from helpers import picture_files as files
from helpers.picture_files import (
    CARRYING,
    PICTURE,
    again,
    carrying,
    content,
    encoded,
    opened,
    smooth,
)
from zerodce_jax.errors import InputError
from zerodce_jax.media import formats, photo
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.photo import Photo

WRITTEN = (*CARRYING, "bmp")
LOSSLESS = ("png", "tif", "bmp")
ALPHA = smooth(20, 30)[::-1]


def assert_same(read: Photo, expected: Photo, *, within: float = 0) -> None:
    """The same pixels, or on average not further off than that."""
    assert read.pixels.dtype == expected.pixels.dtype
    assert read.pixels.shape == expected.pixels.shape
    assert (read.alpha is None) == (expected.alpha is None)
    pairs = [(read.pixels, expected.pixels)]
    if read.alpha is not None and expected.alpha is not None:
        pairs.append((read.alpha, expected.alpha))
    for got, wanted in pairs:
        assert np.abs(got.astype(float) - wanted).mean() <= within


# Names.


def test_formats_and_their_suffixes() -> None:
    for name in ("a.jpg", "a.JPEG", "a.png", "a.PNG", "a.webp", "a.tif", "a.tiff", "a.bmp"):
        assert formats.format_of(Path(name)) is not None
    for name in ("a.avif", "a.heic", "a.HEIC", "a.heif", "a.hif", "a.gif", "a.b/c.gif"):
        assert formats.format_of(Path(name)) is not None
    for name in ("a.txt", "a", "a.svg", "a.dng", ".png", "jpg", "a.png/b"):
        assert formats.format_of(Path(name)) is None
    for kind in ("png", "jpeg", "webp", "tiff", "bmp", "avif", "heif", "gif"):
        assert formats.format_of(Path(f"a{formats.suffix_of(kind)}")) == kind


def test_formats_are_told_by_content_and_are_few(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(content(PICTURE, "png"))
    np.testing.assert_array_equal(photo.read(tmp_path / "x.jpg").pixels, smooth(20, 30, 3))
    assert photo.read(tmp_path / "x.jpg").kind == "png"
    # Decoders beyond those of the formats that have a suffix are not asked at all.
    for other in ("PPM", "TGA", "ICO", "PCX", "JPEG2000"):
        PICTURE.save(tmp_path / "y.png", format=other)
        assert_refused(tmp_path / "y.png")


# Pixels.


def mode(name: str) -> tuple[Image.Image, dict[str, int]]:
    """A picture of that mode and, where its name says tRNS, a transparent colour."""
    colour, transparent = Image.fromarray(np.dstack([smooth(20, 30, 3), ALPHA])), {}
    plain, _, extra = name.partition(" ")
    if plain == "P":
        image = colour.convert("RGB").quantize(9)
        transparent = {"transparency": 4}
    else:
        image = colour.convert(plain)
        corner = image.getpixel((0, 0))
        transparent = {"transparency": corner}
    return image, transparent if extra else {}


HELD = {
    "png": ("L", "RGB", "LA", "RGBA", "P", "P tRNS", "1", "1 tRNS", "L tRNS", "RGB tRNS"),
    "tif": ("L", "RGB", "LA", "RGBA", "P", "1"),
    "bmp": ("L", "RGB", "P", "1"),
    "gif": ("L", "P", "P tRNS", "1"),
    "webp": ("RGB", "RGBA"),
    "jpg": ("L", "RGB"),
    "avif": ("L", "RGB", "RGBA"),
    "heic": ("L", "RGB", "LA", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "name"), [(k, name) for k in HELD for name in HELD[k]])
def test_every_mode_is_read_and_written_again(suffix: str, name: str) -> None:
    image, options = mode(name)
    data = content(image, suffix, **options)
    judge = opened(data)
    gray = judge.mode in {"L", "LA", "1"}
    target = ("L" if gray else "RGB") + ("A" if judge.has_transparency_data else "")
    wanted = np.asarray(judge.convert({"RGBA": "RGBA", "LA": "LA"}.get(target, target)))
    read = photo.decode(data)
    got = read.pixels if read.alpha is None else np.dstack([read.pixels, read.alpha])
    np.testing.assert_array_equal(got, wanted)
    assert (read.alpha is not None) == (" " in name or name.endswith("A"))
    assert read.pixels.dtype == np.uint8
    assert read.kind == formats.format_of(Path(f"x.{suffix}"))
    for other in {suffix, "png", "tif"} - {"gif"}:
        exact = other in LOSSLESS
        assert_same(again(read, other), read, within=0 if exact else 4)
        assert opened(encoded(read, other)[0]).format == files.FORMATS[other]


@given(
    st.sampled_from([("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tif", "uint16")])
    | st.sampled_from([("tif", "float32"), ("bmp", "uint8")]),
    st.sampled_from([(), (3,)]),
    st.booleans(),
    st.data(),
)
def test_lossless_formats_there_and_back(
    held: tuple[str, str], channels: tuple[int, ...], has_alpha: bool, data: st.DataObject
) -> None:
    suffix, dtype = held
    area = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    values = st.floats(0, 1, width=32) if dtype == "float32" else None
    pixels = data.draw(hnp.arrays(dtype, (*area, *channels), elements=values))
    alpha = None
    if has_alpha and suffix != "bmp":
        alpha = data.draw(hnp.arrays(dtype, area, elements=values))
    given = Photo(pixels, alpha)
    assert_same(again(given, suffix), given)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "heic"])
@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30), (1, 1, 3), (1, 1), (3, 64)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossy_formats_there_and_back(suffix: str, shape: tuple[int, ...], has_alpha: bool) -> None:
    alpha = smooth(*shape[:2])[:, ::-1].copy() if has_alpha else None
    given = Photo(smooth(*shape), alpha)
    read = again(given, suffix)
    if read.pixels.ndim > len(shape):
        # WebP knows no gray, AVIF and HEIC none with alpha.
        assert suffix == "webp" or has_alpha
        given = Photo(np.dstack([given.pixels] * 3), alpha)
    if suffix == "jpg":
        given = Photo(given.pixels)
    assert_same(read, given, within=8)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "avif", "heic"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_more_than_8_bits_are_rounded_where_8_fit(suffix: str, dtype: str) -> None:
    deep = Photo(smooth(24, 24, 3, dtype=dtype), smooth(24, 24, dtype=dtype))
    top = 1.0 if dtype == "float32" else 65535.0
    rounded = [np.floor(x / top * 255 + 0.5).astype(np.uint8) for x in (deep.pixels, deep.alpha)]
    data, _ = encoded(deep, suffix)
    assert data == encoded(Photo(*rounded), suffix)[0]


def test_floats_become_16_bits_in_png() -> None:
    deep = Photo(smooth(9, 9, 3, dtype="float32"), smooth(9, 9, dtype="float32"))
    read = again(deep, "png")
    assert read.pixels.dtype == read.alpha.dtype == np.uint16
    np.testing.assert_allclose(read.pixels / 65535, deep.pixels, atol=1 / 65535)


REFUSED = [("jpg", "CMYK"), ("tif", "CMYK"), ("tif", "LAB"), ("tif", "YCbCr")]


@pytest.mark.parametrize(("suffix", "name"), REFUSED)
def test_other_colours_are_refused_by_mode(suffix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content(Image.new(name, (4, 4)), suffix))
    message = f"{path}: images of mode {name} are not handled; convert it to RGB"
    with pytest.raises(InputError) as caught:
        photo.read(path)
    assert str(caught.value) == message


def turned(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera held in that way stores a picture."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("said_by", ["exif", "xmp", "element", "both"])
@pytest.mark.parametrize("suffix", CARRYING)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_once_and_for_all(
    suffix: str, orientation: int, said_by: str
) -> None:
    upright = np.zeros((64, 128, 3), np.uint8)
    upright[:32, :64], upright[32:, :64], upright[32:, 64:] = 250, (120, 60, 60), 170
    stored = Image.fromarray(np.ascontiguousarray(turned(upright, orientation)))
    carried = {}
    if said_by in {"exif", "both"}:
        carried["exif"] = files.exif(orientation, thumbnail=files.THUMBNAIL)
    if said_by != "exif":
        carried["xmp"] = files.xmp(orientation, as_element=said_by == "element")
    read = photo.decode(content(stored, suffix, **carried))
    assert_same(read, Photo(upright), within=0 if suffix in LOSSLESS else 2)
    for other in CARRYING if said_by == "both" else (suffix,):
        data, _ = encoded(read, other)
        image = opened(data)
        assert image.getexif().get(files.ORIENTATION, 1) == 1
        assert image.info.get("original_orientation") in {None, 1}
        assert ImageOps.exif_transpose(image).size == image.size == (128, 64)
        for value in (image.info.get("xmp"), data):
            assert b"tiff:Orientation" not in (value or b"").replace(
                b'tiff:Orientation="1"', b""
            ).replace(b"<tiff:Orientation>1</tiff:Orientation>", b"")


# What goes along.


@pytest.mark.parametrize("source", CARRYING)
def test_bmp_holds_but_the_resolution(source: str) -> None:
    first = photo.decode(carrying(source))
    data, losses = encoded(first, "bmp")
    assert losses == ("bmp holds no metadata, which is left out",)
    if first.metadata.dpi:
        assert photo.decode(data).metadata.dpi == pytest.approx((300, 300), abs=0.01)
    assert encoded(photo.decode(content(PICTURE, source)), "bmp")[1] == ()


@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_what_has_no_transparency_says_so(suffix: str, shape: tuple[int, ...]) -> None:
    kind = formats.format_of(Path(f"x.{suffix}"))
    data, losses = encoded(Photo(smooth(*shape), ALPHA), suffix)
    assert losses == (f"{kind} has no transparency, which is left out",)
    assert photo.decode(data).alpha is None
    assert photo.decode(data).pixels.shape == shape


def test_blocks_too_large_for_jpeg_are_left_out_with_a_note() -> None:
    exif = files.exif(6, extra=((0xC000, 7, bytes(66_000)),))
    xmp = files.xmp(6).replace(b"</rdf:RDF>", b"</rdf:RDF>" + b" " * 66_000)
    first = photo.decode(carrying("png", exif=exif, xmp=xmp))
    data, losses = encoded(first, "jpg")
    assert losses == (
        "EXIF is too large for jpeg and left out",
        "XMP is too large for jpeg and left out",
    )
    assert photo.decode(data).metadata.exif is None
    assert photo.decode(data).metadata.icc == files.ICC
    assert encoded(first, "webp")[1] == encoded(first, "tif")[1] == ()
    # A profile may be as large as it likes, and all at once fit too.
    full = Metadata(files.exif(), files.xmp(), bytes(range(256)) * 1500, (72.0, 72.0))
    assert again(Photo(smooth(3, 3, 3), metadata=full), "jpg").metadata.icc == full.icc


@pytest.mark.parametrize("per_metre", [0, 1, 3_000_000, 0xFFFFFFFF])
def test_absurd_resolutions_do_no_harm(per_metre: int) -> None:
    dots = (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    read = photo.decode(files.with_chunks(content(PICTURE, "png"), dots))
    assert read.metadata.dpi is None
    for suffix in WRITTEN:
        assert again(read, suffix).pixels.shape == (20, 30, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "heic"])
def test_stripped_pictures_keep_their_colours_alone(suffix: str) -> None:
    extra = {"comment": b"words", "extra": b"\xff\xed\0\x08secret"} if suffix == "jpg" else {}
    stripped = photo.decode(carrying(suffix, **extra)).stripped()
    data, losses = encoded(stripped, suffix)
    assert losses == ()
    read = photo.decode(data)
    assert read.metadata.icc == files.ICC
    assert not files.tags_of(read.metadata.exif)
    assert read.metadata.xmp is None
    # Where there is none, Pillow takes the 72 of EXIF's standard.
    assert read.metadata.dpi is None
    for secret in (b"camera", b"firmware", files.NOTE, b"Rating", b"words", b"secret"):
        assert secret not in data
    assert read.pixels.shape == (30, 20, 3)
    if suffix == "jpg":
        assert opened(data).quantization == opened(carrying(suffix)).quantization


# How a file was encoded.


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [3, 50, 95, 100])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("name", ["RGB", "L"])
def test_jpeg_is_encoded_as_it_was(
    subsampling: int, quality: int, progressive: bool, name: str
) -> None:
    options = {"subsampling": subsampling, "quality": quality, "progressive": progressive}
    first = content(PICTURE.convert(name), "jpg", **options)
    before, after = opened(first), opened(encoded(photo.decode(first), "jpg")[0])
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
    assert after.info.get("progressive") == before.info.get("progressive")
    assert after.mode == name
    # Not as another format.
    assert opened(encoded(photo.decode(content(PICTURE, "png")), "jpg")[0]).quantization[0][0] < 3


def test_jpeg_keeps_its_comment_and_unknown_segments() -> None:
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x04\x1c\x02\0\0"
    segments = [(b"\xed", iptc), (b"\xe2", b"FPXR\0own"), (b"\xeb", b"JP\0\1"), (b"\xe1", b"other")]
    extra = b"".join(
        b"\xff" + name + (len(body) + 2).to_bytes(2, "big") + body for name, body in segments
    )
    first = photo.decode(carrying("jpg", comment=b"words \xff", extra=extra))
    image = opened(encoded(first, "jpg")[0])
    assert image.info["comment"] == b"words \xff"
    for _, body in segments:
        assert [content for _, content in image.applist].count(body) == 1
    names = [name + content[:5].decode("latin1") for name, content in image.applist]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("tables", [(1, 1), (2, 1), (1, 0), (3, 0)])
def test_jpeg_tables_go_by_any_number(tables: tuple[int, int]) -> None:
    data = bytearray(content(PICTURE, "jpg", quality=40))
    first, second = data.index(b"\xff\xdb\0C\0"), data.index(b"\xff\xdb\0C\1")
    frame = data.index(b"\xff\xc0")
    data[first + 4], data[second + 4] = tables
    data[frame + 12], data[frame + 15], data[frame + 18] = tables[0], tables[1], tables[1]
    before, after = photo.decode(bytes(data)), opened(encoded(photo.decode(bytes(data)), "jpg")[0])
    if tables[0] != tables[1]:
        wanted = opened(content(PICTURE, "jpg", quality=40)).quantization
        assert after.quantization == wanted
    assert_same(photo.decode(encoded(before, "jpg")[0]), before, within=2)


def test_jpeg_of_coarse_tables_is_written_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    data = content(PICTURE, "jpg", qtables=[[1000] * 64, [300] * 64])
    capfd.readouterr()
    again(photo.decode(data), "jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("carried", [{}, {"exif": files.exif(1), "icc_profile": files.ICC}])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_webp_without_loss_stays_so(carried: dict[str, bytes], has_alpha: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    noise[:5, :, 3] = 0
    image = Image.fromarray(noise if has_alpha else noise[..., :3])
    first = photo.decode(content(image, "webp", lossless=True, exact=True, **carried))
    second = again(first, "webp")
    assert_same(second, Photo(noise[..., :3], noise[..., 3] if has_alpha else None))
    assert_same(again(second, "webp"), first)


def test_webp_with_loss_is_written_as_well_as_anew() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    first = photo.decode(content(noise, "webp", quality=90))
    assert encoded(first, "webp")[0] == encoded(Photo(first.pixels), "webp")[0]


def several(suffix: str) -> bytes:
    frames = [PICTURE.rotate(90), PICTURE.rotate(180)]
    if suffix == "mpo":
        file = io.BytesIO()
        PICTURE.save(file, format="MPO", save_all=True, append_images=frames)
        return file.getvalue()
    return content(PICTURE, suffix, save_all=True, append_images=frames)


@pytest.mark.parametrize("suffix", ["tif", "png", "gif", "webp", "avif", "heic", "mpo"])
def test_of_several_pictures_the_first_is_taken_with_a_note(suffix: str) -> None:
    read = photo.decode(several(suffix))
    (note,) = read.notes
    assert note.startswith("only the first of its")
    lossy = {"webp", "avif", "heic", "mpo", "gif"}
    assert_same(read, Photo(smooth(20, 30, 3)), within=6 if suffix in lossy else 0)
    suffix = {"mpo": "jpg", "gif": "png"}.get(suffix, suffix)
    data, _ = encoded(read, suffix)
    assert photo.decode(data).notes == ()
    assert getattr(opened(data), "n_frames", 1) == 1
    assert opened(data).format == files.FORMATS[suffix]


def test_heic_of_10_bits_is_taken_as_8_with_a_note() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    deep = smooth(32, 32, 3, dtype="uint16")
    pillow_heif.encode("RGB;16", (32, 32), deep.tobytes(), file, quality=95)
    read = photo.decode(file.getvalue())
    assert read.notes == ("its 10 bits are taken as 8",)
    assert_same(read, Photo(smooth(32, 32, 3)), within=4)


def test_heic_says_which_package_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.heic"
    path.write_bytes(content(PICTURE, "heic"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    needed = "HEIC needs a package: pip install 'zerodce-jax[heif]'"
    for attempt in (
        lambda: photo.read(path),
        lambda: photo.size(path),
        lambda: photo.write(path, Photo(smooth(20, 30, 3))),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert str(caught.value) == f"{path}: {needed}"
    # AVIF needs none.
    assert photo.decode(content(PICTURE, "avif")).pixels.shape == (20, 30, 3)


# Files.


HIF = pytest.param("hif", marks=pytest.mark.needs("pillow_heif"))


@pytest.mark.parametrize("suffix", [*WRITTEN, "jpeg", "TIFF", HIF])
def test_files_there_and_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"x.{suffix}"
    losses = photo.write(path, Photo(smooth(20, 30, 3), ALPHA))
    assert len(losses) == (suffix in {"jpg", "jpeg", "bmp"})
    read = photo.read(path)
    assert read.kind == formats.format_of(path)
    assert (read.alpha is None) == bool(losses)
    assert_same(Photo(read.pixels), Photo(smooth(20, 30, 3)), within=4)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", files.FORMATS)
def test_size_is_known_before_the_pixels(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    exif = {} if suffix in {"bmp", "gif"} else {"exif": files.exif(6)}
    path.write_bytes(content(PICTURE, suffix, **exif))
    size = photo.size(path)
    read = photo.read(path)
    # AVIF and HEIC say by themselves how they are turned.
    assert sorted(size) == sorted(read.pixels.shape[:2]) == [20, 30]
    assert size == (30, 20) or suffix in {"avif", "heic"}
    assert photo.read(path, max_pixels=600).kind == read.kind
    for attempt in (photo.size, photo.read):
        with pytest.raises(InputError, match=r"x\.\w+: .*0x.*0 pixels are more than the limit of"):
            attempt(path, max_pixels=599)


def test_the_limit_is_300_megapixels_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    one = files.content(Image.new("1", (8, 1)), "png")

    def promise(width: int, height: int) -> None:
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + one[24:29]
        path.write_bytes(one[:8] + files.chunk(b"IHDR", head) + one[33:])

    promise(20_000, 15_000)
    assert photo.size(path) == (20_000, 15_000)
    promise(20_001, 15_000)
    with pytest.raises(InputError, match=r"20001x15000 pixels .* 300,000,000 \(--max-pixels\)"):
        photo.read(path)


def test_photographs_of_100_megapixels_are_read_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (12_500, 8_000)).save(path)
    assert photo.read(path).pixels.shape == (8_000, 12_500)


def assert_refused(path: Path) -> None:
    """In one line that names the file."""
    for attempt in (photo.read, photo.size):
        with pytest.raises(InputError) as caught:
            attempt(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        # Sockets have short names.
        here = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/s.png")
        os.close(here)
        for name in ("folder.png", "pipe.png", "null.png", "s.png"):
            assert_refused(tmp_path / name)
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(16 * photo.MAX_PIXELS + (1 << 28) + 1)
    assert_refused(tmp_path / "huge.jpg")
    with pytest.raises(FileNotFoundError):
        photo.read(tmp_path / "missing.png")


# Pillow warns of odd EXIF and TIFF tags.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", files.FORMATS)
def test_damaged_files_are_refused_by_name(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = content(Image.fromarray(noise), suffix)
    half, head = whole[: len(whole) // 2], whole[:20]
    for data in (half, head, b"", b"this is no picture\n" * 20, bytes(1000)):
        path = tmp_path / f"x\n.{suffix}"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            photo.read(path)
        assert len(str(caught.value).replace(str(path), "").splitlines()) == 1
        assert str(caught.value).startswith(f"{path}: ")


def test_read_rgb_is_what_training_takes(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    deep = Photo(smooth(20, 30, dtype="uint16"), smooth(20, 30, dtype="uint16"))
    photo.write(path, deep)
    read = photo.read_rgb(path)
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[..., 1], smooth(20, 30))
    path.write_bytes(content(PICTURE, "png", exif=files.exif(6)))
    np.testing.assert_array_equal(photo.read_rgb(path), np.rot90(smooth(20, 30, 3), -1))
    small = PICTURE.rotate(-90, expand=True).resize((7, 7), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(photo.read_rgb(path, size=7), np.asarray(small))


# Writing.


@pytest.mark.parametrize("name", ["x.txt", "x", "x.gif", "x.svg"])
def test_other_formats_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}: (no image format|gif is not written)"):
        photo.write(tmp_path / "new" / name, Photo(smooth(4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


TOO_LONG = [("webp", 16_384), ("jpg", 65_501), ("avif", 32_769)]
TOO_LONG += [pytest.param("heic", 65_536, marks=pytest.mark.needs("pillow_heif"))]


@pytest.mark.parametrize(("suffix", "width"), TOO_LONG)
def test_pictures_too_large_for_a_format(
    suffix: str, width: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"x.{suffix}"
    for shape in ((16, width, 3), (width, 16)):
        with pytest.raises(InputError, match=f"x.{suffix}: "):
            photo.write(path, Photo(np.zeros(shape, np.uint8)))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_failed_writes_leave_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "below" / "x.png"

    def cut_short(file: Path, data: bytes) -> None:
        with file.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "disk full")

    def write() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", cut_short)
            with pytest.raises(OSError, match="disk full"):
                photo.write(path, Photo(smooth(4, 4, 3)))

    write()
    assert list(path.parent.iterdir()) == []
    photo.write(path, Photo(smooth(5, 5, 3)))
    write()
    # Nor is anything touched where the picture cannot be encoded.
    with pytest.raises(InputError, match="cannot be written as png"):
        photo.write(path, Photo(np.zeros((0, 0), np.uint8)))
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(photo.read(path).pixels, smooth(5, 5, 3))


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    photo.write(tmp_path / "x.png", Photo(smooth(4, 4, 3)))
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


# Pillow's images.


@pytest.mark.parametrize("name", ["RGB", "L", "RGBA", "LA", "P", "P tRNS", "1", "RGBX", "La"])
def test_pillow_images_there_and_back(name: str) -> None:
    image = mode(name)[0] if name != "La" else mode("LA")[0].convert("La")
    image.info |= mode(name)[1] if name.endswith("tRNS") else {}
    image.info |= {"icc_profile": files.ICC, "dpi": (300, 300), "xmp": files.xmp(1)}
    image.info["exif"] = b"Exif\0\0" + files.exif(1)
    taken = photo.from_pil(image)
    assert taken.kind is None
    made = photo.to_pil(taken)
    target = {"P": "RGB", "P tRNS": "RGBA", "1": "L", "RGBX": "RGB", "La": "LA"}.get(name, name)
    assert made.mode == target
    np.testing.assert_array_equal(np.asarray(made), np.asarray(image.convert(target)))
    # As Pillow's users write what they opened.
    for suffix in ("jpg", "png", "webp", "tif"):
        file = io.BytesIO()
        kept = {key: made.info[key] for key in ("exif", "icc_profile", "dpi")}
        made.convert("RGB").save(file, format=files.FORMATS[suffix], **kept)
        read = photo.decode(file.getvalue()).metadata
        assert files.tags_of(read.exif) == files.tags_of(files.exif())
        assert read.icc == files.ICC


@pytest.mark.parametrize("suffix", CARRYING)
def test_pillow_images_are_turned_upright_too(suffix: str) -> None:
    taken = photo.from_pil(Image.open(io.BytesIO(carrying(suffix))))
    assert taken.pixels.shape == (30, 20, 3)
    np.testing.assert_array_equal(taken.pixels, photo.decode(carrying(suffix)).pixels)
    assert photo.to_pil(taken).getexif().get(files.ORIENTATION, 1) == 1


def test_pillow_images_of_16_bits() -> None:
    deep = smooth(20, 30, dtype="uint16")
    image = Image.fromarray(deep)
    taken = photo.from_pil(image)
    np.testing.assert_array_equal(taken.pixels, deep)
    assert photo.to_pil(taken).mode == "I;16"
    with pytest.raises(InputError, match="uint16"):
        photo.to_pil(Photo(smooth(4, 4, 3, dtype="uint16")))


UNUSABLE = [None, "x.png", *(Image.new(name, (4, 4)) for name in ("CMYK", "LAB", "HSV", "I", "F"))]


@pytest.mark.parametrize("image", UNUSABLE, ids=repr)
def test_other_images_are_refused(image: object) -> None:
    with pytest.raises(InputError, match=r"is no image|images of mode \w+ are not handled"):
        photo.from_pil(image)


def test_damaged_exif_keeps_no_pillow_image_from_it() -> None:
    image = Image.fromarray(smooth(4, 5, 3))
    for exif in (b"garbage", b"II*\0\xff\xff\xff\xff", b"Exif\0\0", b""):
        image.info["exif"] = exif
        assert photo.from_pil(image).pixels.shape == (4, 5, 3)
