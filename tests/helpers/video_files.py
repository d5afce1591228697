"""Encode videos for tests, describe the content of video files, and copy videos."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.video import Encoding, Reader, Writer
from zerodce_jax.media.video.writing import keep_thread_priority

TICKS = 90_000
BEST_QUALITY = Encoding(quality=0)
# Presentation times of frames with uneven durations; the first one is not 0.
UNEVEN = (9000, 12600, 16200, 21600, 23400, 27000, 36000, 39600, 41400, 45000, 46800, 50400)


def still(height: int = 90, width: int = 160, *, light: float = 0.25) -> np.ndarray:
    """Return a dark scene in linear light, with patches, a gradient and a bright lamp."""
    y, x = np.mgrid[:height, :width]
    patches = 0.15 + 0.85 * (((x // 20) * 7 + (y // 15) * 5) % 11) / 11
    scene = patches * (0.3 + 0.7 * x / width) * light
    scene[height // 6 : height // 4, width // 5 : width // 4] = 0.8
    return scene[..., None] * np.array([1.0, 0.85, 0.7])


def frame(scene: np.ndarray, *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return a frame of a scene as a camera records it, with 8 bits, gamma and noise."""
    pixels = np.clip(scene, 0, 1) ** (1 / 2.2)
    if noise:
        pixels = pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape)
    return np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    color: dict[str, int] | None = None,
    rotation: int = 0,
    audio: str | None = "aac",
    subtitles: str | None = None,
    metadata: dict[str, str] | None = None,
    chapters: bool = False,
    cover: bool = False,
    time_base: Fraction = Fraction(1, TICKS),
) -> Path:
    """Encode a video with optional audio, subtitles, metadata, chapters and cover image."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    color = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1} | (
        color or {}
    )
    has_custom_keys = any(key.startswith("com.") for key in metadata or {})
    tags = {"movflags": "use_metadata_tags"} if has_custom_keys else {}
    with av.open(str(path), "w", container_options=tags) as file:
        video = file.add_stream(codec, rate=25, time_base=time_base, options=options or {})
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, pixel_format
        context.time_base = time_base
        for name, value in color.items():
            setattr(context, name, value)
        with keep_thread_priority():
            context.open()
        if rotation:
            video.set_display_rotation(rotation)
        file.metadata.update(metadata or {})
        video.metadata["language"] = "eng"
        sound = None
        if audio:
            sound = file.add_stream(audio, rate=48_000)
            sound.metadata["language"] = "deu"
        if chapters:
            about = {"time_base": Fraction(1, 1000), "metadata": {"title": "A"}}
            parts = ({"id": 1, "start": 0, "end": 200}, {"id": 2, "start": 200, "end": 500})
            file.set_chapters([part | about for part in parts])
        texts = file.add_stream(subtitles) if subtitles else None
        if texts is not None:
            texts.metadata["language"] = "fra"
        cover_stream = None
        if cover:
            cover_stream = file.add_stream("mjpeg", rate=25)
            cover_stream.codec_context.width = cover_stream.codec_context.height = 16
            cover_stream.codec_context.pix_fmt = "yuvj420p"
            cover_stream.disposition = 1024
        for number, pixels in enumerate(frames):
            encoded = av.VideoFrame.from_ndarray(
                pixels, "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
            ).reformat(
                format=pixel_format,
                dst_colorspace=1 if color["colorspace"] == 1 else 5,
                dst_color_range=color["color_range"],
            )
            encoded.pts = times[number] if times else number * round(1 / time_base / 25)
            encoded.time_base = time_base
            file.mux(video.encode(encoded))
        file.mux(video.encode(None))
        if sound is not None:
            wave = np.sin(np.arange(24_000) / 20).astype(np.float32)
            layout = "flt" if sound.format.is_packed else "fltp"
            samples = np.stack([wave, wave])
            audio_frame = av.AudioFrame.from_ndarray(
                samples if layout == "fltp" else samples.T.reshape(1, -1), layout, "stereo"
            )
            audio_frame.sample_rate, audio_frame.pts = 48_000, 0
            file.mux(sound.encode(audio_frame))
            file.mux(sound.encode(None))
        if cover_stream is not None:
            encoded = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8), "rgb24")
            file.mux(cover_stream.encode(encoded.reformat(format="yuvj420p")))
            file.mux(cover_stream.encode(None))
    return path


def describe(path: Path) -> dict[str, Any]:
    """Return all properties of a video file except its pixels and the packets of the video."""
    with pytest.importorskip("av").open(str(path)) as file:
        video = file.streams.video[0]
        packets: dict[int, list[tuple]] = {}
        frames = []
        for packet in file.demux():
            if packet.stream is video:
                frames += packet.decode()
            elif packet.size:
                at = None if packet.pts is None else packet.pts * packet.time_base
                packets.setdefault(packet.stream.index, []).append((at, bytes(packet)))
        first = frames[0]
        written_by_muxer = {
            "major_brand",
            "minor_version",
            "compatible_brands",
            "encoder",
            "ENCODER",
        }
        return {
            "times": [frame.pts * video.time_base for frame in frames],
            "packets": packets,
            "size": (first.width, first.height),
            "rotation": first.rotation,
            "format": first.format.name,
            "color": (
                first.colorspace,
                first.color_range,
                first.color_primaries,
                first.color_trc,
            ),
            "streams": [
                (stream.type, stream.language, int(stream.disposition)) for stream in file.streams
            ],
            "codec": video.codec_context.codec.canonical_name,
            "tag": video.codec_context.codec_tag,
            "metadata": {k: v for k, v in file.metadata.items() if k not in written_by_muxer},
            "chapters": [
                (chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"])
                for chapter in file.chapters()
            ],
        }


def pixels_of(path: Path, pixel_format: str = "rgb24") -> list[np.ndarray]:
    """Return the frames of a video as arrays."""
    with pytest.importorskip("av").open(str(path)) as file:
        return [frame.to_ndarray(format=pixel_format) for frame in file.decode(video=0)]


def noisy_frames(count: int = 12, height: int = 90, width: int = 160) -> list[np.ndarray]:
    """Return frames of a scene that becomes brighter, with noise."""
    scene = still(height, width)
    return [frame(scene * (1 + 0.02 * n), noise=0.01, seed=n) for n in range(count)]


def copy_video(
    source: Path, target: Path, encoding: Encoding = BEST_QUALITY, *, strip: bool = False
) -> list[str]:
    """Read a video and write it again unchanged; return the notes."""
    with Reader(source, max_pixels=MAX_PIXELS) as reader:
        with Writer(target, reader, encoding, strip=strip) as writer:
            for item in reader.frames():
                writer.write(item, item.pixels)
        return [*reader.notes, *writer.notes]
