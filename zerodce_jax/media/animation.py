"""Read and write animations: GIF, APNG, animated WebP and AVIF sequences.

Frames are decoded as they are asked for, and encoded as they come. Pillow composes them: each one
is the whole image that is shown at its time.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from zerodce_jax.errors import InputError
from zerodce_jax.media import pillow, png
from zerodce_jax.media.formats import Format
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.media.samples import convert, unpack

FORMATS: frozenset[Format] = frozenset({"gif", "png", "webp", "avif"})
"""Formats that hold animations."""
_GIF_COLORS = 255
"""Number of colors of a GIF frame; one more index stands for transparency or for no change."""
_GIF_OPAQUE = 128
"""Opacity from which a pixel of a GIF is opaque."""
_TRACK_TIMES = re.compile(rb"((?:mvhd|tkhd|mdhd)\x01...).{16}", re.DOTALL)
"""Times of creation and change in boxes of tracks (ISO/IEC 14496-12, section 8.2.2)."""
_CLEAR_BEFORE_NEXT = 2
"""Disposal of GIF frames that are cleared before the next one."""


@dataclass(frozen=True)
class Frame:
    """A frame of an animation."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """RGB (height, width, 3) or gray (height, width); uint8 or uint16."""
    alpha: Shaped[np.ndarray, "h w"] | None
    """Opacity, of the same type as the pixels, or None; the same for all frames."""
    duration: float
    """How long the frame is shown, in milliseconds; 0 leaves it to the program that shows it."""


@dataclass(frozen=True)
class Animation:
    """Frames of equal size and type, and how often they are played."""

    frames: Callable[[], Iterable[Frame]]
    """Starts to decode the frames, from the first one on."""
    count: int
    """Number of frames."""
    plays: int
    """How often the animation is played; 0 is for ever."""


def count_frames(image: Image.Image) -> int:
    """Return the number of frames of an image that was opened from a file, or 1 if it has none.

    A PNG may hold a further image, for programs that do not know animations.
    """
    if pillow.format_of(image) not in FORMATS:
        return 1
    return getattr(image, "n_frames", 1) - getattr(image, "default_image", False)


def count_plays(image: Image.Image) -> int:
    """Return how often an animation that was opened from a file is played; 0 is for ever."""
    if pillow.format_of(image) == "gif":
        # GIF states the repetitions. Without the extension that does so, there is none.
        repetitions = image.info.get("loop")
        return 1 if repetitions is None else repetitions and repetitions + 1
    return image.info.get("loop", 0)


def decode(data: bytes, orientation: int, max_pixels: int) -> Iterator[Frame]:
    """Decode the frames of a file, one at a time, and turn them upright.

    The EXIF orientation of the stored frames is 1 to 8.

    Raises:
        InputError: All frames together have more than `max_pixels`.
    """
    image = pillow.open_image(io.BytesIO(data), max_pixels)
    count, (width, height) = count_frames(image), image.size
    if count * width * height > max_pixels:
        raise InputError(
            f"{count} frames of {width}x{height} pixels are more than the limit of "
            f"{max_pixels:,} (--max-pixels)"
        )
    first = int(getattr(image, "default_image", False))
    mode = None
    if pillow.format_of(image) == "gif":
        mode = "RGBA" if _is_transparent(image, count) else "RGB"
    elapsed = 0.0
    for number in range(first, first + count):
        image.seek(number)
        # The duration is known once the pixels are loaded.
        stored = pillow.read_samples(image.convert(mode) if mode else image)
        pixels, alpha = unpack(stored, orientation)
        duration = image.info.get("duration", 0)
        if "timestamp" in image.info:
            # Durations of whole milliseconds must not add up to another time.
            duration = image.info["timestamp"] + duration - elapsed
        elapsed += duration
        yield Frame(pixels, alpha, duration)


def encode(animation: Animation, file_format: Format, metadata: Metadata) -> bytes:
    """Encode an animation in one of the `FORMATS`; frames are taken as they are needed."""
    frames = iter(animation.frames())
    if file_format == "png":
        samples = ((_samples(frame), frame.duration) for frame in frames)
        return png.encode_frames(samples, animation.plays, metadata)
    durations: list[int] = []
    unit = 10 if file_format == "gif" else 1
    end = 0.0
    to_image = _palette_image if file_format == "gif" else _color_image

    def images() -> Iterator[Image.Image]:
        nonlocal end
        for frame in frames:
            # The encoders look up the duration of a frame after they have taken it. Rounded, they
            # must not add up to another time.
            end += frame.duration
            durations.append(round(end / unit) * unit - sum(durations))
            yield to_image(frame)

    sequence = _Sequence(images(), animation.count)
    options = pillow.save_options(file_format, metadata) | {"duration": durations}
    if file_format == "gif":
        if "transparency" in sequence.copy().info:
            options["disposal"] = _CLEAR_BEFORE_NEXT
        if animation.plays != 1:
            options["loop"] = max(0, animation.plays - 1)
    elif file_format == "avif":
        options["quality"] = 90
    elif file_format == "webp":
        # The default of still images, whose files are smaller.
        options |= {"loop": animation.plays, "method": 4}
    file = io.BytesIO()
    sequence.save(file, format=file_format, save_all=True, **options)
    return _without_times(file.getvalue()) if file_format == "avif" else file.getvalue()


def _without_times(avif: bytes) -> bytes:
    """Clear the time of writing in an AVIF sequence, so that equal frames give equal files."""
    # The boxes of tracks precede the pixels.
    head, name, pixels = avif.partition(b"mdat")
    return _TRACK_TIMES.sub(lambda found: found[1] + bytes(16), head) + name + pixels


class _Sequence(Image.Image):
    """Images that come one after the other, in the form in which Pillow takes those of a file.

    Given a list of images, Pillow would hold all of them in memory.
    """

    def __init__(self, images: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames, self.is_animated = count, True
        self._images, self._at = images, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        # Encoders only return to the first frame to leave it as they found it.
        while self._at < frame:
            image = next(self._images, None)
            if image is None:
                raise EOFError("no more frames")
            self._at, self._image = self._at + 1, image
            self.im, self._mode, self._size = image.im, image.mode, image.size

    def tell(self) -> int:
        return self._at

    def copy(self) -> Image.Image:
        # The transparent color is one of this image; as one of the sequence, the encoder of GIF
        # would take it for the background of all of them.
        return self._image.copy()


def _is_transparent(gif: Image.Image, count: int) -> bool:
    """Return whether any frame of a GIF has transparent pixels."""
    for number in range(count):
        gif.seek(number)
        if gif.has_transparency_data:
            lowest: Any = gif.convert("RGBA").getchannel("A").getextrema()[0]
            if lowest < 255:
                return True
    return False


def _samples(frame: Frame) -> Shaped[np.ndarray, "h w *channels"]:
    return frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha])


def _bytes_of(samples: Shaped[np.ndarray, "h w *channels"]) -> UInt8[np.ndarray, "h w *channels"]:
    return convert(samples, np.uint8)


def _color_image(frame: Frame) -> Image.Image:
    image = Image.fromarray(_bytes_of(_samples(frame)))
    return image.convert("RGB" if frame.alpha is None else "RGBA")


def _palette_image(frame: Frame) -> Image.Image:
    """Return a frame with a palette of its own, without dithering, which would flicker."""
    image = Image.fromarray(_bytes_of(frame.pixels)).convert("RGB")
    image = image.quantize(_GIF_COLORS, Image.Quantize.MEDIANCUT)
    if frame.alpha is not None:
        palette = image.getpalette() or []
        image.putpalette(palette + [0] * (768 - len(palette)))
        clear = Image.fromarray(_bytes_of(frame.alpha) < _GIF_OPAQUE)
        image.paste(_GIF_COLORS, mask=clear)
        image.info["transparency"] = _GIF_COLORS
    return image
