"""``zerodce train`` as one of several processes: joining them, and a word when they are lost."""

import contextlib
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from zerodce_jax.errors import InputError, UsageError, one_line


@dataclass(frozen=True)
class Several:
    """Flags for training on several hosts; the same command runs on each."""

    coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """Where process 0 can be reached by the others."""
    processes: Annotated[int | None, arg(metavar="N")] = None
    """How many processes there are."""
    process_id: Annotated[int | None, arg(metavar="I")] = None
    """Which of them this is, from 0."""
    distributed: Literal["off", "auto"] = "off"
    """Take all three from the cluster (auto): Slurm, Open MPI, Kubernetes, TPUs."""

    def place(self) -> tuple[str, int, int] | Literal["auto"] | None:
        """Coordinator, processes and process id; or where they are to be had; None alone.

        Raises:
            UsageError: The flags do not go together.
        """
        given = (self.coordinator, self.processes, self.process_id)
        if given == (None, None, None):
            return "auto" if self.distributed == "auto" else None
        if self.distributed == "auto":
            raise UsageError(
                "--distributed auto finds --coordinator, --processes and --process-id itself"
            )
        if self.coordinator is None or self.processes is None or self.process_id is None:
            raise UsageError("--coordinator, --processes and --process-id go together")
        return self.coordinator, self.processes, self.process_id


@contextlib.contextmanager
def joined(several: Several, workdir: Path) -> Iterator[bool]:
    """Join the others for as long as the body runs; before anything of JAX is imported.

    JAX ends a process that has lost the others at once, from a thread of its own and with pages of
    its log. So that log goes to a file, and a watcher says in one line what happened.

    Args:
        several: The flags.
        workdir: Where the log goes.

    Yields:
        Whether this is the process that speaks for all. What the body raises ends the program.
    """
    place = several.place()
    if place is None:
        yield True
        return
    workdir.mkdir(parents=True, exist_ok=True)
    name = f"{socket.gethostname()}-{os.getpid()}" if place == "auto" else place[2]
    log = workdir / f"process-{name}.log"
    farewell = _watched(
        "zerodce: this process was killed, or lost the others of its run, or never found them"
        f" (JAX says more in {log}); the same commands go on from the last checkpoint"
    )
    _redirect_libraries(log)
    try:
        from zerodce_jax.training import hosts

        if place == "auto":
            hosts.join_cluster()
        else:
            hosts.join(*place)
        yield hosts.is_first()
        hosts.leave()
        farewell()
    except BaseException as error:
        status = _say(error)
        farewell()
        # At an ordinary end JAX would wait for the others, and they for this one.
        os._exit(status)


def _say(error: BaseException) -> int:
    """Print what went wrong; returns the exit status."""
    if isinstance(error, InputError | OSError):
        print(f"zerodce: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, KeyboardInterrupt):
        print("zerodce: interrupted", file=sys.stderr)
        return 130
    traceback.print_exception(error)
    return 1


def _watched(line: str) -> Callable[[], None]:
    """Have a line printed once this process is gone, unless what is returned is called."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        # Ctrl-C is not meant for the watcher.
        os.setsid()
        os.close(writing)
        if not os.read(reading, 1):
            print(line, file=sys.stderr, flush=True)
        os._exit(0)
    os.close(reading)
    return lambda: print(end=".", file=os.fdopen(writing, "w"), flush=True)


def _redirect_libraries(log: Path) -> None:
    """Send what libraries print to a file; what Python prints goes where it went."""
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    # What goes wrong is raised as well.
    for name in ("absl", "jax", "orbax"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.FileHandler(log))
        logger.propagate = False
