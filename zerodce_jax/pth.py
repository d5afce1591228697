"""PyTorch state dicts read without PyTorch: the unpickler builds tensors and nothing else.

Two containers exist: the zip archive that ``torch.save`` writes since 1.6, and the run of pickles
followed by raw storages from before. Both name their tensors' storages by persistent ids.
"""

import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from zerodce_jax.errors import InputError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_STORAGE_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor whose storage is yet to be read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def build(self, raw: bytes, byte_order: str) -> np.ndarray:
        dtype = np.dtype(f"{byte_order}{self.storage.dtype}")
        if len(raw) < self.storage.size * dtype.itemsize:
            raise ValueError(f"storage {self.storage.key} is cut short")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and not (
            self.offset >= 0 and min(self.stride, default=0) >= 0 and last < self.storage.size
        ):
            raise ValueError(f"a tensor reaches beyond its storage {self.storage.key}")
        flat = np.frombuffer(raw, dtype, count=self.storage.size)[self.offset :]
        strides = tuple(s * dtype.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        return np.array(view, dtype=dtype.newbyteorder("="), order="C")


class _TensorUnpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, strings and tensors; refuses every other name by that name."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            # Bound methods: a pickle cannot set attributes on them.
            ("torch._utils", "_rebuild_tensor"): self._rebuild_tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): self._rebuild_parameter,
        }
        if (module, name) not in allowed:
            raise InputError(
                f"its pickle names {module}.{name}, which is not needed for tensors: refused"
            )
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, size, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
            raise ValueError("unknown kind of storage")
        return _Storage(str(key), storage_type.dtype, int(size))

    def _rebuild_tensor(
        self, storage: _Storage, offset: int, shape: tuple, stride: tuple, *_autograd: Any
    ) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise TypeError("a tensor without storage")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))

    def _rebuild_parameter(self, data: _Tensor, *_autograd: Any) -> _Tensor:
        return data


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint.

    Args:
        path: A ``.pth`` file: a state dict, or a dict that holds one under ``state_dict``.

    Returns:
        Arrays by their names in the file, in the file's order.

    Raises:
        InputError: The file is no PyTorch checkpoint, is damaged, holds something else than
            tensors, or its pickle asks for any callable that tensors do not need (which is then
            named, and not called).
        OSError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:
        # A damaged pickle can fail in any way that Python can; all of them mean this.
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a PyTorch state dict, or damaged ({detail})") from error


def _read_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        (index,) = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        folder = index.removesuffix("data.pkl")
        order = "little"
        if f"{folder}byteorder" in names:
            order = archive.read(f"{folder}byteorder").decode().strip()
        with archive.open(index) as stream:
            tensors = _tensors_of(_TensorUnpickler(stream).load())
        return {
            name: tensor.build(archive.read(f"{folder}data/{tensor.storage.key}"), _order(order))
            for name, tensor in tensors.items()
        }


def _read_legacy(file: IO[bytes]) -> dict[str, np.ndarray]:
    if _TensorUnpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("magic number missing")
    if _TensorUnpickler(file).load() != _LEGACY_PROTOCOL:
        raise ValueError("unknown protocol")
    little = _TensorUnpickler(file).load().get("little_endian", sys.byteorder == "little")
    tensors = _tensors_of(_TensorUnpickler(file).load())
    itemsizes = {t.storage.key: np.dtype(t.storage.dtype).itemsize for t in tensors.values()}
    storages = {}
    for key in _TensorUnpickler(file).load():
        # Each storage stands as its length and then its elements.
        size = int.from_bytes(file.read(8), "little" if little else "big")
        storages[key] = file.read(size * itemsizes[key])
    return {
        name: tensor.build(storages[tensor.storage.key], "<" if little else ">")
        for name, tensor in tensors.items()
    }


def _order(name: str) -> str:
    return {"little": "<", "big": ">"}[name]


def _tensors_of(content: Any) -> dict[str, _Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError("holds no state dict")
    if strangers := [key for key, value in content.items() if not isinstance(value, _Tensor)]:
        raise InputError(f"not tensors: {', '.join(map(str, strangers[:5]))}")
    return {str(key): value for key, value in content.items()}
