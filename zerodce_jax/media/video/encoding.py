"""How a video is encoded: codecs, their qualities, the pixels that they take."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zerodce_jax.errors import InputError, UsageError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders."""

    name: str
    quality: int | None
    """Constant rate factor, unless another one is asked for; None where there is no such thing."""
    worst: int
    """Largest constant rate factor."""
    options: dict[str, str]


ENCODERS: dict[Codec, Encoder] = {
    "h264": Encoder("libx264", 18, 51, {}),
    "hevc": Encoder("libx265", 20, 51, {"x265-params": "log-level=none"}),
    "av1": Encoder("libsvtav1", 25, 63, {"preset": "8"}),
    "vp9": Encoder("libvpx-vp9", 24, 63, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "prores": Encoder("prores_ks", None, 0, {"profile": "hq"}),
    "ffv1": Encoder("ffv1", None, 0, {"level": "3", "g": "1", "slicecrc": "1"}),
}


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
                options_of(self.codec, self.quality)
            except InputError as error:
                raise UsageError(str(error)) from error


def options_of(codec: Codec, quality: float | None) -> dict[str, str]:
    """FFmpeg's options of an encoder, for some quality or its usual one.

    Raises:
        InputError: It has no such quality.
    """
    encoder = ENCODERS[codec]
    if encoder.quality is None:
        if quality is not None:
            raise InputError(f"--quality: {codec} has none")
        return dict(encoder.options)
    if quality is None:
        quality = encoder.quality
    if not 0 <= quality <= encoder.worst or math.isnan(quality):
        raise InputError(f"--quality must be from 0 to {encoder.worst} for {codec}, not {quality}")
    return {**encoder.options, "crf": f"{quality:g}"}


def pixel_format(first: "VideoFrame", codec: Codec, wanted: str | None) -> tuple[str, list[str]]:
    """FFmpeg's name of the pixels that a video is encoded with, and what it loses by them.

    Args:
        first: The first frame of the video.
        codec: What encodes it.
        wanted: The name, or None for what is nearest to the video's own.

    Raises:
        InputError: The codec knows no such pixels, or cannot hold this video in them.
    """
    from av.codec.codec import Codec as AnyCodec
    from av.codec.codec import find_best_pix_fmt_of_list

    formats = {
        each.name: each
        for each in AnyCodec(ENCODERS[codec].name, "w").video_formats or []
        if not each.name.startswith("yuvj") and not any(c.is_alpha for c in each.components)
    }
    notes = []
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
        return wanted, []
    if any(component.is_alpha for component in first.format.components):
        notes.append("its transparency is left out")
    name = first.format.name.replace("yuvj", "yuv").replace("yuva", "yuv")
    if even and (first.width % 2 or first.height % 2):
        name = name.replace("420", "444").replace("422", "444")
    if name in formats:
        return name, notes
    best, _ = find_best_pix_fmt_of_list(list(formats), name)
    if best is None:
        raise InputError(f"{codec} cannot hold pixels of the format {name}")
    if max(part.bits for part in best.components) < max(
        part.bits for part in first.format.components
    ):
        notes.append(f"{codec} keeps {best.components[0].bits} bits of its pixels")
    if first.format.is_rgb and not best.is_rgb:
        notes.append(f"its RGB becomes {best.name}")
    return best.name, notes
