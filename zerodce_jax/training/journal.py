"""The records of a training run: a log, TensorBoard scalars, and sample sheets.

Each line of ``metrics.jsonl`` is a JSON object: the step, the losses (validation losses have names
that begin with ``val_``), the gradient norm, the learning rate, and images per second.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8
from tensorboardX import SummaryWriter

from zerodce_jax.atomic import replacing
from zerodce_jax.config import AnyNetworkConfig, TrainConfig
from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo
from zerodce_jax.models.modules import graphdef
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.pixels import to_float
from zerodce_jax.training.data import validation_batches

LOG_FILE = "metrics.jsonl"

OnMetrics = Callable[[int, int, dict[str, float]], None]
"""Function of the step, the length of the run, and the step's metrics by name."""


class Journal:
    """Context manager that writes the records of a run; process 0 has the only one.

    Args:
        workdir: The run's folder.
        network: The architecture.
        config: The recipe.
        start: Step that the run continues from. Records of later steps are dropped, because the
            run takes those steps again.
        steps: Length of the whole run.
        sample_files: Photographs on the sample sheets.
        on_metrics: Function to call after every step and every validation.
    """

    def __init__(
        self,
        workdir: Path,
        network: AnyNetworkConfig,
        config: TrainConfig,
        start: int,
        steps: int,
        sample_files: list[Path],
        on_metrics: OnMetrics | None = None,
    ) -> None:
        self._workdir, self._network, self._config = workdir, network, config
        self._steps, self._on_metrics = steps, on_metrics or (lambda *_: None)
        _drop_after(workdir / LOG_FILE, start)
        self._log = (workdir / LOG_FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        batches = validation_batches(sample_files, config)
        self._sample_pixels = np.concatenate([batch["images"] for batch in batches])
        self._last_entry = (start, time.perf_counter())

    def train(self, step: int, metrics: dict[str, float]) -> None:
        """Record a finished step: its losses, gradient norm and learning rate.

        The log has every `log_every`-th step, and the last one.
        """
        if step % self._config.log_every == 0 or step == self._steps:
            now = time.perf_counter()
            last_step, last_time = self._last_entry
            speed = (step - last_step) * self._config.batch_size / (now - last_time)
            self._last_entry = (step, now)
            metrics = metrics | {"images_per_second": round(speed, 2)}
            self._write(step, metrics, "train")
        self._on_metrics(step, self._steps, metrics)

    def validation(self, step: int, losses: dict[str, float]) -> None:
        """Record the losses on the validation photographs."""
        metrics = {f"val_{name}": value for name, value in losses.items()}
        self._write(step, metrics, "validation")
        self._on_metrics(step, self._steps, metrics)

    def samples(self, step: int, params: dict) -> None:
        """Write a sheet with one row per sample: input, enhanced image, mean curve map."""
        rows = np.asarray(_sample_rows(self._network, params, self._sample_pixels))
        sheet = np.round(np.concatenate(list(rows)) * 255).astype(np.uint8)
        photo.write(self._workdir / "samples" / f"{step:07d}.png", Photo(sheet))
        self._board.add_image("samples", sheet, step, dataformats="HWC")

    def _write(self, step: int, metrics: dict[str, float], part: str) -> None:
        self._log.write(json.dumps({"step": step} | metrics) + "\n")
        self._log.flush()
        for name, value in metrics.items():
            self._board.add_scalar(f"{part}/{name.removeprefix('val_')}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._board.close()
        self._log.close()


def _drop_after(log: Path, step: int) -> None:
    """Drop the lines of later steps, and a last line that was not written completely."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        complete = (line for line in lines if line.endswith("\n"))
        kept = [line for line in complete if json.loads(line)["step"] <= step]
        with replacing(log) as temporary:
            temporary.write_text("".join(kept))


@partial(jax.jit, static_argnums=0)
def _sample_rows(
    network: AnyNetworkConfig, params: dict, pixels: UInt8[Array, "n h w 3"]
) -> Float[Array, "n h w3 3"]:
    images = to_float(pixels)
    maps = nnx.merge(graphdef(network), params)(images)
    enhanced = apply_curves(images, maps, iterations=network.iterations)
    per_iteration = maps.reshape(*maps.shape[:3], -1, 3)
    # Negative maps brighten: show them as white.
    curves = (1 - per_iteration.mean(3)) / 2
    return jnp.concatenate([images, enhanced, curves], axis=2)
