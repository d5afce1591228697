"""Tests of enhancement.py: the sequence of steps for single images and batches, NumPy and JAX."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import whole_image
from zerodce_jax.config import NetworkConfig, Steps
from zerodce_jax.ops.enhancement import Adjustments, apply_gamma, average_gray, enhance, reach

BOTH = pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
# Without jit, JAX compiles each operation of an enhancement.
EVERY_STEPS = [Steps(protect, denoise) for protect in (False, True) for denoise in (False, True)]
# XLA compiles a program for each combination of steps; the last one has all of them.
MOSTLY_SLOW_STEPS = pytest.mark.parametrize(
    "steps",
    [
        *(pytest.param(steps, marks=pytest.mark.slow) for steps in EVERY_STEPS[:-1]),
        EVERY_STEPS[-1],
    ],
    ids=str,
)
NUMPY_AND_SLOW_JAX = pytest.mark.parametrize(
    "xp", [np, pytest.param(jnp, marks=pytest.mark.slow)], ids=["numpy", "jax"]
)
ITERATIONS = 8


def random_batch(count: int = 3, height: int = 17, width: int = 19) -> tuple[np.ndarray, ...]:
    """Return dark images with bright and flat regions, and curve maps that mostly brighten."""
    rng = np.random.default_rng(0)
    images = rng.random((count, height, width, 3), dtype=np.float32) ** 2
    images[:, :5] = 1 - images[:, :5] / 4
    images[:, 9:] /= 20
    maps = rng.uniform(-0.7, 0.2, (count, height, width, 3 * ITERATIONS)).astype(np.float32)
    return images, maps


def adjustments_per_image(xp: Any = np, *, with_gray: bool = True) -> Adjustments:
    """Return different adjustments for each of three images."""
    gray = xp.asarray([False, True, False]) if with_gray else None
    values = ([1.3, 0.6, 1.0], [0.9, 0.0, 0.4], [0.5, 1.0, 0.0])
    values = (*values, [0.004, 0.0, 0.004], [0.6, 1.0, 0.3])
    return Adjustments(gray, *(xp.asarray(value, dtype=xp.float32) for value in values))


def single(adjustments: Adjustments, index: int) -> Adjustments:
    """Return the adjustments of one image of a batch, as a batch of one."""
    return Adjustments(*(None if x is None else x[index : index + 1] for x in adjustments))


def assert_equal_to_numpy(result: Any, expected: np.ndarray) -> None:
    assert isinstance(result, jax.Array)
    assert isinstance(expected, np.ndarray)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_reach_is_6_pixels_for_each_filter(steps: Steps) -> None:
    assert reach(steps, 1) == 6 * steps.protect_highlights + 6 * steps.denoise
    # The highlights of a grid are protected without a filter.
    assert reach(steps, 6) == 6 * steps.denoise


@NUMPY_AND_SLOW_JAX
@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_strength_0_and_gamma_1_keep_every_bit(steps: Steps, xp: Any) -> None:
    images, maps = (xp.asarray(array) for array in random_batch())
    adjustments = Adjustments(None, 0.0, 1.0, 1.0)
    result = enhance(images, maps, adjustments, 1.0, steps=steps, iterations=ITERATIONS)
    np.testing.assert_array_equal(result, images)


@MOSTLY_SLOW_STEPS
def test_strength_0_and_gamma_1_keep_every_bit_under_jit(steps: Steps) -> None:
    images, maps = random_batch()
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    jitted = jax.jit(partial(enhance, steps=steps, iterations=ITERATIONS))
    result = jitted(
        images, maps, Adjustments(None, zeros, ones, ones, ones / 255, ones), jnp.float32(1)
    )
    np.testing.assert_array_equal(result, images)


@pytest.mark.parametrize("name", ["protect_highlights", "denoise"])
@pytest.mark.parametrize("others_on", [False, True])
def test_a_step_that_is_off_ignores_its_adjustment(name: str, others_on: bool) -> None:
    steps = replace(Steps(others_on, others_on), **{name: False})
    adjustment = "highlight_protection" if name == "protect_highlights" else name
    zero = Adjustments(None, 1.2, 0.7, 0.6)._replace(**{adjustment: 0.0})
    full = zero._replace(**{adjustment: 1.0})
    options = {"steps": steps, "iterations": ITERATIONS}
    with_zero, with_full = (enhance(*random_batch(), a, 1.0, **options) for a in (zero, full))
    np.testing.assert_array_equal(with_full, with_zero)
    # When the step is on, it makes a difference.
    options["steps"] = replace(steps, **{name: True})
    assert np.abs(enhance(*random_batch(), full, 1.0, **options) - with_zero).max() > 3e-3


@pytest.mark.parametrize("protect", [False, True])
def test_denoising_strength_0_keeps_the_bits(protect: bool) -> None:
    adjustments = Adjustments(None, 1.2, 0.7, 0.0)
    with_step, without_step = (
        enhance(
            *random_batch(), adjustments, 1.0, steps=Steps(protect, denoise), iterations=ITERATIONS
        )
        for denoise in (True, False)
    )
    np.testing.assert_array_equal(with_step, without_step)


def test_highlight_protection_0_makes_no_visible_difference() -> None:
    adjustments = Adjustments(None, 1.2, 0.0, 0.0)
    with_step, without_step = (
        enhance(*random_batch(), adjustments, 1.0, steps=Steps(protect), iterations=ITERATIONS)
        for protect in (True, False)
    )
    np.testing.assert_allclose(with_step, without_step, rtol=0, atol=1e-4)


@BOTH
@pytest.mark.parametrize("gamma", [1, 1.0, np.float32(1), np.array(1, np.float32), jnp.float32(1)])
def test_gamma_1_as_a_number_or_an_array_keeps_every_bit(gamma: Any, xp: Any) -> None:
    images = xp.asarray(random_batch()[0])
    np.testing.assert_array_equal(apply_gamma(images, gamma), images)


def test_gamma_1_under_jit_keeps_every_bit() -> None:
    images, _ = random_batch()
    np.testing.assert_array_equal(jax.jit(apply_gamma)(images, jnp.float32(1)), images)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("gamma", [0.4, 1.15, 3.0])
def test_gamma_is_an_exponent_that_keeps_black_and_white(gamma: float, as_array: bool) -> None:
    images = random_batch()[0]
    images[0, 0, 0], images[0, 0, 1] = 0, 1
    exponent = np.array(gamma, np.float32) if as_array else gamma
    result = apply_gamma(images, exponent)
    np.testing.assert_allclose(result, images.astype(np.float64) ** gamma, rtol=0, atol=1e-6)
    assert result[0, 0, :2].tolist() == [[0] * 3, [1] * 3]
    np.testing.assert_allclose(apply_gamma(jnp.asarray(images), exponent), result, atol=1e-6)


@BOTH
def test_gray_average_keeps_three_equal_channels_exactly(xp: Any) -> None:
    images, _ = random_batch()
    images[:] = images[..., 1:2]
    gray = xp.ones((3, 1, 1, 1), dtype=bool)
    np.testing.assert_array_equal(average_gray(xp.asarray(images), gray), images)


def test_gray_average_keeps_three_equal_channels_exactly_under_jit() -> None:
    images, _ = random_batch()
    images[:] = images[..., 1:2]
    gray = jnp.ones((3, 1, 1, 1), dtype=bool)
    np.testing.assert_array_equal(jax.jit(average_gray)(images, gray), images)


@NUMPY_AND_SLOW_JAX
@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_only_gray_images_become_the_mean_of_their_channels(steps: Steps, xp: Any) -> None:
    images, maps = (xp.asarray(array) for array in random_batch())
    options = {"steps": steps, "iterations": ITERATIONS}
    color = enhance(images, maps, adjustments_per_image(xp, with_gray=False), 1.0, **options)
    result = enhance(images, maps, adjustments_per_image(xp), 1.0, **options)
    for index in (0, 2):
        np.testing.assert_array_equal(result[index], color[index])
        assert np.ptp(np.asarray(color[index]), axis=-1).max() > 0.1
    np.testing.assert_array_equal(result[1], np.broadcast_to(result[1][..., :1], color[1].shape))
    np.testing.assert_allclose(result[1][..., 0], color[1].mean(axis=-1), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("with_gray", [False, True])
@MOSTLY_SLOW_STEPS
def test_jitted_jax_equals_numpy_for_different_adjustments_in_a_batch(
    steps: Steps, with_gray: bool
) -> None:
    images, maps = random_batch()
    options = {"steps": steps, "iterations": ITERATIONS}
    adjustments = adjustments_per_image(with_gray=with_gray)

    jitted = jax.jit(partial(enhance, **options))
    jax_adjustments = adjustments_per_image(jnp, with_gray=with_gray)
    for gamma in (1.0, 1.2):
        result = jitted(images, maps, jax_adjustments, jnp.float32(gamma))
        assert_equal_to_numpy(result, enhance(images, maps, adjustments, gamma, **options))


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_images_of_a_batch_do_not_influence_each_other(steps: Steps) -> None:
    images, maps = random_batch()
    options = {"steps": steps, "iterations": ITERATIONS}
    batched = enhance(images, maps, adjustments_per_image(), 1.2, **options)
    for index in range(len(images)):
        part = slice(index, index + 1)
        adjustments = single(adjustments_per_image(), index)
        (result,) = enhance(images[part], maps[part], adjustments, 1.2, **options)
        np.testing.assert_array_equal(result, batched[index])


@pytest.mark.filterwarnings("ignore:divide by zero")
@MOSTLY_SLOW_STEPS
def test_vmapped_jax_equals_numpy(steps: Steps) -> None:
    images, maps = random_batch()
    gammas = np.float32([1.0, 0.8, 1.3])
    options = {"steps": steps, "iterations": ITERATIONS}

    def enhance_one(image: Any, maps: Any, adjustments: Adjustments, gamma: Any) -> Any:
        per_image = Adjustments(*(x[None] for x in adjustments))
        return enhance(image[None], maps[None], per_image, gamma, **options)[0]

    vmapped = jax.jit(jax.vmap(enhance_one))
    results = vmapped(images, maps, adjustments_per_image(jnp), gammas)
    for index, gamma in enumerate(gammas):
        part = slice(index, index + 1)
        adjustments = single(adjustments_per_image(), index)
        expected = enhance(images[part], maps[part], adjustments, float(gamma), **options)
        assert_equal_to_numpy(results[index], expected[0])


# NumPy warns about the logarithm of black pixels, which gamma takes.
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 1.15])
@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_enhancement_equals_the_reference(steps: Steps, gamma: float, gray: bool) -> None:
    network = whole_image.random_network(NetworkConfig(features=4))
    image = random_batch(1)[0][0].astype(np.float64)
    if gray:
        image = image.mean(axis=-1)
    color = np.stack([image] * 3, axis=-1) if gray else image
    maps = whole_image.curve_maps(network, color)
    protection = 0.8 * whole_image.highlight_presence(whole_image.sample_pixels(color))
    assert protection > 0.5
    adjustments = Adjustments(np.array([gray]), 1.4, protection, 0.9, 0.01, protection / 0.8)
    (result,) = enhance(
        *(array[None].astype(np.float32) for array in (color, maps)),
        adjustments,
        gamma,
        steps=steps,
        iterations=network.config.iterations,
    )
    expected = whole_image.enhance(
        network,
        image,
        gamma=gamma,
        strength=1.4,
        protect_highlights=0.8 * steps.protect_highlights,
        denoise=0.9 * steps.denoise,
        rounding=0.01,
    )
    np.testing.assert_allclose(result[..., 0] if gray else result, expected, rtol=0, atol=5e-5)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("steps", EVERY_STEPS, ids=str)
def test_a_masked_tile_equals_the_whole_image(steps: Steps) -> None:
    images, maps = random_batch()
    options = {"steps": steps, "iterations": ITERATIONS}
    expected = enhance(images, maps, adjustments_per_image(), 1.1, **options)
    border = reach(steps, 1)
    padding = ((0, 0), (border, border), (border, border), (0, 0))
    inside = np.pad(np.ones_like(images[..., :1]), padding)
    # Values beyond the edges of the image have no influence.
    tiles = np.pad(images, padding, constant_values=0.4)
    tile_maps = np.pad(maps, padding, constant_values=-0.9)
    result = enhance(tiles, tile_maps, adjustments_per_image(), 1.1, inside=inside, **options)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_maps_are_scaled_before_they_are_upsampled() -> None:
    images, _ = random_batch(1, 16, 18)
    small = np.random.default_rng(1).uniform(-0.9, 0.9, (1, 8, 9, 3)).astype(np.float32)
    adjustments = Adjustments(None, 1.5, 0.0, 0.0)
    options = {"steps": Steps(), "iterations": ITERATIONS}

    def upsample(maps: np.ndarray) -> np.ndarray:
        # Halving shows that the strength is applied, and the maps are clipped, before this call.
        return maps.repeat(2, 1).repeat(2, 2) / 2

    result = enhance(images, small, adjustments, 1.0, upsample=upsample, **options)
    scaled = upsample(np.clip(1.5 * small, -1, 1))
    expected = enhance(images, scaled, adjustments._replace(strength=1.0), 1.0, **options)
    np.testing.assert_array_equal(result, expected)
