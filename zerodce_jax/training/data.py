"""From a folder of photographs, through a Grain pipeline, to batches.

A batch is a dict of ``images``, uint8 (batch, size, size, 3), and ``files``, the indices of their
files. The seed alone decides which photograph is in which row of which batch, and every random
choice. So the number of steps taken is also the position in the data, and several processes can
each read some rows of every batch.
"""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import UInt8

from zerodce_jax.config import WELL_EXPOSED, TrainConfig
from zerodce_jax.errors import InputError
from zerodce_jax.media import formats, photo
from zerodce_jax.training import hosts

logger = logging.getLogger(__name__)

# A run reads the same files through several pipelines and threads, but reports each bad file once.
_reported: set[Path] = set()
_report_lock = threading.Lock()

MIN_SHARE = 0.62
"""Smallest share of a photograph's sides that a scene network is trained on at one time."""
DARK, DARK_REPEATS = 0.27, 4
"""Mean brightness below which a photograph is dark, and how often a scene network sees it in the
time in which it sees others once."""
_READ_THREADS = 8
_READ_OPTIONS = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=32)


def find_photographs(folder: Path) -> list[Path]:
    """List the photographs in a folder and its subfolders.

    Returns:
        Paths in counting order (``2.jpg`` before ``10.jpg``), so that the shots of one scene, which
        cameras number consecutively, stay together.

    Raises:
        InputError: The folder does not exist or holds no photographs.
    """
    found = formats.find_photographs(folder, hidden=True)
    return sorted(found, key=lambda path: _counting_key(str(path.relative_to(folder))))


def split(files: Sequence[Path], fraction: float) -> tuple[list[Path], list[Path]]:
    """Return the files to train on, and a fraction in [0, 1) of the files to validate on.

    The split takes the last files, not random ones: neighbors often show the same scene, and a
    scene in both parts would hide overfitting.
    """
    count = round(len(files) * fraction)
    return list(files[: len(files) - count]), list(files[len(files) - count :])


def usable(files: Sequence[Path], config: TrainConfig) -> list[Path]:
    """Select the photographs that can be read and, for darkening, are well exposed.

    This reads every photograph once and reports the unreadable ones. Where several processes train
    together, all call this alike, and each reads some of the photographs.

    Raises:
        InputError: No photograph is usable.
    """
    low, high = WELL_EXPOSED if config.darken else (0, 1)
    brightness = _brightness(files, config)
    selected = [file for file, b in zip(files, brightness, strict=True) if low <= b <= high]
    if not selected:
        wanted = f" and has a mean brightness of {low} to {high}" if config.darken else ""
        raise InputError(f"none of the {len(files)} photographs can be read{wanted}")
    return selected


def with_repeated_dark(files: Sequence[Path], config: TrainConfig) -> list[Path]:
    """Repeat dark photographs, which are rare and teach a scene network what should stay dark.

    The photographs are read as for `usable`.
    """
    brightness = _brightness(files, config)
    return [
        file
        for file, b in zip(files, brightness, strict=True)
        for _ in range(DARK_REPEATS if 0 <= b < DARK else 1)
    ]


def _brightness(files: Sequence[Path], config: TrainConfig) -> np.ndarray:
    """Return the mean brightness of each photograph, in [0, 1], or -1 if it cannot be read."""

    def measure(file: Path) -> float:
        image = _read(file, _read_size(config))
        return -1 if image is None else float(image.mean()) / 255

    local = slice(jax.process_index(), None, jax.process_count())
    brightness = np.zeros(len(files), np.float32)
    with ThreadPoolExecutor(_READ_THREADS) as pool:
        brightness[local] = list(pool.map(measure, files[local]))
    return hosts.sum_over_processes(brightness)


class ImageFolder:
    """Sequence of decoded RGB photographs.

    The next readable photograph replaces an unreadable one, which is reported once.

    Args:
        files: The photographs.
        size: Side of the square that each whole image is scaled to, in pixels; None keeps its size.
        cache: Whether to keep decoded images in memory.
    """

    def __init__(self, files: Sequence[Path], *, size: int | None, cache: bool = False) -> None:
        self._files, self._size, self._cache = list(files), size, cache
        self._images: dict[int, UInt8[np.ndarray, "h w 3"] | None] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for candidate in range(int(index), int(index) + len(self)):
            file = candidate % len(self)
            image = self._images[file] if file in self._images else self._read(file)
            if image is not None:
                return {"images": image, "files": np.int32(file)}
        raise InputError(f"none of the {len(self)} photographs can be read")

    def _read(self, file: int) -> UInt8[np.ndarray, "h w 3"] | None:
        image = _read(self._files[file], self._size)
        # Unreadable files are always remembered, so that they are not read again.
        if self._cache or image is None:
            self._images[file] = image
        return image


def training_batches(
    files: Sequence[Path], config: TrainConfig, *, rows: Sequence[int] | None = None, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Return an endless Grain iterator over shuffled, augmented batches.

    `rows` are the rows of each batch to read (None reads all of them), and `start` is the number of
    the first batch, from 0.

    Raises:
        InputError: None of the photographs can be read (raised by the iterator).
    """
    folder = ImageFolder(files, size=_read_size(config), cache=config.cache)

    def augment(sample: Any, rng: np.random.Generator) -> dict[str, Any]:
        image = sample["images"]
        if config.crop:
            image = random_crop(image, config.image_size, rng)
        if config.model == "scene":
            side = rng.uniform(MIN_SHARE, 1) * len(image)
            image = random_crop(image, round(side), rng)
            image = photo.scale(image, config.image_size)
        if config.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        if config.turn:
            image = np.rot90(image, int(rng.integers(4)))
        return sample | {"images": np.ascontiguousarray(image)}

    stream = grain.MapDataset.source(folder).seed(config.seed).shuffle().repeat()
    rows = range(config.batch_size) if rows is None else rows
    samples = _RowsOfBatches(stream.random_map(augment), rows, config.batch_size, start)
    batches = grain.MapDataset.source(samples).to_iter_dataset(_READ_OPTIONS)
    return iter(batches.batch(len(rows), drop_remainder=True))


def validation_batches(
    files: Sequence[Path], config: TrainConfig
) -> Iterator[dict[str, np.ndarray]]:
    """Return an iterator over every photograph once, in order, scaled to the training size.

    The last batch may be smaller. All the photographs must be `usable`.
    """
    folder = ImageFolder(files, size=config.image_size)
    images = grain.MapDataset.source(folder).to_iter_dataset(_READ_OPTIONS)
    return iter(images.batch(config.batch_size, drop_remainder=False))


class _RowsOfBatches:
    """Sequence of the samples in some rows of every batch of an endless stream."""

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
    """Cut a square out of an image at a random position; mirror a smaller image at its edges."""
    missing = [(0, max(0, size - length)) for length in image.shape[:2]]
    image = np.pad(image, [*missing, (0, 0)], mode="symmetric")
    top = rng.integers(image.shape[0] - size + 1)
    left = rng.integers(image.shape[1] - size + 1)
    return image[top : top + size, left : left + size]


def _read_size(config: TrainConfig) -> int | None:
    """Return the side of the square that photographs are scaled to as they are read."""
    if config.crop:
        return None
    # Scene networks see whole scenes: the smallest part of a photograph fills the training image.
    return round(config.image_size / MIN_SHARE) if config.model == "scene" else config.image_size


def _read(file: Path, size: int | None) -> UInt8[np.ndarray, "h w 3"] | None:
    """Read a photograph; report an unreadable one, once, and return None."""
    try:
        return photo.read_rgb(file, size=size)
    except (InputError, OSError) as error:
        with _report_lock:
            if file not in _reported:
                _reported.add(file)
                logger.warning("skipped: %s", error)
        return None


def _counting_key(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
