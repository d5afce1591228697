"""Settings that files of networks store as plain values."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from zerodce_jax.errors import UsageError


@dataclass(frozen=True)
class Stored:
    """What files of networks keep as plain values."""

    called: ClassVar[str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild it from what `to_dict` gave, as files of networks store it.

        Raises:
            UsageError: A field is unknown, or a value is out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"{cls.called}: unknown fields {', '.join(unknown)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, to be stored; `from_dict` reads them back."""
        return dataclasses.asdict(self)
