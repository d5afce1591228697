"""raw.py: development, orientation, metadata and damage of camera RAW files."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import photo_files as files
from helpers.raw_files import LENS_MODEL, encode_dng
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import InputError, UsageError, install_command
from zerodce_jax.jobs import plan
from zerodce_jax.media import boxes, decoding, encoding, photo, profiles, raw
from zerodce_jax.media.metadata import read_orientation
from zerodce_jax.media.photograph import Photo

developed = pytest.mark.needs("rawpy")
Y, X = np.mgrid[:48, :64] / 64
SCENE = np.stack([0.05 + 0.6 * X, 0.05 + 0.5 * Y, 0.3 - 0.2 * X], axis=-1)
"""Linear light, in which all channels differ."""


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Return the sRGB encoding of linear light (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@developed
@pytest.mark.parametrize("with_preview", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("brightness", [1, 1 / 64])
def test_the_sensor_is_developed_to_the_encoded_scene(
    order: str, with_preview: bool, brightness: float
) -> None:
    # White balance and matrix are right, nothing brightens, and the gray preview is not read.
    read = decoding.decode(encode_dng(SCENE * brightness, order=order, with_preview=with_preview))
    assert (read.format, read.pixels.dtype, read.alpha) == ("raw", np.uint16, None)
    assert np.abs(read.pixels / 65535 - encode_srgb(SCENE * brightness)).mean() < 0.0005
    assert read.metadata.icc == profiles.srgb()


@developed
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation: int) -> None:
    stored = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.swapaxes(0, 1),
        6: np.rot90(SCENE),
        7: SCENE[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(SCENE, -1),
    }[orientation]
    read = decoding.decode(encode_dng(stored, orientation=orientation))
    assert np.abs(read.pixels / 65535 - encode_srgb(SCENE)).mean() < 0.0005
    assert read_orientation(read.metadata.exif, None) == 1


@developed
@pytest.mark.parametrize("target", ["tif", "jpg", "png"])
def test_exif_is_carried_over_without_tags_about_the_sensor(target: str) -> None:
    read = decoding.decode(encode_dng(SCENE, with_preview=True))
    data, losses = files.encode_photo(read, target)
    assert losses == ()
    written = decoding.decode(data)
    assert written.pixels.dtype == (np.uint8 if target == "jpg" else np.uint16)
    assert written.metadata.icc == profiles.srgb()
    assert files.exif_tags(written.metadata.exif) == {
        files.MAKE: "Maker",
        0x0110: "Camera 1",
        (files.EXIF_POINTER, files.EXPOSURE): pytest.approx(1 / 30),
        (files.EXIF_POINTER, LENS_MODEL): "Lens 35mm",
        (files.EXIF_POINTER, files.MAKER_NOTE): b"note" * 9,
    }


def test_files_of_other_cameras_give_their_exif() -> None:
    """The pixels of these formats need real files; their directories do not."""
    exif = files.exif(1)
    expected = files.exif_tags(exif)
    expected = {tag: x for tag, x in expected.items() if tag not in {0x011A, 0x011B, 0x0128}}
    olympus = b"IIRO" + exif[4:]
    preview = b"\xff\xd8\xff\xe1\0\0Exif\0\0" + exif
    fuji = b"FUJIFILMCCD-RAW".ljust(84, b"\0") + struct.pack(">II", 120, len(preview))
    fuji = fuji.ljust(120, b"\0") + preview
    for data in (olympus, fuji, exif):
        assert raw.has_signature(data[:32])
        assert files.exif_tags(raw._read_metadata(data, b"").exif) == expected
    first = files.tiff_head("<") + files.directory("<", 8, [(files.MAKE, 2, b"Canon\0")])
    camera = files.tiff_head("<") + files.directory("<", 8, [(LENS_MODEL, 2, b"RF50mm\0")])
    canon = raw._CANON_BOX + boxes.serialize(b"CMT1", first) + boxes.serialize(b"CMT2", camera)
    movie = boxes.serialize(b"moov", boxes.serialize(b"uuid", canon))
    cr3 = boxes.serialize(b"ftyp", b"crx \0\0\0\1crx ") + movie
    assert raw.is_raw(cr3)
    tags = files.exif_tags(raw._read_metadata(cr3, b"other lens").exif)
    assert tags == {files.MAKE: "Canon", (files.EXIF_POINTER, LENS_MODEL): "RF50mm"}
    # LibRaw may know a lens that EXIF does not name.
    tags = files.exif_tags(raw._read_metadata(b"", b"lens").exif)
    assert tags == {(files.EXIF_POINTER, LENS_MODEL): "lens"}


def test_ordinary_tiff_files_are_not_taken_for_raw() -> None:
    assert not raw.is_raw(files.encode_image(files.IMAGE, "tif"))
    assert not raw.is_raw(files.encode_image(files.IMAGE, "tif", exif=files.exif()))
    assert raw.is_raw(encode_dng(SCENE))
    assert raw.is_raw(encode_dng(SCENE, with_preview=True).replace(b"\xc6\x12"[::-1], b"\0\0"))


@developed
def test_size_and_limit_come_from_the_sensor(tmp_path: Path) -> None:
    path = tmp_path / "x.dng"
    path.write_bytes(encode_dng(SCENE, orientation=6, with_preview=True))
    assert photo.size(path) == (64, 48)
    for attempt in (photo.size, photo.read):
        with pytest.raises(InputError, match=r"x\.dng: 64x48 pixels are more than the limit"):
            attempt(path, max_pixels=64 * 48 - 1)


@developed
@pytest.mark.parametrize("length", [100, 400, 3000, -40])
def test_damaged_files_raise_one_line(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.nef"
    path.write_bytes(encode_dng(SCENE)[:length])
    with pytest.raises(InputError, match=r"x\.nef: damaged image") as caught:
        photo.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_raw_without_its_package_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dng"
    path.write_bytes(encode_dng(SCENE))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for attempt in (photo.read, photo.size):
        with pytest.raises(InputError) as caught:
            attempt(path)
        assert str(caught.value) == f"{path}: camera RAW needs a package: {install_command('raw')}"
    (item,) = plan.plan([tmp_path], tmp_path / "out")
    assert item.target == tmp_path / "out" / "x.tif"


def test_raw_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"y\.dng: raw is read, but not written"):
        plan.plan([tmp_path / "x.dng"], tmp_path / "y.dng")
    with pytest.raises(InputError, match=r"y\.dng: writing raw is not supported"):
        photo.write(tmp_path / "y.dng", Photo(files.gradient(4, 4, 3)))


@developed
def test_the_dark_is_better_in_raw_than_in_jpeg() -> None:
    enhancer = Enhancer.load("scene", engine="onnx")
    dark = SCENE / 64
    expected = enhancer(encode_srgb(dark).astype(np.float32))
    from_raw = decoding.decode(encode_dng(dark))
    from_jpeg = decoding.decode(encoding.encode(from_raw, "jpeg")[0])
    assert expected.mean() > 0.3  # The photograph is dark before, and not after.
    errors = [
        np.mean((enhancer(x.pixels) / np.float32(white) - expected) ** 2)
        for x, white in ((from_raw, 65535), (from_jpeg, 255))
    ]
    # Peak signal-to-noise ratios: 55 dB, and 39 dB.
    assert errors[0] < errors[1] / 20
    levels = [len(np.unique(x.pixels[..., 0])) for x in (from_raw, from_jpeg)]
    assert levels[0] > 10 * levels[1]
