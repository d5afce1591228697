"""Tiles of many images on their way through an engine, in batches that several images share."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings, SceneConfig
from zerodce_jax.engines import fused
from zerodce_jax.engines.analysis import Analyzer
from zerodce_jax.engines.base import Batch, Engine
from zerodce_jax.engines.tiling import Tile, tiles
from zerodce_jax.ops import resampling
from zerodce_jax.ops.enhancement import Adjustments, reach
from zerodce_jax.ops.grid import cell_positions
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
        config: AnyNetworkConfig,
        settings: EnhanceSettings,
        pool: ThreadPoolExecutor,
        smoothing: Smoothing | None = None,
    ) -> None:
        self._engine, self._config, self._settings = engine, config, settings
        self._pool = pool
        self._analyzer = Analyzer(engine, config, settings, self._submit, smoothing)
        # The halo of a tile: what the filters reach, and what the network sees unless it sees a
        # reduced copy.
        self._halo = reach(settings.steps, config.levels)
        if not config.two_passes:
            self._halo += engine.halo
        self._slots: list[tuple[Job, Tile]] = []
        # Enough work waits that no worker idles while this thread prepares the next.
        self._max_running = 4 * engine.workers
        # Work on its way, in order, and what to do with each result.
        self._running: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def add(self, job: Job) -> None:
        """Put the tiles of an image into batches, each of which starts once it is full."""
        adjustments, maps = self._analyzer.analyze(job.pixels, gray=job.gray, time=job.time)
        if self._engine.on_cpu and fused.is_usable(self._config):
            self._add_fused(job, adjustments, maps)
            return
        height, width = job.pixels.shape[:2]
        for tile in tiles(height, width, size=self._engine.tile, halo=self._halo):
            if self._slots and self._batch.tiles.dtype != job.pixels.dtype:
                self._start_batch()
            if not self._slots:
                self._batch = self._new_batch(job.pixels.dtype, tile.window, maps)
            slot, batch = len(self._slots), self._batch
            tile.cut(job.pixels, batch.tiles[slot])
            batch.valid[slot] = tile.valid(height, width)
            for values, value in zip(batch.adjustments, adjustments, strict=True):
                np.asarray(values)[slot] = value
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

    def _add_fused(
        self, job: Job, adjustments: Adjustments, maps: Float[np.ndarray, "y x outputs"] | None
    ) -> None:
        """Enhance an image with the fused pass, which reads and writes whole images in place."""
        assert isinstance(self._config, SceneConfig)
        assert maps is not None
        height, width = job.pixels.shape[:2]
        places = list(tiles(height, width, size=fused.TILE, halo=0))
        # Afterwards the caller may reuse its array for the next image. Small images are copied, so
        # that no worker idles until then; of large ones, most tiles are done by the end.
        is_small = len(places) <= self._max_running
        pixels = job.pixels.copy() if is_small else job.pixels
        compute = fused.FusedPass(
            pixels, job.enhanced, maps, adjustments, self._settings, self._config
        )
        for tile in places:
            self._start(partial(_done, job, tile.area(height, width)), compute, tile)
        while job.missing and not is_small:
            self._collect()

    def _new_batch(self, dtype: np.dtype, window: int, maps: np.ndarray | None) -> Batch:
        # Every batch has arrays of its own: the device may still be reading the last ones.
        def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
            return np.zeros((self._engine.batch, *shape), dtype)

        tiles, valid = zeros(window, window, 3, dtype=dtype), zeros(4, dtype=np.int32)
        adjustments = Adjustments(zeros(dtype=bool), *(zeros() for _ in Adjustments._fields[1:]))
        if maps is None:
            return Batch(tiles, valid, adjustments)
        if isinstance(self._config, SceneConfig):
            patch = self._config.cells
        else:
            # Neighboring pixels lie at most 1/scale samples of the reduced image apart; the patch
            # begins up to one sample before the first pixel and ends up to one after the last.
            patch = (window - 1) // self._config.scale + 3
        patches = zeros(patch, patch, maps.shape[-1])
        return Batch(tiles, valid, adjustments, patches, zeros(window), zeros(window))

    def _cut_maps(
        self,
        maps: Float[np.ndarray, "y x outputs"],
        tile: Tile,
        height: int,
        width: int,
        slot: int,
    ) -> None:
        """Give a tile the samples of the reduced curve maps that surround its pixels.

        A bilateral grid is so small that each tile gets all of it.
        """
        patches, rows, columns = self._batch.maps, self._batch.rows, self._batch.columns
        assert patches is not None and rows is not None and columns is not None  # noqa: PT018
        patch = patches.shape[1]
        top, left = tile.top - tile.halo, tile.left - tile.halo
        offsets = np.arange(tile.window)
        places = ((top, height, maps.shape[0], rows), (left, width, maps.shape[1], columns))
        starts = []
        for first, size, samples, positions in places:
            seen = np.clip(first + offsets, 0, size - 1)
            if isinstance(self._config, SceneConfig):
                at = cell_positions(size, samples)[seen]
                starts.append(0)
            else:
                at = resampling.up_positions(size, samples)[seen]
                starts.append(int(at[0]))
            positions[slot] = at - starts[-1]
        y, x = starts
        part = maps[y : y + patch, x : x + patch]
        patches[slot, : part.shape[0], : part.shape[1]] = part

    def _start_batch(self) -> None:
        self._start(partial(_paste, self._slots), self._engine.enhance, self._batch, self._settings)
        self._slots = []

    def _start(
        self, finish: Callable[[Any], None], compute: Callable[..., Any], *inputs: Any
    ) -> None:
        """Start work on a worker; `finish` will receive its result on this thread."""
        self._running.append((self._submit(compute, *inputs), finish))
        if len(self._running) > self._max_running:
            self._collect()

    def _collect(self) -> None:
        """Wait for the oldest work, and finish it."""
        future, finish = self._running.popleft()
        finish(future.result())

    def _submit(self, compute: Callable[..., Any], *inputs: Any) -> Future[np.ndarray]:
        # The conversion waits for the device, on the worker.
        return self._pool.submit(lambda: np.asarray(compute(*inputs)))


def _paste(slots: list[tuple[Job, Tile]], batch: Shaped[np.ndarray, "batch tile tile 3"]) -> None:
    """Copy the tiles of a finished batch into their images."""
    for (job, tile), pixels in zip(slots, batch, strict=False):
        tile.paste(pixels[:, :, : job.enhanced.shape[2]], job.enhanced)
        job.missing -= tile.area(*job.enhanced.shape[:2])


def _done(job: Job, area: int, _: object) -> None:
    """Count pixels of an image that are written."""
    job.missing -= area
