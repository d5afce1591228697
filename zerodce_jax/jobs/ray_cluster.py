"""Many photographs on many machines: Ray deals batches of names to actors with a network each.

Scheduling, and doing again what a lost actor or machine had in hand, is Ray's. A batch that is done
again leaves alone what its lost attempt had written: a result that is no longer what it was when
the work was planned.
"""

import io
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines.tiling import MAX_CORES, cores
from zerodce_jax.enhancer import EngineName, Enhancer, choose_engine
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.jobs import photos
from zerodce_jax.jobs.photos import Result
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.worklist import Work
from zerodce_jax.media import photo, pillow
from zerodce_jax.models.network import Network

if TYPE_CHECKING:
    import pyarrow as pa

_ATTEMPTS = 3
"""Times that a batch is done again whose actor was lost."""
_GAVE_UP = "each worker process that took it was lost (out of memory?); Ray's logs may tell"


@dataclass(frozen=True)
class Options:
    """How pictures are enhanced, on which actors."""

    settings: EnhanceSettings
    engine: EngineName = "auto"
    actors: int | None = None
    """None is one for each machine (or 16 of its cores), or as many as the GPUs are enough for."""
    gpus: float = 0
    """Of each actor."""
    batch: int = 16
    """Pictures that an actor takes at one time."""
    strip: bool = False
    max_pixels: int = photo.MAX_PIXELS


@contextmanager
def session(address: str | None, tell: Callable[[str], object]) -> Iterator[None]:
    """Join a Ray cluster, or start Ray on this machine alone.

    Args:
        address: ``HOST:PORT``, ``auto`` for a cluster of which this machine is a part, or None.
        tell: Takes what Ray says on standard output meanwhile, a line at a time: what was lost,
            what cannot be had.

    Raises:
        InputError: No cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of what is written in C++, which would tell of actors that start and end.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # As ever: an actor without a GPU sees none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    if address is not None and ":" in address and "://" not in address:
        host, _, port = address.rpartition(":")
        try:
            # Ray itself tries for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"{address}: no Ray cluster answers ({one_line(error)})") from error
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        with _mute():
            if address is None:
                # Not a cluster that happens to run here or to be named by RAY_ADDRESS.
                ray.init("local", include_dashboard=False, **quiet)
            else:
                ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        said = _first_line(error)
        if "InvalidAuthToken" in f"{error}{error.__cause__}":
            said = "asks for a token (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or its file)"
        raise InputError(f"{address or 'Ray on this machine'}: {said}") from error
    _quiet()
    with redirect_stdout(_Told(tell)):
        try:
            yield
        finally:
            ray.shutdown()


def enhance_all(work: Work, network: Network, options: Options) -> Generator[Result, None, None]:
    """Enhance pictures on a Ray cluster, within a `session`; one that fails stops no other.

    Args:
        work: What to do.
        network: Sent to every actor.
        options: How.

    Yields:
        The results as they come: problems and what is skipped first. Where a KeyboardInterrupt
        strikes, the rest is given as left before it is raised.

    Raises:
        UsageError: An option is out of range.
        InputError: Ray gives up.
    """
    left = bytearray(b"\1") * len(work.names)
    interrupted = False
    try:
        for problem in work.problems:
            yield Result(problem, "failed", message=problem.problem)
        for names in work.skipped:
            yield Result(work.item(*names), "skipped")
        # What takes its worker process along takes no other picture along the second time.
        for size in (options.batch, 1):
            rows = [i for i, is_left in enumerate(left) if is_left]
            for row, result in _enhanced(work, rows, network, options, size) if rows else ():
                if left[row]:
                    left[row] = 0
                    yield result
    except KeyboardInterrupt:
        interrupted = True
    for row, is_left in enumerate(left):
        if is_left:
            item = work.item(work.names[row], work.targets[row])
            gave_up = f"{work.source.files.name(item.source)}: {_GAVE_UP}"
            yield Result(item, "left") if interrupted else Result(item, "failed", message=gave_up)
    if interrupted:
        raise KeyboardInterrupt


class _Actor:
    """Holds one network, and enhances batches of pictures with it."""

    def __init__(self, work: Work, network: Network, options: Options) -> None:
        pillow.silence_decoders()
        if choose_engine(options.engine) == "xla":
            from zerodce_jax.engines.xla import use_compilation_cache

            use_compilation_cache()
        self._enhancer = Enhancer(network, engine=options.engine)
        self._work, self._options = work, options

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        rows, results = [], []
        items: dict[Item, int] = {}
        for row in batch.to_pylist():
            item = self._work.item(row["name"], row["target"])
            finished = self._finished(item, row["stamp"])
            if finished is None:
                items[item] = row["row"]
            else:
                rows.append(row["row"])
                results.append(finished)
        for result in photos.enhance_all(
            list(items),
            self._enhancer,
            self._options.settings,
            jobs=max(2, cores()),
            overwrite=True,
            strip=self._options.strip,
            max_pixels=self._options.max_pixels,
            source=self._work.source.files,
            target=self._work.target.files,
        ):
            rows.append(items[result.item])
            results.append(result)
        return pa.table(
            {
                "row": rows,
                "status": [result.status for result in results],
                "seconds": [result.seconds for result in results],
                "width": [result.width for result in results],
                "height": [result.height for result in results],
                "message": [result.message for result in results],
            }
        )

    def _finished(self, item: Item, before: int | None) -> Result | None:
        """What an earlier attempt has made of an item, which nobody heard of."""
        try:
            if self._work.target.stamp(item.target) == before:
                return None
            width, height = self._work.target.files.size(
                item.target, max_pixels=self._options.max_pixels
            )
        except (InputError, OSError):
            return None
        return Result(item, "done", 0.0, width, height)


def _enhanced(
    work: Work, rows: Sequence[int], network: Network, options: Options, size: int
) -> Iterator[tuple[int, Result]]:
    """Enhance some of the pictures, so many in a batch; what comes to nothing is not given."""
    import ray
    from ray.data import ActorPoolStrategy
    from ray.exceptions import RayError

    actors, cpus = _shares(options)
    shell = Work(work.source, work.target)
    dataset = ray.data.from_arrow(list(_batches(work, rows, size)))
    with warnings.catch_warnings():
        # What limits the attempts has no parameter of its own yet.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        dataset = dataset.map_batches(
            _Actor,
            fn_constructor_args=(shell, network, options),
            batch_size=size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=min(actors, -(-len(rows) // size)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=cpus,
            num_gpus=options.gpus or None,
            max_task_retries=_ATTEMPTS,
        )
    try:
        tables: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        for table in tables:
            for row in table.to_pylist():
                number = row.pop("row")
                yield number, Result(work.item(work.names[number], work.targets[number]), **row)
    except (RayError, RuntimeError) as error:
        raise InputError(f"Ray: {_first_line(error)}") from error


def _batches(work: Work, rows: Sequence[int], size: int) -> "Iterator[pa.Table]":
    import pyarrow as pa

    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield pa.table(
            {
                "row": pa.array(some, pa.int64()),
                "name": pa.array([work.names[i] for i in some], pa.binary()),
                "target": pa.array([work.targets[i] for i in some], pa.binary()),
                "stamp": pa.array([work.stamps[i] for i in some], pa.int64()),
            }
        )


def _shares(options: Options) -> tuple[int, float]:
    """How many actors there are to be, and how many cores each has to itself."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if options.gpus:
        machines = [each for each in machines if each.get("GPU", 0) >= options.gpus]
        many = [int(each["GPU"] / options.gpus) for each in machines]
        if not many:
            raise UsageError(f"--gpus-per-actor {options.gpus:g}: no machine of Ray's has as many")
    else:
        machines = [each for each in machines if each.get("CPU", 0)]
        many = [-(-int(each["CPU"]) // MAX_CORES) for each in machines]
    actors = options.actors or sum(many) or 1
    if not machines:
        return actors, 1
    # So that they fit on machines that are alike, without more threads than cores.
    on_each = -(-actors // len(machines))
    cpus = min(each.get("CPU", 0) for each in machines) / on_each
    return actors, min(MAX_CORES, int(cpus)) if cpus >= 1 else cpus


def _quiet() -> None:
    """Keep Ray from writing of its progress amidst other lines; what is wrong is raised."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Pictures whose batch comes to nothing are told by their absence.
    context.max_errored_blocks = -1
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


class _Told(io.TextIOBase):
    """Takes what is printed, and tells the first sentence of each of Ray's messages."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._tell = tell

    def write(self, text: str, /) -> int:
        for line in text.splitlines():
            # In colour, and who it comes from; what follows is that process's log.
            found = re.match(r"(?:\x1b\[\d*m)*\(\w+\)(?:\x1b\[\d*m)* (.+)", line)
            if found:
                self._tell(f"Ray: {one_line(found[1].partition('. ')[0])}")
        return len(text)


@contextmanager
def _mute() -> Iterator[None]:
    """Drop what is written to standard error by its number: that a log level was set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _first_line(error: BaseException) -> str:
    return one_line(next(iter(str(error).strip().splitlines()), type(error).__name__))
