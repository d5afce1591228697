"""Reports on results: JSON or CSV, and Parquet for millions of files."""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zerodce_jax.atomic import check_place, replacing
from zerodce_jax.errors import UsageError
from zerodce_jax.jobs.runner import Result
from zerodce_jax.jobs.storage import Files

_ROWS = 4096
"""Number of rows of a Parquet report that are collected before they are written."""


_COLUMNS: tuple[str, ...] = ("status", "seconds", "width", "height", "frames", "message")


def check_path(path: Path) -> None:
    """Raise UsageError if `write` cannot write a report of this name, OSError if not there."""
    if path.suffix.lower() not in {".csv", ".json"}:
        raise UsageError(f"{path}: the name of a report ends in .json or .csv")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder does not exist")
    check_place(path)


def write(path: Path, results: Iterable[Result]) -> None:
    """Write results, in any order, as CSV or JSON; an existing file is replaced.

    Args:
        path: The report; its suffix, .csv or .json, decides the format.
        results: The results.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [
        _row(result, str(result.item.source), str(result.item.target))
        | {"seconds": round(result.seconds, 3)}
        for result in results
    ]
    with (
        replacing(path) as temporary,
        # In CSV, names that are not Unicode get backslashes.
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(file, ("source", "target", *_COLUMNS))
            writer.writeheader()
            writer.writerows(rows)
        else:
            # Escapes keep the JSON valid, and names that are not Unicode readable for Python.
            file.write(json.dumps(rows, indent=1) + "\n")


@contextmanager
def parquet(
    files: Files, path: Path, *, source: Files, target: Files
) -> Iterator[Callable[[Result], None]]:
    """Collect results on disk, and write them as Parquet at the end, also after an error.

    Args:
        files: The storage for the report.
        path: The report in it; an existing file is replaced.
        source: The storage of the sources, which gives their names.
        target: The storage of the results, which gives their names.

    Yields:
        A function that adds one result. Memory does not grow with the number of results.

    Raises:
        InputError: The report cannot be written; for a file of this machine, OSError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("source", "target", "status", "message")
    schema = pa.schema(
        [(name, pa.string()) for name in texts]
        + [("seconds", pa.float32()), ("width", pa.int32()), ("height", pa.int32())]
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryFile() as file:
        writer = pq.ParquetWriter(file, schema)

        def add(result: Result) -> None:
            names = source.name(result.item.source), target.name(result.item.target)
            rows.append(_row(result, *map(_as_text, names)))
            if len(rows) == _ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        try:
            yield add
        finally:
            # The results so far are worth keeping whatever ended the run.
            flush()
            writer.close()
            file.seek(0)
            files.put(path, file)


def _row(result: Result, source: str, target: str) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in _COLUMNS}
    return {"source": source, "target": target, **values}


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
