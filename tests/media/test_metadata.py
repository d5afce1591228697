"""metadata.py: EXIF and XMP set upright byte by byte, and carried through every format."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import photo_files as files
from helpers.damage import damaged_exif
from helpers.photo_files import (
    METADATA_SUFFIXES,
    WRITABLE_SUFFIXES,
    encode_image,
    encode_photo,
    file_with_metadata,
    open_with_pillow,
    round_trip,
)
from zerodce_jax.media import decoding
from zerodce_jax.media.metadata import read_orientation, upright_exif, upright_xmp

ORDERS = ("<", ">")
# Position of the link to the second directory, after eight tags.
LINK = 8 + 2 + 12 * 8


def without_thumbnail(exif: bytes) -> bytes:
    """Return EXIF with the link to the thumbnail set to 0, and the thumbnail cleared."""
    blank = exif.replace(files.THUMBNAIL, bytes(len(files.THUMBNAIL)))
    return blank[:LINK] + bytes(4) + blank[LINK + 4 :]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stored", range(1, 9))
def test_only_the_orientation_and_the_thumbnail_change(stored: int, order: str) -> None:
    plain = files.exif(stored, order=order)
    assert read_orientation(plain, None) == stored
    assert upright_exif(plain) == files.exif(1, order=order)

    at_the_end = files.exif(stored, order=order, thumbnail=files.THUMBNAIL)
    upright = without_thumbnail(files.exif(1, order=order, thumbnail=files.THUMBNAIL))
    assert upright_exif(at_the_end) == upright.removesuffix(bytes(len(files.THUMBNAIL)))

    options: dict[str, Any] = {"thumbnail": files.THUMBNAIL, "trailing": b"a maker's preview"}
    within = files.exif(stored, order=order, **options)
    assert upright_exif(within) == without_thumbnail(files.exif(1, order=order, **options))


@pytest.mark.parametrize("order", ORDERS)
def test_exif_without_orientation_stays_unchanged(order: str) -> None:
    plain = files.exif(None, order=order)
    assert read_orientation(plain, None) == 1
    assert upright_exif(plain) == plain
    assert read_orientation(plain, files.xmp(8)) == 8


@pytest.mark.parametrize("order", ORDERS)
def test_an_orientation_may_be_a_long_integer(order: str) -> None:
    entry = ((files.ORIENTATION, 4, 6),)
    assert read_orientation(files.exif(None, order=order, extra=entry), None) == 6
    upright = upright_exif(files.exif(None, order=order, extra=entry))
    assert files.exif_tags(upright) == files.exif_tags(files.exif(order=order))
    assert read_orientation(upright, None) == 1


@pytest.mark.parametrize("number", [0, 9, 255, 0xFFFF])
def test_invalid_orientations_count_as_upright(number: int) -> None:
    assert read_orientation(files.exif(number), None) == 1
    assert upright_exif(files.exif(number)) == files.exif(1)


def test_a_thumbnail_that_is_not_jpeg_stays_unchanged() -> None:
    other = b"\x12\x34 data that the directory calls a thumbnail"
    exif = files.exif(1, thumbnail=other)
    assert upright_exif(exif) == exif[:LINK] + bytes(4) + exif[LINK + 4 :]


@pytest.mark.parametrize("as_element", [False, True])
def test_only_the_orientation_of_xmp_changes(as_element: bool) -> None:
    for stored in range(1, 9):
        packet = files.xmp(stored, as_element=as_element)
        assert read_orientation(None, packet) == stored
        assert read_orientation(files.exif(3), packet) == 3
        assert upright_xmp(packet) == files.xmp(1, as_element=as_element)
    for quoted in (b"tiff:Orientation='6'", b'tiff:Orientation = "6"', b'tiff:Orientation\n="6"'):
        assert read_orientation(None, quoted) == 6
        assert upright_xmp(quoted) == quoted.replace(b"6", b"1")
    for other in (b"", b"tiff:Orientation", b"exif:Orientation='6'", b"\0\xff", files.xmp()):
        assert read_orientation(None, other) == 1
        assert upright_xmp(other) == other


@given(st.binary(max_size=64) | damaged_exif(), st.binary(max_size=40))
def test_damaged_exif_is_edited_as_far_as_it_can_be_parsed(exif: bytes, xmp: bytes) -> None:
    assert read_orientation(exif, xmp) in range(1, 9)
    upright = upright_exif(exif)
    assert read_orientation(upright, None) == 1
    assert upright_exif(upright) == upright
    assert upright_xmp(upright_xmp(xmp)) == upright_xmp(xmp)
    # Changed bytes belong to the entry of an orientation, or are 0.
    assert len(upright) <= len(exif)
    tags = {struct.pack(f"{order}H", files.ORIENTATION) for order in ORDERS}
    for at, (before, after) in enumerate(zip(exif, upright, strict=False)):
        if before != after and after != 0:
            assert any(exif[start : start + 2] in tags for start in range(max(0, at - 9), at))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("suffix", METADATA_SUFFIXES)
def test_metadata_is_unchanged_in_the_same_format(suffix: str, order: str) -> None:
    exif = files.exif(6, thumbnail=files.THUMBNAIL, order=order)
    first = decoding.decode(file_with_metadata(suffix, exif=exif))
    assert first.notes == ()
    data, losses = encode_photo(first, suffix)
    assert losses == ()
    second = decoding.decode(data).metadata
    assert (
        open_with_pillow(data).info.get("icc_profile")
        == first.metadata.icc
        == second.icc
        == files.ICC
    )
    assert second.xmp == first.metadata.xmp
    assert b'xmp:Rating="5"' in second.xmp
    assert second.dpi == first.metadata.dpi
    assert files.exif_tags(second.exif) == files.exif_tags(exif)
    assert files.THUMBNAIL not in data
    if suffix in {"jpg", "png", "webp", "heic"}:
        # The maker note contains offsets, so every byte must keep its position.
        assert first.metadata.exif == second.exif == upright_exif(exif)
        assert second.exif in data


@pytest.mark.parametrize("target", METADATA_SUFFIXES)
@pytest.mark.parametrize("source", METADATA_SUFFIXES)
def test_metadata_is_carried_from_format_to_format(source: str, target: str) -> None:
    first = decoding.decode(file_with_metadata(source))
    data, losses = encode_photo(first, target)
    assert losses == ()
    second = decoding.decode(data).metadata
    tags = files.exif_tags(second.exif)
    assert tags == files.exif_tags(first.metadata.exif)
    assert tags[files.EXIF_POINTER, files.MAKER_NOTE] == files.MAKER_NOTE_BYTES
    assert tags[files.GPS_POINTER, 1] == "N"
    assert second.xmp == first.metadata.xmp
    assert second.icc == first.metadata.icc == files.ICC
    if first.metadata.dpi and target in {"jpg", "png", "tif"}:
        assert second.dpi == pytest.approx((300, 300), abs=0.01)


def test_exif_may_have_two_prefixes() -> None:
    data = encode_image(files.IMAGE, "jpg", exif=b"Exif\0\0" + files.exif(6))
    assert decoding.decode(data).pixels.shape == (30, 20, 3)
    assert decoding.decode(data).metadata.exif == files.exif(1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic"])
@pytest.mark.parametrize("exif", [b"II*\0", b"II*\0\x08\0\0", b"MM\0\0garbage", b"II", b"Exif"])
def test_photographs_with_damaged_exif_are_written(suffix: str, exif: bytes) -> None:
    read = decoding.decode(encode_image(files.IMAGE, suffix, exif=exif))
    for target in WRITABLE_SUFFIXES:
        assert round_trip(read, target).pixels.shape == (20, 30, 3)
