"""Reader of PyTorch files: finds the tensors of a checkpoint, and reads those that are asked for.

Two containers exist. ``torch.save`` writes a zip archive since version 1.6; before, it wrote
several pickles, followed by the raw storages. In both, pickles refer to storages by persistent ids.
"""

import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zerodce_jax.errors import InputError, one_line
from zerodce_jax.models.pytorch_pickle import Foreign, Storage, Tensor, expect, load

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Hostile files can declare contents that are far larger than the file. DCE-Nets have below 1 MB.
_MAX_INFLATED = 2**22
_MAX_TENSORS = 2**28
_MAX_DEPTH = 8
_MAX_KEY = 200


@dataclass(frozen=True)
class Checkpoint:
    """An open PyTorch file."""

    tensors: Mapping[str, Tensor]
    """Tensors in all nested dicts and lists, in the order of the file, by names that put a slash
    after each dict: ``state_dict/net.e_conv1.weight``."""
    objects: tuple[str, ...]
    """Names of the classes and functions of other code that stand beside the tensors."""
    _read_storage: Callable[[Storage], bytes]
    _big_endian: bool

    def read(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Return arrays of tensors of this file, by the given names."""
        if sum(tensor.nbytes for tensor in tensors.values()) > _MAX_TENSORS:
            raise InputError(f"the network is larger than {_MAX_TENSORS:,} bytes")
        return {
            name: tensor.build(self._read_storage(tensor.storage), big_endian=self._big_endian)
            for name, tensor in tensors.items()
        }


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a PyTorch file in a context, which also names the file in the errors raised inside.

    Raises:
        InputError: The file is not a PyTorch checkpoint, or is damaged.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    yield _open_zip(archive)
            else:
                file.seek(0)
                yield _open_legacy(file)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:
            # A damaged file can cause any error, even an OSError from a seek to a wrong position.
            detail = one_line(error) or type(error).__name__
            raise InputError(f"{path}: not a PyTorch checkpoint, or damaged ({detail})") from error


def _open_zip(archive: zipfile.ZipFile) -> Checkpoint:
    def read(name: str) -> bytes:
        # PyTorch does not compress, but other tools that rewrite the archive do.
        entry = archive.getinfo(name)
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError("unknown compression")
        if entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size > _MAX_INFLATED:
            raise ValueError(f"a compressed entry is larger than {_MAX_INFLATED:,} bytes")
        return archive.read(entry)

    names = archive.namelist()
    (index,) = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    folder = index.removesuffix("data.pkl")
    byte_order = "little"
    if f"{folder}byteorder" in names:
        byte_order = read(f"{folder}byteorder").decode().strip()
    big_endian = {"little": False, "big": True}[byte_order]
    tensors, objects = _flatten(load(io.BytesIO(read(index))))
    return Checkpoint(
        tensors, objects, lambda storage: read(f"{folder}data/{storage.key}"), big_endian
    )


def _open_legacy(file: io.BufferedIOBase) -> Checkpoint:
    if load(file) != _LEGACY_MAGIC or load(file) != _LEGACY_PROTOCOL:
        raise ValueError("unknown magic number or protocol")
    big_endian = not load(file).get("little_endian", sys.byteorder == "little")
    storages: list[Storage] = []
    tensors, objects = _flatten(load(file, storages))
    itemsizes = {storage.key: storage.dtype.itemsize for storage in storages}
    places: dict[str, tuple[int, int]] = {}
    for key in load(file):
        if expect(str, key) not in itemsizes:
            raise ValueError(f"storage {key} has an unknown type")
        # A storage consists of the number of its elements, in 8 bytes, and the elements.
        size = int.from_bytes(file.read(8), "big" if big_endian else "little")
        places[key] = file.tell(), size * itemsizes[key]
        file.seek(places[key][1], io.SEEK_CUR)

    def read_storage(storage: Storage) -> bytes:
        position, length = places[storage.key]
        file.seek(position)
        return file.read(length)

    return Checkpoint(tensors, objects, read_storage, big_endian)


def _flatten(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors and the objects of a `Checkpoint` with this content."""
    tensors: dict[str, Tensor] = {}
    objects: list[str] = []
    queue: list[tuple[tuple[str, ...], Any]] = [((), content)]
    # Pickles can hold a container many times, even in itself.
    seen: set[int] = set()
    for path, value in queue:
        if isinstance(value, Tensor):
            tensors["/".join(path)] = value
        elif isinstance(value, Foreign):
            objects.append(value.name)
        elif (
            isinstance(value, (dict, list, tuple))
            and id(value) not in seen
            and len(path) < _MAX_DEPTH
        ):
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            # Most values are numbers, such as the state of a random generator.
            kinds = (Tensor, Foreign, dict, list, tuple)
            children = ((str(key), child) for key, child in items if isinstance(child, kinds))
            queue += [((*path, key), child) for key, child in children if len(key) <= _MAX_KEY]
    return tensors, tuple(dict.fromkeys(objects))
