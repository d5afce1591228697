"""Compare the images per second of training with the same training in PyTorch.

    python benchmarks/train_step.py --data photographs

All train the same networks from the same weights on the same images, in turns, in one process, on
the GPU or on all cores. The total losses of the first step must agree for `reduced`; the losses of
`scene` depend on random numbers, which the frameworks draw differently. With ``--data``, whole
runs follow, which read the photographs too: the share of the step's speed that they reach shows
whether the step waits for data.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch
import tyro
from contenders import (
    JaxTraining,
    channels_first,
    median_seconds,
    print_devices,
    print_table,
    set_torch_tf32,
    torch_device,
    torch_training,
)
from inference import cores, dark_image

from zerodce_jax.config import TrainConfig
from zerodce_jax.models.modules import init_params
from zerodce_jax.models.network import Network
from zerodce_jax.training.hosts import shard_batch
from zerodce_jax.training.journal import LOG_FILE
from zerodce_jax.training.loop import fit

NETWORKS = ("reduced", "scene")


def main(
    *,
    batches: tuple[int, ...] = (8,),
    image_size: int = 256,
    seconds: float = 40.0,
    data: Path | None = None,
    steps: int = 60,
) -> None:
    """Time training steps and runs.

    Args:
        batches: Numbers of images per step.
        image_size: Side of the images, in pixels.
        seconds: Time for each step's measurement.
        data: Folder of photographs to time whole runs with.
        steps: Steps of these runs.
    """
    torch.set_num_threads(cores())
    print_devices()
    speeds = compare_steps(batches, image_size, seconds)
    if data:
        rows = []
        for (name, batch), alone in speeds.items():
            speeds_of_run = run_speeds(name, batch, image_size, data, steps)
            shares = [f"{speed:.2f} ({speed / alone:.0%})" for speed in speeds_of_run]
            rows.append([name, str(batch), f"{alone:.2f}", *shares])
        header = ["network", "batch", "step alone", "start of a run", "its second half"]
        print_table(f"Runs: images/s, {image_size}x{image_size}", header, rows)


def compare_steps(
    batches: Sequence[int], image_size: int, seconds: float
) -> dict[tuple[str, int], float]:
    """Print images per second of training steps in float32; return those of this project."""
    rows, ours = [], {}
    for name in NETWORKS:
        for batch in batches:
            config = replace(TrainConfig.recipe(name), batch_size=batch, image_size=image_size)
            start = Network(config.network, numpy_params(config))
            pixels = np.stack([dark_image(image_size, image_size)] * batch)
            images = channels_first(pixels / np.float32(255)).to(torch_device())
            runs: dict[str, Callable[[], float]] = {
                "zerodce_jax": partial(JaxTraining(config, start.params), shard_batch(pixels)),
                "eager": partial(torch_training(start, config, compiled=False), images),
                "compiled": partial(torch_training(start, config, compiled=True), images),
            }
            losses = " / ".join(f"{run():.4f}" for run in runs.values())
            with set_torch_tf32(False):
                medians = median_seconds(runs, seconds)
            speeds = {key: batch / medians[key] for key in runs}
            ours[name, batch] = alone = speeds.pop("zerodce_jax")
            compared = [f"{x:.2f}" for speed in speeds.values() for x in (speed, alone / speed)]
            rows.append([name, str(batch), f"{alone:.2f}", *compared, losses])
    header = ["network", "batch", "zerodce_jax", "PyTorch eager", "ratio", "`torch.compile`"]
    header += ["ratio", "losses of the first step"]
    title = f"Training steps: images/s, {image_size}x{image_size}, float32"
    print_table(title, header, rows)
    return ours


def numpy_params(config: TrainConfig) -> dict:
    """Return initial parameters as arrays of NumPy."""
    return jax.tree.map(np.asarray, init_params(config.network, seed=0))


def run_speeds(
    name: str, batch: int, image_size: int, data: Path, steps: int
) -> tuple[float, float]:
    """Return the images per second of a run of `train.py` with its own recipe.

    The first figure is the median of the first 40 steps, in which most photographs are new; the
    second is that of the run's second half.
    """
    config = replace(
        TrainConfig.recipe(name),
        batch_size=batch,
        image_size=image_size,
        steps=steps,
        log_every=5,
        checkpoint_every=steps,
        sample_every=steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(config, data=data, workdir=Path(folder))
        lines = (Path(folder) / LOG_FILE).read_text().splitlines()
    # The first entry includes compiling.
    entries = [json.loads(line) for line in lines][1:]
    speeds = {e["step"]: e["images_per_second"] for e in entries if "images_per_second" in e}
    start = [speed for step, speed in speeds.items() if step <= 40]
    end = [speed for step, speed in speeds.items() if step > steps / 2]
    return statistics.median(start), statistics.median(end)


if __name__ == "__main__":
    tyro.cli(main)
