"""Make the pictures of the README.

    python docs/make_pictures.py before-after
    python docs/make_pictures.py training RUN

The first shows the color photographs of examples/ before and after enhancement with the default
network and settings; the second plots the log of a training run.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from PIL import Image

from zerodce_jax import Enhancer
from zerodce_jax.journal import LOG_FILE

DOCS = Path(__file__).parent
EXAMPLES = ("coffee.jpg", "astronaut.jpg", "chelsea.jpg")
HEIGHT = 280


def before_after() -> None:
    """Write before_after.jpg: examples side by side, input above, result below."""
    before = [Image.open(DOCS.parent / "examples" / name).convert("RGB") for name in EXAMPLES]
    after = list(Enhancer.load().many(before))
    rows = [np.concatenate([_scaled(image) for image in row], axis=1) for row in (before, after)]
    Image.fromarray(np.concatenate(rows)).save(DOCS / "before_after.jpg", quality=90)


def training(run: Path, /) -> None:
    """Write training.png: the losses of a run by step.

    Args:
        run: Working folder of the run.
    """
    log = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    trained = [entry for entry in log if "total" in entry]
    validated = [entry for entry in log if "val_total" in entry]
    names = ("total", "spatial", "exposure", "color", "smoothness")
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 2.8), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        steps = [entry["step"] for entry in trained]
        axis.plot(steps, [entry[name] for entry in trained], lw=0.6, alpha=0.6, label="training")
        steps = [entry["step"] for entry in validated]
        axis.plot(steps, [entry[f"val_{name}"] for entry in validated], "o-", label="validation")
        axis.set(title=name, xlabel="step", yscale="log")
    axes[0].legend()
    figure.savefig(DOCS / "training.png", dpi=80)


def _scaled(image: Image.Image) -> np.ndarray:
    width = round(image.width * HEIGHT / image.height)
    return np.asarray(image.resize((width, HEIGHT), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"before-after": before_after, "training": training})
