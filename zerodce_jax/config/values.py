"""Checks of the values of settings, and the plain values that files of networks store."""

import dataclasses
import operator
from typing import Any, Self

from zerodce_jax.errors import UsageError

_BOUNDS = {
    "at_least": operator.ge,
    "at_most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
}


def check_number(name: str, value: Any, *words: str, whole: bool = False, **bounds: float) -> None:
    """Raise `UsageError` unless a value is one of the words, or a number within bounds.

    Bounds are named ``at_least``, ``at_most``, ``above`` and ``below``. A whole number is an int.
    """
    if value in words:
        return
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not all(_BOUNDS[key](value, bound) for key, bound in bounds.items()):
        allowed = " or ".join([*words, "a whole number" if whole else "a number"])
        limits = ", ".join(f"{key.replace('_', ' ')} {bound}" for key, bound in bounds.items())
        raise UsageError(f"{name} must be {allowed} ({limits}), not {value!r}")


@dataclasses.dataclass(frozen=True)
class Stored:
    """Base class of settings that files of networks store."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the settings that `to_dict` turned into plain values.

        Raises:
            UsageError: A field is unknown, or a value is out of range.
        """
        if unknown := sorted(set(values) - {field.name for field in dataclasses.fields(cls)}):
            raise UsageError(f"unknown fields {', '.join(unknown)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)
