"""Jitted functions give the results of the same functions without jit.

XLA's CPU backend has miscompiled reductions that it fuses with products, for arrays so large that
it spreads them over threads (jax#39103 in jax 0.10.2, jax#39257). Without jit, each operation is a
program of its own, which has no such fusions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.enhancers import network_of
from helpers.whole_image import random_network
from zerodce_jax.config import SceneConfig, Steps, TrainConfig
from zerodce_jax.models.modules import graphdef
from zerodce_jax.ops import enhancement
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.grid import interpolate_levels
from zerodce_jax.training import scenes
from zerodce_jax.training.losses import weighted_losses

pytestmark = pytest.mark.slow


def images(count: int, height: int, width: int) -> jax.Array:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3))
    return jnp.asarray(pixels / 255, jnp.float32)


def assert_same(function: Callable[..., Any], *arguments: Any, atol: float = 2e-5) -> None:
    jitted = jax.jit(function)(*arguments)
    with jax.disable_jit():
        plain = function(*arguments)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol)


def test_scene_network() -> None:
    network = random_network(SceneConfig())

    def maps(params: dict, x: jax.Array) -> jax.Array:
        return nnx.merge(graphdef(network.config), params)(x)

    # Above 32,768 pixels, the size at which the fault of jax 0.10.2 appears in float32.
    assert_same(maps, network.params, images(2, 200, 210))


@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
def test_dce_nets(name: str) -> None:
    network = network_of(name)

    def maps(params: dict, x: jax.Array) -> jax.Array:
        return nnx.merge(graphdef(network.config), params)(x)

    assert_same(maps, network.params, images(1, 190, 200))


@pytest.mark.parametrize("levels", [1, 6])
def test_all_steps_of_an_enhancement(levels: int) -> None:
    x = images(2, 190, 202) ** 2
    shape = (2, 1, 1, 18) if levels > 1 else x.shape
    maps = jnp.asarray(np.random.default_rng(1).uniform(-0.6, 0.1, shape), jnp.float32)
    two = jnp.full(2, 0.5)
    adjustments = Adjustments(jnp.array([False, True]), 2 * two, two, two, two / 255, two)

    def enhance(x: jax.Array, maps: jax.Array) -> jax.Array:
        def upsample(maps: jax.Array) -> jax.Array:
            if levels == 1:
                return maps
            return interpolate_levels(
                maps, x, levels, lambda m: jnp.broadcast_to(m, (*x.shape[:3], m.shape[-1]))
            )

        return enhancement.enhance(
            *(x, maps, adjustments, 1.15),
            steps=Steps(protect_highlights=True, denoise=True),
            iterations=8,
            levels=levels,
            upsample=upsample,
        )

    assert_same(enhance, x, maps, atol=1e-4)


def test_degradation_and_gradient_of_scene_losses() -> None:
    network = random_network(SceneConfig())
    photographs = images(2, 128, 128)
    normal = jax.random.normal(jax.random.key(1), photographs.shape)
    assert_same(scenes.degrade, photographs, jax.random.key(0), normal, atol=1.1 / 255)

    def gradient(params: dict, inputs: jax.Array, targets: jax.Array) -> dict:
        def total(params: dict) -> jax.Array:
            model = nnx.merge(graphdef(network.config), params)
            return sum(scenes.scene_losses(model, inputs, targets).values())

        return jax.grad(total)(params)

    assert_same(gradient, network.params, photographs / 2, photographs, atol=1e-3)


def test_zero_reference_losses() -> None:
    x = images(2, 192, 192)
    maps = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 192, 192, 24)), jnp.float32)
    assert_same(lambda x, y, m: weighted_losses(x, y, m, TrainConfig()), x, x**0.5, maps)
