"""Frozen settings of networks, of enhancement, and of training."""

from zerodce_jax.config.enhancement import (
    AUTO_EXPOSURE,
    SMOOTHING_SECONDS,
    Denoise,
    EnhanceSettings,
    Exposure,
    SettingOverrides,
    Steps,
)
from zerodce_jax.config.network import (
    PRESETS,
    AnyNetworkConfig,
    Dtype,
    NetworkConfig,
    SceneConfig,
    network_config,
    preset,
)
from zerodce_jax.config.training import WELL_EXPOSED, LossConfig, Model, TrainConfig

__all__ = [
    "AUTO_EXPOSURE",
    "PRESETS",
    "SMOOTHING_SECONDS",
    "WELL_EXPOSED",
    "AnyNetworkConfig",
    "Denoise",
    "Dtype",
    "EnhanceSettings",
    "Exposure",
    "LossConfig",
    "Model",
    "NetworkConfig",
    "SceneConfig",
    "SettingOverrides",
    "Steps",
    "TrainConfig",
    "network_config",
    "preset",
]
