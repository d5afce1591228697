"""Many files: find them, read, enhance and write them side by side, say what became of each."""

import glob
import hashlib
import json
import os
import re
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Shaped

from zerodce_jax import photo
from zerodce_jax.atomic import replacing, sweep
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.photo import Photo

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

PIXELS_IN_HAND = 100_000_000
"""Pixels of all pictures that are being read, enhanced and written at one time; one picture that
is larger is worked on alone."""


@dataclass(frozen=True)
class Item:
    """A picture to be made from another."""

    source: Path
    target: Path
    problem: str = ""
    """Why it cannot even be tried: a folder that cannot be searched."""


@dataclass(frozen=True)
class Result:
    """What became of an item."""

    item: Item
    status: Literal["done", "skipped", "failed", "left"]
    """Left is what an interruption or `fail_fast` kept from being done."""
    seconds: float = 0.0
    """From the beginning of its reading; other pictures are worked on meanwhile."""
    width: int = 0
    height: int = 0
    """Of the picture that was written, in pixels."""
    message: str = ""
    """One line on why it failed, or on what the result lacks."""


def plan(
    inputs: Iterable[str | Path],
    output: Path,
    *,
    suffix: str = "",
    format: Literal["keep"] | photo.Format = "keep",  # noqa: A002
) -> list[Item]:
    """Decide which picture goes where.

    Args:
        inputs: Files, folders (searched through, their structure kept; symbolic links to folders
            and hidden names are left out) and glob patterns.
        output: The folder for the results, or, for one input file, the file to write.
        suffix: Goes between the name of a result and its extension.
        format: The format of the results; ``keep`` leaves each as it is (but GIF becomes PNG).

    Returns:
        Items in the order of the inputs, folders sorted. Pictures below `output`, and results
        that lie beside their sources, are left out.

    Raises:
        UsageError: Nothing matches, or two results would have one name, or a result would take
            the place of its source.
    """
    inputs = [Path(name) for name in inputs]
    found = [pair for given in inputs for pair in _find(given, output)]
    if len(found) == 1 and not os.path.isdir(inputs[0]) and photo.format_of(output):  # noqa: PTH112
        items = [Item(found[0].source, output)]
    else:
        if output.is_file():
            raise UsageError(f"{output}: is a file; several results need a folder")
        items = [
            replace(item, target=output / _renamed(item.target, suffix, format)) for item in found
        ]
        made = {os.path.realpath(item.target) for item in items}
        items = [item for item in items if os.path.realpath(item.source) not in made or not suffix]
    if not items:
        raise UsageError(f"no pictures in {', '.join(map(str, inputs))}")
    _refuse_clashes(items)
    return items


def share(items: Iterable[Item], output: Path, shard: str) -> list[Item]:
    """One of several shares of the work, for as many processes that know nothing of each other.

    The name of a result alone decides whose it is, so the shares are disjoint and complete, and
    stay the same where files are added or done meanwhile.

    Args:
        items: All of them.
        output: What their targets lie in.
        shard: ``I/N``, the I-th of N shares, from ``1/N`` to ``N/N``.

    Raises:
        UsageError: `shard` is nothing of that kind.
    """
    parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, count = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard must be I/N with 1 <= I <= N, such as 1/4, not {shard}")

    def owner(item: Item) -> int:
        name = os.fsencode(os.path.relpath(item.target, output))
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) % count

    return [item for item in items if owner(item) == number - 1]


def is_done(item: Item) -> bool:
    """Whether the result of an item exists already."""
    return os.path.lexists(item.target)


def enhance_all(
    items: Sequence[Item],
    enhancer: "Enhancer",
    settings: EnhanceSettings,
    *,
    jobs: int = 2,
    overwrite: bool = False,
    fail_fast: bool = False,
    strip: bool = False,
    max_pixels: int = photo.MAX_PIXELS,
) -> Generator[Result, None, None]:
    """Enhance files; one that fails does not keep the others from it.

    While one picture is enhanced, the next ones are read and the last ones are written. At most
    `PIXELS_IN_HAND` are in memory at one time, or one picture. What killed runs left behind
    where results go is swept away first.

    Args:
        items: What `plan` made.
        enhancer: The network.
        settings: How to apply its curves.
        jobs: Threads that read and write; as many pictures are read ahead and written behind.
        overwrite: Whether to make results anew that exist already, instead of skipping them.
        fail_fast: Whether to leave everything else once an item failed.
        strip: Whether to leave out EXIF, XMP, texts and resolution.
        max_pixels: Pixels of the largest picture that is decoded.

    Returns:
        An iterator over the results, in the order of the items, each once its file is written.
        Where a KeyboardInterrupt strikes it, the results that are complete are still given, and
        the rest as left, before it is raised.

    Raises:
        UsageError: `jobs` is below 1.
    """
    if jobs < 1:
        raise UsageError(f"--jobs must be a whole number >= 1, not {jobs}")
    return _enhance_all(
        items,
        enhancer,
        settings,
        _Limits(jobs, overwrite=overwrite, strip=strip, max_pixels=max_pixels),
        fail_fast=fail_fast,
    )


def write_report(path: Path, results: Iterable[Result]) -> None:
    """Write what became of each file as JSON.

    Args:
        path: The file; replaced where it exists.
        results: In any order.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [
        {
            "source": str(result.item.source),
            "target": str(result.item.target),
            "status": result.status,
            "seconds": round(result.seconds, 3),
            "width": result.width,
            "height": result.height,
            "message": result.message,
        }
        for result in results
    ]
    with replacing(path) as temporary:
        # Escapes keep names that are no Unicode readable for Python, and valid JSON.
        temporary.write_text(json.dumps(rows, indent=1) + "\n")


@dataclass(frozen=True)
class _Limits:
    jobs: int
    overwrite: bool
    strip: bool
    max_pixels: int


def _enhance_all(
    items: Sequence[Item],
    enhancer: "Enhancer",
    settings: EnhanceSettings,
    limits: _Limits,
    *,
    fail_fast: bool,
) -> Generator[Result, None, None]:
    for folder in {item.target.parent for item in items}:
        sweep(folder)
    interrupted = False
    with ThreadPoolExecutor(limits.jobs) as pool:
        line = _Line(items, enhancer, settings, limits, pool)
        try:
            for result in line.results():
                yield result
                if fail_fast and result.status == "failed":
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            # What is being written is finished, what is only read is dropped.
            pool.shutdown(cancel_futures=True)
        yield from line.rest()
    if interrupted:
        raise KeyboardInterrupt


@dataclass
class _Job:
    """An item on its way."""

    item: Item
    start: float
    pixels: int = 0
    reading: "Future[Photo] | None" = None
    opened: Photo | None = None
    writing: "Future[Result] | None" = None
    result: Result | None = None

    def failed(self, error: InputError | OSError) -> Result:
        seconds = time.perf_counter() - self.start
        return Result(self.item, "failed", seconds, message=one_line(error))

    def write(self, opened: Photo) -> Result:
        try:
            losses = photo.write(self.item.target, opened)
        except (InputError, OSError) as error:
            return self.failed(error)
        height, width = opened.pixels.shape[:2]
        notes = "; ".join([*opened.notes, *losses])
        message = one_line(f"{self.item.source}: {notes}") if notes else ""
        seconds = time.perf_counter() - self.start
        return Result(self.item, "done", seconds, width, height, message)


class _Line:
    """The three stages, reading, enhancing and writing, with everything in order between them."""

    def __init__(
        self,
        items: Sequence[Item],
        enhancer: "Enhancer",
        settings: EnhanceSettings,
        limits: _Limits,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._items = deque(items)
        self._enhancer, self._settings = enhancer, settings
        self._limits, self._pool = limits, pool
        # Jobs that were begun and not reported; of these, the ones in the first two stages.
        self._begun: deque[_Job] = deque()
        self._reading: deque[_Job] = deque()
        self._enhancing: deque[_Job] = deque()
        self._held: _Job | None = None
        self._in_hand = 0

    def results(self) -> Iterator[Result]:
        while True:
            for pixels in self._enhancer.many(self._pictures(), **self._settings.to_dict()):
                job = self._enhancing.popleft()
                assert job.opened is not None
                opened, job.opened = replace(job.opened, pixels=pixels), None
                job.writing = self._pool.submit(job.write, opened)
                del opened, pixels
                yield from self._finished(still_writing=self._limits.jobs)
            yield from self._finished(still_writing=0)
            # There may be more, where reading on had to wait until pictures were written.
            if not self._items and self._held is None:
                return

    def rest(self) -> Iterator[Result]:
        """Once the pool is shut down: what is complete all the same, and what is left."""
        for job in self._begun:
            if job.writing is not None and not job.writing.cancelled():
                job.result = job.writing.result()
            yield job.result or Result(job.item, "left")
        for item in self._items:
            yield Result(item, "left")

    def _pictures(self) -> Iterator[Shaped[np.ndarray, "h w *rgb"]]:
        """Read, in order, as long as there is room for more."""
        while True:
            self._begin()
            if not self._reading:
                return
            job = self._reading.popleft()
            assert job.reading is not None
            try:
                opened = job.reading.result()
            except (InputError, OSError) as error:
                self._finish(job, job.failed(error))
                continue
            finally:
                job.reading = None
            job.opened = opened.stripped() if self._limits.strip else opened
            self._enhancing.append(job)
            # To be read while this one is enhanced.
            self._begin()
            yield opened.pixels

    def _begin(self) -> None:
        while len(self._reading) < self._limits.jobs:
            job = self._held or self._next()
            if job is None:
                return
            if self._in_hand and self._in_hand + job.pixels > PIXELS_IN_HAND:
                self._held = job
                return
            self._held = None
            self._in_hand += job.pixels
            job.reading = self._pool.submit(
                photo.read, job.item.source, max_pixels=self._limits.max_pixels
            )
            self._reading.append(job)

    def _next(self) -> _Job | None:
        """The next job that has a picture to read; those without are finished on the way."""
        while self._items:
            item = self._items.popleft()
            job = _Job(item, time.perf_counter())
            self._begun.append(job)
            if item.problem:
                job.result = Result(item, "failed", message=item.problem)
            elif is_done(item) and not self._limits.overwrite:
                job.result = Result(item, "skipped")
            else:
                try:
                    width, height = photo.size(item.source, max_pixels=self._limits.max_pixels)
                except (InputError, OSError) as error:
                    job.result = job.failed(error)
                else:
                    job.pixels = width * height
                    return job
        return None

    def _finished(self, *, still_writing: int) -> Iterator[Result]:
        """Yield results in order, waiting while more than so many are being written."""
        while self._begun:
            job = self._begun[0]
            if job.result is None:
                if job.writing is None:
                    return
                writing = sum(
                    not (each.writing is None or each.writing.done()) for each in self._begun
                )
                if not job.writing.done() and writing <= still_writing:
                    return
                self._finish(job, job.writing.result())
            assert job.result is not None
            self._begun.popleft()
            yield job.result

    def _finish(self, job: _Job, result: Result) -> None:
        job.result = result
        self._in_hand -= job.pixels


def _find(given: Path, output: Path) -> Iterator[Item]:
    """Yield the pictures that an input stands for, each with its path below the output."""
    if os.path.isdir(given):  # noqa: PTH112 (which says no where it may not look)
        problems: list[OSError] = []
        below_output = os.path.realpath(output)
        for folder, folders, files in os.walk(given, onerror=problems.append):
            yield from _problems(problems)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            place = os.path.realpath(folder)
            if place == below_output and place != os.path.realpath(given):
                folders.clear()
                continue
            for name in sorted(files):
                path = Path(folder, name)
                if photo.format_of(path) and not name.startswith("."):
                    yield Item(path, path.relative_to(given))
        yield from _problems(problems)
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        for name in sorted(glob.glob(str(given), recursive=True)):  # noqa: PTH207 (absolute too)
            if os.path.isfile(name):  # noqa: PTH113 (which says no where it may not look)
                yield Item(Path(name), Path(Path(name).name))
    else:
        # A file; where it does not exist, reading it says so, and the others are done.
        yield Item(given, _name(given))


def _problems(problems: list[OSError]) -> Iterator[Item]:
    for error in problems:
        folder = Path(str(error.filename))
        yield Item(folder, _name(folder), one_line(error))
    problems.clear()


def _name(path: Path) -> Path:
    # '.' and '..' have a name as well.
    return Path(os.path.basename(os.path.abspath(path)) or "_")  # noqa: PTH100, PTH119


def _renamed(relative: Path, suffix: str, kind: Literal["keep"] | photo.Format) -> Path:
    known = photo.format_of(relative)
    wanted = (photo.written_as(known) if known else None) if kind == "keep" else kind
    ending = photo.suffix_of(wanted) if wanted and wanted != known else relative.suffix
    return relative.with_name(f"{relative.stem}{suffix}{ending}")


def _refuse_clashes(items: list[Item]) -> None:
    by_target = defaultdict(list)
    for item in items:
        if not item.problem:
            by_target[os.path.realpath(item.target)].append(item.source)
    for target, sources in by_target.items():
        if len(sources) > 1:
            raise UsageError(f"{target}: both {sources[0]} and {sources[1]} would be written there")
        if target == os.path.realpath(sources[0]):
            raise UsageError(f"{target}: would take the place of its own source")
