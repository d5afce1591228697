"""Training without references: the loop around the step, from first to last or from the middle."""

import dataclasses
import json
import math
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int, Shaped

from zerodce_jax.config import WELL_EXPOSED, EnhanceSettings, NetworkConfig, TrainConfig
from zerodce_jax.errors import HostLostError, InputError
from zerodce_jax.models.checkpoint import (
    TrainingCheckpoints,
    is_checkpoint,
    read_config,
    write_config,
)
from zerodce_jax.models.dcenet import graphdef, init_params
from zerodce_jax.models.network import Network
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.pixels import to_float
from zerodce_jax.training import data as pipeline
from zerodce_jax.training import hosts
from zerodce_jax.training.journal import Journal, Silent, Watch
from zerodce_jax.training.step import Terms, init_state, make_losses, make_step, result

# What may change between two parts of one run: its length, and what it leaves behind.
_FREE_TO_CHANGE = frozenset(
    ("epochs", "steps", "cache", "log_every", "checkpoint_every", "keep", "sample_every")
)
_SAMPLES = 4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    """The last step, whose checkpoint is written."""
    stopped_by: signal.Signals | None = None
    """The signal that ended it early."""


@contextmanager
def _noticing_losses() -> Iterator[None]:
    """Tell errors that come of the end of another process from those of this one."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # By these words collectives and barriers fail whose other ends are gone.
        told = re.search("gloo|nccl|connection|coordination|heartbeat", str(error), re.IGNORECASE)
        if jax.process_count() > 1 and (told or isinstance(error, TimeoutError)):
            raise HostLostError(
                "another process of this run has ended;"
                " the same commands go on from the last checkpoint"
            ) from error
        raise


@_noticing_losses()
def fit(
    config: TrainConfig,
    *,
    data: Path,
    workdir: Path,
    val_data: Path | None = None,
    init: Network | None = None,
    resume: Literal["auto", "never"] = "auto",
    watch: Watch | None = None,
) -> Outcome:
    """Train a network, or go on with a run that was interrupted.

    Where `hosts.join` made this one of several processes, all of them call this alike; the result
    is that of one process, to rounding.

    Args:
        config: The recipe.
        data: Folder of photographs.
        workdir: Folder for checkpoints, logs and samples; made where it is missing.
        val_data: Folder of photographs to validate on.
        init: A network to start from; its architecture then counts, not the config's.
        resume: ``auto`` goes on from the newest checkpoint in `workdir`; ``never`` refuses a
            folder that has one.
        watch: Called with the step, the length of the run and what is known of the step, after
            every step and every validation; by process 0 alone.

    Returns:
        Where the run ended. After SIGTERM or Ctrl-C, to any of the processes, that is before the
        last step, with a checkpoint to go on from.

    Raises:
        InputError: There are no photographs, the checkpoints in `workdir` are of another run, or a
            loss is not finite.
        HostLostError: Another process has ended.
        UsageError: The batch cannot be split over the devices.
    """
    rows = hosts.rows(config.batch_size)
    network = init.config if init else config.network
    files, val_files = _files(data, val_data, config)
    _prepare(workdir, network, config, (files, val_files), resume)
    if config.darken:
        files = _usable(files, config)
    if val_files:
        val_files = _usable(val_files, config)
    if len(files) < config.batch_size:
        raise InputError(f"{data}: {len(files)} photographs are fewer than a batch")
    steps = config.steps or config.epochs * (len(files) // config.batch_size)

    params = init.params if init else init_params(network, seed=config.seed)
    state = init_state(params, config, steps)
    train_step = make_step(network, config, steps)
    validate = jax.jit(make_losses(network, config))
    with TrainingCheckpoints(workdir, keep=config.keep) as checkpoints, stop_signal() as came:
        if checkpoints.latest is not None:
            state = checkpoints.restore(state)
        start = int(state["step"])
        batches = pipeline.training_batches(files, config, rows=rows, start=start)
        samples, journal = None, Silent()
        if hosts.is_first():
            samples = _Samples(network, (val_files or files)[:_SAMPLES], config)
            journal = Journal(workdir, start=start, steps=steps, config=config, watch=watch)
        with journal:
            running: _Running | None = None
            for step in range(start + 1, steps + 1):
                batch = next(batches)
                state, terms = train_step(state, hosts.shared(batch["images"]))
                signum = 0
                # While this step runs, the one before it is looked at.
                if running:
                    signum = running.look(journal)
                names = [files[i] for i in batch["files"]]
                running = _Running(step, terms, names, hosts.largest(came() or 0))
                due = step % config.checkpoint_every == 0 or step == steps
                sampling = step % config.sample_every == 0 or step == steps
                if not (due or signum or sampling):
                    continue
                signum = running.look(journal) or signum
                running = None
                if sampling and samples:
                    journal.samples(step, samples(hosts.here(result(state))))
                metrics = None
                if due and val_files and not signum:
                    params = hosts.here(result(state))
                    metrics = validation_losses(validate, params, val_files, config)
                    journal.validation(step, metrics)
                if due or signum:
                    checkpoints.save(state, metrics=metrics)
                if signum:
                    return Outcome(step, signal.Signals(signum))
    return Outcome(max(start, steps))


@dataclasses.dataclass(frozen=True)
class _Running:
    """A step that was sent off to the devices."""

    step: int
    terms: Terms
    files: list[Path]
    signum: Int[Array, ""]
    """The signal that came to any of the processes before it, or 0; all learn of it alike."""

    def look(self, journal: Silent) -> int:
        """Wait for it, record it, and return the signal."""
        journal.train(self.step, _finite(self.step, self.terms, self.files))
        return int(self.signum)


def validation_losses(
    losses: Callable[..., Terms], params: dict, files: list[Path], config: TrainConfig
) -> dict[str, float]:
    """Average the losses over photographs; each process looks at some of the batches.

    Args:
        losses: What `make_losses` made, jitted.
        params: The parameters to judge.
        files: The photographs, `data.usable` ones.
        config: Of it: batch and image size.

    Returns:
        The mean of each loss.
    """
    size = config.batch_size
    count = -(-len(files) // size)
    mine = range(jax.process_index(), count, jax.process_count())
    some = [file for i in mine for file in files[i * size : (i + 1) * size]]
    pixels = jax.ShapeDtypeStruct((size, config.image_size, config.image_size, 3), jnp.uint8)
    names = sorted(jax.eval_shape(losses, params, pixels))
    # A row a batch, so that the sum is the same however many processes there are.
    table = np.zeros((count, len(names)), np.float32)
    if some:
        for i, batch in zip(mine, pipeline.validation_batches(some, config), strict=True):
            terms = losses(params, batch["images"])
            table[i] = [len(batch["images"]) * float(terms[name]) for name in names]
    sums = hosts.summed(table).sum(0, dtype=np.float64)
    return {name: float(value) / len(files) for name, value in zip(names, sums, strict=True)}


@contextmanager
def stop_signal() -> Iterator[Callable[[], signal.Signals | None]]:
    """Turn the first SIGTERM or Ctrl-C into an answer; the second acts as ever.

    Yields:
        A function that tells which of them came, or None.
    """
    came: list[signal.Signals] = []

    def note(signum: int, _frame: object) -> None:
        came.append(signal.Signals(signum))
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: came[0] if came else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Samples:
    """Rows of input | enhanced | mean curve map, of the same few photographs each time."""

    def __init__(self, network: NetworkConfig, files: list[Path], config: TrainConfig) -> None:
        batches = pipeline.validation_batches(files, config)
        self._pixels = np.concatenate([batch["images"] for batch in batches])
        structure = graphdef(network)

        def draw(params: dict, pixels: Array) -> Array:
            images = to_float(pixels)
            maps = nnx.merge(structure, params)(images)
            enhanced = apply_curves(images, maps, iterations=network.iterations)
            per_iteration = maps.reshape(*maps.shape[:3], -1, 3)
            # Maps are negative where they brighten: show that as white.
            curves = (1 - per_iteration.mean(3)) / 2
            return jnp.concatenate([images, enhanced, curves], axis=2)

        self._draw = jax.jit(draw)

    def __call__(self, params: dict) -> Shaped[np.ndarray, "h w 3"]:
        rows = np.asarray(self._draw(params, self._pixels))
        return np.round(np.concatenate(list(rows)) * 255).astype(np.uint8)


def _files(data: Path, val_data: Path | None, config: TrainConfig) -> tuple[list[Path], list[Path]]:
    files = pipeline.find_images(data)
    if val_data is not None:
        return files, pipeline.find_images(val_data)
    return pipeline.split(files, config.val_fraction)


def _usable(files: list[Path], config: TrainConfig) -> list[Path]:
    """The photographs of use; each process looks at some of them."""
    mine = slice(jax.process_index(), None, jax.process_count())
    found = np.zeros(len(files), np.int32)
    found[mine] = pipeline.usable(files[mine], config)
    chosen = [file for file, use in zip(files, hosts.summed(found), strict=True) if use]
    if not chosen:
        wanted = " and has a mean brightness of {} to {}".format(*WELL_EXPOSED)
        raise InputError(
            f"none of the {len(files)} photographs can be read{wanted if config.darken else ''}"
        )
    return chosen


def _prepare(
    workdir: Path,
    network: NetworkConfig,
    config: TrainConfig,
    files: tuple[list[Path], list[Path]],
    resume: Literal["auto", "never"],
) -> None:
    """Make the run's folder, or make sure that the run in it is this one."""
    values = {
        "network": network.to_dict(),
        "train": dataclasses.asdict(config),
        "images": len(files[0]),
        "settings": EnhanceSettings.adaptive().to_dict(),
    }
    # Hosts may have the photographs in other folders, but under the same names.
    names = [[file.name for file in part] for part in files]
    hosts.check_alike(json.dumps([values, names, resume]))
    workdir.mkdir(parents=True, exist_ok=True)
    with TrainingCheckpoints(workdir, keep=config.keep) as checkpoints:
        begun = checkpoints.latest is not None
    if begun:
        if resume == "never":
            raise InputError(f"{workdir}: holds a run already; --resume auto goes on with it")
        if not is_checkpoint(workdir):
            raise InputError(f"{workdir}: holds checkpoints of another program")
        changed = _differences(read_config(workdir), values)
        if changed:
            raise InputError(f"{workdir}: the run there differs in {', '.join(changed)}")
    hosts.wait("looked at")
    if hosts.is_first():
        write_config(workdir, values)


def _differences(before: dict, now: dict) -> list[str]:
    """Name the settings that would make the rest of a run another run."""
    names = []
    for part in ("network", "train"):
        for name, value in now[part].items():
            old = before.get(part, {}).get(name)
            if old != value and name not in _FREE_TO_CHANGE:
                names.append(f"{name} ({old}, now {value})")
    if before.get("images") != now["images"]:
        names.append(f"number of photographs ({before.get('images')}, now {now['images']})")
    return names


def _finite(step: int, terms: Terms, files: list[Path]) -> dict[str, float]:
    """Fetch the losses of a step, and stop the run if they are of no use."""
    values = {name: float(value) for name, value in terms.items()}
    if not all(map(math.isfinite, values.values())):
        listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
        names = ", ".join(map(str, files))
        raise InputError(f"step {step}: the loss is not finite ({listed}) on {names}")
    return values
