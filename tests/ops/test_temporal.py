"""Tests of temporal.py: smoothing of the adjustments over frames, and flicker in real videos."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.enhancers import brightening_network
from helpers.video_files import frame, still
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import UsageError
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.exposure import Response
from zerodce_jax.ops.temporal import FrameAdjustments, Smoothing

RATE = 30
pytestmark = pytest.mark.usefixtures("no_compilation_cache")


def random_scene(seed: int, *, brightness: float = 0.1) -> np.ndarray:
    """Return the small copy of a frame: coarse patches of random brightness with a given mean."""
    patches = np.random.default_rng(seed).lognormal(0, 1, (5, 8, 1))
    scene = np.kron(patches, np.ones((4, 4, 3)))
    return np.minimum(scene * brightness / scene.mean(), 1).astype(np.float32)


def adjustments(
    map_value: float, strength: float, protection: float = 0.0, denoise: float = 0.0
) -> FrameAdjustments:
    """Return the adjustments of a frame whose curve maps all have one value."""
    maps = np.full((20, 32, 24), map_value, np.float32)
    return FrameAdjustments(maps, Adjustments(False, strength, protection, denoise))


def respond(scene: np.ndarray) -> Callable[[FrameAdjustments], Response]:
    """Return the function that `Smoothing.smooth` calls to get the brightness by strength."""
    return lambda frame: Response(
        scene,
        frame.maps,
        gamma=1.0,
        highlight_protection=frame.adjustments.highlight_protection,
        iterations=8,
    )


def enhanced_brightness(scene: np.ndarray, frame: FrameAdjustments) -> float:
    return respond(scene)(frame)(frame.adjustments.strength)


def smooth(
    smoothing: Smoothing, time: float, scene: np.ndarray, alone: FrameAdjustments
) -> FrameAdjustments:
    return smoothing.smooth(time, scene, alone, respond(scene))


def assert_equal(result: FrameAdjustments, expected: FrameAdjustments) -> None:
    np.testing.assert_array_equal(result.maps, expected.maps)
    assert result.adjustments == expected.adjustments


def test_first_frame_keeps_its_own_adjustments() -> None:
    alone = adjustments(-0.4, 1.3, 0.2)
    assert_equal(smooth(Smoothing(0.5, smooth_maps=True), 3.0, random_scene(1), alone), alone)


@given(st.integers(0, 1000), st.floats(0.005, 0.4), st.floats(0.005, 0.4))
def test_a_cut_restarts_the_smoothing(seed: int, before: float, after: float) -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    first, second = random_scene(seed, brightness=before), random_scene(seed + 1, brightness=after)
    smooth(smoothing, 0.0, first, adjustments(-0.8, 2.0, 1.0))
    alone = adjustments(-0.2, 0.7)
    assert_equal(smooth(smoothing, 1 / RATE, second, alone), alone)


@given(st.integers(0, 1000), st.floats(0.02, 0.2), st.floats(0.5, 2), st.integers(0, 1))
def test_flicker_motion_and_noise_do_not_count_as_cuts(
    seed: int, brightness: float, factor: float, shift: int
) -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    first = random_scene(seed, brightness=brightness)
    noise = np.random.default_rng(seed).normal(0, 0.002, first.shape)
    second = np.clip(np.roll(first, shift, axis=1) * factor + noise, 0, 1).astype(np.float32)
    smooth(smoothing, 0.0, first, adjustments(-0.3, 1.0))
    smoothed = smooth(smoothing, 1 / RATE, second, adjustments(-0.3, 2.0))
    assert smoothed.adjustments.strength < 1.6


def test_noise_in_flat_frames_does_not_count_as_a_cut() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    rng = np.random.default_rng(0)
    strengths = []
    for number in range(5):
        dark = (2 + rng.normal(0, 0.3, (20, 32, 3)).clip(-1, 1)).astype(np.float32) / 255
        alone = adjustments(-0.3, 1.0 + number % 2)
        strengths.append(smooth(smoothing, number / RATE, dark, alone).adjustments.strength)
    assert max(strengths[1:]) < 1.6


def test_maps_change_by_their_time_constant() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    scene = random_scene(1)
    smooth(smoothing, 0.0, scene, adjustments(-0.2, 1.0, 0.1, 0.3))
    smoothed = smooth(smoothing, 0.25, scene, adjustments(-0.6, 1.0, 0.5, 0.7))
    share = 1 - math.exp(-0.25 / 0.5)
    np.testing.assert_allclose(smoothed.maps, -0.2 - 0.4 * share, rtol=1e-5)
    assert smoothed.adjustments.highlight_protection == pytest.approx(0.1 + 0.4 * share)
    assert smoothed.adjustments.denoise == pytest.approx(0.3 + 0.4 * share)
    # Two steps of half the time give the same maps as one step.
    two_steps = Smoothing(0.5, smooth_maps=True)
    smooth(two_steps, 0.0, scene, adjustments(-0.2, 1.0))
    for time in (0.125, 0.25):
        result = smooth(two_steps, time, scene, adjustments(-0.6, 1.0))
    np.testing.assert_allclose(result.maps, smoothed.maps, rtol=1e-5)


def test_maps_change_at_once_where_something_moves() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    before, after = random_scene(1), random_scene(1)
    after[8:12, 12:16] *= 4
    smooth(smoothing, 0.0, before, adjustments(-0.2, 1.0))
    maps = smooth(smoothing, 1 / RATE, after, adjustments(-0.6, 1.0)).maps
    assert np.all(maps[8:12, 12:16] < -0.55)
    assert np.all(maps[:8] > -0.3)


def test_maps_of_each_frame_are_kept_without_smooth_maps() -> None:
    smoothing = Smoothing(0.5, smooth_maps=False)
    scene = random_scene(1)
    smooth(smoothing, 0.0, scene, adjustments(-0.2, 1.0))
    smoothed = smooth(smoothing, 1 / RATE, scene, adjustments(-0.6, 1.0))
    assert np.all(smoothed.maps == np.float32(-0.6))


def test_flickering_frames_reach_nearly_the_same_brightness() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    scenes = [random_scene(1) * np.float32(1 + 0.2 * math.sin(number)) for number in range(30)]
    alone = adjustments(-0.3, 1.0)
    smoothed = [
        enhanced_brightness(scene, smooth(smoothing, number / RATE, scene, alone))
        for number, scene in enumerate(scenes)
    ]
    assert np.ptp(smoothed) < 0.015
    assert np.ptp([enhanced_brightness(scene, alone) for scene in scenes]) > 0.08


def test_a_fade_to_black_remains_a_fade_to_black() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    brightness = []
    for number in range(31):
        scene = random_scene(1) * np.float32(1 - number / 30)
        # Automatic exposure gives darker frames a larger strength.
        alone = adjustments(-0.3, respond(scene)(adjustments(-0.3, 1.0)).strength_for(0.4))
        smoothed = smooth(smoothing, number / RATE, scene, alone)
        brightness.append(enhanced_brightness(scene, smoothed))
    assert brightness[-1] == 0
    assert np.all(np.diff(brightness[12:]) < 0)
    assert brightness[27] < 0.6 * brightness[0]


def test_bright_frames_keep_strength_0() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    for number in range(10):
        scene = random_scene(1, brightness=0.5) * np.float32(1 - 0.1 * (number % 2))
        smoothed = smooth(smoothing, number / RATE, scene, adjustments(-0.3, 0.0))
        assert smoothed.adjustments.strength == 0


def test_maps_do_not_change_while_time_stands_still_or_goes_back() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    scene = random_scene(1)
    smooth(smoothing, 1.0, scene, adjustments(-0.2, 1.0))
    for time in (1.0, 0.5):
        smoothed = smooth(smoothing, time, scene, adjustments(-0.6, 1.0))
        np.testing.assert_allclose(smoothed.maps, -0.2)


def test_a_new_frame_size_restarts_the_smoothing() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    smooth(smoothing, 0.0, random_scene(1), adjustments(-0.2, 1.0))
    smaller = random_scene(1)[:10]
    alone = FrameAdjustments(
        np.full((10, 32, 24), -0.6, np.float32), Adjustments(False, 2.0, 0.0, 0.0)
    )
    assert_equal(smooth(smoothing, 0.1, smaller, alone), alone)


# Tests with networks.


def enhancer_of(name: str, **options: int) -> Enhancer:
    """Return the shipped network `reduced`, or a small scene network."""
    if name == "scene":
        return Enhancer(brightening_network("scene"), **options)
    return Enhancer.load(name, **options)


def flickering_frames(count: int = 24) -> list[np.ndarray]:
    """Return frames of a still scene under a flickering lamp, with noise."""
    rng = np.random.default_rng(1)
    return [
        frame(
            still(light=0.06) * (1 + 0.2 * math.sin(2.1 * number) + 0.05 * rng.normal()),
            noise=0.02,
            seed=number,
        )
        for number in range(count)
    ]


def flicker_of(frames: list[np.ndarray]) -> float:
    """Return the mean difference of the brightness of consecutive frames."""
    return float(np.abs(np.diff([pixels.mean() for pixels in frames])).mean())


def with_times(frames: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
    return [(number / RATE, pixels) for number, pixels in enumerate(frames)]


@pytest.mark.slow
@pytest.mark.parametrize("exposure", ["auto", "off"])
@pytest.mark.parametrize("name", ["scene", "reduced"])
def test_smoothing_removes_more_than_half_of_the_flicker(name: str, exposure: str) -> None:
    enhancer = enhancer_of(name)
    frames = flickering_frames()
    independent = [enhancer(pixels, exposure=exposure) for pixels in frames]
    smoothed = list(enhancer.clip(with_times(frames), exposure=exposure))
    assert flicker_of(smoothed) < 0.5 * flicker_of(independent)
    assert np.mean(smoothed) == pytest.approx(np.mean(independent), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("light", [0.05, 0.22], ids=["dark", "nearly-bright-enough"])
@pytest.mark.parametrize("amplitude", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("name", ["scene", "reduced"])
def test_smoothing_removes_strong_flicker_of_pixel_values(
    name: str, amplitude: float, light: float
) -> None:
    enhancer = enhancer_of(name)
    rng = np.random.default_rng(3)
    scene = frame(still(light=light)).astype(float)
    gains = 1 + amplitude * (np.sin(2.1 * np.arange(30)) + rng.normal(0, 1 / 3, 30))
    frames = [
        np.clip(np.rint(scene * gain + rng.normal(0, 5, scene.shape)), 0, 255).astype(np.uint8)
        for gain in gains
    ]
    # Automatic exposure alone already brings independent frames to about the same brightness.
    independent = flicker_of([enhancer(pixels) for pixels in frames])
    smoothed = flicker_of(list(enhancer.clip(with_times(frames))))
    # A scene network leaves frames that are bright enough as they are. Those that flicker upwards
    # could only be made darker.
    share = 0.7 if name == "scene" and light > 0.2 else 0.5
    assert smoothed < max(share * independent, 0.3)
    assert smoothed < independent


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scene", "reduced"])
def test_frames_do_not_overshoot_when_a_lamp_is_switched_on(name: str) -> None:
    enhancer = enhancer_of(name)
    scene = frame(still(light=0.3)).astype(float)
    lights = [0.15] * 10 + [0.9] * 20
    frames = [np.rint(scene * light).astype(np.uint8) for light in lights]
    brightness = [pixels.mean() for pixels in enhancer.clip(with_times(frames))]
    assert max(brightness[10:]) < 1.05 * enhancer(frames[-1]).mean()


@pytest.mark.parametrize("name", ["scene", "reduced"])
def test_first_frame_after_a_cut_is_enhanced_independently(name: str) -> None:
    enhancer = enhancer_of(name)
    new_scene = frame(still(light=0.3)[::-1, ::-1], noise=0.01)
    *_, last = enhancer.clip(with_times([*flickering_frames(6), new_scene]))
    np.testing.assert_array_equal(last, enhancer(new_scene))


def test_smoothing_0_enhances_frames_independently() -> None:
    enhancer = enhancer_of("scene")
    frames = flickering_frames(3)
    results = enhancer.clip(with_times(frames), smoothing=0)
    for pixels, result in zip(frames, results, strict=True):
        np.testing.assert_array_equal(result, enhancer(pixels))


def test_small_tiles_give_the_same_frames_as_large_tiles() -> None:
    frames = with_times(flickering_frames(4))
    large_tiles = enhancer_of("scene", tile=256).clip(frames)
    small_tiles = enhancer_of("scene", tile=32).clip(frames)
    for large, small in zip(large_tiles, small_tiles, strict=True):
        assert np.abs(large.astype(int) - small).max() <= 1


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_smoothing_must_be_a_finite_time(seconds: float) -> None:
    with pytest.raises(UsageError, match="smoothing must be"):
        enhancer_of("scene").clip([], smoothing=seconds)


def test_every_numeric_adjustment_is_smoothed_towards_that_of_the_frame() -> None:
    scene = random_scene(1)
    smoothing = Smoothing(0.5, smooth_maps=True)
    first, second = (
        FrameAdjustments(np.full((20, 32, 24), -0.3, np.float32), Adjustments(False, *values))
        for values in ([1.0, 0.1, 0.2, 0.0, 0.3], [1.2, 0.9, 0.8, 0.1, 0.6])
    )
    smooth(smoothing, 0.0, scene, first)
    result = smooth(smoothing, 0.1, scene, second).adjustments
    # The strength is chosen for the brightness of the frame, so it may lie anywhere.
    for name in set(Adjustments._fields) - {"gray", "strength"}:
        before, now = (getattr(frame.adjustments, name) for frame in (first, second))
        assert before < getattr(result, name) < now
