"""Compare the fused pass with what the machine permits, and with the engines.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fused.py

The image has 12 megapixels of 8 bits, and the settings are those of `scene`. The benchmark counts
the bytes that must move and the operations that must be done for each pixel, and measures both
ceilings: a copy of as many bytes, and products of matrices that stay in the cache. It prints one
Markdown table, for one core and for all; times are medians of turns.

Operations of one pixel, with a multiplication and an addition as two, and a division, minimum or
maximum as one:

- reading the grid: 3 channels of 5 levels, each with 2 for the place and 2 for the brightness, and
  with 3 for the ramp of a level, which the channels share: 3 * (2 + 5 * 4) + 5 * 3 = 81
- 8 iterations of the curve in 3 channels: 8 * 3 * 4 = 96
- denoising at full size: interpolation of 5 values (2 each), the filter and clipping: 33
- denoising at half size, a quarter of the pixels: 12 for the means over blocks, 7 planes twice
  averaged over 3x3 windows (5 each), and about 70 for the shares: (12 + 70 + 70) / 4 = 38
- brightness, position, scaling and rounding: 16
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tyro
from inference import dark_image

from zerodce_jax import Enhancer
from zerodce_jax.engines import fused

WIDTH, HEIGHT = 4000, 3000
BYTES_PER_PIXEL = 3 + 3
OPERATIONS_PER_PIXEL = 81 + 96 + 33 + 38 + 16


def main(*, turns: int = 7) -> None:
    """Print the table.

    Args:
        turns: Timed turns of each row.
    """
    image = dark_image(WIDTH, HEIGHT)
    usable = fused.is_usable
    available = sorted(os.sched_getaffinity(0))
    print("| milliseconds for 12 megapixels, median (range) | 1 core |", end="")
    print(f" {len(available)} cores |\n|---|---|---|")
    cells: dict[str, list[str]] = {}
    for count in (1, len(available)):
        os.sched_setaffinity(0, available[:count])
        contenders: dict[str, Callable[[], object]] = {
            f"copying the {BYTES_PER_PIXEL} bytes of each pixel": copies(image, count),
            f"the {OPERATIONS_PER_PIXEL} operations of each pixel, in products of matrices": (
                operations(count)
            ),
            "analysis and fused pass": enhancement(image, usable),
            "the same with the tiles of onnx": enhancement(image, lambda _: False, "onnx"),
            "the same with the tiles of xla": enhancement(image, lambda _: False, "xla"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(turns + 1):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
        for name, values in seconds.items():
            low, middle, high = (1000 * f(values) for f in (min, statistics.median, max))
            cells.setdefault(name, []).append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
    for name, row in cells.items():
        print(f"| {name} | {' | '.join(row)} |")


def copies(image: np.ndarray, cores: int) -> Callable[[], object]:
    """Return a function that copies an image, a share on each core: it reads and writes it once."""
    result = np.empty_like(image)
    shares = [
        (a, b)
        for a, b in zip(np.array_split(result, cores), np.array_split(image, cores), strict=True)
    ]
    pool = ThreadPoolExecutor(cores)
    return lambda: list(pool.map(lambda share: np.copyto(*share), shares))


def operations(cores: int) -> Callable[[], object]:
    """Return a function that does as many operations as the image needs, in cached products."""
    side = 256
    a = np.random.default_rng(0).random((side, side), dtype=np.float32)
    products = round(WIDTH * HEIGHT * OPERATIONS_PER_PIXEL / (2 * side**3) / cores)

    def work(_: int) -> None:
        result = np.empty_like(a)
        for _ in range(products):
            np.matmul(a, a, out=result)

    pool = ThreadPoolExecutor(cores)
    return lambda: list(pool.map(work, range(cores)))


def enhancement(
    image: np.ndarray, usable: Callable[..., bool], engine: str = "onnx"
) -> Callable[[], object]:
    """Return a function that enhances an image, with or without the fused pass."""
    enhancer = Enhancer.load("scene", engine=engine)

    def run() -> None:
        fused.is_usable = usable
        enhancer(image)

    return run


if __name__ == "__main__":
    tyro.cli(main)
