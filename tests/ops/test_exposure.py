"""exposure.py: the strength of a picture against its brightness, computed a second time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import whole_image
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.ops.exposure import exposure_strength

AUTO = EnhanceSettings(exposure="auto", gamma=1.0)
ITERATIONS = 8

seeds = st.integers(0, 10_000)


def picture(seed: int, *, brightness: float, size: tuple[int, int] = (24, 18)) -> np.ndarray:
    """Random pixels with this mean."""
    pixels = np.random.default_rng(seed).random((*size, 3), dtype=np.float32)
    return pixels * np.float32(brightness / pixels.mean())


def brightening(seed: int, *, size: tuple[int, int] = (24, 18), maps: int = 24) -> np.ndarray:
    """Curve maps that all brighten, the more so the larger the strength."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.3, -0.1, (*size, maps)).astype(np.float32)


def found(image: np.ndarray, maps: np.ndarray, how: EnhanceSettings = AUTO) -> float:
    protection = how.protect_highlights
    return exposure_strength(
        image, maps, how, highlight_protection=protection, iterations=ITERATIONS
    )


def result(image: np.ndarray, maps: np.ndarray, how: EnhanceSettings = AUTO) -> float:
    """Brightness of the picture with the strength that was found."""
    return whole_image.brightness(
        image,
        maps,
        iterations=ITERATIONS,
        strength=found(image, maps, how),
        gamma=how.gamma,
        protection=how.protect_highlights,
    )


@pytest.mark.parametrize("exposure", ["auto", 0.2, 0.4, 0.7])
def test_bright_pictures_are_left_alone(exposure: str | float) -> None:
    how = replace(AUTO, exposure=exposure)
    level = how.level
    assert level is not None
    for brightness in (level + 1e-6, level + 1e-3, level + 0.1, 1.0):
        flat = np.full((5, 6, 3), brightness, np.float32)
        assert found(flat, np.full((5, 6, 3), -0.5, np.float32), how) == 0
    assert found(picture(1, brightness=level + 0.01), brightening(1), how) == 0
    assert found(picture(1, brightness=level - 0.01), brightening(1), how) > 0


def test_without_a_level_every_picture_gets_the_choice_of_the_network() -> None:
    how = EnhanceSettings(exposure="off")
    for brightness in (0.0, 0.1, 0.9):
        flat = np.full((5, 6, 3), brightness, np.float32)
        assert found(flat, np.full((5, 6, 3), -0.5, np.float32), how) == 1


@given(
    brightness=st.floats(0.02, 0.39),
    bend=st.floats(-0.6, -0.2),
    level=st.floats(0.4, 0.8),
    maps=st.sampled_from([3, 24]),
)
def test_flat_pictures_come_out_at_the_level(
    brightness: float, bend: float, level: float, maps: int
) -> None:
    how = replace(AUTO, exposure=level)
    flat = np.full((3, 4, 3), brightness, np.float32)
    assert result(flat, np.full((3, 4, maps), bend, np.float32), how) == pytest.approx(
        level, abs=1e-4
    )


@settings(max_examples=40)
@given(seed=seeds, brightness=st.floats(0.05, 0.395), maps=st.sampled_from([3, 24]))
def test_pictures_come_out_at_the_level(seed: int, brightness: float, maps: int) -> None:
    image = picture(seed, brightness=brightness)
    assert result(image, brightening(seed, maps=maps)) == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("size", [(128, 96), (65, 3), (100, 128)])
def test_samples_are_enough(size: tuple[int, int]) -> None:
    image, maps = picture(3, brightness=0.15, size=size), brightening(3, size=size)
    assert result(image, maps) == pytest.approx(0.4, abs=0.01)
    # Nothing is left to chance where the picture is smooth.
    smooth = np.broadcast_to(np.linspace(0.05, 0.25, size[0])[:, None, None], (*size, 3))
    same = np.full((*size, 3), -0.2, np.float32)
    assert result(smooth.astype(np.float32), same) == pytest.approx(0.4, abs=0.005)


@pytest.mark.slow
@settings(max_examples=50)
@given(seed=seeds, brightness=st.floats(0.01, 0.6), factor=st.floats(0.1, 0.999))
def test_darker_pictures_need_no_less_and_never_pass_the_level(
    seed: int, brightness: float, factor: float
) -> None:
    image, maps = picture(seed, brightness=brightness).clip(0, 1), brightening(seed)
    darker = image * np.float32(factor)
    assert found(darker, maps) >= found(image, maps) - 1e-5
    assert result(darker, maps) <= max(0.4, float(darker.mean())) + 1e-4
    assert result(darker, maps) <= result(image, maps) + 1e-4


@settings(max_examples=40)
@given(brightness=st.floats(0, 0.39), bend=st.floats(-1, 0))
def test_strengths_end_at_four(brightness: float, bend: float) -> None:
    flat, maps = np.full((3, 4, 3), brightness, np.float32), np.full((3, 4, 3), bend, np.float32)
    value = found(flat, maps)
    assert 0 < value <= 4
    within = whole_image.brightness(flat, maps, iterations=ITERATIONS, strength=4)
    assert (value == 4) == (within < 0.4) or within == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 65), (65, 1), (1, 128), (2, 100), (1, 1)])
def test_pictures_of_a_pixel_high_or_wide(size: tuple[int, int]) -> None:
    image, maps = np.full((*size, 3), 0.1, np.float32), np.full((*size, 3), -0.3, np.float32)
    assert result(image, maps) == pytest.approx(0.4, abs=1e-4)


def test_black_pictures_and_networks_without_curves_get_the_strongest() -> None:
    black = np.zeros((4, 4, 3), np.float32)
    assert found(black, np.full((4, 4, 3), -1, np.float32)) == 4
    assert found(black + np.float32(0.1), np.zeros((4, 4, 3), np.float32)) == 4


@pytest.mark.slow
@given(seed=seeds, brightness=st.floats(0.05, 0.45))
def test_pictures_that_hardly_differ_get_strengths_that_hardly_differ(
    seed: int, brightness: float
) -> None:
    image, maps = picture(seed, brightness=brightness).clip(0, 1), brightening(seed)
    change = np.random.default_rng(seed + 1).uniform(-1e-4, 1e-4, image.shape).astype(np.float32)
    other = (image + change).clip(0, 1)
    assert found(other, maps) == pytest.approx(found(image, maps), abs=2e-3)
    lighter = (image + np.float32(1e-4)).clip(0, 1)
    assert found(lighter, maps) == pytest.approx(found(image, maps), abs=5e-3)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.15, 1.3])
@pytest.mark.parametrize("protection", [0.0, 0.8, 1.0])
def test_the_level_is_that_of_the_finished_picture(gamma: float, protection: float) -> None:
    how = replace(AUTO, gamma=gamma, protect_highlights=protection)
    image = picture(5, brightness=0.15)
    # A few highlights, which are protected.
    image[:6, :4] = 0.7
    maps = brightening(5)
    assert image.mean() < 0.3
    assert result(image, maps, how) == pytest.approx(0.4, abs=1e-4)
    if how != AUTO:
        assert abs(found(image, maps, how) - found(image, maps)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.15])
def test_there_is_no_jump_at_the_level(gamma: float) -> None:
    how, maps = replace(AUTO, gamma=gamma), np.full((5, 6, 3), -0.3, np.float32)
    brightness = np.linspace(0.3, 0.5, 201)
    values = [found(np.full((5, 6, 3), x, np.float32), maps, how) for x in brightness]
    assert values[0] > 0 == values[-1]
    assert np.abs(np.diff(values)).max() < 5e-3
    # Nor where samples of the samples look brighter than all of them.
    stripes = np.full((128, 100, 3), 0.2, np.float32)
    stripes[::2] = 0.6
    many = np.full((128, 100, 3), -0.3, np.float32)
    one, other = (found(stripes + np.float32(d), many, how) for d in (-1e-3, 1e-3))
    assert one == pytest.approx(other, abs=1e-2)
