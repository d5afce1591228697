"""Tests of jobs/arrivals.py."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from zerodce_jax.errors import UsageError
from zerodce_jax.jobs.arrivals import arrivals
from zerodce_jax.jobs.plan import Item

pytest.importorskip("watchfiles")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a photograph, a note, and the results, which lie below it."""
    place = tmp_path / "hot"
    for name in ("first.jpg", "notes.txt", "results/first.jpg", "below/.hidden.jpg"):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return place


@pytest.fixture
def lists(folder: Path) -> Iterator[Iterator[list[Item]]]:
    lists = arrivals(folder, folder / "results")
    yield lists
    lists.close()


def test_what_exists_comes_first_and_then_what_arrives_or_changes(
    folder: Path, lists: Iterator[list[Item]]
) -> None:
    first = Item(folder / "first.jpg", folder / "results" / "first.jpg")
    assert next(lists) == [first]
    (folder / "below" / "second.png").write_bytes(b"a")
    (folder / "more.txt").touch()
    second = Item(folder / "below" / "second.png", folder / "results" / "below" / "second.png")
    assert next(lists) == [second]
    (folder / "first.jpg").write_bytes(b"b")
    assert next(lists) == [first]


def test_clashing_results_are_one_item_with_the_problem(
    folder: Path, lists: Iterator[list[Item]]
) -> None:
    next(lists)
    lists.close()
    shutil.copy(folder / "first.jpg", folder / "first.png")
    (item,) = next(arrivals(folder, folder / "results", format="webp"))
    assert "would be written there" in item.problem


def test_an_empty_folder_gives_an_empty_first_list(tmp_path: Path) -> None:
    assert next(arrivals(tmp_path, tmp_path / "results")) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: this folder does not exist"):
        arrivals(tmp_path / "nowhere", tmp_path)
    with pytest.raises(UsageError, match="the results need a folder of their own"):
        arrivals(tmp_path, tmp_path / "." / "nowhere" / "..")
