"""Enhancers without a network, for tests of what goes on around them, and pictures for them."""

from pathlib import Path

import numpy as np

from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs.photos import Result
from zerodce_jax.jobs.plan import Item, plan
from zerodce_jax.media import photo
from zerodce_jax.media.photo import Photo

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


class Inverter(Enhancer):
    """Turns pictures into their negatives, without a network."""

    def __init__(self) -> None:
        self.called_with: list[dict] = []

    def many(self, images, **settings):
        for image in images:
            self.called_with.append(settings)
            yield 255 - image


class StrikingInverter(Inverter):
    """Lets some pictures through and then raises."""

    def __init__(self, error: BaseException, *, after: int) -> None:
        super().__init__()
        self.error, self.after = error, after

    def many(self, images, **settings):
        for i, image in enumerate(images):
            if i == self.after:
                raise self.error
            yield 255 - image


class BatchedInverter(Inverter):
    """Gives nothing back before it has several pictures, as a batch of tiles may hold."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def many(self, images, **settings):
        waiting = []
        for image in images:
            waiting.append(image)
            if len(waiting) == self.size:
                yield from (255 - each for each in waiting)
                waiting = []
        yield from (255 - each for each in waiting)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def pictures(base: Path, count: int, *, broken: tuple[int, ...] = ()) -> list[Item]:
    """Items for so many pictures, some of which are none."""
    for i in range(count):
        if i in broken:
            touch(base / f"in/{i:02}.png")
        else:
            photo.write(base / f"in/{i:02}.png", Photo(PIXELS + i))
    return plan([base / "in"], base / "out")


def statuses(results: list[Result]) -> list[str]:
    return [result.status for result in results]


def assert_whole(result: Result, i: int) -> None:
    np.testing.assert_array_equal(photo.read(result.item.target).pixels, 255 - (PIXELS + i))
