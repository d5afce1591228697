"""The run-time type checker that conftest.py puts on every function of the package."""

import typing

from beartype import BeartypeConf, FrozenDict, beartype

# beartype sees methods without their class here, and so cannot check `Self`; ints are floats.
checked = beartype(
    conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({typing.Self: typing.Any}))
)
