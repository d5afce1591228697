"""Tests of enhancer.py: loading, the shipped networks on the examples, the choice of an engine."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.enhancers import brightening_network, dark_image, network_of
from zerodce_jax import Enhancer, InputError, UsageError
from zerodce_jax import enhancer as enhancer_module
from zerodce_jax.enhancer import choose_engine
from zerodce_jax.models.serialization import shipped_networks


def test_load_passes_its_arguments_to_the_enhancer(goldens: Path) -> None:
    path = goldens / "reduced_random.pth"
    enhancer = Enhancer.load(path, preset="reduced", tile=16)
    assert enhancer.network.config.preset == "reduced"
    assert enhancer._engine.tile == 16
    with pytest.raises(InputError, match="do not fit original"):
        Enhancer.load(path, preset="original")


PARAMETERS = {"reduced": 23_592, "scene": 47_034}


@pytest.mark.parametrize("name", shipped_networks())
def test_shipped_networks_brighten_the_examples(name: str, root: Path) -> None:
    enhancer = Enhancer.load(name)
    assert enhancer.network.parameter_count == PARAMETERS[name]
    for path in sorted((root / "examples").glob("*.jpg")):
        with Image.open(path) as image:
            # Smaller images take less time.
            dark = image.reduce(4)
        bright = enhancer(dark)
        assert bright.mode == dark.mode
        assert np.asarray(bright).mean() > 1.8 * np.asarray(dark).mean(), path.name


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_networks())
@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_shipped_networks_bring_the_examples_to_an_exposure_level(
    name: str, engine: str, root: Path
) -> None:
    enhancer = Enhancer.load(name, engine=engine, tile=64)
    assert (enhancer.network.settings.exposure, enhancer.network.settings.gamma) == ("auto", 1)
    for path in sorted((root / "examples").glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.reduce(2))
        assert pixels.mean() / 255 < 0.3
        bright = enhancer(pixels, exposure=0.4)
        assert bright.mean() / 255 == pytest.approx(0.4, abs=0.015), path.name


def test_scene_networks_leave_no_white_border_at_a_dark_branch() -> None:
    # A grid knows places and brightness, so the branch gets a curve of its own.
    image = np.full((160, 160, 3), 150, np.uint8)
    image[:, 78:84] = 25
    result = Enhancer(brightening_network("scene"))(image).astype(int)
    branch, beside, far = (result[80, x].mean() for x in (81, 87, 20))
    assert branch < beside - 20
    assert abs(beside - far) < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reduced", "scene"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_engines_agree_to_one_level(name: str, dtype: str, root: Path, scene_file: Path) -> None:
    with Image.open(root / "examples" / "coffee_night.jpg") as image:
        pixels = np.asarray(image.reduce(3)).astype(dtype) * (257 if dtype == "uint16" else 1)
    source = scene_file if name == "scene" else name
    xla, onnx = (Enhancer.load(source, engine=engine)(pixels) for engine in ("xla", "onnx"))
    difference = np.abs(xla.astype(int) - onnx.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_onnx_engine_refuses_batches_bfloat16_and_empty_tiles() -> None:
    for options in ({"batch": 2}, {"dtype": "bfloat16"}):
        with pytest.raises(UsageError, match="neither batches nor bfloat16"):
            Enhancer(network_of("reduced"), engine="onnx", **options)
    with pytest.raises(UsageError, match="tile must be"):
        Enhancer(network_of("reduced"), engine="onnx", tile=0)


def test_engine_depends_on_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("auto") == "onnx"
    packages = {"onnxruntime": None, "jax_plugins": None, "libtpu": None}
    monkeypatch.setattr(enhancer_module, "find_spec", lambda name: packages.get(name, "installed"))
    assert choose_engine("auto") == "xla"
    with pytest.raises(UsageError, match="needs the packages onnx and onnxruntime"):
        choose_engine("onnx")
    packages |= {"onnxruntime": "installed", "jax_plugins": "installed"}
    assert choose_engine("auto") == "xla"
    assert choose_engine("onnx") == "onnx"


@pytest.mark.parametrize("engine", [pytest.param("xla", marks=pytest.mark.slow), "onnx"])
def test_automatic_exposure_of_a_scene_network_is_its_own_choice(engine: str) -> None:
    enhancer = Enhancer(brightening_network("scene"), engine=engine, tile=64)
    image = dark_image(90, 70, 3) / 2
    automatic = enhancer(image)
    np.testing.assert_array_equal(enhancer(image, exposure="off", strength=1), automatic)
    assert abs(automatic.mean() - 0.4) > 0.03
    for level in (0.25, 0.35):
        assert enhancer(image, exposure=level).mean() == pytest.approx(level, abs=0.015)
