"""Orbax checkpoints: a folder with numbered steps and a file with the configuration."""

import json
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from zerodce_jax.config import EnhanceSettings, network_config
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models.network import Network, flatten, require_finite, unflatten

CONFIG_FILE = "config.json"
PARAMS = "params"
EMA = "ema"


def is_checkpoint(directory: Path) -> bool:
    """Return whether a folder holds checkpoints of this package."""
    return (directory / CONFIG_FILE).is_file()


def write_checkpoint(directory: Path, network: Network) -> None:
    """Create a checkpoint folder with a network as its step 0."""
    directory.mkdir(parents=True)
    config = {"network": network.config.to_dict(), "settings": network.settings.to_dict()}
    write_config(directory, config)
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        checkpointer.save_checkpointables(0, {PARAMS: network.params})


def read_checkpoint(directory: Path, step: int | None = None) -> Network:
    """Read a network from a folder that `write_checkpoint` or a training run wrote.

    Args:
        directory: The folder. If it stores no settings, the network gets the default ones.
        step: The step; None takes the one with the lowest validation loss, or the newest if none
            was validated.

    Returns:
        The network, with the moving average of the parameters if the run kept one.

    Raises:
        InputError: No checkpoint is finished, or the step is missing, damaged, does not fit its
            config, or holds NaN or infinity.
    """
    try:
        values = read_config(directory)
        config = network_config(values["network"])
        settings = EnhanceSettings.from_dict(values.get("settings", {}))
    except (UsageError, TypeError) as error:
        # A wrong value in the file is a damaged file, not wrong usage.
        raise InputError(f"{directory / CONFIG_FILE}: {error}") from error
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        checkpoints = {checkpoint.step: checkpoint for checkpoint in checkpointer.checkpoints}
        if not checkpoints:
            raise InputError(f"{directory}: no finished checkpoint in this folder")
        if step is None:
            step = _best_step(checkpoints)
        if step not in checkpoints:
            steps = ", ".join(map(str, sorted(checkpoints)))
            raise InputError(f"{directory}: no checkpoint of step {step}; existing steps: {steps}")
        try:
            name = EMA if (directory / str(step) / EMA).is_dir() else PARAMS
            stored = ocp.metadata(checkpoints[step].path, name).metadata
            shapes = {key: tuple(leaf.shape) for key, leaf in flatten(dict(stored)).items()}
            if shapes != config.param_shapes:
                raise InputError(
                    f"{directory}: the parameters of step {step} do not fit {CONFIG_FILE}"
                )
            sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            abstract = {
                key: jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)
                for key, shape in shapes.items()
            }
            params = checkpointer.load_checkpointables(step, {name: unflatten(abstract)})[name]
        except InputError:
            raise
        except Exception as error:
            # Orbax raises many types of errors for files that are missing or truncated.
            raise InputError(f"{directory}: step {step} is damaged or incomplete") from error
    params = jax.tree.map(np.asarray, params)
    require_finite(flatten(params), f"{directory}@{step}")
    return Network(config, params, settings)


def _best_step(checkpoints: dict[int, Any]) -> int:
    losses = {step: float(c.metrics["total"]) for step, c in checkpoints.items() if c.metrics}
    return min(losses, key=losses.__getitem__) if losses else max(checkpoints)


def write_config(directory: Path, values: dict) -> None:
    """Write the configuration into a checkpoint folder, as JSON."""
    (directory / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_config(directory: Path) -> dict:
    """Read the configuration that `write_config` wrote.

    Raises:
        InputError: The file is damaged, or does not describe a network.
    """
    path = directory / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("network"), dict):
        raise InputError(f"{path}: does not describe a network")
    return values


class TrainingCheckpoints:
    """The checkpoints of a training run, written in the background; old ones are removed.

    A checkpoint holds the parameters, their moving average, the state of the optimizer, and the
    step, which also gives the position in the data. Processes that train together write it
    together. The class is a context manager, whose exit waits for pending writes.

    Args:
        directory: The folder of the run, which must exist.
        keep: Number of the newest checkpoints to keep, besides the best one by validation.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        training: Any = ocp.training
        policies = training.preservation_policies
        best = policies.BestN(
            n=1,
            get_metric_fn=lambda metrics: metrics["total"],
            reverse=True,
            keep_checkpoints_without_metrics=False,
        )
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            # The training loop decides when to save.
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
        )

    @property
    def latest(self) -> int | None:
        """Step of the newest finished checkpoint, or None."""
        checkpoint = self._checkpointer.latest
        return None if checkpoint is None else checkpoint.step

    def save(self, state: dict, *, metrics: dict[str, float] | None = None) -> None:
        """Start to write the state of a training step; later changes of it do not matter.

        Args:
            state: Parameters, optimizer state and step.
            metrics: Validation losses, including ``total``.
        """
        # The next training step donates these buffers, so the write needs a copy.
        state = jax.tree.map(jnp.copy, state)
        self._checkpointer.save_checkpointables_async(
            int(state["step"]), state, metrics=dict(metrics) if metrics else None
        )

    def restore(self, state: dict) -> dict:
        """Return the newest saved state, given one with its structure, shapes and sharding."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        loaded = self._checkpointer.load_checkpointables(None, abstract)
        return {name: loaded[name] for name in state}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._checkpointer.close()
