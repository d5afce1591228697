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
from zerodce_jax.config.network import PRESETS, Dtype, NetworkConfig, preset
from zerodce_jax.config.training import WELL_EXPOSED, LossConfig, TrainConfig

__all__ = [
    "AUTO_EXPOSURE",
    "PRESETS",
    "SMOOTHING_SECONDS",
    "WELL_EXPOSED",
    "Denoise",
    "Dtype",
    "EnhanceSettings",
    "Exposure",
    "LossConfig",
    "NetworkConfig",
    "SettingOverrides",
    "Steps",
    "TrainConfig",
    "preset",
]
