"""Enhance the frames of an animation without flicker, and the pages of a file one by one."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import prefix_errors
from zerodce_jax.media.animation import Animation, Frame
from zerodce_jax.media.photograph import Pages, Photo

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

_DEFAULT_DURATION = 100
"""How long browsers show a frame that states no time, in milliseconds."""


def enhance_several(
    opened: Photo,
    name: str,
    enhancer: "Enhancer",
    settings: EnhanceSettings | None = None,
    *,
    smoothing: float,
) -> Photo:
    """Return a photograph whose frames or pages are enhanced as they are asked for, and not kept.

    Args:
        opened: The photograph, with an animation or with pages.
        name: Name of its file, for the messages of errors that decoding raises.
        enhancer: The network.
        settings: How to enhance; None takes the network's own settings.
        smoothing: Time constant of the exposure smoothing of animations, in seconds; 0 enhances
            each frame independently.
    """
    if opened.pages is not None:
        return replace(opened, pages=_enhance_pages(opened.pages, name, enhancer, settings))
    assert opened.animation is not None
    animation = _enhance_animation(opened.animation, name, enhancer, settings, smoothing)
    return replace(opened, animation=animation)


def _enhance_animation(
    animation: Animation,
    name: str,
    enhancer: "Enhancer",
    settings: EnhanceSettings | None,
    smoothing: float,
) -> Animation:
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

    return replace(animation, frames=frames)


def _enhance_pages(
    pages: Pages, name: str, enhancer: "Enhancer", settings: EnhanceSettings | None
) -> Pages:
    begun: deque[Photo] = deque()

    def images() -> Iterator[Shaped[np.ndarray, "h w *rgb"]]:
        with prefix_errors(name):
            photos = iter(pages.photos())
        for number in range(pages.count):
            with prefix_errors(f"{name}: page {number + 1}"):
                begun.append(next(photos))
            yield begun[-1].pixels

    def photos() -> Iterator[Photo]:
        for pixels in enhancer.many(images(), settings):
            yield replace(begun.popleft(), pixels=pixels)

    return replace(pages, photos=photos)
