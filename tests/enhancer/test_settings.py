"""Tests of enhancer.py: strength, gamma, exposure, highlight protection and denoising."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import whole_image
from helpers.enhancers import (
    ADAPTIVE,
    DTYPES,
    PLAIN,
    brightening_enhancer,
    brightening_network,
    dark_image,
    enhancer_of,
    expected_image,
    expected_strength,
    in_unit_range,
    onnx_enhancer,
    random_image,
    reduced_scale_enhancer,
    scene_enhancer,
)
from zerodce_jax import Enhancer
from zerodce_jax.config import EnhanceSettings

# Network, scale.
NETWORKS = [("reduced", 1), ("plusplus", 12), ("scene", 1)]
# XLA takes seconds to compile a program for each network and each type of pixels.
NETWORKS_AND_BATCHES = [
    ("reduced", 1, 2),
    *((name, scale, 0) for name, scale in NETWORKS),
    *(pytest.param(name, scale, 2, marks=pytest.mark.slow) for name, scale in NETWORKS[1:]),
]
OTHER_DTYPES = [pytest.param(name, marks=pytest.mark.slow) for name in ("uint16", "float32")]
# Tile, batch. Tiles are smaller than the images or larger. A batch of 0 is the engine onnx.
TILES = [(16, 0), (64, 0), (16, 2), (64, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(128, 128), (80, 70, 3)])
@pytest.mark.parametrize(
    "make_enhancer", [enhancer_of, reduced_scale_enhancer, onnx_enhancer, scene_enhancer]
)
def test_strength_0_and_gamma_1_return_the_image(
    dtype: str, shape: tuple[int, ...], make_enhancer: Callable
) -> None:
    count = int(np.prod(shape))
    if dtype.startswith("uint"):
        # The image holds every value of 8 bits, or every fourth value of 16 bits.
        step = 4 if dtype == "uint16" else 1
        values = np.arange(0, count * step, step) % (np.iinfo(dtype).max + 1)
        image = values.astype(dtype).reshape(shape)
    else:
        # Engines compute in float32, so the values of a float64 image must fit into float32.
        image = random_image(*shape, dtype="float32" if dtype == "float64" else dtype)
        image = image.astype(dtype)
    result = make_enhancer()(image, gamma=1.0, strength=0.0)
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_strength_scales_maps_within_their_range(strength: float) -> None:
    enhancer = enhancer_of()
    image = random_image(30, 40, 3, dtype="float32")
    # Some maps are so large that they would leave [-1, 1] when doubled.
    assert np.abs(2 * whole_image.curve_maps(enhancer.network, image)).max() > 1
    result = enhancer(image, gamma=1.0, strength=strength)
    whole = whole_image.enhance(enhancer.network, image, strength=strength)
    np.testing.assert_allclose(result, whole, rtol=0, atol=2e-5)
    assert 0 <= result.min() <= result.max() <= 1


def test_gamma_is_an_exponent() -> None:
    image = random_image(20, 30, 3, dtype="float32")
    without_gamma = enhancer_of()(image, gamma=1.0).astype(np.float64)
    result = enhancer_of()(image, gamma=2.5)
    np.testing.assert_allclose(result, without_gamma**2.5, rtol=0, atol=1e-6)
    np.testing.assert_allclose(enhancer_of()(image), without_gamma**1.15, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "batch"), TILES)
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize(
    "settings",
    [
        EnhanceSettings(gamma=1.0, strength=1.7, protect_highlights=0.7, denoise=1.0),
        EnhanceSettings(exposure=0.25, gamma=1.3, strength=0.8, protect_highlights=0.5),
        EnhanceSettings(exposure="auto", gamma=0.9, denoise=0.5),
        ADAPTIVE,
    ],
    ids=["strength", "exposure", "noise", "adaptive"],
)
def test_all_settings_together_equal_the_whole_image(
    name: str, scale: int, tile: int, batch: int, settings: EnhanceSettings
) -> None:
    network = brightening_network(name, scale)
    # The last two images are large enough to measure their noise.
    shapes = [(1, 1, 3), (37, 45, 3), (5, 61, 3), (33, 26), (70, 83, 3), (83, 70)]
    images = [dark_image(*shape, seed=i) for i, shape in enumerate(shapes)]
    results = brightening_enhancer(name, scale, tile, batch).many(images, **settings.to_dict())
    for image, result in zip(images, results, strict=True):
        expected = expected_image(network, image, settings)
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-5)
        # Each setting makes a difference.
        for setting, value in settings.to_dict().items():
            if name == "scene" and value == settings.exposure == "auto":
                # The network decides the exposure itself.
                continue
            has_level = settings.exposure == 0.25
            if name == "scene" and (setting == "protect_highlights" or has_level):
                # These images have no lights to protect, and cannot reach the level: their curves
                # are as strong as they can be.
                continue
            without = replace(settings, **{setting: getattr(PLAIN, setting)})
            if min(image.shape[:2]) > 1 and getattr(without, setting) != value:
                assert np.abs(expected_image(network, image, without) - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("tile", "batch"), [*TILES, (24, 3), (40, 0)])
@pytest.mark.parametrize(("name", "scale"), [*NETWORKS, ("original", 1), ("plusplus", 1)])
@hypothesis_settings(max_examples=3)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=2),
    settings=st.builds(
        EnhanceSettings,
        exposure=st.sampled_from(["off", "auto", 0.6]),
        gamma=st.floats(0.5, 2),
        strength=st.floats(0, 2),
        # Between them, float32 does not resolve the distance from white that is asked for.
        protect_highlights=st.just(0.0) | st.floats(0.05, 1),
        denoise=st.floats(0, 1),
    ),
)
def test_random_settings_equal_the_whole_image(
    name: str,
    scale: int,
    tile: int,
    batch: int,
    sizes: list[tuple[int, int]],
    settings: EnhanceSettings,
) -> None:
    images = [dark_image(*size, 3, seed=i) for i, size in enumerate(sizes)]
    results = brightening_enhancer(name, scale, tile, batch).many(images, **settings.to_dict())
    for image, result in zip(images, results, strict=True):
        expected = expected_image(brightening_network(name, scale), image, settings)
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(41, 35, 3), (35, 41)])
def test_integers_are_rounded_once_with_all_settings(
    name: str, scale: int, batch: int, dtype: str, shape: tuple[int, ...]
) -> None:
    image = dark_image(*shape, dtype=dtype)
    result = brightening_enhancer(name, scale, 16, batch)(image)
    assert (result.dtype, result.shape) == (dtype, shape)
    max_value = np.iinfo(dtype).max
    network = brightening_network(name, scale)
    exact = max_value * expected_image(network, image, network.settings)
    assert np.abs(result - exact).max() <= 0.5 + max_value * 5e-5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
def test_all_tile_sizes_give_the_same_result(name: str, scale: int) -> None:
    images = [dark_image(75, 70, 3), dark_image(75, 70, 3, dtype="uint8")]
    single_tile = list(brightening_enhancer(name, scale, 128, 0).many(images))
    assert np.abs(single_tile[0] - images[0]).max() > 0.1
    for tile, batch in ((32, 0), *TILES):
        results = brightening_enhancer(name, scale, tile, batch).many(images)
        for expected, result in zip(single_tile, results, strict=True):
            if expected.dtype == np.uint8:
                assert np.abs(result.astype(int) - expected).max() <= 1
            else:
                np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("batch", [0, 2])
def test_each_image_of_a_batch_has_its_own_exposure_strength(
    name: str, scale: int, batch: int
) -> None:
    enhancer = brightening_enhancer(name, scale, 16, batch)
    images = [
        dark_image(30, 20, 3) / 2,
        random_image(12, 9, 3),
        dark_image(20, 33),
        dark_image(9, 40, 3, dtype="uint8"),
    ]
    settings = replace(enhancer.network.settings, exposure=0.3)
    for image, result in zip(images, enhancer.many(images, settings), strict=True):
        # Every bit is equal: other images in the batch have no influence.
        np.testing.assert_array_equal(result, enhancer(image, settings))
    strengths = [
        expected_strength(enhancer.network, in_unit_range(image), settings) for image in images
    ]
    assert len({round(strength, 2) for strength in strengths}) == len(images)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("shape", [(50, 40, 3), (300, 200, 3), (40, 50)])
def test_exposure_multiplies_the_strength(
    name: str, scale: int, batch: int, shape: tuple[int, ...]
) -> None:
    enhancer = brightening_enhancer(name, scale, 64, batch)
    image = (dark_image(*shape) / 2).astype(np.float32)
    for settings in (
        replace(ADAPTIVE, exposure=0.3),
        replace(ADAPTIVE, exposure=0.25, gamma=1.2),
    ):
        with_exposure = enhancer(image, settings)
        strength = expected_strength(enhancer.network, image, settings)
        assert 0 < strength < 2
        with_strength = enhancer(image, settings, exposure="off", strength=strength)
        np.testing.assert_allclose(with_exposure, with_strength, rtol=0, atol=5e-5)
        half_exposure = enhancer(image, settings, strength=0.5)
        half_strength = enhancer(image, settings, exposure="off", strength=strength / 2)
        np.testing.assert_allclose(half_exposure, half_strength, rtol=0, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(("name", "scale"), NETWORKS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_reach_the_exposure_level(name: str, scale: int, batch: int, dtype: str) -> None:
    enhancer = brightening_enhancer(name, scale, 64, batch)
    image = dark_image(280, 200, 3, dtype=dtype)
    image = image / 2 if dtype == "float32" else image // 2
    for level in (0.25, 0.35):
        result = enhancer(image.astype(dtype), exposure=level)
        assert in_unit_range(image).mean() < level - 0.1
        assert in_unit_range(result).mean() == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(("name", "scale"), NETWORKS)
def test_small_images_reach_the_exposure_level_and_bright_ones_are_unchanged(
    name: str, scale: int
) -> None:
    enhancer = brightening_enhancer(name, scale, 64, 0)
    for seed in range(5):
        image = dark_image(50, 40, 3, seed=seed) / 2
        assert enhancer(image, exposure=0.3).mean() == pytest.approx(0.3, abs=0.015)
        bright = random_image(50, 40, 3, dtype="float32", seed=seed) * np.float32(0.9)
        assert bright.mean() > 0.44
        np.testing.assert_array_equal(enhancer(bright, exposure=0.4), bright)


@pytest.mark.parametrize(("name", "scale", "batch"), NETWORKS_AND_BATCHES)
@pytest.mark.parametrize("dtype", ["uint8", *OTHER_DTYPES])
def test_settings_that_are_off_have_no_effect(
    name: str, scale: int, batch: int, dtype: str
) -> None:
    adaptive = brightening_enhancer(name, scale, 16, batch)
    plain = Enhancer(replace(adaptive.network, settings=PLAIN), engine="xla", tile=16)
    # Sharing the engine avoids compiling its programs twice.
    plain._engine = adaptive._engine
    for image in (dark_image(33, 20, 3, dtype=dtype), dark_image(20, 33, dtype=dtype)):
        off = adaptive(image, exposure="off", gamma=1.15, protect_highlights=0, denoise=0)
        np.testing.assert_array_equal(off, plain(image))
        assert (adaptive(image) != off).mean() > 0.5
        expected = whole_image.enhance(adaptive.network, in_unit_range(image), gamma=1.15)
        max_value = np.iinfo(dtype).max if dtype.startswith("uint") else 1
        rounding = 0.5 if dtype.startswith("uint") else 0
        assert np.abs(off - max_value * expected).max() <= rounding + max_value * 2e-5


@pytest.mark.parametrize(("name", "scale", "batch"), NETWORKS_AND_BATCHES)
@pytest.mark.parametrize("dtype", ["uint8", *OTHER_DTYPES])
@pytest.mark.parametrize("shape", [(47, 53, 3), (53, 47), (1, 1, 3)])
def test_images_brighter_than_the_level_are_returned_unchanged(
    name: str, scale: int, batch: int, dtype: str, shape: tuple[int, ...]
) -> None:
    # The image has black, white and flat regions, and its mean lies above the level.
    bright = np.random.default_rng(4).random(shape) ** 0.5
    bright[:5], bright[5:9], bright[20:26] = 1, 0, 0.123
    max_value = np.iinfo(dtype).max if dtype.startswith("uint") else 1
    image = (bright * max_value).astype(dtype)
    result = brightening_enhancer(name, scale, 16, batch)(image, exposure=0.4)
    np.testing.assert_array_equal(result, image)


@pytest.mark.slow
def test_new_values_of_settings_compile_nothing(compilations: Callable) -> None:
    enhancer = Enhancer(brightening_network("reduced"), engine="xla", tile=16)
    with compilations() as programs:
        for i in range(1, 11):
            settings = {"exposure": i / 11, "protect_highlights": i / 10, "denoise": i / 10}
            settings |= {"gamma": i / 2, "strength": i / 5}
            enhancer(random_image(7 * i, 80 - 7 * i, 3, seed=i), **settings)
    assert sorted(programs) == ["jit(_enhance)", "jit(_estimate)"]


def test_settings_replace_those_of_the_network_and_overrides_replace_settings() -> None:
    image = random_image(20, 30, 3)
    enhancer = enhancer_of()
    unchanged = EnhanceSettings(strength=0.0, gamma=1.0)
    np.testing.assert_array_equal(enhancer(image, unchanged), image)
    np.testing.assert_array_equal(
        enhancer(image, unchanged, strength=1.0), enhancer(image, strength=1.0, gamma=1.0)
    )
