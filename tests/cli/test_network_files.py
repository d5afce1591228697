"""Commands with the files of networks that training code writes, and with broken ones."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from helpers import pth_files
from helpers.command import enhance, run
from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.models.serialization import load_network, save_network


def test_convert_takes_the_moving_average_with_a_note_or_the_key(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = pth_files.read(goldens / "reduced_random.pth")
    average = {name: array / 2 for name, array in weights.items()}
    source, target = tmp_path / "checkpoint.pth", tmp_path / "net.safetensors"
    source.write_bytes(pth_files.both({"params": weights, "params_ema": average})[0])
    options = ("--preset", "reduced", "--layout", "torch", "--overwrite")
    assert run("convert", source, target, *options) == 0
    assert capsys.readouterr().err == (
        f"zerodce: note: {source}: took the moving average params_ema, not params (--key chooses)\n"
    )
    np.testing.assert_equal(safetensors.numpy.load_file(target), average)
    assert run("convert", source, target, *options, "--key", "params") == 0
    assert capsys.readouterr().err == ""
    np.testing.assert_equal(safetensors.numpy.load_file(target), weights)
    assert run("convert", source, target, *options, "--key", "net") == 1
    assert capsys.readouterr().err == (
        f"zerodce: {source}: no DCE-Net has the key 'net'; --key takes params, params_ema\n"
    )
    assert run("convert", "scene", target, *options, "--key", "net") == 2
    assert "not a PyTorch checkpoint, so omit the key" in capsys.readouterr().err


def test_convert_refuses_weights_that_are_no_numbers(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = pth_files.read(goldens / "reduced_random.pth")
    weights["e_conv3.bias"][2] = np.nan
    source, target = tmp_path / "checkpoint.pth", tmp_path / "net.safetensors"
    source.write_bytes(pth_files.both({"model": weights})[0])
    assert run("convert", source, target) == 1
    assert capsys.readouterr().err == f"zerodce: {source}: NaN or infinity in e_conv3.bias\n"
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.usefixtures("no_compilation_cache")
def test_enhance_takes_the_network_of_the_key(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = NetworkConfig(features=2, iterations=2)
    weights, average = (random_network(config, seed=seed) for seed in (0, 1))
    source = tmp_path / "checkpoint.pth"
    content = {"params": to_torch(weights), "params_ema": to_torch(average), "epoch": 3}
    source.write_bytes(pth_files.both(content)[1])
    results = {}
    for name, options in (("average", ()), ("weights", ("--key", "params"))):
        result = tmp_path / f"{name}.png"
        assert enhance(pictures / "a.png", "-o", result, "-m", source, *options) == 0
        assert ("moving average params_ema" in capsys.readouterr().err) == (not options)
        results[name] = result.read_bytes()
        save_network(load_network(source, key="params" if options else None), tmp_path / name)
        same = tmp_path / f"{name}_folder.png"
        assert enhance(pictures / "a.png", "-o", same, "-m", tmp_path / name) == 0
        assert same.read_bytes() == results[name]
        capsys.readouterr()
    assert results["average"] != results["weights"]


def test_enhance_refuses_weights_that_are_no_numbers(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = to_torch(random_network(NetworkConfig(features=2)))
    weights["e_conv5.weight"][0, 0, 0, 0] = -np.inf
    source, out = tmp_path / "checkpoint.pth", tmp_path / "out"
    source.write_bytes(pth_files.both(weights)[0])
    assert enhance(pictures, "-o", out, "-m", source) == 1
    assert capsys.readouterr().err == f"zerodce: {source}: NaN or infinity in e_conv5.weight\n"
    assert not out.exists()
