"""The processes that train one network together, on one host or on several.

Each process runs the same program on its own devices and its own rows of every batch; XLA's
collectives (`jax.distributed`) combine them into one step. With a single process every function
here still works.
"""

import re
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int, Shaped

from zerodce_jax.errors import HostLostError, InputError, UsageError

HEARTBEAT_TIMEOUT = 30
"""Seconds of silence after which a process counts as lost."""


def join(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> None:
    """Join a run as one of its processes; call this before any other use of JAX.

    It returns once all processes have joined. JAX itself ends a process that cannot find the
    others within five minutes, or loses them later. Without arguments JAX takes them from the
    cluster; it knows Slurm, Open MPI, Kubernetes and TPU pods, among others.

    Args:
        coordinator: Address ``HOST:PORT`` that process 0 listens on.
        processes: Number of processes.
        process_id: Number of this process, from 0.

    Raises:
        InputError: Process 0 cannot listen on the address.
        UsageError: The address or a number is not valid, or JAX finds no cluster.
    """
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(
                f"--coordinator must be HOST:PORT, such as 10.0.0.1:7000, not {coordinator}"
            )
        if processes is None or process_id is None or not 0 <= process_id < processes:
            raise UsageError(
                f"--process-id must be from 0 to below --processes ({processes}), not {process_id}"
            )
    # The service would handle SIGTERM in place of `stop_signal`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            cluster_detection_method="deactivate" if coordinator else None,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except ValueError as error:
        raise UsageError(
            "--distributed auto: JAX finds no cluster here; give --coordinator, --processes and"
            " --process-id"
        ) from error
    except RuntimeError as error:
        raise InputError(f"{coordinator or '--distributed auto'}: {error}") from error


@contextmanager
def detect_lost_processes() -> Iterator[None]:
    """Raise `HostLostError` for errors that the end of another process causes."""
    try:
        yield
    except Exception as error:
        # Collectives and barriers whose other ends are gone fail with these words.
        words = "gloo|nccl|connection|coordination|heartbeat"
        lost = isinstance(error, TimeoutError) or re.search(words, str(error), re.IGNORECASE)
        if lost and not isinstance(error, InputError) and jax.process_count() > 1:
            raise HostLostError(
                "another process of this run has ended;"
                " the same commands continue from the last checkpoint"
            ) from error
        raise


@contextmanager
def stop_signal() -> Iterator[Callable[[], int]]:
    """Catch the first SIGTERM or Ctrl-C; a second one acts as it did before.

    Yields:
        A function that returns the number of the signal that this process caught, or 0.
    """
    caught: list[int] = []

    def catch(signum: int, _frame: object) -> None:
        caught.append(signum)
        restore()

    def restore() -> None:
        for stop, handler in before.items():
            signal.signal(stop, handler)

    before = {stop: signal.signal(stop, catch) for stop in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: caught[0] if caught else 0
    finally:
        restore()


def is_first() -> bool:
    """Return whether this is process 0, which alone writes logs and samples."""
    return jax.process_index() == 0


def sharding(*axes: str) -> jax.NamedSharding:
    """Return the sharding of an array over all devices of all processes.

    The axis ``data`` splits the first dimension; without an axis every device has a copy.
    """
    # The devices are in the order of the processes, so that each has adjacent rows of a batch.
    return jax.NamedSharding(jax.sharding.Mesh(np.array(jax.devices()), ("data",)), jax.P(*axes))


def local_rows(batch_size: int) -> range:
    """Return the rows of every batch that this process computes.

    Raises:
        UsageError: The batch cannot be split evenly over the devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        raise UsageError(f"a batch of {batch_size} cannot be split over {devices} devices")
    parts = sharding("data").addressable_devices_indices_map((batch_size,)).values()
    bounds = [part[0].indices(batch_size) for part in parts if part is not None]
    return range(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def shard_batch(rows: Shaped[np.ndarray, "rows ..."]) -> Shaped[Array, "batch ..."]:
    """Return one array that is split over all devices, from the rows of each process."""
    return jax.make_array_from_process_local_data(sharding("data"), rows)


def replicate(tree: Any) -> Any:
    """Copy arrays that are the same in all processes to all devices."""
    copy = partial(jax.make_array_from_process_local_data, sharding())
    return jax.tree.map(lambda x: copy(np.asarray(x), np.shape(x)), tree)


def local_copy(tree: Any) -> Any:
    """Return replicated arrays as arrays on one device of this process."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def max_over_processes(value: int) -> Int[Array, ""]:
    """Return the largest value of all processes, computed in the background."""
    per_device = np.full(jax.local_device_count(), value, np.int32)
    return jax.jit(jnp.max, out_shardings=sharding())(shard_batch(per_device))


def sum_over_processes(array: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """Return the sum of the arrays of all processes."""
    gathered = multihost_utils.process_allgather(array, tiled=False)
    return gathered.reshape(-1, *array.shape).sum(0)


def check_same(text: str) -> None:
    """Check that a text is the same in all processes.

    Raises:
        InputError: The text differs between processes; all of them raise it.
    """
    checksum = zlib.crc32(text.encode())
    if not (multihost_utils.process_allgather(np.uint32(checksum)) == checksum).all():
        raise InputError("the processes were started with different settings or photographs")
