"""Enhance photographs on many machines: Ray sends batches of names to actors with a network each.

Ray schedules the batches, and repeats a batch whose actor or machine was lost. A repeated batch
keeps the results that the lost attempt wrote: those whose modification time is not the one that was
found when the work was planned.
"""

import io
import logging
import os
import re
import secrets
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines.tiling import MAX_CORES, cores
from zerodce_jax.enhancer import EngineName, Enhancer, choose_engine
from zerodce_jax.errors import InputError, UsageError, first_line, one_line
from zerodce_jax.jobs import runner
from zerodce_jax.jobs.photos import PhotoExecutor
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import Executor, Result
from zerodce_jax.jobs.worklist import Worklist
from zerodce_jax.media import pillow
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.models.network import Network

if TYPE_CHECKING:
    import pyarrow as pa

_RETRIES = 3
"""Number of times that Ray repeats a batch whose actor was lost."""
_GAVE_UP = "each worker process that took it was lost (out of memory?); see Ray's logs"


@dataclass(frozen=True)
class Options:
    """How the actors work."""

    engine: EngineName = "auto"
    """The engine that computes."""
    actors: int | None = None
    """Number of actors; None starts one for each machine (or 16 of its cores), or as many as the
    GPUs allow."""
    gpus: float = 0
    """Number of GPUs for each actor, which may be a fraction."""
    batch: int = 16
    """Number of photographs in a batch."""
    strip: bool = False
    """Whether to leave out EXIF, XMP, texts and resolution."""
    max_pixels: int = MAX_PIXELS
    """Number of pixels of the largest photograph that is decoded."""
    first_frame: bool = False
    """Whether only the first frame of animations, and the first page of TIFF files, is taken."""


class RayExecutor(Executor):
    """Enhances the photographs of a worklist on a Ray cluster. Results come in any order.

    Photographs whose batch failed are tried again in batches of one, so that a photograph that
    crashes its worker process cannot fail others.

    Args:
        work: The worklist; `run` takes items of this list only.
        network: The network, which is sent to each actor.
        settings: How to enhance; None takes the network's own settings.
        options: How the actors work.
        address: The Ray cluster: ``HOST:PORT``, ``auto`` for the cluster of this machine, or None
            to start Ray on this machine alone.
        on_message: Called with each message of Ray, in one line, such as the loss of a machine.
    """

    def __init__(
        self,
        work: Worklist,
        network: Network,
        settings: EnhanceSettings | None = None,
        options: Options = Options(),
        *,
        address: str | None = None,
        on_message: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._work, self._options = work, options
        # An actor needs the folders, not the names.
        folders = Worklist(work.source, work.target)
        self._actor_arguments = (folders, network, settings, options)
        self._address, self._on_message = address, on_message
        self.target = work.target.files

    def exists(self, item: Item) -> bool:
        """Return whether the planning found a result; asking for each would take too long."""
        return item.modified is not None

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each item; see `Executor.run`.

        Raises:
            UsageError: No machine has as many GPUs as an actor needs.
            InputError: The cluster does not answer, or Ray gives up.
        """
        missing = bytearray(len(self._work))
        for number, _ in items:
            missing[number] = True
        if not any(missing):
            return
        with _session(self._address, self._on_message):
            # In the second round a photograph has its actor to itself: if it crashes the actor, it
            # takes no other one along.
            for batch, in_flight in ((self._options.batch, 2), (1, 1)):
                numbers = [number for number, is_missing in enumerate(missing) if is_missing]
                for number, result in self._enhance(numbers, batch, in_flight) if numbers else ():
                    if missing[number]:
                        missing[number] = False
                        yield number, result
        for number in (number for number, is_missing in enumerate(missing) if is_missing):
            item = self._work[number]
            message = f"{self._work.source.files.name(item.source)}: {_GAVE_UP}"
            yield number, Result(item, "failed", message=message)

    def _enhance(
        self, numbers: Sequence[int], batch: int, in_flight: int
    ) -> Iterator[tuple[int, Result]]:
        """Enhance photographs in batches of one size; those of failed batches have no result."""
        import ray
        from ray.data import ActorPoolStrategy
        from ray.exceptions import RayError

        actors, cpus = _actors_and_cores(self._options)
        dataset = ray.data.from_arrow(list(_tables(self._work, numbers, batch)))
        with warnings.catch_warnings():
            # The limit on retries has no other parameter yet.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            dataset = dataset.map_batches(
                _Actor,
                fn_constructor_args=self._actor_arguments,
                batch_size=batch,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(
                    size=min(actors, -(-len(numbers) // batch)),
                    max_tasks_in_flight_per_actor=in_flight,
                ),
                num_cpus=cpus,
                num_gpus=self._options.gpus or None,
                max_task_retries=_RETRIES,
            )
        try:
            tables: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
            for table in tables:
                for row in table.to_pylist():
                    number = row.pop("number")
                    yield number, Result(self._work[number], **row)
        except (RayError, RuntimeError) as error:
            raise InputError(f"Ray: {first_line(error)}") from error


class _Actor:
    """Holds one network, and enhances batches of photographs with it."""

    def __init__(
        self, work: Worklist, network: Network, settings: EnhanceSettings | None, options: Options
    ) -> None:
        pillow.silence_decoders()
        if choose_engine(options.engine) == "xla":
            from zerodce_jax.engines.xla import use_compilation_cache

            use_compilation_cache()
        self._work, self._max_pixels = work, options.max_pixels
        self._executor = PhotoExecutor(
            Enhancer(network, engine=options.engine),
            settings,
            jobs=max(2, cores()),
            strip=options.strip,
            max_pixels=options.max_pixels,
            first_frame=options.first_frame,
            source=work.source.files,
            target=work.target.files,
        )

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        results: dict[int, Result] = {}
        remaining: dict[int, Item] = {}
        for row in batch.to_pylist():
            item = self._work.item(row["name"], row["target"], row["modified"])
            written = self._written_before(item)
            if written is None:
                remaining[row["number"]] = item
            else:
                results[row["number"]] = written
        new = runner.run(list(remaining.values()), self._executor, overwrite=True)
        results.update(zip(remaining, new, strict=True))
        columns = ("status", "seconds", "width", "height", "message")
        return pa.table(
            {"number": list(results)}
            | {name: [getattr(result, name) for result in results.values()] for name in columns}
        )

    def _written_before(self, item: Item) -> Result | None:
        """Return the result that a lost attempt already wrote, or None."""
        files = self._work.target.files
        try:
            if files.modification_time(item.target) == item.modified:
                return None
            width, height = files.size(item.target, max_pixels=self._max_pixels)
        except (InputError, OSError):
            return None
        return Result(item, "done", 0.0, width, height)


def _tables(work: Worklist, numbers: Sequence[int], size: int) -> "Iterator[pa.Table]":
    """Yield the names of photographs, `size` in each table."""
    import pyarrow as pa

    for start in range(0, len(numbers), size):
        part = numbers[start : start + size]
        yield pa.table(
            {
                "number": pa.array(part, pa.int64()),
                "name": pa.array([work.names[i] for i in part], pa.binary()),
                "target": pa.array([work.targets[i] for i in part], pa.binary()),
                "modified": pa.array([work.modified[i] for i in part], pa.int64()),
            }
        )


def _actors_and_cores(options: Options) -> tuple[int, float]:
    """Return the number of actors, and the number of cores that each has to itself."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if options.gpus:
        machines = [machine for machine in machines if machine.get("GPU", 0) >= options.gpus]
        counts = [int(machine["GPU"] / options.gpus) for machine in machines]
        if not counts:
            raise UsageError(f"--gpus-per-actor {options.gpus:g}: no machine of Ray has as many")
    else:
        machines = [machine for machine in machines if machine.get("CPU", 0)]
        counts = [-(-int(machine["CPU"]) // MAX_CORES) for machine in machines]
    actors = options.actors or sum(counts) or 1
    if not machines:
        return actors, 1
    # On equal machines all actors then fit, without more threads than cores.
    actors_per_machine = -(-actors // len(machines))
    cpus = min(machine.get("CPU", 0) for machine in machines) / actors_per_machine
    return actors, min(MAX_CORES, int(cpus)) if cpus >= 1 else cpus


@contextmanager
def _session(address: str | None, on_message: Callable[[str], object]) -> Iterator[None]:
    """Join a Ray cluster, or start Ray on this machine alone; see `RayExecutor`."""
    # Ray's C++ code would log each start and end of an actor.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Keeps Ray's present default: an actor without a GPU sees none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    if address is not None and ":" in address and "://" not in address:
        host, _, port = address.rpartition(":")
        try:
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"{address}: no Ray cluster answers ({one_line(error)})") from error
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        with _without_standard_error():
            if address is None:
                _start_ray(**quiet)
            else:
                ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        cause = first_line(error)
        if "InvalidAuthToken" in f"{error}{error.__cause__}":
            cause = "asks for a token (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or its file)"
        raise InputError(f"{address or 'Ray on this machine'}: {cause}") from error
    _silence_progress()
    with redirect_stdout(_Messages(on_message)):
        try:
            yield
        finally:
            ray.shutdown()


def _start_ray(**options: Any) -> None:
    """Start Ray on this machine, so that it asks no other machine and leaves nothing at home."""
    import ray
    from ray._private.node import Node

    # Otherwise Ray would keep a token in the user's home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Without a dashboard, this server only reports the use of Ray. Even if reports are off, it asks
    # for the cloud that it runs in: it looks up a server, and connects to another.
    with mock.patch.object(Node, "start_api_server"):
        # "local" is not a cluster that happens to run here, or that RAY_ADDRESS names.
        ray.init("local", include_dashboard=False, **options)


def _silence_progress() -> None:
    """Keep Ray from printing its progress; its errors are raised."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A failed batch does not end the run; its photographs have no result.
    context.max_errored_blocks = -1
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


class _Messages(io.TextIOBase):
    """Standard output that passes on the first sentence of each of Ray's messages."""

    def __init__(self, on_message: Callable[[str], object]) -> None:
        super().__init__()
        self._on_message = on_message

    def write(self, text: str, /) -> int:
        for line in text.splitlines():
            # A message starts with the process that it comes from, in color; the other lines are
            # the log of that process.
            found = re.match(r"(?:\x1b\[\d*m)*\(\w+\)(?:\x1b\[\d*m)* (.+)", line)
            if found:
                self._on_message(f"Ray: {one_line(found[1].partition('. ')[0])}")
        return len(text)


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Drop what C++ code writes to standard error, such as a note on the log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
