"""The command line: one small module a subcommand, which parses, calls, prints, and exits.

Exit status: 0 when all went well, 1 when some input could not be used, 2 for wrong usage, 130
after Ctrl-C.
"""

import sys
import warnings
from collections.abc import Sequence

import tyro

from zerodce_jax.cli.convert import convert
from zerodce_jax.cli.enhance import enhance
from zerodce_jax.cli.train import train
from zerodce_jax.errors import InputError, UsageError

COMMANDS = {"enhance": enhance, "convert": convert, "train": train}


def main(args: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        args: Its name and arguments; None takes those of the process.

    Returns:
        The exit status.
    """
    # Pillow's warnings of damaged files; what comes of them is reported in a line of its own.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="zerodce",
            description="Light up dark photographs with a tiny network.",
            args=args,
        )
    except UsageError as error:
        return _fail(error, 2)
    except InputError as error:
        return _fail(error, 1)
    except OSError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(error: Exception | str, status: int) -> int:
    print(f"zerodce: {error}", file=sys.stderr)
    return status
