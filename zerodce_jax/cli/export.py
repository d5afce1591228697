"""``zerodce export``."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zerodce_jax.atomic import check_place
from zerodce_jax.cli.messages import note
from zerodce_jax.cli.options import unless
from zerodce_jax.errors import InputError, UsageError, require_training


def export(
    target: Annotated[Positional[Path], arg(metavar="OUT")],
    /,
    *,
    model: Annotated[str, arg(aliases=["-m"], metavar="NET")] = "scene",
    denoise: Annotated[float | None, unless("X", "the network's own")] = None,
    protect_highlights: Annotated[float | None, unless("X", "the network's own")] = None,
    size: Annotated[tuple[int, int] | None, unless("HEIGHT WIDTH", "any size")] = None,
    license: Annotated[str | None, unless("TEXT", "that of a shipped network")] = None,  # noqa: A002
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
) -> int:
    """Export a network to a file that runs without this package, and verify the file.

    Args:
        target: File name that ends in .onnx, .stablehlo or .tflite.
        model: Network, as for enhance.
        denoise: Denoising strength, 0 to 1. A network whose own is
            auto gets 0.17.
        protect_highlights: 0 removes highlight protection, and its input, from
            the file.
        size: Height and width of the images, in pixels, which
            .tflite requires.
        license: License of the network, to store in the file; by
            default that of a shipped network.
        overwrite: Replace an existing target.
    """
    from zerodce_jax.models.network import Network
    from zerodce_jax.models.serialization import load_network, shipped_networks

    _check_format(target, size)
    if target.exists() and not overwrite:
        raise InputError(f"{target}: already exists; --overwrite replaces it")
    check_place(target)
    network = load_network(model)
    note(*network.notes)
    settings = network.settings.changed(denoise=denoise, protect_highlights=protect_highlights)
    network = Network(network.config, network.params, settings)

    from zerodce_jax import export as exports
    from zerodce_jax.engines.onnx_array import OPSET

    if license is None:
        license = exports.LICENSE if model in shipped_networks() else "not stated"  # noqa: A001
    metadata = exports.metadata(network, source=model, license=license)
    rows = exports.save(network, target, metadata, size=size)
    formats = {".onnx": f"ONNX, opset {OPSET}", ".stablehlo": "StableHLO", ".tflite": "LiteRT"}
    inputs = ", ".join(exports.input_names(network))
    print(f"{target}: {network.architecture}, {formats[target.suffix]}, inputs {inputs}")
    for name, difference in rows:
        print(f"largest difference from the JAX function, {name}: {difference:.2g}")
    return 0


def _check_format(target: Path, size: tuple[int, int] | None) -> None:
    if target.suffix not in {".onnx", ".stablehlo", ".tflite"}:
        raise UsageError(f"{target}: networks are exported as .onnx, .stablehlo or .tflite")
    if (size is not None) != (target.suffix == ".tflite"):
        raise UsageError(f"{target}: --size HEIGHT WIDTH is required for .tflite, and only for it")
    if size is not None and min(size) < 1:
        raise UsageError(f"--size must be at least 1, not {min(size)}")
    require_training("export")
    litert = map(importlib.util.find_spec, ("litert_converter", "ai_edge_litert"))
    if target.suffix == ".tflite" and None in litert:
        # They cannot be in the extra, because their pins conflict with those of tyro.
        command = "pip install --no-deps litert-converter ai-edge-litert"
        raise UsageError(f".tflite needs packages: {command}")
    # Silence the messages of LiteRT's libraries.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
