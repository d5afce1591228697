"""Networks as ONNX models: the same tile functions as those of the XLA engine.

Models are built from the parameters alone, without tracing or JAX. Shapes are free.
A window that meets an edge of the image is cut off there, so that the zero padding of each
convolution is that of the whole image.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from zerodce_jax.config import NetworkConfig, Steps
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.ops import enhancement
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.grid import interpolate_levels, shrink_level_contrast
from zerodce_jax.ops.pixels import from_float, to_float

NO_STEPS = Steps()


def enhance(network: Network, dtype: str, steps: Steps = NO_STEPS) -> onnx.ModelProto:
    """Return the model that estimates curve maps and applies them, as `Engine.enhance`.

    Args:
        network: The network, which sees images at full size.
        dtype: Type of the pixels: ``uint8``, ``uint16``, or ``float32`` in [0, 1].
        steps: The optional steps.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), the box ``crop`` of what curves are applied
        to, those of `_finish`, and the output ``enhanced``.
    """
    graph = Graph()
    image = to_float(graph.tile("pixels", dtype))
    crop = graph.box("crop")
    maps = forward(network, image).crop(crop)
    return _finish(graph, image.crop(crop), maps, network.config, dtype, steps)


def estimate(network: Network) -> onnx.ModelProto:
    """Return the model that estimates curve maps alone, as `Engine.estimate`.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), float32 in [0, 1], and the box ``crop``, and
        the output ``maps``.
    """
    graph = Graph()
    maps = forward(network, graph.tile("pixels", "float32")).crop(graph.box("crop"))
    graph.output_tile("maps", maps)
    return graph.model()


def apply(network: Network, dtype: str, steps: Steps = NO_STEPS) -> onnx.ModelProto:
    """Return the model that upsamples curve maps of the reduced image and applies them.

    Args:
        network: The network of the curve maps.
        dtype: Type of the pixels, as for `enhance`.
        steps: The optional steps.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), ``maps`` (y, x, outputs), ``vertical`` (h, y)
        and ``horizontal`` (x, w), which are the weights of the interpolation, those of `_finish`,
        and the output ``enhanced`` (h, w, 3).
    """
    graph, config = Graph(), network.config
    image = to_float(graph.tile("pixels", dtype))
    maps = graph.tile("maps", "float32", config.outputs)
    vertical, horizontal = (
        graph.input(name, onnx.TensorProto.FLOAT, [None, None])
        for name in ("vertical", "horizontal")
    )

    def upsample(maps: Value) -> Value:
        large = graph.node("MatMul", graph.node("MatMul", vertical, maps.name), horizontal)
        return Value(graph, large, (*image.shape[:3], maps.shape[-1]))

    def read(maps: Value) -> Value:
        return interpolate_levels(maps, image, config.levels, upsample)

    return _finish(graph, image, maps, config, dtype, steps, read)


def _finish(
    graph: Graph,
    image: Value,
    maps: Value,
    config: NetworkConfig,
    dtype: str,
    steps: Steps,
    upsample: Callable[[Value], Value] = lambda maps: maps,
) -> onnx.ModelProto:
    """Complete a model with `enhancement.enhance`.

    Its inputs are one number for each field of `Adjustments`, ``gamma``, and, if there are filters,
    the box ``inner`` of the pixels for which they see enough surroundings.
    """
    adjustments = Adjustments(
        *(
            graph.per_tile(name, "bool" if name == "gray" else "float32")
            for name in Adjustments._fields
        )
    )
    enhanced = enhancement.enhance(
        image,
        maps,
        adjustments,
        graph.scalar("gamma"),
        steps=steps,
        iterations=config.iterations,
        upsample=upsample,
    )
    if steps.filters:
        enhanced = enhanced.crop(graph.box("inner"))
    graph.output_tile("enhanced", from_float(enhanced, dtype))
    return graph.model()


def forward(network: Network, image: Value) -> Value:
    """Return the curve maps of an image at its own size, as `DCENet.forward`."""
    graph, config = image.graph, network.config
    params = flatten(network.params)

    def conv(index: int, *inputs: str) -> str:
        x = inputs[0] if len(inputs) == 1 else graph.node("Concat", *inputs, axis=1)
        if config.separable:
            x = _convolve(graph, x, params, f"conv{index}.depthwise", grouped=True)
            return _convolve(graph, x, params, f"conv{index}.pointwise")
        return _convolve(graph, x, params, f"conv{index}")

    def relu(x: str) -> str:
        return graph.node("Relu", x)

    x1 = relu(conv(1, image.name))
    x2 = relu(conv(2, x1))
    x3 = relu(conv(3, x2))
    pooled = x3
    if config.pool:
        pooled = graph.node("MaxPool", x3, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x4 = relu(conv(4, pooled))
    x5 = relu(conv(5, x3, x4))
    x6 = relu(conv(6, x2, x5))
    maps = graph.node("Tanh", conv(7, x1, x6))
    made = Value(graph, maps, (*image.shape[:3], config.outputs))
    return shrink_level_contrast(made, config.levels)


def _convolve(
    graph: Graph, x: str, params: Mapping[str, np.ndarray], name: str, *, grouped: bool = False
) -> str:
    kernel = np.asarray(params[f"{name}.kernel"])
    side = kernel.shape[0]
    return graph.node(
        "Conv",
        x,
        # HWIO to OIHW; a depthwise kernel (3, 3, 1, channels) becomes (channels, 1, 3, 3).
        graph.constant(kernel.transpose(3, 2, 0, 1)),
        graph.constant(params[f"{name}.bias"]),
        kernel_shape=[side, side],
        pads=[side // 2] * 4,
        group=kernel.shape[3] if grouped else 1,
    )
