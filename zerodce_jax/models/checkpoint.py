"""Networks as Orbax checkpoints: a folder of numbered steps with its configuration beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from zerodce_jax.config import EnhanceSettings, NetworkConfig, flatten, nest
from zerodce_jax.errors import InputError, UsageError

CONFIG_FILE = "config.json"
PARAMS = "params"
EMA = "ema"


def is_checkpoint(directory: Path) -> bool:
    """Whether a folder holds checkpoints that this project wrote."""
    return (directory / CONFIG_FILE).is_file()


def save_network(
    directory: Path, config: NetworkConfig, params: dict, settings: EnhanceSettings
) -> None:
    """Write a network as step 0 of a new checkpoint folder.

    Args:
        directory: The folder; made here.
        config: The architecture.
        params: Nested dict of arrays.
        settings: How pictures are enhanced with it.
    """
    directory.mkdir(parents=True)
    write_config(directory, {"network": config.to_dict(), "settings": settings.to_dict()})
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        checkpointer.save_checkpointables(0, {PARAMS: params})


def load_network(
    directory: Path, step: int | None = None
) -> tuple[NetworkConfig, dict, EnhanceSettings]:
    """Read a network from a checkpoint folder.

    Args:
        directory: What `save_network` or a training run wrote.
        step: Which step; None takes the best by validation, or the newest where there was none.

    Returns:
        The architecture; the parameters (their moving average where the run kept one) as a nested
        dict of NumPy arrays; and how pictures are enhanced with it, as Zero-DCE-improved does where
        the folder does not say.

    Raises:
        InputError: There is no finished checkpoint, or not this one, or it does not fit its config.
    """
    try:
        values = read_config(directory)
        config = NetworkConfig.from_dict(values["network"])
        settings = EnhanceSettings.from_dict(values.get("settings", {}))
    except (UsageError, TypeError) as error:
        # What is wrong is the file, not the usage.
        raise InputError(f"{directory / CONFIG_FILE}: {error}") from error
    with ocp.training.Checkpointer(str(directory.absolute())) as checkpointer:
        steps = {found.step: found for found in checkpointer.checkpoints}
        if not steps:
            raise InputError(f"{directory}: no finished checkpoint in this folder")
        if step is None:
            step = best_step(list(steps.values()))
        if step not in steps:
            listed = ", ".join(map(str, sorted(steps)))
            raise InputError(f"{directory}: no checkpoint of step {step}; there are {listed}")
        try:
            name = EMA if (directory / str(step) / EMA).is_dir() else PARAMS
            saved = ocp.metadata(steps[step].path, name).metadata
            shapes = {key: tuple(leaf.shape) for key, leaf in flatten(dict(saved)).items()}
            if shapes != config.param_shapes:
                raise InputError(
                    f"{directory}: the parameters of step {step} do not fit {CONFIG_FILE}"
                )
            sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            abstract = {
                key: jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)
                for key, shape in config.param_shapes.items()
            }
            params = checkpointer.load_checkpointables(step, {name: nest(abstract)})[name]
        except InputError:
            raise
        except Exception as error:
            # Orbax fails in many ways on files that are missing or cut short.
            raise InputError(f"{directory}: step {step} is damaged or incomplete") from error
    return config, jax.tree.map(np.asarray, params), settings


def best_step(checkpoints: Sequence[Any]) -> int:
    """The step with the lowest validation loss, or the newest where none has one."""
    losses = {found.step: float(found.metrics["total"]) for found in checkpoints if found.metrics}
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
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("network"), dict):
        raise InputError(f"{path}: describes no network")
    return values


class TrainingCheckpoints:
    """The checkpoints of a training run: complete, written in the background, old ones removed.

    Each holds the parameters, their moving average, the optimizer's state, and the step, which is
    the place in the data as well. Where several processes train together, they write it together.
    Use as a context manager: leaving it waits for what is still being written.

    Args:
        directory: The run's folder, which exists.
        keep: How many of the newest to keep, besides the best by validation.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        training: Any = ocp.training
        policies = training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            # The training loop decides when.
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.BestN(
                        n=1,
                        get_metric_fn=lambda metrics: metrics["total"],
                        reverse=True,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )

    @property
    def latest(self) -> int | None:
        """Step of the newest finished checkpoint, or None."""
        found = self._checkpointer.latest
        return None if found is None else found.step

    def save(self, state: dict, *, metrics: dict[str, float] | None = None) -> None:
        """Start writing a checkpoint; returns once its content can no longer change.

        Args:
            state: Parameters, optimizer state and step, as the training step keeps them.
            metrics: Validation losses, ``total`` among them.
        """
        # The next step donates these buffers: write from a copy.
        state = jax.tree.map(jnp.copy, state)
        self._checkpointer.save_checkpointables_async(
            int(state["step"]), state, metrics=dict(metrics) if metrics else None
        )

    def restore(self, state: dict) -> dict:
        """Read the newest checkpoint.

        Args:
            state: A state of the same structure, shapes and sharding.

        Returns:
            The state that was saved.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        loaded = self._checkpointer.load_checkpointables(None, abstract)
        return {name: loaded[name] for name in state}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._checkpointer.close()
