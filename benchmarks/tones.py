"""Measure what enhancement should leave alone: well-exposed photographs, and black.

    python benchmarks/tones.py NETWORK... --bright FOLDER --night FOLDER

Each network enhances the photographs with its own settings, and the benchmark prints a Markdown
table. A photograph that is well exposed should come back as it was. The table has, for the folder
``--bright``:

- the median over the photographs of the PSNR between input and output, in dB
- the share of the photographs whose mean brightness changes by less than 15 %

Night photographs have places that should stay black. The table has, for the photographs of
``--night`` (folders or files), the means of their black level, chroma and grain
(`evaluation.metrics.black_level`) in levels of 255. Photographs without black places do not count.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm
from tyro.conf import Positional

from zerodce_jax import Enhancer
from zerodce_jax.evaluation import metrics
from zerodce_jax.media import photo
from zerodce_jax.media.formats import find_photographs

SMALL_CHANGE = 0.15
"""Share of its mean brightness by which a well-exposed photograph may change."""


def main(
    networks: Positional[tuple[str, ...]], /, *, bright: Path, night: tuple[Path, ...]
) -> None:
    """Print the table.

    Args:
        networks: Networks to compare, named as for enhance --model.
        bright: Folder of well-exposed photographs.
        night: Folders of night photographs, or single ones.
    """
    photographs = find_photographs(bright)
    dark = [
        file for path in night for file in (find_photographs(path) if path.is_dir() else [path])
    ]
    print(
        f"| | {len(photographs)} well exposed: median PSNR, dB | mean changes by < 15 %"
        f" | {len(dark)} at night: black level, of 255 | chroma | grain |"
    )
    print("|---" * 6 + "|")
    print(f"| input | inf | 100 % | {black_levels(None, dark)} |")
    for name in networks:
        enhancer = Enhancer.load(name)
        print(f"| {name} | {changes(enhancer, photographs)} | {black_levels(enhancer, dark)} |")


def changes(enhancer: Enhancer, photographs: Sequence[Path]) -> str:
    """Format how much well-exposed photographs change."""
    psnrs, small = [], []
    for path in tqdm(photographs, unit="photo", leave=False, disable=None):
        image = photo.read_rgb(path)
        enhanced = enhancer(image)
        psnrs.append(metrics.psnr(enhanced / np.float32(255), image / np.float32(255)))
        small.append(abs(enhanced.mean() - image.mean()) < SMALL_CHANGE * image.mean())
    return f"{np.median(psnrs):.1f} | {100 * np.mean(small):.0f} %"


def black_levels(enhancer: Enhancer | None, photographs: Sequence[Path]) -> str:
    """Format what becomes of black places, or what they were without an enhancer."""
    levels = []
    for path in photographs:
        image = photo.read_rgb(path)
        enhanced = image if enhancer is None else enhancer(image)
        levels.append(metrics.black_level(image / np.float32(255), enhanced / np.float32(255)))
    brightness, chroma, grain = 255 * np.nanmean(levels, axis=0)
    return f"{brightness:.1f} | {chroma:.1f} | {grain:.2f}"


if __name__ == "__main__":
    tyro.cli(main)
