"""Run a list of items through an executor, and report one result for each item.

    results = run(plan([folder], output), PhotoExecutor(enhancer, settings))

`run` decides what happens to each item: it skips results that exist, reports items that cannot be
tried, stops at the first failure if it is asked to, and handles Ctrl-C. An `Executor` makes the
results: `photos.PhotoExecutor`, `videos.VideoExecutor`, `ray_cluster.RayExecutor`.

The number of an item is its position in the list. A list may have millions of items, so `run` keeps
one byte for each.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Literal

from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.storage import Files, LocalFiles
from zerodce_jax.jobs.worklist import Worklist

_WAITING, _SETTLED, _REPORTED = range(3)
"""States of an item: its result is not known, known without the executor, and yielded by `run`."""


@dataclass(frozen=True)
class Result:
    """The outcome of an item."""

    item: Item
    status: Literal["done", "skipped", "failed", "not_started"]
    """``skipped``: the result exists already; ``not_started``: an interrupt or `fail_fast` came
    first."""
    seconds: float = 0.0
    """Time from the start of reading to the end of writing; other items are processed meanwhile."""
    width: int = 0
    """Width of the image that was written, in pixels."""
    height: int = 0
    """Height of the image that was written, in pixels."""
    message: str = ""
    """The cause of a failure, or what is missing from the result, in one line."""
    frames: int = 1
    """Number of frames or pages that were written; 1 for a single image."""


def result_exists(item: Item, target: Files = LocalFiles()) -> bool:  # noqa: B008 (frozen)
    """Return whether the result of an item exists already in a storage."""
    return target.modification_time(item.target) is not None


class Executor(ABC):
    """Makes the results of items."""

    target: Files = LocalFiles()
    """The storage for the results."""

    @abstractmethod
    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each item.

        When the generator is closed, or an interrupt is raised in it, it starts no other item and
        leaves complete files only.

        Args:
            items: Numbers and items, taken one by one when the executor is ready for them.
        """

    def exists(self, item: Item) -> bool:
        """Return whether the result of an item exists already."""
        return result_exists(item, self.target)

    def completed(self) -> Iterable[tuple[int, Result]]:
        """Return results that `run` finished but may not have yielded before it ended early."""
        return ()


class ByKind(Executor):
    """Gives photographs to one executor and videos to another.

    Args:
        photos: The executor for photographs.
        videos: The executor for videos.
    """

    def __init__(self, photos: Executor, videos: Executor) -> None:
        self._photos, self._videos = photos, videos
        self._active: Executor | None = None

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each item; see `Executor.run`."""
        for is_video, group in groupby(items, key=lambda pair: pair[1].is_video):
            self._active = self._videos if is_video else self._photos
            yield from self._active.run(group)

    def completed(self) -> Iterable[tuple[int, Result]]:
        """Return finished results that `run` may not have yielded; see `Executor`."""
        return self._active.completed() if self._active is not None else ()


def run(
    items: Sequence[Item] | Worklist,
    executor: Executor,
    *,
    overwrite: bool = False,
    fail_fast: bool = False,
) -> Generator[Result, None, None]:
    """Run items through an executor; an item that fails does not stop the others.

    Temporary files that killed processes left in a folder are removed before the first item of that
    folder.

    Args:
        items: The items, as `plan.plan` or `worklist.plan_work` returns them.
        executor: Makes the results.
        overwrite: Whether to replace results that exist instead of skipping them.
        fail_fast: Whether to start no other item after one failed.

    Yields:
        One result for each item, in the order in which the executor finishes them; items that need
        no executor come before the next item that does. After a KeyboardInterrupt, whether it
        comes from inside or through `Generator.throw`, the finished results are still yielded, and
        the other items as ``not_started``, before it is raised.
    """
    states = bytearray(len(items))

    def waiting() -> Iterator[tuple[int, Item]]:
        """Yield the items for the executor, and settle the others."""
        clean: set[Path] = set()
        for number in range(len(items)):
            item = items[number]
            if (folder := item.target.parent) not in clean:
                executor.target.sweep(folder)
                clean.add(folder)
            if item.problem or (not overwrite and executor.exists(item)):
                states[number] = _SETTLED
            else:
                yield number, item

    running = executor.run(waiting())
    interrupted = False
    try:
        for number, result in _with_settled(running, items, states):
            try:
                yield result
            finally:
                # An exception that is raised at `yield` finds the result delivered.
                states[number] = _REPORTED
            if fail_fast and result.status == "failed":
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        running.close()
    completed = dict(executor.completed())
    for number, state in enumerate(states):
        if state == _SETTLED:
            yield _settled(items[number])
        elif state == _WAITING:
            yield completed.get(number) or Result(items[number], "not_started")
    if interrupted:
        raise KeyboardInterrupt


def _with_settled(
    results: Iterable[tuple[int, Result]], items: Sequence[Item] | Worklist, states: bytearray
) -> Iterator[tuple[int, Result]]:
    """Yield the results of an executor, each after the settled items that precede it."""
    start = 0
    for end, result in chain(results, [(len(items), None)]):
        for number in range(start, end):
            if states[number] == _SETTLED:
                yield number, _settled(items[number])
        start = max(start, end)
        if result is not None:
            yield end, result


def _settled(item: Item) -> Result:
    """Return the result of an item that needs no executor."""
    if item.problem:
        return Result(item, "failed", message=item.problem)
    return Result(item, "skipped")
