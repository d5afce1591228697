"""Pages of TIFF files: each keeps its size, type and metadata, and thumbnails are none."""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile

from helpers import photo_files as files
from helpers.photo_files import encode_image, encode_photo, gradient
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding
from zerodce_jax.media.photograph import Pages, Photo
from zerodce_jax.media.tiff_directory import find_pages

CONTENTS = [
    gradient(5, 6, 3),
    gradient(9, 4, 4, dtype="uint16"),
    gradient(7, 7),
    gradient(3, 8, 3, dtype="float32"),
]
"""Pixels of four pages; the second one has transparency."""


def encode_pages(**options: Any) -> bytes:
    """Encode `CONTENTS` with tifffile, each with a description and a profile of its own."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        for number, pixels in enumerate(CONTENTS):
            writer.write(
                pixels,
                photometric="rgb" if pixels.ndim == 3 else "minisblack",
                extrasamples=["unassalpha"] if pixels.shape[2:] == (4,) else None,
                description=f"page {number}",
                iccprofile=files.ICC if number == 1 else None,
                software=False,
                metadata=None,
            )
    return file.getvalue()


def pages_of(opened: Photo) -> list[Photo]:
    assert opened.pages is not None
    found = list(opened.pages.photos())
    assert len(found) == opened.pages.count == opened.images
    return found


def assert_contents(pages: list[Photo]) -> None:
    for page, pixels in zip(pages, CONTENTS, strict=True):
        channels = page.pixels if page.alpha is None else np.dstack([page.pixels, page.alpha])
        assert channels.dtype == pixels.dtype
        np.testing.assert_array_equal(channels, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_are_read_and_written_again(order: str, big: bool) -> None:
    read = decoding.decode(encode_pages(byteorder=order, bigtiff=big))
    assert read.notes == ()
    np.testing.assert_array_equal(read.pixels, CONTENTS[0])
    assert_contents(pages_of(read))
    data, losses = encode_photo(read, "tif")
    assert losses == ()
    again = pages_of(decoding.decode(data))
    assert_contents(again)
    assert [page.metadata.icc for page in again] == [None, files.ICC, None, None]
    with tifffile.TiffFile(io.BytesIO(data)) as written:
        assert written.byteorder == order
        assert [page.description for page in written.pages] == [f"page {i}" for i in range(4)]
        for page, pixels in zip(written.pages, CONTENTS, strict=True):
            np.testing.assert_array_equal(page.asarray(), pixels)


def test_pages_without_tags_follow_the_byte_order_of_the_others() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=">") as writer:
        for text in ("described", None):
            writer.write(CONTENTS[2], description=text, software=False, metadata=None)
    data, _ = encode_photo(decoding.decode(file.getvalue()), "tif")
    for page in pages_of(decoding.decode(data)):
        np.testing.assert_array_equal(page.pixels, CONTENTS[2])


def test_pages_are_taken_one_at_a_time() -> None:
    log = []

    def photos() -> Iterator[Photo]:
        for number in range(3):
            log.append(number)
            yield Photo(CONTENTS[0], format="tiff", notes=("shared", f"of page {number}"))

    opened = Photo(CONTENTS[0], format="tiff", notes=("shared",), pages=Pages(photos, 3))
    assert opened.stripped().images == 3
    assert log == []
    data, notes = encode_photo(opened, "tif")
    assert log == [0, 1, 2]
    assert notes == ("of page 0", "of page 1", "of page 2")
    assert len(find_pages(data)[0]) == 3


def test_stripped_pages_keep_their_profiles_only() -> None:
    stripped = decoding.decode(encode_pages()).stripped()
    pages = pages_of(decoding.decode(encode_photo(stripped, "tif")[0]))
    assert_contents(pages)
    assert [page.metadata.exif for page in pages] == [None] * 4
    assert pages[1].metadata.icc == files.ICC


def test_other_formats_take_the_first_page_with_a_message() -> None:
    read = decoding.decode(encode_pages())
    data, losses = encode_photo(read, "png")
    assert losses == ("png does not support several pages; the first one is kept",)
    np.testing.assert_array_equal(decoding.decode(data).pixels, CONTENTS[0])
    for still in (read.still(), read.fitting("png"), read.fitting("gif")):
        assert (still.pages, still.images) == (None, 1)
        assert still.notes == ("only the first of its 4 pages is read",)
        data, losses = encode_photo(still, "tif")
        assert losses == ()
        assert decoding.decode(data).pages is None
    assert read.fitting("tiff") is read


@pytest.mark.parametrize(
    ("kinds", "kept", "left_out"),
    [
        ((0, 1), [0], 1),
        ((1, 0, 3, 2), [1, 3], 2),
        ((1, 1), [0], 1),
    ],
)
def test_thumbnails_and_masks_are_no_pages(
    kinds: tuple[int, ...], kept: list[int], left_out: int
) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, kind in zip(CONTENTS, kinds, strict=False):
            photometric = "rgb" if pixels.ndim == 3 else "minisblack"
            writer.write(pixels, subfiletype=kind, photometric=photometric, metadata=None)
    read = decoding.decode(file.getvalue())
    assert read.notes == (f"reduced copies and masks in the file are left out: {left_out}",)
    first = CONTENTS[kept[0]]
    assert read.pixels.shape[:2] == first.shape[:2]
    file.seek(0)
    assert decoding.measure(file) == first.shape[1::-1]
    assert read.images == len(kept)
    if len(kept) > 1:
        shapes = [page.pixels.shape[:2] for page in pages_of(read)]
        assert shapes == [CONTENTS[index].shape[:2] for index in kept]


def test_the_limit_is_for_all_pages_together() -> None:
    data = encode_pages()
    total = sum(pixels.shape[0] * pixels.shape[1] for pixels in CONTENTS)
    assert len(pages_of(decoding.decode(data, max_pixels=total))) == 4
    read = decoding.decode(data, max_pixels=total - 1)
    np.testing.assert_array_equal(read.still().pixels, CONTENTS[0])
    message = f"4 pages with {total} pixels together are more than the limit of {total - 1} "
    with pytest.raises(InputError, match=message):
        encode_photo(read, "tif")


def test_a_damaged_page_is_found_when_it_is_reached() -> None:
    data = encode_pages()
    last = tifffile.TiffFile(io.BytesIO(data)).pages[3].dataoffsets[0]
    read = decoding.decode(data[: last + 5])
    assert read.pages is not None
    pages = iter(read.pages.photos())
    for pixels in CONTENTS[:3]:
        assert next(pages).pixels.shape[:2] == pixels.shape[:2]
    with pytest.raises(InputError, match="strip is missing"):
        next(pages)


def test_equal_notes_of_pages_are_returned_once() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(CONTENTS[0], photometric="rgb", metadata=None)
        for _ in range(2):
            inks = gradient(4, 5, 4)
            writer.write(inks, photometric="separated", extrasamples=(), metadata=None)
    opened = decoding.decode(file.getvalue())
    assert opened.notes == ()
    _, notes = encode_photo(opened, "tif")
    assert len(notes) == 1
    assert "CMYK" in notes[0]


@pytest.mark.parametrize("signature", [b"II*\0", b"MM\0*"])
def test_chains_that_never_end_are_cut(signature: bytes) -> None:
    order = "<" if signature[:1] == b"I" else ">"
    first = signature + struct.pack(f"{order}I", 8)
    loop = first + struct.pack(f"{order}HI", 0, 8)
    assert len(find_pages(loop)[0]) == 1
    # Directories that overlap, each with all the tags of the file.
    entries = 5000
    directory = struct.pack(f"{order}H", entries) + bytes(12 * entries)
    overlapping = first + directory + struct.pack(f"{order}I", 8 + 12)
    assert len(find_pages(overlapping)[0]) <= 2
    for short in (signature, first[:7]):
        with pytest.raises(InputError):
            find_pages(short)


def test_a_single_image_has_no_pages() -> None:
    read = decoding.decode(encode_image(files.IMAGE, "tif"))
    assert (read.pages, read.images) == (None, 1)
    assert read.still() is read
    assert replace(read, pages=None).fitting("jpeg").notes == ()
