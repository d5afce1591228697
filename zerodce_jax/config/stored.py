"""Settings that files of networks store as plain values."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from zerodce_jax.errors import UsageError


@dataclass(frozen=True)
class Stored:
    """Base class of settings that are stored in files of networks."""

    label: ClassVar[str]
    """Name of the settings in error messages."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the settings that `to_dict` turned into plain values.

        Raises:
            UsageError: A field is unknown, or a value is out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"{cls.label}: unknown fields {', '.join(unknown)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, to be stored."""
        return dataclasses.asdict(self)
