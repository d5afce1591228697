"""Compare a `PhotoExecutor` with a plain loop over the same Enhancer on a folder of small JPEGs.

Both enhance the same photographs in turns. The memory of the process is sampled after each one.
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
    model: str = "scene",
    turns: int = 10,
    jobs: int = 2,
) -> None:
    """Print the rates of both, their ratio, and memory growth.

    Args:
        pictures: Number of JPEGs in the folder.
        width: Width of each JPEG, in pixels.
        height: Height of each JPEG, in pixels.
        model: Network to run.
        turns: Number of parts that the folder is split into; both enhance one part per turn.
        jobs: Threads that decode and encode.
    """
    use_compilation_cache()
    enhancer = Enhancer.load(model)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_photographs(base / "in", pictures, width, height)
        items = plan.plan([base / "in"], base / "out")
        enhancer(np.zeros((height, width, 3), np.uint8))  # Compile before the clock starts.
        ratios, rates, memory = [], {"folder": [], "loop": []}, []
        for part in np.array_split(np.arange(len(items)), turns):
            subset = [items[i] for i in part]
            start = time.perf_counter()
            executor = PhotoExecutor(enhancer, EnhanceSettings(), jobs=jobs)
            results = list(sampling_memory(runner.run(subset, executor), memory))
            stop = time.perf_counter()
            assert all(result.status == "done" for result in results)
            for item in subset:
                with Image.open(item.source) as image:
                    enhancer(image).save(item.target, quality=95)
            end = time.perf_counter()
            rates["folder"].append(len(subset) / (stop - start))
            rates["loop"].append(len(subset) / (end - stop))
            ratios.append((end - stop) / (stop - start))
    for name, values in rates.items():
        middle, slowest, fastest = statistics.median(values), min(values), max(values)
        print(f"{name}: {middle:.2f} photographs/s ({slowest:.2f} to {fastest:.2f})")
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    early = min(100, len(memory) - 1)
    print(
        f"memory after photograph {early}: {memory[early] / 2**20:.1f} MiB, "
        f"after photograph {len(memory)}: {memory[-1] / 2**20:.1f} MiB"
    )


def make_photographs(folder: Path, count: int, width: int, height: int) -> None:
    """Write dark JPEGs with some structure and noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / 40
    for i in range(count):
        light = 30 + 25 * np.sin(rows + i) * np.cos(columns - i / 3)
        pixels = light[:, :, None] + rng.normal(0, 4, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / f"{i:04d}.jpg", quality=90
        )


def sampling_memory(results: Iterator[runner.Result], memory: list[int]) -> Iterator[runner.Result]:
    """Yield results, and append the memory of the process to `memory` after each one."""
    process = psutil.Process()
    for result in results:
        memory.append(process.memory_info().rss)
        yield result


if __name__ == "__main__":
    tyro.cli(main)
