"""Read a video: its frames as arrays, and the packets of the other streams."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError, install_command, prefix_errors
from zerodce_jax.media.samples import check_size

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LIMITED_RANGE, FULL_RANGE = 1, 2
"""FFmpeg's numbers of the sample ranges (AVColorRange)."""
# Formats of containers. Playlists are excluded, because they would open other files.
_DEMUXERS = "asf,avi,flv,matroska,webm,mov,mp4,mpeg,mpegts,mpegvideo,ogg"
# Matrix of swscale for each color space of FFmpeg (AVColorSpace).
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709_MATRIX, _BT601_MATRIX = 1, 5
_HD_HEIGHT = 720
# Seconds by which a video may be shorter than its stated duration without a note.
_TOLERATED_GAP = 0.5


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """RGB (height, width, 3) or gray (height, width); uint8, or uint16 for more than 8 bits."""
    pts: int
    """Presentation time, in the stream's time base."""
    duration: int
    """Duration, in the stream's time base."""
    time: float
    """Presentation time, in seconds."""


class Reader:
    """Decodes the frames of a video, and keeps the packets of its other streams for a `Writer`.

    Args:
        path: Video file.
        max_pixels: Largest number of pixels of a frame that is decoded.

    Attributes:
        width: Width of the frames, in pixels.
        height: Height of the frames, in pixels.
        notes: Messages, one line each, about damage; complete when all frames are read.
        array_format: FFmpeg's name of the pixel format of `Frame.pixels`, gray or RGB.

    Raises:
        InputError: PyAV is not installed, or the file is not a video that it can decode.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        if not path.is_file():
            # Raise FileNotFoundError for a missing file. Opening a pipe would block.
            path.stat()
            raise InputError(f"{path}: not a file")
        try:
            import av
        except ImportError as error:
            command = install_command("video")
            raise InputError(f"{path}: videos need a package: {command}") from error
        self.path = path
        self.copied_packets: deque[Packet] = deque()
        self.notes: list[str] = []
        self._damaged = self._end = 0
        options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
        with prefix_video_errors(path), ExitStack() as on_error:
            self.container = av.open(
                f"file:{path}", container_options=options, metadata_errors="surrogateescape"
            )
            on_error.callback(self.container.close)
            self.stream = self._main_stream()
            context = self.stream.codec_context
            check_size(context.width, context.height, max_pixels)
            self.stream.thread_type = "AUTO"
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise InputError("none of its frames can be decoded")
            on_error.pop_all()
        self.first_frame = first
        self.time_base = self.stream.time_base or Fraction(1, 90_000)
        self._last_pts: int | None = None
        self.width, self.height = first.width, first.height
        # Players guess the color matrix from the height if the file does not state it.
        guess = _BT709_MATRIX if first.height >= _HD_HEIGHT else _BT601_MATRIX
        self.matrix = _MATRICES.get(first.colorspace, guess)
        is_deep = max(part.bits for part in first.format.components) > 8
        if len([part for part in first.format.components if not part.is_alpha]) == 1:
            self.array_format = "gray16le" if is_deep else "gray"
        else:
            self.array_format = "rgb48le" if is_deep else "rgb24"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def rate(self) -> Fraction:
        """Average number of frames per second."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def count(self) -> int | None:
        """Number of frames that the file states, or None."""
        # Prefer the duration: the stated number includes frames that an edit list skips.
        if self.stream.duration:
            return round(self.stream.duration * self.time_base * self.rate)
        if self.stream.frames:
            return self.stream.frames
        return round(self.container.duration / 1e6 * self.rate) if self.container.duration else None

    def frames(self) -> Iterator[Frame]:
        """Decode and yield the frames in order. Call this once.

        Raises:
            InputError: The damage affects more than single packets, or the frame size changes.
        """
        with prefix_video_errors(self.path):
            previous = self._frame(self.first_frame)
            for decoded in self._decoded:
                frame = self._frame(decoded)
                # The stated durations follow the order of decoding, not of presentation.
                yield replace(previous, duration=frame.pts - previous.pts)
                previous = frame
            start, stated = self.stream.start_time or 0, self.stream.duration or 0
            missing = start + stated - max(self._end, previous.pts + previous.duration)
            if missing * self.time_base > max(_TOLERATED_GAP, 2 / self.rate):
                end = previous.pts + previous.duration - start
                actual, promised = (f"{float(x * self.time_base):.1f} s" for x in (end, stated))
                self.notes.append(f"ends after {actual} of the {promised} that the file states")
            elif stated:
                previous = replace(previous, duration=max(start + stated - previous.pts, 1))
            yield previous
        if self._damaged:
            self.notes.append(f"{self._damaged} of its packets could not be decoded")

    def _main_stream(self) -> "VideoStream":
        from av.stream import Disposition

        for stream in self.container.streams.video:
            # An attached picture is the cover, not the video.
            if not stream.disposition & Disposition.attached_pic:
                if stream.codec_context is None:
                    raise InputError("its video codec is unknown")
                return stream
        raise InputError("it contains no video")

    def _decode(self) -> "Iterator[VideoFrame]":
        from av.error import InvalidDataError

        for packet in self.container.demux():
            if packet.stream is not self.stream:
                # The last packet of each stream is empty and only marks the end.
                if packet.size:
                    self.copied_packets.append(packet)
                continue
            if packet.pts is not None:
                # Packets state the end more reliably than frames: the decoder may give the
                # duration of a long last frame to another frame.
                self._end = max(self._end, packet.pts + (packet.duration or 0))
            try:
                yield from self.stream.decode(packet if packet.size else None)
            except InvalidDataError:
                self._damaged += 1

    def _frame(self, decoded: "VideoFrame") -> Frame:
        if (decoded.width, decoded.height) != (self.width, self.height):
            raise InputError("frames of different sizes are not supported")
        duration = decoded.duration or round(1 / (self.rate * self.time_base))
        pts = decoded.pts
        if self._last_pts is not None and (pts is None or pts <= self._last_pts):
            # The file states no times or wrong ones: put the frame after the previous one.
            pts = self._last_pts + duration if pts is None else self._last_pts + 1
        self._last_pts = pts = pts or 0
        ranges = self.color_range, FULL_RANGE
        converted = reformat(decoded, self.array_format, self.matrix, ranges)
        return Frame(converted.to_ndarray(), pts, duration, float(pts * self.time_base))

    @property
    def color_range(self) -> int:
        """Range of the samples: `LIMITED_RANGE`, also if the file states none, or `FULL_RANGE`."""
        if self.first_frame.format.name.startswith("yuvj") or self.first_frame.format.is_rgb:
            return FULL_RANGE
        return self.first_frame.color_range or LIMITED_RANGE


@contextmanager
def prefix_video_errors(path: Path) -> Iterator[None]:
    """Convert errors of FFmpeg to InputErrors, and put the path before the messages."""
    from av.error import FFmpegError

    with prefix_errors(path):
        try:
            yield
        except FFmpegError as error:
            raise InputError(error.strerror) from error


def reformat(
    frame: "VideoFrame", pixel_format: str, matrix: int, ranges: tuple[int, int]
) -> "VideoFrame":
    """Convert a frame to a pixel format, precisely enough that the inverse conversion restores it.

    `matrix` is swscale's number of the color matrix, and `ranges` are the sample ranges before and
    after the conversion.
    """
    from av.video.reformatter import Interpolation as Flag

    return frame.reformat(
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=ranges[0],
        dst_color_range=ranges[1],
        interpolation=Flag.BICUBIC | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP,
    )
