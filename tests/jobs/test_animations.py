"""animations.py: animations and pages through files, folders, storages and pipes."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.animation_files import TIMES, encode_frames, frames
from helpers.command import run, summary_of
from helpers.enhancers import brightening_network
from helpers.photo_files import IMAGE, encode_image, gradient
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs.plan import plan
from zerodce_jax.jobs.storage import folder_at
from zerodce_jax.jobs.worklist import plan_work
from zerodce_jax.media import photo
from zerodce_jax.media.animation import Frame
from zerodce_jax.media.photograph import Pages, Photo
from zerodce_jax.media.tiff_directory import Directory, Tag, find_pages

pytestmark = pytest.mark.usefixtures("no_compilation_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of animations and stills of the same formats."""
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.gif").write_bytes(encode_frames("gif", frames(alpha=True)))
    (place / "b.png").write_bytes(encode_frames("png", frames()))
    (place / "c.png").write_bytes(encode_image(IMAGE, "png"))
    (place / "d.webp").write_bytes(encode_frames("webp", frames()))
    (place / "still.gif").write_bytes(encode_image(IMAGE, "gif"))
    return place


def frames_of(path: Path) -> list[Frame]:
    animation = photo.read(path).animation
    assert animation is not None
    return list(animation.frames())


def test_animations_are_enhanced_among_photographs(
    folder: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    assert run("enhance", folder, "-o", out, "-m", scene_file, "--report", report) == 0
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (5, 0, 0)
    assert printed.err == ""
    names = ["a.gif", "b.png", "c.png", "d.webp", "still.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    rows = json.loads(report.read_text())
    assert [(Path(row["target"]).name, row["frames"]) for row in rows] == [
        *(("a.gif", 6), ("b.png", 6), ("c.png", 1), ("d.webp", 6), ("still.png", 1)),
    ]
    for name in ("a.gif", "b.png", "d.webp"):
        before, after = frames_of(folder / name), frames_of(out / name)
        assert [frame.duration for frame in after] == list(TIMES)
        means = [np.mean([frame.pixels.mean() for frame in part]) for part in (before, after)]
        assert means[1] > 1.2 * means[0]
    # Light is smoothed over time, as in videos.
    scene = Enhancer.load(scene_file)
    before = frames_of(folder / "b.png")
    starts = np.cumsum([0, *TIMES[:-1]]) / 1000
    wanted = scene.clip(zip(starts.tolist(), [frame.pixels for frame in before], strict=True))
    for frame, expected in zip(frames_of(out / "b.png"), wanted, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected)
    for frame, expected in zip(frames_of(out / "a.gif"), frames_of(folder / "a.gif"), strict=True):
        np.testing.assert_array_equal(frame.alpha, expected.alpha)
    assert run("enhance", folder, "-o", out, "-m", scene_file) == 0
    assert summary_of(capsys.readouterr().out) == (0, 5, 0)


def test_first_frame_takes_stills(
    folder: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("enhance", folder, "-o", out, "-m", scene_file, "--first-frame") == 0
    errors = capsys.readouterr().err
    assert errors == "".join(
        f"zerodce: note: {folder}/{name}: only the first of its 6 frames is read\n"
        for name in ("a.gif", "b.png", "d.webp")
    )
    assert sorted(path.name for path in out.iterdir())[:2] == ["a.png", "b.png"]
    for path in out.iterdir():
        assert photo.read(path).animation is None


def test_formats_without_animations_take_the_first_frame(
    folder: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.jpg"
    assert run("enhance", folder / "b.png", "-o", target, "-m", scene_file) == 0
    assert "only the first of its 6 frames is read" in capsys.readouterr().err
    assert photo.read(target).pixels.mean() > frames()[0].mean()
    target = tmp_path / "a.png"
    assert run("enhance", folder / "a.gif", "-o", target, "-m", scene_file, "--strip") == 0
    assert [frame.duration for frame in frames_of(target)] == list(TIMES)


def test_a_damaged_frame_fails_its_file_in_one_line(
    folder: Path, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) - 100])
    huge = frames()[:2]
    (folder / "e.png").write_bytes(encode_frames("png", [np.tile(x, (3, 3, 1)) for x in huge]))
    out = tmp_path / "out"
    flags = ("-m", scene_file, "--max-pixels", 10_000)
    assert run("enhance", folder, "-o", out, *flags) == 1
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (4, 0, 2)
    first, second = printed.err.splitlines()
    assert first.startswith(f"zerodce: {folder}/b.png: damaged image (")
    assert second == (
        f"zerodce: {folder}/e.png: 2 frames of 90x60 pixels are more than the limit of 10,000 "
        "(--max-pixels)"
    )
    assert sorted(path.name for path in out.iterdir()) == [
        *("a.gif", "c.png", "d.webp", "still.png"),
    ]


def test_names_depend_on_whether_a_gif_is_an_animation(folder: Path, tmp_path: Path) -> None:
    def targets(**options: object) -> list[str]:
        return [item.target.name for item in plan([folder], tmp_path / "out", **options)]

    assert targets() == ["a.gif", "b.png", "c.png", "d.webp", "still.png"]
    assert targets(first_frame=True) == ["a.png", "b.png", "c.png", "d.webp", "still.png"]
    assert targets(format="webp")[0] == "a.webp"
    pytest.importorskip("pyarrow")
    pytest.importorskip("fsspec")
    remote = folder_at("memory://animations/in")
    for path in folder.iterdir():
        with path.open("rb") as file:
            remote.files.put(remote.root / path.name, io.BytesIO(file.read()))
    for source in (folder_at(str(folder)), remote):
        work = plan_work(source, folder_at(str(tmp_path / "out")))
        assert [Path(name.decode()).name for name in work.targets] == targets()
        work = plan_work(source, folder_at(str(tmp_path / "out")), first_frame=True)
        assert work.targets[0] == b"a.png"


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations_pass_through_pipes(
    suffix: str,
    folder: Path,
    scene_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> None:
    (source,) = folder.glob(f"[ad].{suffix}")
    target = tmp_path / source.name
    assert run("enhance", source, "-o", target, "-m", scene_file) == 0
    expected = target.read_bytes()
    for arguments in (("-", "-o", "-"), (source, "-o", "-")):
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
        assert run("enhance", *arguments, "-m", scene_file) == 0
        assert capfdbinary.readouterr() == (expected, b"")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    assert run("enhance", "-", "-o", "-", "-m", scene_file, "--first-frame") == 0
    printed = capfdbinary.readouterr()
    assert printed.err == b"zerodce: note: only the first of its 6 frames is read\n"
    with Image.open(io.BytesIO(printed.out)) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == (
            {"gif": "PNG", "webp": "WEBP"}[suffix],
            1,
        )


def test_smoothing_of_zero_enhances_each_frame_alone(folder: Path, tmp_path: Path) -> None:
    from zerodce_jax.jobs.animations import enhance_several

    enhancer = Enhancer(brightening_network("scene"))
    opened = photo.read(folder / "b.png")
    enhanced = enhance_several(opened, "b.png", enhancer, smoothing=0)
    assert enhanced.animation is not None
    for frame, before in zip(enhanced.animation.frames(), frames(), strict=True):
        np.testing.assert_array_equal(frame.pixels, enhancer(before))


def test_pages_of_tiff_files_are_enhanced_each_in_its_own_light(
    scene_file: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    images = [gradient(30, 40, 3) // 8, gradient(24, 20, dtype="uint16") // 3]
    contents = iter([Photo(image, format="tiff") for image in images])
    source, out = tmp_path / "a.tif", tmp_path / "out"
    photo.write(source, Photo(images[0], format="tiff", pages=Pages(lambda: contents, 2)))
    report = tmp_path / "report.json"
    assert run("enhance", source, "-o", out, "-m", scene_file, "--report", report) == 0
    assert capfdbinary.readouterr().err == b""
    assert [row["frames"] for row in json.loads(report.read_text())] == [2]
    pages = photo.read(out / "a.tif").pages
    assert pages is not None
    scene = Enhancer.load(scene_file)
    for page, image in zip(pages.photos(), images, strict=True):
        np.testing.assert_array_equal(page.pixels, scene(image))
    assert run("enhance", source, "-o", "-", "-m", scene_file) == 0
    assert capfdbinary.readouterr() == ((out / "a.tif").read_bytes(), b"")
    note = b"only the first of its 2 pages is read\n"
    for target, flags in (("first.tif", ("--first-frame",)), ("a.png", ())):
        assert run("enhance", source, "-o", tmp_path / target, "-m", scene_file, *flags) == 0
        assert capfdbinary.readouterr().err.endswith(note)
        still = photo.read(tmp_path / target)
        assert still.pages is None
        np.testing.assert_array_equal(still.pixels, scene(images[0]))


def test_a_damaged_page_fails_its_file_in_one_line(
    scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = [Photo(gradient(30, 40, 3), format="tiff")] * 2
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    photo.write(source, replace(contents[0], pages=Pages(lambda: contents, 2)))
    data = bytearray(source.read_bytes())
    strip = find_strip(data, 1)
    data[strip : strip + 20] = bytes(20)
    source.write_bytes(data)
    assert run("enhance", source, "-o", target, "-m", scene_file) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"zerodce: {source}: page 2: damaged image (")
    flags = ("-m", scene_file, "--max-pixels", 2000)
    assert run("enhance", source, "-o", target, *flags) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error == (
        f"zerodce: {source}: 2 pages with 2,400 pixels together are more than the limit of 2,000 "
        "(--max-pixels)"
    )
    assert not target.exists()


def find_strip(data: bytes | bytearray, number: int) -> int:
    """Return the offset of the first strip of a page."""
    page = find_pages(bytes(data))[0][number]
    return Directory.parse(bytes(data), page.place).integers(Tag.STRIP_OFFSETS, ())[0]
