"""Tests of pixels.py: conversion of pixels to floats and back, and operations on channels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.ops.pixels import (
    broadcast,
    channel_mean,
    choose,
    from_float,
    max_value,
    rounding_step,
    to_float,
)

BOTH = pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
ARRAY_TYPES = {np: np.ndarray, jnp: jax.Array}


def every_value(dtype: str) -> np.ndarray:
    """Return an image with every value of an unsigned integer type."""
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    return values.reshape(16, -1, 1)


def random_image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_max_values_of_types() -> None:
    values = {"uint8": 255, "uint16": 65535, "float32": 1, ">u2": 65535}
    assert {dtype: max_value(dtype) for dtype in values} == values
    assert max_value(jnp.uint8) == 255


def test_rounding_steps_of_types() -> None:
    steps = {"uint8": 1 / 255, "uint16": 1 / 65535, "float32": 0, ">u2": 1 / 65535}
    assert {dtype: rounding_step(dtype) for dtype in steps} == steps


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_become_shares_of_their_largest_value(dtype: str, xp: Any) -> None:
    pixels = every_value(dtype)
    floats = to_float(xp.asarray(pixels))
    assert isinstance(floats, ARRAY_TYPES[xp])
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, pixels / np.iinfo(dtype).max, rtol=2e-7)
    assert (float(floats.min()), float(floats.max())) == (0, 1)


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_survives_the_round_trip(dtype: str, xp: Any) -> None:
    pixels = every_value(dtype)
    result = from_float(to_float(xp.asarray(pixels)), dtype)
    assert isinstance(result, ARRAY_TYPES[xp])
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_survives_the_jitted_round_trip(dtype: str) -> None:
    pixels = every_value(dtype)
    result = jax.jit(lambda x: from_float(to_float(x), dtype))(pixels)
    np.testing.assert_array_equal(result, pixels)


@BOTH
def test_floats_survive_the_round_trip(xp: Any) -> None:
    image = random_image(7, 5, 3)
    image[0, 0] = 0, 1, np.finfo(np.float32).tiny
    result = from_float(to_float(xp.asarray(image)), "float32")
    assert isinstance(result, ARRAY_TYPES[xp])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, image)


@given(value=st.floats(0, 1, width=32), dtype=st.sampled_from(["uint8", "uint16"]))
def test_floats_are_rounded_to_the_nearest_integer(value: float, dtype: str) -> None:
    image = np.full((1, 1, 1), value, np.float32)
    result = from_float(image, dtype).item()
    # float32 rounds the product and the sum, each to half a unit in the last place.
    assert abs(result - value * np.iinfo(dtype).max) <= 0.5 + np.iinfo(dtype).max * 1.2e-7


@BOTH
def test_uint8_rounds_up_from_the_middle_between_two_values(xp: Any) -> None:
    lower = np.arange(255, dtype=np.float32)[None, :, None]
    below, above = (xp.asarray((lower + 0.5 + shift) / 255) for shift in (-0.001, 0.001))
    np.testing.assert_array_equal(from_float(below, "uint8"), lower)
    np.testing.assert_array_equal(from_float(above, "uint8"), lower + 1)


@BOTH
def test_values_a_rounding_error_outside_the_range_become_black_and_white(xp: Any) -> None:
    image = xp.asarray([[[-1e-6, 1 + 1e-6]]], dtype=xp.float32)
    assert from_float(image, "uint8").tolist() == [[[0, 255]]]
    assert from_float(image, "uint16").tolist() == [[[0, 65535]]]
    assert from_float(image, "float32").tolist() == [[[0, 1]]]


def test_broadcast_keeps_numbers_and_adds_axes_to_arrays() -> None:
    assert broadcast(0.5) == 0.5
    assert broadcast(True) is True
    assert broadcast(np.float32([1, 2, 3])).shape == (3, 1, 1, 1)
    assert broadcast(jnp.zeros((2, 3))).shape == (2, 3, 1, 1, 1)
    assert broadcast(jnp.float32(1)).shape == (1, 1, 1)


@BOTH
def test_broadcast_applies_one_number_to_each_image(xp: Any) -> None:
    images = random_image(3, 4, 5, 3)
    factors = np.float32([0, 0.5, 2])
    scaled = xp.asarray(images) * broadcast(xp.asarray(factors))
    for image, factor, result in zip(images, factors, scaled, strict=True):
        np.testing.assert_array_equal(result, image * factor)


@BOTH
@pytest.mark.parametrize("condition", [True, False])
def test_choose_returns_one_of_two_arrays(condition: bool, xp: Any) -> None:
    if_true, if_false = (xp.asarray(random_image(2, 3, 4, 3, seed=seed)) for seed in range(2))
    result = choose(xp.asarray(condition), lambda: if_true, lambda: if_false)
    assert isinstance(result, ARRAY_TYPES[xp])
    np.testing.assert_array_equal(result, if_true if condition else if_false)


@BOTH
def test_choose_decides_for_each_image(xp: Any) -> None:
    if_true, if_false = (xp.asarray(random_image(3, 2, 4, 3, seed=seed)) for seed in range(2))
    condition = broadcast(xp.asarray([True, False, True]))
    result = choose(condition, lambda: if_true, lambda: if_false)
    np.testing.assert_array_equal(result[0], if_true[0])
    np.testing.assert_array_equal(result[1], if_false[1])
    np.testing.assert_array_equal(result[2], if_true[2])


@BOTH
def test_channel_mean_keeps_its_axis(xp: Any) -> None:
    image = random_image(2, 4, 5, 3)
    result = channel_mean(xp.asarray(image))
    assert result.shape == (2, 4, 5, 1)
    np.testing.assert_allclose(result[..., 0], image.mean(axis=-1), rtol=1e-6)
