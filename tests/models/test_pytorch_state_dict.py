"""Tests of pytorch_state_dict.py: the checkpoints of training code, alone and in `load_network`."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from helpers import pth_files as pf
from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig, preset
from zerodce_jax.errors import InputError
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.models.pytorch_state_dict import find_state_dict
from zerodce_jax.models.serialization import load_network

CONFIG = NetworkConfig(features=2, iterations=2)
NETWORK, AVERAGE = random_network(CONFIG, seed=0), random_network(CONFIG, seed=1)
WEIGHTS, EMA = to_torch(NETWORK), to_torch(AVERAGE)
OPTIMIZER = {
    "state": {"step": np.float64(3), "exp_avg": np.ones(2, np.float32)},
    "param_groups": [{"lr": 1e-4, "params": [0]}],
}


def prefixed(prefix: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors with a prefix before their names."""
    return {f"{prefix}{name}": array for name, array in tensors.items()}


def assert_same_params(network: Network, expected: Network) -> None:
    arrays = flatten(network.params)
    for name, array in flatten(expected.params).items():
        np.testing.assert_array_equal(arrays[name], array)


def file_of(path: Path, container: int, content: Mapping[str, object]) -> Path:
    """Write a checkpoint in one of its two containers."""
    path.write_bytes(pf.both(content)[container])
    return path


CHECKPOINTS = {
    "model": {"model": WEIGHTS, "epoch": 3},
    "net": {"net": WEIGHTS, "best_loss": np.float64(0.5)},
    "generator": {"generator": WEIGHTS, "discriminator": {"conv.weight": np.ones(2, np.float32)}},
    "optimizer": {"model_state_dict": WEIGHTS, "optimizer_state_dict": OPTIMIZER, "epoch": 3},
    "namespace": {"args": argparse.Namespace(lr=1), "state_dict": WEIGHTS},
    "list": {"models": b"](" + pf.plain(3) + pf.dictionary({}) + b"e", "weights": WEIGHTS},
    "deep": {"run": {"state": {"model": {"weights": WEIGHTS}}}},
    "values beside the weights": WEIGHTS | {"epoch": 3, "optimizer": OPTIMIZER},
    "torch.compile": prefixed("_orig_mod.", WEIGHTS),
    "DataParallel": prefixed("module.", WEIGHTS),
    "DataParallel twice": {"params": prefixed("module.module.", WEIGHTS)},
    "both wrappers": {"state_dict": prefixed("_orig_mod.module.net.", WEIGHTS)},
}


@pytest.mark.parametrize("container", [0, 1], ids=pf.CONTAINERS)
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints_of_training_code_are_unwrapped(
    case: str, container: int, tmp_path: Path
) -> None:
    network = load_network(file_of(tmp_path / "net.pth", container, CHECKPOINTS[case]))
    assert_same_params(network, NETWORK)
    (note,) = network.notes
    assert "assuming a custom architecture" in note


AVERAGES = {
    "params_ema": {"params": WEIGHTS, "params_ema": EMA},
    "ema first": {"ema": EMA, "model": WEIGHTS},
    "state_dict_ema": {"state_dict": WEIGHTS, "state_dict_ema": EMA, "optimizer": OPTIMIZER},
    "EMA_model": {"a": WEIGHTS, "EMA_model": {"net": EMA}},
    "prefix": {"state_dict": prefixed("net.", WEIGHTS) | prefixed("net_ema.module.", EMA)},
    "prefix beside none": WEIGHTS | prefixed("ema.", EMA),
}


@pytest.mark.parametrize("case", AVERAGES)
def test_the_moving_average_is_preferred_with_a_note(case: str, tmp_path: Path) -> None:
    path = file_of(tmp_path / "net.pth", 0, AVERAGES[case])
    network = load_network(path)
    assert_same_params(network, AVERAGE)
    assert network.notes[0].startswith(f"{path}: took the moving average ")
    assert network.notes[0].endswith("(--key chooses)")


def test_the_note_names_both_keys(tmp_path: Path) -> None:
    path = file_of(tmp_path / "net.pth", 0, AVERAGES["params_ema"])
    note = f"{path}: took the moving average params_ema, not params (--key chooses)"
    assert load_network(path, preset=None).notes[0] == note
    path = file_of(tmp_path / "flat.pth", 0, AVERAGES["prefix beside none"])
    note = f"{path}: took the moving average ema, not '' (--key chooses)"
    assert load_network(path).notes[0] == note


def test_words_that_contain_ema_are_no_average(tmp_path: Path) -> None:
    path = file_of(tmp_path / "net.pth", 0, {"cinema": WEIGHTS, "semantic": EMA})
    with pytest.raises(InputError, match="holds 2 DCE-Nets"):
        load_network(path)


@pytest.mark.parametrize(
    ("case", "key", "expected"),
    [
        ("params_ema", "params", NETWORK),
        ("params_ema", "params_ema", AVERAGE),
        ("EMA_model", "EMA_model/net", AVERAGE),
        ("EMA_model", "EMA_model", AVERAGE),
        ("EMA_model", "a", NETWORK),
        ("prefix", "state_dict/net", NETWORK),
        ("prefix", "state_dict/net_ema", AVERAGE),
        ("prefix", "state_dict", AVERAGE),
        ("prefix beside none", "", NETWORK),
    ],
)
def test_the_key_chooses(case: str, key: str, expected: Network, tmp_path: Path) -> None:
    path = file_of(tmp_path / "net.pth", 0, AVERAGES[case])
    network = load_network(path, key=key)
    assert_same_params(network, expected)
    assert ("moving average" in "".join(network.notes)) == (key == "state_dict")


@pytest.mark.parametrize("container", [0, 1], ids=pf.CONTAINERS)
def test_several_networks_are_an_error_that_lists_their_keys(
    container: int, tmp_path: Path
) -> None:
    content = {"first": WEIGHTS, "run": {"second": prefixed("net.", EMA)}, "epoch": 3}
    path = file_of(tmp_path / "net.pth", container, content)
    with pytest.raises(InputError) as caught:
        load_network(path)
    keys = "first, run/second/net"
    assert str(caught.value) == f"{path}: holds 2 DCE-Nets; choose one with --key: {keys}"
    with pytest.raises(InputError) as caught:
        load_network(path, key="third")
    assert str(caught.value) == f"{path}: no DCE-Net has the key 'third'; --key takes {keys}"
    assert_same_params(load_network(path, key="run"), AVERAGE)


def test_several_averages_are_an_error(tmp_path: Path) -> None:
    path = file_of(tmp_path / "net.pth", 0, {"a_ema": WEIGHTS, "b_ema": EMA})
    with pytest.raises(InputError, match="choose one with --key: a_ema, b_ema"):
        load_network(path)


def test_one_network_in_two_places_is_no_choice(tmp_path: Path) -> None:
    tensors = {
        f"{prefix}{name}": pf.tensor(pf.storage(str(i), array.size), array.shape, strides(array))
        for prefix in ("net.", "model.")
        for i, (name, array) in enumerate(WEIGHTS.items())
    }
    raw = {
        str(i): np.ascontiguousarray(array).tobytes() for i, array in enumerate(WEIGHTS.values())
    }
    path = tmp_path / "net.pth"
    path.write_bytes(pf.zipped(pf.dictionary(tensors), raw))
    assert_same_params(load_network(path), NETWORK)


def strides(array: np.ndarray) -> tuple[int, ...]:
    """Return strides in elements."""
    return tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)


def test_keys_are_printed_in_one_line(tmp_path: Path) -> None:
    content = {f"net\n{i}": {"e_conv1.weight": np.ones(i + 1, np.float32)} for i in range(30)}
    path = file_of(tmp_path / "net.pth", 0, content)
    with pytest.raises(InputError) as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: holds 30 DCE-Nets; choose one with --key: net\\n0, net\\n1")
    assert message.endswith(" and 22 more")
    assert len(message.splitlines()) == 1


def test_tensors_beside_the_network_are_ignored_with_a_note(tmp_path: Path) -> None:
    loss = {"loss.vgg.weight": np.ones(2, np.float32), "loss.bias": np.ones(2, np.float32)}
    content = {"state_dict": prefixed("net.", WEIGHTS) | loss, "optimizer": OPTIMIZER}
    path = file_of(tmp_path / "net.pth", 0, content)
    network = load_network(path)
    assert_same_params(network, NETWORK)
    assert network.notes[0] == (
        f"{path}: ignored tensors beside the DCE-Net:"
        " state_dict/loss.vgg.weight, state_dict/loss.bias"
    )


def test_further_layers_of_the_network_are_not_ignored(tmp_path: Path) -> None:
    attention = {"attention.weight": np.ones((1, 2, 3, 4), np.float32)}
    content = {"model": prefixed("module.", WEIGHTS | attention)}
    path = file_of(tmp_path / "net.pth", 0, content)
    with pytest.raises(InputError, match=r"attention\.weight: unexpected, shape \(3, 4, 2, 1\)"):
        load_network(path)


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path) -> None:
    content = {"model": {f"layer{i}.weight": np.ones(2, np.float32) for i in range(9)}}
    path = file_of(tmp_path / "net.pth", 0, content)
    names = ", ".join(f"model/layer{i}.weight" for i in range(5))
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert str(caught.value) == (
        f"{path}: not a DCE-Net: no tensors e_conv1 to e_conv7 among {names}"
    )


def test_safetensors_of_training_code_are_unwrapped(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    tensors = prefixed("_orig_mod.", WEIGHTS) | prefixed("ema.", EMA)
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    safetensors.numpy.save_file(contiguous, path)
    network = load_network(path)
    assert_same_params(network, AVERAGE)
    assert network.notes[0] == (
        f"{path}: took the moving average ema, not _orig_mod (--key chooses)"
    )
    assert_same_params(load_network(path, key="_orig_mod"), NETWORK)
    with pytest.raises(InputError, match=f"^{path}: no DCE-Net has the key 'net'"):
        load_network(path, key="net")


NAMES = [f"e_conv{i}.{part}" for i in range(1, 8) for part in ("weight", "bias")]
_parts = st.sampled_from(["module", "net", "model", "state_dict", "0", "_orig_mod", "é\n", ""])
_places = st.lists(st.tuples(_parts, st.sampled_from("./")), max_size=5).map(
    lambda parts: "".join(f"{part}{end}" for part, end in parts)
)


@given(place=_places, others=st.lists(st.tuples(_places, _parts)))
def test_a_network_is_found_in_every_place(place: str, others: list[tuple[str, str]]) -> None:
    tensors = {f"{where}{name}": f"other {i}" for i, (where, name) in enumerate(others)}
    # What continues the place of the network belongs to it.
    tensors = {
        name: value
        for name, value in tensors.items()
        if not name.startswith(place) or "/" in name.removeprefix(place)
    }
    tensors |= {f"{place}{name}": name for name in NAMES}
    found, notes = find_state_dict(tensors)
    assert found == {name: name for name in NAMES}
    assert len("".join(notes).splitlines()) <= 1
    again, _ = find_state_dict(tensors, place.rstrip("./"))
    assert again == found


@given(
    tensors=st.dictionaries(
        st.text("e_conv17./aweight", max_size=30)
        | st.tuples(_places, st.sampled_from(NAMES)).map("".join),
        st.integers(0, 3),
    ),
    key=st.none() | _places,
)
def test_any_names_give_one_network_or_one_line(tensors: dict[str, int], key: str | None) -> None:
    try:
        found, notes = find_state_dict(tensors, key)
    except InputError as error:
        lines = str(error).splitlines()
    else:
        lines = notes
        assert any(name.startswith("e_conv") for name in found)
        assert set(found.values()) <= set(tensors.values())
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert len(lines) <= 2


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.parametrize("new_container", [True, False], ids=pf.CONTAINERS)
def test_checkpoints_that_pytorch_writes(
    new_container: bool, goldens: Path, tmp_path: Path
) -> None:
    import torch

    arrays = pf.read(goldens / "reduced_random.pth")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    averages = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    parameter = torch.nn.Parameter(tensors["e_conv1.bias"].clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    checkpoint = {
        "params": {f"module.{name}": tensor for name, tensor in tensors.items()},
        "params_ema": averages,
        "optimizer": optimizer.state_dict(),
        "whole optimizer": optimizer,
        "random": (torch.get_rng_state(), np.random.default_rng(0)),
        "args": argparse.Namespace(device=torch.device("cpu"), dtype=torch.float32),
        "loss": np.float32(0.5),
    }
    path = tmp_path / "net.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new_container)
    exact = flatten(load_network(path, key="params").params)
    rounded = load_network(path, preset="reduced")
    assert rounded.config == preset("reduced")
    for name, array in flatten(load_network(goldens / "reduced_random.pth").params).items():
        np.testing.assert_array_equal(exact[name], array)
        np.testing.assert_allclose(flatten(rounded.params)[name], array, rtol=2**-8)
    torch.save(torch.nn.Conv2d(3, 3, 3), path, _use_new_zipfile_serialization=new_container)
    with pytest.raises(InputError, match=r"holds torch\.nn\.modules\.conv\.Conv2d, whose code"):
        load_network(path)
