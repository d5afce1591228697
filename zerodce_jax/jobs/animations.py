"""Enhance the frames of an animation without flicker."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import prefix_errors
from zerodce_jax.media.animation import Frame
from zerodce_jax.media.photograph import Photo

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

_DEFAULT_DURATION = 100
"""How long browsers show a frame that states no time, in milliseconds."""


def enhance_animation(
    opened: Photo,
    name: str,
    enhancer: "Enhancer",
    settings: EnhanceSettings | None = None,
    *,
    smoothing: float,
) -> Photo:
    """Return a photograph whose frames are enhanced as they are asked for, and not kept.

    Args:
        opened: The photograph, with an animation.
        name: Name of its file, for the messages of errors that decoding raises.
        enhancer: The network.
        settings: How to enhance; None takes the network's own settings.
        smoothing: Time constant of the exposure smoothing, in seconds; 0 enhances each frame
            independently.
    """
    animation = opened.animation
    assert animation is not None
    begun: deque[Frame] = deque()

    def images() -> Iterator[tuple[float, Shaped[np.ndarray, "h w *rgb"]]]:
        milliseconds = 0.0
        with prefix_errors(name):
            for frame in animation.frames():
                begun.append(frame)
                yield milliseconds / 1000, frame.pixels
                milliseconds += frame.duration or _DEFAULT_DURATION

    def frames() -> Iterator[Frame]:
        for pixels in enhancer.clip(images(), settings, smoothing=smoothing):
            yield replace(begun.popleft(), pixels=pixels)

    return replace(opened, animation=replace(animation, frames=frames))
