"""reports.py: JSON, CSV and Parquet files with one row for each result."""

import csv
import json
import os
from pathlib import Path

import pytest

from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.reports import check_path, parquet, write
from zerodce_jax.jobs.runner import Result
from zerodce_jax.jobs.storage import LocalFiles

ESCAPE = "\x1b[31m"
NOT_UNICODE = os.fsdecode(b"\xff.png")
LOCAL = LocalFiles()


def results_of(*names: str) -> list[Result]:
    items = [Item(Path("in", name), Path("out", name)) for name in names]
    return [
        Result(items[0], "done", 1.23456, 30, 20, "only the first of its 2 images is used"),
        *(Result(item, "failed", 0.5, message="no image") for item in items[1:]),
    ]


def test_json_has_a_row_for_each_result(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    write(path, results_of("a.png", NOT_UNICODE, "a\nb.png", f"{ESCAPE}.png", "雪.png"))
    text = path.read_bytes()
    assert text.isascii()
    assert ESCAPE.encode() not in text
    first, *others = json.loads(text)
    assert first == {
        "source": "in/a.png",
        "target": "out/a.png",
        "status": "done",
        "seconds": 1.235,
        "width": 30,
        "height": 20,
        "frames": 1,
        "message": "only the first of its 2 images is used",
    }
    names = [os.path.basename(row["target"]) for row in others]  # noqa: PTH119
    assert names == [NOT_UNICODE, "a\nb.png", f"{ESCAPE}.png", "雪.png"]
    assert os.fsencode(names[0]) == b"\xff.png"
    assert {row["status"] for row in others} == {"failed"}


def test_json_without_results(tmp_path: Path) -> None:
    write(tmp_path / "report.json", [])
    assert json.loads((tmp_path / "report.json").read_text()) == []


def test_json_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def results() -> object:
        yield from results_of("a.png")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(path, results())
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "missing" / "report.json", results_of("a.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_csv_has_a_row_for_each_result(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text("old")
    write(path, results_of("a.png", NOT_UNICODE, "a\nb.png", 'comma, "quote".png', "雪.png"))
    with path.open(encoding="utf-8", newline="") as file:
        first, *others = csv.DictReader(file)
    assert first == {
        "source": "in/a.png",
        "target": "out/a.png",
        "status": "done",
        "seconds": "1.235",
        "width": "30",
        "height": "20",
        "frames": "1",
        "message": "only the first of its 2 images is used",
    }
    names = [row["source"].removeprefix("in/") for row in others]
    assert names == [r"\udcff.png", "a\nb.png", 'comma, "quote".png', "雪.png"]
    assert {row["status"] for row in others} == {"failed"}
    write(path, [])
    assert path.read_text() == "source,target,status,seconds,width,height,frames,message\n"


def test_names_of_reports_are_checked(tmp_path: Path) -> None:
    for name in ("a.json", "a.b.CSV"):
        check_path(tmp_path / name)
    for name in ("a", "a.txt", "a.parquet", ".csv"):
        with pytest.raises(UsageError, match=r"ends in \.json or \.csv"):
            check_path(tmp_path / name)
    with pytest.raises(UsageError, match="the folder does not exist"):
        check_path(tmp_path / "missing" / "a.csv")


def test_parquet_has_a_row_for_each_result(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "new/report.parquet"
    with parquet(LOCAL, path, source=LOCAL, target=LOCAL) as add:
        for result in results_of("a\nb.png", "雪.png", NOT_UNICODE):
            add(result)
        for i in range(5000):
            item = Item(tmp_path / f"in/{i}.png", tmp_path / f"out/{i}.png")
            add(Result(item, "done", 0.5, 30, 20))
    table = pq.read_table(path)
    assert table.num_rows == 5003
    first = [Path(name).name for name in table["source"].to_pylist()[:3]]
    assert first == ["a\nb.png", "雪.png", "\\xff.png"]
    last = table.slice(5002).to_pylist()[0]
    assert last == {
        "source": f"{tmp_path}/in/4999.png",
        "target": f"{tmp_path}/out/4999.png",
        "status": "done",
        "message": "",
        "seconds": 0.5,
        "width": 30,
        "height": 20,
    }
    assert [file.name for file in path.parent.iterdir()] == ["report.parquet"]


def test_parquet_keeps_the_results_before_an_error(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "report.parquet"

    def fail() -> None:
        with parquet(LOCAL, path, source=LOCAL, target=LOCAL) as add:
            add(results_of("a.png")[0])
            raise InputError("Ray gives up")

    with pytest.raises(InputError, match="Ray gives up"):
        fail()
    assert pq.read_table(path)["status"].to_pylist() == ["done"]
