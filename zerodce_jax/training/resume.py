"""The folder of a run: it holds a new run, or continues the same one."""

from pathlib import Path
from typing import Any, Literal

from jax.experimental import multihost_utils

from zerodce_jax.errors import InputError
from zerodce_jax.models.checkpoint import (
    TrainingCheckpoints,
    is_checkpoint,
    read_config,
    write_config,
)
from zerodce_jax.training import hosts
from zerodce_jax.training.losses import loss_name, weighted_losses

# These settings do not change the steps that a run takes.
_MAY_CHANGE = frozenset(
    ("epochs", "steps", "cache", "log_every", "checkpoint_every", "keep", "sample_every")
)


def prepare_workdir(workdir: Path, run: dict[str, Any], resume: Literal["auto", "never"]) -> None:
    """Create the folder of a run, or check that the run in it is the same one.

    All processes call this alike.

    Args:
        workdir: The folder.
        run: Content of ``config.json``: ``network``, ``train``, ``losses`` and ``images`` identify
            the run.
        resume: ``never`` refuses a folder that holds a run.

    Raises:
        InputError: The folder holds a run, and it differs or `resume` is ``never``.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with TrainingCheckpoints(workdir, keep=run["train"]["keep"]) as checkpoints:
        has_run = checkpoints.latest is not None
    if has_run:
        if resume == "never":
            raise InputError(f"{workdir}: already holds a run; --resume auto continues it")
        if not is_checkpoint(workdir):
            raise InputError(f"{workdir}: holds checkpoints of another program")
        if differences := _differences(read_config(workdir), run):
            raise InputError(f"{workdir}: its run differs in {', '.join(differences)}")
    # Process 0 must not write before the others have read.
    multihost_utils.sync_global_devices("workdir read")
    if hosts.is_first():
        write_config(workdir, run)


def _differences(before: dict, now: dict) -> list[str]:
    """Name the settings in which an earlier run differs."""
    # Folders of earlier versions do not name the loss function.
    pairs = [("loss function", before.get("losses", loss_name(weighted_losses)), now["losses"])]
    for part in ("network", "train"):
        for name, value in now[part].items():
            if name not in _MAY_CHANGE:
                pairs.append((name, before.get(part, {}).get(name), value))
    pairs.append(("number of photographs", before.get("images"), now["images"]))
    return [f"{name} ({old}, now {new})" for name, old, new in pairs if old != new]
