"""runner.py: settled items, order, fail-fast and interrupts, with executors that do nothing."""

from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from helpers.inverters import statuses, touch
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import ByKind, Executor, Result, run


class Recorder(Executor):
    """Yields a result for each item, in batches whose order is reversed."""

    def __init__(self, *, batch: int = 1, failing: tuple[str, ...] = ()) -> None:
        self.batch, self.failing = batch, failing
        self.seen: list[str] = []
        self.closed = False
        self.finished: list[tuple[int, Result]] = []

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        batch = []
        try:
            for number, item in items:
                self.seen.append(item.source.name)
                failed = item.source.name in self.failing
                batch.append((number, Result(item, "failed" if failed else "done")))
                if len(batch) == self.batch:
                    yield from reversed(batch)
                    batch = []
            yield from reversed(batch)
        finally:
            self.closed = True

    def completed(self) -> list[tuple[int, Result]]:
        return self.finished


class Interrupted(Recorder):
    """Raises KeyboardInterrupt instead of the third result, when the fourth is finished."""

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        results = super().run(items)
        yield next(results)
        yield next(results)
        next(results)
        self.finished.append(next(results))
        raise KeyboardInterrupt


def items_of(tmp_path: Path, *names: str) -> list[Item]:
    return [Item(tmp_path / "in" / name, tmp_path / "out" / name) for name in names]


def names_of(results: Iterable[Result]) -> list[str]:
    return [result.item.source.name for result in results]


def until_interrupted(running: Iterable[Result]) -> list[Result]:
    results = []
    with pytest.raises(KeyboardInterrupt):
        results.extend(running)
    return results


def test_settled_items_keep_their_places(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a", "b", "c", "d", "e")
    touch(items[0].target, items[3].target)
    items[4] = Item(items[4].source, items[4].target, "e: Permission denied")
    executor = Recorder()
    results = list(run(items, executor))
    assert [result.item for result in results] == items
    assert statuses(results) == ["skipped", "done", "done", "skipped", "failed"]
    assert results[4].message == "e: Permission denied"
    assert executor.seen == ["b", "c"]
    assert statuses(list(run(items, Recorder(), overwrite=True))) == ["done"] * 4 + ["failed"]


def test_each_item_is_checked_only_when_the_executor_takes_it(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a", "b")
    running = run(items, Recorder())
    assert next(running).status == "done"
    # Another process may have written it meanwhile.
    touch(items[1].target)
    assert next(running).status == "skipped"


def test_results_in_another_order_are_all_yielded_once(tmp_path: Path) -> None:
    items = items_of(tmp_path, *"abcdefgh")
    touch(items[1].target, items[6].target)
    results = list(run(items, Recorder(batch=3)))
    assert sorted(names_of(results)) == list("abcdefgh")
    skipped = [result for result in results if result.status == "skipped"]
    assert names_of(skipped) == ["b", "g"]


def test_fail_fast_stops_the_executor(tmp_path: Path) -> None:
    executor = Recorder(failing=("b",))
    results = list(run(items_of(tmp_path, *"abcd"), executor, fail_fast=True))
    assert names_of(results) == list("abcd")
    assert statuses(results) == ["done", "failed", "not_started", "not_started"]
    assert executor.seen == ["a", "b"]
    assert executor.closed
    assert statuses(list(run(items_of(tmp_path, *"abcd"), Recorder(failing=("b",))))) == [
        *("done", "failed", "done", "done")
    ]


def test_an_interrupt_in_the_executor_keeps_finished_results(tmp_path: Path) -> None:
    results = until_interrupted(run(items_of(tmp_path, *"abcdef"), Interrupted()))
    assert names_of(results) == list("abcdef")
    assert statuses(results) == ["done", "done", "not_started", "done", *["not_started"] * 2]


def test_an_interrupt_in_the_caller_closes_the_executor(tmp_path: Path) -> None:
    executor = Recorder()
    running = run(items_of(tmp_path, *"abc"), executor)
    results = [next(running)]
    results.append(running.throw(KeyboardInterrupt))
    assert executor.closed
    results += until_interrupted(running)
    assert names_of(results) == list("abc")
    assert statuses(results) == ["done", "not_started", "not_started"]


def test_a_result_that_was_yielded_is_not_yielded_again(tmp_path: Path) -> None:
    executor = Recorder()
    running = run(items_of(tmp_path, *"ab"), executor)
    first = next(running)
    executor.finished.append((0, first))
    assert running.throw(KeyboardInterrupt) == Result(items_of(tmp_path, "b")[0], "not_started")


def test_an_unexpected_error_closes_the_executor(tmp_path: Path) -> None:
    executor = Recorder()
    running = run(items_of(tmp_path, *"abc"), executor)
    next(running)
    with pytest.raises(ZeroDivisionError):
        running.throw(ZeroDivisionError)
    assert executor.closed


def test_temporary_files_are_removed_also_beside_results_that_exist(tmp_path: Path) -> None:
    items = items_of(tmp_path, "sub/a", "b")
    touch(items[0].target, tmp_path / "out/sub/.zerodce-1/a", tmp_path / "out/.zerodce-2/b")
    assert statuses(list(run(items, Recorder()))) == ["skipped", "done"]
    assert list(tmp_path.rglob(".zerodce-*")) == []


def test_photographs_and_videos_go_to_their_executors(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a.png", "b.png", "c.mp4", "d.mp4")
    photos, videos = Recorder(), Recorder()
    assert names_of(run(items, ByKind(photos, videos))) == ["a.png", "b.png", "c.mp4", "d.mp4"]
    assert (photos.seen, videos.seen) == (["a.png", "b.png"], ["c.mp4", "d.mp4"])
    results = list(run(items[:2], ByKind(Recorder(), Recorder())))
    assert statuses(results) == ["done", "done"]


def test_fail_fast_and_interrupts_reach_from_photographs_to_videos(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.mp4")
    executor = ByKind(Recorder(failing=("b.png",)), Recorder())
    assert statuses(list(run(items, executor, fail_fast=True))) == [
        *("done", "failed"),
        *["not_started"] * 3,
    ]
    results = until_interrupted(run(items, ByKind(Interrupted(), Recorder())))
    assert statuses(results) == ["done", "done", "not_started", "done", "not_started"]
