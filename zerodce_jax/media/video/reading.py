"""Frames of a video as arrays, and the packets of everything else in its file."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LIMITED, FULL = 1, 2
"""FFmpeg's numbers of the range that samples have."""
# What may be opened: a file of any name, but no play list, which would open other files.
_DEMUXERS = "asf,avi,flv,matroska,webm,mov,mp4,mpeg,mpegts,mpegvideo,ogg"
# AVColorSpace -> the matrices that swscale knows.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_HD = 720
_SHORT = 0.5
"""Seconds that a file may lack of the length that it states."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """uint8, or uint16 where the video has more than 8 bits; gray videos have no third axis."""
    pts: int
    """When it is shown, in the stream's time base."""
    duration: int
    time: float
    """When it is shown, in seconds."""


class Reader:
    """Decodes a video, and keeps the packets of its other streams for a `Writer`.

    Args:
        path: The file.
        max_pixels: Pixels of the largest frame that is decoded.

    Attributes:
        notes: Once all frames are read: what of the video could not be, a line each.

    Raises:
        InputError: PyAV is not installed, or the file is no video that it can decode.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        av = import_av()
        self.path = path
        if not path.is_file():
            # Of what is not there, this tells; a pipe would be waited for.
            path.stat()
            raise InputError(f"{path}: not a file")
        self.copied: deque[Packet] = deque()
        self.notes: list[str] = []
        self._damaged = self._end = 0
        with naming(path):
            self.container = av.open(
                f"file:{path}",
                container_options={"protocol_whitelist": "file", "format_whitelist": _DEMUXERS},
                metadata_errors="surrogateescape",
            )
        try:
            self.stream = self._main_stream()
            width, height = self.stream.codec_context.width, self.stream.codec_context.height
            if width * height > max_pixels:
                raise InputError(
                    f"{path}: {width}x{height} pixels are more than the limit of {max_pixels:,} "
                    "(--max-pixels)"
                )
            self.stream.thread_type = "AUTO"
            self._decoded = self._decode()
            with naming(path):
                first = next(self._decoded, None)
            if first is None:
                raise InputError(f"{path}: no frame of it can be decoded")
            self.first = first
        except BaseException:
            self.container.close()
            raise
        self.time_base = self.stream.time_base or Fraction(1, 90_000)
        self._last: int | None = None
        self.width, self.height = first.width, first.height
        self.matrix = _matrix(first)
        self.deep = max(part.bits for part in first.format.components) > 8
        self.gray = len([part for part in first.format.components if not part.is_alpha]) == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def count(self) -> int | None:
        """How many frames there are, by what the file says; None where it says nothing."""
        # Not by their number, which counts those that an edit list leaves out.
        if self.stream.duration:
            return round(self.stream.duration * self.time_base * self.rate)
        if self.stream.frames:
            return self.stream.frames
        return round(self.container.duration / 1e6 * self.rate) if self.container.duration else None

    def frames(self) -> Iterator[Frame]:
        """Decode one frame after another, once.

        Raises:
            InputError: The file is damaged beyond single packets, or frames change their size.
        """
        with naming(self.path):
            before = self._frame(self.first)
            for frame in self._decoded:
                after = self._frame(frame)
                # What the file says of durations goes by the order of decoding.
                yield replace(before, duration=after.pts - before.pts)
                before = after
            start, stated = self.stream.start_time or 0, self.stream.duration or 0
            missing = start + stated - max(self._end, before.pts + before.duration)
            if missing * self.time_base > max(_SHORT, 2 / self.rate):
                whole = float(stated * self.time_base)
                there = float((before.pts + before.duration - start) * self.time_base)
                self.notes.append(f"ends after {there:.1f} s of the {whole:.1f} s that it promises")
            elif stated:
                before = replace(before, duration=max(start + stated - before.pts, 1))
            yield before
        if self._damaged:
            self.notes.append(f"{self._damaged} of its packets could not be decoded")

    def _main_stream(self) -> "VideoStream":
        from av.stream import Disposition

        # Not a picture of the cover.
        for stream in self.container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                if stream.codec_context is None:
                    raise InputError(f"{self.path}: its codec is not known")
                return stream
        raise InputError(f"{self.path}: no video in it")

    def _decode(self) -> "Iterator[VideoFrame]":
        from av.error import InvalidDataError

        for packet in self.container.demux():
            if packet.stream is not self.stream:
                # The last of each stream is empty, and only tells that it was the last.
                if packet.size:
                    self.copied.append(packet)
                continue
            if packet.pts is not None:
                # Of packets: the long frame at the end may have lent its length to another.
                self._end = max(self._end, packet.pts + (packet.duration or 0))
            try:
                yield from self.stream.decode(packet if packet.size else None)
            except InvalidDataError:
                self._damaged += 1

    def _frame(self, frame: "VideoFrame") -> Frame:
        if (frame.width, frame.height) != (self.first.width, self.first.height):
            raise InputError("frames of several sizes are not handled")
        name = ("gray16le" if self.deep else "gray") if self.gray else self.array_format
        duration = frame.duration or round(1 / (self.rate * self.time_base))
        pts = frame.pts
        if self._last is not None and (pts is None or pts <= self._last):
            # Files without times, or with wrong ones: one after another.
            pts = self._last + duration if pts is None else self._last + 1
        self._last = pts = pts or 0
        full = frame.reformat(
            format=name,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=self.color_range,
            dst_color_range=FULL,
            interpolation=exact(),
        )
        return Frame(full.to_ndarray(), pts, duration, float(pts * self.time_base))

    @property
    def array_format(self) -> str:
        """FFmpeg's name of what `Frame.pixels` of colour hold."""
        return "rgb48le" if self.deep else "rgb24"

    @property
    def color_range(self) -> int:
        """Limited (1) or full (2); limited where the file does not say."""
        if self.first.format.name.startswith("yuvj") or self.first.format.is_rgb:
            return FULL
        return self.first.color_range or LIMITED


def import_av() -> Any:
    """The package PyAV.

    Raises:
        InputError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need a package: pip install 'zerodce-jax[video]'") from error
    return av


class _NamedError(InputError):
    """One that names its file."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what FFmpeg says into one line that names the file: the innermost, of several."""
    from av.error import FFmpegError

    try:
        yield
    except _NamedError:
        raise
    except InputError as error:
        raise _NamedError(f"{path}: {error}") from error
    except FFmpegError as error:
        raise _NamedError(f"{path}: {error.strerror}") from error


def _matrix(frame: "VideoFrame") -> int:
    """Swscale's number of the colour matrix; what players assume where none is said."""
    return _MATRICES.get(frame.colorspace, 1 if frame.height >= _HD else 5)


def exact() -> int:
    """How to convert colours so that the way back gives the same again."""
    from av.video.reformatter import Interpolation

    return (
        Interpolation.BICUBIC
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
    )
