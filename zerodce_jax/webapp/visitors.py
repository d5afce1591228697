"""The files of the visitors of the page."""

import secrets
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo


class Visitors:
    """The files of each visitor, until the visitor leaves.

    Gradio names the folder of an upload by its content, so two visitors may share one.

    Args:
        place: Folder for the results.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._uploads: dict[str | None, set[Path]] = {}
        self._gone: set[str | None] = set()
        self._stopped: set[str | None] = set()
        self._lock = threading.Lock()

    def folder(self, visitor: str | None) -> Path:
        """Return the folder for the results of a visitor, by the hash of the session."""
        return self._place / f"visitor-{visitor}"

    def add_uploads(self, visitor: str | None, files: list[str]) -> None:
        """Record the uploads of a visitor."""
        with self._lock:
            uploads = self._uploads.setdefault(visitor, set())
            uploads.update(Path(file).parent for file in files)

    def write_previews(
        self, visitor: str | None, images: Sequence[UInt8[np.ndarray, "h w 3"]]
    ) -> list[str]:
        """Write images under new names, since browsers load a name only once; return the paths."""
        folder = self.folder(visitor) / "shown"
        # The browser may still be loading the last ones.
        previous = sorted(folder.glob("*.png"), key=lambda file: file.stat().st_mtime)
        for old in previous[: -len(images)]:
            old.unlink(missing_ok=True)
        files = [folder / f"{secrets.token_hex(8)}.png" for _ in images]
        for file, image in zip(files, images, strict=True):
            photo.write(file, Photo(image))
        return [str(file) for file in files]

    def start(self, visitor: str | None) -> None:
        """Record that a run of a visitor starts."""
        self._stopped.discard(visitor)

    def stop(self, visitor: str | None) -> None:
        """Record that a visitor stops the run."""
        self._stopped.add(visitor)

    def stopped(self, visitor: str | None) -> bool:
        """Return whether a visitor has stopped the run, or left."""
        return visitor in self._stopped or visitor in self._gone

    def clean_up(self, visitor: str | None) -> None:
        """Remove files that were written for a visitor who left meanwhile."""
        if visitor in self._gone:
            shutil.rmtree(self.folder(visitor), ignore_errors=True)

    def remove(self, visitor: str | None) -> None:
        """Remove the files that belong to this visitor alone."""
        self._gone.add(visitor)
        shutil.rmtree(self.folder(visitor), ignore_errors=True)
        with self._lock:
            uploads = self._uploads.pop(visitor, set())
            for upload in uploads.difference(*self._uploads.values()):
                shutil.rmtree(upload, ignore_errors=True)
