"""Networks as files that run without this package: ONNX, StableHLO and LiteRT.

All hold one function of whole images: ``image`` (batch, height, width, 3), float32 in [0, 1],
``strength`` (batch,), the factor on the curve maps, ``protection`` (batch,) of highlights (where
the network's settings have any) and ``gamma``, to the enhanced images. Sizes are
free, but for LiteRT (``.tflite``), which has one picture of one size. What
`Enhancer` finds out about a picture beforehand, its strength and protection, comes in as numbers.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from zerodce_jax.atomic import replacing
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines import onnx_graph
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.media import photo
from zerodce_jax.models.dcenet import graphdef
from zerodce_jax.models.network import Network
from zerodce_jax.ops.curves import apply_curves, curve_gain
from zerodce_jax.ops.denoise import LEAST, denoise
from zerodce_jax.ops.guided_filter import REACH
from zerodce_jax.ops.highlights import local_brightness, max_curve_strength

LICENSE = "Apache-2.0; trained on photographs under an academic licence (MODEL_CARD.md)"
"""Of the networks that ship."""
PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS = ("image", "strength", "protection", "gamma")
TOLERANCE = 1e-3
"""Largest difference from the JAX function that an export may have, in [0, 1]."""

Images = Float[np.ndarray, "_ _ _ 3"]
Enhance = Callable[..., Any]


def function(network: Network) -> Enhance:
    """The function that is exported: JAX, not jitted.

    Args:
        network: Its settings decide whether highlights can be protected, and how strongly noise is
            held down: ``auto`` is 0.17 here, as for pictures without any to be found.

    Returns:
        From image (b, h, w, 3) in [0, 1], strength (b,), protection (b,) where there is any, and
        gamma (), to the enhanced image (b, h, w, 3) in [0, 1].
    """
    config, amount = network.config, _amount(network.settings)
    model = nnx.merge(graphdef(config), network.params)

    def bend(image: Array, strength: Array, protection: Array | None, gamma: Array) -> Array:
        def each(x: Array) -> Array:
            return x[:, None, None, None]

        maps = model.upsample(jnp.clip(each(strength) * model.estimate(image), -1, 1), image)
        inside = _around(jnp.ones_like(image[..., :1]))
        if protection is not None:
            brightness = local_brightness(_around(image), inside)
            most = max_curve_strength(brightness, each(protection), iterations=config.iterations)
            maps = jnp.maximum(maps, -most)
        bent = apply_curves(image, maps, iterations=config.iterations)
        if amount:
            gain = curve_gain(image, maps, iterations=config.iterations)
            bent = denoise(_around(bent), _around(gain), inside, amount)
        bent = jnp.where(gamma == 1, bent, jnp.exp(gamma * jnp.log(bent)))
        return jnp.clip(bent, 0, 1)

    if network.settings.protect_highlights:
        return bend
    return lambda image, strength, gamma: bend(image, strength, None, gamma)


def _amount(settings: EnhanceSettings) -> float:
    return LEAST if settings.denoise == "auto" else settings.denoise


def inputs(network: Network) -> list[str]:
    """Names of the inputs, in their order."""
    protect = network.settings.protect_highlights > 0
    return [name for name in INPUTS if name != "protection" or protect]


def to_onnx(network: Network, metadata: dict[str, str]) -> bytes:
    """The function as an ONNX model.

    Args:
        network: What to export.
        metadata: Texts that the file carries, by name.

    Returns:
        The file; `onnx_ops.OPSET` is the opset that it needs.
    """
    protect = network.settings.protect_highlights > 0
    model = onnx_graph.whole(network, protect=protect, denoise=_amount(network.settings))
    for name, text in metadata.items():
        model.metadata_props.add(key=name, value=text)
    return model.SerializeToString()


def to_stablehlo(network: Network, metadata: dict[str, str]) -> bytes:
    """The function as `jax.export` serializes it, for CPUs, CUDA GPUs and TPUs.

    JAX promises to read such files for six months; parameters are the durable form.

    Args:
        network: What to export.
        metadata: Texts that the file carries, as JSON in ``Exported.fun_name``.

    Raises:
        UsageError: The network looks at an image reduced as Zero-DCE++ does it, whose size no
            arithmetic of free sizes expresses.
    """
    from jax import export as jax_export

    if network.config.scale > 1 and network.config.levels == 1:
        raise UsageError(
            f"export: StableHLO cannot express the reduction by {network.config.scale} for free"
            " sizes; .onnx can"
        )
    batch, height, width = jax_export.symbolic_shape("batch, height, width")
    of_each = jax.ShapeDtypeStruct((batch,), jnp.float32)
    shapes = {
        "image": jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32),
        "strength": of_each,
        "protection": of_each,
        "gamma": jax.ShapeDtypeStruct((), jnp.float32),
    }
    arguments = [shapes[name] for name in inputs(network)]
    exported = jax_export.export(jax.jit(function(network)), platforms=PLATFORMS)(*arguments)
    return bytes(replace(exported, fun_name=json.dumps(metadata)).serialize())


def to_tflite(network: Network, metadata: dict[str, str], size: tuple[int, int]) -> bytes:
    """The function as a LiteRT model, for one picture of one size.

    Args:
        network: What to export.
        metadata: Texts that the file carries, as JSON in the model's description.
        size: Height and width, in pixels.
    """
    import flatbuffers
    from jax import export as jax_export

    # Not among the declared packages: its own pins contradict tyro's, though it needs nothing else.
    converter, schema, ir, passmanager, stablehlo = (
        import_module(f"litert_converter.{name}")
        for name in (
            "converter_api_ext",
            "schema_py_generated",
            "mlir.ir",
            "mlir.passmanager",
            "mlir.dialects.stablehlo",
        )
    )
    enhance = function(network)
    one = jax.ShapeDtypeStruct((1,), jnp.float32)
    shapes = {
        "image": jax.ShapeDtypeStruct((1, *size, 3), jnp.float32),
        "strength": one,
        "protection": one,
        "gamma": jax.ShapeDtypeStruct((), jnp.float32),
    }
    exported = jax_export.export(jax.jit(enhance), platforms=("cpu",))(
        *(shapes[name] for name in inputs(network))
    )
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context, ir.Location.unknown():
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        converter.set_signature(module.operation, "serving_default", inputs(network), ["enhanced"])
        converter.run_convert_to_tfl_passes(
            module, passmanager.PassManager(), converter.ConvertToTFLConfig()
        )
        made = converter.export_flatbuffer_to_bytes(module.operation)
    model = schema.ModelT.InitFromPackedBuf(made)
    model.description = json.dumps(metadata)
    builder = flatbuffers.Builder(len(made))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def run(file: Path) -> Enhance:
    """What an exported file computes, by the runtime that it is for."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda *values: session.run(None, dict(zip(names, values, strict=True)))[0]
    if file.suffix == ".tflite":
        interpreter = import_module("ai_edge_litert.interpreter").Interpreter(str(file))
        runner = interpreter.get_signature_runner()
        names = [name for name in INPUTS if name in runner.get_input_details()]
        return lambda *values: runner(**dict(zip(names, values, strict=True)))["enhanced"]
    from jax import export as jax_export

    exported = jax_export.deserialize(bytearray(file.read_bytes()))
    return jax.jit(exported.call)


def differences(
    network: Network, exported: Enhance, images: Sequence[tuple[str, Images]]
) -> list[tuple[str, float]]:
    """The largest difference between an export and the JAX function.

    Args:
        network: What was exported.
        exported: As of `run`.
        images: What to try them on, with names.

    Returns:
        For each of the images its name with its shape, and the difference, in [0, 1].
    """
    expected = jax.jit(function(network))
    rows = []
    for name, image in images:
        largest = 0.0
        for strength, gamma in ((1.0, 1.0), (3.0, 1.15)):
            numbers = {"strength": strength, "protection": 1.0}
            values = {name: np.full(len(image), x, np.float32) for name, x in numbers.items()}
            values |= {"image": image, "gamma": np.array(gamma, np.float32)}
            some = [values[name] for name in inputs(network)]
            result, wanted = (np.asarray(enhance(*some)) for enhance in (exported, expected))
            largest = max(largest, float(np.abs(result - wanted).max()))
        rows.append((f"{name} {'x'.join(map(str, image.shape))}", largest))
    return rows


def metadata(network: Network, *, source: str, license: str) -> dict[str, str]:  # noqa: A002
    """What a file should say about its network.

    Args:
        network: What is exported.
        source: Where it was read from.
        license: Of the network.
    """
    return {
        "network": network.config.preset or "an architecture of its own",
        "source": source,
        "license": license,
        "config": json.dumps(network.config.to_dict()),
        "settings": json.dumps(network.settings.to_dict()),
        "inputs": ", ".join(inputs(network)),
    }


def save(
    network: Network, path: Path, metadata: dict[str, str], *, size: tuple[int, int] | None = None
) -> list[tuple[str, float]]:
    """Export a network to a file, and verify it.

    Args:
        network: What to export.
        path: ``.onnx``, ``.stablehlo`` or ``.tflite``; it is written whole, and only if it is
            right.
        metadata: Texts that the file carries.
        size: Height and width, in pixels, which ``.tflite`` needs.

    Returns:
        As `differences`, for random images and a photograph that comes with the package.

    Raises:
        InputError: The export differs from the JAX function by more than `TOLERANCE`.
        UsageError: The network cannot be exported in that format.
    """
    if size is not None:
        made = to_tflite(network, metadata, size)
    else:
        made = {".onnx": to_onnx, ".stablehlo": to_stablehlo}[path.suffix](network, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(made)
        found = differences(network, run(temporary), _images(size))
        name, worst = max(found, key=lambda row: row[1])
        # Written so that nan fails too.
        if not worst <= TOLERANCE:
            raise InputError(f"{path}: differs from the JAX function by {worst:.2g} ({name})")
    return found


def _images(size: tuple[int, int] | None) -> list[tuple[str, Images]]:
    rng = np.random.default_rng(0)
    sizes = [(1, 37, 45, 3), (2, 64, 48, 3), (3, 1, 20, 3)] if size is None else [(1, *size, 3)]
    random = [("random", rng.random(shape, dtype=np.float32) ** 3) for shape in sizes]
    with resources.as_file(resources.files("zerodce_jax") / "picture.jpg") as file:
        pixels = photo.read(file).pixels
    image = pixels[None].astype(np.float32) / 255
    if size is not None:
        return [*random, ("picture", np.resize(image, (1, *size, 3)))]
    return [*random, ("picture", image), ("picture", np.concatenate([image[:, ::-1], image / 8]))]


def _around(x: Array) -> Array:
    return jnp.pad(x, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)))
