"""plan.py: which file goes where, and in which share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.errors import UsageError
from zerodce_jax.jobs.plan import Item, plan, share
from zerodce_jax.jobs.storage import LocalFiles

ESCAPE = "\x1b[31m"
NOT_UNICODE = os.fsdecode(b"\xff.png")


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
        ("photos/sub/film.mp4", "out/sub/film.mp4"),
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
    for name in ("old.png", "new.mp4"):
        with pytest.raises(UsageError, match=f"{name}: is the name of a file; several results"):
            plan(inputs, tmp_path / name)
    with pytest.raises(UsageError, match="there: is a file; name a folder"):
        plan(inputs[:1], tmp_path / "there")


def test_a_named_file_that_does_not_exist_is_a_problem_even_if_its_result_exists(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "out" / "b.jpg")
    found = plan([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "out")
    assert [item.problem for item in found] == ["", f"{tmp_path}/b.jpg: No such file or directory"]


def test_files_of_unknown_formats_are_not_turned_into_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match=r"b\.xyz: no format has the suffix \.xyz; name a folder"):
        plan([tmp_path / "a.jpg"], tmp_path / "b.xyz")
    (tmp_path / "b.xyz").mkdir()
    for folder in ("b.xyz", "run.2", "v1.0 final"):
        (item,) = plan([tmp_path / "a.jpg"], tmp_path / folder)
        assert item.target == tmp_path / folder / "a.jpg"


def test_suffix_and_format(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("a.jpeg", "b.TIFF", "c.min.png")))

    def names(**options: str) -> list[str]:
        items = plan([tmp_path / "in"], tmp_path / "out", **options)
        return [item.target.name for item in items]

    assert names() == ["a.jpeg", "b.TIFF", "c.min.png"]
    assert names(suffix="_bright") == ["a_bright.jpeg", "b_bright.TIFF", "c.min_bright.png"]
    assert names(format="png") == ["a.png", "b.png", "c.min.png"]
    # An extension of the wanted format stays.
    assert names(format="jpeg") == ["a.jpeg", "b.jpg", "c.min.jpg"]
    assert names(format="tiff", suffix="-x") == ["a-x.tif", "b-x.TIFF", "c.min-x.tif"]
    with pytest.raises(UsageError, match=r"^--suffix is part of a name, and must not be a/b$"):
        names(suffix="a/b")


def test_clashes_name_both_sources(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "sub/a.jpg")
    with pytest.raises(UsageError, match=r"out/a.png: both .*a.jpg and .*a.png would"):
        plan([tmp_path / "a.jpg", tmp_path / "a.png"], tmp_path / "out", format="png")
    with pytest.raises(UsageError, match=r"out/a.jpg: both"):
        plan([tmp_path / "a.jpg", tmp_path / "sub"], tmp_path / "out")


@pytest.mark.parametrize("output", [".", "sub/..", "link"])
def test_sources_are_never_overwritten(output: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for source in (tmp_path / "a.jpg", tmp_path):
        with pytest.raises(UsageError, match=r"a\.jpg: the result would replace its own source"):
            plan([source], tmp_path / output)
    with pytest.raises(UsageError, match="would replace its own source"):
        plan([tmp_path / "a.jpg"], tmp_path / output / "a.jpg")
    (item,) = plan([tmp_path / "a.jpg"], tmp_path / output, suffix="_new")
    assert item.target.name == "a_new.jpg"


def test_nothing_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "texts" / "a.txt")
    for name in ("empty", "texts", "*.jpg"):
        with pytest.raises(UsageError, match="no photographs or videos in"):
            plan([tmp_path / name], tmp_path / "out")
    with pytest.raises(UsageError, match="no photographs"):
        plan([], tmp_path / "out")


def test_results_below_the_searched_folder_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "out/a.jpg", tmp_path / "out/sub/b.jpg")
    touch(tmp_path / ".zerodce-abc/half.jpg", tmp_path / "sub/out/c.jpg")
    items = plan([tmp_path], tmp_path / "out")
    assert as_strings(items, tmp_path) == [
        ("a.jpg", "out/a.jpg"),
        ("sub/out/c.jpg", "out/sub/out/c.jpg"),
    ]


def sources(items: list[Item]) -> list[str]:
    return [item.source.name for item in items]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.jpg", tmp_path / "in/.b.jpg", tmp_path / "in/.thumbnails/c.jpg")
    assert sources(plan([tmp_path / "in"], tmp_path / "out")) == ["a.jpg"]
    named = [tmp_path / "in/.b.jpg", tmp_path / "in/.thumbnails"]
    assert sources(plan(named, tmp_path / "out")) == [".b.jpg", "c.jpg"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/b.jpg", tmp_path / "in/a.jpg")
    (tmp_path / "in/file.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/above").symlink_to(tmp_path)
    (tmp_path / "in/itself").symlink_to("itself")
    (tmp_path / "in/one").symlink_to("other")
    (tmp_path / "in/other").symlink_to("one")
    assert sources(plan([tmp_path / "in"], tmp_path / "out")) == ["a.jpg", "file.jpg"]
    assert sources(plan([tmp_path / "in/folder"], tmp_path / "out")) == ["b.jpg"]


def test_a_circular_link_becomes_an_item(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").symlink_to("a.jpg")
    for name in ("in", "in/a.jpg"):
        (item,) = plan([tmp_path / name], tmp_path / "out")
        assert item == Item(tmp_path / "in/a.jpg", tmp_path / "out/a.jpg")


def test_folders_that_cannot_be_searched(open_folder: Path, as_nobody: Callable) -> None:
    touch(open_folder / "in/a.jpg", open_folder / "in/locked/b.jpg", open_folder / "in/z/c.jpg")
    locked, another = open_folder / "in/locked", open_folder / "in/z/locked"
    another.mkdir()
    locked.chmod(0)
    another.chmod(0)
    with as_nobody():
        items = plan([open_folder / "in"], open_folder / "out")
        (alone,) = plan([locked], open_folder / "out")
    assert [(item.source.name, item.problem) for item in items] == [
        ("a.jpg", ""),
        ("locked", f"{locked}: Permission denied"),
        ("c.jpg", ""),
        ("locked", f"{another}: Permission denied"),
    ]
    assert alone.problem == f"{locked}: Permission denied"


def test_a_working_folder_that_cannot_be_searched(
    open_folder: Path, as_nobody: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_folder)
    open_folder.chmod(0o311)
    with as_nobody():
        (item,) = plan(["."], Path("out"))
    assert item.problem == ".: Permission denied"
    assert item.target.parent == Path("out")
    open_folder.chmod(0)
    with as_nobody():
        (item,) = plan(["."], Path("/out"))
        assert LocalFiles().modification_time(item.target) is None
    assert item.source == Path()


def test_unusual_file_names(tmp_path: Path) -> None:
    names = ["-o.png", "a\nb.png", "a\tb.png", f"{ESCAPE}.png", "x" * 251 + ".png", "é 雪.png"]
    names += [NOT_UNICODE, " .png", "a..png", "%s.png", "*.png"]
    touch(*(tmp_path / "in" / name for name in names))
    for inputs in ([tmp_path / "in"], [tmp_path / "in" / name for name in names]):
        items = plan(inputs, tmp_path / "out")
        assert sorted(sources(items)) == sorted(names)
        assert sorted(item.target.name for item in items) == sorted(names)


def test_results_beside_their_sources_are_not_enhanced_again(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "sub/b.gif")
    first = plan([tmp_path], tmp_path, suffix="_new")
    assert as_strings(first, tmp_path) == [
        ("a.jpg", "a_new.jpg"),
        ("sub/b.gif", "sub/b_new.png"),
    ]
    touch(*(item.target for item in first))
    assert plan([tmp_path], tmp_path, suffix="_new") == first
    assert None not in [LocalFiles().modification_time(item.target) for item in first]


def test_videos_stay_in_their_container_or_become_matroska(tmp_path: Path) -> None:
    names = ["a.mp4", "b.MOV", "c.webm", "d.avi", "e.ts", "f.wmv", "g.mkv", "h.m4v"]
    touch(*(tmp_path / "in" / name for name in names))
    items = plan([tmp_path / "in"], tmp_path / "out", suffix="-lit", format="png")
    assert all(item.is_video for item in items)
    assert [item.target.name for item in items] == [
        *("a-lit.mp4", "b-lit.MOV", "c-lit.webm", "d-lit.mkv", "e-lit.ts", "f-lit.mkv"),
        *("g-lit.mkv", "h-lit.m4v"),
    ]


def test_one_video_to_one_file(tmp_path: Path) -> None:
    film, photograph = tmp_path / "film.avi", tmp_path / "a.png"
    touch(film, photograph)
    assert plan([film], tmp_path / "lit.mp4") == [Item(film, tmp_path / "lit.mp4")]
    for source, target, message in (
        (film, "lit.jpg", "a video becomes one of"),
        (film, "lit.avi", "a video becomes one of"),
        (photograph, "lit.mp4", "a photograph does not become a video"),
    ):
        with pytest.raises(UsageError, match=f"{target}: {message}"):
            plan([source], tmp_path / target)
    items = plan([film, photograph], tmp_path / "out")
    assert [item.target.name for item in items] == ["film.mkv", "a.png"]


def test_gif_becomes_png(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.gif", tmp_path / "in/b.GIF")
    items = plan([tmp_path / "in"], tmp_path / "out", suffix="_x")
    assert [item.target.name for item in items] == ["a_x.png", "b_x.png"]
    touch(tmp_path / "in/a.png")
    with pytest.raises(UsageError, match=r"out/a\.png: both .*a\.gif and .*a\.png would"):
        plan([tmp_path / "in"], tmp_path / "out")


file_names = st.binary(min_size=1, max_size=12).map(
    lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_") + b".png")
)


def items_of(names: list[str], output: str = "out") -> list[Item]:
    return [Item(Path("in", name), Path(output, name)) for name in names]


def shares_of(items: list[Item], count: int, output: str = "out") -> list[list[Item]]:
    return [share(items, Path(output), f"{i}/{count}") for i in range(1, count + 1)]


@given(names=st.lists(file_names, unique=True), count=st.integers(1, 12))
def test_shares_are_disjoint_complete_and_in_order(names: list[str], count: int) -> None:
    items = items_of(names)
    shares = shares_of(items, count)
    assert sorted(str(item) for part in shares for item in part) == sorted(map(str, items))
    for part in shares:
        assert part == [item for item in items if item in part]


@given(names=st.lists(file_names, unique=True), more=st.lists(file_names), count=st.integers(1, 5))
def test_shares_depend_on_the_name_alone(names: list[str], more: list[str], count: int) -> None:
    alone = shares_of(items_of(names), count)
    among_others = shares_of(items_of(more + names), count)
    for part, larger in zip(alone, among_others, strict=True):
        assert set(part) <= set(larger)
    elsewhere = shares_of(items_of(names, "/else/where"), count, "/else/where")
    assert list(map(sources, elsewhere)) == list(map(sources, alone))


def test_shares_stay_the_same_in_each_version() -> None:
    names = [f"sub/{i}.png" for i in range(10)] + [NOT_UNICODE]
    shares = shares_of(items_of(names), 3)
    assert [[item.target.stem for item in part] for part in shares] == [
        ["0", "3", "7", "8", "\udcff"],
        ["2", "4"],
        ["1", "5", "6", "9"],
    ]


def test_shares_have_about_the_same_size() -> None:
    sizes = [len(part) for part in shares_of(items_of([f"{i}.png" for i in range(4000)]), 4)]
    assert min(sizes) > 900


@pytest.mark.parametrize(
    "shard",
    [
        "0/4",
        "5/4",
        "a/b",
        "1/0",
        "0/0",
        "",
        "1",
        "/",
        "1/2/3",
        "-1/4",
        "1/-4",
        "1.0/4",
        "1/4\n",
        "²/4",
    ],
)
def test_invalid_shares_are_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="--shard must be I/N"):
        share(items_of(["a.png"]), Path("out"), shard)


def test_a_share_of_too_many_is_refused() -> None:
    with pytest.raises(UsageError, match="--shard must be I/N"):
        share(items_of(["a.png"]), Path("out"), "1/" + 5000 * "9")
