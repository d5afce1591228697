"""Training: from photographs to networks. Call `fit`."""

from typing import TYPE_CHECKING, Any

from zerodce_jax.errors import require_training

if TYPE_CHECKING:
    from zerodce_jax.training.loop import fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    # A process must join the others before JAX is used, and the loop imports much of JAX.
    if name == "fit":
        require_training("training")
        from zerodce_jax.training.loop import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
