"""Choose how to encode a video: the codec, its quality and its pixel format."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zerodce_jax.errors import InputError, UsageError

if TYPE_CHECKING:
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame

Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]


ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {}),
    "hevc": ("libx265", {"x265-params": "log-level=none"}),
    "av1": ("libsvtav1", {"preset": "8"}),
    "vp9": ("libvpx-vp9", {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "prores": ("prores_ks", {"profile": "hq"}),
    "ffv1": ("ffv1", {"level": "3", "g": "1", "slicecrc": "1"}),
}
"""FFmpeg's name of the encoder of each codec, and its options besides the quality."""
# Default and largest constant rate factor; the largest gives the lowest quality.
_RATE_FACTORS: dict[Codec, tuple[int, int]] = {
    "h264": (18, 51),
    "hevc": (20, 51),
    "av1": (25, 63),
    "vp9": (24, 63),
}


@dataclass(frozen=True)
class Encoding:
    """How to encode a video; None keeps the source's value or takes the codec's default.

    Attributes:
        codec: Codec, or None for the codec of the source.
        quality: Constant rate factor; lower values give better quality. ``prores`` and ``ffv1``
            have none.
        pixel_format: FFmpeg's name of the pixel format, such as ``yuv420p10le``.

    Raises:
        UsageError: The codec does not support this quality.
    """

    codec: Codec | None = None
    quality: float | None = None
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        if self.codec is not None:
            encoder_options(self.codec, self.quality)


def encoder_options(codec: Codec, quality: float | None) -> dict[str, str]:
    """Return FFmpeg's options for a codec and a quality; None is the default quality.

    Raises:
        UsageError: The codec does not support this quality.
    """
    _, options = ENCODERS[codec]
    if codec not in _RATE_FACTORS:
        if quality is not None:
            raise UsageError(f"--quality: {codec} does not support it")
        return dict(options)
    default, highest = _RATE_FACTORS[codec]
    quality = default if quality is None else quality
    if not 0 <= quality <= highest:
        raise UsageError(f"--quality must be from 0 to {highest} for {codec}, not {quality}")
    return options | {"crf": f"{quality:g}"}


def choose_pixel_format(
    first_frame: "VideoFrame", codec: Codec, requested: str | None
) -> tuple[str, list[str]]:
    """Choose the pixel format that a video is encoded with.

    `requested` is FFmpeg's name of the format; None takes the nearest to that of the first frame.

    Returns:
        FFmpeg's name of the format, and messages, one line each, about what the video loses by it.

    Raises:
        InputError: The codec cannot encode this video in the requested format.
    """
    from av.codec import codec as av_codec

    formats = {
        supported.name: supported
        for supported in av_codec.Codec(ENCODERS[codec][0], "w").video_formats or []
        if not supported.name.startswith("yuvj") and not _has_alpha(supported)
    }
    width, height, source = first_frame.width, first_frame.height, first_frame.format
    # These codecs need an even width or height if the chroma has half of it.
    needs_even = codec in {"h264", "hevc"}
    if requested is not None:
        if requested not in formats:
            choices = ", ".join(formats)
            raise InputError(f"{codec} has no pixel format {requested}; choose from {choices}")
        chosen = formats[requested]
        halves = (width, chosen.chroma_width(2)), (height, chosen.chroma_height(2))
        for length, half in halves:
            if needs_even and half == 1 and length % 2:
                raise InputError(f"{codec} cannot encode odd sides ({length}) as {requested}")
        return requested, []
    notes = []
    if _has_alpha(source):
        notes.append("its transparency is dropped")
    name = source.name.replace("yuvj", "yuv").replace("yuva", "yuv")
    if needs_even and (width % 2 or height % 2):
        name = name.replace("420", "444").replace("422", "444")
    if name in formats:
        return name, notes
    best, _ = av_codec.find_best_pix_fmt_of_list(list(formats), name)
    if best is None:
        raise InputError(f"{codec} cannot encode the pixel format {name}")
    if max(part.bits for part in best.components) < max(part.bits for part in source.components):
        notes.append(f"{codec} keeps {best.components[0].bits} bits per sample")
    if source.is_rgb and not best.is_rgb:
        notes.append(f"its RGB pixels are converted to {best.name}")
    return best.name, notes


def _has_alpha(pixel_format: "VideoFormat") -> bool:
    return any(component.is_alpha for component in pixel_format.components)
