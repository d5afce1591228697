"""Functions that an array class can replace with a faster form.

The functions of this package are written once, for all kinds of arrays. A few of them are several
times as fast where a kind of array has an operation for them, such as a pooling for window means.
Such a function is `overridable`, and the array class names its form in ``__kernels__``.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def overridable(function: Callable[P, R]) -> Callable[P, R]:
    """Let the class of the first argument replace a function.

    Args:
        function: The definition, which every replacement has to agree with.

    Returns:
        A function that calls ``type(first).__kernels__[itself]`` if there is one, and `function`
        otherwise.
    """

    @wraps(function)
    def dispatch(*args: P.args, **kwargs: P.kwargs) -> R:
        kernels: dict[Any, Callable[P, R]] = getattr(type(args[0]), "__kernels__", {})
        return kernels.get(dispatch, function)(*args, **kwargs)

    return dispatch
