"""Decide the adjustments of an image as a whole: exposure, highlight protection, denoising."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings, NetworkConfig, SceneConfig
from zerodce_jax.engines.base import Engine
from zerodce_jax.engines.tiling import tiles
from zerodce_jax.ops import exposure, resampling, temporal
from zerodce_jax.ops.denoise import resolve_denoise
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.grid import (
    area_weights,
    block_means,
    blocks,
    cell_positions,
    evenly_spaced,
    reduce_rows,
)
from zerodce_jax.ops.highlights import highlight_presence, light_presence
from zerodce_jax.ops.pixels import max_value, rounding_step

Submit = Callable[..., Future[np.ndarray]]
"""Runs a function on a worker, and returns a future of its result."""


class Analyzer:
    """Decides the adjustments of each image, and estimates curve maps at a reduced size.

    Args:
        engine: Computes the curve maps.
        config: The engine's network.
        settings: How to enhance.
        submit: Starts computations on the engine's workers.
        smoothing: The smoothing over time, if the images are the frames of a video.
    """

    def __init__(
        self,
        engine: Engine,
        config: AnyNetworkConfig,
        settings: EnhanceSettings,
        submit: Submit,
        smoothing: temporal.Smoothing | None,
    ) -> None:
        if isinstance(config, SceneConfig) and settings.exposure == "auto":
            # The network decides the exposure itself.
            settings = settings.changed(exposure="off")
        self._engine, self._config, self._settings = engine, config, settings
        self._submit, self._smoothing = submit, smoothing

    def analyze(
        self, pixels: Shaped[np.ndarray, "h w 3"], *, gray: bool, time: float
    ) -> tuple[Adjustments, Float[np.ndarray, "y x outputs"] | None]:
        """Decide how to enhance an image.

        Args:
            pixels: The image: uint8, uint16, or float32 in [0, 1].
            gray: Whether the three channels are one gray image.
            time: When the image is shown, in seconds, if it is a frame of a video.

        Returns:
            The adjustments, as numbers, and the curve maps of the reduced image, or None for
            networks that see images at full size.
        """
        config, settings, smoothing = self._config, self._settings, self._smoothing
        reduced = maps = None
        presence = 0.0
        if isinstance(config, SceneConfig):
            thumbnail = self._thumbnail(pixels, config.thumbnail)
            maps = np.asarray(self._engine.predict_grid(thumbnail))
            reduced = block_means(thumbnail, config.thumbnail // config.cells)
            presence = light_presence(float(thumbnail.max()))
        elif config.two_passes:
            reduced = self._reduced(pixels)
            maps = self._estimate(reduced)
        strength = settings.strength
        step = blocks(max(pixels.shape[:2]), exposure.THUMBNAIL)
        if maps is None and (settings.level is not None or smoothing is not None):
            reduced = self._block_means(pixels, step)
        thumbnail_maps = self._estimate(reduced) if maps is None and reduced is not None else maps
        # Single pixels are sampled: means of blocks would hide bright and dark ones.
        places, samples = _sample(pixels, step)
        if not isinstance(config, SceneConfig):
            presence = highlight_presence(samples)
        protection = settings.protect_highlights * presence
        if settings.level is not None:
            assert thumbnail_maps is not None
            strength *= exposure.exposure_strength(
                samples,
                self._maps_at(thumbnail_maps, places, pixels),
                settings,
                highlight_protection=protection,
                iterations=config.iterations,
                levels=config.levels,
            )
        adjustments = Adjustments(
            gray,
            strength,
            protection,
            resolve_denoise(pixels, settings),
            rounding_step(pixels.dtype),
            presence,
        )
        if smoothing is None or reduced is None or thumbnail_maps is None:
            return adjustments, maps
        alone = temporal.FrameAdjustments(thumbnail_maps, adjustments)
        smoothed = smoothing.smooth(time, reduced, alone, partial(self._response, pixels))
        return smoothed.adjustments, smoothed.maps if config.two_passes else None

    def _response(
        self, pixels: Shaped[np.ndarray, "h w 3"], frame: temporal.FrameAdjustments
    ) -> exposure.Response:
        """Return the response of a frame, measured on more samples than an image's exposure."""
        places, samples = _sample(pixels, blocks(max(pixels.shape[:2]), temporal.SAMPLES))
        respond = partial(
            exposure.Response,
            samples,
            gamma=self._settings.gamma,
            highlight_protection=float(frame.adjustments.highlight_protection),
            iterations=self._config.iterations,
        )
        if not isinstance(self._config, SceneConfig):
            return respond(self._maps_at(frame.maps, places, pixels))
        rows, columns = (
            cell_positions(size, self._config.cells)[at]
            for at, size in zip(places, pixels.shape[:2], strict=True)
        )
        # Matrix products would be as fast, but their threads wait for each other on a busy machine.
        upsample = partial(resampling.resample, rows=rows, columns=columns)
        return respond(frame.maps, levels=self._config.levels, upsample=upsample)

    def _maps_at(
        self,
        maps: Float[np.ndarray, "y x outputs"],
        places: list[np.ndarray],
        pixels: Shaped[np.ndarray, "h w 3"],
    ) -> Float[np.ndarray, "rows columns outputs"]:
        """Return the curve maps of samples of an image: of the nearest place, or from the grid."""
        axes = list(zip(places, maps.shape[:2], pixels.shape[:2], strict=True))
        if isinstance(self._config, SceneConfig):
            rows, columns = (cell_positions(size, count)[at] for at, count, size in axes)
            return resampling.resample(maps, rows, columns)
        return maps[np.ix_(*(at * count // size for at, count, size in axes))]

    def _thumbnail(
        self, pixels: Shaped[np.ndarray, "h w 3"], side: int
    ) -> Float[np.ndarray, "side side 3"]:
        """Return what a scene network sees, in [0, 1]: means over equal shares of the image."""
        height, width = pixels.shape[:2]
        weights = _area_weights(height, side) / np.float32(max_value(pixels.dtype))
        parts = [
            self._submit(reduce_rows, pixels, part)
            for part in np.array_split(weights, self._engine.workers)
        ]
        rows = np.concatenate([future.result() for future in parts])
        columns = reduce_rows(rows.swapaxes(0, 1), _area_weights(width, side))
        return np.ascontiguousarray(columns.swapaxes(0, 1))

    def _reduced(self, pixels: Shaped[np.ndarray, "h w 3"]) -> Float[np.ndarray, "y x 3"]:
        """Return the copy of an image that a `DCENet` sees, in [0, 1]."""
        assert isinstance(self._config, NetworkConfig)
        scale = self._config.scale
        rows, columns = (resampling.down_positions(size, scale) for size in pixels.shape[:2])
        return resampling.resample(pixels, rows, columns) / float(max_value(pixels.dtype))

    def _block_means(
        self, pixels: Shaped[np.ndarray, "h w 3"], side: int
    ) -> Float[np.ndarray, "y x 3"]:
        """Return means of blocks, in [0, 1], computed in one band of the image for each worker."""
        band = -(-pixels.shape[0] // (self._engine.workers * side)) * side
        means = [
            self._submit(block_means, pixels[top : top + band], side)
            for top in range(0, pixels.shape[0], band)
        ]
        whole = np.concatenate([future.result() for future in means])
        return whole / float(max_value(pixels.dtype))

    def _estimate(self, reduced: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y x outputs"]:
        """Return the curve maps of a reduced image."""
        config, engine = self._config, self._engine
        height, width = reduced.shape[:2]
        maps = np.empty((height, width, config.outputs), np.float32)
        places = list(tiles(height, width, size=engine.tile, halo=engine.halo))
        running = []
        for start in range(0, len(places), engine.batch):
            batch = places[start : start + engine.batch]
            windows = np.zeros((engine.batch, batch[0].window, batch[0].window, 3), np.float32)
            valid = np.zeros((engine.batch, 4), np.int32)
            for slot, tile in enumerate(batch):
                tile.cut(reduced, windows[slot])
                valid[slot] = tile.valid(height, width)
            running.append((batch, self._submit(engine.estimate, windows, valid)))
        for batch, future in running:
            for tile, result in zip(batch, future.result(), strict=False):
                tile.paste(result, maps)
        return maps


@lru_cache(maxsize=8)
def _area_weights(size: int, count: int) -> Float[np.ndarray, "count size"]:
    """Return `grid.area_weights`, which the images of one size share."""
    weights = area_weights(size, count)
    weights.flags.writeable = False
    return weights


def _sample(
    pixels: Shaped[np.ndarray, "h w 3"], step: int
) -> tuple[list[np.ndarray], Float[np.ndarray, "rows columns 3"]]:
    """Return one pixel of each block of an image: their rows and columns, and values in [0, 1]."""
    places = [evenly_spaced(size, blocks(size, step)) for size in pixels.shape[:2]]
    samples: Any = pixels[np.ix_(*places)] / np.float32(max_value(pixels.dtype))
    return places, samples
