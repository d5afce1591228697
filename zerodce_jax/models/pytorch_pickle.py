"""PyTorch state dicts read without PyTorch: the unpickler builds tensors and nothing else.

Two containers exist: the zip archive that ``torch.save`` writes since 1.6, and the run of pickles
followed by raw storages from before. Both name their tensors' storages by persistent ids.
"""

import io
import math
import pickletools
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        if math.prod(self.shape) > self.storage.size:
            raise ValueError(f"a tensor is larger than its storage {self.storage.key}")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and not (
            self.offset >= 0 and min(self.stride, default=0) >= 0 and last < self.storage.size
        ):
            raise ValueError(f"a tensor reaches beyond its storage {self.storage.key}")
        flat = np.frombuffer(raw, dtype, count=self.storage.size)[self.offset :]
        strides = tuple(s * dtype.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        return np.array(view, dtype=dtype.newbyteorder("="), order="C")


def _load(stream: Any, seen: list[_Storage] | None = None) -> Any:
    """Run one pickle on a machine that builds dicts, lists, numbers, strings and tensors.

    It has no more instructions than such pickles need: nothing is imported, called or set.
    Storages are listed in `seen` as they are met.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def above_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for opcode, argument, _position in pickletools.genops(stream):
        name = opcode.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(above_mark()))
        elif name == "LIST":
            stack.append(above_mark())
        elif name == "DICT":
            items = above_mark()
            stack.append(
                {_as((str, int), k): v for k, v in zip(items[::2], items[1::2], strict=True)}
            )
        elif name in _TUPLES:
            size = _TUPLES[name]
            stack[-size:] = [tuple(stack[-size:])]
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name in {"GLOBAL", "INST"}:
            stack.append(_known(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            named = stack.pop()
            stack.append(_known(stack.pop(), named))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
            if seen is not None:
                seen.append(stack[-1])
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_REBUILD[stack.pop()](*arguments))
        elif name == "APPEND":
            item = stack.pop()
            _as(list, stack[-1]).append(item)
        elif name == "APPENDS":
            items = above_mark()
            _as(list, stack[-1]).extend(items)
        elif name == "SETITEM":
            item = stack.pop()
            key = _as((str, int), stack.pop())
            _as(dict, stack[-1])[key] = item
        elif name == "SETITEMS":
            items = above_mark()
            for key, item in zip(items[::2], items[1::2], strict=True):
                _as(dict, stack[-1])[_as((str, int), key)] = item
        elif name == "BUILD":
            # Attributes of a state dict, which hold versions of modules.
            _as(dict, stack.pop())
            _as(dict, stack[-1])
        elif name == "STOP":
            return stack.pop()
        elif name not in {"PROTO", "FRAME"}:
            raise InputError(f"its pickle does {name}, which is not needed for tensors: refused")
    raise ValueError("its pickle has no end")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _as(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"unexpected {type(value).__name__}")
    return value


def _known(module: str, name: str) -> Any:
    """What a pickle may name: types of storages, and the keys of `_REBUILD`."""
    if module == "torch" and name in _STORAGE_DTYPES:
        return _StorageType(_STORAGE_DTYPES[name])
    if (module, name) not in _REBUILD:
        named = f"{module}.{name}"
        named = named if named.isprintable() else ascii(named)
        raise InputError(f"its pickle names {named}, which is not needed for tensors: refused")
    return module, name


def _storage(pid: Any) -> _Storage:
    kind, storage_type, key, _location, size, *view = pid
    if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
        raise ValueError("unknown kind of storage")
    return _Storage(_as(str, key), storage_type.dtype, _as(int, size))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple, stride: tuple, *_autograd: Any
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _rebuild_parameter(data: _Tensor, *_autograd: Any) -> _Tensor:
    return data


def _ordered_dict(*items: Any) -> dict:
    if items:
        raise ValueError("a dict that is not built item by item")
    return {}


_REBUILD: dict[Any, Callable] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


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
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(file)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:
            # A damaged file can fail in any way that Python can (even as an OSError, by seeking
            # to nowhere); all of them mean this.
            detail = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path}: not a PyTorch state dict, or damaged ({detail})") from error


def _read_zip(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            # PyTorch does not compress; what is unpacked here is never larger than the file.
            raise ValueError("compressed entries")
        (index,) = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        folder = index.removesuffix("data.pkl")
        order = "little"
        if f"{folder}byteorder" in names:
            order = archive.read(f"{folder}byteorder").decode().strip()
        tensors = _tensors_of(_load(io.BytesIO(archive.read(index))))
        return {
            name: tensor.build(archive.read(f"{folder}data/{tensor.storage.key}"), _order(order))
            for name, tensor in tensors.items()
        }


def _read_legacy(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    if _load(file) != _LEGACY_MAGIC:
        raise ValueError("magic number missing")
    if _load(file) != _LEGACY_PROTOCOL:
        raise ValueError("unknown protocol")
    little = _load(file).get("little_endian", sys.byteorder == "little")
    seen: list[_Storage] = []
    tensors = _tensors_of(_load(file, seen))
    itemsizes = {s.key: np.dtype(s.dtype).itemsize for s in seen}
    storages = {}
    for key in _load(file):
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
