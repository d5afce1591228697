"""config.py: parameter counts and shapes, the receptive field measured, ranges refused."""

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

# Prints the name of each field that is refused by its name.
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


def test_there_are_four_presets() -> None:
    assert PRESETS == ("reduced", "original", "plusplus", "fast")
    assert NetworkConfig() == NetworkConfig.reduced()
    with pytest.raises(UsageError, match=r"'tiny'.*reduced, original, plusplus, fast"):
        preset("tiny")


@hypothesis_settings(max_examples=8)
@given(configs)
def test_param_shapes_are_those_of_the_module(config: NetworkConfig) -> None:
    model = nnx.eval_shape(lambda: DCENet(config, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    shapes = {name: leaf.shape for name, leaf in flatten(params).items()}
    assert shapes == config.param_shapes


@given(configs)
def test_number_of_maps(config: NetworkConfig) -> None:
    last = "conv7.pointwise.bias" if config.separable else "conv7.bias"
    assert config.param_shapes[last] == (config.maps,)
    assert config.maps == (3 if config.shared_curve else 3 * config.iterations)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("separable", [True, False])
def test_radius_is_how_far_one_pixel_is_seen(pool: bool, separable: bool) -> None:
    config = NetworkConfig(features=2, pool=pool, separable=separable, iterations=1)
    # Positive weights and no biases: what one lit pixel can reach becomes greater than 0.
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
def test_dict_and_back(config: NetworkConfig) -> None:
    assert NetworkConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -16])
def test_numbers_out_of_range_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=rf"{name} .*{value}"):
        NetworkConfig.from_dict({name: value})


def test_values_of_a_wrong_type_are_refused_by_name(python: Callable) -> None:
    # In a process of its own: here the checker of this suite would speak first.
    numbers = [(name, value) for name in NUMBERS for value in ("16", 16.5, None, True, [1])]
    flags = [(name, value) for name in FLAGS for value in ("yes", 3, None)]
    refused = python("-c", WRONG_TYPES, json.dumps(numbers + flags))
    assert refused.stderr == ""
    assert refused.stdout.split() == [name for name, _ in numbers + flags]


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="depth, width"):
        NetworkConfig.from_dict({"features": 8, "width": 1, "depth": 2})


def test_preset_is_recognised_at_any_scale() -> None:
    for name in PRESETS:
        assert preset(name).preset == name
        assert replace(preset(name), scale=12).preset == name
    assert NetworkConfig(features=8).preset is None
    assert NetworkConfig(pool=False).preset is None


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        NetworkConfig().features = 8


@pytest.mark.parametrize("gamma", [0.0, -1.0, 10.1, math.nan, math.inf])
def test_gamma_out_of_range(gamma: float) -> None:
    with pytest.raises(UsageError, match="gamma"):
        EnhanceSettings(gamma=gamma)


@pytest.mark.parametrize("strength", [-0.1, 2.1, math.nan, math.inf])
def test_strength_out_of_range(strength: float) -> None:
    with pytest.raises(UsageError, match="strength"):
        EnhanceSettings(strength=strength)


@pytest.mark.parametrize("name", ["protect_highlights", "denoise"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_shares_out_of_range(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{name} must .*at least 0, at most 1\), not {value}"):
        EnhanceSettings.from_dict({name: value})


@pytest.mark.parametrize("exposure", [0, 1, 0.0, 1.0, -0.4, 40, math.nan, math.inf])
def test_exposure_out_of_range(exposure: float) -> None:
    with pytest.raises(UsageError, match=rf"exposure must .*above 0, below 1\), not {exposure}"):
        EnhanceSettings(exposure=exposure)


def test_settings_by_default_and_at_their_limits() -> None:
    recipe = EnhanceSettings("off", 1.15, 1.0, 0.0, 0.0)
    assert EnhanceSettings() == EnhanceSettings.from_dict({}) == recipe
    EnhanceSettings(exposure=1e-6, gamma=10, strength=0, protect_highlights=0, denoise=0)
    EnhanceSettings(exposure=1 - 1e-6, gamma=1e-6, strength=2, protect_highlights=1, denoise=1)


def test_settings_of_this_project_are_another_recipe() -> None:
    ours = EnhanceSettings.adaptive()
    assert (ours.exposure, ours.gamma, ours.strength) == ("auto", 1, 1)
    assert 0 < ours.protect_highlights <= 1
    assert ours.denoise == "auto"


def test_levels_that_exposures_stand_for() -> None:
    levels = {"off": None, "auto": 0.4, 0.25: 0.25, 0.9: 0.9}
    for exposure, level in levels.items():
        assert EnhanceSettings(exposure=exposure).level == level


every_setting = st.builds(
    EnhanceSettings,
    exposure=st.sampled_from(["auto", "off"]) | st.floats(0.01, 0.99),
    gamma=st.floats(0.1, 10),
    strength=st.floats(0, 2),
    protect_highlights=st.floats(0, 1),
    denoise=st.just("auto") | st.floats(0, 1),
)


@given(every_setting)
def test_settings_travel_as_json(settings: EnhanceSettings) -> None:
    assert EnhanceSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@given(every_setting, every_setting)
def test_settings_that_are_not_given_stay(before: EnhanceSettings, other: EnhanceSettings) -> None:
    assert before.changed() == before
    assert before.changed(**dict.fromkeys(before.to_dict())) == before
    assert before.changed(**other.to_dict()) == other
    for name, value in other.to_dict().items():
        given_one = before.changed(**{name: value}).to_dict()
        assert given_one == before.to_dict() | {name: value}


def test_nothing_and_off_are_told_apart() -> None:
    ours = EnhanceSettings.adaptive()
    off = ours.changed(exposure="off", protect_highlights=0.0, denoise=0, gamma=None)
    assert off == EnhanceSettings(gamma=1.0)


def test_settings_are_changed_within_their_ranges() -> None:
    for name in ("gamma", "strength", "exposure", "protect_highlights", "denoise"):
        with pytest.raises(UsageError, match=name):
            EnhanceSettings().changed(**{name: -1.0})
    with pytest.raises(FrozenInstanceError):
        EnhanceSettings().gamma = 2.0


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="unknown fields contrast, warmth"):
        EnhanceSettings.from_dict({"gamma": 1.0, "warmth": 1, "contrast": 2})


def test_settings_of_a_wrong_type_are_refused_by_name(python: Callable) -> None:
    names = ("exposure", "gamma", "strength", "protect_highlights", "denoise")
    wrong = [(name, value) for name in names for value in ("1", "", None, True, False, [1], {})]
    refused = python("-c", WRONG_SETTINGS, json.dumps(wrong))
    assert refused.stderr == ""
    assert refused.stdout.split() == [name for name, _ in wrong]


def test_wrong_usage_is_a_kind_of_unusable_input() -> None:
    assert issubclass(UsageError, InputError)
    assert issubclass(InputError, ValueError)
