"""metadata.py: EXIF and XMP set upright to the byte, whatever they hold; and on their way."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import picture_files as files
from helpers.damage import damaged_exif
from helpers.picture_files import CARRYING, again, carrying, content, encoded, opened
from zerodce_jax.media import photo
from zerodce_jax.media.metadata import orientation, upright_exif, upright_xmp

ORDERS = ("<", ">")
# Where the link to the second directory stands, behind eight tags.
LINK = 8 + 2 + 12 * 8


def without_thumbnail(exif: bytes) -> bytes:
    """EXIF whose link to the thumbnail is cut, and the thumbnail blank."""
    blank = exif.replace(files.THUMBNAIL, bytes(len(files.THUMBNAIL)))
    return blank[:LINK] + bytes(4) + blank[LINK + 4 :]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stored", range(1, 9))
def test_only_the_orientation_and_the_thumbnail_change(stored: int, order: str) -> None:
    plain = files.exif(stored, order=order)
    assert orientation(plain, None) == stored
    assert upright_exif(plain) == files.exif(1, order=order)

    at_the_end = files.exif(stored, order=order, thumbnail=files.THUMBNAIL)
    upright = without_thumbnail(files.exif(1, order=order, thumbnail=files.THUMBNAIL))
    assert upright_exif(at_the_end) == upright.removesuffix(bytes(len(files.THUMBNAIL)))

    options: dict[str, Any] = {"thumbnail": files.THUMBNAIL, "behind": b"a maker's preview"}
    within = files.exif(stored, order=order, **options)
    assert upright_exif(within) == without_thumbnail(files.exif(1, order=order, **options))


@pytest.mark.parametrize("order", ORDERS)
def test_exif_that_does_not_say_how_to_turn_stays_as_it_is(order: str) -> None:
    silent = files.exif(None, order=order)
    assert orientation(silent, None) == 1
    assert upright_exif(silent) == silent
    assert orientation(silent, files.xmp(8)) == 8


@pytest.mark.parametrize("order", ORDERS)
def test_an_orientation_may_be_a_long_number(order: str) -> None:
    entry = ((files.ORIENTATION, 4, 6),)
    assert orientation(files.exif(None, order=order, extra=entry), None) == 6
    upright = upright_exif(files.exif(None, order=order, extra=entry))
    assert files.tags_of(upright) == files.tags_of(files.exif(order=order))
    assert orientation(upright, None) == 1


@pytest.mark.parametrize("number", [0, 9, 255, 0xFFFF])
def test_senseless_orientations_turn_nothing(number: int) -> None:
    assert orientation(files.exif(number), None) == 1
    assert upright_exif(files.exif(number)) == files.exif(1)


def test_a_thumbnail_that_is_no_jpeg_file_is_not_touched() -> None:
    other = b"\x12\x34 the directory says that this is a picture"
    exif = files.exif(1, thumbnail=other)
    assert upright_exif(exif) == exif[:LINK] + bytes(4) + exif[LINK + 4 :]


@pytest.mark.parametrize("as_element", [False, True])
def test_xmp_is_set_upright_and_else_the_same(as_element: bool) -> None:
    for stored in range(1, 9):
        packet = files.xmp(stored, as_element=as_element)
        assert orientation(None, packet) == stored
        assert orientation(files.exif(3), packet) == 3
        assert upright_xmp(packet) == files.xmp(1, as_element=as_element)
    for quoted in (b"tiff:Orientation='6'", b'tiff:Orientation = "6"', b'tiff:Orientation\n="6"'):
        assert orientation(None, quoted) == 6
        assert upright_xmp(quoted) == quoted.replace(b"6", b"1")
    for other in (b"", b"tiff:Orientation", b"exif:Orientation='6'", b"\0\xff", files.xmp()):
        assert orientation(None, other) == 1
        assert upright_xmp(other) == other


@given(st.binary(max_size=64) | damaged_exif(), st.binary(max_size=40))
def test_damaged_exif_is_followed_as_far_as_it_makes_sense(exif: bytes, xmp: bytes) -> None:
    assert orientation(exif, xmp) in range(1, 9)
    upright = upright_exif(exif)
    assert orientation(upright, None) == 1
    assert upright_exif(upright) == upright
    assert upright_xmp(upright_xmp(xmp)) == upright_xmp(xmp)
    # What has changed is an orientation's entry, or blank.
    assert len(upright) <= len(exif)
    tags = {struct.pack(f"{order}H", files.ORIENTATION) for order in ORDERS}
    for at, (before, after) in enumerate(zip(exif, upright, strict=False)):
        if before != after and after != 0:
            assert any(exif[start : start + 2] in tags for start in range(max(0, at - 9), at))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("suffix", CARRYING)
def test_metadata_comes_out_as_it_went_in(suffix: str, order: str) -> None:
    exif = files.exif(6, thumbnail=files.THUMBNAIL, order=order)
    first = photo.decode(carrying(suffix, exif=exif))
    assert first.notes == ()
    data, losses = encoded(first, suffix)
    assert losses == ()
    second = photo.decode(data).metadata
    assert opened(data).info.get("icc_profile") == first.metadata.icc == second.icc == files.ICC
    assert second.xmp == first.metadata.xmp
    assert b'xmp:Rating="5"' in second.xmp
    assert second.dpi == first.metadata.dpi
    assert files.tags_of(second.exif) == files.tags_of(exif)
    assert files.THUMBNAIL not in data
    if suffix in {"jpg", "png", "webp", "heic"}:
        # The camera's own note is full of offsets: all is to stay where it was.
        assert first.metadata.exif == second.exif == upright_exif(exif)
        assert second.exif in data


@pytest.mark.parametrize("target", CARRYING)
@pytest.mark.parametrize("source", CARRYING)
def test_metadata_goes_from_format_to_format(source: str, target: str) -> None:
    first = photo.decode(carrying(source))
    data, losses = encoded(first, target)
    assert losses == ()
    second = photo.decode(data).metadata
    tags = files.tags_of(second.exif)
    assert tags == files.tags_of(first.metadata.exif)
    assert tags[files.EXIF_POINTER, files.MAKER_NOTE] == files.NOTE
    assert tags[files.GPS_POINTER, 1] == "N"
    assert second.xmp == first.metadata.xmp
    assert second.icc == first.metadata.icc == files.ICC
    if first.metadata.dpi and target in {"jpg", "png", "tif"}:
        assert second.dpi == pytest.approx((300, 300), abs=0.01)


def test_exif_may_be_announced_twice() -> None:
    data = content(files.PICTURE, "jpg", exif=b"Exif\0\0" + files.exif(6))
    assert photo.decode(data).pixels.shape == (30, 20, 3)
    assert photo.decode(data).metadata.exif == files.exif(1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic"])
@pytest.mark.parametrize("exif", [b"II*\0", b"II*\0\x08\0\0", b"MM\0\0garbage", b"II", b"Exif"])
def test_damaged_exif_keeps_no_picture_from_being_written(suffix: str, exif: bytes) -> None:
    read = photo.decode(content(files.PICTURE, suffix, exif=exif))
    for target in (*CARRYING, "bmp"):
        assert again(read, target).pixels.shape == (20, 30, 3)
