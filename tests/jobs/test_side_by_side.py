"""photos.py: parallel reading, enhancing and writing, its limits, and interrupts."""

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.inverters import (
    BatchedInverter,
    FailingInverter,
    Inverter,
    assert_inverted,
    make_items,
    run_photos,
    statuses,
)
from helpers.whole_image import random_network
from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs import photos
from zerodce_jax.jobs.plan import Item, plan
from zerodce_jax.jobs.runner import Result
from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo

SETTINGS = EnhanceSettings()
pytestmark = [pytest.mark.usefixtures("nothing_stays"), pytest.mark.timeout(60)]


def items_of_sizes(base: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    for i, size in enumerate(sizes):
        photo.write(base / f"in/{i:02}.png", Photo(np.full((*size, 3), i, np.uint8)))
    return plan([base / "in"], base / "out")


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The pixels of each photograph in memory, recorded after each read; writes are slowed down."""
    read, write, lock = photo.read, photo.write, threading.Lock()
    held: dict[str, int] = {}
    seen: list[list[int]] = []

    def counting_read(path: Path, **options: int) -> Photo:
        opened = read(path, **options)
        with lock:
            held[path.name] = opened.pixels.shape[0] * opened.pixels.shape[1]
            seen.append(list(held.values()))
        return opened

    def counting_write(path: Path, opened: Photo) -> tuple[str, ...]:
        time.sleep(0.002)
        losses = write(path, opened)
        with lock:
            held.pop(path.name, None)
        return losses

    monkeypatch.setattr(photo, "read", counting_read)
    monkeypatch.setattr(photo, "write", counting_write)
    return seen


def random_sizes(count: int, *, largest: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(largest)
    return [(int(side), 10) for side in rng.integers(1, largest // 10 + 1, count)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("jobs", [1, 2, 6])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(random_sizes(20, largest=400), id="small", marks=pytest.mark.slow),
        pytest.param(random_sizes(20, largest=1000), id="up to the limit", marks=pytest.mark.slow),
        pytest.param(random_sizes(20, largest=2500), id="above the limit"),
        pytest.param([(300, 10)] * 5, id="all above the limit", marks=pytest.mark.slow),
        pytest.param([(100, 10)] * 5, id="all at the limit", marks=pytest.mark.slow),
    ],
)
def test_pixels_in_memory_stay_below_the_limit_or_are_of_one_photograph(
    sizes: list[tuple[int, int]],
    jobs: int,
    batch: int,
    tmp_path: Path,
    in_memory: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = items_of_sizes(tmp_path, sizes)
    monkeypatch.setattr(photos, "PIXELS_IN_MEMORY", 1000)
    in_memory.clear()
    results = list(run_photos(items, BatchedInverter(batch), SETTINGS, jobs=jobs))
    assert [(result.item, result.status) for result in results] == [
        (item, "done") for item in items
    ]
    assert len(in_memory) == len(items)
    assert all(sum(pixels) <= 1000 or len(pixels) == 1 for pixels in in_memory)
    if max(sizes) < (50, 10) and jobs > 1:
        assert max(map(len, in_memory)) > 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_number_of_photographs_in_memory_is_limited_by_jobs(
    jobs: int, tmp_path: Path, in_memory: list[list[int]]
) -> None:
    items = items_of_sizes(tmp_path, [(1, 1)] * 30)
    in_memory.clear()
    assert statuses(list(run_photos(items, Inverter(), SETTINGS, jobs=jobs))) == ["done"] * 30
    # Read ahead, being enhanced, and written behind.
    assert max(map(len, in_memory)) <= jobs + 1 + (jobs + 1)


def test_written_photographs_are_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = items_of_sizes(tmp_path, [(2, 3)] * 20)
    read, alive = photo.read, set()

    def watched(path: Path, **options: int) -> Photo:
        opened = read(path, **options)
        alive.add(path)
        weakref.finalize(opened.pixels, alive.remove, path)
        return opened

    monkeypatch.setattr(photo, "read", watched)
    for i, result in enumerate(run_photos(items, Inverter(), SETTINGS, jobs=1)):
        assert result.status == "done"
        # The enhancer may still hold the last one.
        assert not alive & {item.source for item in items[:i]}
        assert len(alive) <= 4
    assert not alive


@pytest.mark.parametrize("jobs", [1, 4])
def test_photographs_are_read_and_written_while_another_is_enhanced(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 6)
    read, write = photo.read, photo.write
    was_read = {item.source: threading.Event() for item in items}
    was_written = {item.target: threading.Event() for item in items}

    def watched_read(path: Path, **options: int) -> Photo:
        opened = read(path, **options)
        was_read[path].set()
        return opened

    def watched_write(path: Path, opened: Photo) -> tuple[str, ...]:
        losses = write(path, opened)
        was_written[path].set()
        return losses

    class Waiting(Inverter):
        def many(self, images, settings=None, **overrides):
            for i, image in enumerate(images):
                if i + 1 < len(items):
                    assert was_read[items[i + 1].source].wait(5), "the next photograph is not read"
                if i > 0:
                    assert was_written[items[i - 1].target].wait(5), (
                        "the last photograph is not written"
                    )
                yield 255 - image

    monkeypatch.setattr(photo, "read", watched_read)
    monkeypatch.setattr(photo, "write", watched_write)
    results = list(run_photos(items, Waiting(), SETTINGS, jobs=jobs))
    assert statuses(results) == ["done"] * 6


def until_interrupted(results: Iterator[Result]) -> list[Result]:
    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(results)  # keeps the results before the exception
    return seen


def assert_first_items_are_done(results: list[Result], items: list[Item]) -> None:
    assert [result.item for result in results] == items
    done = statuses(results).count("done")
    assert statuses(results) == ["done"] * done + ["not_started"] * (len(items) - done)
    for i, result in enumerate(results):
        assert result.item.target.exists() == (result.status == "done")
        if result.status == "done":
            assert_inverted(result, i)


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_an_interrupt_yields_complete_results_and_the_next_run_continues(
    jobs: int, tmp_path: Path
) -> None:
    items = make_items(tmp_path, 12)
    failing = FailingInverter(KeyboardInterrupt(), after=9)
    results = until_interrupted(run_photos(items, failing, SETTINGS, jobs=jobs))
    assert_first_items_are_done(results, items)
    assert 9 - jobs <= statuses(results).count("done") <= 9
    again = list(run_photos(items, Inverter(), SETTINGS, jobs=jobs))
    done = statuses(results).count("done")
    assert statuses(again) == ["skipped"] * done + ["done"] * (12 - done)


def test_an_interrupt_between_two_results(tmp_path: Path) -> None:
    items = make_items(tmp_path, 12)
    running = run_photos(items, Inverter(), SETTINGS, jobs=1)
    first = next(running)
    second = running.throw(KeyboardInterrupt)
    results = [first, second, *until_interrupted(running)]
    assert_first_items_are_done(results, items)
    assert results[-1].status == "not_started"


def test_an_interrupt_before_the_first_result(tmp_path: Path) -> None:
    items = make_items(tmp_path, 3)
    failing = FailingInverter(KeyboardInterrupt(), after=0)
    results = until_interrupted(run_photos(items, failing, SETTINGS))
    assert results == [Result(item, "not_started") for item in items]
    assert not (tmp_path / "out").exists()


def test_an_interrupt_finishes_the_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 3)
    write, writing = photo.write, threading.Event()

    def slow_write(path: Path, opened: Photo) -> tuple[str, ...]:
        writing.set()
        time.sleep(0.2)
        return write(path, opened)

    class Interrupted(Inverter):
        def many(self, images, settings=None, **overrides):
            yield 255 - next(iter(images))
            assert writing.wait(10)
            raise KeyboardInterrupt

    monkeypatch.setattr(photo, "write", slow_write)
    results = until_interrupted(run_photos(items, Interrupted(), SETTINGS))
    assert statuses(results) == ["done", "not_started", "not_started"]
    assert_inverted(results[0], 0)


def test_an_interrupt_reports_earlier_failures(tmp_path: Path) -> None:
    items = make_items(tmp_path, 4, broken=(0, 2))
    failing = FailingInverter(KeyboardInterrupt(), after=1)
    results = until_interrupted(run_photos(items, failing, SETTINGS, jobs=1))
    assert statuses(results) in (
        ["failed", "done", "failed", "not_started"],
        ["failed", "not_started", "failed", "not_started"],
    )


def test_closing_the_generator_leaves_complete_files_only(tmp_path: Path) -> None:
    items = make_items(tmp_path, 12)
    running = run_photos(items, Inverter(), SETTINGS, jobs=4)
    assert next(running).status == "done"
    running.close()
    written = sorted((tmp_path / "out").iterdir())
    assert written == [item.target for item in items[: len(written)]]
    for i in range(len(written)):
        assert_inverted(Result(items[i], "done"), i)


@pytest.mark.parametrize("stage", ["read", "write"])
def test_an_unexpected_error_in_a_thread_is_raised(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(tmp_path, 12)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(photo, stage, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        list(run_photos(items, Inverter(), SETTINGS))


def test_an_unexpected_error_in_the_enhancer_is_raised(tmp_path: Path) -> None:
    items = make_items(tmp_path, 12)
    failing = FailingInverter(RuntimeError("a bug"), after=5)
    seen = []
    with pytest.raises(RuntimeError, match="a bug"):
        seen.extend(run_photos(items, failing, SETTINGS, jobs=3))
    for i, result in enumerate(seen):
        assert_inverted(result, i)
    written = sorted((tmp_path / "out").iterdir())
    assert written == [item.target for item in items[: len(written)]]
    assert len(seen) <= len(written) <= 5


@pytest.mark.slow
def test_photographs_that_share_batches_get_the_same_results_as_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(5, 7), (20, 9), (3, 3), (40, 33), (1, 1), (16, 16), (2, 50), (9, 9)]
    for i, size in enumerate(sizes):
        shape = size if i % 3 == 1 else (*size, 3)
        dtype = np.uint16 if i == 3 else np.uint8
        pixels = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        photo.write(tmp_path / f"in/{i}.png", Photo(pixels))
    network = random_network(NetworkConfig(features=2, iterations=2))
    together = plan([tmp_path / "in"], tmp_path / "together")
    batched, single = (Enhancer(network, tile=16, batch=batch) for batch in (4, 1))
    results = list(run_photos(together, batched, SETTINGS, jobs=3))
    assert statuses(results) == ["done"] * len(sizes)
    for item in together:
        (alone,) = plan([item.source], tmp_path / "alone")
        (result,) = run_photos([alone], batched, SETTINGS, jobs=1)
        assert result.status == "done"
        assert alone.target.read_bytes() == item.target.read_bytes()
        expected = single(photo.read(item.source).pixels)
        np.testing.assert_array_equal(photo.read(item.target).pixels, expected)
