"""``zerodce train`` in several processes: join them, and report when one is lost."""

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

from zerodce_jax.cli.messages import fail
from zerodce_jax.cli.options import unless
from zerodce_jax.errors import InputError, UsageError


@dataclass(frozen=True)
class DistributedFlags:
    """Flags for training in several processes; the same command runs in each."""

    coordinator: Annotated[str | None, unless("HOST:PORT", "one process")] = None
    """Address of process 0, which the other processes connect
    to."""
    processes: Annotated[int | None, unless("N", "one process")] = None
    """Number of processes."""
    process_id: Annotated[int | None, unless("I", "one process")] = None
    """Number of this process, from 0."""
    distributed: Literal["off", "auto"] = "off"
    """Take address and numbers from the cluster (auto): Slurm,
    Open MPI, Kubernetes, TPUs."""

    def enabled(self) -> bool:
        """Return whether there are several processes; raise UsageError if flags conflict."""
        given = [value is not None for value in (self.coordinator, self.processes, self.process_id)]
        if self.distributed == "auto" and any(given):
            raise UsageError(
                "--distributed auto finds --coordinator, --processes and --process-id itself"
            )
        if any(given) and not all(given):
            raise UsageError("--coordinator, --processes and --process-id go together")
        return any(given) or self.distributed == "auto"


@contextlib.contextmanager
def joined_processes(flags: DistributedFlags, workdir: Path) -> Iterator[bool]:
    """Join the other processes while the body runs; enter it before anything imports JAX.

    JAX ends a process that has lost the others at once, from a thread of its own, after pages of
    log. So the log goes to a file, and a child process prints one line about what happened.

    Args:
        flags: The flags.
        workdir: Folder for the log.

    Yields:
        Whether this is process 0, which alone prints. If there are several processes, an exception
        in the body ends the program.
    """
    if not flags.enabled():
        yield True
        return
    workdir.mkdir(parents=True, exist_ok=True)
    number = flags.process_id
    name = f"{socket.gethostname()}-{os.getpid()}" if number is None else number
    log = workdir / f"process-{name}.log"
    cancel = _print_at_death(
        "zerodce: this process was killed, or lost the others of its run, or never found them"
        f" (JAX says more in {log}); the same commands continue from the last checkpoint"
    )
    _redirect_libraries(log)
    try:
        import jax

        from zerodce_jax.training import hosts

        hosts.join(flags.coordinator, flags.processes, flags.process_id)
        yield hosts.is_first()
        # This waits until all processes have finished.
        jax.distributed.shutdown()
        cancel()
    except BaseException as error:
        if isinstance(error, InputError | OSError | KeyboardInterrupt):
            status = fail(error)
        else:
            traceback.print_exception(error)
            status = 1
        cancel()
        # At a normal exit JAX would wait for the other processes, and they for this one.
        os._exit(status)


def _print_at_death(line: str) -> Callable[[], None]:
    """Fork a child that prints a line when this process dies, unless the result is called."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        # Ctrl-C goes to the whole session, but must not end the child.
        os.setsid()
        os.close(writing)
        if not os.read(reading, 1):
            print(line, file=sys.stderr, flush=True)
        os._exit(0)
    os.close(reading)
    return lambda: print(end=".", file=os.fdopen(writing, "w"), flush=True)


def _redirect_libraries(log: Path) -> None:
    """Send the output of libraries to a file, but not the output of Python itself."""
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    # These libraries raise what they log, so the terminal does not need it twice.
    for name in ("absl", "jax", "orbax"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.FileHandler(log))
        logger.propagate = False
