"""Several processes, on one host or many, that train one network together.

Each runs the same program on its own devices and its own rows of every batch; XLA's collectives
(`jax.distributed`) make one step of them. With one process everything here is a trivial case.
"""

import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int, Shaped

from zerodce_jax.errors import InputError, UsageError

NOTICED_AFTER = 30
"""Seconds after which a host that fell silent counts as lost."""


def join(coordinator: str, processes: int, process_id: int) -> None:
    """Become one of the processes of a run; before anything else is asked of JAX.

    Returns once all of them are there. JAX itself ends a process that cannot find the others
    within five minutes, or loses them later.

    Args:
        coordinator: ``HOST:PORT`` of process 0, which listens there.
        processes: How many there are.
        process_id: Which of them this is, from 0.

    Raises:
        InputError: Process 0 cannot listen there.
        UsageError: The numbers or the address make no sense.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"--coordinator must be HOST:PORT, such as 10.0.0.1:7000, not {coordinator}"
        )
    if not 0 <= process_id < processes:
        raise UsageError(
            f"--process-id must be from 0 to below --processes ({processes}), not {process_id}"
        )
    try:
        _initialize(
            coordinator_address=coordinator,
            num_processes=processes,
            process_id=process_id,
            cluster_detection_method="deactivate",
        )
    except RuntimeError as error:
        raise InputError(f"{coordinator}: {error}") from error


def join_cluster() -> None:
    """As `join`, with addresses and numbers from the cluster that JAX finds itself in.

    Slurm, Open MPI, Kubernetes and TPU pods are among those that it knows.

    Raises:
        InputError: Process 0 cannot listen.
        UsageError: There is none.
    """
    try:
        _initialize()
    except ValueError as error:
        raise UsageError(
            "--distributed auto: JAX finds no cluster here; give --coordinator, --processes and"
            " --process-id"
        ) from error
    except RuntimeError as error:
        raise InputError(f"--distributed auto: {error}") from error


def _initialize(**how: Any) -> None:
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(**how, heartbeat_timeout_seconds=NOTICED_AFTER)


def leave() -> None:
    """Wait until all processes are done, and part from them."""
    jax.distributed.shutdown()


def is_first() -> bool:
    """Whether this is process 0, which keeps the records."""
    return jax.process_index() == 0


def mesh() -> jax.sharding.Mesh:
    """All devices of all processes in a row, the axis ``data``."""
    # In the order of the processes, so that each has its rows of a batch beside one another.
    return jax.sharding.Mesh(np.array(jax.devices()), ("data",))


def rows(batch_size: int) -> range:
    """The rows of every batch that this process computes.

    Raises:
        UsageError: The batch cannot be split over the devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        raise UsageError(f"a batch of {batch_size} cannot be split over {devices} devices")
    sharding = jax.NamedSharding(mesh(), jax.P("data"))
    parts = sharding.addressable_devices_indices_map((batch_size,)).values()
    bounds = [part[0].indices(batch_size) for part in parts if part is not None]
    return range(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def shared(rows: Shaped[np.ndarray, "rows ..."]) -> Shaped[Array, "batch ..."]:
    """One array over all devices, from the rows of each process."""
    return jax.make_array_from_process_local_data(jax.NamedSharding(mesh(), jax.P("data")), rows)


def everywhere(tree: Any) -> Any:
    """Arrays that are the same in all processes as arrays over all devices."""
    sharding = jax.NamedSharding(mesh(), jax.P())
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x), np.shape(x)), tree
    )


def here(tree: Any) -> Any:
    """Arrays that are whole on every device as arrays of one device of this process."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def largest(value: int) -> Int[Array, ""]:
    """The largest of the values of all processes; computed in the background."""
    each = np.full(jax.local_device_count(), value, np.int32)
    return _max(shared(each), jax.NamedSharding(mesh(), jax.P()))


def summed(part: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """The sum of the arrays of all processes."""
    return multihost_utils.process_allgather(part, tiled=False).reshape(-1, *part.shape).sum(0)


def wait(name: str) -> None:
    """Wait until all processes are here."""
    multihost_utils.sync_global_devices(name)


def check_alike(what: str) -> None:
    """Check that a text is the same in all processes.

    Raises:
        InputError: It is not, in any of them.
    """
    mine = zlib.crc32(what.encode())
    if not (multihost_utils.process_allgather(np.uint32(mine)) == mine).all():
        raise InputError("the processes were started with different settings or photographs")


def _largest_of(values: Array) -> Array:
    return values.max()


def _max(values: Array, sharding: jax.NamedSharding) -> Array:
    return jax.jit(_largest_of, out_shardings=sharding)(values)
