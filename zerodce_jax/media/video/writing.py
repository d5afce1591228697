"""Encoded frames beside what is copied of the file that they came from."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media.video.encoding import ENCODERS, Codec, Encoding, options_of, pixel_format
from zerodce_jax.media.video.reading import FULL, LIMITED, Frame, Reader, exact, import_av

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_MUXERS = {
    **dict.fromkeys((".mp4", ".m4v"), "mp4"),
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
}
# Which the muxer writes by itself.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder"}
# AVColorSpace.
_RGB, _BT709, _BT601 = 0, 1, 6
_NEVER_REORDERED = 2
"""Frames so few that no encoder shows them in another order than it writes them."""


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
        av = import_av()
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
            self._format, losses = pixel_format(reader.first, codec, encoding.pixel_format)
            self.notes += losses
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
            src_color_range=FULL,
            dst_color_range=self._range,
            interpolation=exact(),
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
        known = self._container.supported_codecs & {*ENCODERS} or {*ENCODERS}
        return next(each for each in (name, "h264", "vp9") if each in ENCODERS and each in known)

    def _encoder(self, codec: Codec, encoding: Encoding) -> "VideoStream":
        encoder = ENCODERS[codec]
        reader, source, first = self._reader, self._reader.stream, self._reader.first
        options = options_of(codec, encoding.quality)
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
        self._range = FULL if target_is_rgb else reader.color_range
        self._space = first.colorspace
        if target_is_rgb:
            self._space = _RGB
        elif first.colorspace == _RGB:
            self._space = _BT709 if reader.matrix == _BT709 else _BT601
            self._range = LIMITED
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
        with priority_kept():
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


@contextmanager
def priority_kept() -> Iterator[None]:
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


def _video_format(name: str) -> Any:
    from av.video.format import VideoFormat

    return VideoFormat(name)
