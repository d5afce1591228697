"""Print messages on standard error, and turn errors into exit statuses."""

import sys

from zerodce_jax.errors import InputError, UsageError, one_line


def say(line: object) -> None:
    """Print a message in one line."""
    print(f"zerodce: {one_line(line)}", file=sys.stderr)


def note(*lines: str) -> None:
    """Print messages that report no failure, in one line each."""
    for line in lines:
        say(f"note: {line}")


def fail(error: InputError | OSError | KeyboardInterrupt) -> int:
    """Print an error, and return the exit status that belongs to it."""
    if isinstance(error, KeyboardInterrupt):
        say("interrupted")
        return 130
    first, *details = error.args if isinstance(error, InputError) else (error,)
    say(first)
    for line in details:
        print(f"  {one_line(line)}", file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1
