"""How an image is enhanced with the curves that a network predicts."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

from zerodce_jax.config.stored import Stored
from zerodce_jax.errors import UsageError

Exposure = Literal["auto", "off"] | float
Denoise = Literal["auto"] | float
AUTO_EXPOSURE = 0.4
"""Mean brightness that ``auto`` brings darker pictures to."""
SMOOTHING_SECONDS = 0.5
"""Default time constant of the exposure smoothing of videos, in seconds."""


class SettingOverrides(TypedDict, total=False):
    """Settings by name, to replace those of a network; None keeps the network's own.

    `EnhanceSettings` describes each of them.
    """

    exposure: Exposure | None
    gamma: float | None
    strength: float | None
    protect_highlights: float | None
    denoise: Denoise | None


@dataclass(frozen=True)
class EnhanceSettings(Stored):
    """How the curves that a network predicts are put to use.

    The defaults are the recipe of Zero-DCE-improved. Networks carry their own in their files.
    """

    called: ClassVar[str] = "enhancement settings"

    exposure: Exposure = "off"
    """Mean brightness, in (0, 1), that darker pictures are brought to, by a strength for each of
    them; ``auto`` is 0.4. ``off`` gives every picture the same strength."""
    gamma: float = 1.15
    """Exponent applied after the curves, against over-exposure; 1 is off."""
    strength: float = 1.0
    """Factor on the curve maps, in [0, 2]: 0 gives the input back, 1 is the network's choice, or
    that of the exposure."""
    protect_highlights: float = 0.0
    """How far curves are held back where they would make bright places too bright, in [0, 1]."""
    denoise: Denoise = 0.0
    """How strongly noise is held down where the curve amplifies it, in [0, 1]; ``auto`` goes by the
    noise that is found in each picture."""

    def __post_init__(self) -> None:
        for name in ("gamma", "strength", "protect_highlights"):
            _number(name, getattr(self, name))
        if self.denoise != "auto":
            _number("denoise", self.denoise, "auto or ")
        if self.exposure not in ("auto", "off"):
            _number("exposure", self.exposure, "auto, off or ")
            if not 0.0 < self.exposure < 1.0:
                raise UsageError(f"exposure must lie between 0 and 1, not {self.exposure}")
        if not 0.0 < self.gamma <= 10.0:
            raise UsageError(f"gamma must be above 0 and at most 10, not {self.gamma}")
        if not 0.0 <= self.strength <= 2.0:
            raise UsageError(f"strength must lie in [0, 2], not {self.strength}")
        for name in ("protect_highlights", "denoise"):
            value = getattr(self, name)
            if value != "auto" and not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} must lie in [0, 1], not {value}")

    @classmethod
    def adaptive(cls) -> Self:
        """What suits the networks of this project: pictures come out well lit, and no more."""
        return cls(exposure="auto", gamma=1.0, protect_highlights=1.0, denoise="auto")

    def changed(self, **overrides: Unpack[SettingOverrides]) -> Self:
        """Return these settings with some of them replaced; None keeps a setting.

        Raises:
            UsageError: A value is out of range.
        """
        given: dict[str, Any] = {k: value for k, value in overrides.items() if value is not None}
        return dataclasses.replace(self, **given)

    @property
    def filters(self) -> int:
        """How many filters a result goes through, each of which looks at surroundings."""
        return (self.protect_highlights > 0) + (self.denoise != 0)

    @property
    def level(self) -> float | None:
        """Mean brightness that darker pictures are brought to, or None."""
        if self.exposure == "off":
            return None
        return AUTO_EXPOSURE if self.exposure == "auto" else float(self.exposure)


def _number(name: str, value: object, otherwise: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be {otherwise}a number, not {value!r}")
