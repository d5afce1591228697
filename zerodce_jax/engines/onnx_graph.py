"""Networks as ONNX models: the same tile functions as those of the XLA engine.

Models are built from the parameters alone, without tracing or JAX. Shapes are free.
A window that meets an edge of the image is cut off there, so that the zero padding of each
convolution is that of the whole image.
"""

from collections.abc import Callable

import onnx

from zerodce_jax.config import AnyNetworkConfig, Steps
from zerodce_jax.engines.onnx_array import Graph, Value
from zerodce_jax.engines.onnx_networks import dcenet, scenenet
from zerodce_jax.models.network import Network
from zerodce_jax.ops import enhancement
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.grid import interpolate_levels
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
    maps = dcenet(network, image).crop(crop)
    return _finish(graph, image.crop(crop), maps, network.config, dtype, steps)


def estimate(network: Network) -> onnx.ModelProto:
    """Return the model that estimates curve maps alone, as `Engine.estimate`.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), float32 in [0, 1], and the box ``crop``, and
        the output ``maps``.
    """
    graph = Graph()
    maps = dcenet(network, graph.tile("pixels", "float32")).crop(graph.box("crop"))
    graph.output_tile("maps", maps)
    return graph.model()


def predict_grid(network: Network) -> onnx.ModelProto:
    """Return the model of a scene network, as `Engine.predict_grid`.

    Returns:
        A model with the input ``thumbnail`` (side, side, 3), float32 in [0, 1], and the output
        ``grid``.
    """
    graph = Graph()
    graph.output_tile("grid", scenenet(network, graph.tile("thumbnail", "float32")))
    return graph.model()


def apply(network: Network, dtype: str, steps: Steps = NO_STEPS) -> onnx.ModelProto:
    """Return the model that upsamples curve maps of the reduced image and applies them.

    Args:
        network: The network of the curve maps.
        dtype: Type of the pixels, as for `enhance`.
        steps: The optional steps.

    Returns:
        A model with the inputs ``pixels`` (h, w, 3), ``maps`` (y, x, outputs), which may be a grid,
        ``vertical`` (h, y) and ``horizontal`` (x, w), which are the weights of the interpolation,
        those of `_finish`, and the output ``enhanced`` (h, w, 3).
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
    config: AnyNetworkConfig,
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
        levels=config.levels,
        upsample=upsample,
    )
    if enhancement.reach(steps, config.levels):
        enhanced = enhanced.crop(graph.box("inner"))
    graph.output_tile("enhanced", from_float(enhanced, dtype))
    return graph.model()
