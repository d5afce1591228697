"""tiff_directory.py: TIFF directories of valid and of damaged files."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import photo_files as files
from helpers.damage import damaged_exif
from helpers.photo_files import encode_photo, gradient, round_trip
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, tiff
from zerodce_jax.media.photograph import Photo
from zerodce_jax.media.tiff_directory import SIGNATURES, Directory, find_pages


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_directory_is_parsed_and_serialized_unchanged(order: str) -> None:
    exif = files.exif(order=order)
    directory = Directory.parse(exif)
    assert directory.order == order
    assert directory.integers(files.ORIENTATION, ()) == (6,)
    assert directory.subdirectories[files.EXIF_POINTER].tags[files.MAKER_NOTE] == (
        7,
        files.MAKER_NOTE_BYTES,
    )
    again = Directory.parse(exif[:8] + directory.serialize(8))
    assert again == directory


def test_the_first_of_two_equal_tags_counts() -> None:
    # libtiff uses the first one too. The size that is checked must be the size that it decodes.
    data = bytearray(encode_photo(Photo(gradient(40, 30, dtype="uint16")), "tif")[0])
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    tags = [struct.unpack_from("<H", data, first + 2 + 12 * i)[0] for i in range(count)]
    at = first + 2 + 12 * tags.index(258)
    struct.pack_into("<HHII", data, at, 256, 4, 1, 3)
    assert Directory.parse(bytes(data)).size == (30, 40)


@pytest.mark.usefixtures("little_memory")
def test_tags_that_all_claim_the_whole_file_do_not_fill_the_memory() -> None:
    count = 20_000
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 7, 12 * count, 8) for tag in range(count))
    data = files.tiff_head("<") + struct.pack("<H", count) + entries + bytes(4)
    directory = Directory.parse(data)
    assert sum(len(value) for _, value in directory.tags.values()) <= len(data)
    with pytest.raises(InputError):
        decoding.decode(data)


@pytest.mark.slow
@given(st.binary(max_size=80) | damaged_exif() | st.sampled_from(SIGNATURES))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        directory = Directory.parse(data)
    except InputError:
        return
    pages, left_out = find_pages(data)
    assert len(pages) > 0 <= left_out
    assert min(directory.size) >= 0
    metadata, orientation = tiff.read_metadata(directory)
    assert 1 <= orientation <= 8
    if metadata.exif:
        # The serialized directory is parsed to the same tags, and serialized to the same bytes.
        kept = Directory.parse(metadata.exif)
        assert kept.tags == directory.without({*directory.tags} - {*kept.tags}).tags
        assert metadata.exif == metadata.exif[:8] + kept.serialize(8)
    Photo(gradient(2, 2, 3), metadata=metadata)
    for suffix in ("tif", "png", "jpg"):
        read = round_trip(Photo(gradient(2, 2, 3), metadata=metadata), suffix)
        assert read.pixels.shape == (2, 2, 3)
