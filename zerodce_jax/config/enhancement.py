"""How images are enhanced with the curves that a network predicts."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict, Unpack

from zerodce_jax.config.values import Stored, check_number

Exposure = Literal["auto", "off"] | float
Denoise = Literal["auto"] | float
AUTO_EXPOSURE = 0.4
"""Exposure level of ``auto``."""
SMOOTHING_SECONDS = 0.5
"""Default time constant of the exposure smoothing of videos, in seconds."""


class SettingOverrides(TypedDict, total=False):
    """`EnhanceSettings` by name that replace those of a network; None keeps the network's own."""

    exposure: Exposure | None
    gamma: float | None
    strength: float | None
    protect_highlights: float | None
    denoise: Denoise | None


@dataclass(frozen=True)
class Steps:
    """The optional steps of an enhancement that settings ask for; programs hold no others."""

    protect_highlights: bool = False
    denoise: bool = False


@dataclass(frozen=True)
class EnhanceSettings(Stored):
    """How images are enhanced with the curves that a network predicts.

    The defaults are the recipe of Zero-DCE-improved. Files of networks carry their own settings.
    """

    exposure: Exposure = "off"
    """Exposure level: mean brightness, in (0, 1), that darker images are brought to, each by a
    strength of its own; ``auto`` is the choice of the network if it is a scene network, or else
    0.4. ``off`` gives every image the same strength."""
    gamma: float = 1.15
    """Exponent applied after the curves, against over-exposure, in (0, 10]; 1 is off."""
    strength: float = 1.0
    """Factor on the curve maps, in [0, 2]: 0 returns the input, 1 is the choice of the network, or
    of the exposure level."""
    protect_highlights: float = 0.0
    """How far curves are limited where they would make bright places too bright, in [0, 1]."""
    denoise: Denoise = 0.0
    """Denoising strength where the curve amplifies noise, in [0, 1]; ``auto`` measures the noise of
    each image."""

    def __post_init__(self) -> None:
        check_number("exposure", self.exposure, "auto", "off", above=0, below=1)
        check_number("gamma", self.gamma, above=0, at_most=10)
        check_number("strength", self.strength, at_least=0, at_most=2)
        check_number("protect_highlights", self.protect_highlights, at_least=0, at_most=1)
        check_number("denoise", self.denoise, "auto", at_least=0, at_most=1)

    @classmethod
    def adaptive(cls) -> Self:
        """Return the settings of DCE-Nets that this project trains, which adapt to each image."""
        return cls(exposure="auto", gamma=1.0, protect_highlights=1.0, denoise="auto")

    @classmethod
    def scene(cls) -> Self:
        """Return the settings of scene networks, which decide the exposure themselves."""
        return cls(exposure="auto", gamma=1.0, protect_highlights=0.2, denoise="auto")

    def changed(self, **overrides: Unpack[SettingOverrides]) -> Self:
        """Return these settings with some of them replaced; None keeps a setting."""
        given: dict[str, Any] = {k: value for k, value in overrides.items() if value is not None}
        return dataclasses.replace(self, **given)

    @property
    def steps(self) -> Steps:
        """The optional steps that these settings ask for."""
        return Steps(self.protect_highlights > 0, self.denoise != 0)

    @property
    def level(self) -> float | None:
        """Exposure level of a DCE-Net, or None if every image gets the same strength."""
        if self.exposure == "off":
            return None
        return AUTO_EXPOSURE if self.exposure == "auto" else float(self.exposure)
