"""photos.py: photographs through files: order, skipping, failures, options."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from helpers.inverters import (
    PIXELS,
    Inverter,
    assert_inverted,
    make_items,
    run_photos,
    statuses,
    touch,
)
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import UsageError
from zerodce_jax.jobs.plan import Item, plan
from zerodce_jax.jobs.runner import Result
from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo

SETTINGS = EnhanceSettings()
pytestmark = [pytest.mark.usefixtures("nothing_stays"), pytest.mark.timeout(60)]


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_every_photograph_is_written(jobs: int, tmp_path: Path) -> None:
    photo.write(tmp_path / "in/a.png", Photo(PIXELS))
    photo.write(tmp_path / "in/sub/gray.png", Photo(PIXELS[:, :, 0]))
    photo.write(tmp_path / "in/sub/half.png", Photo(PIXELS, PIXELS[:, :, 1]))
    items = plan([tmp_path / "in"], tmp_path / "out")
    inverter = Inverter()
    settings = EnhanceSettings(gamma=2.0, strength=0.5)
    results = list(run_photos(items, inverter, settings, jobs=jobs))
    assert [(result.item, result.status, result.width, result.height) for result in results] == [
        (item, "done", 2, 2) for item in items
    ]
    assert all(result.seconds > 0 and not result.message for result in results)
    assert inverter.called_with == [settings] * 3
    np.testing.assert_array_equal(photo.read(tmp_path / "out/a.png").pixels, 255 - PIXELS)
    gray = photo.read(tmp_path / "out/sub/gray.png").pixels
    np.testing.assert_array_equal(gray, 255 - PIXELS[:, :, 0])
    half = photo.read(tmp_path / "out/sub/half.png")
    np.testing.assert_array_equal(half.pixels, 255 - PIXELS)
    np.testing.assert_array_equal(half.alpha, PIXELS[:, :, 1])


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=turned)
    (result,) = run_photos([Item(tmp_path / "a.jpg", tmp_path / "b.jpg")], Inverter(), SETTINGS)
    assert (result.width, result.height) == (20, 30)


@pytest.mark.parametrize("jobs", [0, -1])
def test_jobs_must_be_one_or_more(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--jobs must be"):
        run_photos(make_items(tmp_path, 1), Inverter(), SETTINGS, jobs=jobs)


def test_results_come_in_order_once_their_files_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 5, broken=(1, 4))
    write, third_is_written = photo.write, threading.Event()

    def first_last(path: Path, opened: Photo) -> tuple[str, ...]:
        if path.name == "00.png":
            assert third_is_written.wait(10)
        losses = write(path, opened)
        if path.name == "02.png":
            third_is_written.set()
        return losses

    monkeypatch.setattr(photo, "write", first_last)
    seen = []
    for result in run_photos(items, Inverter(), SETTINGS, jobs=2):
        seen.append((result.item, result.status))
        assert result.item.target.exists() == (result.status == "done")
    expected = ["done", "failed", "done", "done", "failed"]
    assert seen == list(zip(items, expected, strict=True))


def test_existing_results_are_skipped_unless_overwrite_is_set(tmp_path: Path) -> None:
    items = make_items(tmp_path, 3)
    touch(items[1].target)
    inverter = Inverter()
    results = list(run_photos(items, inverter, SETTINGS))
    assert statuses(results) == ["done", "skipped", "done"]
    assert results[1] == Result(items[1], "skipped")
    assert items[1].target.read_bytes() == b"x"
    assert len(inverter.called_with) == 2
    again = list(run_photos(items, inverter, SETTINGS))
    assert statuses(again) == ["skipped"] * 3
    assert len(inverter.called_with) == 2
    for i, result in enumerate(run_photos(items, inverter, SETTINGS, overwrite=True)):
        assert result.status == "done"
        assert_inverted(result, i)


def test_failures_have_one_line_each_and_stop_no_other_item(tmp_path: Path) -> None:
    photo.write(tmp_path / "in/z.png", Photo(PIXELS))
    touch(tmp_path / "in/broken.png", tmp_path / "out/folder.png/x")
    Image.new("F", (3, 3)).save(tmp_path / "in/floats.tif")
    (tmp_path / "in/floats.tif").write_bytes((tmp_path / "in/floats.tif").read_bytes()[:100])
    photo.write(tmp_path / "in/wide.png", Photo(np.zeros((1, 16_384, 3), np.uint8)))
    (tmp_path / "in/loop.png").symlink_to("loop.png")
    # A header that states far too many pixels.
    huge = (tmp_path / "in/z.png").read_bytes().replace(b"IHDR", b"IHDR\x7f\xff\xff\xff" * 2, 1)
    (tmp_path / "in/huge.png").write_bytes(huge)
    items = plan([tmp_path / "in"], tmp_path / "out", format="webp")
    items.insert(0, Item(tmp_path / "missing.png", tmp_path / "out/missing.webp"))
    items.insert(1, Item(tmp_path / "in/z.png", tmp_path / "out/folder.png"))
    results = list(run_photos(items, Inverter(), SETTINGS, overwrite=True))
    assert [result.item for result in results] == items
    for result in results:
        failed = result.item.target.name != "z.webp"
        assert result.status == ("failed" if failed else "done")
        assert len(result.message.splitlines()) == failed
        assert (result.width, result.height) == ((0, 0) if failed else (2, 2))
    # A read error names the source, a write error names the target.
    named = {"wide.webp": "in/wide.png", "folder.png": "out/folder.png"}
    named["missing.webp"] = "missing.png"
    for result in results[:-1]:
        default = f"in/{result.item.source.name}"
        assert result.message.startswith(
            f"{tmp_path / named.get(result.item.target.name, default)}: "
        )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["folder.png", "z.webp"]


def test_unusual_file_names(tmp_path: Path) -> None:
    names = ["-o.png", "a\nb.png", "a\tb.png", "\x1b[31m.png", "x" * 251 + ".png", "é 雪.png"]
    names += [os.fsdecode(b"\xff.png"), "%s.png"]
    for name in names:
        photo.write(tmp_path / "in" / name, Photo(PIXELS))
        touch(tmp_path / "in" / f"no{name[-240:]}")
    items = plan([tmp_path / "in"], tmp_path / "out")
    results = list(run_photos(items, Inverter(), SETTINGS))
    assert len(results) == 2 * len(names)
    for result in results:
        failed = result.item.source.name.startswith("no")
        assert result.status == ("failed" if failed else "done")
        assert result.message.isprintable()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    too_long = Item(tmp_path / "in/-o.png", tmp_path / "out" / ("x" * 252 + ".png"))
    (result,) = run_photos([too_long], Inverter(), SETTINGS)
    assert result.message == f"{too_long.target}: File name too long"


def test_missing_permissions_stop_no_other_item(open_folder: Path, as_nobody: Callable) -> None:
    make_items(open_folder, 3)
    for name in ("in/locked/a.png", "in/shut/deep/b.png", "in/fixed/c.png"):
        photo.write(open_folder / name, Photo(PIXELS))
    for name in ("out/fixed", "out/shut"):
        (open_folder / name).mkdir(parents=True)
    (open_folder / "out").chmod(0o777)
    (open_folder / "out/fixed").chmod(0o555)
    for name in ("in/01.png", "in/locked", "out/shut"):
        (open_folder / name).chmod(0)
    with as_nobody():
        items = plan([open_folder / "in"], open_folder / "out")
        results = list(run_photos(items, Inverter(), SETTINGS))
    by_name = {
        str(result.item.source.relative_to(open_folder / "in")): result for result in results
    }
    assert {name: result.status for name, result in by_name.items()} == {
        "00.png": "done",
        "01.png": "failed",
        "02.png": "done",
        "fixed/c.png": "failed",
        "locked": "failed",
        "shut/deep/b.png": "failed",
    }
    for result in results:
        assert ("Permission denied" in result.message) == (result.status == "failed")
    assert by_name["01.png"].message.startswith(f"{open_folder / 'in/01.png'}: ")
    assert by_name["fixed/c.png"].message.startswith(f"{open_folder / 'out/fixed/c.png'}: ")


def test_a_full_disk_is_reported_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 2)
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "00.png":
            write_bytes(path, data[:10])
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    results = list(run_photos(items, Inverter(), SETTINGS))
    assert statuses(results) == ["failed", "done"]
    assert results[0].message == f"{items[0].target}: No space left on device"
    assert not items[0].target.exists()


def test_files_that_disappear_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 4)
    items[1].source.unlink()
    size = photo.size

    def size_and_delete(path: Path, **options: int) -> tuple[int, int]:
        measured = size(path, **options)
        if path == items[2].source:
            path.unlink()
        return measured

    monkeypatch.setattr(photo, "size", size_and_delete)
    results = list(run_photos(items, Inverter(), SETTINGS))
    assert statuses(results) == ["done", "failed", "failed", "done"]
    for result in results[1:3]:
        assert result.message == f"{result.item.source}: No such file or directory"


@pytest.mark.parametrize("strip", [False, True])
def test_strip_removes_exif_and_keeps_the_profile(strip: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("a.jpg", "b.png", "c.webp", "d.tif"):
        (tmp_path / "in").mkdir(exist_ok=True)
        options = {"exif": exif, "icc_profile": profile, "dpi": (72, 72)}
        Image.new("RGB", (9, 9)).save(tmp_path / "in" / name, **options)
    items = plan([tmp_path / "in"], tmp_path / "out")
    for result in run_photos(items, Inverter(), SETTINGS, strip=strip):
        assert result.status == "done"
        assert (b"taken at home" in result.item.target.read_bytes()) == (not strip)
        with Image.open(result.item.target) as image:
            assert image.info["icc_profile"] == profile


def test_photographs_above_the_limit_are_not_decoded(tmp_path: Path) -> None:
    items = make_items(tmp_path, 2)
    photo.write(items[0].source, Photo(np.zeros((2, 3, 3), np.uint8)))
    results = list(run_photos(items, Inverter(), SETTINGS, max_pixels=4))
    assert statuses(results) == ["failed", "done"]
    assert results[0].message.startswith(f"{items[0].source}: 3x2 pixels are more than")


def test_results_too_large_for_their_format_fail_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.write(tmp_path / "a.png", Photo(np.zeros((1, 16_384, 3), np.uint8)))
    monkeypatch.setattr(photo, "read", lambda *_, **__: pytest.fail("decoded"))
    items = [Item(tmp_path / "a.png", tmp_path / "out/a.webp")]
    (result,) = run_photos(items, Inverter(), SETTINGS)
    assert result.status == "failed"
    assert result.message == (
        f"{tmp_path}/a.png: webp cannot hold 16384x1 pixels; write png or tiff (--format)"
    )


@pytest.mark.parametrize("jobs", [1, 3])
def test_fail_fast_starts_no_other_item(jobs: int, tmp_path: Path) -> None:
    items = make_items(tmp_path, 20, broken=(1, 12))
    results = list(run_photos(items, Inverter(), SETTINGS, fail_fast=True, jobs=jobs))
    assert [result.item for result in results] == items
    assert statuses(results)[:2] == ["done", "failed"]
    # Files that were being written when the failure was found are complete.
    assert set(statuses(results)[2:]) <= {"done", "not_started"}
    assert set(statuses(results)[12:]) == {"not_started"}
    for i, result in enumerate(results):
        assert result.item.target.exists() == (result.status == "done")
        if result.status == "done":
            assert_inverted(result, i)


def test_fail_fast_stops_at_a_folder_that_cannot_be_searched(tmp_path: Path) -> None:
    items = [Item(tmp_path / "x", tmp_path / "out/x", "x: Permission denied")]
    items += make_items(tmp_path, 20)
    results = list(run_photos(items, Inverter(), SETTINGS, fail_fast=True, jobs=1))
    assert results[0] == Result(items[0], "failed", message="x: Permission denied")
    assert statuses(results)[-10:] == ["not_started"] * 10


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    items = make_items(tmp_path, 1)
    photo.write(tmp_path / "in/sub/b.png", Photo(PIXELS))
    touch(tmp_path / "out/.zerodce-1/00.png", tmp_path / "out/sub/.zerodce-2/b.png")
    touch(tmp_path / "out/kept/.zerodce-3/x")
    items = plan([tmp_path / "in"], tmp_path / "out")
    assert statuses(list(run_photos(items, Inverter(), SETTINGS))) == ["done", "done"]
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [".zerodce-3"]
    (tmp_path / "out/kept/.zerodce-3").rename(tmp_path / "out/kept/3")
