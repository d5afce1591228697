"""writing.py: pixels, streams and metadata of copied videos."""

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.video_files import (
    BEST_QUALITY,
    UNEVEN,
    copy_video,
    describe,
    noisy_frames,
    pixels_of,
    write,
)
from zerodce_jax.errors import InputError
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Reader, Writer

av = pytest.importorskip("av")

SOURCES: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "b.m4v": {"rotation": 90},
    "c.mov": {"codec": "libx265", "pixel_format": "yuv420p10le", "rotation": -90},
    "d.mkv": {"codec": "libx265", "pixel_format": "yuv422p10le", "rotation": 180, "audio": "flac"},
    "e.webm": {"codec": "libvpx-vp9", "audio": "libopus"},
    "f.mp4": {"codec": "libsvtav1", "pixel_format": "yuv420p10le"},
    "g.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s16le"},
    "h.mkv": {"codec": "ffv1", "pixel_format": "yuv444p", "audio": "flac"},
    "i.ts": {},
    "j.mp4": {"pixel_format": "yuv444p", "audio": None},
    "k.mkv": {"color": {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 18}},
    "l.mp4": {"color": {"colorspace": 6, "color_range": 2, "color_primaries": 6, "color_trc": 6}},
    "m.m2ts": {"audio": "ac3"},
}


@pytest.mark.parametrize("name", SOURCES)
def test_everything_but_the_pixels_is_unchanged(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / name, noisy_frames(), times=UNEVEN, **SOURCES[name])
    target = tmp_path / "out" / name
    target.parent.mkdir()
    lossless = SOURCES[name].get("codec") in {"prores_ks", "ffv1"}
    assert copy_video(source, target, Encoding() if lossless else BEST_QUALITY) == []
    before, after = describe(source), describe(target)
    if name.endswith("mov") and before["codec"] == "hevc":
        before["tag"] = "hvc1"
    assert after == before
    assert len(after["times"]) == len(UNEVEN)
    assert bool(after["packets"]) == ("audio" not in SOURCES[name] or bool(SOURCES[name]["audio"]))


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_videos_of_few_frames_keep_their_times(codec: Any, count: int, tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.mkv",
        noisy_frames(count),
        codec="ffv1",
        audio=None,
        time_base=Fraction(1, 1000),
    )
    target = tmp_path / "b.mp4"
    # x265 gives the first frames arbitrary decoding times, but not in every run.
    for _ in range(3):
        copy_video(source, target, Encoding(codec))
        assert describe(target)["times"] == describe(source)["times"]


@pytest.mark.skipif(sys.platform != "linux", reason="SVT-AV1 changes the priority on Linux only")
def test_no_thread_gets_real_time_priority(tmp_path: Path) -> None:
    """As root, SVT-AV1 would take all cores from other programs."""
    source = write(tmp_path / "a.mkv", noisy_frames(3), codec="libsvtav1")
    with (
        Reader(source, max_pixels=MAX_PIXELS) as reader,
        Writer(tmp_path / "b.mkv", reader, BEST_QUALITY, strip=False) as writer,
    ):
        for item in reader.frames():
            writer.write(item, item.pixels)
        threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
    assert describe(tmp_path / "b.mkv")["codec"] == "av1"


@pytest.mark.parametrize(
    ("name", "options", "pixel_format", "tolerance"),
    [
        ("a.mkv", {"codec": "ffv1", "pixel_format": "yuv444p"}, "yuv444p", 1),
        ("b.mkv", {"codec": "ffv1", "pixel_format": "yuv420p"}, "yuv420p", 2),
        ("c.mkv", {"codec": "ffv1", "pixel_format": "yuv420p10le"}, "yuv420p10le", 8),
        ("d.mkv", {"codec": "ffv1", "pixel_format": "yuv444p10le"}, "gbrp10le", 4),
        ("e.mkv", {"codec": "ffv1", "pixel_format": "gray"}, "gray", 1),
        ("f.mkv", {"codec": "ffv1", "pixel_format": "gray16le"}, "gray16le", 1),
        ("g.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}, "rgb24", 0),
    ],
)
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("matrix", [1, 5])
def test_pixels_are_kept_within_a_tolerance(
    name: str,
    options: dict,
    pixel_format: str,
    tolerance: int,
    color_range: int,
    matrix: int,
    tmp_path: Path,
) -> None:
    """The difference is one level, or more at sharp edges if the chroma is subsampled."""
    color = {"colorspace": matrix, "color_range": color_range}
    source = write(tmp_path / name, noisy_frames(3), audio=None, color=color, **options)
    with Reader(source, max_pixels=MAX_PIXELS) as reader:
        (first, *_) = reader.frames()
    is_deep = pixel_format not in {"yuv444p", "yuv420p", "gray", "rgb24"}
    assert first.pixels.dtype == (np.uint16 if is_deep else np.uint8)
    assert first.pixels.ndim == (2 if "gray" in pixel_format else 3)
    copy_video(source, tmp_path / f"out-{name}", Encoding())
    before = pixels_of(source, pixel_format)
    after = pixels_of(tmp_path / f"out-{name}", pixel_format)
    for expected, actual in zip(before, after, strict=True):
        assert np.abs(actual.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_subtitles_chapters_and_metadata_are_kept_or_stripped(suffix: str, tmp_path: Path) -> None:
    metadata = {"title": "Nacht — 夜", "comment": "x"}
    if suffix == "mp4":
        metadata |= {"com.apple.quicktime.make": "Some", "location": "+48.1000-011.5000/"}
    source = write(tmp_path / f"a.{suffix}", noisy_frames(), metadata=metadata, chapters=True)
    with_subtitles = add_subtitles(source, tmp_path / f"b.{suffix}")
    copy_video(with_subtitles, tmp_path / f"c.{suffix}")
    before, after = describe(with_subtitles), describe(tmp_path / f"c.{suffix}")
    assert after == before
    assert len(after["chapters"]) == 2
    assert ("subtitle", "fra") in [stream[:2] for stream in after["streams"]]
    assert metadata.items() <= {k.lower(): v for k, v in after["metadata"].items()}.items()
    assert len(after["packets"]) == 2

    copy_video(with_subtitles, tmp_path / f"d.{suffix}", strip=True)
    stripped = describe(tmp_path / f"d.{suffix}")
    assert stripped["metadata"] == {}
    assert stripped["chapters"] == []
    # MP4 stores chapters in a data stream.
    assert stripped["streams"] == [stream for stream in before["streams"] if stream[0] != "data"]


def add_subtitles(source: Path, target: Path) -> Path:
    """Copy a file and add a stream of two subtitles."""
    codec = "mov_text" if target.suffix == ".mp4" else "subrip"
    options = {"movflags": "use_metadata_tags"}
    with (
        av.open(str(source)) as before,
        av.open(str(target), "w", container_options=options) as after,
    ):
        after.metadata.update(before.metadata)
        after.set_chapters(before.chapters())
        streams = {}
        for stream in before.streams:
            if stream.type in {"video", "audio"}:
                streams[stream.index] = after.add_stream_from_template(stream, opaque=True)
                streams[stream.index].metadata.update(stream.metadata)
        subtitles = after.add_mux_stream(codec)
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "fra"
        for packet in before.demux():
            if packet.size and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
        for start, text in ((100, b"Hello"), (300, b"Night")):
            content = len(text).to_bytes(2, "big") + text if codec == "mov_text" else text
            packet = av.Packet(content)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base = 100, Fraction(1, 1000)
            packet.stream = subtitles
            after.mux(packet)
    return target


def test_attachments_are_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", noisy_frames(3))
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mkv"), "w") as after:
        streams = {
            stream.index: after.add_stream_from_template(stream, opaque=True)
            for stream in before.streams
        }
        after.add_attachment("font.ttf", "font/ttf", b"letters")
        for packet in before.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
    copy_video(tmp_path / "b.mkv", tmp_path / "c.mkv")
    with av.open(str(tmp_path / "c.mkv")) as file:
        (attachment,) = [stream for stream in file.streams if stream.type == "attachment"]
        assert (attachment.name, attachment.data) == ("font.ttf", b"letters")


def test_streams_that_a_container_cannot_hold_are_dropped_or_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(3))
    with pytest.raises(InputError, match=r"webm does not support h264; choose another --codec"):
        copy_video(source, tmp_path / "b.webm", Encoding("h264"))
    notes = copy_video(source, tmp_path / "c.webm", Encoding())
    assert notes == ["webm cannot hold its audio stream (aac)"]
    assert describe(tmp_path / "c.webm")["codec"] == "vp9"


def test_further_video_streams_are_copied_with_a_note(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(3), audio=None)
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mkv"), "w") as after:
        video = before.streams.video[0]
        streams = [after.add_stream_from_template(video, opaque=True) for _ in range(2)]
        for packet in [packet for packet in before.demux() if packet.size]:
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe = packet.is_keyframe
            for stream, item in zip(streams, (packet, copy), strict=True):
                item.stream = stream
                after.mux(item)
    notes = copy_video(tmp_path / "b.mkv", tmp_path / "c.mkv")
    assert notes == ["its further video stream is copied without enhancement"]
