"""Tests of network.py: the names of parameters, the description of a network, finite values."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from helpers import pth_files
from helpers.whole_image import random_network
from zerodce_jax import Enhancer
from zerodce_jax.config import NetworkConfig, SceneConfig, preset
from zerodce_jax.errors import InputError
from zerodce_jax.models.network import flatten, unflatten
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.models.serialization import load_network, save_network

configs = st.builds(
    NetworkConfig,
    features=st.integers(1, 40),
    separable=st.booleans(),
    iterations=st.integers(1, 12),
    shared_curve=st.booleans(),
)


@given(configs)
def test_unflatten_is_the_inverse_of_flatten(config: NetworkConfig) -> None:
    params = unflatten(config.param_shapes)
    assert set(params) == {f"conv{i}" for i in range(1, 8)}
    assert flatten(params) == config.param_shapes


def test_architecture_is_the_preset_at_any_scale_or_custom() -> None:
    assert random_network(replace(preset("plusplus"), scale=12)).architecture == "plusplus"
    assert random_network(NetworkConfig(features=2)).architecture == "custom architecture"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["pth", "torch.safetensors", "jax.safetensors", "scene", "folder"])
def test_networks_with_parameters_that_are_no_numbers_are_refused(
    kind: str, value: float, tmp_path: Path
) -> None:
    config = SceneConfig(features=8, blocks=1) if kind == "scene" else NetworkConfig(features=2)
    network = random_network(config)
    layer, other = ("grid1", "down1") if kind == "scene" else ("conv2", "conv7")
    network.params[layer]["bias"][1] = value
    network.params[other]["kernel"][0, 0, 0, 0] = value
    names = f"{layer}.bias", f"{other}.kernel"
    path = tmp_path / {"scene": "net.safetensors", "folder": "net"}.get(kind, kind)
    if kind in {"pth", "torch.safetensors"}:
        names = "e_conv2.bias", "e_conv7.weight"
    if kind == "pth":
        path.write_bytes(pth_files.both({"model": to_torch(network)})[0])
    elif kind == "folder":
        save_network(network, path)
    else:
        tensors = to_torch(network) if kind == "torch.safetensors" else flatten(network.params)
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        metadata = {"config": json.dumps(config.to_dict())}
        metadata["format"] = "pt" if kind == "torch.safetensors" else "jax"
        safetensors.numpy.save_file(contiguous, path, metadata)
    place = f"{path}@0" if kind == "folder" else path
    for load in (load_network, Enhancer.load):
        with pytest.raises(InputError) as caught:
            load(path)
        message, _, listed = str(caught.value).rpartition(" in ")
        assert message == f"{place}: NaN or infinity"
        assert sorted(listed.split(", ")) == sorted(names)


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    tensors = {
        name: array.astype(np.float64)
        for name, array in to_torch(random_network(NetworkConfig(features=2))).items()
    }
    tensors["e_conv1.bias"][0] = 1e39
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file(contiguous, path)
    with pytest.raises(InputError, match=rf"^{path}: NaN or infinity in e_conv1\.bias$"):
        load_network(path)
