"""onnx_array.py: functions of `ops` as ONNX nodes give what they give with NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zerodce_jax.config import Steps
from zerodce_jax.ops import curves, denoise, enhancement, grid, guided_filter, highlights, pixels
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.kernels import overridable

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from zerodce_jax.engines.onnx_array import Graph, Value

RNG = np.random.default_rng(0)
IMAGE = RNG.random((1, 19, 23, 3), dtype=np.float32)
MAPS = RNG.uniform(-1, 0.5, (1, 19, 23, 24)).astype(np.float32)
LEVELS = RNG.uniform(-1, 1, (1, 19, 23, 6)).astype(np.float32)
GAIN = RNG.uniform(0, 9, IMAGE.shape).astype(np.float32)


def computed_by_onnx(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Run a function of arrays as an ONNX graph of one tile."""
    graph = Graph()
    names = [f"array{i}" for i in range(len(arrays))]
    values = [
        graph.tile(name, array.dtype.name, array.shape[-1])
        for name, array in zip(names, arrays, strict=True)
    ]
    for value in values:
        value.shape = (1, "height", "width", value.shape[-1])
    graph.output_tile("result", function(*values))
    session = onnxruntime.InferenceSession(
        graph.model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs = {name: array[0] for name, array in zip(names, arrays, strict=True)}
    return session.run(None, inputs)[0]


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "scale_maps": (lambda maps: curves.scale_maps(maps, 1.7), (MAPS,)),
    "curves": (
        lambda x, a: curves.apply_curves_with_gain(x, a, iterations=8, with_gain=False)[0],
        (IMAGE, MAPS),
    ),
    "shared curve": (
        lambda x, a: curves.apply_curves_with_gain(x, a, iterations=5, with_gain=False)[0],
        (IMAGE, MAPS[..., :3]),
    ),
    "gain": (
        lambda x, a: curves.apply_curves_with_gain(x, a, iterations=8, with_gain=True)[1],
        (IMAGE, MAPS),
    ),
    "window means": (guided_filter.window_means, (IMAGE,)),
    "guided filter": (lambda x: guided_filter.smooth(x, 0.01), (IMAGE,)),
    "guided filter of nothing": (lambda x: guided_filter.smooth(x, 0.0), (IMAGE,)),
    "local brightness": (highlights.local_brightness, (IMAGE,)),
    "curve strength": (
        lambda x: highlights.max_curve_strength(x, 0.8, iterations=8),
        (IMAGE[..., :1],),
    ),
    "denoise": (lambda x, gain: denoise.denoise(x, gain, 0.6), (IMAGE, GAIN)),
    "levels": (lambda maps, x: grid.interpolate_levels(maps, x, 2), (LEVELS, IMAGE)),
    "level contrast": (lambda maps: grid.shrink_level_contrast(maps, 2), (LEVELS,)),
    "mixed channels": (
        lambda x: pixels.mix_channels(x, denoise.TO_BRIGHTNESS_AND_COLOR),
        (IMAGE,),
    ),
    "channel mean": (pixels.channel_mean, (IMAGE,)),
    "to 8 bits": (lambda x: pixels.from_float(x, "uint8"), (IMAGE,)),
    "from 16 bits": (pixels.to_float, ((IMAGE * 65535).astype(np.uint16),)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nodes_compute_what_numpy_computes(name: str) -> None:
    function, arrays = FUNCTIONS[name]
    (expected,) = function(*arrays)
    result = computed_by_onnx(function, *arrays)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("steps", [Steps(), Steps(True, False), Steps(True, True)], ids=str)
def test_a_whole_enhancement_is_one_function(steps: Steps) -> None:
    def enhance(image: Any, maps: Any) -> Any:
        number = (lambda x: x) if isinstance(image, Value) else (lambda x: np.full(1, x))
        adjustments = Adjustments(None, number(1.5), number(0.8), number(0.6))
        return enhancement.enhance(image, maps, adjustments, 1.0, steps=steps, iterations=8)

    (expected,) = enhance(IMAGE, MAPS)
    np.testing.assert_allclose(computed_by_onnx(enhance, IMAGE, MAPS), expected, rtol=0, atol=2e-5)


def test_too_few_maps_are_refused_as_with_arrays() -> None:
    with pytest.raises(ValueError, match="6 curve maps are too few for 8 iterations"):
        computed_by_onnx(
            lambda x, a: curves.apply_curves_with_gain(x, a, iterations=8, with_gain=False)[0],
            IMAGE,
            LEVELS,
        )


def test_free_sizes_are_those_of_each_input() -> None:
    graph = Graph()
    graph.output_tile("result", guided_filter.smooth(graph.tile("image", "float32"), 0.01))
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    for height, width in ((1, 1), (3, 40), (19, 23)):
        image = RNG.random((1, height, width, 3), dtype=np.float32)
        (expected,) = guided_filter.smooth(image, 0.01)
        (result,) = session.run(None, {"image": image[0]})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_a_class_may_bring_its_own_form_of_a_function() -> None:
    @overridable
    def double(x: Any) -> Any:
        return 2 * x

    class Doubled(int):
        __kernels__ = {double: lambda x: "its own"}  # noqa: RUF012

    assert double(4) == 8
    assert double(Doubled(4)) == "its own"
