"""Tests of config: presets, shapes of parameters, the receptive field, ranges of settings."""

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from zerodce_jax.config import (
    PRESETS,
    EnhanceSettings,
    NetworkConfig,
    preset,
)
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models.dcenet import DCENet, graphdef
from zerodce_jax.models.network import flatten, unflatten

NUMBERS = ("features", "iterations", "scale")
FLAGS = ("pool", "separable", "shared_curve")

# A program that prints each field whose wrong value raises an error that names the field.
WRONG_TYPES = """
import json, sys
from zerodce_jax import NetworkConfig, UsageError
for name, value in json.loads(sys.argv[1]):
    try:
        NetworkConfig.from_dict({name: value})
    except UsageError as error:
        if name in str(error):
            print(name)
"""

WRONG_SETTINGS = WRONG_TYPES.replace("NetworkConfig", "EnhanceSettings")

configs = st.builds(
    NetworkConfig,
    features=st.integers(1, 40),
    pool=st.booleans(),
    separable=st.booleans(),
    iterations=st.integers(1, 12),
    shared_curve=st.booleans(),
    scale=st.integers(1, 16),
)


@pytest.mark.parametrize(
    ("name", "count"),
    [("reduced", 23_592), ("original", 79_416), ("plusplus", 10_561), ("fast", 18_390)],
)
def test_presets_have_the_published_number_of_parameters(name: str, count: int) -> None:
    assert sum(math.prod(shape) for shape in preset(name).param_shapes.values()) == count


def test_presets_are_the_four_networks_and_others_are_refused() -> None:
    assert PRESETS == ("reduced", "original", "plusplus", "fast")
    assert NetworkConfig() == NetworkConfig.reduced()
    with pytest.raises(UsageError, match=r"'tiny'.*reduced, original, plusplus, fast"):
        preset("tiny")


@hypothesis_settings(max_examples=8)
@given(configs)
def test_param_shapes_equal_those_of_the_module(config: NetworkConfig) -> None:
    model = nnx.eval_shape(lambda: DCENet(config, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    shapes = {name: leaf.shape for name, leaf in flatten(params).items()}
    assert shapes == config.param_shapes


@given(configs)
def test_last_layer_outputs_the_number_of_maps(config: NetworkConfig) -> None:
    last = "conv7.pointwise.bias" if config.separable else "conv7.bias"
    assert config.param_shapes[last] == (config.maps,)
    assert config.maps == (3 if config.shared_curve else 3 * config.iterations)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("separable", [True, False])
def test_radius_is_the_reach_of_a_single_pixel(pool: bool, separable: bool) -> None:
    config = NetworkConfig(features=2, pool=pool, separable=separable, iterations=1)
    # With positive weights and no biases, all pixels within reach of the bright pixel exceed 0.
    params = {
        name: np.full(shape, 0.2 if name.endswith("kernel") else 0, np.float32)
        for name, shape in config.param_shapes.items()
    }
    model = nnx.merge(graphdef(config), unflatten(params))
    image = np.zeros((1, 25, 25, 3), np.float32)
    image[0, 12, 12] = 1
    reached = np.argwhere(np.asarray(jax.jit(DCENet.forward)(model, image))[0].any(axis=-1))
    distances = np.abs(reached - 12).max(axis=1)
    assert distances.max() == config.radius
    assert len(reached) == (2 * config.radius + 1) ** 2


@given(configs)
def test_config_survives_conversion_to_a_dict(config: NetworkConfig) -> None:
    assert NetworkConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -16])
def test_error_names_a_number_that_is_out_of_range(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=rf"{name} .*{value}"):
        NetworkConfig.from_dict({name: value})


def test_error_names_a_field_of_the_wrong_type(python: Callable) -> None:
    # A child process avoids the run-time type checker of the tests, which would raise first.
    numbers = [(name, value) for name in NUMBERS for value in ("16", 16.5, None, True, [1])]
    flags = [(name, value) for name in FLAGS for value in ("yes", 3, None)]
    refused = python("-c", WRONG_TYPES, json.dumps(numbers + flags))
    assert refused.stderr == ""
    assert refused.stdout.split() == [name for name, _ in numbers + flags]


def test_error_names_unknown_fields() -> None:
    with pytest.raises(UsageError, match="depth, width"):
        NetworkConfig.from_dict({"features": 8, "width": 1, "depth": 2})


def test_preset_is_recognized_at_any_scale() -> None:
    for name in PRESETS:
        assert preset(name).preset == name
        assert replace(preset(name), scale=12).preset == name
    assert NetworkConfig(features=8).preset is None
    assert NetworkConfig(pool=False).preset is None


def test_configs_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        NetworkConfig().features = 8


@pytest.mark.parametrize("gamma", [0.0, -1.0, 10.1, math.nan, math.inf])
def test_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(UsageError, match="gamma"):
        EnhanceSettings(gamma=gamma)


@pytest.mark.parametrize("strength", [-0.1, 2.1, math.nan, math.inf])
def test_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="strength"):
        EnhanceSettings(strength=strength)


@pytest.mark.parametrize("name", ["protect_highlights", "denoise"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_highlight_protection_and_denoising_out_of_range_are_refused(
    name: str, value: float
) -> None:
    with pytest.raises(UsageError, match=rf"{name} must .*at least 0, at most 1\), not {value}"):
        EnhanceSettings.from_dict({name: value})


@pytest.mark.parametrize("exposure", [0, 1, 0.0, 1.0, -0.4, 40, math.nan, math.inf])
def test_exposure_level_out_of_range_is_refused(exposure: float) -> None:
    with pytest.raises(UsageError, match=rf"exposure must .*above 0, below 1\), not {exposure}"):
        EnhanceSettings(exposure=exposure)


def test_default_settings_and_values_at_the_limits() -> None:
    default = EnhanceSettings("off", 1.15, 1.0, 0.0, 0.0)
    assert EnhanceSettings() == EnhanceSettings.from_dict({}) == default
    EnhanceSettings(exposure=1e-6, gamma=10, strength=0, protect_highlights=0, denoise=0)
    EnhanceSettings(exposure=1 - 1e-6, gamma=1e-6, strength=2, protect_highlights=1, denoise=1)


def test_adaptive_settings_turn_the_automatic_steps_on() -> None:
    adaptive = EnhanceSettings.adaptive()
    assert (adaptive.exposure, adaptive.gamma, adaptive.strength) == ("auto", 1, 1)
    assert 0 < adaptive.protect_highlights <= 1
    assert adaptive.denoise == "auto"


def test_exposure_levels_by_setting() -> None:
    levels = {"off": None, "auto": 0.4, 0.25: 0.25, 0.9: 0.9}
    for exposure, level in levels.items():
        assert EnhanceSettings(exposure=exposure).level == level


random_settings = st.builds(
    EnhanceSettings,
    exposure=st.sampled_from(["auto", "off"]) | st.floats(0.01, 0.99),
    gamma=st.floats(0.1, 10),
    strength=st.floats(0, 2),
    protect_highlights=st.floats(0, 1),
    denoise=st.just("auto") | st.floats(0, 1),
)


@given(random_settings)
def test_settings_survive_conversion_to_json(settings: EnhanceSettings) -> None:
    assert EnhanceSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@given(random_settings, random_settings)
def test_changed_replaces_only_the_given_settings(
    before: EnhanceSettings, other: EnhanceSettings
) -> None:
    assert before.changed() == before
    assert before.changed(**dict.fromkeys(before.to_dict())) == before
    assert before.changed(**other.to_dict()) == other
    for name, value in other.to_dict().items():
        changed = before.changed(**{name: value}).to_dict()
        assert changed == before.to_dict() | {name: value}


def test_changed_distinguishes_none_from_off_and_0() -> None:
    off = EnhanceSettings.adaptive().changed(
        exposure="off", protect_highlights=0.0, denoise=0, gamma=None
    )
    assert off == EnhanceSettings(gamma=1.0)


def test_changed_checks_ranges_and_settings_are_immutable() -> None:
    for name in ("gamma", "strength", "exposure", "protect_highlights", "denoise"):
        with pytest.raises(UsageError, match=name):
            EnhanceSettings().changed(**{name: -1.0})
    with pytest.raises(FrozenInstanceError):
        EnhanceSettings().gamma = 2.0


def test_error_names_unknown_settings() -> None:
    with pytest.raises(UsageError, match="unknown fields contrast, warmth"):
        EnhanceSettings.from_dict({"gamma": 1.0, "warmth": 1, "contrast": 2})


def test_error_names_a_setting_of_the_wrong_type(python: Callable) -> None:
    names = ("exposure", "gamma", "strength", "protect_highlights", "denoise")
    wrong = [(name, value) for name in names for value in ("1", "", None, True, False, [1], {})]
    refused = python("-c", WRONG_SETTINGS, json.dumps(wrong))
    assert refused.stderr == ""
    assert refused.stdout.split() == [name for name, _ in wrong]


def test_usage_errors_are_input_errors_and_value_errors() -> None:
    assert issubclass(UsageError, InputError)
    assert issubclass(InputError, ValueError)
