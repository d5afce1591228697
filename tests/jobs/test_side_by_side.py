"""photos.py: reading, enhancing and writing side by side, within bounds, and interrupted."""

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.inverters import (
    BatchedInverter,
    Inverter,
    StrikingInverter,
    assert_whole,
    pictures,
    statuses,
)
from helpers.whole_image import random_network
from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs import photos
from zerodce_jax.jobs.photos import Result, enhance_all
from zerodce_jax.jobs.plan import Item, plan
from zerodce_jax.media import photo
from zerodce_jax.media.photo import Photo

SETTINGS = EnhanceSettings()
pytestmark = [pytest.mark.usefixtures("nothing_stays"), pytest.mark.timeout(60)]


def pictures_of(base: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    for i, size in enumerate(sizes):
        photo.write(base / f"in/{i:02}.png", Photo(np.full((*size, 3), i, np.uint8)))
    return plan([base / "in"], base / "out")


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Pixels of each picture in hand, whenever another one has been read; writing takes a while."""
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


def sizes_at_random(count: int, *, largest: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(largest)
    return [(int(side), 10) for side in rng.integers(1, largest // 10 + 1, count)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("jobs", [1, 2, 6])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(sizes_at_random(20, largest=400), id="small"),
        pytest.param(sizes_at_random(20, largest=1000), id="up to the bound"),
        pytest.param(sizes_at_random(20, largest=2500), id="beyond the bound"),
        pytest.param([(300, 10)] * 5, id="all beyond the bound"),
        pytest.param([(100, 10)] * 5, id="all at the bound"),
    ],
)
def test_no_more_is_in_hand_than_the_bound_or_one_picture(
    sizes: list[tuple[int, int]],
    jobs: int,
    batch: int,
    tmp_path: Path,
    moments: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = pictures_of(tmp_path, sizes)
    monkeypatch.setattr(photos, "PIXELS_IN_HAND", 1000)
    moments.clear()
    results = list(enhance_all(items, BatchedInverter(batch), SETTINGS, jobs=jobs))
    assert [(each.item, each.status) for each in results] == [(item, "done") for item in items]
    assert len(moments) == len(items)
    assert all(sum(moment) <= 1000 or len(moment) == 1 for moment in moments)
    if max(sizes) < (50, 10) and jobs > 1:
        assert max(map(len, moments)) > 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_pictures_are_in_hand_than_the_jobs_allow(
    jobs: int, tmp_path: Path, moments: list[list[int]]
) -> None:
    items = pictures_of(tmp_path, [(1, 1)] * 30)
    moments.clear()
    assert statuses(list(enhance_all(items, Inverter(), SETTINGS, jobs=jobs))) == ["done"] * 30
    # Read ahead, being enhanced, and written behind.
    assert max(map(len, moments)) <= jobs + 1 + (jobs + 1)


def test_pictures_that_are_written_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = pictures_of(tmp_path, [(2, 3)] * 20)
    read, alive = photo.read, set()

    def watched(path: Path, **options: int) -> Photo:
        opened = read(path, **options)
        alive.add(path)
        weakref.finalize(opened.pixels, alive.remove, path)
        return opened

    monkeypatch.setattr(photo, "read", watched)
    for i, result in enumerate(enhance_all(items, Inverter(), SETTINGS, jobs=1)):
        assert result.status == "done"
        # All but the one that the enhancer may still hold.
        assert not alive & {item.source for item in items[:i]}
        assert len(alive) <= 4
    assert not alive


@pytest.mark.parametrize("jobs", [1, 4])
def test_pictures_are_read_and_written_while_another_is_enhanced(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = pictures(tmp_path, 6)
    read, write = photo.read, photo.write
    was_read = {item.source: threading.Event() for item in items}
    was_written = {item.target: threading.Event() for item in items}

    def telling_read(path: Path, **options: int) -> Photo:
        opened = read(path, **options)
        was_read[path].set()
        return opened

    def telling_write(path: Path, opened: Photo) -> tuple[str, ...]:
        losses = write(path, opened)
        was_written[path].set()
        return losses

    class Waiting(Inverter):
        def many(self, images, **settings):
            for i, image in enumerate(images):
                if i + 1 < len(items):
                    assert was_read[items[i + 1].source].wait(5), "the next one is not read"
                if i > 0:
                    assert was_written[items[i - 1].target].wait(5), "the last one is not written"
                yield 255 - image

    monkeypatch.setattr(photo, "read", telling_read)
    monkeypatch.setattr(photo, "write", telling_write)
    results = list(enhance_all(items, Waiting(), SETTINGS, jobs=jobs))
    assert statuses(results) == ["done"] * 6


def until_interrupted(results: Iterator[Result]) -> list[Result]:
    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(results)  # which keeps what came before the exception
    return seen


def assert_done_up_to_somewhere(results: list[Result], items: list[Item]) -> None:
    assert [result.item for result in results] == items
    done = statuses(results).count("done")
    assert statuses(results) == ["done"] * done + ["left"] * (len(items) - done)
    for i, result in enumerate(results):
        assert result.item.target.exists() == (result.status == "done")
        if result.status == "done":
            assert_whole(result, i)


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_an_interruption_gives_what_is_complete_and_then_goes_on(jobs: int, tmp_path: Path) -> None:
    items = pictures(tmp_path, 12)
    striking = StrikingInverter(KeyboardInterrupt(), after=9)
    results = until_interrupted(enhance_all(items, striking, SETTINGS, jobs=jobs))
    assert_done_up_to_somewhere(results, items)
    assert 9 - jobs <= statuses(results).count("done") <= 9
    again = list(enhance_all(items, Inverter(), SETTINGS, jobs=jobs))
    done = statuses(results).count("done")
    assert statuses(again) == ["skipped"] * done + ["done"] * (12 - done)


def test_an_interruption_between_two_results(tmp_path: Path) -> None:
    items = pictures(tmp_path, 12)
    running = enhance_all(items, Inverter(), SETTINGS, jobs=1)
    first = next(running)
    second = running.throw(KeyboardInterrupt)
    results = [first, second, *until_interrupted(running)]
    assert_done_up_to_somewhere(results, items)
    assert results[-1].status == "left"


def test_an_interruption_before_anything_is_done(tmp_path: Path) -> None:
    items = pictures(tmp_path, 3)
    striking = StrikingInverter(KeyboardInterrupt(), after=0)
    results = until_interrupted(enhance_all(items, striking, SETTINGS))
    assert results == [Result(item, "left") for item in items]
    assert not (tmp_path / "out").exists()


def test_what_is_being_written_when_interrupted_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = pictures(tmp_path, 3)
    write, writing = photo.write, threading.Event()

    def slow_write(path: Path, opened: Photo) -> tuple[str, ...]:
        writing.set()
        time.sleep(0.2)
        return write(path, opened)

    class Interrupted(Inverter):
        def many(self, images, **settings):
            yield 255 - next(iter(images))
            assert writing.wait(10)
            raise KeyboardInterrupt

    monkeypatch.setattr(photo, "write", slow_write)
    results = until_interrupted(enhance_all(items, Interrupted(), SETTINGS))
    assert statuses(results) == ["done", "left", "left"]
    assert_whole(results[0], 0)


def test_failures_so_far_are_told_when_interrupted(tmp_path: Path) -> None:
    items = pictures(tmp_path, 4, broken=(0, 2))
    striking = StrikingInverter(KeyboardInterrupt(), after=1)
    results = until_interrupted(enhance_all(items, striking, SETTINGS, jobs=1))
    assert statuses(results) in (
        ["failed", "done", "failed", "left"],
        ["failed", "left", "failed", "left"],
    )


def test_closing_early_leaves_nothing_half_done(tmp_path: Path) -> None:
    items = pictures(tmp_path, 12)
    running = enhance_all(items, Inverter(), SETTINGS, jobs=4)
    assert next(running).status == "done"
    running.close()
    written = sorted((tmp_path / "out").iterdir())
    assert written == [item.target for item in items[: len(written)]]
    for i in range(len(written)):
        assert_whole(Result(items[i], "done"), i)


@pytest.mark.parametrize("stage", ["read", "write"])
def test_an_unexpected_error_of_a_thread_is_raised(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = pictures(tmp_path, 12)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(photo, stage, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        list(enhance_all(items, Inverter(), SETTINGS))


def test_an_unexpected_error_of_the_enhancer_is_raised(tmp_path: Path) -> None:
    items = pictures(tmp_path, 12)
    striking = StrikingInverter(RuntimeError("a bug"), after=5)
    seen = []
    with pytest.raises(RuntimeError, match="a bug"):
        seen.extend(enhance_all(items, striking, SETTINGS, jobs=3))
    for i, result in enumerate(seen):
        assert_whole(result, i)
    written = sorted((tmp_path / "out").iterdir())
    assert written == [item.target for item in items[: len(written)]]
    assert len(seen) <= len(written) <= 5


@pytest.mark.slow
def test_pictures_that_share_batches_become_what_they_become_alone(tmp_path: Path) -> None:
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
    results = list(enhance_all(together, batched, SETTINGS, jobs=3))
    assert statuses(results) == ["done"] * len(sizes)
    for item in together:
        (alone,) = plan([item.source], tmp_path / "alone")
        (result,) = enhance_all([alone], batched, SETTINGS, jobs=1)
        assert result.status == "done"
        assert alone.target.read_bytes() == item.target.read_bytes()
        expected = single(photo.read(item.source).pixels)
        np.testing.assert_array_equal(photo.read(item.target).pixels, expected)
