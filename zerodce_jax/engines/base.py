"""The interface of engines."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.enhancement import Adjustments

# NumPy, or JAX arrays that are still being computed.
Array = Any


@runtime_checkable
class Engine(Protocol):
    """Turns batches of tiles into batches of enhanced tiles, with one network.

    A window is a tile with its halo. The bounds of a window (``valid``) are its rows and columns
    inside the image: first row and one past the last, first column and one past the last. Pixels
    are uint8, uint16, or float32 in [0, 1]; results have their type. Several threads may call an
    engine at one time.

    Attributes:
        tile: Side of a tile without halo, in pixels.
        batch: Number of tiles in a batch.
        workers: Number of batches to keep in work at one time.
        halo: Pixels of surroundings that the network needs on every side.
    """

    tile: int
    batch: int
    workers: int
    halo: int

    def enhance(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        adjustments: Adjustments,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Estimate curve maps and apply them, for networks that see images at full size.

        Args:
            tiles: Windows with the halo of the network, and `enhancement.reach` more.
            valid: The bounds of each window.
            adjustments: Arrays of shape (batch,).
            settings: How to apply the curves.

        Returns:
            Enhanced tiles without halo.
        """
        ...

    def estimate(
        self,
        tiles: Float[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
    ) -> Float[Array, "batch tile tile outputs"]:
        """Estimate curve maps alone.

        Args:
            tiles: Windows of the reduced image with the halo of the network, in [0, 1].
            valid: The bounds of each window in the reduced image.

        Returns:
            Curve maps without halo, in [-1, 1].
        """
        ...

    def apply(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        maps: Float[np.ndarray, "batch patch patch maps"],
        rows: Float[np.ndarray, "batch window"],
        columns: Float[np.ndarray, "batch window"],
        adjustments: Adjustments,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Upsample curve maps of the reduced image as Zero-DCE++ does, and apply them.

        Args:
            tiles: Windows with a halo of `enhancement.reach`.
            valid: The bounds of each window.
            maps: For each tile, the patch of the reduced curve maps that it needs.
            rows: The position in the patch, in samples, of each row of the window.
            columns: The position in the patch, in samples, of each column of the window.
            adjustments: Arrays of shape (batch,).
            settings: How to apply the curves.

        Returns:
            Enhanced tiles without halo.
        """
        ...

    def apply_grid(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        maps: Float[np.ndarray, "batch patch patch outputs"],
        adjustments: Adjustments,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Read curve maps from a bilateral grid, and apply them.

        Args:
            tiles: Windows with a halo of at least `enhancement.reach`, in whole blocks.
            valid: The bounds of each window.
            maps: For each tile, its blocks of the grid with one more on each side.
            adjustments: Arrays of shape (batch,).
            settings: How to apply the curves.

        Returns:
            Enhanced tiles without halo.
        """
        ...
