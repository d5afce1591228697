"""photo.py: files to photographs and back, limits, damaged files and failed writes."""

import io
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from helpers import photo_files as files
from helpers.photo_files import (
    ALPHA,
    IMAGE,
    WRITABLE_SUFFIXES,
    assert_same,
    encode_image,
    encode_photo,
    file_with_metadata,
    gradient,
    open_with_pillow,
    round_trip,
)
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, formats, photo
from zerodce_jax.media.photograph import Photo


def test_the_content_states_the_format_and_other_decoders_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(encode_image(IMAGE, "png"))
    np.testing.assert_array_equal(photo.read(tmp_path / "x.jpg").pixels, gradient(20, 30, 3))
    assert photo.read(tmp_path / "x.jpg").format == "png"
    # Pillow has decoders for these formats, but they are not among the supported ones.
    for other in ("PPM", "TGA", "ICO", "PCX"):
        IMAGE.save(tmp_path / "y.png", format=other)
        assert_refused(tmp_path / "y.png")


@given(
    st.sampled_from([("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tif", "uint16")])
    | st.sampled_from([("tif", "float32"), ("bmp", "uint8")]),
    st.sampled_from([(), (3,)]),
    st.booleans(),
    st.data(),
)
def test_lossless_formats_keep_every_sample(
    case: tuple[str, str], channels: tuple[int, ...], has_alpha: bool, data: st.DataObject
) -> None:
    suffix, dtype = case
    area = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    values = st.floats(0, 1, width=32) if dtype == "float32" else None
    pixels = data.draw(hnp.arrays(dtype, (*area, *channels), elements=values))
    alpha = None
    if has_alpha and suffix != "bmp":
        alpha = data.draw(hnp.arrays(dtype, area, elements=values))
    source = Photo(pixels, alpha)
    assert_same(round_trip(source, suffix), source)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "heic"])
@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30), (1, 1, 3), (1, 1), (3, 64)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossy_formats_keep_smooth_images(
    suffix: str, shape: tuple[int, ...], has_alpha: bool
) -> None:
    alpha = gradient(*shape[:2])[:, ::-1].copy() if has_alpha else None
    expected = Photo(gradient(*shape), alpha)
    read = round_trip(expected, suffix)
    if read.pixels.ndim > len(shape):
        # WebP does not support gray. AVIF and HEIC do not support gray with alpha.
        assert suffix == "webp" or has_alpha
        expected = Photo(np.dstack([expected.pixels] * 3), alpha)
    if suffix == "jpg":
        expected = Photo(expected.pixels)
    assert_same(read, expected, within=8)


HIF = pytest.param("hif", marks=pytest.mark.needs("pillow_heif"))


@pytest.mark.parametrize("suffix", [*WRITABLE_SUFFIXES, "jpeg", "TIFF", HIF])
def test_written_files_are_read_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"x.{suffix}"
    losses = photo.write(path, Photo(gradient(20, 30, 3), ALPHA))
    assert len(losses) == (suffix in {"jpg", "jpeg"})
    read = photo.read(path)
    assert read.format == formats.format_of(path)
    assert (read.alpha is None) == bool(losses)
    assert_same(Photo(read.pixels), Photo(gradient(20, 30, 3)), within=4)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", files.FORMATS)
def test_size_and_limit_come_from_the_header(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    exif = {} if suffix in {"bmp", "gif"} else {"exif": files.exif(6)}
    path.write_bytes(encode_image(IMAGE, suffix, **exif))
    size = photo.size(path)
    read = photo.read(path)
    # Decoders of AVIF and HEIC turn the image by themselves.
    assert sorted(size) == sorted(read.pixels.shape[:2]) == [20, 30]
    assert size == (30, 20) or suffix in {"avif", "heic"}
    assert photo.read(path, max_pixels=600).format == read.format
    for attempt in (photo.size, photo.read):
        with pytest.raises(InputError, match=r"x\.\w+: .*0x.*0 pixels are more than the limit of"):
            attempt(path, max_pixels=599)


def test_the_default_limit_is_300_megapixels(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    tiny = files.encode_image(Image.new("1", (8, 1)), "png")

    def write_header(width: int, height: int) -> None:
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + tiny[24:29]
        path.write_bytes(tiny[:8] + files.make_chunk(b"IHDR", head) + tiny[33:])

    write_header(20_000, 15_000)
    assert photo.size(path) == (20_000, 15_000)
    write_header(20_001, 15_000)
    with pytest.raises(InputError, match=r"20001x15000 pixels .* 300,000,000 \(--max-pixels\)"):
        photo.read(path)


def test_images_of_100_megapixels_are_read_without_warnings(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (12_500, 8_000)).save(path)
    assert photo.read(path).pixels.shape == (8_000, 12_500)


def assert_refused(path: Path) -> None:
    """Assert an InputError of one line that names the file."""
    for attempt in (photo.read, photo.size):
        with pytest.raises(InputError) as caught:
            attempt(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value).splitlines()) == 1


def test_folders_pipes_devices_and_huge_files_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        # The addresses of sockets must be short.
        folder = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/s.png")
        os.close(folder)
        for name in ("folder.png", "pipe.png", "null.png", "s.png"):
            assert_refused(tmp_path / name)
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(16 * photo.MAX_PIXELS + (1 << 28) + 1)
    assert_refused(tmp_path / "huge.jpg")
    with pytest.raises(FileNotFoundError):
        photo.read(tmp_path / "missing.png")


# Pillow warns about unusual EXIF and TIFF tags.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", files.FORMATS)
def test_damaged_files_raise_one_line_that_names_the_file(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = encode_image(Image.fromarray(noise), suffix)
    half, head = whole[: len(whole) // 2], whole[:20]
    for data in (half, head, b"", b"this is not an image\n" * 20, bytes(1000)):
        path = tmp_path / f"x\n.{suffix}"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            photo.read(path)
        assert len(str(caught.value).replace(str(path), "").splitlines()) == 1
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", ["heic", "mpo"])
def test_only_the_first_of_several_images_is_read_with_a_note(suffix: str) -> None:
    read = decoding.decode(encode_several(suffix))
    (note,) = read.notes
    assert note.startswith("only the first of its")
    assert_same(read, Photo(gradient(20, 30, 3)), within=6)
    suffix = {"mpo": "jpg"}.get(suffix, suffix)
    data, _ = encode_photo(read, suffix)
    assert decoding.decode(data).notes == ()
    assert getattr(open_with_pillow(data), "n_frames", 1) == 1
    assert open_with_pillow(data).format == files.FORMATS[suffix]


def encode_several(suffix: str) -> bytes:
    """Return a file with three images."""
    frames = [IMAGE.rotate(90), IMAGE.rotate(180)]
    if suffix == "mpo":
        file = io.BytesIO()
        IMAGE.save(file, format="MPO", save_all=True, append_images=frames)
        return file.getvalue()
    return encode_image(IMAGE, suffix, save_all=True, append_images=frames)


@pytest.mark.parametrize("per_metre", [0, 1, 3_000_000, 0xFFFFFFFF])
def test_implausible_resolutions_are_dropped(per_metre: int) -> None:
    dots = (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    read = decoding.decode(files.add_chunks(encode_image(IMAGE, "png"), dots))
    assert read.metadata.dpi is None
    for suffix in WRITABLE_SUFFIXES:
        assert round_trip(read, suffix).pixels.shape == (20, 30, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "heic"])
def test_stripped_photographs_keep_only_the_color_profile(suffix: str) -> None:
    extra = {"comment": b"words", "extra": b"\xff\xed\0\x08secret"} if suffix == "jpg" else {}
    source = file_with_metadata(suffix, **extra)
    stripped = decoding.decode(source).stripped()
    data, losses = encode_photo(stripped, suffix)
    assert losses == ()
    read = decoding.decode(data)
    assert read.metadata.icc == files.ICC
    assert not files.exif_tags(read.metadata.exif)
    assert read.metadata.xmp is None
    # Without a resolution, Pillow would take the default of the EXIF standard, 72.
    assert read.metadata.dpi is None
    for secret in (b"camera", b"firmware", files.MAKER_NOTE_BYTES, b"Rating", b"words", b"secret"):
        assert secret not in data
    assert read.pixels.shape == (30, 20, 3)
    if suffix == "jpg":
        assert open_with_pillow(data).quantization == open_with_pillow(source).quantization


def test_read_rgb_returns_upright_8_bit_rgb(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    deep = Photo(gradient(20, 30, dtype="uint16"), gradient(20, 30, dtype="uint16"))
    photo.write(path, deep)
    read = photo.read_rgb(path)
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[..., 1], gradient(20, 30))
    path.write_bytes(encode_image(IMAGE, "png", exif=files.exif(6)))
    np.testing.assert_array_equal(photo.read_rgb(path), np.rot90(gradient(20, 30, 3), -1))
    small = IMAGE.rotate(-90, expand=True).resize((7, 7), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(photo.read_rgb(path, size=7), np.asarray(small))


@pytest.mark.parametrize("name", ["x.txt", "x", "x.gif", "x.svg"])
def test_unknown_suffixes_and_gif_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}: (no image format|writing gif is not supported)"):
        photo.write(tmp_path / "new" / name, Photo(gradient(4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


def test_failed_writes_keep_the_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "x.png"

    def write_half(file: Path, data: bytes) -> None:
        with file.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "disk full")

    def fail_to_write() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", write_half)
            with pytest.raises(OSError, match="disk full"):
                photo.write(path, Photo(gradient(4, 4, 3)))

    fail_to_write()
    assert list(path.parent.iterdir()) == []
    photo.write(path, Photo(gradient(5, 5, 3)))
    fail_to_write()
    # The file also stays if the image cannot be encoded.
    with pytest.raises(InputError, match="cannot be written as png"):
        photo.write(path, Photo(np.zeros((0, 0), np.uint8)))
    assert list(path.parent.iterdir()) == [path]
    np.testing.assert_array_equal(photo.read(path).pixels, gradient(5, 5, 3))


def test_written_files_have_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    photo.write(tmp_path / "x.png", Photo(gradient(4, 4, 3)))
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "other").stat().st_mode
