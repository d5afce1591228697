"""Tests of onnx_array.py: functions of `ops` give the same result as ONNX nodes and with NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from zerodce_jax.config import Steps
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.ops import (
    curves,
    denoise,
    enhancement,
    grid,
    guided_filter,
    halving,
    highlights,
    pixels,
)
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.kernels import overridable

RNG = np.random.default_rng(0)
IMAGE = RNG.random((1, 19, 23, 3), dtype=np.float32)
MAPS = RNG.uniform(-1, 0.5, (1, 19, 23, 24)).astype(np.float32)
LEVELS = RNG.uniform(-1, 1, (1, 19, 23, 12)).astype(np.float32)
ENHANCED = curves.apply_curves(IMAGE**3, np.full_like(IMAGE, -0.4), iterations=8)


def run_with_onnx(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Return the result of a function of arrays that runs as an ONNX graph of one tile."""
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
        lambda x, a: curves.apply_curves(x, a, iterations=8),
        (IMAGE, MAPS),
    ),
    "shared curve": (
        lambda x, a: curves.apply_curves(x, a, iterations=5),
        (IMAGE, MAPS[..., :3]),
    ),
    "window means": (guided_filter.window_means, (IMAGE,)),
    "small window means": (lambda x: guided_filter.window_means(x, radius=1), (IMAGE,)),
    "half size": (halving.halve, (IMAGE,)),
    "half size and back": (lambda x: halving.double(halving.halve(x), x), (IMAGE,)),
    "guided filter": (lambda x: guided_filter.smooth(x, 0.01), (IMAGE,)),
    "guided filter with eps 0": (lambda x: guided_filter.smooth(x, 0.0), (IMAGE,)),
    "local brightness": (highlights.local_brightness, (IMAGE,)),
    "curve strength": (
        lambda x: highlights.max_curve_strength(x, 0.8, iterations=8),
        (IMAGE[..., :1],),
    ),
    "denoise": (lambda x, y: denoise.denoise(x, y, 0.6, 1 / 255, 1.0), (IMAGE**3, ENHANCED)),
    "levels": (lambda maps, x: grid.interpolate_levels(maps, x, 4), (LEVELS, IMAGE**3)),
    "limited levels": (lambda maps: grid.limit_levels(maps, 4)[0], (LEVELS,)),
    "channel mean": (pixels.channel_mean, (IMAGE,)),
    "to 8 bits": (lambda x: pixels.from_float(x, "uint8"), (IMAGE,)),
    "from 16 bits": (pixels.to_float, ((IMAGE * 65535).astype(np.uint16),)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_onnx_nodes_equal_numpy(name: str) -> None:
    function, arrays = FUNCTIONS[name]
    (expected,) = function(*arrays)
    result = run_with_onnx(function, *arrays)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("steps", [Steps(), Steps(True, False), Steps(True, True)], ids=str)
def test_a_whole_enhancement_as_onnx_nodes_equals_numpy(steps: Steps) -> None:
    def enhance(image: Any, maps: Any) -> Any:
        # A graph is one tile and takes numbers; a batch takes arrays.
        adjust = (lambda x: x) if isinstance(image, Value) else (lambda x: np.full(1, x))
        adjustments = Adjustments(None, *map(adjust, (1.5, 0.8, 0.6, 0.01, 0.7)))
        return enhancement.enhance(image, maps, adjustments, 1.0, steps=steps, iterations=8)

    (expected,) = enhance(IMAGE, MAPS)
    np.testing.assert_allclose(run_with_onnx(enhance, IMAGE, MAPS), expected, rtol=0, atol=2e-5)


def test_too_few_maps_raise_the_same_error_as_with_arrays() -> None:
    with pytest.raises(ValueError, match="12 curve maps are too few for 8 iterations"):
        run_with_onnx(
            lambda x, a: curves.apply_curves(x, a, iterations=8),
            IMAGE,
            LEVELS,
        )


def test_one_graph_accepts_tiles_of_every_size() -> None:
    graph = Graph()
    graph.output_tile("result", guided_filter.smooth(graph.tile("image", "float32"), 0.01))
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    for height, width in ((1, 1), (3, 40), (19, 23)):
        image = RNG.random((1, height, width, 3), dtype=np.float32)
        (expected,) = guided_filter.smooth(image, 0.01)
        (result,) = session.run(None, {"image": image[0]})
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_a_class_may_replace_an_overridable_function() -> None:
    @overridable
    def double(x: Any) -> Any:
        return 2 * x

    class Number(int):
        __kernels__ = {double: lambda x: "replaced"}  # noqa: RUF012

    assert double(4) == 8
    assert double(Number(4)) == "replaced"
