"""Train variants of the recipe of scene networks, and compare them.

    python benchmarks/ablation.py TRAIN PARTS NIGHT... [--variants NAME ...] [--steps N]

TRAIN is a folder of photographs to train on, PARTS the folder that ``split_brackets.py`` wrote, and
NIGHT are night photographs. Each variant changes one thing of the recipe, or adds an idea from the
literature. To be quick, all train for fewer steps than the recipe, on images of 128x128 pixels. The
benchmark prints a Markdown table, with the settings of scene networks:

- PSNR in dB and SSIM of the validation pairs (``low`` and ``high`` of PARTS)
- the mean brightness of these results, relative to that of the references
- median PSNR in dB between input and output for the well-exposed shots (``high``)
- black level of the night photographs, in levels of 255
"""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array
from tyro.conf import Positional

from zerodce_jax import Enhancer
from zerodce_jax.config import TrainConfig
from zerodce_jax.evaluation import metrics
from zerodce_jax.media import photo
from zerodce_jax.media.formats import find_photographs
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.training import data, fit, scenes, step
from zerodce_jax.training.losses import region_means

Patch = AbstractContextManager[Any]
_degrade, _scene_losses, _forward = scenes.degrade, scenes.scene_losses, SceneNet.forward
_AGREEMENT_WEIGHT, _TONE_WEIGHT = 0.5, 0.1


def twice(images: Array, key: Array, normal: Array) -> tuple[Array, Array]:
    """Degrade each photograph in two ways, with independent noise."""
    first, targets = _degrade(images, key, normal)
    other = jax.random.fold_in(key, 1)
    second, _ = _degrade(images, other, jax.random.normal(other, images.shape))
    return jnp.concatenate([first, second]), jnp.concatenate([targets, targets])


def agreeing(model: SceneNet, inputs: Array, targets: Array) -> dict[str, Array]:
    """Add the difference between the results for both (PairLIE, Fu et al., CVPR 2023)."""
    first, second = jnp.split(enhance(model, inputs), 2)
    difference = jnp.abs(region_means(first - second, 4)).mean()
    terms = _scene_losses(model, inputs, targets)
    return terms | {"agreement": _AGREEMENT_WEIGHT * difference}


def with_tones(model: SceneNet, inputs: Array, targets: Array) -> dict[str, Array]:
    """Add differences of the brightest tones of regions of several scales, as in LASQ (2025)."""
    results = enhance(model, inputs).max(-1), targets.max(-1)
    tones = [
        jnp.abs(jnp.subtract(*(region_means(x, size) for x in results))).mean()
        for size in (16, 32, 64)
    ]
    return _scene_losses(model, inputs, targets) | {"tones": _TONE_WEIGHT * sum(tones)}


def enhance(model: SceneNet, inputs: Array) -> Array:
    """Return what a network makes of images."""
    return apply_curves(inputs, model(inputs), iterations=model.config.iterations)


def without_channels(first: int) -> Callable[[SceneNet, Array], Array]:
    """Return a forward function that sees 0 in place of the input channels from one on."""

    def convolve(self: SceneNet, name: str, x: Array, **options: int) -> Array:
        if name == "down1":
            x = x.at[..., first:].set(0)
        return _convolve(self, name, x, **options)

    def forward(self: SceneNet, thumbnails: Array) -> Array:
        with mock.patch.object(SceneNet, "_convolve", convolve):
            return _forward(self, thumbnails)

    return forward


_convolve = SceneNet._convolve
VARIANTS: dict[str, tuple[dict[str, Any], list[Callable[[], Patch]]]] = {
    "recipe": ({}, []),
    "no exposure normalization": ({}, [lambda: mock.patch.object(scenes, "NORMALIZATION", 0.0)]),
    "light lost everywhere alike": (
        {},
        [
            lambda: mock.patch.object(scenes, "BACKLIT", 0.0),
            lambda: mock.patch.object(scenes, "CONTRASTY", 0.0),
        ],
    ),
    "no photographs unchanged": (
        {},
        [
            lambda: mock.patch.object(scenes, "UNCHANGED", 0.0),
            lambda: mock.patch.object(scenes, "UNCHANGED_IF_DARK", 0.0),
        ],
    ),
    "dark photographs not repeated": ({}, [lambda: mock.patch.object(data, "DARK_REPEATS", 1)]),
    "no logarithm of errors": ({}, [lambda: mock.patch.object(scenes, "_ERROR_WEIGHT", 0.0)]),
    "agreement of two degradations": (
        {},
        [
            lambda: mock.patch.object(step, "degrade", twice),
            lambda: mock.patch.object(step, "scene_losses", agreeing),
        ],
    ),
    "tones at several scales": ({}, [lambda: mock.patch.object(step, "scene_losses", with_tones)]),
    "no exposure fusion": ({}, [lambda: mock.patch.object(scenes, "FUSION", 0.0)]),
    "colors not varied": ({}, [lambda: mock.patch.object(step, "vary_colors", lambda x, _: x)]),
    "no brightness and chroma as inputs": (
        {},
        [lambda: mock.patch.object(SceneNet, "forward", without_channels(6))],
    ),
    "batches of 24": ({"batch_size": 24}, []),
    "another seed": ({"seed": 1}, []),
}


def main(
    train: Path,
    parts: Path,
    night: Positional[tuple[Path, ...]],
    /,
    *,
    variants: tuple[str, ...] = tuple(VARIANTS),
    steps: int = 1000,
) -> None:
    """Print the table.

    Args:
        train: Folder of photographs to train on.
        parts: Folder that ``split_brackets.py`` wrote.
        night: Night photographs.
        variants: Variants to train.
        steps: Length of each training.
    """
    print(f"| {steps} steps | PSNR, dB | SSIM | mean | unchanged, dB | black level |", flush=True)
    print("|---" * 6 + "|")
    for name in variants:
        options, patches = VARIANTS[name]
        recipe = {"steps": steps, "image_size": 128, "checkpoint_every": steps} | options
        config = TrainConfig(**(vars(TrainConfig.recipe("scene")) | recipe))
        with tempfile.TemporaryDirectory() as workdir, ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch())
            fit(config, data=train, workdir=Path(workdir))
            print(
                f"| {name} | {scores(Enhancer.load(workdir, engine='xla'), parts, night)} |",
                flush=True,
            )


def scores(enhancer: Enhancer, parts: Path, night: tuple[Path, ...]) -> str:
    """Format the scores of one variant."""
    rows, unchanged = [], []
    for low in find_photographs(parts / "low"):
        image, reference = (photo.read_rgb(parts / part / low.name) for part in ("low", "high"))
        pair = [x / np.float32(255) for x in (enhancer(image), reference)]
        rows.append((metrics.psnr(*pair), metrics.ssim(*pair), pair[0].mean() / pair[1].mean()))
        unchanged.append(metrics.psnr(enhancer(reference) / np.float32(255), pair[1]))
    levels = []
    for path in night:
        image = photo.read_rgb(path)
        pair = (x / np.float32(255) for x in (image, enhancer(image)))
        levels.append(metrics.black_level(*pair).brightness)
    psnr, ssim, mean = np.mean(rows, axis=0)
    return (
        f"{psnr:.2f} | {ssim:.3f} | {mean:.2f} | {np.median(unchanged):.1f}"
        f" | {255 * np.nanmean(levels):.1f}"
    )


if __name__ == "__main__":
    tyro.cli(main)
