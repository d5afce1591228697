"""Arrays that are values of an ONNX graph: what is computed with them becomes nodes.

So the functions of `ops`, which are written for all kinds of arrays, define ONNX models too. Arrays
look channels-last, (batch, height, width, channels), as everywhere; inside the graph they are
channels-first, as ONNX's convolutions want them.
"""

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zerodce_jax.ops import curves, guided_filter, halving, pixels

OPSET = 17
Shape = Sequence[int | str | None]
_TYPES = {
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "float32": TensorProto.FLOAT,
    "bool": TensorProto.BOOL,
}
# The axes of (batch, height, width, channels) inside the graph.
_AXES = (0, 2, 3, 1)


class Graph:
    """An ONNX graph that is being built."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        (name,) = self.nodes(operator, *inputs, count=1, **attributes)
        return name

    def nodes(self, operator: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their names."""
        names = [f"{operator.lower()}_{next(self._numbers)}" for _ in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add an array that is part of the model, and return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def input(self, name: str, kind: int, shape: Shape) -> str:
        """Add an input, and return its name; dimensions that are not numbers are free."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def box(self, name: str) -> str:
        """Add an input for `crop`: first row and column, and one past the last of both."""
        return self.input(name, TensorProto.INT64, [4])

    def scalar(self, name: str) -> "Value":
        """Add an input that is one number."""
        return Value(self, self.input(name, TensorProto.FLOAT, []), ())

    def per_tile(self, name: str, dtype: str = "float32") -> "Value":
        """Add an input that is one number, for a batch of one tile."""
        return Value(self, self.input(name, _TYPES[dtype], []), (1,), dtype)

    def per_image(self, name: str) -> "Value":
        """Add an input with one number for each image of the batch."""
        return Value(self, self.input(name, TensorProto.FLOAT, ["batch"]), ("batch",))

    def tile(self, name: str, dtype: str, channels: int = 3) -> "Value":
        """Add an input (height, width, channels) of that type, as a batch of one array."""
        made = self.input(name, _TYPES[dtype], [None, None, None])
        made = self.node("Transpose", made, perm=[2, 0, 1])
        made = self.node("Unsqueeze", made, self.constant([0], np.int64))
        return Value(self, made, (1, f"{name} height", f"{name} width", channels), dtype)

    def images(self, name: str) -> "Value":
        """Add an input (batch, height, width, 3), float32, of free sizes."""
        shape = ("batch", "height", "width", 3)
        made = self.input(name, TensorProto.FLOAT, shape)
        return Value(self, self.node("Transpose", made, perm=[0, 3, 1, 2]), shape)

    def output_images(self, name: str, value: "Value") -> None:
        """Make an array of images an output."""
        made = self.node("Transpose", value.name, perm=[0, 2, 3, 1])
        self.output(name, made, str(value.dtype), value.shape)

    def output_tile(self, name: str, value: "Value") -> None:
        """Make a batch of one array an output (height, width, channels)."""
        squeezed = self.node("Squeeze", value.name, self.constant([0], np.int64))
        made = self.node("Transpose", squeezed, perm=[1, 2, 0])
        self.output(name, made, str(value.dtype), (None, None, None))

    def output(self, name: str, value: str, dtype: str, shape: Shape) -> None:
        """Make a value an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def branch(self, compute: Callable[[], "Value"]) -> tuple[onnx.GraphProto, "Value"]:
        """Collect the nodes that compute a value in a graph of their own."""
        outer, self._nodes = self._nodes, []
        value = compute()
        result = self.node("Identity", value.name)
        inner, self._nodes = self._nodes, outer
        end = helper.make_tensor_value_info(result, _TYPES[str(value.dtype)], None)
        return helper.make_graph(inner, result, [], [end]), value

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model that has passed ONNX's checker."""
        graph = helper.make_graph(
            self._nodes, "zerodce", self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="zerodce_jax"
        )
        # The oldest version that goes with the opset, so that older runtimes read it too.
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


class Value:
    """An array in a graph: (batch, height, width, channels), (batch,), or one number ().

    Args:
        graph: The graph.
        name: Name of the value there.
        shape: The shape of the array; texts name free dimensions.
        dtype: The type of its elements.
    """

    __kernels__: dict[Any, Callable[..., Any]] = {}  # noqa: RUF012 (set below)

    def __init__(
        self, graph: Graph, name: str, shape: tuple[Any, ...], dtype: Any = np.float32
    ) -> None:
        self.graph, self.name, self.shape, self.dtype = graph, name, shape, np.dtype(dtype)

    def __array_namespace__(self) -> Any:
        return _NAMESPACE

    def apply(self, operator: str, *others: Any, dtype: Any = None, **attributes: Any) -> "Value":
        """Add an elementwise node; numbers among the operands become constants."""
        operands = [self, *(_value(self.graph, x) for x in others)]
        shape = _broadcast_shapes([x.shape for x in operands])
        name = self.graph.node(operator, *(x.name for x in operands), **attributes)
        return Value(self.graph, name, shape, self.dtype if dtype is None else dtype)

    def __add__(self, other: Any) -> "Value":
        return self if _is_number(other, 0) else self.apply("Add", other)

    def __mul__(self, other: Any) -> "Value":
        return self if _is_number(other, 1) else self.apply("Mul", other)

    def __sub__(self, other: Any) -> "Value":
        return self.apply("Sub", other)

    def __truediv__(self, other: Any) -> "Value":
        return self.apply("Div", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> "Value":
        return _value(self.graph, other) - self

    def __neg__(self) -> "Value":
        return self.apply("Neg")

    def __gt__(self, other: Any) -> "Value":
        return self.apply("Greater", other, dtype=bool)

    def __eq__(self, other: Any) -> "Value":  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.apply("Equal", other, dtype=bool)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __getitem__(self, index: tuple[Any, ...]) -> "Value":
        """Take some channels (``x[..., i:j]``), or shape numbers of images to broadcast."""
        graph, (_, part, *_) = self.graph, index
        if part is None:
            shaped = graph.node("Reshape", self.name, graph.constant([-1, 1, 1, 1], np.int64))
            return Value(graph, shaped, (*self.shape, 1, 1, 1), self.dtype)
        start, stop, _ = part.indices(self.shape[-1])
        ends = (graph.constant([x], np.int64) for x in (start, stop, 1))
        return Value(
            graph,
            graph.node("Slice", self.name, *ends),
            (*self.shape[:-1], stop - start),
            self.dtype,
        )

    def max(self, axis: int, *, keepdims: bool) -> "Value":
        """Return the maximum over the channels (``axis=-1, keepdims=True``)."""
        first, *rest = _split(self, self.shape[-1], axis=axis)
        return first.apply("Max", *rest)

    def astype(self, dtype: Any) -> "Value":
        """Convert to another type; floats to integers by dropping the fraction."""
        return self.apply("Cast", dtype=dtype, to=_TYPES[str(np.dtype(dtype))])

    def size(self) -> str:
        """Return the name of the height and width, as an array."""
        graph = self.graph
        ends = (graph.constant([x], np.int64) for x in (2, 4))
        return graph.node("Slice", graph.node("Shape", self.name), *ends)

    def crop(self, box: str) -> "Value":
        """Return the rows and columns of a box (`Graph.box`)."""
        graph = self.graph
        zero, two, four = (graph.constant([x], np.int64) for x in (0, 2, 4))
        start, end = graph.node("Slice", box, zero, two), graph.node("Slice", box, two, four)
        axes = graph.constant([2, 3], np.int64)
        name = graph.node("Slice", self.name, start, end, axes)
        shape = (self.shape[0], f"{box} height", f"{box} width", self.shape[-1])
        return Value(graph, name, shape, self.dtype)


def _split(x: Value, count: int, axis: int) -> list[Value]:
    names = x.graph.nodes("Split", x.name, count=count, axis=_AXES[axis])
    shape = (*x.shape[:-1], x.shape[-1] // count)
    return [Value(x.graph, name, shape, x.dtype) for name in names]


def _concatenate(parts: Sequence[Value], axis: int) -> Value:
    first = parts[0]
    name = first.graph.node("Concat", *(x.name for x in parts), axis=_AXES[axis])
    return Value(first.graph, name, (*first.shape[:-1], sum(x.shape[-1] for x in parts)))


_NAMESPACE = SimpleNamespace(
    clip=lambda x, low, high: x.apply("Clip", low, high),
    concatenate=_concatenate,
    exp=lambda x: x.apply("Exp"),
    log=lambda x: x.apply("Log"),
    maximum=lambda x, other: x.apply("Max", other),
    minimum=lambda x, other: x.apply("Min", other),
    split=_split,
    square=lambda x: x * x,
    where=lambda condition, x, other: condition.apply("Where", x, other, dtype=np.float32),
)
"""The functions of the array API that the steps of an enhancement call."""


def _value(graph: Graph, x: Any) -> Value:
    return x if isinstance(x, Value) else Value(graph, graph.constant(x), ())


def _broadcast_shapes(shapes: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the common shape: along each axis, the size that is not 1."""
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*aligned, strict=True))


def _is_number(x: Any, number: float) -> bool:
    return isinstance(x, int | float) and x == number


def _choose(condition: Value, if_true: Callable[[], Value], if_false: Callable[[], Value]) -> Value:
    """Compute one of two values alone, with ONNX's ``If``, where one condition holds for all."""
    graph = condition.graph
    no, value = graph.branch(if_false)

    def expanded() -> Value:
        found = if_true()
        if found.shape == value.shape:
            return found
        repeat = graph.constant([1, value.shape[-1], 1, 1], np.int64)
        return Value(graph, graph.node("Expand", found.name, repeat), value.shape, value.dtype)

    yes, _ = graph.branch(expanded)
    # Some runtimes want a condition without axes.
    scalar = graph.node("Reshape", condition.name, graph.constant([], np.int64))
    name = graph.node("If", scalar, then_branch=yes, else_branch=no)
    return Value(graph, name, value.shape, value.dtype)


def _channel_mean(x: Value) -> Value:
    # A matrix product is several times as fast as ReduceMean.
    graph, channels = x.graph, x.shape[-1]
    rows = graph.node("Reshape", x.name, graph.constant([0, channels, -1], np.int64))
    product = graph.node("MatMul", graph.constant(np.full((1, channels), 1 / channels)), rows)
    lead = graph.constant([0, 1], np.int64)
    size = graph.node("Concat", lead, x.size(), axis=0)
    return Value(graph, graph.node("Reshape", product, size), (*x.shape[:-1], 1))


def _window_means(x: Value, inside: None = None, *, radius: int = guided_filter.RADIUS) -> Value:
    """Average over windows that end where the array ends: first columns, then rows."""
    side = 2 * radius + 1
    if radius == 1:
        return x.apply("AveragePool", kernel_shape=[side, side], pads=[radius] * 4)
    rows = x.apply("AveragePool", kernel_shape=[1, side], pads=[0, radius, 0, radius])
    return rows.apply("AveragePool", kernel_shape=[side, 1], pads=[radius, 0, radius, 0])


def _halve(x: Value, inside: None = None) -> Value:
    batch, height, width, channels = x.shape
    halved = x.apply("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return Value(x.graph, halved.name, (batch, f"{height} / 2", f"{width} / 2", channels))


def _double(x: Value, like: Value, inside: None = None) -> Value:
    """Interpolate with a convolution, and interleave its results: twice as fast as ``Resize``."""
    graph, channels = x.graph, x.shape[-1]

    def reshape(name: str, *shape: Any) -> str:
        parts = (n if isinstance(n, str) else graph.constant([n], np.int64) for n in shape)
        return graph.node("Reshape", name, graph.node("Concat", *parts, axis=0))

    # The four pixels of each block, from the block and its neighbors.
    weights = np.array([[1, 3, 0], [0, 3, 1]]) / 4
    kernel = np.tile(
        np.einsum("yi,xj->yxij", weights, weights).reshape(4, 1, 3, 3), (channels, 1, 1, 1)
    )
    border = graph.constant([0, 0, 1, 1] * 2, np.int64)
    padded = graph.node("Pad", x.name, border, mode="edge")
    made = graph.node("Conv", padded, graph.constant(kernel), kernel_shape=[3, 3], group=channels)
    # Pixels of a row become neighbors, then rows.
    size = x.size()
    rows = graph.node("Slice", size, *(graph.constant([n], np.int64) for n in (0, 1)))
    made = graph.node("Transpose", reshape(made, 0, 2 * channels, 2, -1), perm=[0, 1, 3, 2])
    made = graph.node("Transpose", reshape(made, 0, channels, 2, rows, -1), perm=[0, 1, 3, 2, 4])
    made = reshape(made, 0, channels, graph.node("Mul", size, graph.constant(2, np.int64)))
    ends = (graph.constant([0, 0], np.int64), like.size(), graph.constant([2, 3], np.int64))
    return Value(graph, graph.node("Slice", made, *ends), (*like.shape[:3], channels))


def _apply_curves(image: Value, maps: Value, *, iterations: int) -> Value:
    """Iterate LE(x) = x ((1 - A) + A x)."""
    curves.check_maps(maps, iterations)
    maps_of_iterations = [maps] * iterations
    if maps.shape[-1] > 3:
        maps_of_iterations = _split(maps, iterations, axis=-1)
    rest = {a.name: 1 - a for a in maps_of_iterations}
    for a in maps_of_iterations:
        image = image * (rest[a.name] + a * image)
    return image


Value.__kernels__ = {
    curves.apply_curves: _apply_curves,
    guided_filter.window_means: _window_means,
    halving.double: _double,
    halving.halve: _halve,
    pixels.channel_mean: _channel_mean,
    pixels.choose: _choose,
}
