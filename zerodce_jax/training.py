"""Training without references: the loop around the step, from first to last or from the middle."""

import dataclasses
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Shaped

from zerodce_jax import data as pipeline
from zerodce_jax.checkpoint import TrainingCheckpoints, is_checkpoint, read_config, write_config
from zerodce_jax.config import EnhanceSettings, NetworkConfig, TrainConfig
from zerodce_jax.convert import Network
from zerodce_jax.curves import apply_curves
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.journal import Journal, Watch
from zerodce_jax.network import graphdef, init_params, to_float
from zerodce_jax.step import Terms, init_state, make_losses, make_step, result, shard_batch

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

    Args:
        config: The recipe.
        data: Folder of photographs.
        workdir: Folder for checkpoints, logs and samples; made where it is missing.
        val_data: Folder of photographs to validate on.
        init: A network to start from; its architecture then counts, not the config's.
        resume: ``auto`` goes on from the newest checkpoint in `workdir`; ``never`` refuses a
            folder that has one.
        watch: Called with the step, the length of the run and what is known of the step, after
            every step and every validation.

    Returns:
        Where the run ended. After SIGTERM or Ctrl-C that is before the last step, with a
        checkpoint to go on from.

    Raises:
        InputError: There are no photographs, the checkpoints in `workdir` are of another run, or a
            loss is not finite.
        UsageError: The batch cannot be split over the devices.
    """
    files, val_files = _files(data, val_data, config)
    devices = jax.local_device_count()
    if config.batch_size % devices:
        raise UsageError(f"a batch of {config.batch_size} cannot be split over {devices} devices")
    if len(files) < config.batch_size:
        raise InputError(f"{data}: {len(files)} photographs are fewer than a batch")
    network = init.config if init else config.network
    steps = config.steps or config.epochs * (len(files) // config.batch_size)
    _prepare(workdir, network, config, len(files), resume)

    batches = pipeline.training_batches(files, config)
    params = init.params if init else init_params(network, seed=config.seed)
    state = init_state(params, config, steps)
    train_step = make_step(network, config, steps)
    validate = jax.jit(make_losses(network, config))
    with TrainingCheckpoints(workdir, keep=config.keep) as checkpoints, stop_signal() as stopped:
        if checkpoints.latest is not None:
            state = checkpoints.restore(state, batches)
        start = int(state["step"])
        samples = _Samples(network, (val_files or files)[:_SAMPLES], config)
        with Journal(workdir, start=start, steps=steps, config=config, watch=watch) as journal:
            running: tuple[int, Terms, list[Path]] | None = None
            for step in range(start + 1, steps + 1):
                batch = next(batches)
                state, terms = train_step(state, shard_batch(batch["images"]))
                # While this step runs, the one before it is looked at.
                if running:
                    journal.train(running[0], _finite(*running))
                running = (step, terms, [files[i] for i in batch["files"]])
                signum = stopped()
                due = step % config.checkpoint_every == 0 or step == steps
                sampling = step % config.sample_every == 0 or step == steps
                if not (due or signum or sampling):
                    continue
                journal.train(step, _finite(*running))
                running = None
                if sampling:
                    journal.samples(step, samples(result(state)))
                metrics = None
                if due and val_files and not signum:
                    metrics = validation_losses(validate, result(state), val_files, config)
                    journal.validation(step, metrics)
                if due or signum:
                    checkpoints.save(state, batches, metrics=metrics)
                if signum:
                    return Outcome(step, signum)
    return Outcome(max(start, steps))


def validation_losses(
    losses: Callable[..., Terms], params: dict, files: list[Path], config: TrainConfig
) -> dict[str, float]:
    """Average the losses over photographs.

    Args:
        losses: What `make_losses` made, jitted.
        params: The parameters to judge.
        files: The photographs.
        config: Of it: batch and image size.

    Returns:
        The mean of each loss.
    """
    sums: dict[str, float] = {}
    count = 0
    for batch in pipeline.validation_batches(files, config):
        size = len(batch["images"])
        for name, value in losses(params, batch["images"]).items():
            sums[name] = sums.get(name, 0.0) + float(value) * size
        count += size
    return {name: value / count for name, value in sums.items()}


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


def _prepare(
    workdir: Path,
    network: NetworkConfig,
    config: TrainConfig,
    images: int,
    resume: Literal["auto", "never"],
) -> None:
    """Make the run's folder, or make sure that the run in it is this one."""
    workdir.mkdir(parents=True, exist_ok=True)
    values = {
        "network": network.to_dict(),
        "train": dataclasses.asdict(config),
        "images": images,
        "settings": EnhanceSettings.adaptive().to_dict(),
    }
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
