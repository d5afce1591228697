"""Video files: frames as arrays and back, everything else of the file copied as it is.

The container's packets, codecs and colour conversion are FFmpeg's, through PyAV (the extra
``video``). What is copied: times, rotation, pixel aspect, colour description, audio, subtitles,
further streams, chapters and metadata.
"""

from zerodce_jax.media.video.encoding import Codec, Encoding
from zerodce_jax.media.video.reading import Frame, Reader, naming
from zerodce_jax.media.video.writing import Writer

__all__ = ["Codec", "Encoding", "Frame", "Reader", "Writer", "naming"]
