"""Tests of export: exported networks equal the reference at any size and describe themselves."""

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jax import export as jax_export
from PIL import Image

onnx = pytest.importorskip("onnx")

from helpers import GOLDENS, whole_image
from helpers.command import run
from zerodce_jax import Enhancer, EnhanceSettings, export
from zerodce_jax.config import SceneConfig, preset
from zerodce_jax.engines.onnx_array import OPSET
from zerodce_jax.errors import InputError, install_command
from zerodce_jax.models import serialization
from zerodce_jax.models.network import Network
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH

SUFFIXES = (".onnx", ".stablehlo")
LITERT = pytest.mark.skipif(
    find_spec("litert_converter") is None or find_spec("ai_edge_litert") is None,
    reason="pip install --no-deps litert-converter ai-edge-litert",
)
ALL_STEPS = EnhanceSettings(gamma=1.0, protect_highlights=1.0, denoise=0.7)
NO_STEPS = EnhanceSettings()
# Network, scale.
NETWORKS = [("reduced", 1), ("scene", 1), ("original", 1), ("plusplus", 12)]


def network_of(name: str, scale: int, settings: EnhanceSettings = ALL_STEPS) -> Network:
    config = SceneConfig() if name == "scene" else replace(preset(name), scale=scale)
    network = whole_image.random_network(config, weight_scale=0.7)
    return Network(network.config, network.params, settings)


@cache
def exported(name: str, scale: int, suffix: str, settings: EnhanceSettings) -> Callable:
    """Export a network and return the function that the exported file computes."""
    network = network_of(name, scale, settings)
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(
            export.to_onnx(network, {}), providers=["CPUExecutionProvider"]
        )
        names = export.input_names(network)
        return lambda *values: session.run(None, dict(zip(names, values, strict=True)))[0]
    return jax_export.deserialize(bytearray(export.to_stablehlo(network, {}))).call


def noisy_gradient(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gradient = np.add.outer(np.linspace(0, 0.3, shape[0]), np.linspace(0, 0.6, shape[1]))
    noisy = gradient[:, :, None] + rng.normal(0, 0.03, (*shape, 3))
    return noisy.clip(0, 1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("settings", [ALL_STEPS, NO_STEPS], ids=["all-steps", "no-steps"])
@hypothesis_settings(max_examples=4)
@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    strengths=st.tuples(st.floats(0, 4), st.floats(0, 4)),
    gamma=st.sampled_from([1.0, 1.15, 0.8]),
)
def test_exports_equal_the_reference(
    name: str,
    scale: int,
    suffix: str,
    settings: EnhanceSettings,
    size: tuple[int, int],
    strengths: tuple[float, float],
    gamma: float,
) -> None:
    if suffix == ".stablehlo" and name == "plusplus":
        # StableHLO cannot express this network; another test asserts the error.
        return
    images = np.stack([noisy_gradient(*size, seed=seed) for seed in range(2)])
    images[0] /= 2
    presence = [
        whole_image.highlight_presence(whole_image.sample_pixels(image)) for image in images
    ]
    values = [images, np.array(strengths, np.float32)]
    if settings.protect_highlights and name != "scene":
        values.append(np.array(presence, np.float32))
    result = exported(name, scale, suffix, settings)(*values, np.array(gamma, np.float32))
    assert result.shape == images.shape
    for i, image in enumerate(images):
        expected = whole_image.enhance(
            network_of(name, scale, settings),
            image.astype(np.float64),
            strength=strengths[i],
            gamma=gamma,
            protect_highlights=settings.protect_highlights,
            denoise=settings.denoise,
            rounding=1 / 255,
        )
        np.testing.assert_allclose(result[i], expected, rtol=0, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exported_file_contains_shapes_and_metadata(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"net{suffix}"
    network = network_of("reduced", 1)
    metadata = export.metadata(network, source="net.pth", license="CC0")
    rows = export.save(network, file, metadata)
    assert [name for name, _ in rows] == [
        "random 1x37x45x3",
        "random 2x64x48x3",
        "random 3x1x20x3",
        "picture 1x133x200x3",
        "picture 2x133x200x3",
    ]
    assert max(difference for _, difference in rows) < 1e-4
    if suffix == ".onnx":
        model = onnx.load(file)
        found = {entry.key: entry.value for entry in model.metadata_props}
        assert [entry.version for entry in model.opset_import] == [OPSET]
        shapes = {
            entry.name: [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
            for entry in (*model.graph.input, *model.graph.output)
        }
        assert shapes["image"] == shapes["enhanced"] == ["batch", "height", "width", 3]
        assert (shapes["strength"], shapes["protection"], shapes["gamma"]) == (
            ["batch"],
            ["batch"],
            [],
        )
    else:
        program = jax_export.deserialize(bytearray(file.read_bytes()))
        found = json.loads(program.fun_name)
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert str(program.in_avals[0].shape) == "(batch, height, width, 3)"
    assert found == metadata
    assert (found["network"], found["license"], found["source"]) == ("reduced", "CC0", "net.pth")
    assert EnhanceSettings.from_dict(json.loads(found["settings"])) == ALL_STEPS
    assert found["inputs"] == "image, strength, protection, gamma"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [*SUFFIXES, pytest.param(".tflite", marks=LITERT)])
def test_scene_networks_are_exported_from_pixels_to_pixels(
    suffix: str, scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"net{suffix}"
    size = (90, 61)
    options = ("--size", *size) if suffix == ".tflite" else ()
    assert run("export", file, "-m", scene_file, *options) == 0
    assert "inputs image, strength, gamma" in capsys.readouterr().out
    image = noisy_gradient(*size)
    one, gamma = np.ones(1, np.float32), np.array(1, np.float32)
    result = export.run(file)(image[None], one, gamma)
    network = serialization.load_network(scene_file)
    assert network.settings.exposure == "auto"
    # Exports take images to have 8 bits.
    expected = whole_image.enhance(
        network,
        image.astype(np.float64),
        protect_highlights=network.settings.protect_highlights,
        denoise=MIN_AUTO_STRENGTH,
        rounding=1 / 255,
    )
    np.testing.assert_allclose(result[0], expected, rtol=0, atol=2e-4)
    assert expected.mean() > 1.1 * image.mean()


@pytest.mark.slow
def test_an_export_that_differs_from_jax_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to_onnx = export.to_onnx
    wrong = network_of("reduced", 1, replace(ALL_STEPS, denoise=0.1))
    monkeypatch.setattr(export, "to_onnx", lambda network, metadata: to_onnx(wrong, metadata))
    file = tmp_path / "net.onnx"
    assert run("export", file, "-m", "reduced") == 1
    assert "differs from the JAX function by" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_exports_with_nan_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nan_if_strong(image: np.ndarray, strength: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        enhanced = np.asarray(expected(image, strength, *rest))
        return np.where(strength.max() > 1, np.nan, enhanced)

    network = network_of("reduced", 1)
    expected = jax.jit(export.jax_function(network))
    monkeypatch.setattr(export, "run", lambda _: nan_if_strong)
    with pytest.raises(InputError, match="differs from the JAX function by nan"):
        export.save(network, tmp_path / "net.onnx", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_export_command_writes_a_checked_file_and_refuses_to_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    assert run("export", file, "-m", "reduced") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}: reduced, ONNX, opset 17, inputs image, strength, protection, gamma"
    assert len(lines) == 6
    for line in lines[1:]:
        found = re.fullmatch(r"largest difference from the JAX function, \w+ [\dx]+: (.+)", line)
        assert found
        assert float(found[1]) < 1e-4
    before = file.read_bytes()
    assert b"photographs under free licenses" in before
    assert run("export", file, "-m", "reduced") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert file.read_bytes() == before
    options = ("--overwrite", "--license", "CC0", "--denoise", 0, "--protect-highlights", 0)
    assert run("export", file, "-m", GOLDENS / "reduced_random.pth", *options) == 0
    assert "inputs image, strength, gamma" in capsys.readouterr().out
    assert {entry.value for entry in onnx.load(file).metadata_props} >= {"CC0", "reduced"}


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("net.pb", (), 2, "exported as .onnx, .stablehlo or .tflite"),
        ("net", (), 2, "exported as .onnx, .stablehlo or .tflite"),
        ("net.tflite", (), 2, "--size HEIGHT WIDTH is required for .tflite, and only for it"),
        (
            "net.onnx",
            ("--size", 8, 8),
            2,
            "--size HEIGHT WIDTH is required for .tflite, and only for it",
        ),
        ("net.tflite", ("--size", 0, 8), 2, "--size must be at least 1, not 0"),
        ("net.onnx", ("-m", "nothing"), 1, "nothing: no such file, and no shipped network"),
        ("net.onnx", ("--denoise", 2), 2, "auto or a number (at least 0, at most 1), not 2"),
        ("none/net.onnx", (), 1, "none"),
    ],
)
def test_unusable_arguments_give_a_message_of_one_line(
    name: str,
    options: tuple,
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("export", tmp_path / name, *options) == status
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stablehlo_refuses_a_network_that_it_cannot_express(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plusplus.safetensors"
    serialization.save_network(network_of("plusplus", 12), file)
    assert run("export", tmp_path / "net.stablehlo", "-m", file) == 2
    assert ".onnx can" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_message_names_the_missing_extra(
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run("export", tmp_path / f"net{suffix}") == 2
    assert install_command("train") in capsys.readouterr().err


def test_message_names_the_missing_packages_for_litert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "litert" in name else found(name)
    )
    assert run("export", tmp_path / "net.tflite", "--size", 8, 8) == 2
    message = "pip install --no-deps litert-converter ai-edge-litert"
    assert message in capsys.readouterr().err


@pytest.mark.slow
@LITERT
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("settings", [ALL_STEPS, NO_STEPS], ids=["all-steps", "no-steps"])
def test_litert_equals_the_reference(
    name: str, scale: int, settings: EnhanceSettings, tmp_path: Path
) -> None:
    network = network_of(name, scale, settings)
    file = tmp_path / "net.tflite"
    metadata = export.metadata(network, source="net.pth", license="CC0")
    rows = export.save(network, file, metadata, size=(37, 50))
    assert [name for name, _ in rows] == ["random 1x37x50x3", "picture 1x37x50x3"]
    image = noisy_gradient(37, 50)
    presence = whole_image.highlight_presence(image)
    values = {"image": image[None], "strength": np.array([1.7], np.float32)}
    if settings.protect_highlights and name != "scene":
        values["protection"] = np.array([presence], np.float32)
    result = export.run(file)(*values.values(), np.array(1.15, np.float32))
    expected = whole_image.enhance(
        network,
        image.astype(np.float64),
        strength=1.7,
        gamma=1.15,
        protect_highlights=settings.protect_highlights,
        denoise=settings.denoise,
        rounding=1 / 255,
    )
    np.testing.assert_allclose(result[0], expected, rtol=0, atol=2e-4)
    assert json.dumps(metadata).encode() in file.read_bytes()


@pytest.mark.slow
@LITERT
def test_code_of_the_litert_page_works(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", "scene.tflite", "--size", 480, 640) == 0
    image = Image.open(root / "examples" / "coffee.jpg").convert("RGB")
    image.save("dark.png")
    (code,) = code_of(root / "docs" / "export" / "litert.md")
    exec(code.replace("dark.jpg", "dark.png"), {})
    with Image.open("bright.png") as enhanced:
        result = np.asarray(enhanced).astype(float)
    dark = np.asarray(image.resize((640, 480)))
    expected = Enhancer.load()(dark).astype(float)
    assert result.shape == (480, 640, 3)
    assert result.mean() > 1.3 * dark.mean()
    assert np.abs(result - expected).mean() < 4


def code_of(page: Path) -> list[str]:
    """Return the blocks of Python code of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scene", "reduced"])
def test_code_of_the_onnx_runtime_page_works(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", f"{name}.onnx", "-m", name) == 0
    blocks = code_of(root / "docs" / "export" / "onnx_runtime.md")
    (code,) = (block for block in blocks if f'"{name}.onnx"' in block)
    for example in ("coffee.jpg", "astronaut.jpg"):
        image = Image.open(root / "examples" / example).convert("RGB")
        image.save("dark.png")
        exec(code.replace("dark.jpg", "dark.png"), {})
        with Image.open("bright.png") as enhanced:
            result = np.asarray(enhanced).astype(float)
        expected = Enhancer.load(name)(np.asarray(image)).astype(float)
        assert np.abs(result - expected).mean() < 4
        assert abs(result.mean() - expected.mean()) < 4
        assert result.mean() > 1.3 * np.asarray(image).mean()


@pytest.mark.slow
def test_code_of_the_stablehlo_page_works(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", "scene.stablehlo") == 0
    names: dict = {}
    (code,) = code_of(root / "docs" / "export" / "stablehlo.md")
    exec(code, names)
    page = SimpleNamespace(**names)
    enhancer = Enhancer.load()
    for image, strength, result in zip(page.images, page.strength, page.result, strict=True):
        expected = enhancer(np.asarray(image), strength=float(strength), denoise=MIN_AUTO_STRENGTH)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)
    assert page.result[1].mean() > page.result[0].mean() > 0.05
