"""folder.py: which picture goes where, and what becomes of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zerodce_jax import photo
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import UsageError
from zerodce_jax.folder import Item, Result, enhance_all, plan
from zerodce_jax.photo import Photo

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


class Inverter(Enhancer):
    """Turns pictures into their negatives, without a network."""

    def __init__(self) -> None:
        self.called_with: list[tuple[float, float]] = []

    def __call__(self, image, *, gamma=1.15, strength=1.0):
        self.called_with.append((gamma, strength))
        return 255 - image


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def as_strings(items: list[Item], base: Path) -> list[tuple[str, str]]:
    return [
        (str(item.source.relative_to(base)), str(item.target.relative_to(base))) for item in items
    ]


def test_folders_keep_their_structure_in_order(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos / "b.png", photos / "a.JPG", photos / "sub/deep/c.tif", photos / "sub/a.webp")
    touch(photos / "notes.txt", photos / "sub/film.mp4", photos / "raw")
    assert as_strings(plan([photos], tmp_path / "out"), tmp_path) == [
        ("photos/a.JPG", "out/a.JPG"),
        ("photos/b.png", "out/b.png"),
        ("photos/sub/a.webp", "out/sub/a.webp"),
        ("photos/sub/deep/c.tif", "out/sub/deep/c.tif"),
    ]


def test_inputs_keep_their_order(tmp_path: Path) -> None:
    touch(tmp_path / "z/1.png", tmp_path / "b.png", tmp_path / "a.png")
    inputs = [tmp_path / "z", str(tmp_path / "b.png"), tmp_path / "a.png"]
    items = plan(inputs, tmp_path / "out")
    assert [item.target.name for item in items] == ["1.png", "b.png", "a.png"]


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "b.jpg", tmp_path / "a.jpg", tmp_path / "c.png", tmp_path / "sub/d.jpg")
    (tmp_path / "folder.jpg").mkdir()
    absolute = plan([str(tmp_path / "*.jpg")], tmp_path / "out")
    assert as_strings(absolute, tmp_path) == [("a.jpg", "out/a.jpg"), ("b.jpg", "out/b.jpg")]
    monkeypatch.chdir(tmp_path)
    relative = plan(["**/*.jpg"], Path("out"))
    assert [str(item.source) for item in relative] == ["a.jpg", "b.jpg", "sub/d.jpg"]


def test_files_whose_names_look_like_globs(tmp_path: Path) -> None:
    touch(tmp_path / "[1].png", tmp_path / "1.png")
    (item,) = plan([tmp_path / "[1].png"], tmp_path / "out")
    assert item.source == tmp_path / "[1].png"


def test_one_file_to_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    items = plan([tmp_path / "a.jpg"], tmp_path / "new" / "b.png")
    assert items == [Item(tmp_path / "a.jpg", tmp_path / "new" / "b.png")]


def test_a_glob_of_one_file_to_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.png")
    items = plan([str(tmp_path / "*.jpg")], tmp_path / "new.png")
    assert items == [Item(tmp_path / "a.jpg", tmp_path / "new.png")]


def test_several_results_need_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "there")
    inputs = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    with pytest.raises(UsageError, match=r"there: is a file"):
        plan(inputs, tmp_path / "there")
    touch(tmp_path / "old.png")
    with pytest.raises(UsageError, match=r"old\.png: is a file"):
        plan(inputs, tmp_path / "old.png")


def test_suffix_and_format(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("a.jpeg", "b.TIFF", "c.min.png")))

    def names(**options: str) -> list[str]:
        items = plan([tmp_path / "in"], tmp_path / "out", **options)
        return [item.target.name for item in items]

    assert names() == ["a.jpeg", "b.TIFF", "c.min.png"]
    assert names(suffix="_bright") == ["a_bright.jpeg", "b_bright.TIFF", "c.min_bright.png"]
    assert names(format="png") == ["a.png", "b.png", "c.min.png"]
    # A suffix that stands for the format already stays.
    assert names(format="jpeg") == ["a.jpeg", "b.jpg", "c.min.jpg"]
    assert names(format="tiff", suffix="-x") == ["a-x.tif", "b-x.TIFF", "c.min-x.tif"]


def test_clashes_name_both_sources(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "sub/a.jpg")
    with pytest.raises(UsageError, match=r"out/a.png: both .*a.jpg and .*a.png would"):
        plan([tmp_path / "a.jpg", tmp_path / "a.png"], tmp_path / "out", format="png")
    with pytest.raises(UsageError, match=r"out/a.jpg: both"):
        plan([tmp_path / "a.jpg", tmp_path / "sub"], tmp_path / "out")


@pytest.mark.parametrize("output", [".", "sub/..", "link"])
def test_sources_are_never_replaced(output: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for given in (tmp_path / "a.jpg", tmp_path):
        with pytest.raises(UsageError, match=r"a\.jpg: would take the place of its own source"):
            plan([given], tmp_path / output)
    with pytest.raises(UsageError, match="would take the place of its own source"):
        plan([tmp_path / "a.jpg"], tmp_path / output / "a.jpg")
    (item,) = plan([tmp_path / "a.jpg"], tmp_path / output, suffix="_new")
    assert item.target.name == "a_new.jpg"


def test_nothing_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "texts" / "a.txt")
    for given in ("empty", "texts", "*.jpg"):
        with pytest.raises(UsageError, match="no pictures in"):
            plan([tmp_path / given], tmp_path / "out")
    with pytest.raises(UsageError, match="no pictures"):
        plan([], tmp_path / "out")


def test_results_inside_the_searched_folder_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "out/a.jpg", tmp_path / "out/sub/b.jpg")
    touch(tmp_path / ".zerodce-abc/half.jpg", tmp_path / "sub/out/c.jpg")
    items = plan([tmp_path], tmp_path / "out")
    assert as_strings(items, tmp_path) == [
        ("a.jpg", "out/a.jpg"),
        ("sub/out/c.jpg", "out/sub/out/c.jpg"),
    ]


def test_enhance_all_writes_every_picture(tmp_path: Path) -> None:
    photo.write(tmp_path / "in/a.png", Photo(PIXELS))
    photo.write(tmp_path / "in/sub/gray.png", Photo(PIXELS[:, :, 0]))
    photo.write(tmp_path / "in/sub/half.png", Photo(PIXELS, PIXELS[:, :, 1]))
    items = plan([tmp_path / "in"], tmp_path / "out")
    inverter = Inverter()
    settings = EnhanceSettings(gamma=2.0, strength=0.5)
    results = list(enhance_all(items, inverter, settings))
    assert [(result.item, result.status, result.pixels) for result in results] == [
        (item, "done", 4) for item in items
    ]
    assert all(result.seconds > 0 and not result.message for result in results)
    assert inverter.called_with == [(2.0, 0.5)] * 3
    np.testing.assert_array_equal(photo.read(tmp_path / "out/a.png").pixels, 255 - PIXELS)
    gray = photo.read(tmp_path / "out/sub/gray.png").pixels
    np.testing.assert_array_equal(gray, 255 - PIXELS[:, :, 0])
    half = photo.read(tmp_path / "out/sub/half.png")
    np.testing.assert_array_equal(half.pixels, 255 - PIXELS)
    np.testing.assert_array_equal(half.alpha, PIXELS[:, :, 1])


def test_enhance_all_yields_each_result_once_its_file_is_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo.write(tmp_path / f"in/{name}.png", Photo(PIXELS))
    results = enhance_all(plan([tmp_path / "in"], tmp_path / "out"), Inverter(), EnhanceSettings())
    next(results)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_existing_results_are_skipped_unless_told_otherwise(tmp_path: Path) -> None:
    photo.write(tmp_path / "a.png", Photo(PIXELS))
    touch(tmp_path / "out/a.png")
    items = plan([tmp_path / "a.png"], tmp_path / "out")
    inverter = Inverter()
    assert list(enhance_all(items, inverter, EnhanceSettings())) == [Result(items[0], "skipped")]
    assert (tmp_path / "out/a.png").read_bytes() == b"x"
    assert inverter.called_with == []
    (result,) = enhance_all(items, inverter, EnhanceSettings(), overwrite=True)
    assert result.status == "done"
    np.testing.assert_array_equal(photo.read(tmp_path / "out/a.png").pixels, 255 - PIXELS)


def test_failures_are_one_line_each_and_stop_nothing(tmp_path: Path) -> None:
    photo.write(tmp_path / "in/z.png", Photo(PIXELS))
    touch(tmp_path / "in/broken.png", tmp_path / "out/folder.png/x")
    Image.new("CMYK", (3, 3)).save(tmp_path / "in/cmyk.jpg")
    photo.write(tmp_path / "in/wide.png", Photo(np.zeros((1, 16_384, 3), np.uint8)))
    # A header that promises more pixels than anyone has.
    huge = (tmp_path / "in/z.png").read_bytes().replace(b"IHDR", b"IHDR\x7f\xff\xff\xff" * 2, 1)
    (tmp_path / "in/huge.png").write_bytes(huge)
    items = plan([tmp_path / "in"], tmp_path / "out", format="webp")
    items.insert(0, Item(tmp_path / "missing.png", tmp_path / "out/missing.webp"))
    items.insert(1, Item(tmp_path / "in/z.png", tmp_path / "out/folder.png"))
    results = list(enhance_all(items, Inverter(), EnhanceSettings(), overwrite=True))
    by_name = {result.item.source.name: result for result in results[2:]}
    assert results[0].status == results[1].status == "failed"
    assert str(tmp_path / "missing.png") in results[0].message
    assert "folder.png" in results[1].message
    for name in ("broken.png", "cmyk.jpg", "huge.png"):
        assert by_name[name].status == "failed"
        assert name in by_name[name].message
    # WebP holds no picture wider than 16383 pixels.
    assert by_name["wide.png"].status == "failed"
    assert "wide.webp" in by_name["wide.png"].message
    assert by_name["z.png"].status == "done"
    for result in results:
        assert len(result.message.splitlines()) == (result.status == "failed")
        assert result.pixels == (4 if result.status == "done" else 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["folder.png", "z.webp"]
