"""PyTorch files put together by hand, opcode by opcode: no PyTorch, and no trust in them."""

import io
import pickle
import zipfile

import numpy as np

PROTO, STOP = b"\x80\x02", b"."


def plain(value: object) -> bytes:
    """Opcodes of a number, a string, a tuple or a list."""
    return pickle.dumps(value, 2)[2:-1]


def named(module: str, name: str) -> bytes:
    """Opcode that looks a callable up."""
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes that call it, with arguments in opcodes."""
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, size: int, *, kind: str = "FloatStorage") -> bytes:
    """Opcodes of a storage of `size` elements, by its persistent id."""
    fields = plain("storage") + named("torch", kind) + plain(key) + plain("cpu") + plain(size)
    return b"(" + fields + plain(None) + b"tQ"


def tensor(
    stored: bytes, shape: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0
) -> bytes:
    """Opcodes of a tensor."""
    hooks = call("collections", "OrderedDict")
    arguments = (stored, plain(offset), plain(shape), plain(stride), plain(False), hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def dictionary(items: dict[str, bytes]) -> bytes:
    """Opcodes of a dict whose values are opcodes."""
    return b"}(" + b"".join(plain(key) + value for key, value in items.items()) + b"u"


def zipped(
    content: bytes,
    storages: dict[str, bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
    byteorder: str = "little",
) -> bytes:
    """The container since PyTorch 1.6, around the opcodes of its content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", PROTO + content + STOP)
        archive.writestr("archive/byteorder", byteorder)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def legacy(content: bytes, storages: dict[str, tuple[int, bytes]]) -> bytes:
    """The container before PyTorch 1.6; storages as number of elements and raw bytes."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    heads = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps(list(storages), 2)
    raw = b"".join(size.to_bytes(8, "little") + data for size, data in storages.values())
    return b"".join(heads) + PROTO + content + STOP + keys + raw


def both(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """The two containers around float32 arrays, which lie in them as NumPy holds them."""
    content, raw, sized = {}, {}, {}
    for key, (name, array) in enumerate(tensors.items()):
        base = np.ascontiguousarray(array)
        stride = tuple(step // base.itemsize for step in base.strides)
        content[name] = tensor(storage(str(key), base.size), base.shape, stride)
        raw[str(key)] = base.tobytes()
        sized[str(key)] = (base.size, base.tobytes())
    return zipped(dictionary(content), raw), legacy(dictionary(content), sized)
