"""Builders of PyTorch files, opcode by opcode, which need no PyTorch and can be malicious."""

import io
import pickle
import zipfile

import numpy as np

PROTO, STOP = b"\x80\x02", b"."


def plain(value: object) -> bytes:
    """Return the opcodes of a number, a string, a tuple or a list."""
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


def both(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """Return both containers of float32 arrays: the zip archive and the legacy format."""
    content, raw, with_sizes = {}, {}, {}
    for key, (name, array) in enumerate(tensors.items()):
        base = np.ascontiguousarray(array)
        stride = tuple(step // base.itemsize for step in base.strides)
        content[name] = tensor(storage(str(key), base.size), base.shape, stride)
        raw[str(key)] = base.tobytes()
        with_sizes[str(key)] = (base.size, base.tobytes())
    return zipped(dictionary(content), raw), legacy(dictionary(content), with_sizes)
