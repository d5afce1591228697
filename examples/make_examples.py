"""Darken a few free photographs, as an underexposed camera would have taken them.

The photographs come with scikit-image (``pip install scikit-image``; it downloads nothing), and
are free to share in any form:

- ``astronaut``: Eileen Collins, from NASA's Great Images collection. Public domain.
- ``camera``: by Lav Varshney. CC0.
- ``chelsea``: a cat, by Stefan van der Walt. CC0.
- ``coffee``: by Rachel Michetti, courtesy of Pikolo Espresso Bar. CC0.

``python examples/make_examples.py`` writes the pictures beside this file, the same bytes each time
as long as NumPy, Pillow and scikit-image stay the same.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data

HERE = Path(__file__).parent
SEED = 0
JPEG_QUALITY = 92


class Example(NamedTuple):
    """One picture to make."""

    name: str
    load: Callable[[], np.ndarray]
    exposure: float
    """What is left of the light: 0.25 is two stops under."""
    full_well: float
    """Photons that white stands for at full exposure; fewer make shot noise stronger."""
    read_noise: float
    """Standard deviation in photons, the same in light and shadow."""


EXAMPLES = [
    Example("coffee.jpg", data.coffee, 0.20, 10_000, 3),
    Example("chelsea_oval.png", data.chelsea, 0.12, 10_000, 3),
    Example("astronaut.jpg", data.astronaut, 0.08, 10_000, 3),
    Example("chelsea.jpg", data.chelsea, 0.05, 8_000, 3),
    Example("camera.jpg", data.camera, 0.04, 8_000, 3),
    Example("coffee_night.jpg", data.coffee, 0.02, 12_000, 3),
]
CUTOUT = "chelsea_oval.png"  # the one with transparency


def darken(picture: np.ndarray, example: Example) -> np.ndarray:
    """Take a photograph again with less light.

    Args:
        picture: 8-bit sRGB, gray or color.
        example: Exposure and noise.

    Returns:
        A picture of the same shape and type.
    """
    rng = np.random.default_rng(SEED)
    encoded = picture / 255
    # Light adds up, and sensors count it, in linear values only.
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    photons = rng.poisson(light * example.exposure * example.full_well)
    measured = photons + rng.normal(0, example.read_noise, picture.shape)
    light = np.clip(measured / example.full_well, 0, 1)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def cut_out(picture: np.ndarray) -> np.ndarray:
    """Add an alpha channel that keeps an oval and fades out around it."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    opacity = np.clip((1 - np.hypot(x, y)) / 0.15, 0, 1)
    alpha = np.rint(opacity * 255).astype(np.uint8)[..., None]
    # Noise that nobody sees would only make the file larger.
    return np.concatenate([np.where(alpha > 0, picture, 0), alpha], axis=-1)


def main() -> None:
    """Write every example beside this file."""
    for example in EXAMPLES:
        dark = darken(example.load(), example)
        if example.name == CUTOUT:
            dark = cut_out(dark)
        # Full color resolution: in the dark, halved color would be most of what is left.
        options = {"quality": JPEG_QUALITY, "subsampling": 0, "optimize": True}
        Image.fromarray(dark).save(HERE / example.name, **options)
        print(f"{example.name}: mean {dark[..., :3].mean():.0f} of 255")


if __name__ == "__main__":
    main()
