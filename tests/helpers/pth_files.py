"""Builders of PyTorch files, opcode by opcode, which need no PyTorch and can be malicious."""

import argparse
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from zerodce_jax.errors import InputError
from zerodce_jax.models.pytorch_file import open_checkpoint

PROTO, STOP = b"\x80\x02", b"."
CONTAINERS = ["zip", "legacy"]


def plain(value: object) -> bytes:
    """Return the opcodes of a number, a string, a tuple, a list or another object."""
    return pickle.dumps(value, 2)[2:-1]


def global_name(module: str, name: str) -> bytes:
    """Return the opcode that pushes a global, such as a callable, on the stack."""
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Return the opcodes that call a global; `arguments` are opcodes."""
    return global_name(module, name) + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, size: int, *, kind: str = "FloatStorage") -> bytes:
    """Return the opcodes of a storage of `size` elements, by its persistent id."""
    fields = plain("storage") + global_name("torch", kind) + plain(key) + plain("cpu") + plain(size)
    return b"(" + fields + plain(None) + b"tQ"


def tensor(
    stored: bytes, shape: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0
) -> bytes:
    """Return the opcodes of a tensor; `stored` are the opcodes of its storage."""
    hooks = call("collections", "OrderedDict")
    arguments = (stored, plain(offset), plain(shape), plain(stride), plain(False), hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def dictionary(items: dict[str, bytes]) -> bytes:
    """Return the opcodes of a dict whose values are opcodes."""
    return b"}(" + b"".join(plain(key) + value for key, value in items.items()) + b"u"


def zipped(
    content: bytes,
    storages: dict[str, bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
    byteorder: str = "little",
) -> bytes:
    """Return a container of PyTorch 1.6 and later, with the opcodes of its content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", PROTO + content + STOP)
        archive.writestr("archive/byteorder", byteorder)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy(content: bytes, storages: dict[str, tuple[int, bytes]]) -> bytes:
    """Return a container of PyTorch before 1.6; storages are a number of elements and bytes."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    headers = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps(list(storages), 2)
    raw = b"".join(size.to_bytes(8, "little") + data for size, data in storages.values())
    return b"".join(headers) + PROTO + content + STOP + keys + raw


_STORAGES = {"float32": "FloatStorage", "bfloat16": "BFloat16Storage", "int64": "LongStorage"}


def both(
    content: Mapping[str, object], *, compression: int = zipfile.ZIP_STORED
) -> tuple[bytes, bytes]:
    """Return both containers of a checkpoint: the zip archive and the legacy format.

    Values are arrays, dicts, opcodes, or what `plain` takes.
    """
    storages: dict[str, tuple[int, bytes]] = {}

    def opcodes(value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, Mapping):
            return dictionary({key: opcodes(item) for key, item in value.items()})
        if not isinstance(value, np.ndarray):
            return plain(value)
        key = str(len(storages))
        base = np.ascontiguousarray(value)
        storages[key] = (base.size, base.tobytes())
        stride = tuple(step // base.itemsize for step in base.strides)
        stored = storage(key, base.size, kind=_STORAGES[base.dtype.name])
        return tensor(stored, base.shape, stride)

    pickled = opcodes(content)
    raw = {key: data for key, (_, data) in storages.items()}
    return zipped(pickled, raw, compression=compression), legacy(pickled, storages)


def file_of(path: Path, container: str, content: bytes, raw: bytes = b"", size: int = 0) -> Path:
    """Write a file with pickled content and, if `raw` is not empty, the storage ``0``."""
    if container == "zip":
        path.write_bytes(zipped(content, {"0": raw}))
    else:
        path.write_bytes(legacy(content, {"0": (size, raw)} if raw else {}))
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    """Return all tensors of a file, whatever network they belong to."""
    with open_checkpoint(path) as file:
        return file.read(file.tensors)


def refusal_of(path: Path) -> str | None:
    """Return the error message if a file is refused, or None."""
    try:
        read(path)
    except InputError as error:
        return str(error)
    return None


SMALL = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([-1, 0.5], np.float32),
}
# What training code writes: weights, their moving average, and values of other code.
TRAINING = {
    "params": SMALL,
    "params_ema": {name: array.astype(ml_dtypes.bfloat16) for name, array in SMALL.items()},
    "args": argparse.Namespace(lr=1e-4),
    "loss": np.float64(0.5),
}
FILES = dict(zip(CONTAINERS, both(TRAINING), strict=True))
FILES["compressed again"], _ = both(TRAINING, compression=zipfile.ZIP_DEFLATED)
