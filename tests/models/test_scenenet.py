"""Tests of scenenet.py: the network against plain NumPy, its first grid, sizes, precision."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import scene_image, whole_image
from zerodce_jax.config import SceneConfig
from zerodce_jax.models.modules import graphdef, init_params
from zerodce_jax.models.network import Network, flatten, unflatten
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.grid import AMPLITUDE, CENTER

SMALL = SceneConfig(features=8, levels=3)


def model_of(network: Network, dtype: str = "float32") -> SceneNet:
    return nnx.merge(graphdef(network.config, dtype=jnp.dtype(dtype)), network.params)


def random_images(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random((*shape, 3), dtype=np.float32) ** 2)


@hypothesis_settings(max_examples=6)
@given(
    features=st.integers(8, 40),
    blocks=st.integers(0, 3),
    levels=st.integers(2, 8),
)
def test_param_shapes_equal_those_of_the_module(features: int, blocks: int, levels: int) -> None:
    config = SceneConfig(features=features, blocks=blocks, levels=levels)
    model = nnx.eval_shape(lambda: SceneNet(config, rngs=nnx.Rngs(0)))
    params = flatten(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert {name: leaf.shape for name, leaf in params.items()} == config.param_shapes
    assert {leaf.dtype for leaf in params.values()} == {np.dtype("float32")}


@pytest.mark.parametrize(
    "config",
    [
        SceneConfig(),
        SceneConfig(features=8, blocks=0, levels=2),
        # 18 and 20 channels are convolved in groups, of which the last is smaller.
        SceneConfig(features=20, blocks=3, levels=6, iterations=3),
    ],
    ids=["default", "no blocks", "odd groups"],
)
def test_the_network_equals_plain_numpy(config: SceneConfig) -> None:
    network = whole_image.random_network(config)
    thumbnails = random_images(2, 128, 128)
    thumbnails = thumbnails.at[1].set(0).at[1, 30:90, 50:].set(1)
    grids = jax.jit(SceneNet.forward)(model_of(network), thumbnails)
    assert grids.shape == (2, 16, 16, config.outputs)
    assert grids.dtype == jnp.float32
    for grid, thumbnail in zip(grids, thumbnails, strict=True):
        expected = scene_image.scene_grid(network, np.asarray(thumbnail, np.float64))
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(grid, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (130, 96), (300, 2)])
def test_curve_maps_of_whole_images_equal_the_reference(size: tuple[int, int]) -> None:
    network = whole_image.random_network(SMALL)
    images = random_images(2, *size)
    maps = model_of(network)(images)
    assert maps.shape == (2, *size, 3)
    for found, image in zip(maps, images, strict=True):
        np.testing.assert_allclose(found, whole_image.curve_maps(network, image), rtol=0, atol=2e-5)


def test_estimating_and_upsampling_are_the_two_halves_of_a_call() -> None:
    model, images = model_of(whole_image.random_network(SMALL)), random_images(2, 40, 30)
    grid = model.estimate(images)
    assert grid.shape == (2, 16, 16, 9)
    np.testing.assert_allclose(model.upsample(grid, images), model(images), rtol=0, atol=1e-6)


def test_grids_lie_within_the_range() -> None:
    params = whole_image.random_network(SMALL, weight_scale=30).params
    model = model_of(Network(SMALL, params))
    grid = np.asarray(model.forward(random_images(1, 128, 128)))
    assert CENTER - AMPLITUDE - 1e-6 <= grid.min() < CENTER - 0.99 * AMPLITUDE
    assert CENTER + 0.99 * AMPLITUDE < grid.max() <= CENTER + AMPLITUDE + 1e-6


def test_a_new_network_brightens_all_images_alike() -> None:
    params = init_params(SMALL, seed=3)
    assert not params["grid2"]["kernel"].any()
    model = model_of(Network(SMALL, params))
    maps = model(random_images(2, 20, 30))
    np.testing.assert_allclose(maps, CENTER, rtol=0, atol=1e-6)
    assert CENTER < 0, "negative maps brighten"


@pytest.mark.slow
def test_initial_weights_depend_on_the_seed_and_have_the_variance_of_he() -> None:
    first, same, other = (flatten(init_params(SceneConfig(), seed=seed)) for seed in (1, 1, 2))
    for name, leaf in first.items():
        np.testing.assert_array_equal(leaf, same[name])
        if "bias" in name or name == "grid2.kernel":
            assert not leaf.any()
        else:
            assert (leaf != other[name]).any()
            inputs = np.prod(leaf.shape[:-1])
            # Draws beyond two standard deviations are repeated, at the same variance.
            assert np.std(leaf) == pytest.approx(np.sqrt(2 / inputs), rel=0.1), name


def test_places_far_apart_see_each_other_through_the_global_branch() -> None:
    network = whole_image.random_network(SMALL)
    params = flatten(network.params)
    for name in ("global2.kernel", "global2.bias"):
        params[name] = np.zeros_like(params[name])
    local = replace(network, params=unflatten(params))
    dark = random_images(1, 128, 128) / 8
    bright = dark.at[:, :16, :16].set(1)
    (near, far), (_, far_locally) = (
        np.abs(np.subtract(*(model_of(net).forward(x) for x in (dark, bright))))[
            0, [0, -1], [0, -1]
        ].max(-1)
        for net in (network, local)
    )
    assert near > 1e-3
    assert far > 1e-3
    # Convolutions alone reach a part of the image.
    assert far_locally == 0


def test_jit_does_not_change_the_maps() -> None:
    model, images = model_of(whole_image.random_network(SMALL)), random_images(1, 33, 47)
    np.testing.assert_allclose(
        jax.jit(SceneNet.__call__)(model, images), model(images), rtol=0, atol=2e-6
    )


@pytest.mark.slow
def test_bfloat16_is_close_and_keeps_float32_parameters() -> None:
    network = whole_image.random_network(SMALL, weight_scale=0.7)
    images = random_images(1, 128, 128)
    exact, coarse = (model_of(network, dtype) for dtype in ("float32", "bfloat16"))
    maps = coarse(images)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps, exact(images), rtol=0, atol=0.05)
    assert not np.array_equal(maps, exact(images))
    params = jax.tree.leaves(nnx.state(coarse, nnx.Param))
    assert {leaf.dtype for leaf in params} == {jnp.dtype("float32")}
