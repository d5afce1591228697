"""The function of whole images as an ONNX model."""

import numpy as np
import onnx

from zerodce_jax.config import NetworkConfig
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.engines.onnx_graph import forward
from zerodce_jax.export.function import denoising_strength
from zerodce_jax.models.network import Network
from zerodce_jax.ops.enhancement import Adjustments, enhance
from zerodce_jax.ops.grid import interpolate_levels
from zerodce_jax.ops.pixels import from_float


def onnx_model(network: Network) -> onnx.ModelProto:
    """Return the function of `function.jax_function` as a model, with the same inputs.

    The sizes of the input ``image`` and of the output ``enhanced`` are free.
    """
    graph, config, steps = Graph(), network.config, network.settings.steps
    image = graph.images("image")
    strength = graph.per_image("strength")
    protection = [graph.per_image("protection")] if steps.protect_highlights else []
    denoise = denoising_strength(network.settings)
    adjustments = Adjustments(None, strength, *protection, denoise=denoise)
    enhanced = enhance(
        image,
        forward(network, _reduce(image, config)),
        adjustments,
        graph.scalar("gamma"),
        steps=steps,
        iterations=config.iterations,
        upsample=lambda maps: _upsample(maps, image, config),
    )
    graph.output_images("enhanced", from_float(enhanced, "float32"))
    return graph.model()


def _reduce(image: Value, config: NetworkConfig) -> Value:
    """Return the copy of images that the network sees, as `DCENet.estimate` reduces them."""
    graph, scale = image.graph, config.scale
    if config.levels > 1:
        sides = [scale, scale]
        return image.apply("AveragePool", kernel_shape=sides, strides=sides, ceil_mode=1)
    if scale == 1:
        return image
    size = graph.node("Cast", image.size(), to=onnx.TensorProto.FLOAT)
    size = graph.node("Round", graph.node("Div", size, graph.constant(scale)))
    size = graph.node("Max", size, graph.constant(1))
    size = graph.node("Cast", size, to=onnx.TensorProto.INT64)
    return _resize(image, size, ("rows", "columns"), "half_pixel")


def _upsample(maps: Value, image: Value, config: NetworkConfig) -> Value:
    """Bring curve maps to the size of images, as `DCENet.upsample`."""
    graph, scale = image.graph, config.scale
    if config.levels == 1:
        if scale == 1:
            return maps
        return _resize(maps, image.size(), image.shape[1:3], "align_corners")

    def upsample(maps: Value) -> Value:
        scales = graph.constant([1, 1, scale, scale])
        mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        large = graph.node("Resize", maps.name, "", scales, **mode)
        ends = (graph.constant([0, 0], np.int64), image.size(), graph.constant([2, 3], np.int64))
        return Value(graph, graph.node("Slice", large, *ends), (*image.shape[:3], config.maps))

    return interpolate_levels(maps, image, config.levels, upsample)


def _resize(x: Value, size: str, names: tuple[str, str], positions: str) -> Value:
    """Resample bilinearly to a height and width, which have names in the shape of the result."""
    graph = x.graph
    ends = (graph.constant([n], np.int64) for n in (0, 2))
    batch_and_channels = graph.node("Slice", graph.node("Shape", x.name), *ends)
    whole = graph.node("Concat", batch_and_channels, size, axis=0)
    mode = {"mode": "linear", "coordinate_transformation_mode": positions}
    name = graph.node("Resize", x.name, "", "", whole, **mode)
    return Value(graph, name, (x.shape[0], *names, x.shape[-1]))
