"""Animations for tests."""

from typing import Any

import numpy as np
from PIL import Image

from helpers.photo_files import encode_image, gradient

TIMES = (40, 50, 100, 20, 70, 90)
"""How long the frames are shown, in milliseconds."""


def frames(*, alpha: bool = False) -> list[np.ndarray]:
    """Return dark frames of few colors, with a square that moves, and a transparent area."""
    made = []
    for i in range(len(TIMES)):
        frame = np.full((20, 30, 4), 255, np.uint8)
        frame[..., :3] = gradient(20, 30)[..., None] // 16 * 8
        frame[3 + i : 9 + i, 2 + 3 * i : 9 + 3 * i, :3] = [200, 50, 9 * i]
        if alpha:
            frame[:, 29 - i :, 3] = 0
            made.append(frame)
        else:
            made.append(frame[..., :3])
    return made


def encode_frames(suffix: str, made: list[np.ndarray], **options: Any) -> bytes:
    """Encode an animation with Pillow, without loss if the format allows that."""
    images = [Image.fromarray(frame) for frame in made]
    options = {"duration": list(TIMES[: len(made)]), "loop": 2} | options
    if suffix == "webp":
        options["lossless"] = True
    if suffix == "gif" and made[0].shape[2:] == (4,):
        options["disposal"] = 2
    return encode_image(images[0], suffix, save_all=True, append_images=images[1:], **options)
