"""enhancer.py: any image of any size and kind, alone and among others, against the whole image."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import GOLDENS, whole_image
from zerodce_jax import Enhancer, InputError, Network, UsageError
from zerodce_jax import enhancer as enhancer_module
from zerodce_jax.config import EnhanceSettings, NetworkConfig
from zerodce_jax.enhancer import choose_engine
from zerodce_jax.models import serialization
from zerodce_jax.models.dcenet import graphdef
from zerodce_jax.models.network import flatten, unflatten
from zerodce_jax.ops import exposure
from zerodce_jax.ops.curves import apply_curves

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")

# Network, scale, tile, batch (0 is the engine onnx, which has none).
COMBINATIONS = [
    ("reduced", 1, 16, 1),
    ("reduced", 1, 16, 0),
    pytest.param("plusplus", 1, 16, 4, marks=pytest.mark.slow),
    ("plusplus", 12, 24, 2),
    ("plusplus", 12, 24, 0),
    pytest.param("reduced", 3, 16, 1, marks=pytest.mark.slow),
    ("fast", 8, 24, 2),
    ("fast", 8, 24, 0),
    pytest.param("fast", 5, 16, 1, marks=pytest.mark.slow),
    pytest.param("original", 1, 64, 3, marks=pytest.mark.slow),
    pytest.param("original", 1, 64, 0, marks=pytest.mark.slow),
    pytest.param("plusplus", 1, 40, 0, marks=pytest.mark.slow),
]


@cache
def network_of(name: str, scale: int = 1) -> Network:
    if name == "fast":
        network = whole_image.random_network(NetworkConfig(shared_curve=True, levels=3))
    else:
        network = serialization.load_network(GOLDENS / f"{name}_random.pth")
    return replace(network, config=replace(network.config, scale=scale))


@cache
def enhancer_of(name: str = "reduced", scale: int = 1, tile: int = 16, batch: int = 1) -> Enhancer:
    if not batch:
        pytest.importorskip("onnxruntime")
        return Enhancer(network_of(name, scale), engine="onnx", tile=tile)
    return Enhancer(network_of(name, scale), engine="xla", tile=tile, batch=batch)


@cache
def brightening(name: str, scale: int = 1) -> Network:
    """The same networks with curves that nearly all brighten, as those that ship, and settings."""
    network = network_of(name, scale)
    flat = {key: array / 2 for key, array in flatten(network.params).items()}
    last = "conv7.pointwise.bias" if network.config.separable else "conv7.bias"
    flat[last] = flat[last] - np.float32(0.25)
    return replace(network, params=unflatten(flat), settings=EnhanceSettings.adaptive())


@cache
def brightener_of(name: str, scale: int, tile: int, batch: int) -> Enhancer:
    network = brightening(name, scale)
    if not batch:
        pytest.importorskip("onnxruntime")
        return Enhancer(network, engine="onnx", tile=tile)
    return Enhancer(network, engine="xla", tile=tile, batch=batch)


def by_onnx_runtime() -> Enhancer:
    return enhancer_of("reduced", 1, 16, 0)


def in_a_grid() -> Enhancer:
    return enhancer_of("fast", 8, 24, 0)


def at_reduced_scale() -> Enhancer:
    return enhancer_of("plusplus", 12, 24, 2)


def picture(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Random pixels over the whole range of their type."""
    pixels = np.random.default_rng(seed).random(shape)
    if dtype.startswith("uint"):
        return np.round(pixels * np.iinfo(dtype).max).astype(dtype)
    return pixels.astype(dtype)


batches_of_sizes = st.lists(
    st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=3
)


def assert_equal_to_whole_images(
    name: str, scale: int, tile: int, batch: int, sizes: list[tuple[int, int]], gamma: float
) -> None:
    images = [picture(*size, 3, dtype="float32", seed=i) for i, size in enumerate(sizes)]
    results = list(enhancer_of(name, scale, tile, batch).many(images, gamma=gamma))
    for image, result in zip(images, results, strict=True):
        whole = whole_image.enhance(network_of(name, scale), image, gamma=gamma)
        np.testing.assert_allclose(result, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "scale", "tile", "batch"), COMBINATIONS)
@settings(max_examples=5)
@given(sizes=batches_of_sizes, gamma=st.sampled_from([1.0, 1.15]))
def test_tiles_give_what_the_whole_image_gives(
    name: str, scale: int, tile: int, batch: int, sizes: list[tuple[int, int]], gamma: float
) -> None:
    assert_equal_to_whole_images(name, scale, tile, batch, sizes, gamma)


@pytest.mark.slow
@pytest.mark.parametrize("tile", [8, 24, 64])
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("reduced", 1),
        ("original", 1),
        ("plusplus", 1),
        ("plusplus", 12),
        ("reduced", 3),
        ("fast", 8),
    ],
)
@settings(max_examples=8)
@given(sizes=batches_of_sizes, gamma=st.sampled_from([1.0, 1.15]), batch=st.sampled_from([0, 1, 3]))
def test_tiles_give_what_the_whole_image_gives_thoroughly(
    name: str, scale: int, tile: int, batch: int, sizes: list[tuple[int, int]], gamma: float
) -> None:
    assert_equal_to_whole_images(name, scale, tile, batch, sizes, gamma)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (199, 2), (16, 16), (17, 33), (200, 200)])
def test_sizes_at_the_edges(size: tuple[int, int]) -> None:
    for combination in (("reduced", 1, 16, 1), ("plusplus", 12, 24, 2)):
        assert_equal_to_whole_images(*combination, [size], 1.15)


@pytest.mark.parametrize(
    ("name", "scale", "size"),
    [
        ("reduced", 1, (23, 31)),
        pytest.param("plusplus", 12, (61, 47), marks=pytest.mark.slow),
        pytest.param("original", 1, (70, 41), marks=pytest.mark.slow),
        pytest.param("plusplus", 1, (1, 57), marks=pytest.mark.slow),
        pytest.param("reduced", 3, (80, 100), marks=pytest.mark.slow),
    ],
)
def test_tiles_give_what_the_network_gives(name: str, scale: int, size: tuple[int, int]) -> None:
    network = network_of(name, scale)
    image = picture(*size, 3, dtype="float32")
    model = nnx.merge(graphdef(network.config), network.params)
    whole = jnp.asarray(image)[None]
    enhanced = apply_curves(whole, model(whole), iterations=network.config.iterations) ** 1.15
    result = enhancer_of(name, scale, 24 if scale == 12 else 16)(image)
    np.testing.assert_allclose(result, enhanced[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "enhancer_for", [enhancer_of, at_reduced_scale, by_onnx_runtime, in_a_grid]
)
def test_integers_are_the_rounded_float_result(dtype: str, enhancer_for: Callable) -> None:
    enhancer = enhancer_for()
    image = picture(40, 30, 3, dtype=dtype)
    top = np.iinfo(dtype).max
    result = enhancer(image)
    assert result.dtype == dtype
    exact = top * whole_image.enhance(enhancer.network, image / top, gamma=1.15)
    assert np.abs(result - exact).max() <= 0.5 + top * 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_kind_size_and_type_stay(dtype: str, shape: tuple[int, ...]) -> None:
    image = picture(*shape, dtype=dtype)
    before = image.copy()
    result = enhancer_of()(image)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (image.dtype, shape)
    assert not np.array_equal(result, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">f8"])
def test_other_byte_orders(dtype: str) -> None:
    image = picture(9, 8, 3, dtype="uint16" if dtype == ">u2" else "float32")
    result = enhancer_of()(image.astype(dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, enhancer_of()(image).astype(dtype))


def test_gray_is_the_mean_of_its_three_channels() -> None:
    image = picture(20, 30, dtype="float32")
    whole = whole_image.enhance(network_of("reduced"), image, gamma=1.15)
    np.testing.assert_allclose(enhancer_of()(image), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(128, 128), (80, 70, 3)])
@pytest.mark.parametrize(
    "enhancer_for", [enhancer_of, at_reduced_scale, by_onnx_runtime, in_a_grid]
)
def test_strength_zero_gives_the_input_back(
    dtype: str, shape: tuple[int, ...], enhancer_for: Callable
) -> None:
    count = int(np.prod(shape))
    if dtype.startswith("uint"):
        # Every level there is, or for 16 bits every fourth.
        step = 4 if dtype == "uint16" else 1
        levels = np.arange(0, count * step, step) % (np.iinfo(dtype).max + 1)
        image = levels.astype(dtype).reshape(shape)
    else:
        # Values that float32, which the device computes in, can hold.
        image = picture(*shape, dtype="float32" if dtype == "float64" else dtype).astype(dtype)
    result = enhancer_for()(image, gamma=1.0, strength=0.0)
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_strength_scales_maps_and_keeps_them_in_range(strength: float) -> None:
    enhancer = enhancer_of()
    image = picture(30, 40, 3, dtype="float32")
    # Maps so large that, doubled, they would leave [-1, 1].
    assert np.abs(2 * whole_image.curve_maps(enhancer.network, image)).max() > 1
    result = enhancer(image, gamma=1.0, strength=strength)
    whole = whole_image.enhance(enhancer.network, image, strength=strength)
    np.testing.assert_allclose(result, whole, rtol=0, atol=2e-5)
    assert 0 <= result.min() <= result.max() <= 1


def test_gamma_is_the_exponent() -> None:
    image = picture(20, 30, 3, dtype="float32")
    plain = enhancer_of()(image, gamma=1.0).astype(np.float64)
    np.testing.assert_allclose(enhancer_of()(image, gamma=2.5), plain**2.5, rtol=0, atol=1e-6)
    np.testing.assert_allclose(enhancer_of()(image), plain**1.15, rtol=0, atol=1e-6)


# Everything at once: exposure, strength, highlights, noise and gamma.

ADAPTIVE = EnhanceSettings.adaptive()
PLAIN = EnhanceSettings()

# Network, scale.
KINDS = [("reduced", 1), ("plusplus", 12), ("fast", 8)]
# XLA takes seconds to compile a program for each kind and each type of pixels.
KINDS_AND_BATCHES = [
    ("reduced", 1, 2),
    *((name, scale, 0) for name, scale in KINDS),
    *(pytest.param(name, scale, 2, marks=pytest.mark.slow) for name, scale in KINDS[1:]),
]
OTHER_DTYPES = [pytest.param(name, marks=pytest.mark.slow) for name in ("uint16", "float32")]
# Tile, batch: smaller than the images and larger, on both engines.
TILES = [(16, 0), (64, 0), (16, 2), (64, 1)]


def dark(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """A dark scene in which there are bright places, with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, np.pi, size) for size in shape[:2])
    lamp = (np.sin(rows)[:, None] * np.sin(columns)) ** 8
    scene = lamp if len(shape) == 2 else lamp[:, :, None] * [1, 0.9, 0.8]
    pixels = (0.9 * scene + 0.1 * rng.random(shape) ** 2).clip(0, 1)
    if dtype.startswith("uint"):
        return np.round(pixels * np.iinfo(dtype).max).astype(dtype)
    return pixels.astype(dtype)


def scaled(image: np.ndarray) -> np.ndarray:
    """As numbers in [0, 1]."""
    return image / (np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)


def strength_of(network: Network, image: np.ndarray, how: EnhanceSettings) -> float:
    """What the exposure of a float image should come to, on top of the strength."""
    color = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    samples, maps = (
        part.astype(np.float32) for part in whole_image.looked_at(network, color.astype(np.float64))
    )
    protection = how.protect_highlights * whole_image.presence(samples)
    found = exposure.strength(
        samples, maps, how, protection=protection, iterations=network.config.iterations
    )
    return how.strength * found


def expected_of(network: Network, image: np.ndarray, how: EnhanceSettings) -> np.ndarray:
    """The whole image by the settings, in float64."""
    image = scaled(image)
    return whole_image.enhance(
        network,
        image,
        gamma=how.gamma,
        strength=strength_of(network, image, how),
        protect_highlights=how.protect_highlights,
        denoise=whole_image.amount(image) if how.denoise == "auto" else how.denoise,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "batch"), TILES)
@pytest.mark.parametrize(("name", "scale"), KINDS)
@pytest.mark.parametrize(
    "how",
    [
        EnhanceSettings(gamma=1.0, strength=1.7, protect_highlights=0.7, denoise=1.0),
        EnhanceSettings(exposure=0.25, gamma=1.3, strength=0.8, protect_highlights=0.5),
        EnhanceSettings(exposure="auto", gamma=0.9, denoise=0.5),
        ADAPTIVE,
    ],
    ids=["strength", "exposure", "noise", "adaptive"],
)
def test_every_option_gives_what_the_whole_image_gives(
    name: str, scale: int, tile: int, batch: int, how: EnhanceSettings
) -> None:
    network = brightening(name, scale)
    # The last two are large enough for noise to be measured in them.
    shapes = [(1, 1, 3), (37, 45, 3), (5, 61, 3), (33, 26), (70, 83, 3), (83, 70)]
    images = [dark(*shape, seed=i) for i, shape in enumerate(shapes)]
    results = brightener_of(name, scale, tile, batch).many(images, **how.to_dict())
    for image, result in zip(images, results, strict=True):
        expected = expected_of(network, image, how)
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-5)
        # Each option made a difference.
        for name_of_option, value in how.to_dict().items():
            without = replace(how, **{name_of_option: getattr(PLAIN, name_of_option)})
            if min(image.shape[:2]) > 1 and getattr(without, name_of_option) != value:
                assert np.abs(expected_of(network, image, without) - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "batch"), [*TILES, (24, 3), (40, 0)])
@pytest.mark.parametrize(("name", "scale"), [*KINDS, ("original", 1), ("plusplus", 1), ("fast", 5)])
@settings(max_examples=5)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=2),
    how=st.builds(
        EnhanceSettings,
        exposure=st.sampled_from(["off", "auto", 0.6]),
        gamma=st.floats(0.5, 2),
        strength=st.floats(0, 2),
        protect_highlights=st.floats(0, 1),
        denoise=st.floats(0, 1),
    ),
)
def test_every_option_gives_what_the_whole_image_gives_thoroughly(
    name: str,
    scale: int,
    tile: int,
    batch: int,
    sizes: list[tuple[int, int]],
    how: EnhanceSettings,
) -> None:
    images = [dark(*size, 3, seed=i) for i, size in enumerate(sizes)]
    results = brightener_of(name, scale, tile, batch).many(images, **how.to_dict())
    for image, result in zip(images, results, strict=True):
        expected = expected_of(brightening(name, scale), image, how)
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(41, 35, 3), (35, 41)])
def test_every_option_on_integers_is_rounded_once(
    name: str, scale: int, batch: int, dtype: str, shape: tuple[int, ...]
) -> None:
    image = dark(*shape, dtype=dtype)
    result = brightener_of(name, scale, 16, batch)(image)
    assert (result.dtype, result.shape) == (dtype, shape)
    top = np.iinfo(dtype).max
    exact = top * expected_of(brightening(name, scale), image, ADAPTIVE)
    assert np.abs(result - exact).max() <= 0.5 + top * 5e-5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), KINDS)
def test_tiles_of_every_size_give_the_same(name: str, scale: int) -> None:
    images = [dark(75, 70, 3), dark(75, 70, 3, dtype="uint8")]
    whole = list(brightener_of(name, scale, 128, 0).many(images))
    assert np.abs(whole[0] - images[0]).max() > 0.1
    for tile, batch in ((32, 0), *TILES):
        some = brightener_of(name, scale, tile, batch).many(images)
        for image, one in zip(whole, some, strict=True):
            if image.dtype == np.uint8:
                assert np.abs(one.astype(int) - image).max() <= 1
            else:
                np.testing.assert_allclose(one, image, rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), KINDS)
@pytest.mark.parametrize("batch", [0, 2])
def test_each_picture_has_a_strength_of_its_own(name: str, scale: int, batch: int) -> None:
    enhancer = brightener_of(name, scale, 16, batch)
    images = [dark(30, 20, 3) / 2, picture(12, 9, 3), dark(20, 33), dark(9, 40, 3, dtype="uint8")]
    for image, result in zip(images, enhancer.many(images), strict=True):
        # To the last bit: what else is in the batch changes nothing.
        np.testing.assert_array_equal(result, enhancer(image))
    levels = [strength_of(enhancer.network, scaled(image), ADAPTIVE) for image in images]
    assert len({round(level, 2) for level in levels}) == len(images)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), KINDS)
@pytest.mark.parametrize("shape", [(50, 40, 3), (300, 200, 3), (40, 50)])
def test_exposure_is_a_strength(name: str, scale: int, batch: int, shape: tuple[int, ...]) -> None:
    enhancer = brightener_of(name, scale, 64, batch)
    image = (dark(*shape) / 2).astype(np.float32)
    for how in (replace(ADAPTIVE, exposure=0.3), replace(ADAPTIVE, exposure=0.25, gamma=1.2)):
        result = enhancer(image, **how.to_dict())
        strength = strength_of(enhancer.network, image, how)
        assert 0 < strength < 2
        same = enhancer(image, **(how.to_dict() | {"exposure": "off", "strength": strength}))
        np.testing.assert_allclose(result, same, rtol=0, atol=5e-5)
        half = enhancer(image, **(how.to_dict() | {"strength": 0.5}))
        other = enhancer(image, **(how.to_dict() | {"exposure": "off", "strength": strength / 2}))
        np.testing.assert_allclose(half, other, rtol=0, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pictures_come_out_at_the_level(name: str, scale: int, batch: int, dtype: str) -> None:
    enhancer = brightener_of(name, scale, 64, batch)
    image = dark(280, 200, 3, dtype=dtype) // 2 if dtype != "float32" else dark(280, 200, 3) / 2
    for level in (0.25, 0.35):
        result = enhancer(image.astype(dtype), exposure=level)
        assert scaled(image).mean() < level - 0.1
        assert scaled(result).mean() == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(("name", "scale"), KINDS)
def test_small_pictures_come_out_at_the_level_too(name: str, scale: int) -> None:
    enhancer = brightener_of(name, scale, 64, 0)
    for seed in range(5):
        image = dark(50, 40, 3, seed=seed) / 2
        assert enhancer(image, exposure=0.3).mean() == pytest.approx(0.3, abs=0.015)
        bright = (picture(50, 40, 3, dtype="float32", seed=seed) * 0.9).astype(np.float32)
        assert bright.mean() > 0.44
        np.testing.assert_array_equal(enhancer(bright), bright)


@pytest.mark.parametrize(("name", "scale", "batch"), KINDS_AND_BATCHES)
@pytest.mark.parametrize("dtype", ["uint8", *OTHER_DTYPES])
def test_options_that_are_off_change_nothing(name: str, scale: int, batch: int, dtype: str) -> None:
    adaptive = brightener_of(name, scale, 16, batch)
    plain = Enhancer(replace(adaptive.network, settings=PLAIN), engine="xla", tile=16)
    # Compiled only once.
    plain._engine = adaptive._engine
    for image in (dark(33, 20, 3, dtype=dtype), dark(20, 33, dtype=dtype)):
        off = adaptive(image, exposure="off", gamma=1.15, protect_highlights=0, denoise=0)
        np.testing.assert_array_equal(off, plain(image))
        assert (adaptive(image) != off).mean() > 0.5
        expected = whole_image.enhance(adaptive.network, scaled(image), gamma=1.15)
        top = np.iinfo(dtype).max if dtype.startswith("uint") else 1
        rounding = 0.5 if dtype.startswith("uint") else 0
        assert np.abs(off - top * expected).max() <= rounding + top * 2e-5


@pytest.mark.parametrize(("name", "scale", "batch"), KINDS_AND_BATCHES)
@pytest.mark.parametrize("dtype", ["uint8", *OTHER_DTYPES])
@pytest.mark.parametrize("shape", [(47, 53, 3), (53, 47), (1, 1, 3)])
def test_pictures_that_are_bright_enough_come_back_as_they_were(
    name: str, scale: int, batch: int, dtype: str, shape: tuple[int, ...]
) -> None:
    # Anything from black to white, and flat places, brighter than the level on the whole.
    bright = np.random.default_rng(4).random(shape) ** 0.5
    bright[:5], bright[5:9], bright[20:26] = 1, 0, 0.123
    top = np.iinfo(dtype).max if dtype.startswith("uint") else 1
    image = (bright * top).astype(dtype)
    np.testing.assert_array_equal(brightener_of(name, scale, 16, batch)(image), image)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reduced", "fast"])
@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_the_shipped_networks_bring_the_examples_to_the_level(
    name: str, engine: str, root: Path
) -> None:
    enhancer = Enhancer.load(name, engine=engine, tile=64)
    assert (enhancer.network.settings.level, enhancer.network.settings.gamma) == (0.4, 1)
    for path in sorted((root / "examples").glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.reduce(2))
        assert pixels.mean() / 255 < 0.3
        assert enhancer(pixels).mean() / 255 == pytest.approx(0.4, abs=0.015), path.name


@pytest.mark.slow
def test_numbers_of_options_compile_nothing_anew(compilations: Callable) -> None:
    enhancer = Enhancer(brightening("reduced"), engine="xla", tile=16)
    with compilations() as programs:
        for i in range(1, 11):
            how = {"exposure": i / 11, "protect_highlights": i / 10, "denoise": i / 10}
            enhancer(picture(7 * i, 80 - 7 * i, 3, seed=i), gamma=i / 2, strength=i / 5, **how)
    assert sorted(programs) == ["jit(_enhance)", "jit(_estimate)"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_outside_the_range_are_clipped(dtype: str) -> None:
    image = picture(10, 12, 3, dtype=dtype)
    clipped = image.copy()
    top = float(np.finfo(dtype).max)
    for at, (value, bound) in enumerate([(-0.5, 0), (1.5, 1), (np.inf, 1), (-np.inf, 0), (top, 1)]):
        image[at, at], clipped[at, at] = value, bound
    result = enhancer_of()(image)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result, enhancer_of()(clipped))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::2, ::-1],
        lambda image: image.transpose(1, 0, 2),
        lambda image: image[:, :, ::-1],
        np.asfortranarray,
    ],
    ids=["steps", "transposed", "bgr", "fortran"],
)
def test_views_and_read_only_arrays(dtype: str, view: Callable) -> None:
    image = view(picture(20, 30, 3, dtype=dtype))
    image.flags.writeable = False
    np.testing.assert_array_equal(enhancer_of()(image), enhancer_of()(np.ascontiguousarray(image)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3), complex),
        np.zeros((4, 4, 3), object),
        np.full((4, 4), "x"),
    ],
    ids=lambda image: f"{image.dtype} {image.shape}",
)
def test_arrays_that_are_no_images(image: np.ndarray) -> None:
    with pytest.raises(InputError):
        enhancer_of()(image)


@pytest.mark.parametrize("image", [None, "photo.jpg", Path("photo.jpg"), [[1, 2], [3, 4]], 5])
def test_things_that_are_no_images(image: object) -> None:
    with pytest.raises(InputError):
        enhancer_of()(image)


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        ("RGB", "RGB"),
        ("L", "L"),
        ("RGBA", "RGBA"),
        ("LA", "LA"),
        ("P", "RGB"),
        ("1", "L"),
        ("I;16", "I;16"),
    ],
)
def test_pillow_images_come_back_as_such(mode: str, result: str) -> None:
    color = Image.fromarray(picture(18, 21, 3))
    gray16 = Image.fromarray(picture(18, 21, dtype="uint16"))
    image = gray16 if mode == "I;16" else color.convert(mode)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.fromarray(picture(18, 21, seed=1)))
    before = image.copy()
    enhanced = enhancer_of()(image)
    assert isinstance(enhanced, Image.Image)
    assert (enhanced.mode, enhanced.size) == (result, (21, 18))
    assert image == before
    if mode in {"RGBA", "LA"}:
        alpha = np.asarray(enhanced.getchannel("A"))
        np.testing.assert_array_equal(alpha, picture(18, 21, seed=1))
        image, enhanced = image.convert(mode[:-1]), enhanced.convert(mode[:-1])
    elif mode in {"P", "1"}:
        image = image.convert(result)
    np.testing.assert_array_equal(np.asarray(enhanced), enhancer_of()(np.asarray(image)))


def test_pillow_images_with_an_orientation_are_left_as_they_are() -> None:
    image = Image.fromarray(picture(10, 20, 3))
    image.getexif()[0x0112] = 6
    upright = enhancer_of()(image)
    assert upright.size == (10, 20)
    assert image.size == (20, 10)
    assert image.getexif()[0x0112] == 6
    np.testing.assert_array_equal(np.asarray(image), picture(10, 20, 3))


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "YCbCr", "HSV"])
def test_pillow_images_of_other_modes(mode: str) -> None:
    with pytest.raises(InputError, match=mode):
        enhancer_of()(Image.new(mode, (4, 4)))


def test_empty_pillow_image() -> None:
    with pytest.raises(InputError):
        enhancer_of()(Image.new("RGB", (0, 5)))


def test_many_checks_its_settings_at_once_and_reads_nothing_yet() -> None:
    def images() -> Iterator[np.ndarray]:
        raise AssertionError("read too early")
        yield

    with pytest.raises(UsageError, match="gamma"):
        enhancer_of().many(images(), gamma=0.0)
    with pytest.raises(UsageError, match="strength"):
        enhancer_of().many(images(), strength=3.0)
    for name in ("protect_highlights", "denoise", "exposure"):
        for value in (-0.1, 1.1):
            with pytest.raises(UsageError, match=name):
                enhancer_of().many(images(), **{name: value})
    enhancer_of().many(images())


def test_many_hands_images_on_as_they_come() -> None:
    read = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal read
        for i in range(100):
            read += 1
            yield picture(16, 16, 3, seed=i)

    results = enhancer_of().many(images())
    for count in range(1, 21):
        next(results)
        assert read <= count + 20


def test_many_keeps_the_order_of_mixed_images() -> None:
    shapes = [(40, 50, 3), (1, 1), (17, 3, 3), (64, 16), (5, 5, 3), (33, 47, 3)]
    images: list = [
        picture(*shape, dtype=DTYPES[i % len(DTYPES)], seed=i) for i, shape in enumerate(shapes)
    ]
    images.insert(2, Image.fromarray(picture(30, 20, 3, seed=9)))
    enhancer = at_reduced_scale()
    results = list(enhancer.many(images))
    for image, result in zip(images, results, strict=True):
        assert type(result) is type(image)
        assert np.asarray(result).dtype == np.asarray(image).dtype
        # To the last bit: what else is in the batch changes nothing.
        np.testing.assert_array_equal(np.asarray(result), np.asarray(enhancer(image)))


def test_many_of_nothing() -> None:
    assert list(enhancer_of().many([])) == []


def test_an_image_that_fails_is_reported_where_it_stands() -> None:
    good, bad = picture(5, 5, 3), np.zeros((5, 5, 4), np.uint8)
    results = enhancer_of().many([good, good, good, bad, good])
    for _ in range(3):
        next(results)
    with pytest.raises(InputError):
        next(results)


def test_one_program_serves_images_of_every_size(compilations: Callable) -> None:
    enhancer = Enhancer(network_of("reduced"), engine="xla", tile=16)
    sizes = [(1 + 7 * i % 61, 1 + 11 * i % 53) for i in range(20)]
    assert len(set(sizes)) == 20
    with compilations() as programs:
        for i, size in enumerate(sizes):
            enhancer(picture(*size, 3, seed=i), gamma=1.0 + i / 100, strength=i / 10)
    assert programs == ["jit(_enhance)"]


@pytest.mark.slow
def test_two_programs_serve_images_of_every_size_at_a_reduced_scale(
    compilations: Callable,
) -> None:
    enhancer = Enhancer(network_of("plusplus", 12), engine="xla", tile=16)
    with compilations() as programs:
        for i in range(20):
            enhancer(picture(1 + 7 * i % 61, 1 + 11 * i % 53, 3, seed=i))
    assert sorted(programs) == ["jit(_apply)", "jit(_estimate)"]


def test_load_passes_its_arguments_on(goldens: Path) -> None:
    path = goldens / "reduced_random.pth"
    enhancer = Enhancer.load(path, preset="reduced", tile=16)
    assert enhancer.network.config.preset == "reduced"
    assert enhancer._engine.tile == 16
    with pytest.raises(InputError, match="do not fit original"):
        Enhancer.load(path, preset="original")


@pytest.mark.parametrize(("name", "parameters"), [("reduced", 23_592), ("fast", 18_390)])
def test_the_shipped_networks_light_up_the_examples(name: str, parameters: int, root: Path) -> None:
    enhancer = Enhancer.load(name)
    assert enhancer.network.parameter_count == parameters
    for path in sorted((root / "examples").glob("*.jpg")):
        with Image.open(path) as image:
            # Smaller, to be done sooner.
            dark = image.reduce(4)
        bright = enhancer(dark)
        assert bright.mode == dark.mode
        assert np.asarray(bright).mean() > 1.8 * np.asarray(dark).mean(), path.name


def test_the_fast_network_leaves_no_white_border_at_a_branch() -> None:
    picture_of_a_branch = np.full((160, 160, 3), 150, np.uint8)
    picture_of_a_branch[:, 78:84] = 25
    result = Enhancer.load("fast")(picture_of_a_branch).astype(int)
    branch, beside, far = (result[80, x].mean() for x in (81, 87, 20))
    assert branch < beside - 20
    assert abs(beside - far) < 10


@pytest.mark.slow
@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize("name", ["reduced", "fast"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_both_engines_agree_to_one_level(name: str, dtype: str, root: Path) -> None:
    with Image.open(root / "examples" / "coffee_night.jpg") as image:
        pixels = np.asarray(image.reduce(3)).astype(dtype) * (257 if dtype == "uint16" else 1)
    xla, onnx = (Enhancer.load(name, engine=engine)(pixels) for engine in ("xla", "onnx"))
    difference = np.abs(xla.astype(int) - onnx.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize(
    "engine", ["xla", pytest.param("onnx", marks=pytest.mark.needs("onnxruntime"))]
)
def test_threads_may_share_an_enhancer(engine: str) -> None:
    enhancer = Enhancer(network_of("reduced"), engine=engine, tile=16)
    images = [picture(20 + i, 30, 3, seed=i) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(enhancer, images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, enhancer(image))


@pytest.mark.needs("onnxruntime")
def test_engines_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"batch": 2}, {"dtype": "bfloat16"}):
        with pytest.raises(UsageError, match="neither batches nor bfloat16"):
            Enhancer(network_of("reduced"), engine="onnx", **wrong)
    with pytest.raises(UsageError, match="tile must be"):
        Enhancer(network_of("reduced"), engine="onnx", tile=0)
    assert choose_engine("auto") == "onnx"
    # What is installed decides.
    found = {"onnxruntime": None, "jax_plugins": None, "libtpu": None}
    monkeypatch.setattr(enhancer_module, "find_spec", lambda name: found.get(name, "there"))
    assert choose_engine("auto") == "xla"
    with pytest.raises(UsageError, match=r"pip install 'zerodce-jax\[onnx\]'"):
        choose_engine("onnx")
    found |= {"onnxruntime": "there", "jax_plugins": "there"}
    assert choose_engine("auto") == "xla"
    assert choose_engine("onnx") == "onnx"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_jax_arrays_come_back_as_jax_arrays(dtype: str, engine: str) -> None:
    image = picture(30, 41, 3, dtype=dtype)
    enhancer = enhancer_of() if engine == "xla" else by_onnx_runtime()
    result = enhancer(jnp.asarray(image))
    assert isinstance(result, jax.Array)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, enhancer(image))


def test_settings_go_before_the_networks_and_overrides_before_settings() -> None:
    image = picture(20, 30, 3)
    enhancer = enhancer_of()
    unchanged = EnhanceSettings(strength=0.0, gamma=1.0)
    np.testing.assert_array_equal(enhancer(image, unchanged), image)
    np.testing.assert_array_equal(
        enhancer(image, unchanged, strength=1.0), enhancer(image, strength=1.0, gamma=1.0)
    )
