"""Tests of pytorch_pickle.py: both containers, hostile pickles, damaged files, false sizes."""

import inspect
import pickle
import subprocess
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import pth_files as pf
from zerodce_jax.errors import InputError
from zerodce_jax.models import pytorch_pickle
from zerodce_jax.models.pytorch_pickle import read_state_dict

SMALL = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([-1, 0.5], np.float32),
}
CONTAINERS = ["zip", "legacy"]


def refusal_of(path: Path) -> str | None:
    """Return the error message if a file is refused, or None."""
    try:
        read_state_dict(path)
    except InputError as error:
        return str(error)
    return None


def file_of(path: Path, container: str, content: bytes, raw: bytes = b"", size: int = 0) -> Path:
    """Write a file with pickled content and, if `raw` is not empty, the storage ``0``."""
    if container == "zip":
        path.write_bytes(pf.zipped(content, {"0": raw}))
    else:
        path.write_bytes(pf.legacy(content, {"0": (size, raw)} if raw else {}))
    return path


@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
def test_zip_and_legacy_files_have_the_same_tensors(name: str, goldens: Path) -> None:
    zipped = read_state_dict(goldens / f"{name}_random.pth")
    legacy = read_state_dict(goldens / f"{name}_random_legacy.pth")
    assert list(zipped) == list(legacy)
    for key, array in zipped.items():
        assert array.dtype == np.float32
        assert array.flags.writeable
        np.testing.assert_array_equal(array, legacy[key])
    assert (
        sum(array.size for array in zipped.values())
        == {
            "reduced": 23_592,
            "original": 79_416,
            "plusplus": 10_561,
        }[name]
    )


def test_tensors_keep_the_order_of_the_file(goldens: Path) -> None:
    names = list(read_state_dict(goldens / "reduced_random.pth"))
    assert names == [f"e_conv{i}.{part}" for i in range(1, 8) for part in ("weight", "bias")]


@pytest.mark.parametrize("container", [0, 1], ids=CONTAINERS)
def test_tensors_have_the_values_of_the_file(container: int, tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    path.write_bytes(pf.both(SMALL)[container])
    tensors = read_state_dict(path)
    assert list(tensors) == list(SMALL)
    for name, array in SMALL.items():
        np.testing.assert_array_equal(tensors[name], array)


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_may_be_views_of_one_storage(container: str, tmp_path: Path) -> None:
    stored = pf.storage("0", 12)
    content = pf.dictionary(
        {
            "transposed": pf.tensor(stored, (4, 3), (1, 4)),
            "column": pf.tensor(stored, (3,), (4,), offset=2),
            "scalar": pf.tensor(stored, (), (), offset=11),
        }
    )
    raw = np.arange(12, dtype="<f4").tobytes()
    tensors = read_state_dict(file_of(tmp_path / "views.pth", container, content, raw, 12))
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(tensors["transposed"], base.T)
    np.testing.assert_array_equal(tensors["column"], base[:, 2])
    assert tensors["scalar"].shape == ()
    assert tensors["scalar"] == 11


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("DoubleStorage", "f8"), ("HalfStorage", "f2"), ("LongStorage", "i8"), ("BoolStorage", "?")],
)
def test_tensors_keep_their_number_type(kind: str, dtype: str, tmp_path: Path) -> None:
    values = np.array([0, 1, 1], dtype)
    content = pf.dictionary({"x": pf.tensor(pf.storage("0", 3, kind=kind), (3,), (1,))})
    tensors = read_state_dict(file_of(tmp_path / "x.pth", "zip", content, values.tobytes()))
    assert tensors["x"].dtype == values.dtype
    np.testing.assert_array_equal(tensors["x"], values)


def test_big_endian_files_are_converted_to_native_order(tmp_path: Path) -> None:
    content = pf.dictionary({"x": pf.tensor(pf.storage("0", 2), (2,), (1,))})
    raw = np.array([1, -2], ">f4").tobytes()
    path = tmp_path / "big.pth"
    path.write_bytes(pf.zipped(content, {"0": raw}, byteorder="big"))
    (tensor,) = read_state_dict(path).values()
    assert tensor.tolist() == [1, -2]
    assert tensor.dtype.isnative


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_checkpoint_may_contain_the_state_dict(container: str, tmp_path: Path) -> None:
    weight = pf.tensor(pf.storage("0", 2), (2,), (1,))
    momentum = pf.tensor(pf.storage("1", 1), (1,), (1,))
    content = pf.dictionary(
        {
            "epoch": pf.plain(7),
            "state_dict": pf.dictionary({"weight": weight}),
            "optimizer": pf.dictionary({"momentum": momentum, "lr": pf.plain(1e-4)}),
        }
    )
    raw = {"0": np.array([3, 4], "<f4").tobytes(), "1": np.array([5], "<f4").tobytes()}
    path = tmp_path / "checkpoint.pth"
    if container == "zip":
        path.write_bytes(pf.zipped(content, raw))
    else:
        path.write_bytes(pf.legacy(content, {"1": (1, raw["1"]), "0": (2, raw["0"])}))
    tensors = read_state_dict(path)
    assert {name: array.tolist() for name, array in tensors.items()} == {"weight": [3, 4]}


class CallWhenUnpickled:
    """An object that unpickles as a call of any callable."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_os_system_is_refused_and_does_not_run(
    container: str, protocol: int, tmp_path: Path
) -> None:
    import os

    marker = tmp_path / "ran"
    hostile = pickle.dumps({"a": CallWhenUnpickled(os.system, f"touch {marker}")}, protocol)
    pickle.loads(hostile)
    assert marker.exists(), "a plain unpickler must run the command"
    marker.unlink()
    content = hostile[:-1] if protocol < 2 else hostile[2:-1]
    path = file_of(tmp_path / "hostile.pth", container, content)
    with pytest.raises(InputError, match=rf"{path}.*(posix|os|nt)\.system") as caught:
        read_state_dict(path)
    assert len(str(caught.value).splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("subprocess", "Popen"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("importlib", "import_module"),
        ("collections", "Counter"),
        ("torch", "load"),
        ("torch", "FloatStorage.__class__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.storage", "_load_from_bytes"),
        ("zerodce_jax.models.pytorch_pickle", "read_state_dict"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_the_error_names_every_other_global(
    container: str, module: str, name: str, tmp_path: Path
) -> None:
    content = pf.dictionary({"a": pf.call(module, name, pf.plain("1"))})
    path = file_of(tmp_path / "hostile.pth", container, content)
    with pytest.raises(InputError, match=rf"names {module}\.{name},"):
        read_state_dict(path)


@pytest.mark.parametrize("container", CONTAINERS)
def test_globals_from_other_opcodes_are_refused(container: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = pf.plain(f"touch {marker}")
    stack_global = pf.plain("os") + pf.plain("system") + b"\x93" + command + b"\x85R"
    instance = b"(" + command + b"ios\nsystem\n"
    newobj = pf.global_name("os", "system") + command + b"\x85\x81"
    for opcodes in (stack_global, instance, newobj):
        path = file_of(tmp_path / "hostile.pth", container, pf.dictionary({"a": opcodes}))
        with pytest.raises(InputError, match=r"os\.system"):
            read_state_dict(path)
    assert not marker.exists()


def test_a_global_that_is_never_called_is_refused(tmp_path: Path) -> None:
    content = pf.global_name("os", "system") + b"0" + pf.dictionary({})
    path = file_of(tmp_path / "hostile.pth", "zip", content)
    with pytest.raises(InputError, match=r"os\.system"):
        read_state_dict(path)


def test_a_pickle_cannot_set_attributes_of_this_package(tmp_path: Path) -> None:
    # In an ordinary unpickler, BUILD sets attributes of the object on the stack.
    def function_attributes() -> dict[str, dict]:
        namespaces = [
            vars(pytorch_pickle),
            *(vars(value) for value in vars(pytorch_pickle).values() if isinstance(value, type)),
        ]
        return {
            f"{i} {name}": dict(vars(value))
            for i, namespace in enumerate(namespaces)
            for name, value in namespace.items()
            if inspect.isfunction(value)
        }

    before = function_attributes()
    build = pf.global_name("torch._utils", "_rebuild_tensor_v2") + b"}" + pf.plain("planted")
    content = build + pf.plain(1) + b"sb0" + pf.dictionary({})
    with pytest.raises(InputError):
        read_state_dict(file_of(tmp_path / "hostile.pth", "zip", content))
    assert function_attributes() == before


def test_a_pickle_cannot_change_a_storage_type(tmp_path: Path) -> None:
    altered = pf.global_name("torch", "FloatStorage") + b"]" + pf.plain("O") + b"ab"
    fields = pf.plain("storage") + altered + pf.plain("0") + pf.plain("cpu") + pf.plain(1)
    stored = b"(" + fields + pf.plain(None) + b"tQ"
    content = pf.dictionary({"a": pf.tensor(stored, (1,), (1,))})
    with pytest.raises(InputError):
        read_state_dict(file_of(tmp_path / "hostile.pth", "zip", content, bytes(8)))


FALSE_SIZES = {
    "shape beyond the storage": ((5,), (1,), 0),
    "stride beyond the storage": ((2,), (4,), 0),
    "offset beyond the storage": ((1,), (1,), 4),
    "offset and shape beyond the storage": ((2, 2), (1, 1), 2),
    "negative offset": ((1,), (1,), -1),
    "negative stride": ((2,), (-1,), 1),
    "negative shape": ((-2, -2), (1, 1), 0),
    "fewer strides than dimensions": ((2, 2), (1,), 0),
    "huge shape": ((2**62, 2**62), (1, 1), 0),
    "huge stride": ((2, 1), (1, 2**70), 0),
    "huge offset": ((1,), (1,), 2**70),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", FALSE_SIZES)
def test_tensors_beyond_their_storage_are_refused(
    case: str, container: str, tmp_path: Path
) -> None:
    shape, stride, offset = FALSE_SIZES[case]
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 4), shape, stride, offset=offset)})
    path = file_of(tmp_path / "false.pth", container, content, bytes(16), 4)
    with pytest.raises(InputError, match=str(path)):
        read_state_dict(path)


def huge_storage() -> bytes:
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 2**60), (2,), (1,))})
    return pf.zipped(content, {"0": bytes(16)})


def huge_legacy_storage() -> bytes:
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 2**60), (2,), (1,))})
    return pf.legacy(content, {"0": (2**60, bytes(16))})


def repeated_element() -> bytes:
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 1), (2**27,), (0,))})
    return pf.zipped(content, {"0": bytes(4)})


def overlapping_rows() -> bytes:
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 2**14), (2**13, 2**13), (1, 1))})
    return pf.zipped(content, {"0": bytes(2**16)})


def inflated_storage() -> bytes:
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 4), (4,), (1,))})
    return pf.zipped(content, {"0": bytes(2**27)}, compression=zipfile.ZIP_DEFLATED)


def far_memo() -> bytes:
    # LONG_BINPUT: CPython's unpickler allocates memory for all indices up to the given one.
    return pf.zipped(b"}r" + (2**26).to_bytes(4, "little"), {})


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "make",
    [
        huge_storage,
        huge_legacy_storage,
        repeated_element,
        overlapping_rows,
        inflated_storage,
        far_memo,
    ],
)
def test_false_sizes_allocate_no_memory(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    path.write_bytes(make())
    tracemalloc.start()
    try:
        start = time.perf_counter()
        with pytest.raises(InputError, match=str(path)):
            read_state_dict(path)
        assert time.perf_counter() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "after",
    [b"K\x00s", pf.plain("x") + b"\x93", b")R"],
    ids=["key", "global", "function"],
)
def test_deep_nesting_does_not_crash_the_process(
    after: bytes, tmp_path: Path, python: Callable
) -> None:
    # Hashing a million nested tuples recurses in C without a limit.
    deep = b"})" + b"\x85" * 1_000_000 + after
    path = file_of(tmp_path / "deep.pth", "zip", deep)
    result: subprocess.CompletedProcess[str] = python(
        "-c",
        "import sys; from pathlib import Path; from zerodce_jax.errors import InputError;"
        "from zerodce_jax.models.pytorch_pickle import read_state_dict\n"
        "try: read_state_dict(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)",
        path,
    )
    assert result.returncode == 0
    assert str(path) in result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("container", [0, 1], ids=CONTAINERS)
def test_every_truncated_file_is_refused(container: int, tmp_path: Path) -> None:
    whole = pf.both(SMALL)[container]
    path = tmp_path / "cut.pth"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=str(path)):
            read_state_dict(path)


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("container", [0, 1], ids=CONTAINERS)
def test_flipped_bits_give_one_line_or_do_not_matter(container: int, tmp_path: Path) -> None:
    whole = pf.both(SMALL)[container]
    path = tmp_path / "flipped.pth"
    refused = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position * 3) % 8
        path.write_bytes(flipped)
        message = refusal_of(path)
        if message is not None:
            assert str(path) in message
            assert len(message.splitlines()) == 1
            refused += 1
    assert refused > len(whole) // 4


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", ["reduced_random", "plusplus_random_legacy"])
def test_damaged_networks_give_an_error_or_do_not_matter(
    name: str, goldens: Path, tmp_path: Path
) -> None:
    whole = (goldens / f"{name}.pth").read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged.pth"
    for _ in range(60):
        damaged = bytearray(whole)
        # The structure is at both ends of the file. Between them are mostly weights.
        position = int(rng.integers(4000)) * int(rng.choice([1, -1]))
        damaged[position : position + 3] = rng.bytes(3)
        path.write_bytes(damaged)
        message = refusal_of(path)
        assert message is None or str(path) in message


@pytest.mark.parametrize("method", [8, 9, 12, 14, 93, 99])
def test_damaged_compression_methods_are_refused(method: int, tmp_path: Path) -> None:
    # 12 is bzip2, whose decompressor raises an OSError for damaged data.
    whole = bytearray(pf.both(SMALL)[0])
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = whole.find(signature)
        while position >= 0:
            whole[position + offset : position + offset + 2] = method.to_bytes(2, "little")
            position = whole.find(signature, position + 1)
    path = tmp_path / "method.pth"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=str(path)):
        read_state_dict(path)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "content",
    [pf.plain([1, 2]), pf.plain(5), pf.plain("weights"), pf.dictionary({})],
    ids=["list", "number", "string", "empty dict"],
)
def test_pickles_of_other_objects_are_refused(
    container: str, content: bytes, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "other.pth", container, content)
    with pytest.raises(InputError, match=f"{path}: does not hold a state dict"):
        read_state_dict(path)


def test_the_error_names_values_that_are_not_tensors(tmp_path: Path) -> None:
    content = pf.dictionary({"epoch": pf.plain(3), "lr": pf.plain(0.1)})
    with pytest.raises(InputError, match="not tensors: epoch, lr"):
        read_state_dict(file_of(tmp_path / "other.pth", "zip", content))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"PK\x05\x06" + bytes(18),
        b"text instead of a pickle",
        b"\x89PNG\r\n\x1a\n",
        pickle.dumps(OrderedDict(a=1), 2),
        bytes(1000),
    ],
    ids=["empty", "newline", "empty zip", "text", "png", "plain pickle", "zeros"],
)
def test_files_of_other_formats_are_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=str(path)) as caught:
        read_state_dict(path)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_and_folders_raise_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "missing.pth")
    with pytest.raises(IsADirectoryError):
        read_state_dict(tmp_path)
