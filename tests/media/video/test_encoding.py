"""encoding.py: codecs, qualities and pixel formats."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.video_files import copy_video, describe, noisy_frames, pixels_of, write
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.media.video import Encoding


def test_codec_quality_and_pixel_format_are_used(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames())
    sizes = []
    for quality in (10, 30, 45):
        copy_video(source, target := tmp_path / f"{quality}.mp4", Encoding("hevc", quality))
        assert describe(target)["codec"] == "hevc"
        sizes.append(target.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    copy_video(source, tmp_path / "deep.mkv", Encoding("av1", pixel_format="yuv420p10le"))
    assert describe(tmp_path / "deep.mkv")["format"] == "yuv420p10le"


def test_deep_videos_keep_their_depth(tmp_path: Path) -> None:
    # A ramp of more than 256 levels.
    ramp = np.repeat(np.linspace(0, 65535, 160).astype(np.uint16)[None, :, None], 90, 0)
    ramp = np.repeat(ramp, 3, 2)
    source = write(
        tmp_path / "a.mkv", [ramp] * 2, codec="ffv1", pixel_format="yuv444p10le", audio=None
    )
    assert copy_video(source, tmp_path / "b.mp4", Encoding("hevc", quality=0)) == []
    (first, *_) = pixels_of(tmp_path / "b.mp4", "rgb48le")
    assert len(np.unique(first[45, :, 1])) > 140
    notes = copy_video(source, tmp_path / "c.mkv", Encoding("vp9"))
    assert notes == ["vp9 keeps 8 bits per sample"]


def test_codecs_that_cannot_be_written_become_h264(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.avi",
        noisy_frames(),
        codec="mjpeg",
        pixel_format="yuvj420p",
        audio="libmp3lame",
        color={"colorspace": 5, "color_range": 2},
        time_base=Fraction(1, 25),
    )
    copy_video(source, tmp_path / "b.mkv")
    before, after = describe(source), describe(tmp_path / "b.mkv")
    assert after["codec"] == "h264"
    assert after["times"] == before["times"]
    assert [data for _, data in after["packets"][1]] == [data for _, data in before["packets"][1]]
    means = [np.mean(pixels_of(path)) for path in (source, tmp_path / "b.mkv")]
    assert means[0] == pytest.approx(means[1], abs=1.5)


def test_odd_sides_are_kept_or_refused(tmp_path: Path) -> None:
    frames = noisy_frames(3, 91, 161)
    source = write(tmp_path / "a.webm", frames, codec="libvpx-vp9", audio=None)
    copy_video(source, tmp_path / "b.webm", Encoding())
    copy_video(source, tmp_path / "c.mp4", Encoding("h264"))
    assert (
        describe(tmp_path / "b.webm")["size"] == describe(tmp_path / "c.mp4")["size"] == (161, 91)
    )
    for codec, requested in (("h264", "yuv420p"), ("hevc", "yuv422p10le")):
        message = rf"{codec} cannot encode odd sides \(161\) as {requested}"
        with pytest.raises(InputError, match=message):
            copy_video(source, tmp_path / "d.mkv", Encoding(codec, pixel_format=requested))
    copy_video(source, tmp_path / "d.mkv", Encoding("vp9", pixel_format="yuv420p"))


def test_transparency_is_dropped_with_a_note(tmp_path: Path) -> None:
    options = {"codec": "ffv1", "pixel_format": "yuva420p", "audio": None}
    source = write(tmp_path / "a.mkv", noisy_frames(3), **options)
    assert copy_video(source, tmp_path / "b.mkv", Encoding()) == ["its transparency is dropped"]


def test_rgb_that_is_converted_to_yuv_gives_a_note(tmp_path: Path) -> None:
    options = {"codec": "libx264rgb", "pixel_format": "rgb24", "color": {"colorspace": 0}}
    source = write(tmp_path / "a.mkv", noisy_frames(3), audio=None, **options)
    assert copy_video(source, tmp_path / "b.mkv") == ["its RGB pixels are converted to yuv444p"]


@pytest.mark.parametrize(
    ("codec", "quality"), [("h264", -1), ("h264", 52), ("av1", 64), ("prores", 5), ("ffv1", 0)]
)
def test_unsupported_qualities_are_refused(codec: Any, quality: float) -> None:
    with pytest.raises(UsageError, match="--quality"):
        Encoding(codec, quality)


def test_unsupported_pixel_formats_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(3))
    with pytest.raises(InputError, match="h264 has no pixel format yuv9p; choose from yuv420p"):
        copy_video(source, tmp_path / "b.mp4", Encoding(pixel_format="yuv9p"))
