"""The folder of a run: it holds a new run, or continues the same one."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

from zerodce_jax.config import EnhanceSettings, NetworkConfig, TrainConfig
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models.checkpoint import (
    TrainingCheckpoints,
    is_checkpoint,
    read_config,
    write_config,
)
from zerodce_jax.training import hosts
from zerodce_jax.training.losses import LossFunction, weighted_losses

# These settings do not change the steps that a run takes.
_MAY_CHANGE = frozenset(
    ("epochs", "steps", "cache", "log_every", "checkpoint_every", "keep", "sample_every")
)


def prepare_workdir(
    workdir: Path,
    network: NetworkConfig,
    config: TrainConfig,
    losses: LossFunction,
    *,
    files: list[Path],
    val_files: list[Path],
    resume: Literal["auto", "never"],
) -> None:
    """Create the folder of a run, or check that the run in it is the same one.

    ``config.json`` in the folder holds what identifies the run. All processes call this alike.

    Args:
        workdir: The folder.
        network: The architecture.
        config: The recipe.
        losses: The loss function, which is recorded and compared by its name.
        files: Photographs to train on.
        val_files: Photographs to validate on.
        resume: ``never`` refuses a folder that holds a run.

    Raises:
        InputError: The folder holds a run, and it differs or `resume` is ``never``; or the
            processes were started differently.
        UsageError: The loss function has no name of its own.
    """
    run = {
        "network": network.to_dict(),
        "train": dataclasses.asdict(config),
        "losses": _name(losses),
        "images": len(files),
        "settings": EnhanceSettings.adaptive().to_dict(),
    }
    # Hosts may keep the photographs in different folders, but under the same names.
    names = [[file.name for file in part] for part in (files, val_files)]
    hosts.check_same(json.dumps([run, names, resume]))
    workdir.mkdir(parents=True, exist_ok=True)
    with TrainingCheckpoints(workdir, keep=config.keep) as checkpoints:
        has_run = checkpoints.latest is not None
    if has_run:
        if resume == "never":
            raise InputError(f"{workdir}: already holds a run; --resume auto continues it")
        if not is_checkpoint(workdir):
            raise InputError(f"{workdir}: holds checkpoints of another program")
        if differences := _differences(read_config(workdir), run):
            raise InputError(f"{workdir}: its run differs in {', '.join(differences)}")
    # Process 0 must not write before the others have read.
    hosts.barrier("workdir read")
    if hosts.is_first():
        write_config(workdir, run)


def _name(losses: LossFunction) -> str:
    """Return the name that a loss function is recorded under."""
    name = getattr(losses, "__qualname__", "<lambda>")
    if "<lambda>" in name:
        raise UsageError("losses: define the loss function with def; a run is resumed by its name")
    return f"{losses.__module__}.{name}"


def _differences(before: dict, now: dict) -> list[str]:
    """Name the settings in which an earlier run differs."""
    # Folders of earlier versions do not name the loss function.
    pairs = [("loss function", before.get("losses", _name(weighted_losses)), now["losses"])]
    for part in ("network", "train"):
        for name, value in now[part].items():
            if name not in _MAY_CHANGE:
                pairs.append((name, before.get(part, {}).get(name), value))
    pairs.append(("number of photographs", before.get("images"), now["images"]))
    return [f"{name} ({old}, now {new})" for name, old, new in pairs if old != new]
