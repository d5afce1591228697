"""Networks as Orbax checkpoints: a folder of numbered steps with its configuration beside them."""

import json
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from zerodce_jax.config import NetworkConfig, flatten, nest
from zerodce_jax.errors import InputError

CONFIG_FILE = "config.json"
PARAMS = "params"
EMA = "ema"


def is_checkpoint(directory: Path) -> bool:
    """Whether a folder holds checkpoints that this project wrote."""
    return (directory / CONFIG_FILE).is_file()


def save_network(directory: Path, config: NetworkConfig, params: dict) -> None:
    """Write a network as step 0 of a new checkpoint folder.

    Args:
        directory: The folder; made here.
        config: The architecture.
        params: Nested dict of arrays.
    """
    directory.mkdir(parents=True)
    write_config(directory, {"network": config.to_dict()})
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        checkpointer.save_checkpointables(0, {PARAMS: params})


def load_network(directory: Path, step: int | None = None) -> tuple[NetworkConfig, dict]:
    """Read a network from a checkpoint folder.

    Args:
        directory: What `save_network` or a training run wrote.
        step: Which step; None takes the best by validation, or the newest where there was none.

    Returns:
        The architecture, and the parameters (their moving average where the run kept one) as a
        nested dict of NumPy arrays.

    Raises:
        InputError: There is no finished checkpoint, or not this one, or it does not fit its config.
    """
    config = NetworkConfig.from_dict(read_config(directory)["network"])
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        steps = {found.step: found for found in checkpointer.checkpoints}
        if not steps:
            raise InputError(f"{directory}: no finished checkpoint in this folder")
        if step is None:
            step = best_step(list(steps.values()))
        if step not in steps:
            listed = ", ".join(map(str, sorted(steps)))
            raise InputError(f"{directory}: no checkpoint of step {step}; there are {listed}")
        saved = checkpointer.checkpointables_metadata(step).metadata
        name = EMA if EMA in saved else PARAMS
        found = {key: tuple(leaf.shape) for key, leaf in flatten(dict(saved[name])).items()}
        if found != config.param_shapes:
            raise InputError(f"{directory}: the parameters of step {step} do not fit {CONFIG_FILE}")
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = {
            key: jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)
            for key, shape in config.param_shapes.items()
        }
        params = checkpointer.load_checkpointables(step, {name: nest(abstract)})[name]
    return config, jax.tree.map(np.asarray, params)


def best_step(checkpoints: list[ocp.training.CheckpointMetadata]) -> int:
    """The step with the lowest validation loss, or the newest where none has one."""
    losses = {
        found.step: float(found.metrics["total"])
        for found in checkpoints
        if isinstance(found.metrics, dict)
    }
    if losses:
        return min(losses, key=losses.__getitem__)
    return max(found.step for found in checkpoints)


def write_config(directory: Path, values: dict) -> None:
    """Keep the configuration beside the checkpoints, as JSON."""
    (directory / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_config(directory: Path) -> dict:
    """Read what `write_config` kept.

    Raises:
        InputError: The file is damaged.
    """
    path = directory / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("network"), dict):
        raise InputError(f"{path}: describes no network")
    return values
