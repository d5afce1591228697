"""Compare the images per second of the training step with the same step in PyTorch.

    python benchmarks/train_step.py

Both train the same network from the same weights on the same images, in turns, in one process, on
all cores. The benchmark first prints the total losses of the first step, which must agree.
"""

import os
import platform
import statistics
import time

import jax
import numpy as np
import pytorch
import torch
import tyro

from zerodce_jax.config import TrainConfig
from zerodce_jax.models.modules import init_params
from zerodce_jax.models.network import Network
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.training.hosts import shard_batch
from zerodce_jax.training.step import init_state, make_losses, make_step


def main(*, batch_size: int = 8, image_size: int = 256, repetitions: int = 15) -> None:
    """Time training steps.

    Args:
        batch_size: Images per step.
        image_size: Side of the images, in pixels.
        repetitions: Timed steps of each, after two warm-up steps.
    """
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    config = TrainConfig(batch_size=batch_size, image_size=image_size)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 120, (batch_size, image_size, image_size, 3), dtype=np.uint8)
    params = jax.tree.map(np.asarray, init_params(config.network, seed=0))

    jax_step = make_step(make_losses(config.network, config), config, steps=1000)
    state = init_state(params, config, steps=1000)
    on_device = shard_batch(pixels)
    torch_step = pytorch.TrainStep(pytorch.load(to_torch(Network(config.network, params))), config)
    images = torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()

    seconds: dict[str, list[float]] = {"zerodce_jax": [], "PyTorch": []}
    for repetition in range(repetitions + 2):
        start = time.perf_counter()
        state, terms = jax_step(state, on_device)
        jax_total = float(terms["total"])
        middle = time.perf_counter()
        torch_total = torch_step(images)
        end = time.perf_counter()
        if repetition == 0:
            print(f"total loss of the first step: {jax_total:.6f} and {torch_total:.6f}")
        if repetition >= 2:
            seconds["zerodce_jax"].append(middle - start)
            seconds["PyTorch"].append(end - middle)

    print(f"{cores} cores, {platform.processor() or platform.machine()};", end=" ")
    print(f"jax {jax.__version__}, torch {torch.__version__};", end=" ")
    print(f"batch {batch_size} of {image_size}x{image_size}, {repetitions} steps each, in turns\n")
    print("| step | images/s, median | slowest to fastest |\n|---|---|---|")
    for name, times in seconds.items():
        speeds = sorted(batch_size / t for t in times)
        print(f"| {name} | {statistics.median(speeds):.2f} | {speeds[0]:.2f} to {speeds[-1]:.2f} |")
    pairs = zip(seconds["PyTorch"], seconds["zerodce_jax"], strict=True)
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    print(f"\nratio, median of the turns: {statistics.median(ratios):.2f}", end=" ")
    print(f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    tyro.cli(main)
