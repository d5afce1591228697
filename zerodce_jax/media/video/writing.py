"""Write a video: encoded frames, and the copied streams and metadata of the source."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import InputError
from zerodce_jax.media.video import encoding as encodings
from zerodce_jax.media.video.encoding import ENCODERS, Codec, Encoding
from zerodce_jax.media.video.reading import FULL_RANGE, LIMITED_RANGE, Frame, Reader, reformat

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_MUXERS |= dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts")
# Metadata that the muxer writes by itself.
_MUXER_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder"}
# FFmpeg's numbers of color spaces (AVColorSpace).
_RGB, _BT709, _BT601 = 0, 1, 6
# Up to this number of frames, every encoder writes the frames in the order of presentation.
_MAX_FRAMES_IN_ORDER = 2


class Writer:
    """Encodes frames, and copies the other streams that a `Reader` keeps.

    Args:
        path: Destination; its suffix states the container.
        reader: Source of the frames.
        encoding: How to encode the frames.
        strip: Whether to drop the metadata, except the languages of the streams.

    Attributes:
        notes: Messages, one line each, about parts of the source that the result cannot hold.

    Raises:
        InputError: The container or the codec cannot hold this video, or does not support the
            encoding.
    """

    def __init__(self, path: Path, reader: Reader, encoding: Encoding, *, strip: bool) -> None:
        import av

        muxer = _MUXERS[path.suffix.lower()]
        source = reader.stream
        # Keep SVT-AV1 from writing messages to standard error.
        os.environ.setdefault("SVT_LOG", "0")
        self.notes: list[str] = []
        self._reader = reader
        metadata = {} if strip else _copied_metadata(reader.container)
        self._container = av.open(
            f"file:{path}",
            "w",
            format=muxer,
            container_options=_muxer_options(muxer, metadata),
            metadata_errors="surrogateescape",
        )
        codec = encoding.codec or self._default_codec(source.codec_context.codec.canonical_name)
        self._container.metadata.update(metadata)
        if not strip:
            self._container.set_chapters(reader.container.chapters())
        self._streams: dict[int, Any] = {}
        self._durations: dict[int | None, int | None] = {}
        self._frame_count = 0
        try:
            self._format, losses = encodings.choose_pixel_format(
                reader.first_frame, codec, encoding.pixel_format
            )
            self.notes += losses
            for stream in reader.container.streams:
                if stream is source:
                    target = self._stream = self._add_encoder(codec, encoding)
                else:
                    target = self._add_copy(stream)
                if target is not None:
                    self._streams[stream.index] = target
                    target.disposition = stream.disposition
                    copied = _copied_metadata(stream)
                    target.metadata.update(
                        {key: copied[key] for key in copied if key == "language" or not strip}
                    )
        except BaseException:
            self._container.close()
            raise

    def write(self, frame: Frame, pixels: Shaped[np.ndarray, "h w *rgb"]) -> None:
        """Encode enhanced pixels, of the size and type of the frame's, at the time of the frame."""
        from av.video.frame import VideoFrame

        self._mux_copied()
        reader = self._reader
        array = np.ascontiguousarray(pixels)
        if array.dtype == np.uint8:
            # Without a copy, which takes as long as a seventh of the enhancement.
            enhanced = VideoFrame.from_numpy_buffer(array, format=reader.array_format)
        else:
            enhanced = VideoFrame.from_ndarray(array, format=reader.array_format)
        encoded = reformat(enhanced, self._format, reader.matrix, (FULL_RANGE, self._range))
        first = reader.first_frame
        encoded.pts, encoded.duration = frame.pts, frame.duration
        encoded.time_base = reader.time_base
        encoded.colorspace, encoded.color_range = self._space, self._range
        encoded.color_primaries, encoded.color_trc = first.color_primaries, first.color_trc
        self._durations[frame.pts] = frame.duration
        self._frame_count += 1
        self._mux(self._stream.encode(encoded))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """Complete the file, or close it unfinished after an error."""
        if failed is None:
            packets = self._stream.encode(None)
            if self._frame_count <= _MAX_FRAMES_IN_ORDER:
                # x265 computes its delay at the third frame; before, decoding times are arbitrary.
                for packet in packets:
                    packet.dts = packet.pts
            self._mux(packets)
            self._mux_copied()
            self._container.close()
            return
        from av.error import FFmpegError

        # Closing may fail for the same reason, such as a full disk.
        with suppress(FFmpegError):
            self._container.close()

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            # Some encoders do not pass the duration on.
            packet.duration = self._durations.pop(packet.pts, packet.duration)
        self._container.mux(packets)

    def _mux_copied(self) -> None:
        packets = self._reader.copied_packets
        while packets:
            packet = packets.popleft()
            target = self._streams.get(packet.stream.index)
            # An empty subtitle of MP4 ends the previous one. The muxer creates those by itself.
            is_end = packet.stream.name == "mov_text" and bytes(packet) == b"\0\0"
            if target is not None and not is_end:
                packet.stream = target
                self._container.mux(packet)

    def _default_codec(self, name: str) -> Codec:
        """Return the codec of the source if it can be written, or else a common one."""
        # Some containers do not list the codecs that they support.
        listed = self._container.supported_codecs
        supported = [codec for codec in ENCODERS if codec in listed] or ENCODERS
        preferred: list[Any] = [name, "h264", "vp9"]
        return next(codec for codec in preferred if codec in supported)

    def _add_encoder(self, codec: Codec, encoding: Encoding) -> "VideoStream":
        from av.video.format import VideoFormat

        reader, source, first = self._reader, self._reader.stream, self._reader.first_frame
        options = encodings.encoder_options(codec, encoding.quality)
        if codec == "prores" and "444" in self._format:
            options["profile"] = "4444"
        try:
            stream: Any = self._container.add_stream(
                ENCODERS[codec][0], rate=reader.rate, options=options, time_base=reader.time_base
            )
        except ValueError as error:
            raise InputError(
                f"{self._container.format.name} does not support {codec}; choose another --codec, "
                "or give the result the suffix .mkv"
            ) from error
        context = stream.codec_context
        context.width, context.height = first.width, first.height
        context.pix_fmt = self._format
        context.time_base = reader.time_base
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        self._space, self._range = first.colorspace, reader.color_range
        if VideoFormat(self._format).is_rgb:
            self._space, self._range = _RGB, FULL_RANGE
        elif first.colorspace == _RGB:
            self._space = _BT709 if reader.matrix == _BT709 else _BT601
            self._range = LIMITED_RANGE
        context.color_range, context.colorspace = self._range, self._space
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        if codec == "hevc" and self._container.format.name in {"mp4", "mov"}:
            # Apple's players require this tag.
            context.codec_tag = "hvc1"
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            stream.set_display_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())
        if first.interlaced_frame:
            self.notes.append("its interlaced frames are written as progressive ones")
        with keep_thread_priority():
            context.open()
        return stream

    def _add_copy(self, stream: Any) -> Any:
        """Add and return a stream for copied packets, or return None if it cannot be added."""
        from av.error import FFmpegError
        from av.stream import Discard, Disposition

        if stream.discard is Discard.all:
            # For example the track in which MP4 stores chapters: the muxer writes it anew.
            return None
        try:
            target = self._container.add_stream_from_template(stream, opaque=True)
        except (ValueError, FFmpegError):
            name = getattr(stream, "name", None) or "unknown"
            container = self._container.format.name
            self.notes.append(f"{container} cannot hold its {stream.type} stream ({name})")
            return None
        if stream.type == "video" and not stream.disposition & Disposition.attached_pic:
            self.notes.append("its further video stream is copied without enhancement")
        return target


@contextmanager
def keep_thread_priority() -> Iterator[None]:
    """Restore the scheduling of this process's threads after SVT-AV1 was started.

    If it has the right (as root), SVT-AV1 gives its threads and the calling thread real-time
    priority. They would take all cores from other programs, and child processes would inherit the
    priority.
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


def _copied_metadata(source: Any) -> dict[str, str]:
    return {key: text for key, text in source.metadata.items() if key not in _MUXER_METADATA}


def _muxer_options(muxer: str, metadata: dict[str, str]) -> dict[str, str]:
    if muxer == "mpegts":
        # Without these options, the muxer shifts all times.
        return {"mpegts_copyts": "1", "max_delay": "0"}
    if muxer not in {"mp4", "mov"}:
        return {}
    # MP4 has two places for metadata. Players read titles from the standard one, which knows few
    # keys. The keys of phones ("com.") fit only into the other one.
    has_custom_keys = any(key.startswith("com.") for key in metadata)
    return {"movflags": "+faststart" + "+use_metadata_tags" * has_custom_keys}
