"""The training loop."""

import json
import logging
import math
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int

from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings, SceneConfig, TrainConfig
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import checkpoint
from zerodce_jax.models.checkpoint import TrainingCheckpoints
from zerodce_jax.models.modules import init_params
from zerodce_jax.models.network import Network
from zerodce_jax.training import hosts
from zerodce_jax.training.data import (
    find_photographs,
    split,
    training_batches,
    usable,
    validation_batches,
    with_repeated_dark,
)
from zerodce_jax.training.journal import Journal, OnMetrics
from zerodce_jax.training.losses import Loss, LossFunction, loss_name, weighted_losses
from zerodce_jax.training.step import Metrics, eval_params, init_state, make_losses, make_step

logger = logging.getLogger(__name__)

_SAMPLES = 4
# Settings that may differ when a run is resumed. With the cosine schedule, the length may not: it
# decides the learning rate of every step.
_MAY_CHANGE = frozenset(
    ("epochs", "steps", "cache", "log_every", "checkpoint_every", "keep", "sample_every")
)


@dataclass(frozen=True)
class Outcome:
    """The end of a run."""

    step: int
    """Last step, whose checkpoint is written."""
    stopped_by: signal.Signals | None = None
    """Signal that ended the run early, or None."""


@hosts.detect_lost_processes()
def fit(
    config: TrainConfig,
    *,
    data: Path,
    workdir: Path,
    val_data: Path | None = None,
    network: AnyNetworkConfig | None = None,
    init: Network | None = None,
    losses: LossFunction = weighted_losses,
    resume: Literal["auto", "never"] = "auto",
    on_metrics: OnMetrics | None = None,
) -> Outcome:
    """Train a network, or continue an interrupted run.

    In a run of several processes (`hosts.join`), every process calls this with the same arguments.
    The result equals that of one process, up to rounding.

    Args:
        config: The recipe.
        data: Folder of photographs.
        workdir: Folder for checkpoints, logs and samples; created if missing.
        val_data: Folder of photographs to validate on.
        network: The architecture; None takes that of `init`, or else of `config`.
        init: Network to start from; None draws random weights.
        losses: Function that judges enhanced images; see `LossFunction`. The folder records its
            name, so give another function another name.
        resume: ``auto`` continues from the newest checkpoint in `workdir`; ``never`` refuses a
            folder that has one.
        on_metrics: Function that process 0 calls after every step and every validation.

    Returns:
        The last step. After SIGTERM or Ctrl-C to any of the processes the run ends early, with a
        checkpoint to continue from.

    Raises:
        InputError: There are too few photographs, the checkpoints in `workdir` are of another run,
            or a loss is not finite.
        HostLostError: Another process has ended.
        UsageError: The batch cannot be split evenly over the devices, `init` has another
            architecture than `network`, or `losses` cannot be used.
    """
    # Set-up: the network and its losses.
    if init and network and network != init.config:
        raise UsageError("init: has another architecture than network")
    network = network or (init.config if init else config.network)
    compute_losses = make_losses(network, config, losses)
    rows = hosts.local_rows(config.batch_size)

    # Set-up: the photographs and the run's folder.
    files, val_files = split(find_photographs(data), 0 if val_data else config.val_fraction)
    if val_data:
        val_files = find_photographs(val_data)
    is_scene = isinstance(network, SceneConfig)
    settings = EnhanceSettings.scene() if is_scene else EnhanceSettings.adaptive()
    run = {
        "network": network.to_dict(),
        "train": asdict(config),
        "losses": loss_name(losses),
        "images": len(files),
        "settings": settings.to_dict(),
    }
    # Hosts may keep the photographs in different folders, but under the same names.
    names = [[file.name for file in part] for part in (files, val_files)]
    hosts.check_same(json.dumps([run, names, resume]))
    _prepare_workdir(workdir, run, resume)
    if config.darken:
        files = usable(files, config)
    if is_scene:
        files = with_repeated_dark(files, config)
    if val_files:
        val_files = usable(val_files, config)
    if len(files) < config.batch_size:
        raise InputError(f"{data}: {len(files)} photographs are fewer than a batch")
    sample_files = (val_files or files)[:_SAMPLES]

    # Set-up: the state and the step.
    steps = config.steps or config.epochs * (len(files) // config.batch_size)
    params = init.params if init else init_params(network, seed=config.seed)
    state = init_state(params, config, steps)
    train_step = make_step(compute_losses, config, steps)
    validate = jax.jit(compute_losses)

    def open_journal(start: int) -> Journal:
        return Journal(workdir, network, config, start, steps, sample_files, on_metrics)

    with (
        TrainingCheckpoints(workdir, keep=config.keep) as checkpoints,
        hosts.stop_signal() as stop_signal,
        open_journal(checkpoints.latest or 0) if hosts.is_first() else nullcontext() as journal,
    ):
        if checkpoints.latest is not None:
            state = checkpoints.restore(state)
        start = int(state["step"])
        if journal and start < steps:
            count = sum(x.size for x in jax.tree.leaves(params))
            what = f"{run['images']:,} photographs, {count:,} parameters"
            logger.info("%s, steps %s to %s; compiling", what, f"{start + 1:,}", f"{steps:,}")
        batches = training_batches(files, config, rows=rows, start=start)
        launched = None
        for step in range(start + 1, steps + 1):
            batch = next(batches)
            state, metrics = train_step(state, hosts.shard_batch(batch["images"]))
            # The devices compute in the background. Meanwhile, finish the step before.
            stop = _finish(*launched, journal) if launched else 0
            batch_files = [files[i] for i in batch["files"]]
            launched = step, metrics, batch_files, hosts.max_over_processes(stop_signal())

            saving = step % config.checkpoint_every == 0 or step == steps
            sampling = step % config.sample_every == 0 or step == steps
            if saving or sampling or stop:
                # Finish this step too: only finite parameters may be saved.
                stop = _finish(*launched, journal) or stop
                launched = None
            if sampling and journal:
                journal.samples(step, hosts.local_copy(eval_params(state)))
            val_losses = None
            if saving and val_files and not stop:
                params = hosts.local_copy(eval_params(state))
                val_losses = validation_losses(validate, params, val_files, config)
                if journal:
                    journal.validation(step, val_losses)
            if saving or stop:
                checkpoints.save(state, metrics=val_losses)
            if stop:
                return Outcome(step, signal.Signals(stop))
    return Outcome(max(start, steps))


def _prepare_workdir(workdir: Path, run: dict, resume: Literal["auto", "never"]) -> None:
    """Create the folder of a run, or check that it holds no other run; all processes call this.

    Raises:
        InputError: The folder holds a run, and it differs or `resume` is ``never``.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    # Orbax would start a thread, which complains if the program refuses the folder and ends.
    if any(path.name.isdecimal() for path in workdir.iterdir()):
        if resume == "never":
            raise InputError(f"{workdir}: already holds a run; --resume auto continues it")
        if not checkpoint.is_checkpoint(workdir):
            raise InputError(f"{workdir}: holds checkpoints of another program")
        if differences := _differences(checkpoint.read_config(workdir), run):
            raise InputError(f"{workdir}: its run differs in {', '.join(differences)}")
    # Process 0 must not write before the others have read.
    multihost_utils.sync_global_devices("workdir read")
    if hosts.is_first():
        checkpoint.write_config(workdir, run)


def _differences(before: dict, now: dict) -> list[str]:
    """Name the settings in which an earlier run differs."""
    # Folders of earlier versions do not name the loss function.
    pairs = [("loss function", before.get("losses", loss_name(weighted_losses)), now["losses"])]
    for part in ("network", "train"):
        for name, value in now[part].items():
            fixed = name in {"steps", "epochs"} and now["train"]["schedule"] == "cosine"
            if fixed or name not in _MAY_CHANGE:
                old = before.get(part, {}).get(name)
                # Earlier versions wrote None for these.
                pairs.append(
                    (name, {"scale": 1, "steps": 0}.get(name) if old is None else old, value)
                )
    pairs.append(("number of photographs", before.get("images"), now["images"]))
    return [f"{name} ({old}, now {new})" for name, old, new in pairs if old != new]


def _finish(
    step: int, metrics: Metrics, files: list[Path], signum: Int[Array, ""], journal: Journal | None
) -> int:
    """Wait for a launched step, record its metrics, and return the stop signal.

    Raises:
        InputError: A loss is not finite.
    """
    values = {name: float(value) for name, value in metrics.items()}
    if not all(map(math.isfinite, values.values())):
        listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
        names = ", ".join(map(str, files))
        raise InputError(f"step {step}: the loss is not finite ({listed}) on {names}")
    if journal:
        journal.train(step, values)
    return int(signum)


def validation_losses(
    losses: Callable[..., tuple[Loss, Metrics]],
    params: dict,
    files: list[Path],
    config: TrainConfig,
) -> dict[str, float]:
    """Return the mean losses over photographs; each process computes some of the batches.

    `losses` is the function that `make_losses` returned, jitted. All the files must be `usable`.
    """
    size = config.batch_size
    count = -(-len(files) // size)
    local = range(jax.process_index(), count, jax.process_count())
    local_files = [file for i in local for file in files[i * size : (i + 1) * size]]
    pixels = jax.ShapeDtypeStruct((size, config.image_size, config.image_size, 3), jnp.uint8)
    names = sorted(jax.eval_shape(losses, params, pixels)[1])
    # One row per batch keeps the sum the same for any number of processes.
    table = np.zeros((count, len(names)), np.float32)
    if local_files:
        for i, batch in zip(local, validation_batches(local_files, config), strict=True):
            _, values = losses(params, batch["images"])
            table[i] = [len(batch["images"]) * float(values[name]) for name in names]
    sums = hosts.sum_over_processes(table).sum(0, dtype=np.float64)
    return {name: float(value) / len(files) for name, value in zip(names, sums, strict=True)}
