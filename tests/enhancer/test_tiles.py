"""Tests of enhancer.py: tiles give the result of the whole image, whatever its size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import whole_image
from helpers.enhancers import (
    ADAPTIVE,
    brightening_enhancer,
    brightening_network,
    dark_image,
    enhancer_of,
    expected_image,
    network_of,
    random_image,
)
from zerodce_jax import Enhancer
from zerodce_jax.models.modules import graphdef
from zerodce_jax.ops.curves import apply_curves

# Network, scale, tile, batch. A batch of 0 stands for the engine onnx, which has no batches.
COMBINATIONS = [
    ("reduced", 1, 16, 1),
    ("reduced", 1, 16, 0),
    pytest.param("plusplus", 1, 16, 4, marks=pytest.mark.slow),
    ("plusplus", 12, 24, 2),
    ("plusplus", 12, 24, 0),
    pytest.param("reduced", 3, 16, 1, marks=pytest.mark.slow),
    ("scene", 1, 24, 2),
    ("scene", 1, 24, 0),
    pytest.param("original", 1, 64, 3, marks=pytest.mark.slow),
    pytest.param("original", 1, 64, 0, marks=pytest.mark.slow),
    pytest.param("plusplus", 1, 40, 0, marks=pytest.mark.slow),
]

lists_of_sizes = st.lists(
    st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=3
)


def assert_equal_to_whole_images(
    name: str, scale: int, tile: int, batch: int, sizes: list[tuple[int, int]], gamma: float
) -> None:
    images = [random_image(*size, 3, dtype="float32", seed=i) for i, size in enumerate(sizes)]
    results = list(enhancer_of(name, scale, tile, batch).many(images, gamma=gamma))
    for image, result in zip(images, results, strict=True):
        whole = whole_image.enhance(network_of(name, scale), image, gamma=gamma)
        np.testing.assert_allclose(result, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "scale", "tile", "batch"), COMBINATIONS)
@settings(max_examples=5)
@given(sizes=lists_of_sizes, gamma=st.sampled_from([1.0, 1.15]))
def test_tiles_equal_the_whole_image(
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
        ("scene", 1),
    ],
)
@settings(max_examples=5)
@given(sizes=lists_of_sizes, gamma=st.sampled_from([1.0, 1.15]), batch=st.sampled_from([0, 1, 3]))
def test_tiles_equal_the_whole_image_for_more_combinations(
    name: str, scale: int, tile: int, batch: int, sizes: list[tuple[int, int]], gamma: float
) -> None:
    assert_equal_to_whole_images(name, scale, tile, batch, sizes, gamma)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (199, 2), (16, 16), (17, 33), (200, 200)])
def test_tiles_equal_the_whole_image_at_extreme_sizes(size: tuple[int, int]) -> None:
    for combination in (("reduced", 1, 16, 1), ("plusplus", 12, 24, 2), ("scene", 1, 24, 2)):
        assert_equal_to_whole_images(*combination, [size], 1.15)


@pytest.mark.parametrize(
    ("name", "scale", "size"),
    [
        ("reduced", 1, (23, 31)),
        pytest.param("plusplus", 12, (61, 47), marks=pytest.mark.slow),
        pytest.param("original", 1, (70, 41), marks=pytest.mark.slow),
        pytest.param("plusplus", 1, (1, 57), marks=pytest.mark.slow),
        pytest.param("reduced", 3, (80, 100), marks=pytest.mark.slow),
        ("scene", 1, (61, 150)),
    ],
)
def test_tiles_equal_the_network_applied_to_the_whole_image(
    name: str, scale: int, size: tuple[int, int]
) -> None:
    network = network_of(name, scale)
    image = random_image(*size, 3, dtype="float32")
    model = nnx.merge(graphdef(network.config), network.params)
    whole = jnp.asarray(image)[None]
    maps = jax.jit(lambda model, image: model(image))(model, whole)
    enhanced = apply_curves(whole, maps, iterations=network.config.iterations) ** 1.15
    result = enhancer_of(name, scale, 24 if scale == 12 else 16)(image)
    np.testing.assert_allclose(result, enhanced[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(
    ("name", "scale", "tile"), [("original", 1, 15), ("scene", 1, 5), ("plusplus", 12, 17)]
)
@pytest.mark.parametrize("size", [(1, 50), (33, 1), (47, 38)], ids=str)
def test_tiles_of_odd_sides_equal_the_whole_image_with_all_filters(
    name: str, scale: int, tile: int, batch: int, size: tuple[int, int]
) -> None:
    image = dark_image(*size, 3)
    enhancer = brightening_enhancer(name, scale, tile, batch)
    expected = expected_image(brightening_network(name, scale), image, ADAPTIVE)
    np.testing.assert_allclose(enhancer(image, ADAPTIVE), expected, rtol=0, atol=5e-5)


def test_one_program_serves_images_of_every_size(compilations: Callable) -> None:
    enhancer = Enhancer(network_of("reduced"), engine="xla", tile=16)
    sizes = [(1 + 7 * i % 61, 1 + 11 * i % 53) for i in range(20)]
    assert len(set(sizes)) == 20
    with compilations() as programs:
        for i, size in enumerate(sizes):
            enhancer(random_image(*size, 3, seed=i), gamma=1.0 + i / 100, strength=i / 10)
    assert programs == ["jit(_enhance)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "program"),
    [("plusplus", 12, "jit(_estimate)"), ("scene", 1, "jit(_predict_grid)")],
)
def test_two_programs_serve_images_of_every_size_at_a_reduced_scale(
    name: str, scale: int, program: str, compilations: Callable
) -> None:
    enhancer = Enhancer(network_of(name, scale), engine="xla", tile=16)
    with compilations() as programs:
        for i in range(20):
            enhancer(random_image(1 + 7 * i % 61, 1 + 11 * i % 53, 3, seed=i))
    assert sorted(programs) == ["jit(_enhance)", program]


@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_a_scene_network_sees_the_whole_of_long_and_of_tiny_images(engine: str) -> None:
    enhancer = enhancer_of("scene", 1, 24, 2 if engine == "xla" else 0)
    for size in ((1, 1), (1, 300), (5000, 3), (2, 2)):
        image = random_image(*size, 3, dtype="float32")
        expected = whole_image.enhance(network_of("scene"), image)
        np.testing.assert_allclose(enhancer(image, gamma=1.0), expected, rtol=0, atol=1e-5)
