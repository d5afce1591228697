"""An image as tiles of one fixed shape, each with a halo of its surroundings.

A tile of ``size x size`` pixels is cut out with `halo` more pixels on every side, so that a
network whose receptive field reaches no further sees what it would see in the whole image. Where
this window leaves the image, it holds zeros, and its valid bounds say so.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import UsageError

MAX_CORES = 16
"""Largest number of tiles in work at one time: each takes about 60 MB."""


@dataclass(frozen=True)
class Tile:
    """Place of a tile in its image, in pixels; the tile may overhang the image's far edges."""

    top: int
    left: int
    size: int
    halo: int

    @property
    def window(self) -> int:
        """Side of the tile with its halo."""
        return self.size + 2 * self.halo

    def valid(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of the window that lies in an image of that size.

        Returns:
            First row and one past the last, first column and one past the last, in window pixels.
        """
        y, x = self.top - self.halo, self.left - self.halo
        return (
            max(0, -y),
            min(self.window, height - y),
            max(0, -x),
            min(self.window, width - x),
        )

    def area(self, height: int, width: int) -> int:
        """Return the number of pixels of the tile, without halo, inside an image of that size."""
        return min(self.size, height - self.top) * min(self.size, width - self.left)

    def cut(
        self, image: Shaped[np.ndarray, "h w c"], out: Shaped[np.ndarray, "window window c"]
    ) -> None:
        """Copy the window out of an image; pixels beyond the image become 0.

        Args:
            image: (height, width, channels).
            out: (window, window, channels), overwritten.
        """
        y, x = self.top - self.halo, self.left - self.halo
        y0, y1, x0, x1 = self.valid(*image.shape[:2])
        if (y1 - y0, x1 - x0) != out.shape[:2]:
            out[:] = 0
        out[y0:y1, x0:x1] = image[y + y0 : y + y1, x + x0 : x + x1]

    def paste(
        self, tile: Shaped[np.ndarray, "size size c"], image: Shaped[np.ndarray, "h w c"]
    ) -> None:
        """Copy a finished tile, without halo, to its place in an image."""
        height, width = image.shape[:2]
        rows, columns = min(self.size, height - self.top), min(self.size, width - self.left)
        image[self.top : self.top + rows, self.left : self.left + columns] = tile[:rows, :columns]


def tile_side(tile: int) -> int:
    """Return a side of tiles that an engine can use: whole blocks of the denoiser.

    Raises:
        UsageError: `tile` is below 1.
    """
    if tile < 1:
        raise UsageError(f"tile must be a whole number >= 1, not {tile}")
    # The denoiser needs tiles that begin at even rows and columns (`ops.halving`).
    return -(-tile // 2) * 2


def cores() -> int:
    """Return how many tiles a CPU should compute at one time: one for each core, up to `MAX_CORES`.

    OMP_NUM_THREADS, by which several processes share a machine, can lower the number.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if threads.isdecimal() and int(threads):
        usable = min(int(threads), usable or 1)
    return min(MAX_CORES, usable or 1)


def tiles(height: int, width: int, *, size: int, halo: int) -> Iterator[Tile]:
    """Cover an image with tiles that do not overlap, row by row.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        size: Side of a tile without halo, in pixels.
        halo: Pixels that each tile brings along on every side.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield Tile(top, left, size, halo)
