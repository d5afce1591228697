"""A folder of photographs -> a Grain pipeline -> batches to train on.

Batches are dicts of ``images``, uint8 (batch, size, size, 3), and ``files``, the indices of their
files. For one seed the order and every random choice are the same each time, and the position in
them is part of a checkpoint (the iterator's ``get_state``).
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import UInt8

from zerodce_jax import photo
from zerodce_jax.config import WELL_EXPOSED, TrainConfig
from zerodce_jax.errors import InputError

logger = logging.getLogger(__name__)

# A run reads the same files through several pipelines and threads, and names each bad one once.
_named: set[Path] = set()
_naming = threading.Lock()

_THREADS = grain.ReadOptions(num_threads=8, prefetch_buffer_size=32)


def find_images(folder: Path) -> list[Path]:
    """List the photographs in a folder and the folders below it.

    Returns:
        Paths in the order in which people count (``2.jpg`` before ``10.jpg``), so that the shots of
        one scene, which cameras number in a row, stay together.

    Raises:
        InputError: There is no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if photo.format_of(Path(name))
    ]
    if not found:
        raise InputError(f"{folder}: no photographs in this folder")
    return sorted(found, key=lambda path: _as_counted(str(path.relative_to(folder))))


def split(files: Sequence[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Split off the last files for validation.

    The last in a row rather than random ones: neighbours often show one scene, and a scene in both
    parts would make validation blind to overfitting.

    Args:
        files: As `find_images` orders them.
        fraction: Share of the files, in [0, 1).

    Returns:
        Files to train on, and files to validate on.
    """
    count = round(len(files) * fraction)
    return list(files[: len(files) - count]), list(files[len(files) - count :])


class ImageFolder:
    """Decoded photographs by number, RGB; None for an unreadable one, which is named once.

    Args:
        files: The photographs.
        size: Side of a square that each whole image is scaled to, or None for images as they are.
        brightness: Least and largest mean in [0, 1]; photographs beyond are None too, in silence;
            None takes all.
        cache: Whether to keep decoded images in memory.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        size: int | None,
        brightness: tuple[float, float] | None = None,
        cache: bool = False,
    ) -> None:
        self.files = list(files)
        self._size = size
        self._brightness = brightness
        self._cache: dict[int, UInt8[np.ndarray, "h w 3"]] | None = {} if cache else None
        self._useless: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        image = self._image(int(index))
        return None if image is None else {"images": image, "files": np.int32(index)}

    def _image(self, index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        if index in self._useless:
            return None
        try:
            image = photo.read_rgb(self.files[index], size=self._size)
        except (InputError, OSError) as error:
            _name_once(self.files[index], error)
            self._left_out(index)
            return None
        if self._brightness is not None:
            least, most = self._brightness
            if not least * 255 <= image.mean() <= most * 255:
                self._left_out(index)
                return None
        if self._cache is not None:
            self._cache[index] = image
        return image

    def _left_out(self, index: int) -> None:
        self._useless.add(index)
        if len(self._useless) == len(self.files):
            wanted = ""
            if self._brightness is not None:
                wanted = " and has a mean brightness of {} to {}".format(*self._brightness)
            raise InputError(f"none of the {len(self)} photographs can be read{wanted}")


def training_batches(
    files: Sequence[Path], config: TrainConfig
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """Shuffled, augmented batches without end.

    Args:
        files: The photographs.
        config: Of it: batch and image size, augmentation, cache and seed.

    Returns:
        A Grain iterator over batches, see the module; `get_state` and `set_state` keep its place.

    Raises:
        InputError: None of the photographs can be read (raised by the iterator).
    """
    size = None if config.crop else config.image_size
    folder = ImageFolder(files, size=size, brightness=_wanted(config), cache=config.cache)

    def augment(sample: Any, rng: np.random.Generator) -> dict[str, Any]:
        image = sample["images"]
        if config.crop:
            image = random_crop(image, config.image_size, rng)
        if config.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        if config.turn:
            image = np.rot90(image, int(rng.integers(4)))
        return sample | {"images": np.ascontiguousarray(image)}

    return iter(
        grain.MapDataset.source(folder)
        .seed(config.seed)
        .shuffle()
        .repeat()
        .random_map(augment)
        .to_iter_dataset(_THREADS)
        .batch(config.batch_size, drop_remainder=True)
    )


def validation_batches(
    files: Sequence[Path], config: TrainConfig
) -> Iterator[dict[str, np.ndarray]]:
    """Every photograph once, in order, scaled to the training size; the last batch may be smaller.

    Args:
        files: The photographs.
        config: Of it: batch and image size.
    """
    folder = ImageFolder(files, size=config.image_size, brightness=_wanted(config))
    return iter(
        grain.MapDataset.source(folder)
        .to_iter_dataset(_THREADS)
        .batch(config.batch_size, drop_remainder=False)
    )


def random_crop(
    image: UInt8[np.ndarray, "h w 3"], size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """Cut a square out of an image at a random place; a smaller image is mirrored at its edges."""
    short = [(0, max(0, size - length)) for length in image.shape[:2]]
    image = np.pad(image, [*short, (0, 0)], mode="symmetric")
    top = rng.integers(image.shape[0] - size + 1)
    left = rng.integers(image.shape[1] - size + 1)
    return image[top : top + size, left : left + size]


def _wanted(config: TrainConfig) -> tuple[float, float] | None:
    return WELL_EXPOSED if config.darken else None


def _name_once(file: Path, error: Exception) -> None:
    with _naming:
        if file in _named:
            return
        _named.add(file)
    logger.warning("left out: %s", error)


def _as_counted(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
