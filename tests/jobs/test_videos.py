"""videos.py: videos through the command line and through pipes, interrupts and kills."""

import builtins
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.command import rows_of, run, summary_of
from helpers.enhancers import brightening_network
from helpers.video_files import UNEVEN, describe, frame, pixels_of, still, write
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import InputError, install_command
from zerodce_jax.jobs.plan import plan
from zerodce_jax.jobs.runner import Result
from zerodce_jax.jobs.runner import run as run_items
from zerodce_jax.jobs.videos import RawFormat, VideoExecutor, enhance_raw

pytest.importorskip("av")
pytestmark = [pytest.mark.usefixtures("no_compilation_cache"), pytest.mark.timeout(60)]


def frames(count: int = 12, *, height: int = 90, width: int = 160) -> list[np.ndarray]:
    scene = still(height, width, light=0.05)
    return [frame(scene, noise=0.01, seed=n) for n in range(count)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "in/film.mp4", frames(), times=UNEVEN, rotation=90)


def enhance_videos(*paths: Path, out: Path, **options: object) -> list[Result]:
    network = brightening_network("scene")
    executor = VideoExecutor(Enhancer(network), network.settings, **options)
    return list(run_items(plan(list(paths), out), executor))


def test_every_frame_is_enhanced_and_the_other_streams_stay(
    film: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    report = tmp_path / "report.json"
    model = ("-m", scene_file)
    assert run("enhance", film, "-o", out, "--report", report, *model) == 0
    printed = capsys.readouterr()
    assert re.match(
        r"1 done, 0 skipped, 0 failed in .* megapixels/s, 12 frames\), results in .+$",
        printed.out.splitlines()[-1],
    )
    assert printed.err == ""
    assert describe(out / "film.mp4") == describe(film)
    before, after = pixels_of(film), pixels_of(out / "film.mp4")
    assert len(after) == len(before) == len(UNEVEN)
    assert np.mean(after) > 2 * np.mean(before)
    # The frames are those of the network, up to the loss of the codec.
    scene = Enhancer.load(scene_file)
    times = [float(time) for time in describe(film)["times"]]
    wanted = list(scene.clip(zip(times, before, strict=True)))
    for expected, found in zip(wanted, after, strict=True):
        assert np.abs(expected.astype(float) - found).mean() < 4
    (row,) = json.loads(report.read_text())
    assert (row["status"], row["frames"], row["width"], row["height"]) == ("done", 12, 160, 90)

    assert run("enhance", film, "-o", out, *model) == 0
    assert summary_of(capsys.readouterr().out) == (0, 1, 0)
    assert run("enhance", film, "-o", out, "--overwrite", "--dry-run") == 0
    assert f"{film} -> {out}/film.mp4" in capsys.readouterr().out


def test_photographs_and_videos_in_one_folder(
    film: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film.rename(pictures / "sub/film.mp4")
    (pictures / "broken.mkv").write_text("no video")
    report = tmp_path / "report.json"
    assert run("enhance", pictures, "-o", tmp_path / "out", "--report", report) == 1
    printed = capsys.readouterr()
    assert "3 done, 0 skipped, 1 failed" in printed.out
    assert printed.err == (
        f"zerodce: {pictures}/broken.mkv: Invalid data found when processing input\n"
    )
    assert rows_of(report) == [
        *(("a.png", "done"), ("gray.png", "done")),
        *(("broken.mkv", "failed"), ("film.mp4", "done")),
    ]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == [
        *("a.png", "film.mp4", "gray.png"),
    ]


def test_fail_fast_starts_no_video_after_a_broken_photograph(
    film: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (film.parent / "broken.png").write_text("no picture")
    report = tmp_path / "report.json"
    options = ("--fail-fast", "--report", report, "-m", scene_file)
    assert run("enhance", film.parent, "-o", tmp_path / "out", *options) == 1
    assert rows_of(report) == [("broken.png", "failed"), ("film.mp4", "not_started")]
    assert "0 done, 0 skipped, 1 failed, 1 not started" in capsys.readouterr().out


def test_flags_for_codec_quality_and_pixels(film: Path, scene_file: Path, tmp_path: Path) -> None:
    arguments = ("--codec", "hevc", "--quality", 30, "--pixel-format", "yuv420p10le", "--strip")
    assert run("enhance", film, "-o", tmp_path / "out.mkv", *arguments, "-m", scene_file) == 0
    after = describe(tmp_path / "out.mkv")
    assert (after["codec"], after["format"], after["rotation"]) == ("hevc", "yuv420p10le", 90)


def test_invalid_flags_are_refused_before_the_run(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (("--codec", "h264", "--quality", "60"), "--quality must be from 0 to 51 for h264, not 60"),
        (("--smoothing", "-1"), "smoothing must be a number of seconds >= 0, not -1"),
        (("--raw", "160x90"), "--raw must be WxH@FPS, such as 1920x1080@25, not 160x90"),
        (("--raw", "160x90@25"), "--raw goes from - to -"),
    ):
        assert run("enhance", film, "-o", tmp_path / "out", *arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_on_frame_is_called_after_each_frame(tmp_path: Path) -> None:
    write(tmp_path / "in/a.mp4", frames(5), audio=None)
    write(tmp_path / "in/b.mp4", frames(3), audio=None)
    seen: list[tuple[str, int, int | None]] = []
    results = enhance_videos(
        tmp_path / "in",
        out=tmp_path / "out",
        on_frame=lambda item, done, total: seen.append((item.source.name, done, total)),
    )
    assert [result.frames for result in results] == [5, 3]
    assert seen == [("a.mp4", n, 5) for n in range(1, 6)] + [("b.mp4", n, 3) for n in range(1, 4)]


def test_an_error_within_a_file_names_it_once(tmp_path: Path) -> None:
    small = write(tmp_path / "a.ts", frames(9))
    large = write(tmp_path / "b.ts", frames(9, height=120))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    (result,) = enhance_videos(both, out=tmp_path / "out")
    assert result.message == f"{both}: frames of different sizes are not supported"


def test_a_missing_package_is_named(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: object, **options: object) -> object:
        if name == "av" or name.startswith("av."):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    missing = tmp_path / "missing.mp4"
    result, absent = enhance_videos(film, missing, out=tmp_path / "out")
    monkeypatch.undo()
    assert absent.message == f"{missing}: No such file or directory"
    assert result.message == f"{film}: videos need a package: {install_command('video')}"


def test_an_interrupt_leaves_no_file(
    film: Path,
    scene_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(film.parent / "later.mp4", frames(3))
    clip = Enhancer.clip

    def interrupted(self: Enhancer, *arguments: object, **settings: object) -> object:
        for number, pixels in enumerate(clip(self, *arguments, **settings)):
            if number == 5:
                raise KeyboardInterrupt
            yield pixels

    monkeypatch.setattr(Enhancer, "clip", interrupted)
    report = tmp_path / "report.json"
    options = ("--report", report, "-m", scene_file)
    assert run("enhance", film.parent, "-o", tmp_path / "out", *options) == 130
    assert list((tmp_path / "out").iterdir()) == []
    assert rows_of(report) == [("film.mp4", "not_started"), ("later.mp4", "not_started")]
    summary = capsys.readouterr().out
    assert "0 done, 0 skipped, 0 failed, 2 not started" in summary


def raw_format(dtype: str = "u1") -> RawFormat:
    return RawFormat(160, 90, 30.0, np.dtype(dtype))


def test_raw_frames() -> None:
    given = frames(4)
    target = bytearray()
    enhancer = Enhancer(brightening_network("scene"))

    class Pipe(io.BytesIO):
        """Returns fewer bytes than it is asked for, as pipes do."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 10_000))

    data = b"".join(pixels.tobytes() for pixels in given)
    enhance_raw(Pipe(data).read, target.extend, raw_format(), enhancer)
    wanted = list(enhancer.clip((n / 30, pixels) for n, pixels in enumerate(given)))
    assert bytes(target) == b"".join(pixels.tobytes() for pixels in wanted)

    target = bytearray()
    data = b"".join((pixels.astype("<u2") * 257).tobytes() for pixels in given)
    enhance_raw(Pipe(data).read, target.extend, raw_format("<u2"), enhancer)
    found = np.frombuffer(bytes(target), "<u2").reshape(4, 90, 160, 3)
    for expected, pixels in zip(wanted, found, strict=True):
        assert np.abs(expected - pixels / 257).max() <= 1


def test_raw_frames_that_are_cut_off() -> None:
    target = bytearray()
    data = b"".join(pixels.tobytes() for pixels in frames(3))[:-1]
    enhancer = Enhancer(brightening_network("scene"))
    with pytest.raises(InputError, match=r"ends within frame 3 \(43,199 of 43,200 bytes\)"):
        enhance_raw(io.BytesIO(data).read, target.extend, raw_format(), enhancer)
    assert len(bytes(target)) == 2 * 43_200


# The other tests start processes.


Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start(environment: dict[str, str], scene_file: Path) -> Start:
    """Return a function that starts the command with a small network."""

    def popen(*arguments: object) -> subprocess.Popen:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        options = [*map(str, arguments), "--model", str(scene_file)]
        command = [sys.executable, "-m", "zerodce_jax", "enhance", *options]
        return subprocess.Popen(command, env=environment, **pipes)

    return popen


@pytest.mark.slow
def test_raw_frames_through_pipes(start: Start) -> None:
    given = b"".join(pixels.tobytes() for pixels in frames(6))
    with start("-", "-o", "-", "--raw", "160x90@29.97") as process:
        printed, errors = process.communicate(given, timeout=120)
    assert (process.returncode, errors) == (0, b"")
    assert len(printed) == len(given)
    assert np.frombuffer(printed, np.uint8).mean() > 2 * np.frombuffer(given, np.uint8).mean()
    with start("-", "-o", "-", "--raw", "160x90@25") as process:
        printed, errors = process.communicate(given[:-5], timeout=120)
    assert process.returncode == 1
    assert errors.decode().startswith("zerodce: standard input: ends within frame 6 ")
    assert len(printed) == len(given) * 5 // 6


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_broken_file(
    signum: signal.Signals, start: Start, tmp_path: Path
) -> None:
    source = write(tmp_path / "film.mp4", frames(150, height=180, width=320))
    out = tmp_path / "out"
    out.mkdir()
    (out / "film.mp4").write_text("old")
    with start(source, "-o", out, "--overwrite", "--codec", "av1") as process:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in out.glob(".zerodce-*/film.mp4")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signum)
        process.communicate(timeout=60)
    assert process.returncode not in {0, 1}
    assert (out / "film.mp4").read_text() == "old"
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["film.mp4"]
    # The next run removes the temporary file and writes the result.
    with start(source, "-o", out, "--overwrite", "--codec", "h264") as process:
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    assert [path.name for path in out.iterdir()] == ["film.mp4"]
    assert len(describe(out / "film.mp4")["times"]) == 150


@pytest.mark.slow
def test_encoders_are_silent(start: Start, film: Path, tmp_path: Path) -> None:
    for codec in ("h264", "hevc", "av1", "vp9"):
        target = tmp_path / f"{codec}.mkv"
        with start(film, "-o", target, "--codec", codec) as process:
            printed, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b""), codec
        assert len(printed.splitlines()) == 1


def test_a_full_disk_leaves_no_file(film: Path, small_disk: Path) -> None:
    big = write(film.parent / "big.mkv", frames(40, height=360, width=640), codec="ffv1")
    (result,) = enhance_videos(big, out=small_disk / "out")
    assert result.status == "failed"
    assert "No space left on device" in result.message
    assert "big.mkv" in result.message
    assert list((small_disk / "out").iterdir()) == []
    assert os.path.getsize(big) > 0  # noqa: PTH202


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_memory_does_not_grow_with_the_length(
    environment: dict[str, str], scene_file: Path, tmp_path: Path
) -> None:
    peaks = []
    for count in (100, 300):
        source = write(tmp_path / f"{count}.mp4", frames(count, height=360, width=640))
        code = (
            "import re\nfrom zerodce_jax.cli import main\n"
            f"main(['enhance', {str(source)!r}, '-o', {str(tmp_path / 'out')!r},"
            f" '-m', {str(scene_file)!r}, '--denoise', '0'])\n"
            "print(re.search('VmHWM:\\s*([0-9]+)', open('/proc/self/status').read())[1])"
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(found.stdout.split()[-1]) / 1024)
    # The longer film has 200 more frames of 0.7 MB.
    assert peaks[1] - peaks[0] < 40
