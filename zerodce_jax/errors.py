"""Errors that the caller can correct.

Every layer below the command line raises them with a one-line message that names the file or the
argument and the cause. The command line prints that line and exits.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGE = "."
"""What pip installs: the clone, until the package is on the index; then ``zerodce-jax``.

The pages follow this constant (``docs/install_commands.py``, which runs before each commit).
"""


class InputError(ValueError):
    """Raised when an input, such as a file or an image, cannot be used. The exit status is 1.

    Its arguments are the message, one line, and further lines, one for each problem.
    """

    def __str__(self) -> str:
        return "\n  ".join(map(str, self.args))


class UsageError(InputError):
    """Raised for an invalid request, such as a value out of range. The exit status is 2."""


class HostLostError(InputError):
    """Raised when another process of a multi-process run has ended. The exit status is 1."""


class _PrefixedError(InputError):
    """An InputError whose message starts with the name of its file."""


def require(user: object, extra: str, *packages: str) -> None:
    """Raise a UsageError if a package is not installed, by its name for imports.

    The message says that `user`, such as "the page", needs packages, and which extra installs them.
    """
    if None in map(importlib.util.find_spec, packages):
        raise UsageError(f"{user} needs packages: {install_command(extra)}")


def require_training(user: object) -> None:
    """Raise a UsageError if a package of the extra ``train`` is not installed, as `require`.

    The extra holds all that needs JAX: training and its folders, the engine ``xla``, and exports.
    """
    packages = ("flatbuffers", "flax", "grain", "jax", "optax", "orbax", "platformdirs")
    require(user, "train", *packages, "tensorboardX")


def install_command(extra: str) -> str:
    """Return the command that installs an extra, and where to run it."""
    place = " (in your clone of the project)" if PACKAGE == "." else ""
    return f"pip install '{PACKAGE}[{extra}]'{place}"


@contextmanager
def prefix_errors(name: object) -> Iterator[None]:
    """Put a name, such as a path, before the messages of InputErrors.

    If several of these contexts are nested, only the innermost one adds its name.
    """
    try:
        yield
    except _PrefixedError:
        raise
    except InputError as error:
        raise _PrefixedError(f"{name}: {error}") from error


def one_line(error: object) -> str:
    """Return the message of an error as one line, with unprintable characters escaped."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = text.strip()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: Exception) -> str:
    """Return the first line of an error message, which may have many, or the name of the error."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(message.strip().splitlines()), type(error).__name__)


@contextmanager
def codec_errors(problem: str = "damaged image") -> Iterator[None]:
    """Convert any error of a decoder or an encoder to an InputError of one line."""
    try:
        yield
    except MemoryError as error:
        raise InputError("not enough memory for this image") from error
    except Exception as error:
        # Decoders raise errors of many types, from SyntaxError to ZeroDivisionError. An OSError
        # with a number comes from the operating system.
        if isinstance(error, InputError) or getattr(error, "errno", None) is not None:
            raise
        raise InputError(f"{problem} ({one_line(error) or type(error).__name__})") from error
