"""A folder of photographs -> a Grain pipeline -> batches to train on.

Batches are dicts of ``images``, uint8 (batch, size, size, 3), and ``files``, the indices of their
files. The seed alone decides which photograph is in which row of which batch, and every random
choice; so the number of steps taken is the place in the data, and several processes can each read
some rows of every batch.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Bool, UInt8

from zerodce_jax.config import WELL_EXPOSED, TrainConfig
from zerodce_jax.errors import InputError
from zerodce_jax.media import formats, photo

logger = logging.getLogger(__name__)

# A run reads the same files through several pipelines and threads, and names each bad one once.
_named: set[Path] = set()
_naming = threading.Lock()

_READERS = 8
_THREADS = grain.ReadOptions(num_threads=_READERS, prefetch_buffer_size=32)


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
        if formats.format_of(Path(name))
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


def usable(files: Sequence[Path], config: TrainConfig) -> Bool[np.ndarray, "files"]:
    """Tell which photographs can be read and, where they are darkened, are well exposed.

    Reads all of them once; unreadable ones are named.

    Args:
        files: The photographs.
        config: Of it: whether photographs are darkened, and how they are cut or scaled.
    """
    size = _side(config)

    def is_usable(file: Path) -> bool:
        try:
            image = photo.read_rgb(file, size=size)
        except (InputError, OSError) as error:
            _name_once(file, error)
            return False
        least, most = WELL_EXPOSED
        return not config.darken or bool(least * 255 <= image.mean() <= most * 255)

    with ThreadPoolExecutor(_READERS) as pool:
        return np.fromiter(pool.map(is_usable, files), bool, len(files))


class ImageFolder:
    """Decoded photographs by number, RGB.

    In the place of an unreadable one, which is named once, comes the next one.

    Args:
        files: The photographs.
        size: Side of a square that each whole image is scaled to, or None for images as they are.
        cache: Whether to keep decoded images in memory.
    """

    def __init__(self, files: Sequence[Path], *, size: int | None, cache: bool = False) -> None:
        self.files = list(files)
        self._size = size
        self._cache: dict[int, UInt8[np.ndarray, "h w 3"]] | None = {} if cache else None
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for nearest in range(int(index), int(index) + len(self)):
            at = nearest % len(self)
            image = self._image(at)
            if image is not None:
                return {"images": image, "files": np.int32(at)}
        raise InputError(f"none of the {len(self)} photographs can be read")

    def _image(self, index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        if index in self._unreadable:
            return None
        try:
            image = photo.read_rgb(self.files[index], size=self._size)
        except (InputError, OSError) as error:
            _name_once(self.files[index], error)
            self._unreadable.add(index)
            return None
        if self._cache is not None:
            self._cache[index] = image
        return image


def training_batches(
    files: Sequence[Path], config: TrainConfig, *, rows: Sequence[int] | None = None, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Shuffled, augmented batches without end.

    Args:
        files: The photographs.
        config: Of it: batch and image size, augmentation, cache and seed.
        rows: Which rows of each batch are wanted, all of them if not given.
        start: Number of the first batch, from 0.

    Returns:
        An iterator over batches (a Grain one), see the module.

    Raises:
        InputError: None of the photographs can be read (raised by the iterator).
    """
    folder = ImageFolder(files, size=_side(config), cache=config.cache)

    def augment(sample: Any, rng: np.random.Generator) -> dict[str, Any]:
        image = sample["images"]
        if config.crop:
            image = random_crop(image, config.image_size, rng)
        if config.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        if config.turn:
            image = np.rot90(image, int(rng.integers(4)))
        return sample | {"images": np.ascontiguousarray(image)}

    stream = grain.MapDataset.source(folder).seed(config.seed).shuffle().repeat()
    wanted = range(config.batch_size) if rows is None else rows
    some = _Rows(stream.random_map(augment), wanted, config.batch_size, start)
    batches = grain.MapDataset.source(some).to_iter_dataset(_THREADS)
    return iter(batches.batch(len(wanted), drop_remainder=True))


def validation_batches(
    files: Sequence[Path], config: TrainConfig
) -> Iterator[dict[str, np.ndarray]]:
    """Every photograph once, in order, scaled to the training size; the last batch may be smaller.

    Args:
        files: The photographs, `usable` ones.
        config: Of it: batch and image size.
    """
    folder = ImageFolder(files, size=config.image_size)
    return iter(
        grain.MapDataset.source(folder)
        .to_iter_dataset(_THREADS)
        .batch(config.batch_size, drop_remainder=False)
    )


class _Rows:
    """Some rows of every batch of an endless stream of samples, as one long row."""

    def __init__(self, stream: Any, rows: Sequence[int], batch_size: int, start: int) -> None:
        self._stream, self._rows = stream, rows
        self._batch_size, self._start = batch_size, start

    def __len__(self) -> int:
        return (len(self._stream) // self._batch_size - self._start) * len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch, row = divmod(int(index), len(self._rows))
        return self._stream[(self._start + batch) * self._batch_size + self._rows[row]]


def random_crop(
    image: UInt8[np.ndarray, "h w 3"], size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """Cut a square out of an image at a random place; a smaller image is mirrored at its edges."""
    short = [(0, max(0, size - length)) for length in image.shape[:2]]
    image = np.pad(image, [*short, (0, 0)], mode="symmetric")
    top = rng.integers(image.shape[0] - size + 1)
    left = rng.integers(image.shape[1] - size + 1)
    return image[top : top + size, left : left + size]


def _side(config: TrainConfig) -> int | None:
    return None if config.crop else config.image_size


def _name_once(file: Path, error: Exception) -> None:
    with _naming:
        if file in _named:
            return
        _named.add(file)
    logger.warning("left out: %s", error)


def _as_counted(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
