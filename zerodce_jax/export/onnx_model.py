"""The function of whole images as an ONNX model."""

from collections.abc import Callable

import numpy as np
import onnx

from zerodce_jax.config import AnyNetworkConfig, NetworkConfig, SceneConfig
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.engines.onnx_networks import dcenet, scenenet
from zerodce_jax.export.function import adjustments, takes_protection
from zerodce_jax.models.network import Network
from zerodce_jax.ops.enhancement import enhance
from zerodce_jax.ops.grid import interpolate_levels
from zerodce_jax.ops.pixels import from_float


def onnx_model(network: Network) -> onnx.ModelProto:
    """Return the function of `function.jax_function` as a model, with the same inputs.

    The sizes of the input ``image`` and of the output ``enhanced`` are free.
    """
    graph, config, steps = Graph(), network.config, network.settings.steps
    image = graph.images("image")
    strength = graph.per_image("strength")
    if isinstance(config, SceneConfig):
        thumbnails = _thumbnails(image, config.thumbnail)
        largest = graph.node("ReduceMax", thumbnails.name, axes=[1, 2, 3], keepdims=0)
        brightest = Value(graph, largest, image.shape[:1])
        maps = scenenet(network, thumbnails)
        decided = adjustments(network.settings, strength, brightest=brightest)
    else:
        maps = _estimate(network, image)
        protection = [graph.per_image("protection")] if takes_protection(network) else []
        decided = adjustments(network.settings, strength, *protection)
    enhanced = enhance(
        image,
        maps,
        decided,
        graph.scalar("gamma"),
        steps=steps,
        iterations=config.iterations,
        levels=config.levels,
        upsample=lambda maps: _upsample(maps, image, config),
    )
    graph.output_images("enhanced", from_float(enhanced, "float32"))
    return graph.model()


def _thumbnails(image: Value, side: int) -> Value:
    """Return thumbnails as `SceneNet.thumbnails`."""
    rows = _along(image, 2, lambda size: _area_weights(image.graph, size, side))
    return _along(rows, 3, lambda size: _area_weights(image.graph, size, side))


def _estimate(network: Network, image: Value) -> Value:
    """Return curve maps as `DCENet.estimate`."""
    graph, config = image.graph, network.config
    assert isinstance(config, NetworkConfig)
    if config.scale == 1:
        return dcenet(network, image)
    size = graph.node("Cast", image.size(), to=onnx.TensorProto.FLOAT)
    size = graph.node("Round", graph.node("Div", size, graph.constant(config.scale)))
    size = graph.node("Max", size, graph.constant(1))
    size = graph.node("Cast", size, to=onnx.TensorProto.INT64)
    return dcenet(network, _resize(image, size, ("rows", "columns"), "half_pixel"))


def _upsample(maps: Value, image: Value, config: AnyNetworkConfig) -> Value:
    """Bring curve maps to the size of images, as the networks' `upsample`."""
    if not config.two_passes:
        return maps
    # ONNX repeats the outermost samples beyond their centers, as `grid.cell_positions` does.
    positions = "half_pixel" if isinstance(config, SceneConfig) else "align_corners"

    def upsample(maps: Value) -> Value:
        return _resize(maps, image.size(), image.shape[1:3], positions)

    return interpolate_levels(maps, image, config.levels, upsample)


def _along(x: Value, axis: int, weights: Callable[[str], str]) -> Value:
    """Multiply the rows (axis 2 in the graph) or columns (3) by weights that depend on the size."""
    graph = x.graph
    ends = (graph.constant([n], np.int64) for n in (axis, axis + 1))
    size = graph.node("Slice", graph.node("Shape", x.name), *ends)
    size = graph.node("Squeeze", graph.node("Cast", size, to=onnx.TensorProto.FLOAT))
    factors = weights(size), x.name
    if axis == 3:
        factors = x.name, graph.node("Transpose", factors[0], perm=[1, 0])
    shape = list(x.shape)
    shape[axis - 1] = f"reduced {shape[axis - 1]}"
    return Value(graph, graph.node("MatMul", *factors), tuple(shape))


def _area_weights(graph: Graph, size: str, count: int) -> str:
    """Return `grid.area_weights` of a free size."""
    number = Value(graph, size, ())
    edges = np.arange(count + 1, dtype=np.float32)[:, None]
    start, end = (Value(graph, graph.constant(x), (count, 1)) for x in (edges[:-1], edges[1:]))
    ends = graph.constant(0), size, graph.constant(1)
    pixels = Value(graph, graph.node("Range", *ends), ("pixels",))
    scale = number / count
    overlap = (end * scale).apply("Min", pixels + 1) - (start * scale).apply("Max", pixels)
    return (overlap.apply("Clip", 0, 1) / scale).name


def _resize(x: Value, size: str, names: tuple[str, str], positions: str) -> Value:
    """Resample bilinearly to a height and width, which have names in the shape of the result."""
    graph = x.graph
    ends = (graph.constant([n], np.int64) for n in (0, 2))
    batch_and_channels = graph.node("Slice", graph.node("Shape", x.name), *ends)
    whole = graph.node("Concat", batch_and_channels, size, axis=0)
    mode = {"mode": "linear", "coordinate_transformation_mode": positions}
    name = graph.node("Resize", x.name, "", "", whole, **mode)
    return Value(graph, name, (x.shape[0], *names, x.shape[-1]))
