"""Tests of modules.py: the right module for every architecture, with and without parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers import whole_image
from zerodce_jax.config import AnyNetworkConfig, NetworkConfig, SceneConfig
from zerodce_jax.models.dcenet import DCENet
from zerodce_jax.models.modules import graphdef, init_params
from zerodce_jax.models.network import flatten
from zerodce_jax.models.scenenet import SceneNet

CONFIGS = [
    (NetworkConfig(features=3, shared_curve=True), DCENet),
    (SceneConfig(features=8, blocks=1), SceneNet),
]


@pytest.mark.parametrize(("config", "kind"), CONFIGS)
def test_structures_merge_with_parameters_into_the_module(
    config: AnyNetworkConfig, kind: type
) -> None:
    network = whole_image.random_network(config)
    model = nnx.merge(graphdef(config), network.params)
    assert type(model) is kind
    images = np.random.default_rng(0).random((1, 12, 9, 3), dtype=np.float32)
    np.testing.assert_allclose(
        model(jnp.asarray(images))[0], whole_image.curve_maps(network, images[0]), atol=2e-5
    )


@pytest.mark.parametrize(("config", "kind"), CONFIGS)
def test_initial_weights_have_the_shapes_of_the_configuration(
    config: AnyNetworkConfig, kind: type
) -> None:
    params = flatten(jax.eval_shape(lambda: init_params(config, seed=0)))
    assert {name: leaf.shape for name, leaf in params.items()} == config.param_shapes
    assert {leaf.dtype for leaf in params.values()} == {np.dtype("float32")}


def test_structures_are_equal_for_equal_configs_alone() -> None:
    first = graphdef(SceneConfig(features=8))
    assert first == graphdef(SceneConfig(features=8))
    assert first != graphdef(SceneConfig(features=8, blocks=1))
    assert first != graphdef(SceneConfig(features=8), dtype=jnp.bfloat16)
