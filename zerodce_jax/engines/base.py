"""The interface of engines."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.enhancement import Adjustments

# NumPy, or JAX arrays that are still being computed.
Array = Any


class Batch(NamedTuple):
    """Tiles to enhance, and what an engine needs to know of each."""

    tiles: Shaped[np.ndarray, "batch window window 3"]
    """Tiles with their halo: uint8, uint16, or float32 in [0, 1]. The halo is `enhancement.reach`
    and, for networks that see images at full size, `Engine.halo` more."""
    valid: Int[np.ndarray, "batch 4"]
    """Bounds of the image in each window: first row and one past the last, first column and one
    past the last."""
    adjustments: Adjustments
    """Arrays of shape (batch,)."""
    maps: Float[np.ndarray, "batch patch patch outputs"] | None = None
    """The part of the reduced curve maps that each tile needs, or the whole bilateral grid, for
    networks that see images at a reduced size."""
    rows: Float[np.ndarray, "batch window"] | None = None
    """Position in `maps`, in samples, of each row of the window."""
    columns: Float[np.ndarray, "batch window"] | None = None
    """Position in `maps`, in samples, of each column of the window."""


@runtime_checkable
class Engine(Protocol):
    """Enhances batches of tiles with one network; several threads may call it at one time.

    Attributes:
        tile: Side of a tile without halo, in pixels.
        batch: Number of tiles in a batch.
        workers: Number of threads that call the engine at one time.
        halo: Pixels of surroundings that the network needs on every side.
        on_cpu: Whether it computes on the CPU, where `fused` may replace `enhance`.
    """

    tile: int
    batch: int
    workers: int
    halo: int
    on_cpu: bool

    def enhance(
        self, batch: Batch, settings: EnhanceSettings
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Return enhanced tiles without halo, of the type of the tiles."""
        ...

    def estimate(
        self, tiles: Float[np.ndarray, "batch window window 3"], valid: Int[np.ndarray, "batch 4"]
    ) -> Float[Array, "batch tile tile outputs"]:
        """Return the curve maps, in [-1, 1], of tiles of a reduced image.

        Args:
            tiles: Tiles with the halo of the network, in [0, 1].
            valid: The bounds of the reduced image in each window, as for `Batch`.
        """
        ...

    def predict_grid(
        self, thumbnail: Float[np.ndarray, "side side 3"]
    ) -> Float[Array, "cells cells outputs"]:
        """Return the bilateral grid that a scene network predicts for a thumbnail in [0, 1]."""
        ...
