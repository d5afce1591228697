"""What a photograph costs, stage by stage: decoding, the networks, encoding; in core-seconds.

    python benchmarks/stages.py

Seconds of processor time, which is what is paid for, however many cores share the work.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import tyro
from inference import picture

from zerodce_jax import Enhancer, photo


def main(*, width: int = 4000, height: int = 3000, turns: int = 5) -> None:
    """Print core-seconds of each stage, and the size of the files.

    Args:
        width: Of the JPEG, in pixels.
        height: Of the JPEG, in pixels.
        turns: How often each stage runs; the median counts.
    """
    made = photo.Photo(picture(width, height))
    data, _ = photo.encode(made, "jpeg")
    opened = photo.decode(data)
    costs = {"decode": cost(lambda: photo.decode(data), turns)}
    results = {}
    for name in ("reduced", "fast"):
        enhancer = Enhancer.load(name)
        results[name] = enhancer(opened.pixels)
        costs[name] = cost(lambda enhancer=enhancer: enhancer(opened.pixels), turns)
    bright = replace(opened, pixels=results["reduced"])
    written, _ = photo.encode(bright, "jpeg")
    costs["encode"] = cost(lambda: photo.encode(bright, "jpeg"), turns)
    for name, seconds in costs.items():
        print(f"{name}: {seconds:.2f} core-seconds")
    print(f"read {len(data) / 1e6:.1f} MB, written {len(written) / 1e6:.1f} MB")


def cost(work: Callable[[], object], turns: int) -> float:
    """Median processor time of some work, of all threads together."""
    seconds = []
    for _ in range(turns):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    tyro.cli(main)
