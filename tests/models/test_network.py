"""Tests of network.py: the dotted names of parameters, and the description of a network."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig, preset
from zerodce_jax.models.network import flatten, unflatten

configs = st.builds(
    NetworkConfig,
    features=st.integers(1, 40),
    separable=st.booleans(),
    iterations=st.integers(1, 12),
    shared_curve=st.booleans(),
)


@given(configs)
def test_unflatten_is_the_inverse_of_flatten(config: NetworkConfig) -> None:
    params = unflatten(config.param_shapes)
    assert set(params) == {f"conv{i}" for i in range(1, 8)}
    assert flatten(params) == config.param_shapes


def test_architecture_is_the_preset_at_any_scale_or_custom() -> None:
    assert random_network(replace(preset("plusplus"), scale=12)).architecture == "plusplus"
    assert random_network(NetworkConfig(features=2)).architecture == "custom architecture"
