"""The errors that a person at the keyboard can mend.

Everything below the command line raises them with a message of one line that names the file (or
the argument) and the cause; the command line prints that line and exits.
"""


class InputError(ValueError):
    """What was given cannot be used: a file, an image, a checkpoint. Exit status 1."""


class UsageError(InputError):
    """What was asked for makes no sense: a value out of range, names that clash. Exit status 2."""
