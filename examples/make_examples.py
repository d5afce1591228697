"""Darken a few free photographs, as if a camera had underexposed them.

The photographs are part of scikit-image (``pip install scikit-image``; it downloads nothing else).
They are free to share in any form:

- ``astronaut``: Eileen Collins, from NASA's Great Images collection. Public domain.
- ``camera``: by Lav Varshney. CC0.
- ``chelsea``: a cat, by Stefan van der Walt. CC0.
- ``coffee``: by Rachel Michetti, courtesy of Pikolo Espresso Bar. CC0.

``python examples/make_examples.py`` writes the dark photographs beside this file. The bytes are the
same each time with the same versions of NumPy, Pillow and scikit-image.
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
    """One dark photograph to make."""

    name: str
    """Name of the file to write."""
    load: Callable[[], np.ndarray]
    """Function that returns the well-exposed photograph."""
    exposure: float
    """Factor on the linear light; 0.25 underexposes by two stops."""
    full_well: float
    """Number of photons of a white pixel at full exposure; fewer photons give more shot noise."""
    read_noise: float
    """Standard deviation of the read noise, in photons, at every brightness."""


EXAMPLES = [
    Example("coffee.jpg", data.coffee, 0.20, 10_000, 3),
    Example("chelsea_oval.png", data.chelsea, 0.12, 10_000, 3),
    Example("astronaut.jpg", data.astronaut, 0.08, 10_000, 3),
    Example("chelsea.jpg", data.chelsea, 0.05, 8_000, 3),
    Example("camera.jpg", data.camera, 0.04, 8_000, 3),
    Example("coffee_night.jpg", data.coffee, 0.02, 12_000, 3),
]
CUTOUT = "chelsea_oval.png"
"""Name of the example with transparency."""


def darken(image: np.ndarray, example: Example) -> np.ndarray:
    """Simulate a photograph taken with less light.

    Args:
        image: 8-bit sRGB image, gray or color.
        example: Exposure and noise.

    Returns:
        An image of the same shape and type.
    """
    rng = np.random.default_rng(SEED)
    encoded = image / 255
    # Exposure and noise act on linear light, as in a sensor.
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    photons = rng.poisson(light * example.exposure * example.full_well)
    measured = photons + rng.normal(0, example.read_noise, image.shape)
    light = np.clip(measured / example.full_well, 0, 1)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def cut_out(image: np.ndarray) -> np.ndarray:
    """Add an alpha channel: an opaque oval with a soft edge."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    opacity = np.clip((1 - np.hypot(x, y)) / 0.15, 0, 1)
    alpha = np.rint(opacity * 255).astype(np.uint8)[..., None]
    # Invisible noise would make the file larger, so transparent pixels become black.
    return np.concatenate([np.where(alpha > 0, image, 0), alpha], axis=-1)


def main() -> None:
    """Write every example beside this file."""
    for example in EXAMPLES:
        dark = darken(example.load(), example)
        if example.name == CUTOUT:
            dark = cut_out(dark)
        # Chroma subsampling would destroy most of the remaining color in dark images.
        options = {"quality": JPEG_QUALITY, "subsampling": 0, "optimize": True}
        Image.fromarray(dark).save(HERE / example.name, **options)
        print(f"{example.name}: mean {dark[..., :3].mean():.0f} of 255")


if __name__ == "__main__":
    main()
