"""Compare denoising strengths, including ``auto``, at several noise levels.

    python benchmarks/noise.py PHOTOGRAPHS

The benchmark darkens well-exposed photographs and adds the noise of a camera (`darkening.retake`),
at several levels. It then compares the enhanced images with the original photographs.
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
from zerodce_jax.media import photo
from zerodce_jax.media.formats import find_photographs
from zerodce_jax.training.darkening import retake

STRENGTHS = (0.0, 0.17, 0.5, 1.0, "auto")
# Exposure factor, read noise (standard deviation), and shot noise (variance per unit of light).
LEVELS = (
    (0.08, 0.0, 0.0),
    (0.08, 3e-4, 3e-5),
    (0.08, 6e-4, 2e-4),
    (0.08, 1e-3, 6e-4),
    (0.02, 3e-4, 1e-4),
    (0.3, 1e-3, 6e-4),
)


def main(photographs: Path, /, *, model: str = "scene") -> None:
    """Print PSNR and SSIM for each noise level and each denoising strength.

    Args:
        photographs: Folder of well-exposed photographs.
        model: Network to run.
    """
    bright = [photo.read_rgb(path) / np.float32(255) for path in find_photographs(photographs)]
    enhancer = Enhancer.load(model)
    print(
        "| exposure factor | read noise | shot noise |",
        *(f" denoise {strength} |" for strength in STRENGTHS),
        sep="",
    )
    print("|---" * (3 + len(STRENGTHS)), "|", sep="")
    for level in tqdm(LEVELS, unit="level"):
        dark = [darken(image, *level, seed=i) for i, image in enumerate(bright)]
        cells = (similarity(enhancer, dark, bright, strength) for strength in STRENGTHS)
        tqdm.write(f"| {' | '.join([*(f'{value:g}' for value in level), *cells])} |")


def darken(image: np.ndarray, light: float, read: float, shot: float, *, seed: int) -> np.ndarray:
    """Return an image darkened as by a camera, with noise, as uint8."""
    key = jax.random.key(seed)
    (darkened,) = retake(jnp.asarray(image[None]), key, factor=light, shot=shot, read=read)
    return np.rint(255 * np.asarray(darkened)).astype(np.uint8)


def similarity(
    enhancer: Enhancer,
    dark: Sequence[np.ndarray],
    bright: Sequence[np.ndarray],
    strength: float | str,
) -> str:
    """Enhance dark images, and format mean PSNR and SSIM over the pairs."""
    results = [enhancer(image, denoise=strength) / np.float32(255) for image in dark]
    means = [
        fmean(measure(result, image) for result, image in zip(results, bright, strict=True))
        for measure in (metrics.psnr, metrics.ssim)
    ]
    return f"{means[0]:.2f} / {means[1]:.3f}"


if __name__ == "__main__":
    tyro.cli(main)
