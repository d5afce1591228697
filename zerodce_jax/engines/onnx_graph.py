"""A network as ONNX graphs: the same tile functions as the XLA engine's, and one of whole images.

Parameters are all that is needed, so nothing is traced and JAX is not imported. Shapes are free:
where a window meets an edge of the image it is cut off there, and each convolution's zero padding
is that of the whole image.
"""

import onnx
from onnx import TensorProto

from zerodce_jax.engines.onnx_ops import NONE, Graph, Steps
from zerodce_jax.models.network import Network


def enhance(network: Network, dtype: str, steps: Steps = NONE) -> onnx.ModelProto:
    """Estimate curves and apply them, for networks that do both at full size.

    Args:
        network: What to run.
        dtype: Of the pixels: ``uint8``, ``uint16``, or ``float32`` in [0, 1].
        steps: What to do besides.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), ``crop`` (first row, first column, and one
        past the last of both), ``gamma``, ``strength`` and ``gray`` (bool), to ``enhanced``, the
        cropped pixels.
    """
    graph = Graph()
    image = graph.image("pixels", dtype)
    maps = graph.crop(graph.estimate(network, image), "crop")
    maps = graph.stronger(maps, graph.number("strength"))
    graph.finish(graph.crop(image, "crop"), maps, network.config, dtype, steps)
    return graph.model("crop")


def estimate(network: Network, dtype: str) -> onnx.ModelProto:
    """Estimate curve maps alone, for networks that do so on a reduced image.

    Args:
        network: What to run.
        dtype: Of the pixels, as for `enhance`.

    Returns:
        A model with the inputs ``pixels`` and ``crop``, to ``maps``.
    """
    graph = Graph()
    maps = graph.crop(graph.estimate(network, graph.image("pixels", dtype)), "crop")
    graph.output("maps", graph.channels_last(maps), "float32")
    return graph.model("crop")


def whole(network: Network, *, protect: bool, denoise: float) -> onnx.ModelProto:
    """Enhance whole images of any size, several at a time, for programs without this package.

    Args:
        network: What to run, at whatever scale.
        protect: Whether highlights can be protected.
        denoise: How strongly to hold down noise, in [0, 1].

    Returns:
        A model with the inputs ``image`` (batch, height, width, 3) of float32 in [0, 1],
        ``strength`` (batch,), where asked for ``protection`` (batch,), and ``gamma``, to
        ``enhanced``, of the shape of ``image``.
    """
    graph, config = Graph(), network.config
    shape = ("batch", "height", "width", 3)
    image = graph("Transpose", graph.input("image", TensorProto.FLOAT, shape), perm=[0, 3, 1, 2])
    strength = graph.each("strength")
    protection = graph.each("protection") if protect else None
    maps = graph.stronger(graph.estimate(network, graph.reduce(image, config)), strength)
    amount = graph.constant(denoise) if denoise > 0 else None
    maps = graph.spread(image, maps, config)
    result = graph.bend(image, maps, config, protection=protection, denoise=amount)
    result = graph.power(result, graph.number("gamma"))
    result = graph("Clip", result, graph.constant(0), graph.constant(1))
    graph.output("enhanced", graph("Transpose", result, perm=[0, 2, 3, 1]), "float32", shape)
    return graph.model()


def apply(network: Network, dtype: str, steps: Steps = NONE) -> onnx.ModelProto:
    """Bring curve maps that were estimated on a reduced image up to size, and apply them.

    Args:
        network: Whose curves are to be applied.
        dtype: Of the pixels, as for `enhance`.
        steps: What to do besides.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), ``maps`` (y, x, outputs), ``vertical`` (h, y)
        and ``horizontal`` (x, w), the weights of the interpolation, ``gamma``, ``strength`` and
        ``gray``, to ``enhanced`` (h, w, 3).
    """
    graph = Graph()
    image = graph.image("pixels", dtype)
    for name in ("vertical", "horizontal"):
        graph.input(name, TensorProto.FLOAT, [None, None])
    maps = graph.stronger(graph.image("maps", "float32"), graph.number("strength"))
    maps = graph.slice_grid(image, maps, network.config, graph.upsample)
    graph.finish(image, maps, network.config, dtype, steps)
    return graph.model()
