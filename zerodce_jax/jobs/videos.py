"""Many videos, or raw frames through a pipe: decode, enhance, encode, say what became of each."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.atomic import replacing, sweep
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import InputError, one_line
from zerodce_jax.jobs.photos import Result
from zerodce_jax.jobs.plan import Item, is_done
from zerodce_jax.media.photo import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Frame, Reader, Writer, prefix_video_errors
from zerodce_jax.ops.temporal import DEFAULT_SECONDS

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

_AHEAD = 4
"""Frames that are decoded before they are needed."""

T = TypeVar("T")
OnFrame = Callable[[Item, int, int | None], None]
"""Is told of an item, how many of its frames are done, and how many there are, if that is known."""


def enhance_all(
    items: Sequence[Item],
    enhancer: "Enhancer",
    settings: EnhanceSettings,
    *,
    smoothing: float = DEFAULT_SECONDS,
    encoding: Encoding = Encoding(),  # noqa: B008 (frozen)
    overwrite: bool = False,
    fail_fast: bool = False,
    strip: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_frame: OnFrame = lambda item, done, total: None,
) -> Generator[Result, None, None]:
    """Enhance videos, one after another; one that fails does not keep the others from it.

    A result appears once it is complete. What killed runs left behind where results go is swept
    away first.

    Args:
        items: What `plan` made.
        enhancer: The network.
        settings: How to apply its curves.
        smoothing: Seconds over which light follows the frames; 0 is frame by frame.
        encoding: How to encode.
        overwrite: Whether to make results anew that exist already, instead of skipping them.
        fail_fast: Whether to leave everything else once an item failed.
        strip: Whether to leave out metadata, but for languages.
        max_pixels: Pixels of the largest frame that is decoded.
        on_frame: Is told of each frame that is done.

    Yields:
        The results, in the order of the items. Where a KeyboardInterrupt strikes, what is left is
        given before it is raised.
    """
    for folder in {item.target.parent for item in items}:
        sweep(folder)

    def enhanced(item: Item) -> Result:
        start = time.perf_counter()
        if item.problem:
            return Result(item, "failed", message=item.problem)
        if is_done(item) and not overwrite:
            return Result(item, "skipped")
        done = 0
        try:
            with Reader(item.source, max_pixels=max_pixels) as reader:
                item.target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    replacing(item.target) as temporary,
                    prefix_video_errors(item.target),
                    Writer(temporary, reader, encoding, strip=strip) as writer,
                ):
                    for frame, pixels in _frames(reader, enhancer, settings, smoothing):
                        writer.write(frame, pixels)
                        done += 1
                        on_frame(item, done, reader.count)
        except (InputError, OSError) as error:
            seconds = time.perf_counter() - start
            return Result(item, "failed", seconds, message=one_line(error))
        notes = "; ".join([*reader.notes, *writer.notes])
        message = one_line(f"{item.source}: {notes}") if notes else ""
        seconds = time.perf_counter() - start
        return Result(item, "done", seconds, reader.width, reader.height, message, done)

    waiting = deque(items)
    interrupted = False
    try:
        while waiting:
            result = enhanced(waiting[0])
            waiting.popleft()
            yield result
            if fail_fast and result.status == "failed":
                break
    except KeyboardInterrupt:
        interrupted = True
    yield from (Result(item, "left") for item in waiting)
    if interrupted:
        raise KeyboardInterrupt


def enhance_raw(
    read: Callable[[int], bytes],
    write: Callable[[bytes], object],
    enhancer: "Enhancer",
    settings: EnhanceSettings,
    *,
    smoothing: float = DEFAULT_SECONDS,
    width: int,
    height: int,
    rate: float,
    deep: bool,
) -> None:
    """Enhance raw frames from a pipe into another one.

    Args:
        read: Reads so many bytes, or fewer, or none at the end, of frames one behind the other:
            rows of pixels, each red, green, blue.
        write: Takes the enhanced frames, one at a time, in the same form.
        enhancer: The network.
        settings: How to apply its curves.
        smoothing: Seconds over which light follows the frames; 0 is frame by frame.
        width: In pixels.
        height: In pixels.
        rate: Frames a second.
        deep: Whether samples have 16 bits, the low byte first (``rgb48le``), or 8 (``rgb24``).

    Raises:
        InputError: The last frame is not whole; those before it are written.
    """
    dtype = np.dtype("<u2" if deep else np.uint8)
    size = width * height * 3 * dtype.itemsize
    count = left = 0

    def frames() -> Iterator[tuple[float, Shaped[np.ndarray, "h w 3"]]]:
        nonlocal count, left
        while len(data := _whole(read, size)) == size:
            yield count / rate, np.frombuffer(data, dtype).reshape(height, width, 3)
            count += 1
        left = len(data)

    for pixels in enhancer.clip(frames(), smoothing=smoothing, **settings.to_dict()):
        write(np.ascontiguousarray(pixels, dtype).tobytes())
    if left:
        raise InputError(
            f"standard input: ends within frame {count + 1} ({left:,} of {size:,} bytes); are its "
            f"frames {width}x{height}?"
        )


def _frames(
    reader: Reader, enhancer: "Enhancer", settings: EnhanceSettings, smoothing: float
) -> Iterator[tuple[Frame, Shaped[np.ndarray, "h w *rgb"]]]:
    """Enhance the frames of a video, each with what tells its time."""
    begun: deque[Frame] = deque()

    def pictures() -> Iterator[tuple[float, Shaped[np.ndarray, "h w *rgb"]]]:
        for frame in _ahead(reader.frames()):
            # The pixels are not needed any more once they are enhanced.
            begun.append(replace(frame, pixels=frame.pixels[:0]))
            yield frame.time, frame.pixels

    for pixels in enhancer.clip(pictures(), smoothing=smoothing, **settings.to_dict()):
        yield begun.popleft(), pixels


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """Get items in another thread, some before they are needed."""
    iterator, end = iter(items), object()
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        while True:
            while len(waiting) < _AHEAD:
                waiting.append(pool.submit(next, iterator, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _whole(read: Callable[[int], bytes], size: int) -> bytes:
    """So many bytes, or what is left; a pipe may give less than is asked of it."""
    data = read(size)
    while 0 < len(data) < size and (more := read(size - len(data))):
        data += more
    return data
