"""Compare networks on the datasets that ``split_brackets.py`` made.

    python benchmarks/compare_networks.py PARTS NETWORK...

The benchmark prints a Markdown table with a row for each network: the weighted zero-reference
losses on PARTS/validation (whole photographs scaled to 256x256, no gamma, as in training), which
scene networks do not have, and PSNR and SSIM (`evaluation.metrics`) of enhanced PARTS/low against
PARTS/high, with gamma 1.15 and without gamma. No other steps are on: a DCE-Net gives all images the
same strength.
"""

from pathlib import Path

import jax
import numpy as np
import tyro
from tyro.conf import Positional

from zerodce_jax import Enhancer, EnhanceSettings
from zerodce_jax.config import NetworkConfig, TrainConfig
from zerodce_jax.evaluation import metrics
from zerodce_jax.media import photo
from zerodce_jax.models import serialization
from zerodce_jax.training.data import find_photographs
from zerodce_jax.training.loop import validation_losses
from zerodce_jax.training.step import make_losses

COLUMNS = ("total", "spatial", "exposure", "color", "smoothness")


def main(parts: Path, networks: Positional[tuple[str, ...]], /) -> None:
    """Print the table.

    Args:
        parts: Folder that split_brackets.py made.
        networks: Networks to compare, named as for enhance --model.
    """
    config = TrainConfig(batch_size=8)
    files = find_photographs(parts / "validation")
    pairs = [(path, parts / "high" / path.name) for path in find_photographs(parts / "low")]
    pixels = [(photo.read_rgb(low), photo.read_rgb(high)) for low, high in pairs]
    print(f"| network | {' | '.join(COLUMNS)} | PSNR, SSIM, gamma 1.15 | PSNR, SSIM, no gamma |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    print(f"| input |{' |' * len(COLUMNS)} | {similarity(pixels)} |")
    for name in networks:
        network = serialization.load_network(name)
        cells = [""] * len(COLUMNS)
        if isinstance(network.config, NetworkConfig):
            losses = jax.jit(make_losses(network.config, config))
            terms = validation_losses(losses, network.params, files, config)
            cells = [f"{terms[column]:.4f}" for column in COLUMNS]
        enhancer = Enhancer(network)
        for gamma in (1.15, 1.0):
            lows = enhancer.many((low for low, _ in pixels), EnhanceSettings(gamma=gamma))
            cells.append(similarity(list(zip(lows, (high for _, high in pixels), strict=True))))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def similarity(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Format the mean PSNR in dB and the mean SSIM over pairs of uint8 images."""
    floats = ((low / np.float32(255), high / np.float32(255)) for low, high in pairs)
    figures = [(metrics.psnr(low, high), metrics.ssim(low, high)) for low, high in floats]
    psnr, ssim = np.mean(figures, axis=0)
    return f"{psnr:.2f}, {ssim:.3f}"


if __name__ == "__main__":
    tyro.cli(main)
