"""The formats of exported files: writing them, and running them to verify them."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from zerodce_jax.config import NetworkConfig
from zerodce_jax.errors import UsageError
from zerodce_jax.export.function import Function, input_names, jax_function
from zerodce_jax.models.network import Network

_INPUTS = ("image", "strength", "protection", "gamma")


def to_onnx(network: Network, metadata: dict[str, str]) -> bytes:
    """Return the function as an ONNX model of the opset `onnx_array.OPSET`, with metadata."""
    from zerodce_jax.export.onnx_model import onnx_model

    model = onnx_model(network)
    for name, text in metadata.items():
        model.metadata_props.add(key=name, value=text)
    return model.SerializeToString()


def to_stablehlo(network: Network, metadata: dict[str, str]) -> bytes:
    """Return the function as `jax.export` serializes it, for CPUs, CUDA GPUs and TPUs.

    JAX promises to read such files for six months; the parameters are the durable form. The
    metadata are JSON in ``Exported.fun_name``.

    Raises:
        UsageError: The network reduces images as Zero-DCE++ does it, to a size that cannot be
            expressed for images of free sizes.
    """
    from jax import export as jax_export

    if isinstance(network.config, NetworkConfig) and network.config.scale > 1:
        raise UsageError(
            f"export: StableHLO cannot express the reduction by {network.config.scale} for free"
            " sizes; .onnx can"
        )
    batch, height, width = jax_export.symbolic_shape("batch, height, width")
    arguments = _arguments(network, (batch, height, width, 3))
    function = jax.jit(jax_function(network))
    exported = jax_export.export(function, platforms=("cpu", "cuda", "tpu"))(*arguments)
    return bytes(replace(exported, fun_name=json.dumps(metadata)).serialize())


def to_tflite(network: Network, metadata: dict[str, str], size: tuple[int, int]) -> bytes:
    """Return the function as a LiteRT model for one image size; its description has metadata."""
    import flatbuffers
    from jax import export as jax_export

    # Not a declared package: its pins contradict those of tyro, though it needs nothing else.
    ir, passmanager, stablehlo = (
        import_module(f"litert_converter.mlir.{name}")
        for name in ("ir", "passmanager", "dialects.stablehlo")
    )
    converter, schema = (
        import_module(f"litert_converter.{name}")
        for name in ("converter_api_ext", "schema_py_generated")
    )
    arguments = _arguments(network, (1, *size, 3))
    exported = jax_export.export(jax.jit(jax_function(network)), platforms=("cpu",))(*arguments)
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context, ir.Location.unknown():
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        converter.set_signature(
            module.operation, "serving_default", input_names(network), ["enhanced"]
        )
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        made = converter.export_flatbuffer_to_bytes(module.operation)
    model = schema.ModelT.InitFromPackedBuf(made)
    model.description = json.dumps(metadata)
    builder = flatbuffers.Builder(len(made))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def run(file: Path) -> Function:
    """Return the function of an exported file, run by the runtime that the file is for."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda *values: session.run(None, dict(zip(names, values, strict=True)))[0]
    if file.suffix == ".tflite":
        interpreter = import_module("ai_edge_litert.interpreter").Interpreter(str(file))
        runner = interpreter.get_signature_runner()
        names = [name for name in _INPUTS if name in runner.get_input_details()]
        return lambda *values: runner(**dict(zip(names, values, strict=True)))["enhanced"]
    from jax import export as jax_export

    exported = jax_export.deserialize(bytearray(file.read_bytes()))
    return jax.jit(exported.call)


def _arguments(network: Network, shape: tuple[Any, ...]) -> list[jax.ShapeDtypeStruct]:
    """Return the shapes and types of the function's inputs, for images of that shape."""
    shapes = {"image": shape, "strength": shape[:1], "protection": shape[:1], "gamma": ()}
    return [jax.ShapeDtypeStruct(shapes[name], jnp.float32) for name in input_names(network)]
