"""Many photographs: read, enhance and write them side by side, say what became of each."""

import json
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.atomic import replacing
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.jobs.plan import Item, is_done
from zerodce_jax.jobs.storage import Files
from zerodce_jax.media import photo
from zerodce_jax.media.photo import Photo

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

PIXELS_IN_HAND = 100_000_000
"""Pixels of all pictures that are being read, enhanced and written at one time; one picture that
is larger is worked on alone."""


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
    frames: int = 1
    """Of a video, how many were written."""


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
    source: Files = photo,
    target: Files = photo,
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
        source: Where pictures are read.
        target: Where results are written; `overwrite` is needed where that is elsewhere.

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
        source,
        target,
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
            "frames": result.frames,
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
    source: Files,
    target: Files,
    *,
    fail_fast: bool,
) -> Generator[Result, None, None]:
    for folder in {item.target.parent for item in items}:
        target.sweep(folder)
    interrupted = False
    with ThreadPoolExecutor(limits.jobs) as pool:
        line = _Line(items, enhancer, settings, limits, pool, source, target)
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
    writing: "Future[None] | None" = None
    written: Result | None = None
    """What became of it, as the thread that wrote it knows."""
    result: Result | None = None
    """What became of it, in its turn."""

    def failed(self, error: InputError | OSError) -> Result:
        seconds = time.perf_counter() - self.start
        return Result(self.item, "failed", seconds, message=one_line(error))

    def write(self, opened: Photo, source: Files, target: Files) -> None:
        try:
            losses = target.write(self.item.target, opened)
        except (InputError, OSError) as error:
            self.written = self.failed(error)
            return
        height, width = opened.pixels.shape[:2]
        notes = "; ".join([*opened.notes, *losses])
        message = one_line(f"{source.name(self.item.source)}: {notes}") if notes else ""
        seconds = time.perf_counter() - self.start
        self.written = Result(self.item, "done", seconds, width, height, message)


class _Line:
    """The three stages, reading, enhancing and writing, with everything in order between them."""

    def __init__(
        self,
        items: Sequence[Item],
        enhancer: "Enhancer",
        settings: EnhanceSettings,
        limits: _Limits,
        pool: ThreadPoolExecutor,
        source: Files,
        target: Files,
    ) -> None:
        self._items = deque(items)
        self._enhancer, self._settings = enhancer, settings
        self._limits, self._pool = limits, pool
        self._source, self._target = source, target
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
                job.writing = self._pool.submit(job.write, opened, self._source, self._target)
                del opened, pixels
                yield from self._finished(still_writing=self._limits.jobs)
            yield from self._finished(still_writing=0)
            # There may be more, where reading on had to wait until pictures were written.
            if not self._items and self._held is None:
                return

    def rest(self) -> Iterator[Result]:
        """Once the pool is shut down: what is complete all the same, and what is left."""
        for job in self._begun:
            yield job.result or job.written or Result(job.item, "left")
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
                self._source.read, job.item.source, max_pixels=self._limits.max_pixels
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
                    width, height = self._source.size(
                        item.source, max_pixels=self._limits.max_pixels
                    )
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
                job.writing.result()
                assert job.written is not None
                self._finish(job, job.written)
            assert job.result is not None
            self._begun.popleft()
            yield job.result

    def _finish(self, job: _Job, result: Result) -> None:
        job.result = result
        self._in_hand -= job.pixels
