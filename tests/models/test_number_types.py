"""Tests of number_types.py: types of numbers in files, among them bfloat16 and float8."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors

from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig
from zerodce_jax.errors import InputError
from zerodce_jax.models.network import flatten
from zerodce_jax.models.number_types import SAFETENSORS_TYPES, STORAGE_TYPES, decode
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.models.serialization import load_network

CONFIG = NetworkConfig(features=2, iterations=2)
FLOATS = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]


def write(path: Path, tensors: dict[str, np.ndarray], kind: str, **metadata: str) -> None:
    """Write a .safetensors file, whose header is JSON."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, array in tensors.items():
        raw = array.tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("layout", ["torch", "jax"])
def test_safetensors_of_all_floats_are_read(kind: str, layout: str, tmp_path: Path) -> None:
    network = random_network(CONFIG)
    arrays = to_torch(network) if layout == "torch" else flatten(network.params)
    path = tmp_path / "net.safetensors"
    stored = {name: array.astype(SAFETENSORS_TYPES[kind]) for name, array in arrays.items()}
    metadata = {"config": json.dumps(CONFIG.to_dict()), "format": "pt" if layout == "torch" else ""}
    write(path, stored, kind, **metadata)
    loaded = flatten(load_network(path).params)
    precision = ml_dtypes.finfo(SAFETENSORS_TYPES[kind])
    rounded = {
        name: array.astype(precision.dtype) for name, array in flatten(network.params).items()
    }
    for name, array in flatten(network.params).items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], rounded[name].astype(np.float32))
        tiny = float(precision.smallest_subnormal)
        np.testing.assert_allclose(loaded[name], array, rtol=float(precision.eps), atol=tiny)


@pytest.mark.parametrize("kind", ["BF16", "F8_E5M2"])
def test_float8_and_bfloat16_infinity_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    tensors = {
        name: array.astype(SAFETENSORS_TYPES[kind])
        for name, array in to_torch(random_network(CONFIG)).items()
    }
    tensors["e_conv4.bias"][0] = np.inf
    write(path, tensors, kind)
    with pytest.raises(InputError, match=rf"^{path}: NaN or infinity in e_conv4\.bias$"):
        load_network(path)


@pytest.mark.parametrize("kind", ["F8_E8M0", "C64"])
def test_other_types_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    size = {"F8_E8M0": np.uint8, "C64": np.uint64}[kind]
    write(path, {"x": np.zeros(2, size)}, kind)
    with pytest.raises(InputError, match=f"^{path}: x has the unknown type {kind}$"):
        load_network(path)


def test_types_that_safetensors_does_not_know_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    write(path, {"x": np.zeros(2, np.uint8)}, "F5")
    with pytest.raises(InputError, match=f"^{path}: not a safetensors file, or damaged"):
        load_network(path)


@pytest.mark.parametrize("kind", SAFETENSORS_TYPES)
def test_sizes_are_those_of_safetensors(kind: str, tmp_path: Path) -> None:
    # The library refuses a file whose data do not have the size of their type.
    path = tmp_path / "x.safetensors"
    write(path, {"x": np.zeros(3, SAFETENSORS_TYPES[kind])}, kind)
    ((name, tensor),) = safetensors.deserialize(path.read_bytes())
    assert (name, tensor["dtype"], tensor["shape"]) == ("x", kind, [3])


@pytest.mark.parametrize(
    "dtype", dict.fromkeys([*STORAGE_TYPES.values(), *SAFETENSORS_TYPES.values()]), ids=str
)
def test_both_byte_orders_give_the_same_numbers(dtype: np.dtype) -> None:
    numbers = np.array([0, 1, 2], np.float32).astype(dtype)
    little = numbers.tobytes()
    big = numbers.view(f"u{dtype.itemsize}").byteswap().tobytes()
    for decoded in (decode(little, dtype), decode(big, dtype, big_endian=True)):
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded.astype(np.float32), numbers.astype(np.float32))
