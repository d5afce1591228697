"""Tests of pytorch_file.py with damaged files, false sizes and other formats."""

import pickle
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


@pytest.mark.parametrize("container", pf.CONTAINERS)
@pytest.mark.parametrize("case", FALSE_SIZES)
def test_tensors_beyond_their_storage_are_refused(
    case: str, container: str, tmp_path: Path
) -> None:
    shape, stride, offset = FALSE_SIZES[case]
    content = pf.dictionary({"a": pf.tensor(pf.storage("0", 4), shape, stride, offset=offset)})
    path = pf.file_of(tmp_path / "false.pth", container, content, bytes(16), 4)
    with pytest.raises(InputError, match=str(path)):
        pf.read(path)


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
    return pf.zipped(b"}r" + (2**26).to_bytes(4, "little") + b"R", {})


def inflated_pickle() -> bytes:
    return pf.zipped(b"]" * 2**27, {}, compression=zipfile.ZIP_DEFLATED)


def one_storage_in_many_tensors() -> bytes:
    many = dict.fromkeys(map(str, range(100)), pf.tensor(pf.storage("0", 2**20), (2**20,), (1,)))
    raw = {"0": bytes(2**22)}
    return pf.zipped(pf.dictionary(many), raw, compression=zipfile.ZIP_DEFLATED)


def many_dimensions() -> bytes:
    ones = (1,) * 100_000
    return pf.zipped(
        pf.dictionary({"a": pf.tensor(pf.storage("0", 1), ones, ones)}), {"0": b"1234"}
    )


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
        inflated_pickle,
        one_storage_in_many_tensors,
        many_dimensions,
    ],
)
def test_false_sizes_allocate_no_memory(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    path.write_bytes(make())
    tracemalloc.start()
    try:
        start = time.perf_counter()
        with pytest.raises(InputError, match=str(path)):
            pf.read(path)
        assert time.perf_counter() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", pf.FILES)
def test_every_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    whole = pf.FILES[kind]
    path = tmp_path / "cut.pth"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=str(path)):
            pf.read(path)


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", pf.FILES)
def test_flipped_bits_give_one_line_or_do_not_matter(kind: str, tmp_path: Path) -> None:
    whole = pf.FILES[kind]
    path = tmp_path / "flipped.pth"
    refused = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position * 3) % 8
        path.write_bytes(flipped)
        message = pf.refusal_of(path)
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
        message = pf.refusal_of(path)
        assert message is None or str(path) in message


@pytest.mark.parametrize("method", [8, 9, 12, 14, 93, 99])
def test_damaged_compression_methods_are_refused(method: int, tmp_path: Path) -> None:
    # 12 is bzip2, whose decompressor raises an OSError for damaged data.
    whole = bytearray(pf.both(pf.SMALL)[0])
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = whole.find(signature)
        while position >= 0:
            whole[position + offset : position + offset + 2] = method.to_bytes(2, "little")
            position = whole.find(signature, position + 1)
    path = tmp_path / "method.pth"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=str(path)):
        pf.read(path)


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
        pf.read(path)
    assert len(str(caught.value).splitlines()) == 1
