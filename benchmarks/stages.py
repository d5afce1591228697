"""Measure core-seconds of each stage of one photograph: decoding, the networks, encoding.

    python benchmarks/stages.py

Core-seconds are processor time. They determine the cost, however many cores share the work.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from zerodce_jax import Enhancer
from zerodce_jax.media import decoding, encoding, photo
from zerodce_jax.media.photograph import Photo

EXAMPLE = Path(__file__).parent.parent / "examples" / "coffee.jpg"


def main(*, width: int = 4000, height: int = 3000, turns: int = 5) -> None:
    """Print core-seconds of each stage, and the sizes of the files.

    Args:
        width: Width of the JPEG, in pixels.
        height: Height of the JPEG, in pixels.
        turns: Runs of each stage; the median counts.
    """
    data, _ = encoding.encode(Photo(tiled(width, height)), "jpeg")
    opened = decoding.decode(data)
    costs = {"decode": cost(lambda: decoding.decode(data), turns)}
    results = {}
    for name in ("scene", "reduced"):
        enhancer = Enhancer.load(name)
        results[name] = enhancer(opened.pixels)
        costs[name] = cost(lambda enhancer=enhancer: enhancer(opened.pixels), turns)
    bright = replace(opened, pixels=results["scene"])
    written, _ = encoding.encode(bright, "jpeg")
    costs["encode"] = cost(lambda: encoding.encode(bright, "jpeg"), turns)
    for name, seconds in costs.items():
        print(f"{name}: {seconds:.2f} core-seconds")
    print(f"read {len(data) / 1e6:.1f} MB, written {len(written) / 1e6:.1f} MB")


def tiled(width: int, height: int) -> np.ndarray:
    """Repeat an example photograph to a size, since files of synthetic images are too small."""
    example = photo.read(EXAMPLE).pixels
    rows, columns = -(-height // example.shape[0]), -(-width // example.shape[1])
    return np.tile(example, (rows, columns, 1))[:height, :width]


def cost(work: Callable[[], object], turns: int) -> float:
    """Return the median processor time of some work, over all threads, in seconds."""
    seconds = []
    for _ in range(turns):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    tyro.cli(main)
