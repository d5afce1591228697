"""Tiles of many images on their way through an engine, in batches that several images share."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.engines.base import Engine
from zerodce_jax.engines.tiling import PerTile, Tile, tiles
from zerodce_jax.ops import exposure, highlights, resampling, temporal
from zerodce_jax.ops.denoise import resolve_denoise
from zerodce_jax.ops.grid import at_brightness, block_means, blocks, evenly, surroundings
from zerodce_jax.ops.guided_filter import REACH


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
    strength: float = 1.0
    """Factor on its curve maps."""
    protection: float = 0.0
    """Of its highlights, in [0, 1]."""
    denoise: float = 0.0
    """How strongly its noise is held down, in [0, 1]."""
    maps: Float[np.ndarray, "y x outputs"] | None = None
    """Curve maps at a reduced size, for networks that estimate curves there."""
    time: float = 0.0
    """When it is shown, in seconds, if it is a frame of a video."""


class Batches:
    """Fills batches with tiles of images, and keeps all of an engine's workers busy.

    Args:
        engine: What computes.
        config: Its network.
        settings: How to apply the curves.
        pool: As many threads as the engine has workers.
        smoothing: Of the light over time, if the images are the frames of a video.
    """

    def __init__(
        self,
        engine: Engine,
        config: NetworkConfig,
        settings: EnhanceSettings,
        pool: ThreadPoolExecutor,
        smoothing: temporal.Smoothing | None = None,
    ) -> None:
        self._engine, self._config, self._settings = engine, config, settings
        self._pool, self._smoothing = pool, smoothing
        # What tiles bring along of their surroundings: what the network sees of them, unless it
        # looks at a reduced copy, and what filters do; for a grid in whole blocks.
        self._halo = REACH * settings.filters
        if not config.two_passes:
            self._halo += engine.halo
        elif config.levels > 1:
            self._halo = blocks(self._halo, config.scale) * config.scale
        self._slots: list[tuple[Job, Tile]] = []
        self._running: deque[tuple[Future[np.ndarray], list[tuple[Job, Tile]]]] = deque()

    def add(self, job: Job) -> None:
        """Put the tiles of an image into batches, each sent off once it is full."""
        self._analyze(job)
        height, width = job.pixels.shape[:2]
        for tile in tiles(height, width, size=self._engine.tile, halo=self._halo):
            if self._slots and self._tiles.dtype != job.pixels.dtype:
                self._send()
            if not self._slots:
                self._new_batch(job, tile.window)
            slot = len(self._slots)
            tile.cut(job.pixels, self._tiles[slot])
            for name, values in self._each._asdict().items():
                values[slot] = getattr(job, name)
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

    def _analyze(self, job: Job) -> None:
        """Look at an image as a whole: for its light, and for maps of a reduced size."""
        config, settings, smoothing = self._config, self._settings, self._smoothing
        pixels, reduced, maps = job.pixels, None, None
        if config.two_passes:
            reduced = self._reduced(pixels)
            job.maps = maps = self._estimate(reduced)
        job.strength = settings.strength
        job.denoise = resolve_denoise(pixels, settings)
        if settings.level is None and not settings.protect_highlights and smoothing is None:
            return
        # Pixels, not means of blocks: bright and dark ones make a difference.
        step = blocks(max(pixels.shape[:2]), exposure.THUMBNAIL)
        places = _places(pixels, step)
        samples = pixels[np.ix_(*places)] / np.float32(_top(pixels))
        job.protection = settings.protect_highlights * highlights.presence(samples)
        if settings.level is None and smoothing is None:
            return
        if maps is None or reduced is None:
            reduced = self._means(pixels, step)
            maps = self._estimate(reduced)
        job.strength *= exposure.strength(
            samples,
            self._maps_at(maps, places, pixels, samples),
            settings,
            protection=job.protection,
            iterations=config.iterations,
        )
        if smoothing is not None:
            light = temporal.FrameAdjustments(maps, job.strength, job.protection, job.denoise)
            light = smoothing.smooth(job.time, reduced, light, partial(self._response, pixels))
            job.strength, job.protection = light.strength, light.protection
            job.denoise = light.denoise
            job.maps = light.maps if config.two_passes else None

    def _response(
        self, pixels: Shaped[np.ndarray, "h w 3"], light: temporal.FrameAdjustments
    ) -> exposure.Response:
        """How bright a frame becomes, measured on more samples than a picture is."""
        places = _places(pixels, blocks(max(pixels.shape[:2]), temporal.SAMPLES))
        samples = pixels[np.ix_(*places)] / np.float32(_top(pixels))
        return exposure.Response(
            samples,
            self._maps_at(light.maps, places, pixels, samples),
            gamma=self._settings.gamma,
            protection=light.protection,
            iterations=self._config.iterations,
        )

    def _maps_at(
        self,
        maps: Float[np.ndarray, "y x outputs"],
        places: list[np.ndarray],
        pixels: Shaped[np.ndarray, "h w 3"],
        samples: Float[np.ndarray, "rows columns 3"],
    ) -> Float[np.ndarray, "rows columns maps"]:
        """The curve maps of samples, however few maps there are: each takes those of its block."""
        nearest = [
            at * count // size
            for at, count, size in zip(places, maps.shape[:2], pixels.shape[:2], strict=True)
        ]
        maps = maps[np.ix_(*nearest)]
        levels = self._config.levels
        return at_brightness(maps, samples, levels) if levels > 1 else maps

    def _reduced(self, pixels: Shaped[np.ndarray, "h w 3"]) -> Float[np.ndarray, "y x 3"]:
        """The copy of an image that a network looks at, in [0, 1]."""
        scale = self._config.scale
        if self._config.levels > 1:
            return self._means(pixels, scale)
        rows, columns = (resampling.down_positions(size, scale) for size in pixels.shape[:2])
        return resampling.resample(pixels, rows, columns) / _top(pixels)

    def _means(self, pixels: Shaped[np.ndarray, "h w 3"], side: int) -> Float[np.ndarray, "y x 3"]:
        """Means of blocks, in [0, 1]: in bands of whole blocks, one for each worker."""
        band = -(-pixels.shape[0] // (self._engine.workers * side)) * side
        means = [
            self._run(block_means, pixels[top : top + band], side)
            for top in range(0, pixels.shape[0], band)
        ]
        return np.concatenate([each.result() for each in means]) / _top(pixels)

    def _estimate(self, reduced: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y x outputs"]:
        """The curve maps of a reduced image."""
        config, engine = self._config, self._engine
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
        batch = self._engine.batch
        self._tiles = np.zeros((batch, window, window, 3), job.pixels.dtype)
        self._valid = np.zeros((batch, 4), np.int32)
        numbers = (np.zeros(batch, np.float32) for _ in range(3))
        self._each = PerTile(np.zeros(batch, bool), *numbers)
        if job.maps is not None:
            # Neighbouring pixels lie at most 1/scale samples of the reduced image apart; the patch
            # begins up to one sample before the first pixel and ends up to one after the last.
            patch = (window - 1) // self._config.scale + 3
            self._maps = np.zeros((batch, patch, patch, job.maps.shape[-1]), np.float32)
            self._rows = np.zeros((batch, window), np.float32)
            self._columns = np.zeros((batch, window), np.float32)

    def _cut_maps(self, maps: np.ndarray, tile: Tile, height: int, width: int, slot: int) -> None:
        """Give a tile the samples of the reduced curve maps that surround its pixels."""
        patch = self._maps.shape[1]
        top, left = tile.top - tile.halo, tile.left - tile.halo
        if self._config.levels > 1:
            scale = self._config.scale
            rows = surroundings(maps.shape[0], top // scale, patch - 2)
            columns = surroundings(maps.shape[1], left // scale, patch - 2)
            self._maps[slot] = maps[np.ix_(rows, columns)]
            return
        at = np.arange(tile.window)
        rows, columns = (
            resampling.up_positions(size, samples)[np.clip(first + at, 0, size - 1)]
            for size, samples, first in (
                (height, maps.shape[0], top),
                (width, maps.shape[1], left),
            )
        )
        y, x = int(rows[0]), int(columns[0])
        some = maps[y : y + patch, x : x + patch]
        self._maps[slot, : some.shape[0], : some.shape[1]] = some
        self._rows[slot] = rows - y
        self._columns[slot] = columns - x

    def _send(self) -> None:
        engine = self._engine
        windows = (self._tiles, self._valid)
        rest = (self._each, self._settings)
        if not self._config.two_passes:
            result = self._run(engine.enhance, *windows, *rest)
        elif self._config.levels > 1:
            result = self._run(engine.apply_grid, *windows, self._maps, *rest)
        else:
            places = (self._maps, self._rows, self._columns)
            result = self._run(engine.apply, *windows, *places, *rest)
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


def _places(pixels: np.ndarray, step: int) -> list[np.ndarray]:
    """Rows and columns of samples, one for each block of so many pixels."""
    return [evenly(size, blocks(size, step)) for size in pixels.shape[:2]]


def _top(pixels: np.ndarray) -> float:
    return float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
