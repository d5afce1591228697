"""Reports on results: JSON, and Parquet for millions of files."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zerodce_jax.atomic import replacing
from zerodce_jax.jobs.runner import Result
from zerodce_jax.jobs.storage import Files

_ROWS = 4096
"""Number of rows of a Parquet report that are collected before they are written."""


def write_json(path: Path, results: Iterable[Result]) -> None:
    """Write results, in any order, as JSON; an existing file is replaced.

    Raises:
        OSError: The file cannot be written.
    """
    rows = []
    for result in results:
        row = _row(result, str(result.item.source), str(result.item.target))
        rows.append(row | {"seconds": round(result.seconds, 3)})
    with replacing(path) as temporary:
        # Escapes keep the JSON valid, and names that are not Unicode readable for Python.
        temporary.write_text(json.dumps(rows, indent=1) + "\n")


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
    columns = ("status", "seconds", "width", "height", "frames", "message")
    values = {name: getattr(result, name) for name in columns}
    return {"source": source, "target": target, **values}


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
