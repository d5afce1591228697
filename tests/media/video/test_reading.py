"""reading.py: frames, presentation times, damaged files and files that are refused."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from helpers.video_files import UNEVEN, copy_video, describe, noisy_frames, write
from zerodce_jax.errors import InputError
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Reader

av = pytest.importorskip("av")


def test_presentation_times_and_the_duration_are_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(), times=UNEVEN)
    copy_video(source, tmp_path / "b.mp4")
    assert describe(tmp_path / "b.mp4")["times"] == [Fraction(time, 90_000) for time in UNEVEN]
    # The duration of the last frame is kept too.
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mp4")) as after:
        lengths = [file.streams.video[0].duration for file in (before, after)]
        bases = [file.streams.video[0].time_base for file in (before, after)]
    assert lengths[0] * bases[0] == lengths[1] * bases[1]


def test_a_cover_image_is_copied_and_is_not_the_video(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(5), cover=True)
    assert copy_video(source, tmp_path / "b.mp4") == []
    before, after = describe(source), describe(tmp_path / "b.mp4")
    assert after == before
    assert after["size"] == (160, 90)
    assert any(disposition & 1024 for *_, disposition in after["streams"])


def test_files_that_are_not_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    whole = write(tmp_path / "whole.mp4", noisy_frames()).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=48_000)
        audio = av.AudioFrame.from_ndarray(np.zeros((2, 24_000), np.float32), "fltp", "stereo")
        audio.sample_rate = 48_000
        file.mux(stream.encode(audio))
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


def test_playlists_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "part.ts", noisy_frames(3))
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile part.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(InputError, match=name):
            Reader(tmp_path / name, max_pixels=MAX_PIXELS)


def test_frames_above_the_pixel_limit_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(3))
    with pytest.raises(InputError, match=r"160x90 pixels are more than the limit of 14,399"):
        Reader(source, max_pixels=14_399)


def test_damaged_packets_are_skipped_with_a_note(tmp_path: Path) -> None:
    options = {"codec": "ffv1", "pixel_format": "yuv444p", "audio": None}
    source = write(
        tmp_path / "a.mkv", noisy_frames(9), options={"slicecrc": "1", "g": "1"}, **options
    )
    with av.open(str(source)) as file:
        packets = [bytes(packet) for packet in file.demux() if packet.size]
    whole = bytearray(source.read_bytes())
    at = whole.find(packets[4])
    whole[at : at + len(packets[4])] = b"\xff" * len(packets[4])
    (tmp_path / "b.mkv").write_bytes(whole)
    notes = copy_video(tmp_path / "b.mkv", tmp_path / "c.mkv", Encoding())
    decoded = len(describe(tmp_path / "c.mkv")["times"])
    assert decoded in {8, 9}
    assert notes == ([] if decoded == 9 else ["1 of its packets could not be decoded"])


def test_a_truncated_file_is_read_with_a_note(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(75), audio=None)
    # The copy has its table of frames at the start, so that its first part can be read.
    assert copy_video(source, tmp_path / "whole.mp4") == []
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    (note,) = copy_video(tmp_path / "cut.mp4", tmp_path / "b.mp4")
    end = float(describe(tmp_path / "b.mp4")["times"][-1]) + 1 / 25
    assert 1 < end < 2.8
    assert note == f"ends after {end:.1f} s of the 3.0 s that the file states"
    with av.open(str(tmp_path / "b.mp4")) as file:
        (stream,) = file.streams.video
        # The last frame is not extended over the missing part.
        assert stream.duration * stream.time_base == pytest.approx(end, abs=0.05)


def test_a_long_last_frame_is_not_taken_for_a_truncated_file(tmp_path: Path) -> None:
    times = [*range(0, 36_000, 3600), 360_000]
    source = write(tmp_path / "a.mp4", noisy_frames(11), times=times, audio=None)
    assert copy_video(source, tmp_path / "b.mp4") == []
    assert copy_video(tmp_path / "b.mp4", tmp_path / "c.mp4") == []
    assert describe(tmp_path / "c.mp4")["times"] == describe(source)["times"]


def test_frames_that_an_edit_list_skips_are_not_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(75), audio=None, options={"bf": "0", "g": "50"})
    with (
        av.open(str(source)) as before,
        av.open(
            str(tmp_path / "b.mp4"), "w", container_options={"avoid_negative_ts": "disabled"}
        ) as after,
    ):
        copy = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for packet in before.demux():
            if packet.size:
                packet.pts, packet.dts = packet.pts - 99_000, packet.dts - 99_000
                packet.stream = copy
                after.mux(packet)
    with Reader(tmp_path / "b.mp4", max_pixels=MAX_PIXELS) as reader:
        assert reader.stream.frames == 75
        assert reader.count in {47, 48}
        assert len(list(reader.frames())) == 47
        assert reader.notes == []


def test_unusual_file_names_are_read_and_written(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", noisy_frames(2), audio=None)
    for name in ("with space.mp4", "a:b.mp4", "100%d.mp4", "雪.mp4", "-.mp4", "a\nb.mp4"):
        shutil.copy(source, tmp_path / name)
        (tmp_path / "out").mkdir(exist_ok=True)
        copy_video(tmp_path / name, tmp_path / "out" / name)
        assert len(describe(tmp_path / "out" / name)["times"]) == 2
