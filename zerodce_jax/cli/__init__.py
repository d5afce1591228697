"""The command line: one module for each subcommand, which parses, calls, prints, and exits.

Exit status: 0 for success, 1 if an input could not be used, 2 for wrong usage, 130 after Ctrl-C.
"""

import atexit
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence

import tyro

from zerodce_jax import __version__
from zerodce_jax.cli.app import app
from zerodce_jax.cli.cluster import cluster
from zerodce_jax.cli.convert import convert
from zerodce_jax.cli.enhance import enhance
from zerodce_jax.cli.evaluate import evaluate
from zerodce_jax.cli.export import export
from zerodce_jax.cli.messages import fail
from zerodce_jax.cli.push import push
from zerodce_jax.cli.train import train, with_recipe
from zerodce_jax.cli.watch import watch
from zerodce_jax.errors import InputError

COMMANDS = (enhance, watch, cluster, convert, train, evaluate, export, push, app)


def main(args: Sequence[str] | None = None, *, command: str | None = None) -> int:
    """Run a subcommand.

    Args:
        args: The name of the subcommand and its arguments; None takes those of the process.
        command: What the user typed before the arguments, for the help; by default ``zerodce`` and
            the name of the subcommand.

    Returns:
        The exit status.
    """
    # The libraries make a million objects that live to the end. Searching them for garbage takes
    # 0.1 s while they are imported, and 0.2 s at exit.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # Pillow warns of damaged files; this program reports them itself, in one line each.
    warnings.filterwarnings("ignore", module="PIL")
    if threading.current_thread() is threading.main_thread():
        # Service managers stop programs by SIGTERM; treat it like Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    name, *rest = (sys.argv[1:] if args is None else args) or [""]
    if name == "--version":
        print(f"zerodce {__version__}")
        return 0
    commands: dict[str, Callable[..., int]] = {command.__name__: command for command in COMMANDS}
    commands["train"] = with_recipe(rest)
    try:
        if name in commands:
            prog = command or f"zerodce {name}"
            # Without DisallowNone, messages would list None among the values of a flag.
            config = (tyro.conf.DisallowNone,)
            status = tyro.cli(commands[name], prog=prog, args=rest, config=config)
        else:
            # This prints the list of subcommands, and exits.
            status = tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="zerodce",
                description="Light up dark photographs with a tiny network.",
                args=[name, *rest] if name else [],
            )
        # Flushing here turns a closed pipe into an error that is reported.
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (InputError, OSError, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError):
            # Python would flush again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return fail(error)
