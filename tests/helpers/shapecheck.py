"""Run-time type checker that conftest.py applies to every function of the package."""

import typing

from beartype import BeartypeConf, FrozenDict, beartype

# beartype sees methods without their class here, so it cannot check `Self`. As in PEP 484, an int
# is accepted where a float is expected.
checked = beartype(
    conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({typing.Self: typing.Any}))
)
