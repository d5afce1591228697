"""Compare the enhancement of backlit photographs with the exposure fusion of their brackets.

    python benchmarks/backlit.py DATA [NETWORK ...]

DATA is a folder of exposure brackets, as for ``split_brackets.py``. Of each scene with at least
two shots, the shot whose mean is nearest to 0.42 is enhanced with the network's own settings. Such
shots are dark only in part: shadows in front of a bright sky. The result is compared with the
fusion of all shots of the scene, which shows both the shadows and the sky.

The fusion is that of OpenCV with its default weights of contrast, saturation and well-exposedness,
which are 1, 1 and 0 (the publication suggests 1 for all), clipped to [0, 1].

The benchmark prints a Markdown table of means, for the last tenth of the scenes, which
``split_brackets.py`` sets apart for validation, and for all scenes. Its columns are PSNR, SSIM and
shadow lift (`evaluation.metrics`) of the input, of each network, and of the fusion itself, whose
shadow lift is a good one. Scenes for which shadow lift is not defined do not count for it.

References:
    Mertens et al., "Exposure Fusion", Pacific Graphics 2007.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tyro
from split_brackets import VALIDATION, find_scenes
from tqdm import tqdm
from tyro.conf import Positional

from zerodce_jax import Enhancer
from zerodce_jax.evaluation import metrics
from zerodce_jax.media import photo
from zerodce_jax.training.data import find_photographs

BACKLIT = 0.42
"""Mean brightness of the shots that are enhanced, or the nearest to it of their scene."""
Scores = dict[str, tuple[float, float, float]]


def main(data: Path, networks: Positional[tuple[str, ...]] = (), /) -> None:
    """Print the table.

    Args:
        data: Folder of exposure brackets.
        networks: Networks to compare, named as for enhance --model.
    """
    enhancers = {name: Enhancer.load(name) for name in networks}
    scenes = find_scenes(find_photographs(data))
    first_validation = len(scenes) - round(len(scenes) * VALIDATION)
    last, every = [], []
    for i, scene in enumerate(tqdm(scenes, unit="scene", disable=None)):
        if len(scene) > 1:
            every.append(scores_of(scene, enhancers))
            last += every[-1:] if i >= first_validation else []
    columns = "PSNR, dB | SSIM | shadow lift |"
    print(f"| | last {len(last)} scenes: {columns} all {len(every)} scenes: {columns}")
    print("|---" * 7 + "|")
    for name in every[0]:
        print(f"| {name} | {means(last, name)} | {means(every, name)} |")


def scores_of(scene: Sequence[tuple[Path, float]], enhancers: dict[str, Enhancer]) -> Scores:
    """Return PSNR, SSIM and shadow lift of the shot that is enhanced, by what was done to it."""
    shots = [photo.read_rgb(path) for path, _ in scene]
    fusion = cv2.createMergeMertens().process(shots).clip(0, 1)
    nearest = min(range(len(scene)), key=lambda i: abs(scene[i][1] - BACKLIT))
    shot = shots[nearest]
    image = shot / np.float32(255)
    results = {"input": image}
    results |= {name: enhancer(shot) / np.float32(255) for name, enhancer in enhancers.items()}
    return {
        name: (
            metrics.psnr(result, fusion),
            metrics.ssim(result, fusion),
            metrics.shadow_lift(image, result),
        )
        for name, result in (results | {"exposure fusion": fusion}).items()
    }


def means(scenes: Sequence[Scores], name: str) -> str:
    """Format the means over scenes for one row."""
    psnr, ssim, lift = np.nanmean([scores[name] for scores in scenes], axis=0)
    return f"{psnr:.2f} | {ssim:.3f} | {lift:.3f}"


if __name__ == "__main__":
    tyro.cli(main)
