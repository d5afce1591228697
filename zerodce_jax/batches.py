"""Tiles of many images on their way through an engine, in batches that several images share."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax import resampling
from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.grid import block_means, surroundings
from zerodce_jax.tiling import Tile, tiles


@runtime_checkable
class Engine(Protocol):
    """What turns batches of tiles into batches of enhanced tiles; `engine.XlaEngine` documents it.

    Its methods may run in several threads at one time.
    """

    tile: int
    batch: int
    workers: int
    halo: int

    def enhance(self, tiles: Any, valid: Any, gray: Any, settings: EnhanceSettings) -> Any:
        """Estimate curves and apply them."""
        ...

    def estimate(self, tiles: Any, valid: Any) -> Any:
        """Estimate curve maps alone."""
        ...

    def apply(
        self, tiles: Any, maps: Any, rows: Any, columns: Any, gray: Any, settings: EnhanceSettings
    ) -> Any:
        """Bring reduced curve maps up to size and apply them."""
        ...

    def apply_grid(self, tiles: Any, maps: Any, gray: Any, settings: EnhanceSettings) -> Any:
        """Read curve maps out of a bilateral grid and apply them."""
        ...


@dataclass
class Job:
    """One image on its way through the engine."""

    pixels: Shaped[np.ndarray, "h w 3"]
    """uint8, uint16, or float32 in [0, 1]."""
    gray: bool
    """Whether the three channels are one gray image."""
    enhanced: Shaped[np.ndarray, "h w c"]
    """Filled tile by tile; gray images have one channel."""
    missing: int
    """Pixels of `enhanced` still to come."""
    maps: Float[np.ndarray, "y x outputs"] | None = None
    """Curve maps at a reduced size, for networks that estimate curves there."""


class Batches:
    """Fills batches with tiles of images, and keeps all of an engine's workers busy.

    Args:
        engine: What computes.
        config: Its network.
        settings: How to apply the curves.
        pool: As many threads as the engine has workers.
    """

    def __init__(
        self,
        engine: Engine,
        config: NetworkConfig,
        settings: EnhanceSettings,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._engine, self._config, self._settings = engine, config, settings
        self._pool = pool
        self._slots: list[tuple[Job, Tile]] = []
        self._running: deque[tuple[Future[np.ndarray], list[tuple[Job, Tile]]]] = deque()

    def add(self, job: Job) -> None:
        """Put the tiles of an image into batches, each sent off once it is full."""
        if self._config.two_passes:
            job.maps = self._estimate(job.pixels)
        height, width = job.pixels.shape[:2]
        halo = 0 if self._config.two_passes else self._engine.halo
        for tile in tiles(height, width, size=self._engine.tile, halo=halo):
            if self._slots and self._tiles.dtype != job.pixels.dtype:
                self._send()
            if not self._slots:
                self._new_batch(job, tile.window)
            slot = len(self._slots)
            tile.cut(job.pixels, self._tiles[slot])
            self._gray[slot] = job.gray
            self._valid[slot] = tile.valid(height, width)
            if job.maps is not None:
                self._cut_maps(job.maps, tile, height, width, slot)
            self._slots.append((job, tile))
            if len(self._slots) == self._engine.batch:
                self._send()

    def finish(self) -> None:
        """Send off what is left and wait for everything."""
        if self._slots:
            self._send()
        while self._running:
            self._collect()

    def _estimate(self, pixels: Shaped[np.ndarray, "h w 3"]) -> Float[np.ndarray, "y x outputs"]:
        """Estimate the curve maps of a whole image at the network's scale."""
        config, engine = self._config, self._engine
        if config.levels > 1:
            # In bands of whole blocks, one for each worker.
            band = -(-pixels.shape[0] // (engine.workers * config.scale)) * config.scale
            means = [
                self._run(block_means, pixels[top : top + band], config.scale)
                for top in range(0, pixels.shape[0], band)
            ]
            reduced = np.concatenate([each.result() for each in means])
        else:
            reduced = resampling.resample(
                pixels,
                resampling.down_positions(pixels.shape[0], config.scale),
                resampling.down_positions(pixels.shape[1], config.scale),
            )
        if pixels.dtype.kind == "u":
            reduced /= np.iinfo(pixels.dtype).max
        height, width = reduced.shape[:2]
        maps = np.empty((height, width, config.outputs), np.float32)
        places = list(tiles(height, width, size=engine.tile, halo=engine.halo))
        running = []
        for start in range(0, len(places), engine.batch):
            some = places[start : start + engine.batch]
            windows = np.zeros((engine.batch, some[0].window, some[0].window, 3), np.float32)
            valid = np.zeros((engine.batch, 4), np.int32)
            for slot, tile in enumerate(some):
                tile.cut(reduced, windows[slot])
                valid[slot] = tile.valid(height, width)
            running.append((some, self._run(engine.estimate, windows, valid)))
        for some, results in running:
            for tile, result in zip(some, results.result(), strict=False):
                tile.paste(result, maps)
        return maps

    def _new_batch(self, job: Job, window: int) -> None:
        # Fresh arrays for each batch: the device may still be reading the last ones.
        batch, tile = self._engine.batch, self._engine.tile
        self._tiles = np.zeros((batch, window, window, 3), job.pixels.dtype)
        self._valid = np.zeros((batch, 4), np.int32)
        self._gray = np.zeros(batch, bool)
        if job.maps is not None:
            # Neighbouring pixels lie at most 1/scale samples of the reduced image apart; the patch
            # begins up to one sample before the first pixel and ends up to one after the last.
            patch = (tile - 1) // self._config.scale + 3
            self._maps = np.zeros((batch, patch, patch, job.maps.shape[-1]), np.float32)
            self._rows = np.zeros((batch, tile), np.float32)
            self._columns = np.zeros((batch, tile), np.float32)

    def _cut_maps(self, maps: np.ndarray, tile: Tile, height: int, width: int, slot: int) -> None:
        """Give a tile the samples of the reduced curve maps that surround its pixels."""
        patch = self._maps.shape[1]
        if self._config.levels > 1:
            scale = self._config.scale
            rows = surroundings(maps.shape[0], tile.top // scale, patch - 2)
            columns = surroundings(maps.shape[1], tile.left // scale, patch - 2)
            self._maps[slot] = maps[np.ix_(rows, columns)]
            return
        rows = resampling.up_positions(height, maps.shape[0])[tile.top : tile.top + tile.size]
        columns = resampling.up_positions(width, maps.shape[1])[tile.left : tile.left + tile.size]
        y, x = int(rows[0]), int(columns[0])
        some = maps[y : y + patch, x : x + patch]
        self._maps[slot, : some.shape[0], : some.shape[1]] = some
        self._rows[slot, : len(rows)] = rows - y
        self._columns[slot, : len(columns)] = columns - x

    def _send(self) -> None:
        engine, settings = self._engine, self._settings
        if not self._config.two_passes:
            result = self._run(engine.enhance, self._tiles, self._valid, self._gray, settings)
        elif self._config.levels > 1:
            result = self._run(engine.apply_grid, self._tiles, self._maps, self._gray, settings)
        else:
            places = (self._maps, self._rows, self._columns)
            result = self._run(engine.apply, self._tiles, *places, self._gray, settings)
        self._running.append((result, self._slots))
        self._slots = []
        # Enough in hand that no worker waits while this thread does.
        if len(self._running) > 4 * engine.workers:
            self._collect()

    def _collect(self) -> None:
        result, slots = self._running.popleft()
        for (job, tile), pixels in zip(slots, result.result(), strict=False):
            tile.paste(pixels[:, :, : job.enhanced.shape[2]], job.enhanced)
            job.missing -= tile.area(*job.enhanced.shape[:2])

    def _run(self, compute: Callable[..., Any], *inputs: Any) -> "Future[np.ndarray]":
        # Waiting for the device is the worker's part too.
        return self._pool.submit(lambda: np.asarray(compute(*inputs)))
