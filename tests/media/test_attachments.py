"""attachments.py: gain maps are left out, and motion photos keep their videos."""

import io
import re
import struct
import time

import numpy as np
import pytest
from PIL import Image

from helpers import photo_files as files
from helpers.photo_files import IMAGE, assert_same, encode_image, encode_photo, round_trip
from zerodce_jax.media import attachments, decoding
from zerodce_jax.media.photograph import Photo

GAIN_MAP_NOTE = "its gain map, which no longer fits, is left out"
VIDEO = struct.pack(">I4s4sI", 24, b"ftyp", b"mp42", 0) + b"isommp42" + bytes(range(256))
PRIMARY = (
    '<rdf:li rdf:parseType="Resource"><C:Item I:Semantic="Primary" I:Mime="image/jpeg"/></rdf:li>'
)
GAIN_MAP_ITEMS = [
    '<rdf:li rdf:parseType="Resource"><C:Item I:Semantic="GainMap" I:Length="400"/></rdf:li>',
    '<rdf:li I:Mime="image/jpeg" I:Semantic="GainMap" I:Length="400"/>',
    "<rdf:li><C:Item><I:Semantic>GainMap</I:Semantic><I:Length>400</I:Length></C:Item></rdf:li>",
]
VIDEO_ITEM = (
    '<rdf:li rdf:parseType="Resource"><C:Item I:Mime="video/mp4" I:Semantic="MotionPhoto" '
    f'I:Length="{len(VIDEO)}" I:Padding="0"/></rdf:li>'
)


def packet(attributes: str = "", *items: str, elements: str = "") -> bytes:
    """Return XMP with properties, and with a list of what the file holds."""
    names = ""
    if "hdrgm:" in attributes + elements:
        names = ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    listed = f"<C:Directory><rdf:Seq>{''.join(items)}</rdf:Seq></C:Directory>" if items else ""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:C="http://ns.google.com/photos/1.0/container/" '
        'xmlns:I="http://ns.google.com/photos/1.0/container/item/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5" '
        'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
        f"{names}{attributes}>{elements}{listed}"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def gain_map() -> bytes:
    """Return the JPEG file of a gain map, with the XMP that belongs to it."""
    small = Image.fromarray(files.gradient(10, 15))
    return encode_image(small, "jpg", xmp=packet(' hdrgm:Version="1.0" hdrgm:GainMapMax="2.3"'))


def ultra_hdr(*, xmp: bytes, trailer: bytes = b"") -> bytes:
    """Join a photograph and its gain map, by a segment that states where both are (CIPA DC-007)."""
    second = gain_map()
    iso = b"\xff\xe2" + struct.pack(">H", 2 + 32) + attachments.GAIN_MAP_SEGMENT + bytes(4)
    place = 0
    first = b""
    for _ in range(2):
        # The offset counts from the byte order on, which follows the marker, length and name.
        entries = struct.pack(">IIIHH", 0x030000, len(first), 0, 0, 0)
        entries += struct.pack(">IIIHH", 0, len(second), len(first) - place, 0, 0)
        tags = ((0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack(">I", 2)))
        tags += ((0xB002, 7, 32, struct.pack(">I", 8 + 2 + 36 + 4)),)
        index = b"MM\0*" + struct.pack(">IH", 8, 3)
        index += b"".join(struct.pack(">HHI", *tag[:3]) + tag[3] for tag in tags)
        index += bytes(4) + entries
        mpf = b"\xff\xe2" + struct.pack(">H", len(index) + 6) + b"MPF\0" + index
        first = encode_image(IMAGE, "jpg", quality=90, xmp=xmp, extra=iso + mpf)
        place = first.index(b"MPF\0") + 4
    return first + second + trailer


def samsung_trailer(*parts: tuple[bytes, bytes]) -> bytes:
    """Return a trailer of named parts, with the directory that Samsung's cameras write."""
    blocks = [struct.pack("<HHI", 0, 0x0A30, len(name)) + name + data for name, data in parts]
    directory = b"SEFH" + struct.pack("<II", 107, len(blocks))
    for i, block in enumerate(blocks):
        before = sum(map(len, blocks[i:]))
        directory += struct.pack("<HHII", 0, 0x0A30, before, len(block))
    return b"".join(blocks) + directory + struct.pack("<I", len(directory)) + b"SEFT"


def test_files_for_tests_hold_two_images() -> None:
    image = Image.open(io.BytesIO(ultra_hdr(xmp=packet())))
    assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    image.seek(1)
    assert image.size == (15, 10)


@pytest.mark.parametrize("item", GAIN_MAP_ITEMS)
def test_ultra_hdr_keeps_its_base_picture_and_no_trace_of_the_gain_map(item: str) -> None:
    elements = "<hdrgm:Version>1.0</hdrgm:Version><hdrgm:Other><rdf:Seq/></hdrgm:Other>"
    xmp = packet(" hdrgm:Version='1.0' hdrgm:BaseRenditionIsHDR=\"False\"", PRIMARY, item)
    for source in (xmp, packet("", PRIMARY, item, elements=elements)):
        read = decoding.decode(ultra_hdr(xmp=source))
        assert read.notes == (GAIN_MAP_NOTE,)
        assert_same(read, decoding.decode(encode_image(IMAGE, "jpg", quality=90)))
        data, losses = encode_photo(read, "jpg")
        assert losses == ()
        for mark in (b"hdrgm", b"hdr-gain-map", b"GainMap", b"MPF\0", b"21496"):
            assert mark not in data
        again = decoding.decode(data)
        assert again.notes == ()
        assert again.metadata.xmp == packet("", PRIMARY)


def test_other_images_behind_a_gain_map_are_still_noted() -> None:
    file = io.BytesIO()
    previews = [IMAGE.rotate(90), IMAGE.rotate(180)]
    xmp = packet(elements="<hdrgm:Version>1.0</hdrgm:Version>")
    IMAGE.save(file, format="MPO", save_all=True, append_images=previews, xmp=xmp)
    only_first = "only the first of its 3 images is read"
    assert decoding.decode(file.getvalue()).notes == (GAIN_MAP_NOTE, only_first)


def test_xmp_without_attachments_stays_byte_for_byte() -> None:
    for xmp in (files.xmp(1), b"", b"<rdf:li>x</rdf:li> hdrgm:Version='1.0'", bytes(99)):
        assert attachments.without_gain_map(xmp) == xmp
        assert attachments.without_video(xmp) == xmp


def test_long_xmp_takes_no_long_time() -> None:
    start = time.perf_counter()
    names = b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    for part in (b" ", b"<rdf:li>", b"<hdrgm:a>", b"<hdrgm:a ", b" hdrgm:a='"):
        attachments.without_gain_map(names + part * (20_000 // len(part)))
    assert time.perf_counter() - start < 5


@pytest.mark.needs("pillow_heif")
def test_heic_with_a_gain_map_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_image(IMAGE, "heic", xmp=packet(' hdrgm:Version="1.0"', PRIMARY))
    read = decoding.decode(data)
    assert read.notes == (GAIN_MAP_NOTE,)
    assert round_trip(read, "heic").notes == ()
    for mark in (b"urn:com:apple:photo:2020:aux:hdrgainmap\0", b"infe\2\0\0\0\0\3\0\0tmap\0"):
        assert attachments.has_gain_map(data[:40] + mark, "heif")
    assert not attachments.has_gain_map(encode_image(IMAGE, "heic"), "heif")


def motion_photos() -> dict[str, tuple[bytes, bytes]]:
    """Return motion photos of all kinds, and the part of each that must stay."""
    micro = f' GCamera:MicroVideo="1" GCamera:MicroVideoOffset="{len(VIDEO)}"'
    motion = ' GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"'
    both = packet(f'{motion} hdrgm:Version="1.0"', PRIMARY, GAIN_MAP_ITEMS[0], VIDEO_ITEM)
    samsung = samsung_trailer((b"Image_UTC_Data", b"160"), (b"MotionPhoto_Data", VIDEO))
    return {
        "micro": (encode_image(IMAGE, "jpg", xmp=packet(micro)) + VIDEO, VIDEO),
        "motion": (
            encode_image(IMAGE, "jpg", xmp=packet(motion, PRIMARY, VIDEO_ITEM)) + VIDEO,
            VIDEO,
        ),
        "ultra": (ultra_hdr(xmp=both, trailer=VIDEO), VIDEO),
        "samsung": (encode_image(IMAGE, "jpg") + samsung, samsung),
    }


@pytest.mark.parametrize("kind", motion_photos())
def test_motion_photos_keep_their_video_where_xmp_says(kind: str) -> None:
    source, trailer = motion_photos()[kind]
    read = decoding.decode(source)
    assert read.notes == ((GAIN_MAP_NOTE,) if kind == "ultra" else ())
    bright = Photo(255 - read.pixels, format="jpeg", metadata=read.metadata)
    data, losses = encode_photo(bright, "jpg")
    assert losses == ()
    assert data.endswith(trailer)
    assert data.count(VIDEO) == 1
    again = decoding.decode(data)
    assert again.metadata.trailer == trailer
    assert again.metadata.xmp == read.metadata.xmp
    assert again.notes == ()
    # The length that XMP states leads to the video.
    found = re.search(rb'(?:MicroVideoOffset|I:Length)="(\d+)"', again.metadata.xmp or b"")
    assert (found is None) == (kind == "samsung")
    if found is not None:
        assert data[-int(found[1]) :] == VIDEO


@pytest.mark.parametrize("kind", motion_photos())
def test_without_its_video_a_motion_photo_claims_none(kind: str) -> None:
    read = decoding.decode(motion_photos()[kind][0])
    data, losses = encode_photo(read, "png")
    assert losses == ("png does not support its video, which is dropped",)
    for mark in (b"MotionPhoto", b"MicroVideo", VIDEO):
        assert mark not in data
    stripped, losses = encode_photo(read.stripped(), "jpg")
    assert losses == ()
    assert VIDEO not in stripped


def test_false_statements_about_a_video_are_ignored() -> None:
    for length in (0, 5, len(VIDEO) + 1, 10**9, 10**12 - 1):
        micro = f' GCamera:MicroVideoOffset="{length}"'
        data = encode_image(IMAGE, "jpg", xmp=packet(micro)) + VIDEO
        assert decoding.decode(data).metadata.trailer == b""
    plain = encode_image(IMAGE, "jpg")
    whole = samsung_trailer((b"MotionPhoto_Data", VIDEO))
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[-int(rng.integers(1, 60))] ^= 1 << rng.integers(8)
        trailer = attachments.video_trailer(plain + bytes(damaged), "jpeg", b"")
        assert (plain + bytes(damaged)).endswith(trailer)
    other = samsung_trailer((b"Image_UTC_Data", b"160"))
    assert attachments.video_trailer(plain + other, "jpeg", b"") == b""


@pytest.mark.needs("pillow_heif")
def test_heic_keeps_the_box_of_a_video() -> None:
    box = struct.pack(">I4s", 8 + len(VIDEO), b"mpvd") + VIDEO
    read = decoding.decode(encode_image(IMAGE, "heic") + box)
    assert read.metadata.trailer == box
    data, _ = encode_photo(read, "heic")
    assert data.endswith(box)
    assert data[: -len(box)] == encode_photo(Photo(read.pixels), "heic")[0]
