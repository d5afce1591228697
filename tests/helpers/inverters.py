"""Enhancers without a network, photographs for them, and runs of photographs."""

from collections.abc import Generator
from pathlib import Path

import numpy as np

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs.photos import PhotoExecutor
from zerodce_jax.jobs.plan import Item, plan
from zerodce_jax.jobs.runner import Result, run
from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


class Inverter(Enhancer):
    """Inverts images."""

    def __init__(self) -> None:
        self.called_with: list[EnhanceSettings | None] = []

    def many(self, images, settings=None, **overrides):
        assert not overrides
        for image in images:
            self.called_with.append(settings)
            yield 255 - image


class FailingInverter(Inverter):
    """Inverts some images and then raises an error."""

    def __init__(self, error: BaseException, *, after: int) -> None:
        super().__init__()
        self.error, self.after = error, after

    def many(self, images, settings=None, **overrides):
        for i, image in enumerate(images):
            if i == self.after:
                raise self.error
            yield 255 - image


class BatchedInverter(Inverter):
    """Returns nothing until it has several images, like an engine that fills a batch of tiles."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def many(self, images, settings=None, **overrides):
        batch = []
        for image in images:
            batch.append(image)
            if len(batch) == self.size:
                yield from (255 - waiting for waiting in batch)
                batch = []
        yield from (255 - waiting for waiting in batch)


def run_photos(
    items: list[Item],
    enhancer: Enhancer,
    settings: EnhanceSettings | None = None,
    *,
    overwrite: bool = False,
    fail_fast: bool = False,
    **options: object,
) -> Generator[Result, None, None]:
    """Run photographs through a `PhotoExecutor`."""
    executor = PhotoExecutor(enhancer, settings, **options)
    return run(items, executor, overwrite=overwrite, fail_fast=fail_fast)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def make_items(base: Path, count: int, *, broken: tuple[int, ...] = ()) -> list[Item]:
    """Write photographs, some of them broken, and return their items."""
    for i in range(count):
        if i in broken:
            touch(base / f"in/{i:02}.png")
        else:
            photo.write(base / f"in/{i:02}.png", Photo(PIXELS + i))
    return plan([base / "in"], base / "out")


def statuses(results: list[Result]) -> list[str]:
    return [result.status for result in results]


def assert_inverted(result: Result, i: int) -> None:
    """Check that the result of the i-th item of `make_items` is complete."""
    np.testing.assert_array_equal(photo.read(result.item.target).pixels, 255 - (PIXELS + i))
