"""Video files: frames as arrays and back, everything else of the file copied as it is.

The container's packets, codecs and colour conversion are FFmpeg's, through PyAV (the extra
``video``). What is copied: times, rotation, pixel aspect, colour description, audio, subtitles,
further streams, chapters and metadata.
"""

import math
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError, UsageError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]


@dataclass(frozen=True)
class _Encoder:
    """One of FFmpeg's encoders."""

    name: str
    quality: int | None
    """Constant rate factor, unless another one is asked for; None where there is no such thing."""
    worst: int
    """Largest constant rate factor."""
    options: dict[str, str]


_ENCODERS: dict[Codec, _Encoder] = {
    "h264": _Encoder("libx264", 18, 51, {}),
    "hevc": _Encoder("libx265", 20, 51, {"x265-params": "log-level=none"}),
    "av1": _Encoder("libsvtav1", 25, 63, {"preset": "8"}),
    "vp9": _Encoder("libvpx-vp9", 24, 63, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "prores": _Encoder("prores_ks", None, 0, {"profile": "hq"}),
    "ffv1": _Encoder("ffv1", None, 0, {"level": "3", "g": "1", "slicecrc": "1"}),
}
_MUXERS = {
    **dict.fromkeys((".mp4", ".m4v"), "mp4"),
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
}
# What may be opened: a file of any name, but no play list, which would open other files.
_DEMUXERS = "asf,avi,flv,matroska,webm,mov,mp4,mpeg,mpegts,mpegvideo,ogg"
# Which the muxer writes by itself.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder"}
# AVColorSpace -> the matrices that swscale knows.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_RGB, _BT709, _BT601, _UNSPECIFIED = 0, 1, 6, 2
_LIMITED, _FULL = 1, 2
_HD = 720
_NEVER_REORDERED = 2
"""Frames so few that no encoder shows them in another order than it writes them."""
_SHORT = 0.5
"""Seconds that a file may lack of the length that it states."""


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded; None is as the video was, or what suits the codec.

    Attributes:
        codec: The codec.
        quality: Its constant rate factor, lower is better; ``prores`` and ``ffv1`` have none.
        pixel_format: FFmpeg's name, such as ``yuv420p10le``.

    Raises:
        UsageError: The codec has no such quality.
    """

    codec: Codec | None = None
    quality: float | None = None
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        if self.codec is not None:
            try:
                _options(self.codec, self.quality)
            except InputError as error:
                raise UsageError(str(error)) from error


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
        av = _av()
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
            dst_color_range=_FULL,
            interpolation=_exact(),
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
            return _FULL
        return self.first.color_range or _LIMITED


class Writer:
    """Encodes frames beside what a `Reader` keeps of the other streams.

    Args:
        path: The file; its suffix tells the container.
        reader: What the frames were read from.
        encoding: How to encode them.
        strip: Whether to leave out metadata, but for languages.

    Attributes:
        notes: What of the video the file cannot hold, a line each.

    Raises:
        InputError: The container or the codec cannot hold this video, or not as `encoding` asks.
    """

    def __init__(self, path: Path, reader: Reader, encoding: Encoding, *, strip: bool) -> None:
        av = _av()
        muxer = _MUXERS[path.suffix.lower()]
        source = reader.stream
        # SVT-AV1 writes what it has to say on standard error, else.
        os.environ.setdefault("SVT_LOG", "0")
        self.notes: list[str] = []
        self._reader = reader
        metadata = {
            key: value
            for key, value in reader.container.metadata.items()
            if key not in _OF_THE_FILE and not strip
        }
        self._container = av.open(
            f"file:{path}",
            "w",
            format=muxer,
            container_options=_muxer_options(muxer, metadata),
            metadata_errors="surrogateescape",
        )
        codec = encoding.codec or self._codec(source.codec_context.codec.canonical_name)
        self._container.metadata.update(metadata)
        if not strip:
            self._container.set_chapters(reader.container.chapters())
        self._streams: dict[int, Any] = {}
        self._durations: dict[int | None, int | None] = {}
        self._written = 0
        try:
            self._format = self._pixel_format(codec, encoding.pixel_format)
            for stream in reader.container.streams:
                if stream is source:
                    self._streams[stream.index] = self._stream = self._encoder(codec, encoding)
                else:
                    self._copy(stream)
                made = self._streams.get(stream.index)
                if made is not None:
                    made.disposition = stream.disposition
                    made.metadata.update(
                        {
                            key: value
                            for key, value in stream.metadata.items()
                            if key == "language" or not (strip or key in _OF_THE_FILE)
                        }
                    )
        except BaseException:
            self._container.close()
            raise

    def write(self, frame: Frame, pixels: Shaped[np.ndarray, "h w *rgb"]) -> None:
        """Encode what became of a frame.

        Args:
            frame: When it is shown.
            pixels: Of the size and type of the frame's.
        """
        from av.video.frame import VideoFrame

        self._mux_copied()
        reader = self._reader
        name = reader.array_format if pixels.ndim == 3 else ("gray16le" if reader.deep else "gray")
        encoded = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=name).reformat(
            format=self._format,
            src_colorspace=reader.matrix,
            dst_colorspace=reader.matrix,
            src_color_range=_FULL,
            dst_color_range=self._range,
            interpolation=_exact(),
        )
        first = reader.first
        encoded.pts, encoded.duration = frame.pts, frame.duration
        encoded.time_base = reader.time_base
        encoded.colorspace, encoded.color_range = self._space, self._range
        encoded.color_primaries, encoded.color_trc = first.color_primaries, first.color_trc
        self._durations[frame.pts] = frame.duration
        self._written += 1
        self._mux(self._stream.encode(encoded))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """Complete the file, or let go of it."""
        if failed is None:
            last = self._stream.encode(None)
            if self._written <= _NEVER_REORDERED:
                # x265 learns its delay from the third frame: before, it gives any time.
                for packet in last:
                    packet.dts = packet.pts
            self._mux(last)
            self._mux_copied()
            self._container.close()
            return
        from av.error import FFmpegError

        # Which may fail for the same reason, such as a full disk.
        with suppress(FFmpegError):
            self._container.close()

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            # Which not every encoder passes on.
            packet.duration = self._durations.pop(packet.pts, packet.duration)
        self._container.mux(packets)

    def _mux_copied(self) -> None:
        copied = self._reader.copied
        while copied:
            packet = copied.popleft()
            target = self._streams.get(packet.stream.index)
            # MP4's empty subtitles end the ones before them, and are made by the muxer.
            ends = packet.stream.name == "mov_text" and bytes(packet) == b"\0\0"
            if target is not None and not ends:
                packet.stream = target
                self._container.mux(packet)

    def _codec(self, name: str) -> Codec:
        """The same codec where it can be written, else one that many players know."""
        # None of them where the container does not say.
        known = self._container.supported_codecs & {*_ENCODERS} or {*_ENCODERS}
        return next(each for each in (name, "h264", "vp9") if each in _ENCODERS and each in known)

    def _encoder(self, codec: Codec, encoding: Encoding) -> "VideoStream":
        encoder = _ENCODERS[codec]
        reader, source, first = self._reader, self._reader.stream, self._reader.first
        options = _options(codec, encoding.quality)
        if codec == "prores" and "444" in self._format:
            options["profile"] = "4444"
        try:
            stream: Any = self._container.add_stream(
                encoder.name, rate=reader.rate, options=options, time_base=reader.time_base
            )
        except ValueError as error:
            raise InputError(
                f"{self._container.format.name} does not hold {codec}; choose another --codec, or "
                "name the result .mkv"
            ) from error
        context = stream.codec_context
        context.width, context.height = first.width, first.height
        context.pix_fmt = self._format
        context.time_base = reader.time_base
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        target_is_rgb = _video_format(self._format).is_rgb
        self._range = _FULL if target_is_rgb else reader.color_range
        self._space = first.colorspace
        if target_is_rgb:
            self._space = _RGB
        elif first.colorspace == _RGB:
            self._space = _BT709 if reader.matrix == _BT709 else _BT601
            self._range = _LIMITED
        context.color_range, context.colorspace = self._range, self._space
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        if codec == "hevc" and self._container.format.name in {"mp4", "mov"}:
            # Which Apple's players ask for.
            context.codec_tag = "hvc1"
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            stream.set_display_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())
        if first.interlaced_frame:
            self.notes.append("its interlaced frames are written as whole ones")
        with _priority_kept():
            context.open()
        return stream

    def _copy(self, stream: Any) -> None:
        """Make place for a stream whose packets are copied."""
        from av.error import FFmpegError
        from av.stream import Discard, Disposition

        if stream.discard is Discard.all:
            # Such as the track that MP4 keeps chapters in, which is written from them.
            return
        try:
            made = self._container.add_stream_from_template(stream, opaque=True)
        except (ValueError, FFmpegError):
            name = getattr(stream, "name", None) or "unknown"
            self.notes.append(
                f"{self._container.format.name} cannot hold its {stream.type} stream ({name})"
            )
        else:
            self._streams[stream.index] = made
            if stream.type == "video" and not stream.disposition & Disposition.attached_pic:
                self.notes.append("its further video stream is copied as it is")

    def _pixel_format(self, codec: Codec, wanted: str | None) -> str:
        from av.codec.codec import Codec as AnyCodec
        from av.codec.codec import find_best_pix_fmt_of_list

        formats = {
            each.name: each
            for each in AnyCodec(_ENCODERS[codec].name, "w").video_formats or []
            if not each.name.startswith("yuvj") and not any(c.is_alpha for c in each.components)
        }
        first = self._reader.first
        # Which want even sides where they halve the chroma.
        even = codec in {"h264", "hevc"}
        if wanted is not None:
            if wanted not in formats:
                raise InputError(f"{codec} knows no pixel format {wanted}; {', '.join(formats)}")
            chosen = formats[wanted]
            for length, halved in (
                (first.width, chosen.chroma_width(2) == 1),
                (first.height, chosen.chroma_height(2) == 1),
            ):
                if even and halved and length % 2:
                    raise InputError(f"{codec} holds no odd sides ({length}) as {wanted}")
            return wanted
        if any(component.is_alpha for component in first.format.components):
            self.notes.append("its transparency is left out")
        name = first.format.name.replace("yuvj", "yuv").replace("yuva", "yuv")
        if even and (first.width % 2 or first.height % 2):
            name = name.replace("420", "444").replace("422", "444")
        if name in formats:
            return name
        best, _ = find_best_pix_fmt_of_list(list(formats), name)
        if best is None:
            raise InputError(f"{codec} cannot hold pixels of the format {name}")
        if max(part.bits for part in best.components) < max(
            part.bits for part in first.format.components
        ):
            self.notes.append(f"{codec} keeps {best.components[0].bits} bits of its pixels")
        if first.format.is_rgb and not best.is_rgb:
            self.notes.append(f"its RGB becomes {best.name}")
        return best.name


def _av() -> Any:
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


@contextmanager
def _priority_kept() -> Iterator[None]:
    """Undo that SVT-AV1, where it may (as root), makes its threads and the caller real-time ones.

    They would take every core from all other programs, and children would inherit it.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    threads = Path("/proc/self/task")
    before = set(threads.iterdir())
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
        for thread in set(threads.iterdir()) - before:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), policy, parameters)


def _options(codec: Codec, quality: float | None) -> dict[str, str]:
    encoder = _ENCODERS[codec]
    if encoder.quality is None:
        if quality is not None:
            raise InputError(f"--quality: {codec} has none")
        return dict(encoder.options)
    if quality is None:
        quality = encoder.quality
    if not 0 <= quality <= encoder.worst or math.isnan(quality):
        raise InputError(f"--quality must be from 0 to {encoder.worst} for {codec}, not {quality}")
    return {**encoder.options, "crf": f"{quality:g}"}


def _muxer_options(muxer: str, metadata: dict[str, str]) -> dict[str, str]:
    if muxer == "mpegts":
        # Else it moves all times.
        return {"mpegts_copyts": "1", "max_delay": "0"}
    if muxer not in {"mp4", "mov"}:
        return {}
    # Players find titles in the list that MP4 has for them, which knows few names; phones use
    # names of their own.
    own = any(key.startswith("com.") for key in metadata)
    return {"movflags": "+faststart" + "+use_metadata_tags" * own}


def _matrix(frame: "VideoFrame") -> int:
    """Swscale's number of the colour matrix; what players assume where none is said."""
    return _MATRICES.get(frame.colorspace, 1 if frame.height >= _HD else 5)


def _exact() -> int:
    """How to convert colours so that the way back gives the same again."""
    from av.video.reformatter import Interpolation

    return (
        Interpolation.BICUBIC
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
    )


def _video_format(name: str) -> Any:
    from av.video.format import VideoFormat

    return VideoFormat(name)
