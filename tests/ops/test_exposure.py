"""Tests of exposure.py: the exposure strength brings an image to its exposure level."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import whole_image
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.exposure import Response, exposure_strength
from zerodce_jax.ops.grid import interpolate_levels

AUTO = EnhanceSettings(exposure="auto", gamma=1.0)
ITERATIONS = 8

seeds = st.integers(0, 10_000)


def random_image(seed: int, *, brightness: float, size: tuple[int, int] = (24, 18)) -> np.ndarray:
    """Return random pixels with a given mean."""
    pixels = np.random.default_rng(seed).random((*size, 3), dtype=np.float32)
    return pixels * np.float32(brightness / pixels.mean())


def brightening_maps(seed: int, *, size: tuple[int, int] = (24, 18), maps: int = 24) -> np.ndarray:
    """Return curve maps that all brighten, the more so the larger the strength."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.3, -0.1, (*size, maps)).astype(np.float32)


def strength_of(image: np.ndarray, maps: np.ndarray, settings: EnhanceSettings = AUTO) -> float:
    """Return the exposure strength of an image with full presence of highlights."""
    return exposure_strength(
        image,
        maps,
        settings,
        highlight_protection=settings.protect_highlights,
        iterations=ITERATIONS,
    )


def brightness_after(
    image: np.ndarray, maps: np.ndarray, settings: EnhanceSettings = AUTO
) -> float:
    """Return the mean brightness that the reference reaches with the exposure strength."""
    return whole_image.mean_brightness(
        image,
        maps,
        iterations=ITERATIONS,
        strength=strength_of(image, maps, settings),
        gamma=settings.gamma,
        protection=settings.protect_highlights,
    )


@pytest.mark.parametrize("exposure", ["auto", 0.2, 0.4, 0.7])
def test_strength_is_0_for_images_as_bright_as_the_level(exposure: str | float) -> None:
    settings = replace(AUTO, exposure=exposure)
    level = settings.level
    assert level is not None
    for brightness in (level + 1e-6, level + 1e-3, level + 0.1, 1.0):
        flat = np.full((5, 6, 3), brightness, np.float32)
        assert strength_of(flat, np.full((5, 6, 3), -0.5, np.float32), settings) == 0
    brighter = random_image(1, brightness=level + 0.01)
    assert strength_of(brighter, brightening_maps(1), settings) == 0
    darker = random_image(1, brightness=level - 0.01)
    assert strength_of(darker, brightening_maps(1), settings) > 0


def test_strength_is_1_without_an_exposure_level() -> None:
    settings = EnhanceSettings(exposure="off")
    for brightness in (0.0, 0.1, 0.9):
        flat = np.full((5, 6, 3), brightness, np.float32)
        assert strength_of(flat, np.full((5, 6, 3), -0.5, np.float32), settings) == 1


@given(
    brightness=st.floats(0.02, 0.39),
    map_value=st.floats(-0.6, -0.2),
    level=st.floats(0.4, 0.8),
    maps=st.sampled_from([3, 24]),
)
def test_flat_images_reach_the_level(
    brightness: float, map_value: float, level: float, maps: int
) -> None:
    settings = replace(AUTO, exposure=level)
    flat = np.full((3, 4, 3), brightness, np.float32)
    flat_maps = np.full((3, 4, maps), map_value, np.float32)
    assert brightness_after(flat, flat_maps, settings) == pytest.approx(level, abs=1e-4)


@hypothesis_settings(max_examples=40)
@given(seed=seeds, brightness=st.floats(0.05, 0.395), maps=st.sampled_from([3, 24]))
def test_random_images_reach_the_level(seed: int, brightness: float, maps: int) -> None:
    image = random_image(seed, brightness=brightness)
    maps_of_image = brightening_maps(seed, maps=maps)
    assert brightness_after(image, maps_of_image) == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("size", [(128, 96), (65, 3), (100, 128)])
def test_sampled_pixels_represent_larger_images(size: tuple[int, int]) -> None:
    image, maps = random_image(3, brightness=0.15, size=size), brightening_maps(3, size=size)
    assert brightness_after(image, maps) == pytest.approx(0.4, abs=0.01)
    # A smooth image has no random pixels, so its samples represent it better.
    smooth = np.broadcast_to(np.linspace(0.05, 0.25, size[0])[:, None, None], (*size, 3))
    flat_maps = np.full((*size, 3), -0.2, np.float32)
    assert brightness_after(smooth.astype(np.float32), flat_maps) == pytest.approx(0.4, abs=0.005)


@pytest.mark.slow
@hypothesis_settings(max_examples=50)
@given(seed=seeds, brightness=st.floats(0.01, 0.6), factor=st.floats(0.1, 0.999))
def test_darker_images_get_no_less_strength_and_never_exceed_the_level(
    seed: int, brightness: float, factor: float
) -> None:
    image = random_image(seed, brightness=brightness).clip(0, 1)
    maps = brightening_maps(seed)
    darker = image * np.float32(factor)
    assert strength_of(darker, maps) >= strength_of(image, maps) - 1e-5
    assert brightness_after(darker, maps) <= max(0.4, float(darker.mean())) + 1e-4
    assert brightness_after(darker, maps) <= brightness_after(image, maps) + 1e-4


@hypothesis_settings(max_examples=40)
@given(brightness=st.floats(0, 0.39), map_value=st.floats(-1, 0))
def test_strength_is_at_most_4(brightness: float, map_value: float) -> None:
    flat = np.full((3, 4, 3), brightness, np.float32)
    maps = np.full((3, 4, 3), map_value, np.float32)
    strength = strength_of(flat, maps)
    assert 0 < strength <= 4
    brightest = whole_image.mean_brightness(flat, maps, iterations=ITERATIONS, strength=4)
    assert (strength == 4) == (brightest < 0.4) or brightest == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 65), (65, 1), (1, 128), (2, 100), (1, 1)])
def test_images_one_pixel_high_or_wide_reach_the_level(size: tuple[int, int]) -> None:
    image, maps = np.full((*size, 3), 0.1, np.float32), np.full((*size, 3), -0.3, np.float32)
    assert brightness_after(image, maps) == pytest.approx(0.4, abs=1e-4)


def test_strength_is_4_for_black_images_and_for_zero_maps() -> None:
    black = np.zeros((4, 4, 3), np.float32)
    assert strength_of(black, np.full((4, 4, 3), -1, np.float32)) == 4
    assert strength_of(black + np.float32(0.1), np.zeros((4, 4, 3), np.float32)) == 4


@pytest.mark.slow
@given(seed=seeds, brightness=st.floats(0.05, 0.45))
def test_similar_images_get_similar_strengths(seed: int, brightness: float) -> None:
    image = random_image(seed, brightness=brightness).clip(0, 1)
    maps = brightening_maps(seed)
    change = np.random.default_rng(seed + 1).uniform(-1e-4, 1e-4, image.shape).astype(np.float32)
    changed = (image + change).clip(0, 1)
    assert strength_of(changed, maps) == pytest.approx(strength_of(image, maps), abs=2e-3)
    brighter = (image + np.float32(1e-4)).clip(0, 1)
    assert strength_of(brighter, maps) == pytest.approx(strength_of(image, maps), abs=5e-3)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.15, 1.3])
@pytest.mark.parametrize("protection", [0.0, 0.8, 1.0])
def test_level_is_reached_after_gamma_and_highlight_protection(
    gamma: float, protection: float
) -> None:
    settings = replace(AUTO, gamma=gamma, protect_highlights=protection)
    image = random_image(5, brightness=0.15)
    # These highlights get protected.
    image[:6, :4] = 0.7
    maps = brightening_maps(5)
    assert image.mean() < 0.3
    assert brightness_after(image, maps, settings) == pytest.approx(0.4, abs=1e-4)
    if settings != AUTO:
        assert abs(strength_of(image, maps, settings) - strength_of(image, maps)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.15])
def test_strength_is_continuous_at_the_level(gamma: float) -> None:
    settings, maps = replace(AUTO, gamma=gamma), np.full((5, 6, 3), -0.3, np.float32)
    brightness = np.linspace(0.3, 0.5, 201)
    strengths = [strength_of(np.full((5, 6, 3), x, np.float32), maps, settings) for x in brightness]
    assert strengths[0] > 0 == strengths[-1]
    assert np.abs(np.diff(strengths)).max() < 5e-3
    # The same holds where the sampled pixels are brighter than the image as a whole.
    stripes = np.full((128, 100, 3), 0.2, np.float32)
    stripes[::2] = 0.6
    large_maps = np.full((128, 100, 3), -0.3, np.float32)
    below, above = (
        strength_of(stripes + np.float32(change), large_maps, settings) for change in (-1e-3, 1e-3)
    )
    assert below == pytest.approx(above, abs=1e-2)


@pytest.mark.parametrize("strength", [0.0, 0.7, 1.0, 3.0])
def test_response_reads_a_grid_as_engines_do(strength: float) -> None:
    image = random_image(0, brightness=0.2)
    grid = np.random.default_rng(1).uniform(-0.7, 0.3, (4, 3, 12)).astype(np.float32)

    def upsample(maps: np.ndarray) -> np.ndarray:
        return maps.repeat(6, axis=0).repeat(6, axis=1)

    response = Response(
        image,
        grid,
        gamma=1.2,
        highlight_protection=0.0,
        iterations=ITERATIONS,
        levels=4,
        upsample=upsample,
    )
    maps = interpolate_levels((strength * grid).clip(-1, 1), image, 4, upsample)
    expected = (apply_curves(image, maps, iterations=ITERATIONS) ** 1.2).mean()
    assert response(strength) == pytest.approx(float(expected), abs=1e-6)
    assert strength == 0 or response(strength) != pytest.approx(response(0.0), abs=1e-3)
