"""Tiles of many images on their way through an engine, in batches that several images share."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.engines.analysis import Analyzer
from zerodce_jax.engines.base import Engine
from zerodce_jax.engines.tiling import Tile, tiles
from zerodce_jax.ops import resampling
from zerodce_jax.ops.enhancement import Adjustments, reach
from zerodce_jax.ops.grid import blocks, neighbour_blocks
from zerodce_jax.ops.temporal import Smoothing


@dataclass
class Job:
    """One image on its way through the engine."""

    pixels: Shaped[np.ndarray, "h w 3"]
    """The image: uint8, uint16, or float32 in [0, 1]."""
    gray: bool = False
    """Whether the three channels are one gray image."""
    time: float = 0.0
    """When the image is shown, in seconds, if it is a frame of a video."""
    enhanced: Shaped[np.ndarray, "h w c"] = field(init=False)
    """The result, filled tile by tile; gray images have one channel."""
    missing: int = field(init=False)
    """Number of pixels of the result that are still to come."""

    def __post_init__(self) -> None:
        height, width = self.pixels.shape[:2]
        self.enhanced = np.empty((height, width, 1 if self.gray else 3), self.pixels.dtype)
        self.missing = height * width


class Batches:
    """Fills batches with tiles of images, and keeps all workers of an engine busy.

    Args:
        engine: Computes the batches.
        config: The engine's network.
        settings: How to enhance.
        pool: As many threads as the engine has workers.
        smoothing: The smoothing over time, if the images are the frames of a video.
    """

    def __init__(
        self,
        engine: Engine,
        config: NetworkConfig,
        settings: EnhanceSettings,
        pool: ThreadPoolExecutor,
        smoothing: Smoothing | None = None,
    ) -> None:
        self._engine, self._config, self._settings = engine, config, settings
        self._pool = pool
        self._analyzer = Analyzer(engine, config, settings, self._submit, smoothing)
        # The halo of a tile: what the filters reach, and what the network sees unless it sees a
        # reduced copy; with a grid, in whole blocks.
        self._halo = reach(settings.steps)
        if not config.two_passes:
            self._halo += engine.halo
        elif config.levels > 1:
            self._halo = blocks(self._halo, config.scale) * config.scale
        self._slots: list[tuple[Job, Tile]] = []
        self._running: deque[tuple[Future[np.ndarray], list[tuple[Job, Tile]]]] = deque()

    def add(self, job: Job) -> None:
        """Put the tiles of an image into batches, each of which starts once it is full."""
        adjustments, maps = self._analyzer.analyze(job.pixels, gray=job.gray, time=job.time)
        height, width = job.pixels.shape[:2]
        for tile in tiles(height, width, size=self._engine.tile, halo=self._halo):
            if self._slots and self._tiles.dtype != job.pixels.dtype:
                self._start_batch()
            if not self._slots:
                self._new_batch(job.pixels.dtype, tile.window, maps)
            slot = len(self._slots)
            tile.cut(job.pixels, self._tiles[slot])
            self._valid[slot] = tile.valid(height, width)
            for values, value in zip(self._adjustments, adjustments, strict=True):
                values[slot] = value
            if maps is not None:
                self._cut_maps(maps, tile, height, width, slot)
            self._slots.append((job, tile))
            if len(self._slots) == self._engine.batch:
                self._start_batch()

    def finish(self) -> None:
        """Start the last batch, and wait until all batches are done."""
        if self._slots:
            self._start_batch()
        while self._running:
            self._collect()

    def _new_batch(self, dtype: np.dtype, window: int, maps: np.ndarray | None) -> None:
        # Every batch has arrays of its own: the device may still be reading the last ones.
        batch = self._engine.batch
        self._tiles = np.zeros((batch, window, window, 3), dtype)
        self._valid = np.zeros((batch, 4), np.int32)
        numbers = (np.zeros(batch, np.float32) for _ in range(3))
        self._adjustments = (np.zeros(batch, bool), *numbers)
        if maps is not None:
            # Neighbouring pixels lie at most 1/scale samples of the reduced image apart; the patch
            # begins up to one sample before the first pixel and ends up to one after the last.
            patch = (window - 1) // self._config.scale + 3
            self._maps = np.zeros((batch, patch, patch, maps.shape[-1]), np.float32)
            self._rows = np.zeros((batch, window), np.float32)
            self._columns = np.zeros((batch, window), np.float32)

    def _cut_maps(
        self,
        maps: Float[np.ndarray, "y x outputs"],
        tile: Tile,
        height: int,
        width: int,
        slot: int,
    ) -> None:
        """Give a tile the samples of the reduced curve maps that surround its pixels."""
        patch = self._maps.shape[1]
        top, left = tile.top - tile.halo, tile.left - tile.halo
        if self._config.levels > 1:
            scale = self._config.scale
            rows = neighbour_blocks(maps.shape[0], top // scale, patch - 2)
            columns = neighbour_blocks(maps.shape[1], left // scale, patch - 2)
            self._maps[slot] = maps[np.ix_(rows, columns)]
            return
        offsets = np.arange(tile.window)
        rows, columns = (
            resampling.up_positions(size, samples)[np.clip(first + offsets, 0, size - 1)]
            for size, samples, first in (
                (height, maps.shape[0], top),
                (width, maps.shape[1], left),
            )
        )
        y, x = int(rows[0]), int(columns[0])
        samples = maps[y : y + patch, x : x + patch]
        self._maps[slot, : samples.shape[0], : samples.shape[1]] = samples
        self._rows[slot] = rows - y
        self._columns[slot] = columns - x

    def _start_batch(self) -> None:
        engine = self._engine
        windows = (self._tiles, self._valid)
        how = (Adjustments(*self._adjustments), self._settings)
        if not self._config.two_passes:
            result = self._submit(engine.enhance, *windows, *how)
        elif self._config.levels > 1:
            result = self._submit(engine.apply_grid, *windows, self._maps, *how)
        else:
            positions = (self._rows, self._columns)
            result = self._submit(engine.apply, *windows, self._maps, *positions, *how)
        self._running.append((result, self._slots))
        self._slots = []
        # So many batches that no worker waits while this thread does.
        if len(self._running) > 4 * engine.workers:
            self._collect()

    def _collect(self) -> None:
        """Wait for the oldest batch, and paste its tiles into their images."""
        result, slots = self._running.popleft()
        for (job, tile), pixels in zip(slots, result.result(), strict=False):
            tile.paste(pixels[:, :, : job.enhanced.shape[2]], job.enhanced)
            job.missing -= tile.area(*job.enhanced.shape[:2])

    def _submit(self, compute: Callable[..., Any], *inputs: Any) -> Future[np.ndarray]:
        # The conversion waits for the device, on the worker.
        return self._pool.submit(lambda: np.asarray(compute(*inputs)))
