"""Enhance many photographs: read the next ones and write the last ones while one is enhanced."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.config import SMOOTHING_SECONDS, EnhanceSettings
from zerodce_jax.errors import InputError, UsageError, one_line, prefix_errors
from zerodce_jax.jobs.animations import enhance_several
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import Executor, Result
from zerodce_jax.jobs.storage import Files, LocalFiles
from zerodce_jax.media.formats import format_of
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.photo import check_target
from zerodce_jax.media.photograph import Photo
from zerodce_jax.media.samples import convert

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

PIXELS_IN_MEMORY = 100_000_000
"""Limit on the pixels of all photographs that are being read, enhanced and written. A photograph
that is larger is processed alone."""
_SAMPLES = 256
"""Number of rows or columns, at least, that measure the mean brightness of a result."""
_TOLERANCE = 0.03
"""Difference of mean brightness that is not worth a message: the network saw a small copy."""


class PhotoExecutor(Executor):
    """Enhances photographs with threads that read and write beside the network.

    At most `PIXELS_IN_MEMORY` pixels are in memory at a time, or one photograph. Results come in
    the order of the items, each once its file is written.

    Args:
        enhancer: The network.
        settings: How to enhance; None takes the network's own settings.
        jobs: Number of threads, and of photographs that are read ahead and written behind.
        strip: Whether to leave out EXIF, XMP, texts and resolution.
        max_pixels: Number of pixels of the largest photograph that is decoded.
        first_frame: Whether only the first frame of animations, and the first page of TIFF files,
            is taken.
        smoothing: Time constant of the exposure smoothing of animations, in seconds; 0 enhances
            each frame independently.
        source: The storage of the photographs.
        target: The storage for the results.

    Raises:
        UsageError: `jobs` is below 1.
    """

    def __init__(
        self,
        enhancer: "Enhancer",
        settings: EnhanceSettings | None = None,
        *,
        jobs: int = 2,
        strip: bool = False,
        max_pixels: int = MAX_PIXELS,
        first_frame: bool = False,
        smoothing: float = SMOOTHING_SECONDS,
        source: Files = LocalFiles(),  # noqa: B008 (frozen)
        target: Files = LocalFiles(),  # noqa: B008 (frozen)
    ) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs must be a whole number >= 1, not {jobs}")
        self._enhancer, self._settings = enhancer, settings
        self._jobs, self._strip, self._max_pixels = jobs, strip, max_pixels
        self._first_frame, self._smoothing = first_frame, smoothing
        self._source, self.target = source, target
        # Photographs whose reading began and whose results are not reported, in order.
        self._begun: deque[_Task] = deque()

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each item, in order; see `Executor.run`."""
        self._items, self._begun = iter(items), deque()
        # The tasks that are being read, and those that are being enhanced.
        self._reading: deque[_Task] = deque()
        self._enhancing: deque[_Task] = deque()
        # The next task, if it must wait until there is memory for it.
        self._held: _Task | None = None
        # The task of an animation or of pages, which go through the network as one sequence.
        self._sequence: _Task | None = None
        self._pixels_in_memory = 0
        self._pool = ThreadPoolExecutor(self._jobs)
        try:
            while True:
                for pixels in self._enhancer.many(self._images(), self._settings):
                    task = self._enhancing.popleft()
                    assert task.opened is not None
                    opened, task.opened = replace(task.opened, pixels=pixels), None
                    task.writing = self._pool.submit(self._write, task, opened)
                    del opened, pixels
                    yield from self._finished(still_writing=self._jobs)
                yield from self._finished(still_writing=0)
                if self._sequence is not None:
                    task, self._sequence = self._sequence, None
                    self._enhance_sequence(task)
                    yield from self._finished(still_writing=0)
                # A held task had to wait until the others were written; without one, all are done.
                elif self._held is None:
                    return
        finally:
            # Finishes what is being written, and drops what waits to be read or written.
            self._pool.shutdown(cancel_futures=True)

    def completed(self) -> Iterable[tuple[int, Result]]:
        """Return finished results that `run` may not have yielded; see `Executor`."""
        return [(task.number, task.result) for task in self._begun if task.result is not None]

    def _images(self) -> Iterator[Shaped[np.ndarray, "h w *rgb"]]:
        """Yield the pixels of photographs in order.

        End before an animation or pages, before a photograph that is held, or if none is left.
        """
        while True:
            self._read_ahead()
            if not self._reading:
                return
            task = self._reading.popleft()
            assert task.reading is not None
            try:
                opened = task.reading.result()
            except (InputError, OSError) as error:
                task.fail(error)
                continue
            finally:
                task.reading = None
            opened = opened.stripped() if self._strip else opened
            opened = opened.still() if self._first_frame else opened
            task.opened = opened.fitting(format_of(task.item.target))
            if task.opened.images > 1:
                self._sequence = task
                return
            self._enhancing.append(task)
            # The next photograph is read while this one is enhanced.
            self._read_ahead()
            yield opened.pixels

    def _read_ahead(self) -> None:
        while len(self._reading) < self._jobs:
            task = self._held or self._next()
            if task is None:
                return
            total = self._pixels_in_memory + task.pixels
            if self._pixels_in_memory and total > PIXELS_IN_MEMORY:
                self._held = task
                return
            self._held = None
            self._pixels_in_memory = total
            read, path = self._source.read, task.item.source
            task.reading = self._pool.submit(read, path, max_pixels=self._max_pixels)
            self._reading.append(task)

    def _next(self) -> "_Task | None":
        """Return the next task whose photograph can be opened; those that cannot have failed."""
        for number, item in self._items:
            task = _Task(number, item, time.perf_counter())
            self._begun.append(task)
            try:
                width, height = self._source.size(item.source, max_pixels=self._max_pixels)
                with prefix_errors(self._source.name(item.source)):
                    check_target(item.target, width, height)
            except (InputError, OSError) as error:
                task.fail(error)
            else:
                task.pixels = width * height
                return task
        return None

    def _enhance_sequence(self, task: "_Task") -> None:
        assert task.opened is not None
        name = self._source.name(task.item.source)
        opened = enhance_several(
            task.opened, name, self._enhancer, self._settings, smoothing=self._smoothing
        )
        task.opened = None
        self._write(task, opened)

    def _write(self, task: "_Task", opened: Photo) -> None:
        try:
            losses = self.target.write(task.item.target, opened)
        except (InputError, OSError) as error:
            task.fail(error)
            return
        height, width = opened.pixels.shape[:2]
        # The pixels beside frames or pages are those of the first one before it is enhanced.
        missed = self._missed_exposure(opened.pixels) if opened.images == 1 else ()
        notes = "; ".join([*opened.notes, *missed, *losses])
        message = one_line(f"{self._source.name(task.item.source)}: {notes}") if notes else ""
        seconds = time.perf_counter() - task.start
        task.result = Result(task.item, "done", seconds, width, height, message, opened.images)

    def _missed_exposure(self, enhanced: Shaped[np.ndarray, "h w *rgb"]) -> Iterator[str]:
        """Yield a message if an image does not have the mean brightness that was asked for."""
        settings = self._settings or self._enhancer.network.settings
        if isinstance(settings.exposure, str) or settings.strength != 1:
            return
        step = max(1, max(enhanced.shape[:2]) // _SAMPLES)
        samples = convert(enhanced[::step, ::step], np.float32)
        if abs(samples.mean() - settings.exposure) > _TOLERANCE:
            yield (
                f"its mean brightness is {samples.mean():.2f}, since the network cannot bring it "
                f"to {settings.exposure:g}"
            )

    def _finished(self, *, still_writing: int) -> Iterator[tuple[int, Result]]:
        """Yield results in order, and wait while more than `still_writing` are being written."""
        while self._begun:
            task = self._begun[0]
            if task.result is None:
                if task.writing is None:
                    return
                writing = sum(
                    not (other.writing is None or other.writing.done()) for other in self._begun
                )
                if not task.writing.done() and writing <= still_writing:
                    return
                # Waits, and raises an unexpected error of the thread.
                task.writing.result()
                assert task.result is not None
            yield task.number, task.result
            # Only now is the result reported; until then `completed` must find it.
            self._begun.popleft()
            self._pixels_in_memory -= task.pixels


@dataclass
class _Task:
    """A photograph that is being read, enhanced or written."""

    number: int
    item: Item
    start: float
    pixels: int = 0
    reading: "Future[Photo] | None" = None
    opened: Photo | None = None
    writing: "Future[None] | None" = None
    result: Result | None = None
    """The outcome. The thread that writes sets it, so that no interrupt can lose it."""

    def fail(self, error: InputError | OSError) -> None:
        seconds = time.perf_counter() - self.start
        self.result = Result(self.item, "failed", seconds, message=one_line(error))
