"""Enhance many videos, or raw frames from a pipe: decode, enhance, encode."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.atomic import replacing
from zerodce_jax.config import SMOOTHING_SECONDS, EnhanceSettings
from zerodce_jax.errors import InputError, one_line
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import Executor, Result
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Frame, Reader, Writer, prefix_video_errors

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

_AHEAD = 4
"""Number of frames that are decoded before they are needed, and that wait to be encoded."""

OnFrame = Callable[[Item, int, int | None], None]
"""Function that is called after each frame with the item, the number of its frames that are done,
and the number of all its frames if the file states it."""


class VideoExecutor(Executor):
    """Enhances videos, one after another. A result appears once it is complete.

    Args:
        enhancer: The network.
        settings: How to enhance; None takes the network's own settings.
        smoothing: Time constant of the exposure smoothing, in seconds; 0 enhances each frame
            independently.
        encoding: How to encode.
        strip: Whether to leave out metadata other than languages.
        max_pixels: Number of pixels of the largest frame that is decoded.
        on_frame: Called after each frame.
    """

    def __init__(
        self,
        enhancer: "Enhancer",
        settings: EnhanceSettings | None = None,
        *,
        smoothing: float = SMOOTHING_SECONDS,
        encoding: Encoding = Encoding(),  # noqa: B008 (frozen)
        strip: bool = False,
        max_pixels: int = MAX_PIXELS,
        on_frame: OnFrame = lambda item, done, total: None,
    ) -> None:
        self._enhancer, self._settings, self._smoothing = enhancer, settings, smoothing
        self._encoding, self._strip, self._max_pixels = encoding, strip, max_pixels
        self._on_frame = on_frame

    def run(self, items: Iterable[tuple[int, Item]]) -> Generator[tuple[int, Result], None, None]:
        """Yield the number and the result of each item, in order; see `Executor.run`."""
        for number, item in items:
            yield number, self._enhance(item)

    def _enhance(self, item: Item) -> Result:
        start = time.perf_counter()
        done = 0
        try:
            with Reader(item.source, max_pixels=self._max_pixels) as reader:
                item.target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    replacing(item.target) as temporary,
                    prefix_video_errors(item.target),
                    Writer(temporary, reader, self._encoding, strip=self._strip) as writer,
                    # If `on_frame` raises, no thread may write any more when the writer closes.
                    closing(_behind(writer.write, self._frames(reader))) as written,
                ):
                    for _ in written:
                        done += 1
                        self._on_frame(item, done, reader.count)
        except (InputError, OSError) as error:
            seconds = time.perf_counter() - start
            return Result(item, "failed", seconds, message=one_line(error))
        notes = "; ".join([*reader.notes, *writer.notes])
        message = one_line(f"{item.source}: {notes}") if notes else ""
        seconds = time.perf_counter() - start
        return Result(item, "done", seconds, reader.width, reader.height, message, done)

    def _frames(self, reader: Reader) -> Iterator[tuple[Frame, Shaped[np.ndarray, "h w *rgb"]]]:
        """Yield the frames of a video, without their pixels, and the enhanced pixels of each."""
        begun: deque[Frame] = deque()

        def images() -> Iterator[tuple[float, Shaped[np.ndarray, "h w *rgb"]]]:
            for frame in _ahead(reader.frames()):
                begun.append(replace(frame, pixels=frame.pixels[:0]))
                yield frame.time, frame.pixels

        for pixels in self._enhancer.clip(images(), self._settings, smoothing=self._smoothing):
            yield begun.popleft(), pixels


@dataclass(frozen=True)
class RawFormat:
    """The form of raw frames: rows of pixels, each red, green, blue, without any header."""

    width: int
    """Width of a frame, in pixels."""
    height: int
    """Height of a frame, in pixels."""
    rate: float
    """Number of frames per second."""
    dtype: np.dtype
    """Type of a sample: ``uint8`` (``rgb24``) or little-endian ``uint16`` (``rgb48le``)."""


def enhance_raw(
    read: Callable[[int], bytes],
    write: Callable[[bytes], object],
    form: RawFormat,
    enhancer: "Enhancer",
    settings: EnhanceSettings | None = None,
    *,
    smoothing: float = SMOOTHING_SECONDS,
) -> None:
    """Enhance raw frames from a pipe into another pipe.

    Args:
        read: Returns the given number of bytes of the frames, or fewer, or none at the end.
        write: Takes the enhanced frames, one at a time, in the same form.
        form: The form of the frames.
        enhancer: The network.
        settings: How to enhance; None takes the network's own settings.
        smoothing: Time constant of the exposure smoothing, in seconds; 0 enhances each frame
            independently.

    Raises:
        InputError: The last frame is incomplete; the frames before it are written.
    """
    size = form.width * form.height * 3 * form.dtype.itemsize
    count = incomplete = 0

    def frames() -> Iterator[tuple[float, Shaped[np.ndarray, "h w 3"]]]:
        nonlocal count, incomplete
        while len(data := _read_fully(read, size)) == size:
            samples = np.frombuffer(data, form.dtype)
            yield count / form.rate, samples.reshape(form.height, form.width, 3)
            count += 1
        incomplete = len(data)

    for pixels in enhancer.clip(frames(), settings, smoothing=smoothing):
        write(np.ascontiguousarray(pixels, form.dtype).tobytes())
    if incomplete:
        raise InputError(
            f"standard input: ends within frame {count + 1} ({incomplete:,} of {size:,} bytes); "
            f"are its frames {form.width}x{form.height}?"
        )


def _ahead(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield frames that another thread decodes, `_AHEAD` of them before they are needed."""
    waiting: deque[Future[Frame | None]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        while True:
            while len(waiting) < _AHEAD:
                waiting.append(pool.submit(next, frames, None))
            frame = waiting.popleft().result()
            if frame is None:
                return
            yield frame
    finally:
        pool.shutdown(cancel_futures=True)


def _behind(
    write: Callable[[Frame, Shaped[np.ndarray, "h w *rgb"]], None],
    frames: Iterable[tuple[Frame, Shaped[np.ndarray, "h w *rgb"]]],
) -> Generator[None, None, None]:
    """Write frames on another thread, `_AHEAD` of them behind; yield after each that is written."""
    waiting: deque[Future[None]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for frame in frames:
            waiting.append(pool.submit(write, *frame))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_fully(read: Callable[[int], bytes], size: int) -> bytes:
    """Return `size` bytes, or fewer at the end; a pipe may return fewer than it is asked for."""
    data = read(size)
    while 0 < len(data) < size and (more := read(size - len(data))):
        data += more
    return data
