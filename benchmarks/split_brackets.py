"""Split a folder of exposure brackets into training and validation parts, by scene.

    python benchmarks/split_brackets.py DATA OUT

Consecutive numbers in DATA are shots of one scene at rising exposures; the dataset says nowhere
where a scene ends. Shots of one scene rank their pixels by brightness in the same way, however they
are exposed, so a scene ends where the rank correlation of neighbouring shots is low.

OUT gets four folders of links to the photographs: ``train``; ``validation``, the last tenth of the
scenes; and of each validation scene a pair of the same name: ``high``, the shot nearest to a mean
of 0.45, and ``low``, its darkest shot that is not black and at most half as bright.
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


def main(data: Path, out: Path, /, *, fraction: float = 0.1) -> None:
    """Split a folder of exposure brackets by scene.

    Args:
        data: Folder of photographs.
        out: New folder for the parts.
        fraction: Share of the scenes to validate on.
    """
    scenes = find_scenes(find_photographs(data))
    count = round(len(scenes) * fraction)
    for name, some in {"train": scenes[:-count], "validation": scenes[-count:]}.items():
        for scene in some:
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
    print(f"{len(scenes)} scenes: {len(scenes) - count} to train on, {count} to validate on")
    print(f"{pairs} pairs of a dark and a well-exposed shot among the latter")


def find_scenes(files: Sequence[Path]) -> list[list[tuple[Path, float]]]:
    """Group shots in a row into scenes, each shot with its mean brightness in [0, 1]."""
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
    """Make a link, and the folder for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


if __name__ == "__main__":
    tyro.cli(main)
