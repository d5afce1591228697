"""animation.py: frames, times and loops of GIF, APNG, WebP and AVIF animations."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import photo_files as files
from helpers.animation_files import TIMES, encode_frames, frames
from helpers.photo_files import encode_image, encode_photo, gradient, make_chunk, png_chunks
from zerodce_jax.errors import InputError
from zerodce_jax.media import decoding, encoding, photo
from zerodce_jax.media.animation import Animation, Frame
from zerodce_jax.media.photograph import Photo

SUFFIXES = ("gif", "png", "webp", "avif")


def visible(frame: Frame) -> np.ndarray:
    """Return the pixels of a frame, with black where it is transparent, and the alpha channel."""
    alpha = np.full(frame.pixels.shape[:2], 255) if frame.alpha is None else frame.alpha
    color = np.where(alpha[..., None] > 0, frame.pixels, 0)
    return np.dstack([color, alpha]).astype(float)


def animation_of(opened: Photo) -> tuple[Animation, list[Frame]]:
    assert opened.animation is not None
    found = list(opened.animation.frames())
    assert len(found) == opened.animation.count
    return opened.animation, found


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("alpha", [False, True])
def test_frames_times_and_plays_stay_in_every_format(suffix: str, target: str, alpha: bool) -> None:
    made = frames(alpha=alpha)
    read = decoding.decode(encode_frames(suffix, made))
    assert read.notes == ()
    animation, before = animation_of(read)
    assert [frame.duration for frame in before] == list(TIMES)
    # GIF states repetitions, the others how often the animation is played, AVIF nothing.
    assert animation.plays == {"gif": 3, "avif": 0}.get(suffix, 2)
    for frame, expected in zip(before, made, strict=True):
        wanted = expected if alpha else np.dstack([expected, np.full((20, 30), 255)])
        wanted = np.where(wanted[..., 3:] > 0, wanted, 0)
        # Pillow chooses colors of its own for GIF with transparency.
        is_lossy = suffix == "avif" or (suffix == "gif" and alpha)
        assert np.abs(visible(frame) - wanted).mean() <= (9 if is_lossy else 0)
    data, losses = encoding.encode(read, {"jpg": "jpeg"}.get(target, target))  # pyright: ignore
    assert losses == ()
    again, after = animation_of(decoding.decode(data))
    assert [frame.duration for frame in after] == list(TIMES)
    assert again.plays == (0 if target == "avif" else animation.plays)
    for frame, expected in zip(after, before, strict=True):
        difference = np.abs(visible(frame) - visible(expected))
        # The frames of AVIF have more colors than a palette.
        is_exact = target == "png" or suffix == target == "webp"
        is_exact = is_exact or (target == "gif" and suffix != "avif")
        assert difference.mean() <= (0 if is_exact else 1 if target == "gif" else 9)
        if alpha:
            np.testing.assert_array_equal(frame.alpha, expected.alpha)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_decoded_and_encoded_one_at_a_time(suffix: str) -> None:
    read = decoding.decode(encode_frames(suffix, frames()))
    assert read.animation is not None
    living, most = 0, 0

    class Counted(np.ndarray):
        def __array_finalize__(self, _: object) -> None:
            nonlocal living, most
            living, most = living + 1, max(most, living + 1)

        def __del__(self) -> None:
            nonlocal living
            living -= 1

    def counted() -> Iterator[Frame]:
        for number in range(30):
            pixels = np.full((20, 30, 3), number, np.uint8)
            yield Frame(pixels.view(Counted), None, 40)

    made = replace(read, animation=Animation(counted, 30, 0))
    data, _ = encode_photo(made, suffix)
    assert most < 12
    assert len(animation_of(decoding.decode(data))[1]) == 30


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_of_animations_stay(suffix: str) -> None:
    # Pillow crashes when it writes an AVIF sequence that is not upright.
    orientation = 1 if suffix == "avif" else 6
    options = {"exif": files.exif(orientation), "icc_profile": files.ICC}
    options = {} if suffix == "gif" else options
    options |= {"comment": b"words"} if suffix == "gif" else {"xmp": files.xmp(orientation)}
    read = decoding.decode(encode_frames(suffix, frames(), **options))
    _, found = animation_of(read)
    shape = (20, 30, 3) if suffix in {"gif", "avif"} else (30, 20, 3)
    assert {frame.pixels.shape for frame in found} == {shape}
    data, _ = encode_photo(read, suffix)
    again = decoding.decode(data)
    assert animation_of(again)[1][0].pixels.shape == shape
    assert again.metadata.icc == read.metadata.icc
    assert again.metadata.xmp == read.metadata.xmp
    assert files.exif_tags(again.metadata.exif) == files.exif_tags(read.metadata.exif)
    if suffix == "gif":
        assert again.metadata.native["comment"] == b"words"
    if suffix == "png":
        assert png_chunks(data)[1][0] == b"acTL"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_frames_fail_in_one_line_before_anything_is_written(
    suffix: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)
    whole = encode_frames(suffix, list(noise))
    cut = whole[: len(whole) * 3 // 4]
    try:
        read = decoding.decode(cut)
    except InputError:
        # Only APNG is not looked through to its end before the first frame is decoded.
        assert suffix != "png"
        return
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(InputError) as caught:
        photo.write(path, read)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    # The first frame can still be used.
    assert encode_photo(read.still(), "png")[1] == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_frames_together_count_for_the_limit(suffix: str) -> None:
    data = encode_frames(suffix, frames())
    read = decoding.decode(data, max_pixels=3599)
    assert read.animation is not None
    with pytest.raises(InputError, match=r"6 frames of 30x20 pixels are more than .* 3,599"):
        list(read.animation.frames())
    assert len(animation_of(decoding.decode(data, max_pixels=3600))[1]) == 6


def test_other_formats_take_the_first_frame_with_a_message() -> None:
    read = decoding.decode(encode_frames("gif", frames()))
    data, losses = encode_photo(read, "jpg")
    assert losses == ("jpeg does not support animations; the first frame is kept",)
    assert decoding.decode(data).animation is None
    still = read.still()
    assert still.notes == ("only the first of its 6 frames is read",)
    assert still.animation is None
    assert still.still() is still


@pytest.mark.parametrize("loop", [None, 0, 1, 5])
def test_gif_states_repetitions_and_others_plays(loop: int | None) -> None:
    options = {} if loop is None else {"loop": loop}
    images = [Image.fromarray(frame) for frame in frames()]
    data = encode_image(images[0], "gif", save_all=True, append_images=images[1:], **options)
    read = decoding.decode(data)
    animation, _ = animation_of(read)
    assert animation.plays == {None: 1, 0: 0, 1: 2, 5: 6}[loop]
    for target in ("gif", "png", "webp"):
        again = decoding.decode(encode_photo(read, target)[0])
        assert again.animation is not None
        assert again.animation.plays == animation.plays
    assert (b"NETSCAPE" in encode_photo(read, "gif")[0]) == (loop is not None)


@pytest.mark.parametrize("milliseconds", [0, 1000 / 30, 1001 / 30, 70_001, 65_535_000, 10**9])
def test_apng_keeps_times_as_fractions(milliseconds: float) -> None:
    shown = [Frame(frame, None, milliseconds) for frame in frames()]
    made = Photo(shown[0].pixels, animation=Animation(lambda: shown, 6, 0))
    _, again = animation_of(decoding.decode(encode_photo(made, "png")[0]))
    expected = min(milliseconds, 65_535_000)
    for frame in again:
        assert frame.duration == pytest.approx(expected, rel=1e-4)


def test_rounded_times_do_not_add_up_to_another_length() -> None:
    shown = [Frame(frame, None, 1000 / 30) for frame in 5 * frames()]
    made = Photo(shown[0].pixels, animation=Animation(lambda: shown, 30, 0))
    for suffix in ("gif", "webp", "avif"):
        _, again = animation_of(decoding.decode(encode_photo(made, suffix)[0]))
        assert sum(frame.duration for frame in again) == 1000


def test_avif_does_not_state_when_it_was_written() -> None:
    data, _ = encode_photo(decoding.decode(encode_frames("avif", frames())), "avif")
    for name in (b"mvhd", b"tkhd", b"mdhd"):
        at = data.index(name)
        assert data[at + 4] == 1
        assert data[at + 8 : at + 24] == bytes(16)
        assert any(data[at + 24 : at + 40])


def test_apng_stores_only_what_changes() -> None:
    first = gradient(20, 30, 3)
    second = first.copy()
    second[4:7, 11] += 1
    shown = [Frame(pixels, None, 10) for pixels in (first, second, second)]
    made = Photo(first, animation=Animation(lambda: shown, 3, 0))
    data, _ = encode_photo(made, "png")
    places = [struct.unpack(">5I", x[:20])[1:] for name, x in png_chunks(data) if name == b"fcTL"]
    assert places == [(30, 20, 0, 0), (1, 3, 11, 4), (1, 1, 0, 0)]
    _, again = animation_of(decoding.decode(data))
    for frame, expected in zip(again, shown, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_apng_of_gray_and_of_16_bits(shape: tuple[int, ...]) -> None:
    for dtype in ("uint8", "uint16"):
        shown = [Frame(gradient(*shape, dtype=dtype) // n, None, 40) for n in (1, 2)]
        made = Photo(shown[0].pixels, animation=Animation(lambda shown=shown: shown, 2, 0))
        read = decoding.decode(encode_photo(made, "png")[0])
        deep = dtype == "uint16"
        note = "the 16 bits per sample of its animation are reduced to 8"
        assert read.notes == ((note,) if deep and len(shape) == 3 else ())
        for frame, expected in zip(animation_of(read)[1], shown, strict=True):
            assert frame.pixels.shape == shape
            wide = 257 if deep and len(shape) == 3 else 1
            assert np.abs(frame.pixels.astype(float) - expected.pixels / wide).max() <= wide > 0


def test_the_picture_for_programs_without_animations_is_no_frame() -> None:
    images = [Image.fromarray(frame) for frame in frames()]
    data = encode_image(
        images[0], "png", save_all=True, append_images=images[1:], default_image=True
    )
    _, found = animation_of(decoding.decode(data))
    np.testing.assert_array_equal(found[0].pixels, frames()[1])
    assert len(found) == 5
    data = encode_image(images[0], "png", save_all=True, append_images=images[1:2], default_image=1)
    assert decoding.decode(data).animation is None


@pytest.mark.parametrize(
    "change",
    [lambda n: struct.pack(">I", 0x7FFFFFFF), lambda n: struct.pack(">I", n + 1)],
)
def test_false_numbers_of_frames_fail(change: Callable[[int], bytes]) -> None:
    data = encode_frames("png", frames())
    control = make_chunk(b"acTL", struct.pack(">II", 6, 2))
    assert control in data
    false = data.replace(control, make_chunk(b"acTL", change(6) + struct.pack(">I", 2)))
    read = decoding.decode(false, max_pixels=10**9)
    assert read.animation is not None
    with pytest.raises(InputError):
        list(read.animation.frames())


def test_animated_gifs_are_recognized(tmp_path: Path) -> None:
    animated, still = encode_frames("gif", frames()), encode_image(files.IMAGE, "gif")
    for data, expected in ((animated, True), (still, False), (b"GIF89a", False), (b"", False)):
        path = tmp_path / "x.gif"
        path.write_bytes(data)
        assert photo.is_animated_gif(path) == expected
        assert photo.is_animated_gif(io.BytesIO(data)) == expected
    assert not photo.is_animated_gif(tmp_path / "missing.gif")
    assert not photo.is_animated_gif(io.BytesIO(encode_frames("webp", frames())))


def test_gif_frames_have_palettes_of_their_own() -> None:
    shown = [Frame(gradient(40, 60, 3) // n, None, 40) for n in (1, 2)]
    made = Photo(shown[0].pixels, animation=Animation(lambda: shown, 2, 0))
    _, again = animation_of(decoding.decode(encode_photo(made, "gif")[0]))
    for frame, expected in zip(again, shown, strict=True):
        assert np.abs(frame.pixels.astype(float) - expected.pixels).mean() < 3
    assert any((a.pixels != b.pixels).any() for a, b in pairwise(again))
