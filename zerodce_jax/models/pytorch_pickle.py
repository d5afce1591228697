"""Interpreter of the pickles in PyTorch files, which neither needs PyTorch nor runs any code.

It knows dicts, lists, numbers, strings and tensors. Everything else in a checkpoint, such as an
``argparse.Namespace``, becomes a `Foreign`: its name, without its content.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zerodce_jax.errors import InputError
from zerodce_jax.models.number_types import STORAGE_TYPES, decode

_MAX_DIMENSIONS = 64  # Those of NumPy.


@dataclass(frozen=True, slots=True)
class Foreign:
    """A class or function of other code, or what the pickle makes with it."""

    name: str


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers that tensors share: its name in the file, and the type and number of its elements."""

    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose storage has not been read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes of the array that `build` returns."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def build(self, raw: bytes, *, big_endian: bool) -> np.ndarray:
        """Return the array, after checks that keep it within the bytes of its storage."""
        size, itemsize = self.storage.size, self.storage.dtype.itemsize
        if len(raw) < size * itemsize:
            raise ValueError(f"storage {self.storage.key} is truncated")
        if math.prod(self.shape) > size:
            raise ValueError(f"a tensor is larger than its storage {self.storage.key}")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and not (
            self.offset >= 0 and min(self.stride, default=0) >= 0 and last < size
        ):
            raise ValueError(f"a tensor reaches beyond its storage {self.storage.key}")
        flat = decode(raw[: size * itemsize], self.storage.dtype, big_endian=big_endian)
        strides = tuple(s * itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, strides, writeable=False
        )
        return np.array(view, order="C")


def load(stream: Any, storages: list[Storage] | None = None) -> Any:
    """Interpret one pickle, and return its content.

    Security: this interpreter imports nothing, calls nothing but the functions in `_REBUILD`, and
    sets no attributes. It reads the stream up to the end of the pickle, and appends the storages to
    `storages` in their order.
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
        elif name in {"LIST", "FROZENSET"}:
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
        elif name == "GLOBAL":
            stack.append(_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_global(*(expect(str, name) for name in stack[-2:]))]
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
            if storages is not None and isinstance(stack[-1], Storage):
                storages.append(stack[-1])
        elif name == "REDUCE":
            stack[-2:] = [_call(*stack[-2:])]
        elif name == "NEWOBJ":
            stack[-2:] = [expect(Foreign, stack[-2])]
        elif name == "NEWOBJ_EX":
            stack[-3:] = [expect(Foreign, stack[-3])]
        elif name == "OBJ":
            stack.append(expect(Foreign, pop_to_mark()[0]))
        elif name == "INST":
            pop_to_mark()
            stack.append(expect(Foreign, _global(*argument.split(" ", 1))))
        elif name in {"APPEND", "APPENDS", "ADDITEMS"}:
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            if not isinstance(stack[-1], Foreign):
                expect(list, stack[-1]).extend(items)
        elif name in {"SETITEM", "SETITEMS"}:
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else pop_to_mark()
            if not isinstance(stack[-1], Foreign):
                expect(dict, stack[-1]).update(_dict_of(items))
        elif name == "BUILD":
            # Attributes are not needed. Those of a state dict are the versions of its modules.
            stack.pop()
            expect((dict, Foreign), stack[-1])
        elif name == "STOP":
            return stack.pop()
        elif name not in {"PROTO", "FRAME"}:
            raise InputError(f"refused: its pickle uses {name}, which state dicts do not need")
    raise ValueError("its pickle does not end")


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    "BYTEARRAY8",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# Sets are lists here, because their elements must not be hashed.
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}


def expect(kind: type | tuple[type, ...], value: Any) -> Any:
    """Return a value of the given type; raise TypeError for others."""
    # Values that may be deeply nested must not be hashed: that could overflow C's stack.
    if not isinstance(value, kind):
        raise TypeError(f"unexpected {type(value).__name__}")
    return value


def _dict_of(items: list[Any]) -> dict:
    """Return a dict of alternating keys and values, without the keys that no state dict has."""
    pairs = zip(items[::2], items[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, (str, int))}


def _global(module: str, name: str) -> Any:
    """Return a type of storages, a function of `_REBUILD`, or a Foreign for any other global."""
    if module == "torch" and name in STORAGE_TYPES:
        return _StorageType(STORAGE_TYPES[name])
    return _REBUILD.get((module, name), Foreign(f"{module}.{name}"))


def _call(function: Any, arguments: Any) -> Any:
    """Return the result of a function of `_REBUILD`; the call of a Foreign is that Foreign."""
    if isinstance(function, Foreign):
        return function
    if function not in _REBUILD.values():
        raise InputError("refused: its pickle calls a value that is not a function")
    return function(*arguments)


def _storage(persistent_id: Any) -> Storage | Foreign:
    kind, storage_type, *values = persistent_id
    if isinstance(storage_type, Foreign):
        # Early versions of PyTorch referred to classes of modules in this way too.
        return storage_type
    key, _location, size, *view = values
    if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
        raise ValueError("unknown kind of storage")
    return Storage(expect(str, key), storage_type.dtype, expect(int, size))


def _rebuild_tensor(
    storage: Storage | Foreign, offset: int, shape: tuple, stride: tuple, *_autograd: Any
) -> Tensor | Foreign:
    if isinstance(storage, Foreign):
        return storage
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
    return Tensor(expect(Storage, storage), int(offset), shape, stride)


def _ordered_dict(*items: Any) -> dict | Foreign:
    # State dicts get their items later, one by one.
    return Foreign("collections.OrderedDict") if items else {}


_REBUILD: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_autograd: data,
}
