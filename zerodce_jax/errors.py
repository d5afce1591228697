"""The errors that a person at the keyboard can mend.

Everything below the command line raises them with a message of one line that names the file (or
the argument) and the cause; the command line prints that line and exits.
"""


class InputError(ValueError):
    """What was given cannot be used: a file, an image, a checkpoint. Exit status 1.

    Args:
        message: One line.
        details: More lines, where there is a list of things to mend.
    """

    def __str__(self) -> str:
        return "\n  ".join(map(str, self.args))


class UsageError(InputError):
    """What was asked for makes no sense: a value out of range, names that clash. Exit status 2."""


class HostLostError(InputError):
    """Another process of a run of several has ended. Exit status 1."""


def one_line(error: object) -> str:
    """What an error says, on one line that a terminal can show, whatever the names in it hold."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = text.strip()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: Exception) -> str:
    """Return the first line of an error message, which may have many, or the name of the error."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(message.strip().splitlines()), type(error).__name__)
