"""Split a folder of exposure brackets into training and validation parts, by scene.

    python benchmarks/split_brackets.py DATA OUT

Files with consecutive numbers in DATA are shots of one scene at rising exposures, but the dataset
does not mark where a scene ends. The rank order of pixels by brightness is the same in all shots of
a scene, at any exposure, so a scene ends where the rank correlation of adjacent shots is low.

OUT receives four folders of links to the photographs. ``train`` and ``validation`` hold all shots;
``validation`` has the last tenth of the scenes. ``high`` and ``low`` hold a pair of shots with the
same name for each validation scene: the shot whose mean is nearest to 0.45, and the darkest shot
that is not black and at most half as bright.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tyro

from zerodce_jax.media import photo
from zerodce_jax.training.data import find_photographs

SIDE = 32
SAME_SCENE = 0.8
WELL_EXPOSED = 0.45
BLACK = 0.02
VALIDATION = 0.1


def main(data: Path, out: Path, /, *, fraction: float = VALIDATION) -> None:
    """Split a folder of exposure brackets by scene.

    Args:
        data: Folder of photographs.
        out: New folder for the parts.
        fraction: Share of the scenes for validation.
    """
    scenes = find_scenes(find_photographs(data))
    count = round(len(scenes) * fraction)
    for name, part in {"train": scenes[:-count], "validation": scenes[-count:]}.items():
        for scene in part:
            for path, _ in scene:
                link(path, out / name / path.name)
    pairs = 0
    for scene in scenes[-count:]:
        high, brightness = min(scene, key=lambda shot: abs(shot[1] - WELL_EXPOSED))
        dark = [shot for shot in scene if BLACK <= shot[1] <= brightness / 2]
        if dark:
            low, _ = min(dark, key=lambda shot: shot[1])
            link(low, out / "low" / high.name)
            link(high, out / "high" / high.name)
            pairs += 1
    print(f"{len(scenes)} scenes: {len(scenes) - count} for training, {count} for validation")
    print(f"{pairs} pairs of a dark and a well-exposed shot for validation")


def find_scenes(files: Sequence[Path]) -> list[list[tuple[Path, float]]]:
    """Group consecutive shots into scenes; each shot has its mean brightness in [0, 1]."""
    with ThreadPoolExecutor() as pool:
        thumbnails = list(pool.map(lambda path: photo.read_rgb(path, size=SIDE), files))
    gray = [thumbnail.mean(-1) / 255 for thumbnail in thumbnails]
    ranks = [np.argsort(np.argsort(image.ravel(), kind="stable")) for image in gray]
    scenes: list[list[tuple[Path, float]]] = []
    for i, path in enumerate(files):
        if i == 0 or np.corrcoef(ranks[i - 1], ranks[i])[0, 1] < SAME_SCENE:
            scenes.append([])
        scenes[-1].append((path, float(gray[i].mean())))
    return scenes


def link(source: Path, target: Path) -> None:
    """Make a symbolic link and its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


if __name__ == "__main__":
    tyro.cli(main)
