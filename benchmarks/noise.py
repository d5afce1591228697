"""How strongly to hold down noise: amounts beside the one that goes by the noise found.

    python benchmarks/noise.py PHOTOGRAPHS

Well-exposed photographs are taken again with less light and the noise of a camera
(`darkening.retake`), at several levels; what the network makes of them is compared with the
photographs as they were.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from zerodce_jax import Enhancer
from zerodce_jax.evaluation import metrics
from zerodce_jax.evaluation.pairs import find_photographs
from zerodce_jax.media import photo
from zerodce_jax.training.darkening import retake

AMOUNTS = (0.0, 0.17, 0.5, 1.0, "auto")
# Light that is left, read noise (standard deviation) and shot noise (variance by light).
LEVELS = (
    (0.08, 0.0, 0.0),
    (0.08, 3e-4, 3e-5),
    (0.08, 6e-4, 2e-4),
    (0.08, 1e-3, 6e-4),
    (0.02, 3e-4, 1e-4),
    (0.3, 1e-3, 6e-4),
)


def main(photographs: Path, /, *, model: str = "reduced") -> None:
    """Print PSNR and SSIM for each level of noise and each amount.

    Args:
        photographs: Folder of well-exposed photographs.
        model: The network.
    """
    bright = [photo.read_rgb(path) / np.float32(255) for path in find_photographs(photographs)]
    enhancer = Enhancer.load(model)
    print("| light | read | shot |", *(f" denoise {amount} |" for amount in AMOUNTS), sep="")
    print("|---" * (3 + len(AMOUNTS)), "|", sep="")
    for level in tqdm(LEVELS, unit="level"):
        dark = [darken(image, *level, seed=i) for i, image in enumerate(bright)]
        cells = (judge(enhancer, dark, bright, amount) for amount in AMOUNTS)
        tqdm.write(f"| {' | '.join([*(f'{value:g}' for value in level), *cells])} |")


def darken(image: np.ndarray, light: float, read: float, shot: float, *, seed: int) -> np.ndarray:
    """Take a photograph again with less light, in 8 bits."""
    key = jax.random.key(seed)
    (taken,) = retake(jnp.asarray(image[None]), key, factor=light, shot=shot, read=read)
    return np.rint(255 * np.asarray(taken)).astype(np.uint8)


def judge(
    enhancer: Enhancer,
    dark: Sequence[np.ndarray],
    bright: Sequence[np.ndarray],
    amount: float | str,
) -> str:
    """PSNR and SSIM, means over the photographs."""
    results = [enhancer(image, denoise=amount) / np.float32(255) for image in dark]
    means = [
        fmean(measure(result, image) for result, image in zip(results, bright, strict=True))
        for measure in (metrics.psnr, metrics.ssim)
    ]
    return f"{means[0]:.2f} / {means[1]:.3f}"


if __name__ == "__main__":
    tyro.cli(main)
