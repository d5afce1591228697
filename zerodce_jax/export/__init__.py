"""Networks as files that run without this package: ONNX, StableHLO and LiteRT.

A file holds one function of whole images, `function.jax_function`: ``image`` (batch, height, width,
3), float32 in [0, 1], ``strength`` (batch,), the factor on the curve maps, ``protection`` (batch,)
of highlights, if the network's settings ask for it, and ``gamma`` go in; the enhanced images come
out. Sizes are free, except that LiteRT (``.tflite``) takes one image of one size. What `Enhancer`
decides for each image, its strength and protection, are inputs. Scene networks decide the exposure
themselves, so their files hold the whole enhancement, and a strength of 1 is the network's choice.
"""

import json
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError
from zerodce_jax.export.formats import run, to_onnx, to_stablehlo, to_tflite
from zerodce_jax.export.function import (
    Function,
    input_names,
    jax_function,
    takes_protection,
)
from zerodce_jax.media import photo
from zerodce_jax.models.network import Network

LICENSE = (
    "Apache-2.0; trained on photographs under free licenses (MODEL_CARD.md, docs/training-data.csv)"
)
"""License of the networks that ship."""
TOLERANCE = 1e-3
"""Largest difference from the JAX function that an export may have, in [0, 1]."""

Images = Float[np.ndarray, "_ _ _ 3"]


def metadata(network: Network, *, source: str, license: str) -> dict[str, str]:  # noqa: A002
    """Return what a file says about its network, where that was read from, and its license."""
    return {
        "network": network.architecture,
        "source": source,
        "license": license,
        "config": json.dumps(network.config.to_dict()),
        "settings": json.dumps(network.settings.to_dict()),
        "inputs": ", ".join(input_names(network)),
    }


def save(
    network: Network, path: Path, metadata: dict[str, str], *, size: tuple[int, int] | None = None
) -> list[tuple[str, float]]:
    """Export a network to a file, and verify it.

    Args:
        network: The network to export.
        path: A name that ends in ``.onnx``, ``.stablehlo`` or ``.tflite``. The file is written
            whole or not at all, and only if it passes.
        metadata: Texts that the file carries, by name.
        size: Height and width, in pixels, which ``.tflite`` needs.

    Returns:
        The name and shape of each test image, and the largest difference for it, in [0, 1].

    Raises:
        InputError: The export differs from the JAX function by more than `TOLERANCE`.
        UsageError: The network cannot be exported in that format.
    """
    if size is not None:
        content = to_tflite(network, metadata, size)
    else:
        content = {".onnx": to_onnx, ".stablehlo": to_stablehlo}[path.suffix](network, metadata)
    expected = jax.jit(jax_function(network))
    rows = []
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        exported = run(temporary)
        for name, images in _test_images(size):
            difference = _difference(network, exported, expected, images)
            rows.append((f"{name} {'x'.join(map(str, images.shape))}", difference))
            # Written so that nan fails too.
            if not difference <= TOLERANCE:
                raise InputError(f"{path}: differs from the JAX function by {difference:.2g}")
    return rows


def _difference(network: Network, exported: Function, expected: Function, images: Images) -> float:
    """Return the largest difference of two functions, over two strengths and gammas."""
    differences = []
    ones = np.ones(len(images), np.float32)
    protection = [ones] * takes_protection(network)
    for strength, gamma in ((1, 1), (3, 1.15)):
        inputs = [images, strength * ones, *protection, np.array(gamma, np.float32)]
        results = [np.asarray(function(*inputs)) for function in (exported, expected)]
        differences.append(np.abs(np.subtract(*results)).max())
    # Unlike Python's maximum, this one keeps nan.
    return float(np.max(differences))


def _test_images(size: tuple[int, int] | None) -> list[tuple[str, Images]]:
    rng = np.random.default_rng(0)
    sizes = [(1, 37, 45, 3), (2, 64, 48, 3), (3, 1, 20, 3)] if size is None else [(1, *size, 3)]
    random = [("random", rng.random(shape, dtype=np.float32) ** 3) for shape in sizes]
    with resources.as_file(resources.files("zerodce_jax.export") / "picture.jpg") as file:
        pixels = photo.read(file).pixels
    image = pixels[None].astype(np.float32) / 255
    if size is not None:
        return [*random, ("picture", np.resize(image, (1, *size, 3)))]
    return [*random, ("picture", image), ("picture", np.concatenate([image[:, ::-1], image / 8]))]
