"""What there is to do for a cluster, and what became of it: names by the million, and a report."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zerodce_jax.errors import UsageError
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.photos import Result
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.storage import Folder
from zerodce_jax.media import formats

_ROWS = 4096
"""Of the report, that are kept until they are written together."""


@dataclass
class Work:
    """What there is to do: names alone, since there may be millions."""

    source: Folder
    target: Folder
    names: list[bytes] = field(default_factory=list)
    """Of the pictures to enhance, below the source."""
    targets: list[bytes] = field(default_factory=list)
    """Of their results, below the target."""
    stamps: list[int | None] = field(default_factory=list)
    """Of results that are there already, and are to be made anew."""
    skipped: list[tuple[bytes, bytes]] = field(default_factory=list)
    """The same of those whose results are there already."""
    problems: list[Item] = field(default_factory=list)
    """What could not be searched."""
    videos: int = 0
    """How many were left out."""

    def __len__(self) -> int:
        return len(self.names) + len(self.skipped) + len(self.problems)

    def item(self, name: bytes, made: bytes) -> Item:
        """A picture and its result, by their names below both folders."""
        source, target = self.source.root, self.target.root
        return Item(source / os.fsdecode(name), target / os.fsdecode(made))


def plan_work(
    source: Folder,
    target: Folder,
    *,
    format: Literal["keep"] | formats.Format = "keep",  # noqa: A002
    overwrite: bool = False,
) -> Work:
    """Find out what there is to do, listing both folders once.

    Args:
        source: Searched for pictures, as by `plan.plan`.
        target: The folder for the results; what lies there is left out of the search.
        format: The format of the results, as for `plan.plan`.
        overwrite: Whether to make results anew that exist already.

    Raises:
        UsageError: There are no pictures, or two results would have one name, or both folders are
            one.
        InputError: A folder cannot be listed.
    """
    if source == target:
        raise UsageError(f"{source.files.name(source.root)}: results need a folder of their own")
    work, stamps, taken = Work(source, target), target.stamps(), set()
    for item in source.find(target):
        if item.problem:
            work.problems.append(item)
            continue
        if item.is_video:
            work.videos += 1
            continue
        result = plan.renamed(item.target, "", format)
        name, made = os.fsencode(item.target), os.fsencode(result)
        if made in taken:
            address = target.files.name(target.root / result)
            raise UsageError(f"{address}: two pictures would be written there")
        taken.add(made)
        stamp = stamps.get(str(result))
        if stamp is not None and not overwrite:
            work.skipped.append((name, made))
            continue
        work.names.append(name)
        # Most names are the same on both sides: one object for both.
        work.targets.append(name if name == made else made)
        work.stamps.append(stamp)
    if not work:
        raise UsageError(f"no pictures in {source.files.name(source.root)}")
    return work


@contextmanager
def report(target: Folder, path: Path, work: Work) -> Iterator[Any]:
    """Collect what becomes of each file, and write it as Parquet at the end, also after an error.

    Args:
        target: Where the report goes.
        path: Of the report.
        work: What the results are about.

    Yields:
        A function that takes one result; memory does not grow by it.

    Raises:
        InputError: The report cannot be written.
        OSError: As before.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("source", "target", "status", "message")
    schema = pa.schema(
        [(name, pa.string()) for name in texts]
        + [("seconds", pa.float32()), ("width", pa.int32()), ("height", pa.int32())]
    )
    rows: list[dict[str, Any]] = []
    named, made = work.source.files.name, work.target.files.name
    with tempfile.TemporaryFile() as file:
        writer = pq.ParquetWriter(file, schema)

        def add(result: Result) -> None:
            rows.append(
                {
                    "source": _text(named(result.item.source)),
                    "target": _text(made(result.item.target)),
                    "status": result.status,
                    "seconds": result.seconds,
                    "width": result.width,
                    "height": result.height,
                    "message": result.message,
                }
            )
            if len(rows) == _ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        try:
            yield add
        finally:
            # What is known is worth keeping, whatever ended the work.
            flush()
            writer.close()
            file.seek(0)
            target.put(path, file)


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
