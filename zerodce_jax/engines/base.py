"""What engines have in common."""

from typing import Any, Protocol, runtime_checkable

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines.tiling import PerTile


@runtime_checkable
class Engine(Protocol):
    """What turns batches of tiles into batches of enhanced tiles; `xla.XlaEngine` documents it.

    Its methods may run in several threads at one time.
    """

    tile: int
    batch: int
    workers: int
    halo: int

    def enhance(
        self,
        tiles: Any,
        valid: Any,
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Any:
        """Estimate curves and apply them."""
        ...

    def estimate(self, tiles: Any, valid: Any) -> Any:
        """Estimate curve maps alone."""
        ...

    def apply(
        self,
        tiles: Any,
        valid: Any,
        maps: Any,
        rows: Any,
        columns: Any,
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Any:
        """Bring reduced curve maps up to size and apply them."""
        ...

    def apply_grid(
        self,
        tiles: Any,
        valid: Any,
        maps: Any,
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Any:
        """Read curve maps out of a bilateral grid and apply them."""
        ...
