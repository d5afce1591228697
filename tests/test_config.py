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
    SceneConfig,
    TrainConfig,
    network_config,
    preset,
)
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models.dcenet import DCENet
from zerodce_jax.models.modules import graphdef
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
    [("reduced", 23_592), ("original", 79_416), ("plusplus", 10_561)],
)
def test_presets_have_the_published_number_of_parameters(name: str, count: int) -> None:
    assert sum(math.prod(shape) for shape in preset(name).param_shapes.values()) == count


def test_presets_are_the_three_networks_and_others_are_refused() -> None:
    assert PRESETS == ("reduced", "original", "plusplus")
    assert NetworkConfig() == NetworkConfig.reduced()
    for name in ("tiny", "scene", "fast"):
        with pytest.raises(UsageError, match=rf"'{name}'.*reduced, original, plusplus"):
            preset(name)


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
    with pytest.raises(FrozenInstanceError):
        SceneConfig().features = 8


scene_configs = st.builds(
    SceneConfig,
    features=st.integers(8, 40),
    blocks=st.integers(0, 4),
    levels=st.integers(2, 8),
    iterations=st.integers(1, 12),
)


def test_scene_networks_have_47_034_parameters_which_fit_into_the_seed_file() -> None:
    config = SceneConfig()
    count = sum(math.prod(shape) for shape in config.param_shapes.values())
    assert count == 47_034
    assert config.preset == "scene"
    assert replace(config, blocks=1).preset is None
    assert (config.outputs, config.maps, config.radius, config.two_passes) == (18, 3, 0, True)


@given(scene_configs)
def test_last_layer_of_a_scene_network_outputs_the_maps_of_all_levels(config: SceneConfig) -> None:
    assert config.param_shapes["grid2.bias"] == (config.outputs,)
    assert config.outputs == 3 * config.levels
    assert config.param_shapes["global1.kernel"][0] == config.features + config.bins
    blocks = [name for name in config.param_shapes if name.startswith("block")]
    assert len(blocks) == 2 * config.blocks


@given(configs | scene_configs)
def test_a_config_of_any_architecture_survives_conversion_to_json(
    config: NetworkConfig | SceneConfig,
) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    before = dict(values)
    assert network_config(values) == config
    assert values == before


def test_configs_of_earlier_versions_are_read() -> None:
    values = NetworkConfig(features=8).to_dict()
    assert network_config(values | {"levels": 1}) == NetworkConfig(features=8)
    with pytest.raises(UsageError, match="bilateral grid are no longer supported"):
        network_config(values | {"levels": 2})


def test_unknown_architectures_and_fields_of_others_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown architecture 'unet'"):
        network_config({"architecture": "unet"})
    with pytest.raises(UsageError, match="unknown fields scale"):
        network_config({"architecture": "scene", "scale": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [("features", 7), ("blocks", -1), ("levels", 1), ("iterations", 0), ("levels", -6)],
)
def test_error_names_a_number_of_a_scene_network_that_is_out_of_range(
    name: str, value: int
) -> None:
    with pytest.raises(UsageError, match=rf"{name} .*{value}"):
        SceneConfig(**{name: value})


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


def test_settings_of_scene_networks_leave_highlights_mostly_to_the_network() -> None:
    scene = EnhanceSettings.scene()
    assert (scene.exposure, scene.gamma, scene.strength) == ("auto", 1, 1)
    assert (scene.protect_highlights, scene.denoise) == (0.2, "auto")


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


def test_recipes_of_architectures() -> None:
    for model in ("reduced", "original", "plusplus"):
        recipe = TrainConfig.recipe(model)
        assert recipe == TrainConfig(model=model)
        assert recipe.network == preset(model)
    assert replace(TrainConfig.recipe("plusplus"), scale=12).network.scale == 12
    scene = TrainConfig.recipe("scene")
    assert scene.network == SceneConfig()
    assert scene.model == "scene"
    assert scene.image_size % SceneConfig.thumbnail == 0
    assert scene.schedule == "cosine"
    assert scene.ema > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"darken": True}, "--darken, --crop and --scale do not go with --model scene"),
        ({"crop": True}, "--darken, --crop and --scale do not go with --model scene"),
        ({"scale": 2}, "--darken, --crop and --scale do not go with --model scene"),
        ({"image_size": 160}, "--image-size must be a multiple of 128 for --model scene, not 160"),
    ],
)
def test_options_that_scene_networks_cannot_have_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(TrainConfig.recipe("scene"), **options)


def test_usage_errors_are_input_errors_and_value_errors() -> None:
    assert issubclass(UsageError, InputError)
    assert issubclass(InputError, ValueError)
