"""Tests of onnx_runtime.py and onnx_graph.py: goldens, crops, optional steps, no need of JAX."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from helpers import GOLDENS, scene_image, whole_image
from zerodce_jax.config import EnhanceSettings, NetworkConfig, SceneConfig, Steps
from zerodce_jax.engines import onnx_graph
from zerodce_jax.engines.base import Batch
from zerodce_jax.engines.onnx_runtime import OnnxEngine
from zerodce_jax.models import serialization
from zerodce_jax.ops.enhancement import Adjustments, reach

EVERY_STEP = [Steps(protect, denoise) for protect in (False, True) for denoise in (False, True)]


def run(model: onnx.ModelProto, **inputs: object) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def scalar_inputs(gamma: float = 1.0, strength: float = 1.0) -> dict[str, np.ndarray]:
    return {
        "gamma": np.array(gamma, np.float32),
        "strength": np.array(strength, np.float32),
        "gray": np.array(False),
        "highlight_protection": np.array(0, np.float32),
        "denoise": np.array(0, np.float32),
        "rounding": np.array(0.01, np.float32),
        "black": np.array(0.7, np.float32),
    }


@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
@pytest.mark.parametrize("shape", ["odd", "even"])
def test_models_equal_the_pytorch_originals(name: str, shape: str) -> None:
    golden = np.load(GOLDENS / f"{name}_forward.npz")
    network = serialization.load_network(GOLDENS / f"{name}_random.pth")
    for image, enhanced, curves in zip(
        *(golden[f"{shape}_{part}"] for part in ("input", "enhanced", "curves")), strict=True
    ):
        crop = np.array([0, 0, *image.shape[:2]], np.int64)
        model = onnx_graph.enhance(network, "float32")
        result = run(model, pixels=image, crop=crop, **scalar_inputs())
        np.testing.assert_allclose(result, enhanced, rtol=0, atol=2e-5)
        maps = run(onnx_graph.estimate(network), pixels=image, crop=crop)
        np.testing.assert_allclose(maps, curves, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "config", [SceneConfig(), SceneConfig(features=20, blocks=0, levels=3)], ids=["default", "odd"]
)
def test_grids_equal_the_reference(config: SceneConfig) -> None:
    network = whole_image.random_network(config)
    thumbnail = np.random.default_rng(0).random((128, 128, 3), dtype=np.float32) ** 3
    grid = OnnxEngine(network).predict_grid(thumbnail)
    assert grid.shape == (16, 16, config.outputs)
    expected = scene_image.scene_grid(network, thumbnail.astype(np.float64))
    np.testing.assert_allclose(grid, expected, rtol=0, atol=1e-5)


def test_a_crop_equals_that_part_of_the_whole_image() -> None:
    network = serialization.load_network(GOLDENS / "reduced_random.pth")
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    model = onnx_graph.enhance(network, "uint8")
    whole = run(model, pixels=image, crop=np.array([0, 0, 30, 41]), **scalar_inputs(1.15))
    part = run(model, pixels=image, crop=np.array([3, 5, 20, 40]), **scalar_inputs(1.15))
    np.testing.assert_array_equal(part, whole[3:20, 5:40])


def test_models_have_the_opset_and_pass_the_checker() -> None:
    configs = NetworkConfig.reduced(), SceneConfig()
    reduced, scene = map(whole_image.random_network, configs)
    models = [onnx_graph.estimate(reduced), onnx_graph.predict_grid(scene)]
    for dtype in ("uint8", "uint16", "float32"):
        for steps in EVERY_STEP:
            models.append(onnx_graph.enhance(reduced, dtype, steps))
            models.append(onnx_graph.apply(scene, dtype, steps))
    for model in models:
        onnx.checker.check_model(model, full_check=True)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


@pytest.mark.parametrize("steps", EVERY_STEP, ids=str)
def test_models_have_every_adjustment_as_input_and_a_box_with_filters(steps: Steps) -> None:
    network = serialization.load_network(GOLDENS / "reduced_random.pth")
    names = {entry.name for entry in onnx_graph.enhance(network, "uint8", steps).graph.input}
    box = {"inner"} if reach(steps, 1) else set()
    assert names == {"pixels", "crop", "gamma", *Adjustments._fields} | box


def test_every_combination_of_steps_equals_the_reference() -> None:
    network = serialization.load_network(GOLDENS / "reduced_random.pth")
    image = np.random.default_rng(0).random((30, 41, 3), dtype=np.float32)
    whole = {"crop": np.array([0, 0, 30, 41]), **scalar_inputs(1.15, 1.5)}
    all_options = {
        "highlight_protection": np.array(0.8 * whole_image.highlight_presence(image), np.float32),
        "denoise": np.array(0.9, np.float32),
        "inner": np.array([0, 0, 30, 41]),
    }
    for steps in EVERY_STEP:
        model = onnx_graph.enhance(network, "float32", steps)
        names = {entry.name for entry in model.graph.input}
        options = {name: value for name, value in all_options.items() if name in names}
        expected = whole_image.enhance(
            network,
            image,
            gamma=1.15,
            strength=1.5,
            protect_highlights=0.8 * steps.protect_highlights,
            denoise=0.9 * steps.denoise,
            rounding=0.01,
        )
        result = run(model, pixels=image, **(whole | options))
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-5)
        if reach(steps, 1):
            # With enough surroundings, the inner part of a crop equals that of the whole image.
            part_inputs = {"crop": np.array([1, 2, 28, 41]), "inner": np.array([12, 12, 15, 39])}
            part = run(model, pixels=image, **(whole | options | part_inputs))
            np.testing.assert_allclose(part, result[13:16, 14:41], rtol=0, atol=1e-5)


def test_tiles_are_rounded_up_to_whole_blocks_of_the_denoiser() -> None:
    network = whole_image.random_network(NetworkConfig.reduced())
    assert OnnxEngine(network, tile=20).tile == 20
    assert OnnxEngine(network, tile=21).tile == 22


def test_pixels_of_a_tile_outside_the_image_are_0() -> None:
    engine = OnnxEngine(serialization.load_network(GOLDENS / "reduced_random.pth"), tile=16)
    window = np.full((1, 32, 32, 3), 40, np.uint8)
    valid = np.array([[8, 20, 8, 32]], np.int32)
    ones = np.ones(1, np.float32)
    adjustments = Adjustments(np.zeros(1, bool), ones, *(0 * ones for _ in range(4)))
    (tile,) = engine.enhance(Batch(window, valid, adjustments), EnhanceSettings())
    assert tile.shape == (16, 16, 3)
    assert (tile[:12] > 0).all()
    assert (tile[12:] == 0).all()


@pytest.mark.slow
def test_the_enhance_command_does_not_import_jax(
    root: Path, scene_file: Path, tmp_path: Path, python: Callable
) -> None:
    result = python(
        "-c",
        "import sys\nfrom zerodce_jax.cli import main\nstatus = main(sys.argv[1:])\n"
        "print(status, sorted({'jax', 'flax', 'orbax', 'grain'} & set(sys.modules)))",
        *("enhance", root / "examples", "-o", tmp_path, "--engine", "onnx", "-m", scene_file),
    )
    assert result.stdout.splitlines()[-1] == "0 []", result.stderr
    assert len(list(tmp_path.iterdir())) == 6
