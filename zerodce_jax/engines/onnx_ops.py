"""What networks and curves are made of, as ONNX nodes.

Inside, images are channels-first, as ONNX's convolutions are; at the borders they are (height,
width, channels) as everywhere else.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from zerodce_jax.config import NetworkConfig
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.ops.denoise import APART, BACK, COLOR, NOISE
from zerodce_jax.ops.grid import TOGETHER
from zerodce_jax.ops.guided_filter import RADIUS
from zerodce_jax.ops.highlights import (
    CEILING,
    CORRECTIONS,
    LEAST,
    NEARLY_BLACK,
    SMALLEST,
    STRUCTURE,
)

OPSET = 17
Shape = Sequence[int | str | None]
_TYPES = {
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "float32": TensorProto.FLOAT,
}


@dataclass(frozen=True)
class Steps:
    """What a graph does after the curves are known: steps that are off are not in it."""

    protect: bool = False
    """Takes ``protection``, a number."""
    denoise: bool = False
    """Takes ``denoise``, a number."""

    @property
    def filters(self) -> bool:
        """Whether a pixel's surroundings count.

        If so, the graph takes ``inner``, what is left of the pixels in the end: first row and
        column, and one past the last of both.
        """
        return self.protect or self.denoise


NONE = Steps()


class Graph:
    """Nodes in the making; calling it adds one and gives the name of its output."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; its output's name."""
        name = f"{operator.lower()}_{next(self._numbers)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add an array that is part of the model."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def input(self, name: str, kind: int, shape: Shape) -> str:
        """Add an input; dimensions that are not numbers are free."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def number(self, name: str) -> str:
        """Add an input that is one number."""
        return self.input(name, TensorProto.FLOAT, [])

    def output(self, name: str, value: str, dtype: str, shape: Shape = (None, None, None)) -> None:
        """Give a value out."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def unless(self, condition: str, value: str, change: Callable[[], str]) -> str:
        """`value` where a condition holds, else what becomes of it; that alone is computed then."""
        branches = []
        for branch in (lambda: value, change):
            outside, self._nodes = self._nodes, []
            result = self("Identity", branch())
            inside, self._nodes = self._nodes, outside
            end = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
            branches.append(helper.make_graph(inside, result, [], [end]))
        return self("If", condition, then_branch=branches[0], else_branch=branches[1])

    def image(self, name: str, dtype: str) -> str:
        """An input (h, w, c), as float32 (1, c, h, w), integers scaled to [0, 1]."""
        pixels = self.input(name, _TYPES[dtype], [None, None, None])
        pixels = self("Transpose", pixels, perm=[2, 0, 1])
        pixels = self("Unsqueeze", pixels, self.constant([0], np.int64))
        if dtype == "float32":
            return pixels
        top = self.constant(np.iinfo(dtype).max)
        return self("Div", self("Cast", pixels, to=TensorProto.FLOAT), top)

    def size(self, image: str) -> str:
        """Height and width of images (n, c, h, w)."""
        return self("Slice", self("Shape", image), *(self.constant([n], np.int64) for n in (2, 4)))

    def channels_last(self, image: str) -> str:
        """From (1, c, h, w) to (h, w, c)."""
        squeezed = self("Squeeze", image, self.constant([0], np.int64))
        return self("Transpose", squeezed, perm=[1, 2, 0])

    def crop(self, image: str, box: str) -> str:
        """Rows and columns from the first two numbers of a box to before the last two."""
        two = self.constant([2], np.int64)
        zero, four = self.constant([0], np.int64), self.constant([4], np.int64)
        axes = self.constant([2, 3], np.int64)
        start = self("Slice", box, zero, two)
        return self("Slice", image, start, self("Slice", box, two, four), axes)

    def estimate(self, network: Network, image: str) -> str:
        """DCENet, as `dcenet.DCENet.forward`."""
        params = flatten(network.params)

        def conv(index: int, *inputs: str) -> str:
            x = inputs[0] if len(inputs) == 1 else self("Concat", *inputs, axis=1)
            if network.config.separable:
                x = self._conv(x, params, f"conv{index}.depthwise", grouped=True)
                return self._conv(x, params, f"conv{index}.pointwise")
            return self._conv(x, params, f"conv{index}")

        x1 = self("Relu", conv(1, image))
        x2 = self("Relu", conv(2, x1))
        x3 = self("Relu", conv(3, x2))
        pooled = x3
        if network.config.pool:
            pooled = self("MaxPool", x3, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        x4 = self("Relu", conv(4, pooled))
        x5 = self("Relu", conv(5, x3, x4))
        x6 = self("Relu", conv(6, x2, x5))
        maps = self("Tanh", conv(7, x1, x6))
        return (
            self.shrink_level_contrast(maps, network.config) if network.config.levels > 1 else maps
        )

    def shrink_level_contrast(self, maps: str, config: NetworkConfig) -> str:
        """Curves of different levels kept alike, as `grid.shrink_level_contrast`."""
        parts = self.levels(maps, config)
        mean = self("Mean", *parts)
        weight = self.constant(TOGETHER)
        near = [self("Add", mean, self("Mul", weight, self("Sub", x, mean))) for x in parts]
        return self("Concat", *near, axis=1)

    def _conv(
        self, x: str, params: Mapping[str, Float[Any, "..."]], name: str, *, grouped: bool = False
    ) -> str:
        kernel = np.asarray(params[f"{name}.kernel"])
        # HWIO to OIHW; a depthwise kernel is (3, 3, 1, channels) and becomes (channels, 1, 3, 3).
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        side = kernel.shape[0]
        return self(
            "Conv",
            x,
            weights,
            self.constant(params[f"{name}.bias"]),
            kernel_shape=[side, side],
            pads=[side // 2] * 4,
            group=kernel.shape[3] if grouped else 1,
        )

    def levels(self, maps: str, config: NetworkConfig) -> list[str]:
        """The maps of each level of brightness."""
        axis = self.constant([1], np.int64)
        ends = [self.constant([i * config.maps], np.int64) for i in range(config.levels + 1)]
        return [self("Slice", maps, *pair, axis) for pair in itertools.pairwise(ends)]

    def each(self, name: str) -> str:
        """An input with a number for each image, as (n, 1, 1, 1)."""
        value = self.input(name, TensorProto.FLOAT, ["batch"])
        return self("Reshape", value, self.constant([-1, 1, 1, 1], np.int64))

    def reduce(self, image: str, config: NetworkConfig) -> str:
        """The copy of whole images that a network looks at."""
        scale = config.scale
        if config.levels > 1:
            sides = [scale, scale]
            return self("AveragePool", image, kernel_shape=sides, strides=sides, ceil_mode=1)
        if scale == 1:
            return image
        size = self("Cast", self.size(image), to=TensorProto.FLOAT)
        size = self("Round", self("Div", size, self.constant(scale)))
        size = self("Cast", self("Max", size, self.constant(1)), to=TensorProto.INT64)
        return self.resize(image, size, "half_pixel")

    def spread(self, image: str, maps: str, config: NetworkConfig) -> str:
        """Curve maps of whole images, at the size of these."""
        if config.levels > 1:

            def upsample(maps: str) -> str:
                scales = self.constant([1, 1, config.scale, config.scale])
                up = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
                large = self("Resize", maps, "", scales, **up)
                zero = self.constant([0, 0], np.int64)
                return self("Slice", large, zero, self.size(image), self.constant([2, 3], np.int64))

            return self.slice_grid(image, maps, config, upsample)
        return maps if config.scale == 1 else self.resize(maps, self.size(image), "align_corners")

    def resize(self, image: str, size: str, positions: str) -> str:
        """Bilinear resampling to a height and width."""
        channels = self(
            "Slice", self("Shape", image), *(self.constant([n], np.int64) for n in (0, 2))
        )
        whole = self("Concat", channels, size, axis=0)
        how = {"mode": "linear", "coordinate_transformation_mode": positions}
        return self("Resize", image, "", "", whole, **how)

    def upsample(self, maps: str) -> str:
        """By the inputs ``vertical`` and ``horizontal``, weights of the interpolation."""
        return self("MatMul", self("MatMul", "vertical", maps), "horizontal")

    def slice_grid(
        self, image: str, maps: str, config: NetworkConfig, upsample: Callable[[str], str]
    ) -> str:
        """The curve maps of each pixel, from its place and its brightness, as `grid.slice_grid`."""
        parts = self.levels(maps, config)
        result = upsample(parts[0])
        if config.levels == 1:
            return result
        brightness = self.brightness(image, config.levels - 1)
        for level in range(1, config.levels):
            ramp = self("Sub", brightness, self.constant(level - 1))
            ramp = self("Clip", ramp, self.constant(0), self.constant(1))
            step = upsample(self("Sub", parts[level], parts[level - 1]))
            result = self("Add", result, self("Mul", ramp, step))
        return result

    def brightness(self, image: str, factor: float) -> str:
        """The mean over channels, times a factor."""
        # A matrix product is several times as fast as a mean.
        rows = self("Reshape", image, self.constant([0, 3, -1], np.int64))
        mean = self("MatMul", self.constant(np.full((1, 3), factor / 3)), rows)
        size = self.size(image)
        return self("Reshape", mean, self("Concat", self.constant([0, 1], np.int64), size, axis=0))

    def stronger(self, maps: str, strength: str) -> str:
        """Maps times the strength, within their range."""
        return self("Clip", self("Mul", strength, maps), self.constant(-1), self.constant(1))

    def finish(
        self, image: str, maps: str, config: NetworkConfig, dtype: str, steps: Steps
    ) -> None:
        """Curves, noise, gamma, the mean for gray, and rounding, as the XLA engine does them."""
        gray = self.input("gray", TensorProto.BOOL, [])
        protection = self.number("protection") if steps.protect else None
        denoise = self.number("denoise") if steps.denoise else None
        bent = self.bend(image, maps, config, protection=protection, denoise=denoise)
        if steps.filters:
            self.input("inner", TensorProto.INT64, [4])
            bent = self.crop(bent, "inner")
        result = self.power(bent, self.number("gamma"))
        result = self.unless(self("Not", gray), result, lambda: self.mean(result))
        if dtype == "float32":
            result = self("Clip", result, self.constant(0), self.constant(1))
        else:
            # The cast cuts off what comes after the point.
            top = self.constant(np.iinfo(dtype).max)
            result = self("Add", self("Mul", result, top), self.constant(0.5))
            result = self("Cast", result, to=_TYPES[dtype])
        self.output("enhanced", self.channels_last(result), dtype)

    def bend(
        self,
        image: str,
        maps: str,
        config: NetworkConfig,
        *,
        protection: str | None,
        denoise: str | None,
    ) -> str:
        """Curves, held back for highlights, and noise held down."""
        if protection is not None:
            most = self.max_curve_strength(image, protection, config.iterations)
            maps = self("Max", maps, self("Neg", most))
        curves = [maps] * config.iterations
        if not config.shared_curve:
            curves = [f"curve_{iteration}" for iteration in range(config.iterations)]
            sizes = self.constant([3] * config.iterations, np.int64)
            self._nodes.append(helper.make_node("Split", [maps, sizes], curves, axis=1))
        # LE(x) = x ((1 - A) + A x); what curves share is computed once.
        one = self.constant(1)
        rest = {curve: self("Sub", one, curve) for curve in curves}
        gain = one
        for curve in curves:
            bend = self("Mul", curve, image)
            slope = self("Add", rest[curve], bend)
            image = self("Mul", image, slope)
            if denoise is not None:
                gain = self("Mul", gain, self("Add", slope, bend))
        return image if denoise is None else self.denoise(image, gain, denoise)

    def power(self, image: str, gamma: str) -> str:
        """The image to the power of gamma; nothing is computed where that is 1."""
        return self.unless(
            self("Equal", gamma, self.constant(1)),
            image,
            lambda: self("Exp", self("Mul", gamma, self("Log", image))),
        )

    def max_curve_strength(self, image: str, protection: str, iterations: int) -> str:
        """As `highlights.max_curve_strength` of the local brightness."""
        one = self.constant(1)
        axis = self.constant([1], np.int64)
        ends = [[self.constant([i], np.int64) for i in pair] for pair in ((0, 1), (1, 2), (2, 3))]
        largest = self("Max", *(self("Slice", image, *pair, axis) for pair in ends))
        local = self.smooth(largest, self.constant(STRUCTURE))
        black, white = self.constant(NEARLY_BLACK), self.constant(1 - NEARLY_BLACK)
        local = self("Clip", local, black, white)
        base = self("Log", self("Sub", one, local))
        smallest = self.constant(SMALLEST)

        def exponent(below: str) -> str:
            ratio = self("Div", self("Log", self("Max", below, smallest)), base)
            return self("Log", self("Max", ratio, one))

        def curve(step: str) -> str:
            doubled = self.constant(math.log(2))
            return self("Sub", self("Exp", self("Min", step, doubled)), one)

        square = self("Mul", local, local)
        rest = self("Sub", one, self("Mul", self("Mul", square, square), square))
        wanted = exponent(self("Mul", self("Mul", protection, self.constant(1 - CEILING)), rest))
        step = self("Mul", wanted, self.constant(1 / iterations))
        for _ in range(CORRECTIONS):
            x, s = local, curve(step)
            for _ in range(iterations):
                x = self("Add", x, self("Mul", s, self("Sub", x, self("Mul", x, x))))
            reached = self("Max", exponent(self("Sub", one, x)), self.constant(LEAST))
            step = self("Div", self("Mul", step, wanted), reached)
        return curve(step)

    def denoise(self, image: str, gain: str, amount: str) -> str:
        """As `denoise.denoise`."""
        zero, one = self.constant(0), self.constant(1)
        beyond = self("Max", self("Sub", gain, one), zero)
        noise = self("Mul", self("Mul", amount, self.constant(NOISE)), beyond)
        noise = self.window_means(self.brightness(self("Mul", noise, noise), 1))
        apart = self.mixed(image, APART)
        eps = self("Mul", noise, self.constant([[[1]], [[COLOR]], [[COLOR]]]))
        change = self.mixed(self("Sub", self.smooth(apart, eps), apart), BACK)
        return self("Clip", self("Add", image, change), zero, one)

    def mixed(self, image: str, matrix: Float[np.ndarray, "3 3"]) -> str:
        """Each pixel's channels times a matrix."""
        rows = self("Reshape", image, self.constant([0, 3, -1], np.int64))
        return self("Reshape", self("MatMul", self.constant(matrix), rows), self("Shape", image))

    def smooth(self, image: str, eps: str) -> str:
        """As `guided_filter.smooth`; the image ends where the whole image does, or at its halo."""
        zero, one = self.constant(0), self.constant(1)
        average = self.window_means(image)
        square = self.window_means(self("Mul", image, image))
        variance = self("Max", self("Sub", square, self("Mul", average, average)), zero)
        both = self("Add", variance, eps)
        # 0 / 0 stands for a variance that is nothing but noise, where there is no noise.
        flat = self("Not", self("Greater", both, zero))
        a = self("Where", flat, one, self("Div", variance, both))
        b = self("Mul", average, self("Sub", one, a))
        a, b = self.window_means(a), self.window_means(b)
        return self("Add", self("Mul", a, image), b)

    def window_means(self, image: str) -> str:
        """As `guided_filter.window_means`."""
        side = 2 * RADIUS + 1
        # Over columns, then over rows: 14 sums instead of 49.
        image = self("AveragePool", image, kernel_shape=[1, side], pads=[0, RADIUS, 0, RADIUS])
        return self("AveragePool", image, kernel_shape=[side, 1], pads=[RADIUS, 0, RADIUS, 0])

    def mean(self, image: str) -> str:
        """The mean of the channels, around the first: three equal ones keep their value exactly."""
        first = self("Slice", image, *(self.constant([n], np.int64) for n in (0, 1, 1)))
        away = self("ReduceMean", self("Sub", image, first), axes=[1], keepdims=1)
        return self("Expand", self("Add", first, away), self("Shape", image))

    def model(self, *boxes: str) -> onnx.ModelProto:
        """All of it, with these boxes as inputs too, checked."""
        for box in boxes:
            self.input(box, TensorProto.INT64, [4])
        graph = helper.make_graph(
            self._nodes, "zerodce", self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="zerodce_jax"
        )
        # The oldest that goes with the opset, so that older runtimes read it too.
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model
