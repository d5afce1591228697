"""Tests of pytorch_file.py: both containers."""

import io
import time
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from helpers import pth_files as pf
from zerodce_jax.errors import InputError


@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
def test_zip_and_legacy_files_have_the_same_tensors(name: str, goldens: Path) -> None:
    zipped = pf.read(goldens / f"{name}_random.pth")
    legacy = pf.read(goldens / f"{name}_random_legacy.pth")
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
    names = list(pf.read(goldens / "reduced_random.pth"))
    assert names == [f"e_conv{i}.{part}" for i in range(1, 8) for part in ("weight", "bias")]


@pytest.mark.parametrize("container", [0, 1], ids=pf.CONTAINERS)
def test_tensors_have_the_values_of_the_file(container: int, tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    path.write_bytes(pf.both(pf.SMALL)[container])
    tensors = pf.read(path)
    assert list(tensors) == list(pf.SMALL)
    for name, array in pf.SMALL.items():
        np.testing.assert_array_equal(tensors[name], array)


@pytest.mark.parametrize("container", pf.CONTAINERS)
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
    tensors = pf.read(pf.file_of(tmp_path / "views.pth", container, content, raw, 12))
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
    tensors = pf.read(pf.file_of(tmp_path / "x.pth", "zip", content, values.tobytes()))
    assert tensors["x"].dtype == values.dtype
    np.testing.assert_array_equal(tensors["x"], values)


def test_big_endian_files_are_converted_to_native_order(tmp_path: Path) -> None:
    content = pf.dictionary({"x": pf.tensor(pf.storage("0", 2), (2,), (1,))})
    raw = np.array([1, -2], ">f4").tobytes()
    path = tmp_path / "big.pth"
    path.write_bytes(pf.zipped(content, {"0": raw}, byteorder="big"))
    (tensor,) = pf.read(path).values()
    assert tensor.tolist() == [1, -2]
    assert tensor.dtype.isnative


@pytest.mark.parametrize("container", pf.CONTAINERS)
def test_tensors_in_nested_dicts_have_names_with_slashes(container: str, tmp_path: Path) -> None:
    weight = pf.tensor(pf.storage("0", 2), (2,), (1,))
    momentum = pf.tensor(pf.storage("1", 1), (1,), (1,))
    content = pf.dictionary(
        {
            "epoch": pf.plain(7),
            "state_dict": pf.dictionary({"net.weight": weight}),
            "list": b"](" + pf.dictionary({"momentum": momentum, "lr": pf.plain(1e-4)}) + b"e",
        }
    )
    raw = {"0": np.array([3, 4], "<f4").tobytes(), "1": np.array([5], "<f4").tobytes()}
    path = tmp_path / "checkpoint.pth"
    if container == "zip":
        path.write_bytes(pf.zipped(content, raw))
    else:
        path.write_bytes(pf.legacy(content, {"1": (1, raw["1"]), "0": (2, raw["0"])}))
    tensors = pf.read(path)
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "state_dict/net.weight": [3, 4],
        "list/0/momentum": [5],
    }


@pytest.mark.parametrize("kind", pf.FILES)
def test_bfloat16_and_compressed_entries_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pth"
    path.write_bytes(pf.FILES[kind])
    tensors = pf.read(path)
    assert len(tensors) == 4
    for name, array in pf.SMALL.items():
        exact, rounded = tensors[f"params/{name}"], tensors[f"params_ema/{name}"]
        assert (exact.dtype, rounded.dtype) == (np.float32, ml_dtypes.bfloat16)
        np.testing.assert_array_equal(exact, array)
        # These small numbers need no more than the 8 bits of bfloat16.
        np.testing.assert_array_equal(rounded.astype(np.float32), array)


def test_big_endian_bfloat16_is_converted_to_native_order(tmp_path: Path) -> None:
    stored = pf.storage("0", 2, kind="BFloat16Storage")
    content = pf.dictionary({"x": pf.tensor(stored, (2,), (1,))})
    path = tmp_path / "big.pth"
    # The bits of bfloat16 are the upper half of those of float32.
    path.write_bytes(pf.zipped(content, {"0": b"\x3f\x80\xc0\x00"}, byteorder="big"))
    (tensor,) = pf.read(path).values()
    assert tensor.astype(np.float32).tolist() == [1, -2]


@pytest.mark.parametrize("folder", ["", "archive/", "a/b/"])
def test_archives_packed_by_other_tools_are_read(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(io.BytesIO(pf.both(pf.SMALL)[0])) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(folder + name.removeprefix("archive/"), archive.read(name))
        packed.mkdir(f"{folder}data/")
        packed.writestr("__MACOSX/archive/._data.pkl", b"not a pickle")
    np.testing.assert_equal(pf.read(path), pf.SMALL)


def test_archives_of_several_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "several.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/data.pkl", pf.PROTO + pf.dictionary({}) + pf.STOP)
    with pytest.raises(InputError, match=f"{path}: not a PyTorch checkpoint"):
        pf.read(path)


def test_containers_that_hold_each_other_are_read_once(tmp_path: Path) -> None:
    weight = pf.tensor(pf.storage("0", 1), (1,), (1,))
    itself = b"}q\x01" + pf.plain("self") + b"h\x01s" + pf.plain("weight") + weight + b"s"
    # Each list holds the one before it ten times.
    many = b"]q\x02"
    for _ in range(7):
        many = b"](" + many + b"h\x02" * 9 + b"eq\x02"
    content = pf.dictionary({"many": many, "net": itself})
    path = pf.file_of(tmp_path / "cycle.pth", "zip", content, bytes(4), 1)
    start = time.perf_counter()
    assert list(pf.read(path)) == ["net/weight"]
    assert time.perf_counter() - start < 5


def test_names_that_are_too_long_or_too_deep_belong_to_no_network(tmp_path: Path) -> None:
    weight = pf.tensor(pf.storage("0", 1), (1,), (1,))
    deep = weight
    for _ in range(20):
        deep = pf.dictionary({"deeper": deep})
    content = pf.dictionary({"x" * 201: weight, "x" * 200: weight, "deep": deep})
    path = pf.file_of(tmp_path / "names.pth", "zip", content, bytes(4), 1)
    assert list(pf.read(path)) == ["x" * 200]


def test_missing_files_and_folders_raise_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pf.read(tmp_path / "missing.pth")
    with pytest.raises(IsADirectoryError):
        pf.read(tmp_path)
