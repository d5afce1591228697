"""zerodce_jax: light up dark photographs with a tiny network in JAX.

from zerodce_jax import Enhancer
bright = Enhancer.load("reduced")(image)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings, NetworkConfig
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.errors import InputError, UsageError
    from zerodce_jax.models.network import Network

__all__ = ["EnhanceSettings", "Enhancer", "InputError", "Network", "NetworkConfig", "UsageError"]

_HOMES = {
    "EnhanceSettings": "config",
    "Enhancer": "enhancer",
    "InputError": "errors",
    "Network": "models.serialization",
    "NetworkConfig": "config",
    "UsageError": "errors",
}


def __getattr__(name: str) -> Any:
    # Importing jax takes a second: `zerodce --help` must not wait for it.
    if name in _HOMES:
        return getattr(import_module(f"zerodce_jax.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
