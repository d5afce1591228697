"""Read and write video files: frames as arrays, and everything else of the file copied.

FFmpeg handles containers, codecs and color conversion, through PyAV (the extra ``video``). The
copied parts are presentation times, rotation, pixel aspect ratio, color description, audio,
subtitles, further streams, chapters and metadata.
"""

from zerodce_jax.media.video.encoding import Codec, Encoding
from zerodce_jax.media.video.reading import Frame, Reader, prefix_video_errors
from zerodce_jax.media.video.writing import Writer

__all__ = ["Codec", "Encoding", "Frame", "Reader", "Writer", "prefix_video_errors"]
