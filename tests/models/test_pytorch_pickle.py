"""Tests of pytorch_pickle.py: hostile pickles, and pickles of other code beside the weights."""

import argparse
import inspect
import io
import os
import pickle
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import pth_files as pf
from zerodce_jax.errors import InputError
from zerodce_jax.models import pytorch_pickle
from zerodce_jax.models.pytorch_pickle import Foreign, load
from zerodce_jax.models.serialization import load_network


class CallWhenUnpickled:
    """An object that unpickles as a call of any callable."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("container", pf.CONTAINERS)
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_os_system_is_refused_and_does_not_run(
    container: str, protocol: int, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    hostile = pickle.dumps({"a": CallWhenUnpickled(os.system, f"touch {marker}")}, protocol)
    pickle.loads(hostile)
    assert marker.exists(), "a plain unpickler must run the command"
    marker.unlink()
    content = hostile[:-1] if protocol < 2 else hostile[2:-1]
    path = pf.file_of(tmp_path / "hostile.pth", container, content)
    with pytest.raises(InputError, match=rf"{path}.*(posix|os|nt)\.system") as caught:
        load_network(path)
    assert len(str(caught.value).splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize("container", pf.CONTAINERS)
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
    path = pf.file_of(tmp_path / "hostile.pth", container, content)
    with pytest.raises(InputError, match=rf"holds {module}\.{name}, whose code is never run"):
        load_network(path)


@pytest.mark.parametrize("container", pf.CONTAINERS)
def test_globals_from_other_opcodes_are_refused(container: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = pf.plain(f"touch {marker}")
    stack_global = pf.plain("os") + pf.plain("system") + b"\x93" + command + b"\x85R"
    instance = b"(" + command + b"ios\nsystem\n"
    obj = b"(" + pf.global_name("os", "system") + command + b"o"
    newobj = pf.global_name("os", "system") + command + b"\x85\x81"
    newobj_ex = pf.global_name("os", "system") + command + b"\x85}\x92"
    for opcodes in (stack_global, instance, obj, newobj, newobj_ex):
        path = pf.file_of(tmp_path / "hostile.pth", container, pf.dictionary({"a": opcodes}))
        with pytest.raises(InputError, match=r"os\.system"):
            load_network(path)
    assert not marker.exists()


@pytest.mark.parametrize("opcode", [b"0", b"1", b"2", b"\x82\x01", b"Pid\n", b"\x97"])
def test_opcodes_that_state_dicts_do_not_need_are_refused(opcode: bytes, tmp_path: Path) -> None:
    content = b"((" + opcode + pf.dictionary({})
    path = pf.file_of(tmp_path / "hostile.pth", "zip", content)
    with pytest.raises(
        InputError, match=r"its pickle uses [A-Z1_]+, which state dicts do not need"
    ):
        load_network(path)


def test_a_call_of_a_value_is_refused(tmp_path: Path) -> None:
    path = pf.file_of(tmp_path / "hostile.pth", "zip", pf.plain("name") + b")R")
    with pytest.raises(InputError, match="calls a value that is not a function"):
        load_network(path)


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
        pf.read(pf.file_of(tmp_path / "hostile.pth", "zip", content))
    assert function_attributes() == before


def test_a_pickle_cannot_change_a_storage_type(tmp_path: Path) -> None:
    altered = pf.global_name("torch", "FloatStorage") + b"]" + pf.plain("O") + b"ab"
    fields = pf.plain("storage") + altered + pf.plain("0") + pf.plain("cpu") + pf.plain(1)
    stored = b"(" + fields + pf.plain(None) + b"tQ"
    content = pf.dictionary({"a": pf.tensor(stored, (1,), (1,))})
    with pytest.raises(InputError):
        pf.read(pf.file_of(tmp_path / "hostile.pth", "zip", content, bytes(8)))


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
    path = pf.file_of(tmp_path / "deep.pth", "zip", deep)
    result: subprocess.CompletedProcess[str] = python(
        "-c",
        "import sys; from pathlib import Path; from zerodce_jax.errors import InputError;"
        "from zerodce_jax.models.serialization import load_network\n"
        "try: load_network(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)",
        path,
    )
    assert result.returncode == 0
    assert str(path) in result.stdout


@pytest.mark.parametrize("container", pf.CONTAINERS)
@pytest.mark.parametrize(
    "content",
    [
        pf.plain([1, 2]),
        pf.plain(5),
        pf.plain("weights"),
        pf.dictionary({}),
        pf.dictionary({"epoch": pf.plain(3), "lr": pf.plain(0.1)}),
    ],
    ids=["list", "number", "string", "empty dict", "numbers"],
)
def test_pickles_without_tensors_are_refused(
    container: str, content: bytes, tmp_path: Path
) -> None:
    path = pf.file_of(tmp_path / "other.pth", container, content)
    with pytest.raises(InputError, match=f"^{path}: not a DCE-Net: no tensors$"):
        load_network(path)


class Record(dict):
    """A dict of other code."""


OTHER_CODE = {
    "namespace": argparse.Namespace(lr=1e-4, nested=argparse.Namespace(gpu=0)),
    "number of NumPy": np.float64(0.5),
    "array of NumPy": np.arange(4),
    "state of a generator": np.random.default_rng(0),
    "default dict": defaultdict(list, {"a": [1]}),
    "counter": Counter("abc"),
    "dict of other code": Record(a=1),
    "set": {1, "two", (3,)},
    "frozen set": frozenset({1}),
    "bytes": b"raw",
    "path": Path("weights"),
    "class": argparse.Namespace,
    "keys of all kinds": {None: 1, 2.5: 2, (1, 2): 3, argparse.Namespace: 4, b"b": 5},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_of_other_code_leave_their_names_alone(protocol: int) -> None:
    content = load(io.BytesIO(pickle.dumps(OTHER_CODE, protocol)))
    assert list(content) == list(OTHER_CODE)
    for name in ("namespace", "path", "class"):
        assert isinstance(content[name], Foreign)
    assert content["class"].name == "argparse.Namespace"


@pytest.mark.parametrize("case", OTHER_CODE)
def test_values_of_other_code_beside_the_weights_are_ignored(
    case: str, goldens: Path, tmp_path: Path
) -> None:
    expected = pf.read(goldens / "reduced_random.pth")
    other = OTHER_CODE[case]
    path = tmp_path / "checkpoint.pth"
    for container in pf.both(
        {"before": pf.plain(other), "weights": expected, "after": pf.plain(other)}
    ):
        path.write_bytes(container)
        tensors = pf.read(path)
        assert list(tensors) == [f"weights/{name}" for name in expected]
        for name, array in expected.items():
            np.testing.assert_array_equal(tensors[f"weights/{name}"], array)
        assert load_network(path).config.preset == "reduced"


def test_hostile_values_beside_the_weights_do_not_run(goldens: Path, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "checkpoint.pth"
    weights = pf.read(goldens / "reduced_random.pth")
    hostile = CallWhenUnpickled(os.system, f"touch {marker}")
    for container in pf.both({"hook": hostile, "weights": weights}):
        path.write_bytes(container)
        assert load_network(path).config.preset == "reduced"
        assert not marker.exists()


@pytest.mark.parametrize("container", pf.CONTAINERS)
def test_tensors_of_unknown_types_beside_the_weights_are_ignored(
    container: str, tmp_path: Path
) -> None:
    weight = pf.tensor(pf.storage("0", 2), (2,), (1,))
    unknown = pf.tensor(pf.storage("1", 2, kind="QInt8Storage"), (2,), (1,))
    sparse = pf.call("torch._utils", "_rebuild_sparse_tensor", pf.plain("layout"), weight)
    content = pf.dictionary({"sparse": sparse, "unknown": unknown, "weight": weight})
    raw = np.array([3, 4], "<f4").tobytes()
    path = pf.file_of(tmp_path / "checkpoint.pth", container, content, raw, 2)
    assert {name: array.tolist() for name, array in pf.read(path).items()} == {"weight": [3, 4]}


@pytest.mark.parametrize("container", [0, 1], ids=pf.CONTAINERS)
@pytest.mark.parametrize("inside", [False, True], ids=["whole file", "in a dict"])
def test_pickled_modules_are_refused_with_advice(
    inside: bool, container: int, tmp_path: Path
) -> None:
    weight = pf.tensor(pf.storage("0", 2), (2,), (1,))
    attributes = pf.dictionary({"_parameters": pf.dictionary({"e_conv1.weight": weight})})
    module = pf.global_name("nets", "DCENet") + b")\x81" + attributes + b"b"
    content = pf.dictionary({"model": module, "epoch": pf.plain(3)}) if inside else module
    raw = bytes(8)
    path = tmp_path / "module.pth"
    files = pf.zipped(content, {"0": raw}), pf.legacy(content, {"0": (2, raw)})
    path.write_bytes(files[container])
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert str(caught.value) == (
        f"{path}: not a DCE-Net: no tensors; it holds nets.DCENet, whose code is never run;"
        " save the weights alone: torch.save(model.state_dict(), FILE)"
    )


def test_modules_of_early_versions_are_refused_with_advice(tmp_path: Path) -> None:
    # These files contain the source text of each class.
    fields = pf.plain("module") + pf.global_name("nets", "DCENet") + pf.plain("nets.py")
    module = b"(" + fields + pf.plain("class DCENet: ...") + b"tQ)\x81}b"
    path = pf.file_of(tmp_path / "module.pth", "legacy", module)
    with pytest.raises(InputError, match=r"nets\.DCENet.*torch\.save\(model\.state_dict\(\), FILE"):
        load_network(path)


# Pieces of pickles, with values that leave the stack in every state.
PIECES = [
    *(b"(", b")", b"]", b"}", b"\x8f", b"N", b"\x88", b"t", b"l", b"d", b"a", b"e", b"s", b"u"),
    *(b"\x85", b"\x86", b"\x87", b"\x90", b"\x91", b"R", b"b", b"o", b"\x81", b"\x92", b"\x93"),
    *(b"Q", b"q\x00", b"q\x01", b"\x94", b"h\x00", b"h\x01", b"."),
    *(pf.plain(value) for value in (0, 1, -1, 2**70, 0.5, "a", "e_conv1.weight", "storage", b"x")),
    pf.storage("0", 4),
    pf.tensor(pf.storage("0", 4), (2, 2), (2, 1)),
    pf.global_name("os", "system"),
    pf.global_name("builtins", "exec"),
    pf.global_name("collections", "OrderedDict"),
    pf.global_name("torch", "FloatStorage"),
    pf.global_name("torch._utils", "_rebuild_tensor_v2"),
    pf.global_name("torch._utils", "_rebuild_parameter"),
    pf.plain("exit 3"),
    b"iposix\n_exit\n",
]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40), container=st.sampled_from([0, 1]))
def test_any_sequence_of_opcodes_gives_one_line_or_is_read(
    pieces: list[bytes], container: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content, raw = b"".join(pieces), bytes(16)
    files = pf.zipped(content, {"0": raw}), pf.legacy(content, {"0": (4, raw)})
    path = tmp_path_factory.getbasetemp() / "opcodes.pth"
    path.write_bytes(files[container])
    message = pf.refusal_of(path)
    if message is not None:
        assert message.startswith(f"{path}: ")
        assert len(message.splitlines()) == 1
