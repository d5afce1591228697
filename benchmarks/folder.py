"""A folder of small JPEGs through a `PhotoExecutor`, beside a plain loop over the same Enhancer.

Both do the same pictures in turns; the memory of the process is read along the way.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import tyro
from PIL import Image

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines.xla import use_compilation_cache
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs import plan, runner
from zerodce_jax.jobs.photos import PhotoExecutor


def main(
    *,
    pictures: int = 1000,
    width: int = 320,
    height: int = 240,
    model: str = "reduced",
    turns: int = 10,
    jobs: int = 2,
) -> None:
    """Print pictures per second of both, their ratio, and how memory grows.

    Args:
        pictures: JPEGs in the folder.
        width: Of each, in pixels.
        height: Of each, in pixels.
        model: The network.
        turns: Parts that the folder is done in; each part is done by both.
        jobs: Threads that decode and encode.
    """
    use_compilation_cache()
    enhancer = Enhancer.load(model)
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        make_pictures(base / "in", pictures, width, height)
        items = plan.plan([base / "in"], base / "out")
        enhancer(np.zeros((height, width, 3), np.uint8))  # compiled before the clock starts
        ratios, rates, memory = [], {"folder": [], "loop": []}, []
        for part in np.array_split(np.arange(len(items)), turns):
            some = [items[i] for i in part]
            start = time.perf_counter()
            executor = PhotoExecutor(enhancer, EnhanceSettings(), jobs=jobs)
            results = list(watched(runner.run(some, executor), memory))
            stop = time.perf_counter()
            assert all(result.status == "done" for result in results)
            for item in some:
                with Image.open(item.source) as image:
                    enhancer(image).save(item.target, quality=95)
            end = time.perf_counter()
            rates["folder"].append(len(some) / (stop - start))
            rates["loop"].append(len(some) / (end - stop))
            ratios.append((end - stop) / (stop - start))
    for name, values in rates.items():
        middle, slowest, fastest = statistics.median(values), min(values), max(values)
        print(f"{name}: {middle:.2f} pictures/s ({slowest:.2f} to {fastest:.2f})")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    at = min(100, len(memory) - 1)
    print(
        f"memory after picture {at}: {memory[at] / 2**20:.1f} MiB, "
        f"after picture {len(memory)}: {memory[-1] / 2**20:.1f} MiB"
    )


def make_pictures(place: Path, count: int, width: int, height: int) -> None:
    """Write dark pictures with some structure and noise."""
    place.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / 40
    for i in range(count):
        light = 30 + 25 * np.sin(rows + i) * np.cos(columns - i / 3)
        pixels = light[:, :, None] + rng.normal(0, 4, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            place / f"{i:04d}.jpg", quality=90
        )


def watched(results: Iterator[runner.Result], memory: list[int]) -> Iterator[runner.Result]:
    """Pass results on, and note the memory of the process after each."""
    process = psutil.Process()
    for result in results:
        memory.append(process.memory_info().rss)
        yield result


if __name__ == "__main__":
    tyro.cli(main)
