"""The fused pass: scene networks on CPUs, from pixels to pixels in C++.

The pass reads the grid, applies the curves, denoises and rounds one rectangle of an image at a
time, and keeps what lies between in the cache. It is defined by `ops.enhancement`, and agrees with
it to one level of 8 bits. The package ``zerodce-native`` (folder ``native/``) holds it; without
this package, the engines compute the same in more passes.
"""

from importlib.util import find_spec

import numpy as np
from jaxtyping import Float, Shaped

from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings, SceneConfig
from zerodce_jax.engines.tiling import Tile
from zerodce_jax.ops.curves import scale_maps
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.grid import limit_levels
from zerodce_jax.ops.highlights import protect_levels

TILE = 512
"""Side of a tile, in pixels: its intermediate values fit into the cache of one core."""


def is_usable(config: AnyNetworkConfig) -> bool:
    """Return whether the package is installed, and the network is one that it can run."""
    return isinstance(config, SceneConfig) and find_spec("zerodce_native") is not None


class FusedPass:
    """The pass over one image; several threads may call it at one time.

    Args:
        pixels: The image: uint8, uint16, or float32 in [0, 1]. It must not change while tiles are
            computed.
        enhanced: Its result, of the same type; one channel for a gray image.
        grid: The bilateral grid that the network predicted, in [-1, 1].
        adjustments: The decisions for the image.
        settings: How to enhance.
        config: The network.
    """

    def __init__(
        self,
        pixels: Shaped[np.ndarray, "h w 3"],
        enhanced: Shaped[np.ndarray, "h w c"],
        grid: Float[np.ndarray, "cells cells outputs"],
        adjustments: Adjustments,
        settings: EnhanceSettings,
        config: SceneConfig,
    ) -> None:
        import zerodce_native

        self._compute = zerodce_native.enhance
        # The rows of a view, and arrays from within a buffer, may begin anywhere in memory.
        self._pixels = np.require(pixels[:, :, : enhanced.shape[2]], requirements=["C", "ALIGNED"])
        self._enhanced = enhanced
        self._grid = _differences(grid, adjustments, settings, config)
        self._options = {
            "iterations": config.iterations,
            "denoise": settings.steps.denoise,
            "strength": float(adjustments.denoise),
            "rounding": float(adjustments.rounding),
            "black": float(adjustments.black),
            "gamma": settings.gamma,
        }

    def __call__(self, tile: Tile) -> None:
        """Enhance the pixels of a tile."""
        height, width = self._pixels.shape[:2]
        bottom, right = min(tile.top + tile.size, height), min(tile.left + tile.size, width)
        box = (tile.top, tile.left, bottom, right)
        self._compute(self._pixels, self._enhanced, box, self._grid, **self._options)


def _differences(
    grid: Float[np.ndarray, "cells cells outputs"],
    adjustments: Adjustments,
    settings: EnhanceSettings,
    config: SceneConfig,
) -> Float[np.ndarray, "cells cells levels 3"]:
    """Return the limited maps of the lowest level, and their change from each level to the next."""
    maps = scale_maps(grid, adjustments.strength)
    if settings.steps.protect_highlights:
        protection = adjustments.highlight_protection
        maps = protect_levels(maps, protection, levels=config.levels, iterations=config.iterations)
    levels = np.stack(limit_levels(maps, config.levels), axis=2)
    return np.ascontiguousarray(np.diff(levels, axis=2, prepend=0), np.float32)
