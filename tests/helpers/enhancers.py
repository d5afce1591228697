"""Networks, enhancers and images for the tests of `zerodce_jax.enhancer`, and expected results."""

from dataclasses import replace
from functools import cache

import numpy as np

from helpers import GOLDENS, whole_image
from zerodce_jax import Enhancer, Network
from zerodce_jax.config import EnhanceSettings, SceneConfig
from zerodce_jax.models import serialization
from zerodce_jax.models.network import flatten, unflatten

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
ADAPTIVE = EnhanceSettings.adaptive()
PLAIN = EnhanceSettings()


@cache
def network_of(name: str, scale: int = 1) -> Network:
    """Return a random network of an architecture at any scale, or a small scene network."""
    if name == "scene":
        return whole_image.random_network(SceneConfig(features=8, levels=4))
    network = serialization.load_network(GOLDENS / f"{name}_random.pth")
    return replace(network, config=replace(network.config, scale=scale))


@cache
def enhancer_of(name: str = "reduced", scale: int = 1, tile: int = 16, batch: int = 1) -> Enhancer:
    """Return an enhancer with `network_of`; a batch of 0 stands for the engine onnx."""
    return _enhancer(network_of(name, scale), tile, batch)


@cache
def brightening_network(name: str, scale: int = 1) -> Network:
    """Return `network_of` with curves that nearly all brighten, and with adaptive settings."""
    network = network_of(name, scale)
    flat = {key: array / 2 for key, array in flatten(network.params).items()}
    *_, last = (key for key in network.config.param_shapes if key.endswith("bias"))
    flat[last] = flat[last] - np.float32(0.25)
    settings = EnhanceSettings.scene() if name == "scene" else ADAPTIVE
    return replace(network, params=unflatten(flat), settings=settings)


@cache
def brightening_enhancer(name: str, scale: int, tile: int, batch: int) -> Enhancer:
    """Return an enhancer with `brightening_network`; a batch of 0 stands for the engine onnx."""
    return _enhancer(brightening_network(name, scale), tile, batch)


def _enhancer(network: Network, tile: int, batch: int) -> Enhancer:
    if not batch:
        return Enhancer(network, engine="onnx", tile=tile)
    return Enhancer(network, engine="xla", tile=tile, batch=batch)


def onnx_enhancer() -> Enhancer:
    return enhancer_of("reduced", 1, 16, 0)


def scene_enhancer() -> Enhancer:
    return enhancer_of("scene", 1, 24, 0)


def reduced_scale_enhancer() -> Enhancer:
    return enhancer_of("plusplus", 12, 24, 2)


def random_image(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return random pixels over the whole range of their type."""
    return _to_type(np.random.default_rng(seed).random(shape), dtype)


def dark_image(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Return a dark scene with a bright region and with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, np.pi, size) for size in shape[:2])
    lamp = (np.sin(rows)[:, None] * np.sin(columns)) ** 8
    scene = lamp if len(shape) == 2 else lamp[:, :, None] * [1, 0.9, 0.8]
    return _to_type((0.9 * scene + 0.1 * rng.random(shape) ** 2).clip(0, 1), dtype)


def _to_type(pixels: np.ndarray, dtype: str) -> np.ndarray:
    if dtype.startswith("uint"):
        return np.round(pixels * np.iinfo(dtype).max).astype(dtype)
    return pixels.astype(dtype)


def in_unit_range(image: np.ndarray) -> np.ndarray:
    """Return an image of any type as floats in [0, 1]."""
    return image / (np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)


def expected_strength(network: Network, image: np.ndarray, settings: EnhanceSettings) -> float:
    """Return the factor on the curve maps of a float image, from the reference analysis."""
    color = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    return settings.strength * whole_image.exposure_strength(
        network, color.astype(np.float64), settings
    )


def expected_image(network: Network, image: np.ndarray, settings: EnhanceSettings) -> np.ndarray:
    """Return the enhanced image in float64 from the reference, for any settings."""
    rounding = 1 / np.iinfo(image.dtype).max if image.dtype.kind == "u" else 0.0
    image = in_unit_range(image)
    denoise = settings.denoise
    return whole_image.enhance(
        network,
        image,
        gamma=settings.gamma,
        strength=expected_strength(network, image, settings),
        protect_highlights=settings.protect_highlights,
        denoise=whole_image.auto_denoising_strength(image) if denoise == "auto" else denoise,
        rounding=rounding,
    )
