"""Light up dark photographs with a tiny network in JAX.

from zerodce_jax import Enhancer

bright = Enhancer.load()(image)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings, NetworkConfig, SceneConfig
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.errors import InputError, UsageError
    from zerodce_jax.models.dcenet import DCENet
    from zerodce_jax.models.network import Network
    from zerodce_jax.models.scenenet import SceneNet
    from zerodce_jax.models.serialization import load_network
    from zerodce_jax.ops.curves import apply_curves, curve_gain
    from zerodce_jax.training.losses import (
        color_constancy_loss,
        exposure_loss,
        illumination_smoothness_loss,
        spatial_consistency_loss,
        weighted_losses,
    )

__version__ = "0.1.0"

_REPORTS_OFF = {
    "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0",  # libtpu, for which JAX turns it on
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# These libraries report their use to their makers. Most read the variables when they are imported.
for _name, _value in _REPORTS_OFF.items():
    os.environ.setdefault(_name, _value)

_MODULE_OF = {
    "DCENet": "models.dcenet",
    "EnhanceSettings": "config",
    "Enhancer": "enhancer",
    "InputError": "errors",
    "Network": "models.network",
    "NetworkConfig": "config",
    "SceneConfig": "config",
    "SceneNet": "models.scenenet",
    "UsageError": "errors",
    "apply_curves": "ops.curves",
    "color_constancy_loss": "training.losses",
    "curve_gain": "ops.curves",
    "exposure_loss": "training.losses",
    "illumination_smoothness_loss": "training.losses",
    "load_network": "models.serialization",
    "spatial_consistency_loss": "training.losses",
    "weighted_losses": "training.losses",
}

__all__ = [
    "DCENet",
    "EnhanceSettings",
    "Enhancer",
    "InputError",
    "Network",
    "NetworkConfig",
    "SceneConfig",
    "SceneNet",
    "UsageError",
    "__version__",
    "apply_curves",
    "color_constancy_loss",
    "curve_gain",
    "exposure_loss",
    "illumination_smoothness_loss",
    "load_network",
    "spatial_consistency_loss",
    "weighted_losses",
]


def __getattr__(name: str) -> Any:
    # Importing JAX takes a second: `zerodce --help` must not wait for it.
    if name in _MODULE_OF:
        try:
            module = import_module(f"zerodce_jax.{_MODULE_OF[name]}")
        except ModuleNotFoundError as error:
            from zerodce_jax.errors import install_command

            cause = f"{name} needs {error.name}: {install_command('train')}"
            raise ModuleNotFoundError(cause, name=error.name) from None
        return getattr(module, name)
    if name == "training":
        return import_module("zerodce_jax.training")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
