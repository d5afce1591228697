"""Reader of PyTorch state dicts that neither needs PyTorch nor runs any code of the file.

Two containers exist. ``torch.save`` writes a zip archive since version 1.6; before, it wrote
several pickles, followed by the raw storages. In both, pickles refer to storages by persistent ids.
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

from zerodce_jax.errors import InputError, one_line

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
    """A tensor whose storage has not been read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def build(self, raw: bytes, byte_order: str) -> np.ndarray:
        """Return the array, after checks that keep it within the bytes of its storage."""
        dtype = np.dtype(f"{byte_order}{self.storage.dtype}")
        if len(raw) < self.storage.size * dtype.itemsize:
            raise ValueError(f"storage {self.storage.key} is truncated")
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


def _load(stream: Any, storages: list[_Storage] | None = None) -> Any:
    """Interpret one pickle that holds dicts, lists, numbers, strings and tensors.

    Security: this interpreter knows only the opcodes that such pickles need. It imports nothing,
    calls nothing but the functions in `_REBUILD`, and sets no attributes. It reads the stream up to
    the end of the pickle, and appends the storages to `storages` in their order.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
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
        elif name in _CONTAINERS:
            stack.append(_CONTAINERS[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name == "LIST":
            stack.append(pop_to_mark())
        elif name == "DICT":
            stack.append(_dict_of(pop_to_mark()))
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            size = int(name[-1])
            stack[-size:] = [tuple(stack[-size:])]
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name in {"GLOBAL", "INST"}:
            stack.append(_allowed_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_allowed_global(*(_expect(str, name) for name in stack[-2:]))]
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
            if storages is not None:
                storages.append(stack[-1])
        elif name == "REDUCE":
            function, arguments = stack[-2:]
            if function not in _REBUILD.values():
                raise InputError("refused: its pickle calls a value that is not a function")
            stack[-2:] = [function(*arguments)]
        elif name in {"APPEND", "APPENDS"}:
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            _expect(list, stack[-1]).extend(items)
        elif name in {"SETITEM", "SETITEMS"}:
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else pop_to_mark()
            _expect(dict, stack[-1]).update(_dict_of(items))
        elif name == "BUILD":
            # A state dict has attributes with the versions of its modules. They are not needed.
            _expect(dict, stack.pop())
            _expect(dict, stack[-1])
        elif name == "STOP":
            return stack.pop()
        elif name not in {"PROTO", "FRAME"}:
            raise InputError(f"refused: its pickle uses {name}, which tensors do not need")
    raise ValueError("its pickle does not end")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


def _expect(kind: type | tuple[type, ...], value: Any) -> Any:
    # Values that may be deeply nested must not be hashed: that could overflow C's stack.
    if not isinstance(value, kind):
        raise TypeError(f"unexpected {type(value).__name__}")
    return value


def _dict_of(items: list[Any]) -> dict:
    """Return a dict of alternating keys and values."""
    keys = (_expect((str, int), key) for key in items[::2])
    return dict(zip(keys, items[1::2], strict=True))


def _allowed_global(module: str, name: str) -> Any:
    """Return a type of storages or a function of `_REBUILD`; refuse every other global."""
    if module == "torch" and name in _STORAGE_DTYPES:
        return _StorageType(_STORAGE_DTYPES[name])
    if (module, name) not in _REBUILD:
        dotted = one_line(f"{module}.{name}")
        raise InputError(f"refused: its pickle names {dotted}, which tensors do not need")
    return _REBUILD[module, name]


def _storage(persistent_id: Any) -> _Storage:
    kind, storage_type, key, _location, size, *view = persistent_id
    if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
        raise ValueError("unknown kind of storage")
    return _Storage(_expect(str, key), storage_type.dtype, _expect(int, size))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple, stride: tuple, *_autograd: Any
) -> _Tensor:
    shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
    return _Tensor(_expect(_Storage, storage), int(offset), shape, stride)


def _ordered_dict(*items: Any) -> dict:
    if items:
        raise ValueError("a dict with constructor arguments")
    return {}


_REBUILD: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_autograd: data,
}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint.

    Args:
        path: A ``.pth`` file that holds a state dict, or a dict with one under ``state_dict``.

    Returns:
        Arrays by their names in the file, in the order of the file.

    Raises:
        InputError: The file is not a PyTorch checkpoint, is damaged, or holds other values than
            tensors; or its pickle names a callable that tensors do not need. The message names this
            callable, which is never called.
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
            # A damaged file can cause any error, even an OSError from a seek to a wrong position.
            detail = one_line(error) or type(error).__name__
            raise InputError(f"{path}: not a PyTorch state dict, or damaged ({detail})") from error


def _read_zip(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            # PyTorch does not compress. Without compression no entry is larger than the file.
            raise ValueError("compressed entries")
        (index,) = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
        folder = index.removesuffix("data.pkl")
        byte_order = "little"
        if f"{folder}byteorder" in names:
            byte_order = archive.read(f"{folder}byteorder").decode().strip()
        tensors = _state_dict(_load(io.BytesIO(archive.read(index))))
        order = {"little": "<", "big": ">"}[byte_order]
        return {
            name: tensor.build(archive.read(f"{folder}data/{tensor.storage.key}"), order)
            for name, tensor in tensors.items()
        }


def _read_legacy(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    if _load(file) != _LEGACY_MAGIC or _load(file) != _LEGACY_PROTOCOL:
        raise ValueError("unknown magic number or protocol")
    little = _load(file).get("little_endian", sys.byteorder == "little")
    storages: list[_Storage] = []
    tensors = _state_dict(_load(file, storages))
    itemsizes = {storage.key: np.dtype(storage.dtype).itemsize for storage in storages}
    raw = {}
    for key in _load(file):
        # A storage consists of the number of its elements, in 8 bytes, and the elements.
        size = int.from_bytes(file.read(8), "little" if little else "big")
        raw[key] = file.read(size * itemsizes[_expect(str, key)])
    return {
        name: tensor.build(raw[tensor.storage.key], "<" if little else ">")
        for name, tensor in tensors.items()
    }


def _state_dict(content: Any) -> dict[str, _Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError("does not hold a state dict")
    if others := [key for key, value in content.items() if not isinstance(value, _Tensor)]:
        raise InputError(f"not tensors: {', '.join(map(str, others[:5]))}")
    return {str(key): value for key, value in content.items()}
