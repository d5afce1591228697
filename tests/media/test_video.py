"""video.py: what comes back of a video file, stream by stream, and what is refused."""

import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.video_files import UNEVEN, frame, pixels_of, still, told, write
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.media.photo import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Reader, Writer

av = pytest.importorskip("av")

BEST = Encoding(quality=0)


def frames(count: int = 12, height: int = 90, width: int = 160) -> list[np.ndarray]:
    scene = still(height, width)
    return [frame(scene * (1 + 0.02 * n), noise=0.01, seed=n) for n in range(count)]


def copied(
    source: Path, target: Path, encoding: Encoding = BEST, *, strip: bool = False
) -> list[str]:
    """Read a video and write it again as it is; returns the notes."""
    with Reader(source, max_pixels=MAX_PIXELS) as reader:
        with Writer(target, reader, encoding, strip=strip) as writer:
            for each in reader.frames():
                writer.write(each, each.pixels)
        return [*reader.notes, *writer.notes]


KINDS: dict[str, dict[str, Any]] = {
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


@pytest.mark.parametrize("name", KINDS)
def test_all_but_the_pixels_stays_as_it_is(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / name, frames(), times=UNEVEN, **KINDS[name])
    target = tmp_path / "out" / name
    target.parent.mkdir()
    lossless = KINDS[name].get("codec") in {"prores_ks", "ffv1"}
    assert copied(source, target, Encoding() if lossless else BEST) == []
    before, after = told(source), told(target)
    if name.endswith("mov") and before["codec"] == "hevc":
        before["tag"] = "hvc1"
    assert after == before
    assert len(after["times"]) == len(UNEVEN)
    assert bool(after["packets"]) == ("audio" not in KINDS[name] or bool(KINDS[name]["audio"]))


def test_times_are_those_that_were_written(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(), times=UNEVEN)
    copied(source, tmp_path / "b.mp4")
    assert told(tmp_path / "b.mp4")["times"] == [Fraction(each, 90_000) for each in UNEVEN]
    # Of the last frame too it is known how long it is shown.
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mp4")) as after:
        lengths = [file.streams.video[0].duration for file in (before, after)]
        bases = [file.streams.video[0].time_base for file in (before, after)]
    assert lengths[0] * bases[0] == lengths[1] * bases[1]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_clips_shorter_than_an_encoder_looks_ahead(codec: Any, count: int, tmp_path: Path) -> None:
    some = frames(count)
    source = write(tmp_path / "a.mkv", some, codec="ffv1", audio=None, time_base=Fraction(1, 1000))
    target = tmp_path / "b.mp4"
    # x265's first times were any number, but not every time.
    for _ in range(3):
        copied(source, target, Encoding(codec))
        assert told(target)["times"] == told(source)["times"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it does not do that")
def test_no_thread_becomes_a_real_time_one(tmp_path: Path) -> None:
    """As root SVT-AV1 takes all cores from everybody else."""
    source = write(tmp_path / "a.mkv", frames(3), codec="libsvtav1")
    with (
        Reader(source, max_pixels=MAX_PIXELS) as reader,
        Writer(tmp_path / "b.mkv", reader, BEST, strip=False) as writer,
    ):
        for each in reader.frames():
            writer.write(each, each.pixels)
        threads = [int(each.name) for each in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(each) for each in threads} == {os.SCHED_OTHER}
    assert told(tmp_path / "b.mkv")["codec"] == "av1"


@pytest.mark.parametrize(
    ("name", "kind", "form", "most"),
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
@pytest.mark.parametrize("full", [1, 2])
@pytest.mark.parametrize("matrix", [1, 5])
def test_pixels_come_back(
    name: str, kind: dict, form: str, most: int, full: int, matrix: int, tmp_path: Path
) -> None:
    """Within one level, but for chroma at sharp edges where it has half the size."""
    color = {"colorspace": matrix, "color_range": full}
    source = write(tmp_path / name, frames(3), audio=None, color=color, **kind)
    with Reader(source, max_pixels=MAX_PIXELS) as reader:
        (first, *_) = reader.frames()
    deep = form not in {"yuv444p", "yuv420p", "gray", "rgb24"}
    assert first.pixels.dtype == (np.uint16 if deep else np.uint8)
    assert first.pixels.ndim == (2 if "gray" in form else 3)
    copied(source, tmp_path / f"out-{name}", Encoding())
    for one, other in zip(
        pixels_of(source, form), pixels_of(tmp_path / f"out-{name}", form), strict=True
    ):
        assert np.abs(one.astype(int) - other).max() <= most


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_subtitles_chapters_and_metadata(suffix: str, tmp_path: Path) -> None:
    about = {"title": "Nacht — 夜", "comment": "x"}
    if suffix == "mp4":
        about |= {"com.apple.quicktime.make": "Some", "location": "+48.1000-011.5000/"}
    source = write(tmp_path / f"a.{suffix}", frames(), metadata=about, chapters=True)
    with_texts = add_subtitles(source, tmp_path / f"b.{suffix}")
    copied(with_texts, tmp_path / f"c.{suffix}")
    before, after = told(with_texts), told(tmp_path / f"c.{suffix}")
    assert after == before
    assert len(after["chapters"]) == 2
    assert ("subtitle", "fra") in [each[:2] for each in after["streams"]]
    assert about.items() <= {k.lower(): v for k, v in after["metadata"].items()}.items()
    assert len(after["packets"]) == 2

    copied(with_texts, tmp_path / f"d.{suffix}", strip=True)
    stripped = told(tmp_path / f"d.{suffix}")
    assert stripped["metadata"] == {}
    assert stripped["chapters"] == []
    # Chapters lie in a track of their own.
    assert stripped["streams"] == [each for each in before["streams"] if each[0] != "data"]


def add_subtitles(source: Path, target: Path) -> Path:
    """The same file with two lines of subtitles, as packets of their own."""
    kind = "mov_text" if target.suffix == ".mp4" else "subrip"
    options = {"movflags": "use_metadata_tags"}
    with (
        av.open(str(source)) as before,
        av.open(str(target), "w", container_options=options) as after,
    ):
        after.metadata.update(before.metadata)
        after.set_chapters(before.chapters())
        streams = {}
        for each in before.streams:
            if each.type in {"video", "audio"}:
                streams[each.index] = after.add_stream_from_template(each, opaque=True)
                streams[each.index].metadata.update(each.metadata)
        texts = after.add_mux_stream(kind)
        texts.time_base = Fraction(1, 1000)
        texts.metadata["language"] = "fra"
        for packet in before.demux():
            if packet.size and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
        for start, text in ((100, b"Hello"), (300, b"Night")):
            content = len(text).to_bytes(2, "big") + text if kind == "mov_text" else text
            packet = av.Packet(content)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base = 100, Fraction(1, 1000)
            packet.stream = texts
            after.mux(packet)
    return target


def test_attachments_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mkv", frames(3))
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mkv"), "w") as after:
        streams = {
            each.index: after.add_stream_from_template(each, opaque=True) for each in before.streams
        }
        after.add_attachment("font.ttf", "font/ttf", b"letters")
        for packet in before.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
    copied(tmp_path / "b.mkv", tmp_path / "c.mkv")
    with av.open(str(tmp_path / "c.mkv")) as file:
        (attachment,) = [each for each in file.streams if each.type == "attachment"]
        assert (attachment.name, attachment.data) == ("font.ttf", b"letters")


def test_the_picture_of_a_cover_is_not_the_video(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(5), cover=True)
    assert copied(source, tmp_path / "b.mp4") == []
    before, after = told(source), told(tmp_path / "b.mp4")
    assert after == before
    assert after["size"] == (160, 90)
    assert any(disposition & 1024 for *_, disposition in after["streams"])


def test_codec_quality_and_pixel_format(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames())
    sizes = []
    for quality in (10, 30, 45):
        copied(source, target := tmp_path / f"{quality}.mp4", Encoding("hevc", quality))
        assert told(target)["codec"] == "hevc"
        sizes.append(target.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    copied(source, tmp_path / "deep.mkv", Encoding("av1", pixel_format="yuv420p10le"))
    assert told(tmp_path / "deep.mkv")["format"] == "yuv420p10le"


def test_deep_videos_stay_deep(tmp_path: Path) -> None:
    # A ramp of more than 256 levels.
    ramp = np.repeat(np.linspace(0, 65535, 160).astype(np.uint16)[None, :, None], 90, 0)
    ramp = np.repeat(ramp, 3, 2)
    source = write(
        tmp_path / "a.mkv", [ramp] * 2, codec="ffv1", pixel_format="yuv444p10le", audio=None
    )
    assert copied(source, tmp_path / "b.mp4", Encoding("hevc", quality=0)) == []
    (first, *_) = pixels_of(tmp_path / "b.mp4", "rgb48le")
    assert len(np.unique(first[45, :, 1])) > 140
    notes = copied(source, tmp_path / "c.mkv", Encoding("vp9"))
    assert notes == ["vp9 keeps 8 bits of its pixels"]


def test_files_without_an_encoder_become_h264(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.avi",
        frames(),
        codec="mjpeg",
        pixel_format="yuvj420p",
        audio="libmp3lame",
        color={"colorspace": 5, "color_range": 2},
        time_base=Fraction(1, 25),
    )
    copied(source, tmp_path / "b.mkv")
    before, after = told(source), told(tmp_path / "b.mkv")
    assert after["codec"] == "h264"
    assert after["times"] == before["times"]
    assert [data for _, data in after["packets"][1]] == [data for _, data in before["packets"][1]]
    means = [np.mean(pixels_of(path)) for path in (source, tmp_path / "b.mkv")]
    assert means[0] == pytest.approx(means[1], abs=1.5)


def test_what_a_container_cannot_hold(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(3))
    with pytest.raises(InputError, match=r"webm does not hold h264; choose another --codec"):
        copied(source, tmp_path / "b.webm", Encoding("h264"))
    notes = copied(source, tmp_path / "c.webm", Encoding())
    assert notes == ["webm cannot hold its audio stream (aac)"]
    assert told(tmp_path / "c.webm")["codec"] == "vp9"


def test_odd_sides(tmp_path: Path) -> None:
    odd = frames(3, 91, 161)
    source = write(tmp_path / "a.webm", odd, codec="libvpx-vp9", audio=None)
    copied(source, tmp_path / "b.webm", Encoding())
    copied(source, tmp_path / "c.mp4", Encoding("h264"))
    assert told(tmp_path / "b.webm")["size"] == told(tmp_path / "c.mp4")["size"] == (161, 91)
    for codec, wanted in (("h264", "yuv420p"), ("hevc", "yuv422p10le")):
        message = rf"{codec} holds no odd sides \(161\) as {wanted}"
        with pytest.raises(InputError, match=message):
            copied(source, tmp_path / "d.mkv", Encoding(codec, pixel_format=wanted))
    copied(source, tmp_path / "d.mkv", Encoding("vp9", pixel_format="yuv420p"))


def test_transparency_is_told_of(tmp_path: Path) -> None:
    kind = {"codec": "ffv1", "pixel_format": "yuva420p", "audio": None}
    source = write(tmp_path / "a.mkv", frames(3), **kind)
    assert copied(source, tmp_path / "b.mkv", Encoding()) == ["its transparency is left out"]


@pytest.mark.parametrize(
    ("codec", "quality"), [("h264", -1), ("h264", 52), ("av1", 64), ("prores", 5), ("ffv1", 0)]
)
def test_qualities_that_no_codec_knows(codec: Any, quality: float) -> None:
    with pytest.raises(UsageError, match="--quality"):
        Encoding(codec, quality)


def test_pixel_formats_that_no_codec_knows(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(3))
    with pytest.raises(InputError, match="h264 knows no pixel format yuv9p; yuv420p"):
        copied(source, tmp_path / "b.mp4", Encoding(pixel_format="yuv9p"))


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    whole = write(tmp_path / "whole.mp4", frames()).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=48_000)
        heard = av.AudioFrame.from_ndarray(np.zeros((2, 24_000), np.float32), "fltp", "stereo")
        heard.sample_rate = 48_000
        file.mux(stream.encode(heard))
        file.mux(stream.encode(None))
    (tmp_path / "folder.mp4").mkdir()
    for name in ("empty", "text", "cut", "sound", "folder"):
        path = tmp_path / f"{name}.mp4"
        with pytest.raises(InputError) as caught:
            Reader(path, max_pixels=MAX_PIXELS)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        Reader(tmp_path / "missing.mp4", max_pixels=MAX_PIXELS)


def test_play_lists_open_nothing(tmp_path: Path) -> None:
    write(tmp_path / "part.ts", frames(3))
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile part.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(InputError, match=name):
            Reader(tmp_path / name, max_pixels=MAX_PIXELS)


def test_large_frames_are_not_decoded(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(3))
    with pytest.raises(InputError, match=r"160x90 pixels are more than the limit of 14,399"):
        Reader(source, max_pixels=14_399)


def test_damage_on_the_way_is_told_of(tmp_path: Path) -> None:
    kind = {"codec": "ffv1", "pixel_format": "yuv444p", "audio": None}
    source = write(tmp_path / "a.mkv", frames(9), options={"slicecrc": "1", "g": "1"}, **kind)
    with av.open(str(source)) as file:
        packets = [bytes(each) for each in file.demux() if each.size]
    whole = bytearray(source.read_bytes())
    at = whole.find(packets[4])
    whole[at : at + len(packets[4])] = b"\xff" * len(packets[4])
    (tmp_path / "b.mkv").write_bytes(whole)
    notes = copied(tmp_path / "b.mkv", tmp_path / "c.mkv", Encoding())
    left = len(told(tmp_path / "c.mkv")["times"])
    assert left in {8, 9}
    assert notes == ([] if left == 9 else ["1 of its packets could not be decoded"])


def test_a_file_that_ends_too_early_is_told_of(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(75), audio=None)
    # Which puts the table of frames first.
    assert copied(source, tmp_path / "whole.mp4") == []
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    (note,) = copied(tmp_path / "cut.mp4", tmp_path / "b.mp4")
    end = float(told(tmp_path / "b.mp4")["times"][-1]) + 1 / 25
    assert 1 < end < 2.8
    assert note == f"ends after {end:.1f} s of the 3.0 s that it promises"
    with av.open(str(tmp_path / "b.mp4")) as file:
        (stream,) = file.streams.video
        # The last frame does not stand for all that is missing.
        assert stream.duration * stream.time_base == pytest.approx(end, abs=0.05)


def test_a_long_last_frame_is_no_early_end(tmp_path: Path) -> None:
    times = [*range(0, 36_000, 3600), 360_000]
    source = write(tmp_path / "a.mp4", frames(11), times=times, audio=None)
    assert copied(source, tmp_path / "b.mp4") == []
    assert copied(tmp_path / "b.mp4", tmp_path / "c.mp4") == []
    assert told(tmp_path / "c.mp4")["times"] == told(source)["times"]


def test_what_an_edit_list_leaves_out_is_not_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(75), audio=None, options={"bf": "0", "g": "50"})
    with (
        av.open(str(source)) as before,
        av.open(
            str(tmp_path / "b.mp4"), "w", container_options={"avoid_negative_ts": "disabled"}
        ) as after,
    ):
        made = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for packet in before.demux():
            if packet.size:
                packet.pts, packet.dts = packet.pts - 99_000, packet.dts - 99_000
                packet.stream = made
                after.mux(packet)
    with Reader(tmp_path / "b.mp4", max_pixels=MAX_PIXELS) as reader:
        assert reader.stream.frames == 75
        assert reader.count in {47, 48}
        assert len(list(reader.frames())) == 47
        assert reader.notes == []


def test_further_videos_are_told_of(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(3), audio=None)
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mkv"), "w") as after:
        video = before.streams.video[0]
        streams = [after.add_stream_from_template(video, opaque=True) for _ in range(2)]
        for packet in [each for each in before.demux() if each.size]:
            again = av.Packet(bytes(packet))
            again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
            again.is_keyframe = packet.is_keyframe
            for stream, each in zip(streams, (packet, again), strict=True):
                each.stream = stream
                after.mux(each)
    notes = copied(tmp_path / "b.mkv", tmp_path / "c.mkv")
    assert notes == ["its further video stream is copied as it is"]


def test_rgb_that_does_not_stay_rgb_is_told_of(tmp_path: Path) -> None:
    kind = {"codec": "libx264rgb", "pixel_format": "rgb24", "color": {"colorspace": 0}}
    source = write(tmp_path / "a.mkv", frames(3), audio=None, **kind)
    assert copied(source, tmp_path / "b.mkv") == ["its RGB becomes yuv444p"]


def test_names_of_every_kind(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", frames(2), audio=None)
    for name in ("with space.mp4", "a:b.mp4", "100%d.mp4", "雪.mp4", "-.mp4", "a\nb.mp4"):
        shutil.copy(source, tmp_path / name)
        (tmp_path / "out").mkdir(exist_ok=True)
        copied(tmp_path / name, tmp_path / "out" / name)
        assert len(told(tmp_path / "out" / name)["times"]) == 2
