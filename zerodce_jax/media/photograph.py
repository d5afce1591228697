"""The class `Photo`: a photograph as the other modules pass it on.

Pixels keep the encoding of the file. The color profile, which states what the numbers mean, is
kept with them.
"""

from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.media import png
from zerodce_jax.media.animation import Animation
from zerodce_jax.media.formats import Format
from zerodce_jax.media.metadata import Metadata


@dataclass(frozen=True)
class Photo:
    """A photograph: upright pixels, alpha channel and metadata."""

    pixels: Shaped[np.ndarray, "h w *rgb"]
    """RGB (height, width, 3) or gray (height, width); uint8, uint16, or float32 in [0, 1]."""
    alpha: Shaped[np.ndarray, "h w"] | None = None
    """Opacity, of the same type as the pixels, or None."""
    format: Format | None = None
    """Format of the file that the photograph was read from, or None."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF, XMP, color profile and other metadata."""
    notes: tuple[str, ...] = ()
    """Messages, one line each, about parts of the file that were not read."""
    animation: Animation | None = None
    """The frames of an animation, or None. The pixels and the alpha channel are those of the first
    one; `write` and `encode` ignore them where the format holds animations."""

    def still(self) -> "Photo":
        """Return a photograph without animation: the first frame, with a note."""
        if self.animation is None:
            return self
        note = f"only the first of its {self.animation.count} frames is read"
        return replace(self, animation=None, notes=(*self.notes, note))

    def stripped(self) -> "Photo":
        """Return a copy without EXIF, XMP, texts and resolution.

        The color profile stays, because colors would change without it. The encoding options
        stay too. The video of a motion photo, which may state where it was taken, does not.
        """
        dropped = {"boxes", "comment", "extra", "tags"}
        native = {key: x for key, x in self.metadata.native.items() if key not in dropped}
        if "chunks" in native:
            native["chunks"] = tuple(c for c in native["chunks"] if c[0] in png.COLOR_CHUNKS)
        metadata = Metadata(icc=self.metadata.icc, native=MappingProxyType(native))
        return replace(self, metadata=metadata)
