"""The class `Photo`: a photograph as the other modules pass it on.

Pixels keep the encoding of the file. The color profile, which states what the numbers mean, is
kept with them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.media import animation, png
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
    pages: "Pages | None" = None
    """The pages of a TIFF file of several, or None. All else is that of the first page; `write` and
    `encode` ignore it for TIFF."""

    @property
    def images(self) -> int:
        """Number of frames or pages; 1 for a single image."""
        several = self.animation or self.pages
        return 1 if several is None else several.count

    def still(self) -> "Photo":
        """Return a single image: the first frame or page, with a note."""
        if self.images == 1:
            return self
        kind = "frames" if self.animation else "pages"
        note = f"only the first of its {self.images} {kind} is read"
        return replace(self, animation=None, pages=None, notes=(*self.notes, note))

    def fitting(self, file_format: Format | None) -> "Photo":
        """Return the photograph with its frames or pages if the format holds them, else a `still`.

        GIF, PNG, WebP and AVIF hold animations, and TIFF holds pages.
        """
        held = file_format == "tiff" if self.pages else file_format in animation.FORMATS
        return self if held else self.still()

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
        pages = self.pages and self.pages.map(Photo.stripped)
        return replace(self, metadata=metadata, pages=pages)


@dataclass(frozen=True)
class Pages:
    """Images of one file, each with its own size, type and metadata."""

    photos: Callable[[], Iterable[Photo]]
    """Starts to decode the pages, from the first one on."""
    count: int
    """Number of pages."""

    def map(self, change: Callable[[Photo], Photo]) -> "Pages":
        """Return pages that are changed as they are asked for."""
        return replace(self, photos=lambda: map(change, self.photos()))
