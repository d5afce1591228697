"""``zerodce export``."""

import os
import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg


def export(
    target: Annotated[Positional[Path], arg(metavar="OUT")],
    /,
    *,
    model: Annotated[str, arg(aliases=["-m"])] = "reduced",
    denoise: Annotated[float | None, arg(metavar="X")] = None,
    protect_highlights: Annotated[float | None, arg(metavar="X")] = None,
    size: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None,
    license: Annotated[str | None, arg(metavar="TEXT")] = None,  # noqa: A002
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
) -> int:
    """Write a network as a file that runs without this package, and verify it.

    Args:
        target: A name that ends in .onnx, .stablehlo or .tflite.
        model: Network, as for enhance.
        denoise: How strongly to hold down noise, 0 to 1; the network's own choice where it is not
            given, and 0.17 where that is auto.
        protect_highlights: 0 leaves the protection of highlights and its input out.
        size: Height and width of the pictures, in pixels: for .tflite, which needs one size.
        license: Of the network, for the file; known of the shipped ones.
        overwrite: Replace a target that exists.
    """
    from zerodce_jax.errors import InputError
    from zerodce_jax.models import serialization
    from zerodce_jax.models.serialization import Network

    _check_format(target, size)
    if target.exists() and not overwrite:
        raise InputError(f"{target}: exists already; --overwrite replaces it")
    network = serialization.load(model)
    for note in network.notes:
        print(f"zerodce: note: {note}", file=sys.stderr)
    settings = network.settings.changed(denoise=denoise, protect_highlights=protect_highlights)
    network = Network(network.config, network.params, settings)

    from zerodce_jax import export as exports
    from zerodce_jax.engines.onnx_array import OPSET

    if license is None:
        license = exports.LICENSE if model in serialization.shipped() else "not stated"  # noqa: A001
    metadata = exports.metadata(network, source=model, license=license)
    rows = exports.save(network, target, metadata, size=size)
    called = network.config.preset or "an architecture of its own"
    kinds = {".onnx": f"ONNX, opset {OPSET}", ".stablehlo": "StableHLO", ".tflite": "LiteRT"}
    kind = kinds[target.suffix]
    print(f"{target}: {called}, {kind}, inputs {', '.join(exports.input_names(network))}")
    for name, difference in rows:
        print(f"largest difference from the JAX function, {name}: {difference:.2g}")
    return 0


def _check_format(target: Path, size: tuple[int, int] | None) -> None:
    from importlib.util import find_spec

    from zerodce_jax.errors import UsageError

    # LiteRT's packages cannot be an extra: their pins contradict those of tyro.
    extra, litert = "'zerodce-jax[export]'", "--no-deps litert-converter ai-edge-litert"
    needed = {
        ".onnx": {"onnx": extra, "onnxruntime": extra},
        ".stablehlo": {"flatbuffers": extra},
        ".tflite": {"flatbuffers": extra, "litert_converter": litert, "ai_edge_litert": litert},
    }
    if target.suffix not in needed:
        raise UsageError(f"{target}: networks are exported as .onnx, .stablehlo or .tflite")
    if (size is not None) != (target.suffix == ".tflite"):
        raise UsageError(f"{target}: --size HEIGHT WIDTH is for .tflite, and needed there")
    if size is not None and min(size) < 1:
        raise UsageError(f"--size must be at least 1, not {min(size)}")
    for name, command in needed[target.suffix].items():
        if find_spec(name) is None:
            raise UsageError(f"{target.suffix} needs packages: pip install {command}")
    # LiteRT's libraries tell what they do.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
