"""scenes.py: degraded photographs, the losses of restoring them, and the gradient of curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.whole_image import random_network
from zerodce_jax.config import SceneConfig, TrainConfig
from zerodce_jax.models.modules import graphdef, init_params
from zerodce_jax.models.network import flatten, unflatten
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.grid import AMPLITUDE, CENTER
from zerodce_jax.training import camera, scenes
from zerodce_jax.training.scenes import apply_shared_curve, degrade, scene_losses, vary_colors
from zerodce_jax.training.step import make_losses

SMALL = SceneConfig(features=8, blocks=1, levels=3)
CONFIG = TrainConfig.recipe("scene")
NAMES = {"regions", "pixels", "mean", "edges", "error", "smoothness"}

# One shape of images, and one program of each, for all tests.
COUNT, SIDE = 300, 32
jitted_degrade, jitted_losses = jax.jit(degrade), jax.jit(scene_losses)


def photographs(count: int = COUNT, *, brightness: float = 0.5, side: int = SIDE) -> jax.Array:
    """Return random photographs in 8 bits with a given mean."""
    pixels = np.random.default_rng(0).random((count, side, side, 3))
    return jnp.asarray(np.round(pixels * 2 * brightness * 255) / 255, jnp.float32)


def degraded_and_targets(
    images: jax.Array, seed: int = 0, *, noise: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    normal = jax.random.normal(jax.random.key(seed + 1000), images.shape) * noise
    results, targets = jitted_degrade(images, jax.random.key(seed), normal)
    return np.asarray(results), np.asarray(targets)


def degraded(images: jax.Array, seed: int = 0, *, noise: bool = True) -> np.ndarray:
    return degraded_and_targets(images, seed, noise=noise)[0]


def is_unchanged(images: jax.Array, results: np.ndarray) -> np.ndarray:
    return (np.asarray(images) == results).all((1, 2, 3))


def test_degraded_photographs_have_8_bits_and_are_darker_on_average() -> None:
    images = photographs()
    results = degraded(images)
    assert results.shape == images.shape
    assert results.min() >= 0
    assert results.max() <= 1
    np.testing.assert_allclose(results * 255, np.round(results * 255), atol=1e-4)
    means = results.mean((1, 2, 3)) / np.asarray(images).mean((1, 2, 3))
    # Those with too much contrast may become brighter.
    assert np.mean(means <= 1.02) > 0.6
    assert np.mean(means) < 0.9
    assert means.min() < 0.3


@pytest.mark.parametrize("brightness", [0.05, 0.5])
def test_a_share_of_the_photographs_stays_and_more_of_dark_ones(brightness: float) -> None:
    images = photographs(brightness=brightness)
    share = scenes.UNCHANGED + (scenes.UNCHANGED_IF_DARK if brightness < 0.1 else 0)
    found = is_unchanged(images, degraded(images)).mean()
    # Five standard deviations.
    assert found == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / COUNT))


def test_the_key_decides_the_result() -> None:
    images = photographs()
    first, same, other = (degraded(images, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any((1, 2, 3)).mean() > 0.5


def test_noise_comes_from_the_given_numbers() -> None:
    images = jnp.full((COUNT, SIDE, SIDE, 3), jnp.round(0.6 * 255) / 255)
    still, noisy = (degraded(images, noise=noise) for noise in (False, True))
    # Flat photographs stay flat without noise, and only degraded ones get noise.
    assert np.ptp(still, axis=(1, 2)).max() < 1e-6
    changed = ~is_unchanged(images, still)
    assert (noisy[~changed] == still[~changed]).all()
    assert np.median(noisy[changed].std((1, 2))) > 0


def test_without_noise_the_order_of_tones_is_kept() -> None:
    ramp = np.round(np.linspace(0, 1, SIDE) * 255) / 255
    images = jnp.asarray(np.broadcast_to(ramp[:, None, None], (COUNT, SIDE, SIDE, 3)), jnp.float32)
    results = degraded(images, noise=False)
    assert np.diff(results, axis=1).min() >= -1e-6
    # Channels differ in some, which have a color cast.
    casts = np.ptp(results, axis=-1).max((1, 2)) > 1e-6
    assert 0.2 < casts.mean() < 0.6


def test_factors_on_the_light_are_in_range() -> None:
    # The exposure of gray photographs at 0.46 stays as it is.
    gray = round(scenes.BRIGHTNESS * 255) / 255
    images = jnp.full((COUNT, SIDE, SIDE, 3), gray)
    results = degraded(images, noise=False)
    light = camera.to_light(images[:1])
    # A color cast changes the factor by up to 12 %.
    smallest, largest = 0.85 * scenes.MIN_FACTOR, 1.15 * 4
    lowest, highest = (float(camera.to_pixels(x * light).max()) for x in (smallest, largest))
    assert lowest - 1e-6 <= results.min() < 0.3 * gray
    assert gray < results.max() <= highest + 1e-6


@pytest.mark.parametrize("brightness", [0.05, 0.35, 0.7])
def test_exposure_of_targets_is_brought_towards_a_mean_but_not_that_of_dark_ones(
    brightness: float,
) -> None:
    gray = round(brightness * 255) / 255
    images = jnp.full((COUNT, SIDE, SIDE, 3), gray)
    results, targets = degraded_and_targets(images, noise=False)
    unchanged = (results == gray).all((1, 2, 3))
    assert 0 < unchanged.sum() < COUNT
    if brightness < 0.1:
        np.testing.assert_allclose(targets, gray, atol=1e-6)
    else:
        means = targets[~unchanged].mean((1, 2, 3))
        np.testing.assert_allclose(means, scenes.BRIGHTNESS, atol=0.09)


def test_only_targets_of_bright_images_are_moved_towards_their_exposure_fusion() -> None:
    halves = np.where(np.arange(SIDE) < SIDE // 2, 60, 180) / 255
    images = jnp.asarray(np.broadcast_to(halves[:, None], (COUNT, SIDE, SIDE, 3)).copy())
    images = jnp.asarray(images, jnp.float32).swapaxes(1, 2)
    results, targets = degraded_and_targets(images, noise=False)
    unchanged = is_unchanged(images, results)
    dark, bright = targets[unchanged, 4, 4].mean(), targets[unchanged, -4, -4].mean()
    # Shadows become brighter and highlights darker, but by no more than the share.
    assert 60 / 255 + 0.01 < dark < 60 / 255 + scenes.FUSION * (0.6 - 60 / 255)
    assert 180 / 255 - scenes.FUSION * (180 / 255 - 0.4) < bright < 180 / 255 - 0.01
    in_the_dark = results.mean((1, 2, 3)) < 0.1
    assert in_the_dark.any()
    moved = np.abs(targets * 255 - np.round(targets * 255)).max((1, 2, 3)) > 1e-3
    assert not moved[in_the_dark].any()
    assert moved[unchanged].all()


def test_colors_vary_around_those_of_the_photographs() -> None:
    images = photographs(COUNT)
    results = np.asarray(vary_colors(images, jax.random.key(0)))
    np.testing.assert_allclose(results * 255, np.round(results * 255), atol=1e-4)
    ratios = results.mean((1, 2)) / np.asarray(images).mean((1, 2))
    assert 0.97 < ratios.mean() < 1.03
    assert (ratios.std(0) > 0.01).all()
    gray = jnp.broadcast_to(images[..., :1], images.shape)
    spread = np.ptp(np.asarray(vary_colors(gray, jax.random.key(0))).mean((1, 2)), axis=-1)
    assert np.median(spread) > 0.005


def identity_model() -> SceneNet:
    """Return a network whose curve maps are 0 for every image."""
    params = flatten(random_network(SMALL).params)
    params["grid2.kernel"] = np.zeros_like(params["grid2.kernel"])
    bias = np.float32(np.arctanh(-CENTER / AMPLITUDE))
    params["grid2.bias"] = np.full_like(params["grid2.bias"], bias)
    return nnx.merge(graphdef(SMALL), unflatten(params))


def test_a_perfect_network_has_no_loss_but_the_floor_of_the_error() -> None:
    images = photographs(2, side=128)
    perfect = jitted_losses(identity_model(), images, images)
    assert set(perfect) == NAMES
    for name in NAMES - {"error"}:
        assert float(perfect[name]) == pytest.approx(0, abs=1e-6), name
    others = jitted_losses(identity_model(), images, images / 2)
    for name in NAMES - {"smoothness"}:
        assert float(others[name]) > float(perfect[name]) + 1e-4, name


def test_losses_see_images_at_the_size_of_the_thumbnail() -> None:
    images = photographs(2, side=128)
    model = nnx.merge(graphdef(SMALL), random_network(SMALL).params)
    large = jnp.repeat(jnp.repeat(images, 2, axis=1), 2, axis=2)
    small, same = (jitted_losses(model, x, x / 2) for x in (images, large))
    for name in NAMES:
        assert float(same[name]) == pytest.approx(float(small[name]), rel=1e-4, abs=1e-6)


def test_smoothness_is_0_for_constant_grids_alone() -> None:
    images = photographs(2, side=128)
    varied = nnx.merge(graphdef(SMALL), random_network(SMALL).params)
    assert float(jitted_losses(varied, images, images)["smoothness"]) > 1e-4
    flat = nnx.merge(graphdef(SMALL), init_params(SMALL, seed=0))
    assert float(jitted_losses(flat, images, images)["smoothness"]) == 0


@pytest.mark.slow
def test_gradients_are_finite_on_black_and_on_constant_images() -> None:
    losses = make_losses(SMALL, CONFIG)
    gradient = jax.jit(jax.grad(lambda params, x: losses(params, x)[0]))
    for params in (init_params(SMALL, seed=0), random_network(SMALL).params):
        for value in (0.0, 0.4, 1.0):
            grads = gradient(params, jnp.full((2, 128, 128, 3), value))
            assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("iterations", [1, 8])
def test_shared_curves_have_the_value_and_the_gradient_of_apply_curves(iterations: int) -> None:
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((2, 9, 8, 3), dtype=np.float32))
    maps = jnp.asarray(rng.uniform(-1, 1, image.shape), jnp.float32)
    target = jnp.asarray(rng.random(image.shape, dtype=np.float32))
    expected = apply_curves(image, maps, iterations=iterations)
    result = apply_shared_curve(image, maps, iterations)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)

    def loss(maps: jax.Array, curves: object) -> jax.Array:
        return jnp.square(curves(maps) - target).sum()

    ours, theirs = (
        jax.grad(loss)(maps, curves)
        for curves in (
            lambda maps: apply_shared_curve(image, maps, iterations),
            lambda maps: apply_curves(image, maps, iterations=iterations),
        )
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
