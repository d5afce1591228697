"""photo.py: every format there and back, orientation, damaged files, failed writes."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zerodce_jax import photo
from zerodce_jax.errors import InputError
from zerodce_jax.photo import Photo

ORIENTATION = 0x0112


def smooth(*shape: int, dtype: str = "uint8") -> np.ndarray:
    """Pixels that change slowly, as lossy formats like them."""
    height, width = shape[:2]
    ramp = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width)) / 2
    if len(shape) == 3:
        ramp = np.stack([ramp, 1 - ramp, ramp**2], axis=-1)
    return np.round(ramp * np.iinfo(dtype).max).astype(dtype)


ALPHA = smooth(13, 17)[::-1]


def test_formats_and_their_suffixes() -> None:
    for name in ("a.jpg", "a.JPEG", "a.png", "a.PNG", "a.webp", "a.tif", "a.tiff", "a.bmp"):
        assert photo.format_of(Path(name)) is not None
    for name in ("a.txt", "a", "a.gif", ".png", "jpg"):
        assert photo.format_of(Path(name)) is None
    for kind in ("png", "jpeg", "webp", "tiff", "bmp"):
        assert photo.format_of(Path(f"a{photo.suffix_of(kind)}")) == kind


LOSSLESS = [
    ("png", (13, 17, 3), "uint8", None),
    ("png", (13, 17), "uint8", None),
    ("png", (13, 17), "uint16", None),
    ("png", (13, 17, 3), "uint8", ALPHA),
    ("png", (13, 17), "uint8", ALPHA),
    ("tiff", (13, 17, 3), "uint8", None),
    ("tiff", (13, 17), "uint8", None),
    ("tiff", (13, 17), "uint16", None),
    ("tiff", (13, 17, 3), "uint8", ALPHA),
    ("tiff", (13, 17), "uint8", ALPHA),
    ("bmp", (13, 17, 3), "uint8", None),
    ("bmp", (13, 17), "uint8", None),
    ("png", (1, 1, 3), "uint8", None),
]


@pytest.mark.parametrize(("kind", "shape", "dtype", "alpha"), LOSSLESS)
def test_lossless_formats_there_and_back(
    kind: str, shape: tuple[int, ...], dtype: str, alpha: np.ndarray | None, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{kind}"
    written = Photo(smooth(*shape, dtype=dtype), alpha)
    photo.write(path, written)
    read = photo.read(path)
    assert read.pixels.dtype == dtype
    np.testing.assert_array_equal(read.pixels, written.pixels)
    if alpha is None:
        assert read.alpha is None
    else:
        np.testing.assert_array_equal(read.alpha, alpha)
    with Image.open(path) as image:
        assert image.format == kind.upper()


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30)])
def test_lossy_formats_there_and_back(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    pixels = smooth(*shape)
    photo.write(path, Photo(pixels))
    read = photo.read(path).pixels
    if read.ndim > pixels.ndim:
        # WebP knows no gray.
        assert suffix == ".webp"
        pixels = pixels[:, :, None]
    assert np.abs(read.astype(int) - pixels).mean() < 3


def test_webp_keeps_transparency(tmp_path: Path) -> None:
    photo.write(tmp_path / "x.webp", Photo(smooth(13, 17, 3), ALPHA))
    np.testing.assert_array_equal(photo.read(tmp_path / "x.webp").alpha, ALPHA)


@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
@pytest.mark.parametrize("shape", [(13, 17, 3), (13, 17)])
def test_formats_without_transparency_drop_it(
    suffix: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / f"x.{suffix}"
    photo.write(path, Photo(smooth(*shape), ALPHA))
    assert photo.read(path).alpha is None
    assert photo.read(path).pixels.shape == shape


def test_palettes_and_single_bits(tmp_path: Path) -> None:
    color = Image.fromarray(smooth(13, 17, 3)).quantize(8)
    color.save(tmp_path / "p.png")
    read = photo.read(tmp_path / "p.png")
    np.testing.assert_array_equal(read.pixels, np.asarray(color.convert("RGB")))
    assert read.alpha is None

    color.save(tmp_path / "t.png", transparency=color.getpixel((0, 0)))
    read = photo.read(tmp_path / "t.png")
    assert read.alpha is not None
    assert read.alpha[0, 0] == 0
    assert read.alpha.max() == 255

    bits = Image.fromarray(smooth(13, 17)).convert("1")
    bits.save(tmp_path / "b.png")
    read = photo.read(tmp_path / "b.png")
    np.testing.assert_array_equal(read.pixels, np.asarray(bits.convert("L")))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_a_picture_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16] = 250
    upright[8:, :16] = 120
    # How a camera held in that way stores it.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.stack([stored] * 3, axis=-1))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"x.{kind}"
    image.save(path, exif=exif)
    pixels = photo.read(path).pixels
    assert pixels.shape == (16, 32, 3)
    # Away from the blocks' borders, where JPEG and WebP blur them.
    for y, x in ((3, 6), (12, 6), (3, 25), (12, 25)):
        assert abs(int(pixels[y, x, 0]) - int(upright[y, x])) < 12


def bytes_of(path: Path, image: Image.Image) -> bytes:
    image.save(path)
    return path.read_bytes()


def damaged_files(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for kind in ("jpg", "png", "webp", "tif", "bmp"):
        whole = bytes_of(tmp_path / f"whole.{kind}", Image.fromarray(noise))
        yield f"half.{kind}", whole[: len(whole) // 2]
        yield f"head.{kind}", whole[:30]
        yield f"empty.{kind}", b""
        yield f"text.{kind}", b"this is no picture\n" * 20


def refusal_of(path: Path) -> str | None:
    """What is said where a file is refused, or None where it is not."""
    try:
        photo.read(path)
    except InputError as error:
        return str(error)
    return None


def assert_refused(path: Path) -> None:
    with pytest.raises(InputError, match=path.name) as caught:
        photo.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


# Pillow warns of odd EXIF and TIFF tags.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, content in damaged_files(tmp_path):
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "bmp"])
def test_files_with_damage_anywhere_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = 6, "camera"
    path = tmp_path / f"x.{kind}"
    Image.fromarray(smooth(20, 30, 3)).save(path, **({} if kind == "bmp" else {"exif": exif}))
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        position = int(rng.integers(len(whole)))
        damaged[position : position + 2] = rng.bytes(2)
        path.write_bytes(damaged)
        message = refusal_of(path)
        if message is not None:
            assert message.startswith(f"{path}: ")
            assert len(message.splitlines()) == 1


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        photo.read(tmp_path / "missing.png")
    (tmp_path / "folder.png").mkdir()
    assert_refused(tmp_path / "folder.png")


def test_formats_are_told_by_content_but_are_few(tmp_path: Path) -> None:
    Image.fromarray(smooth(9, 9, 3)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(photo.read(tmp_path / "x.jpg").pixels, smooth(9, 9, 3))
    # Decoders beyond the five formats are not asked at all.
    Image.fromarray(smooth(9, 9)).save(tmp_path / "x.gif")
    (tmp_path / "x.gif").rename(tmp_path / "y.png")
    assert_refused(tmp_path / "y.png")


def test_other_kinds_of_pixels_are_refused_by_mode(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "x.jpg")
    with pytest.raises(InputError, match=r"x\.jpg: images of mode CMYK are not handled"):
        photo.read(tmp_path / "x.jpg")


def png_of(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel, however large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_photographs_of_100_megapixels_are_read_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_of(12_500, 8_000))
    assert photo.read(path).pixels.shape == (8_000, 12_500)


def header_only(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that are not there."""
    small = png_of(8, 1)
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (200_000, 200_000)])
def test_absurdly_large_pictures_are_refused(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(header_only(width, height))
    assert_refused(path)


def test_unknown_suffixes_are_not_written(tmp_path: Path) -> None:
    for name in ("x.txt", "x", "x.gif"):
        with pytest.raises(InputError, match="no image format"):
            photo.write(tmp_path / name, Photo(smooth(4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["jpg", "webp", "bmp"])
def test_16_bits_are_not_written_where_8_fit(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no 16-bit pixels; write png or tiff"):
        photo.write(tmp_path / f"x.{kind}", Photo(smooth(4, 4, dtype="uint16")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "width"), [("webp", 16_384), ("jpg", 65_536)])
def test_pictures_too_large_for_a_format(kind: str, width: int, tmp_path: Path) -> None:
    with pytest.raises((InputError, OSError)):
        photo.write(tmp_path / f"x.{kind}", Photo(np.zeros((1, width, 3), np.uint8)))
    assert list(tmp_path.iterdir()) == []


def test_failed_writes_leave_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "below" / "x.png"

    def cut_short(_: Image.Image, file: Path, **__: object) -> None:
        file.write_bytes(b"half a pict")
        raise OSError("disk full")

    def write() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "save", cut_short)
            with pytest.raises(OSError, match="disk full"):
                photo.write(path, Photo(smooth(4, 4, 3)))

    write()
    assert list(path.parent.iterdir()) == []
    photo.write(path, Photo(smooth(5, 5, 3)))
    write()
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(photo.read(path).pixels, smooth(5, 5, 3))


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    photo.write(tmp_path / "x.png", Photo(smooth(4, 4, 3)))
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "usual").stat().st_mode
