"""What people watch of a training run: a log, TensorBoard, sample pictures.

``metrics.jsonl`` holds a line for each entry: the step, the losses (those of validation with
``val_`` before their names), the gradient norm, the learning rate, and images per second.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from zerodce_jax.atomic import replacing
from zerodce_jax.config import TrainConfig
from zerodce_jax.media import photo

LOG_FILE = "metrics.jsonl"


Watch = Callable[[int, int, dict[str, float]], None]
"""Told the step, the length of the run, and what is known of the step, by name."""


class Silent:
    """What the other processes of a run have in place of a `Journal`, which process 0 keeps."""

    def train(self, step: int, terms: dict[str, float]) -> None:
        """Say nothing."""

    def validation(self, step: int, losses: dict[str, float]) -> None:
        """Say nothing."""

    def samples(self, step: int, grid: UInt8[np.ndarray, "h w 3"]) -> None:
        """Say nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Journal(Silent):
    """Keeps the records of a run; a context manager.

    Args:
        workdir: The run's folder.
        start: The step that the run goes on from; what was recorded after it is forgotten, since
            those steps are taken again.
        steps: Length of the whole run.
        config: The recipe.
        watch: Told of every step and every validation.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start: int,
        steps: int,
        config: TrainConfig,
        watch: Watch | None = None,
    ) -> None:
        self._workdir = workdir
        self._steps = steps
        self._config = config
        self._watch = watch
        _forget_after(workdir / LOG_FILE, start)
        self._log = (workdir / LOG_FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        self._last = (start, time.perf_counter())

    def train(self, step: int, terms: dict[str, float]) -> None:
        """Record a finished step: its losses, gradient norm and learning rate."""
        if step % self._config.log_every == 0:
            now = time.perf_counter()
            images = (step - self._last[0]) * self._config.batch_size
            speed = images / (now - self._last[1])
            self._last = (step, now)
            terms = terms | {"images_per_second": round(speed, 2)}
            self._write(step, terms, "train")
        self._tell(step, terms)

    def validation(self, step: int, losses: dict[str, float]) -> None:
        """Record losses on the validation photographs."""
        losses = {f"val_{name}": value for name, value in losses.items()}
        self._write(step, losses, "validation")
        self._tell(step, losses)

    def samples(self, step: int, grid: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keep a picture of samples."""
        photo.write(self._workdir / "samples" / f"{step:07d}.png", photo.Photo(grid))
        self._board.add_image("samples", grid, step, dataformats="HWC")

    def _tell(self, step: int, values: dict[str, float]) -> None:
        if self._watch:
            self._watch(step, self._steps, values)

    def _write(self, step: int, values: dict[str, float], part: str) -> None:
        self._log.write(json.dumps({"step": step} | values) + "\n")
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{part}/{name.removeprefix('val_')}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._board.close()
        self._log.close()


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of later steps, and one that was cut off while it was being written."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    with replacing(log) as temporary:
        temporary.write_text("".join(x for x in whole if json.loads(x)["step"] <= step))
