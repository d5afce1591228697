"""The networks as nodes of an ONNX graph: what `DCENet` and `SceneNet` compute in JAX."""

from collections.abc import Mapping

import numpy as np

from zerodce_jax.config import NetworkConfig, SceneConfig
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.ops.grid import AMPLITUDE, CENTER, DARK_OFFSET, LEVEL_EXPONENT


def dcenet(network: Network, image: Value) -> Value:
    """Return the curve maps of an image at its own size, as `DCENet.forward`."""
    graph, config = image.graph, network.config
    assert isinstance(config, NetworkConfig)
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
    return Value(graph, maps, (*image.shape[:3], config.outputs))


def scenenet(network: Network, thumbnails: Value) -> Value:
    """Return the grids of images from their thumbnails, as `SceneNet.forward`."""
    graph, config = thumbnails.graph, network.config
    assert isinstance(config, SceneConfig)
    params = flatten(network.params)
    exp, log = (getattr(thumbnails.__array_namespace__(), name) for name in ("exp", "log"))

    def conv(layer: str, x: str, *, stride: int = 1, dilation: int = 1) -> str:
        before = dilation if stride == 1 else 0
        return graph.node(
            "Conv",
            x,
            graph.constant(params[f"{layer}.kernel"].transpose(3, 2, 0, 1)),
            graph.constant(params[f"{layer}.bias"]),
            kernel_shape=[3, 3],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[before, before, dilation, dilation],
        )

    def dense(layer: str, x: str) -> str:
        kernel = graph.constant(params[f"{layer}.kernel"].T[:, :, None, None])
        return graph.node("Conv", x, kernel, graph.constant(params[f"{layer}.bias"]))

    def relu(x: str) -> str:
        return graph.node("Relu", x)

    def mean(x: str) -> str:
        return graph.node("ReduceMean", x, axes=[2, 3])

    encoded = exp(LEVEL_EXPONENT * log(thumbnails + DARK_OFFSET))
    brightness = encoded.max(-1, keepdims=True)
    chroma = brightness + (-encoded).max(-1, keepdims=True)
    inputs = [v.name for v in (thumbnails, encoded, brightness, chroma)]
    x = graph.node("Concat", *inputs, axis=1)
    for layer in ("down1", "down2", "down3"):
        x = relu(conv(layer, x, stride=2))
    for i in range(config.blocks):
        x = graph.node("Add", x, relu(conv(f"block{i + 1}", x, dilation=2**i)))
    centers = graph.constant(np.arange(config.bins).reshape(1, -1, 1, 1))
    distance = graph.node("Sub", (brightness * (config.bins - 1)).name, centers)
    overlap = relu(graph.node("Sub", graph.constant(1), graph.node("Abs", distance)))
    scene = graph.node("Concat", mean(x), mean(overlap), axis=1)
    scene = dense("global2", relu(dense("global1", scene)))
    x = relu(conv("grid1", relu(graph.node("Add", x, scene))))
    cells = config.cells
    raw = Value(graph, conv("grid2", x), (thumbnails.shape[0], cells, cells, config.outputs))
    return CENTER + AMPLITUDE * raw.apply("Tanh")


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
