"""temporal.py: light that follows frames, and what it does to a flickering video."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.video_files import frame, still
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import UsageError
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.exposure import Response
from zerodce_jax.ops.temporal import FrameAdjustments, Smoothing

RATE = 30
pytestmark = pytest.mark.usefixtures("no_compilation_cache")


def small(seed: int, *, light: float = 0.1) -> np.ndarray:
    """A small copy of a scene: coarse patches of random brightness."""
    patches = np.random.default_rng(seed).lognormal(0, 1, (5, 8, 1))
    scene = np.kron(patches, np.ones((4, 4, 3)))
    return np.minimum(scene * light / scene.mean(), 1).astype(np.float32)


def adjustments(
    value: float, strength: float, protection: float = 0.0, denoise: float = 0.0
) -> FrameAdjustments:
    maps = np.full((20, 32, 24), value, np.float32)
    return FrameAdjustments(maps, Adjustments(False, strength, protection, denoise))


def respond(frame: np.ndarray) -> Callable[[FrameAdjustments], Response]:
    return lambda decided: Response(
        frame,
        decided.maps,
        gamma=1.0,
        highlight_protection=decided.adjustments.highlight_protection,
        iterations=8,
    )


def brightness(frame: np.ndarray, decided: FrameAdjustments) -> float:
    return respond(frame)(decided)(decided.adjustments.strength)


def assert_same(one: FrameAdjustments, other: FrameAdjustments) -> None:
    np.testing.assert_array_equal(one.maps, other.maps)
    assert one.adjustments == other.adjustments


def test_the_first_frame_is_as_if_alone() -> None:
    alone = adjustments(-0.4, 1.3, 0.2)
    assert_same(
        Smoothing(0.5, smooth_maps=True).smooth(3.0, small(1), alone, respond(small(1))), alone
    )


@given(st.integers(0, 1000), st.floats(0.005, 0.4), st.floats(0.005, 0.4))
def test_a_cut_begins_anew(seed: int, before: float, after: float) -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    first, second = small(seed, light=before), small(seed + 1, light=after)
    smoothing.smooth(0.0, first, adjustments(-0.8, 2.0, 1.0), respond(first))
    alone = adjustments(-0.2, 0.7)
    found = smoothing.smooth(1 / RATE, second, alone, respond(second))
    assert_same(found, alone)


@given(st.integers(0, 1000), st.floats(0.02, 0.2), st.floats(0.5, 2), st.integers(0, 1))
def test_flicker_motion_and_noise_are_no_cuts(
    seed: int, bright: float, factor: float, shift: int
) -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    first = small(seed, light=bright)
    noise = np.random.default_rng(seed).normal(0, 0.002, first.shape)
    second = np.clip(np.roll(first, shift, axis=1) * factor + noise, 0, 1).astype(np.float32)
    smoothing.smooth(0.0, first, adjustments(-0.3, 1.0), respond(first))
    found = smoothing.smooth(1 / RATE, second, adjustments(-0.3, 2.0), respond(second))
    assert found.adjustments.strength < 1.6


def test_flat_frames_are_no_cuts() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    rng = np.random.default_rng(0)
    strengths = []
    for number in range(5):
        dark = (2 + rng.normal(0, 0.3, (20, 32, 3)).clip(-1, 1)).astype(np.float32) / 255
        alone = adjustments(-0.3, 1.0 + number % 2)
        strengths.append(
            smoothing.smooth(number / RATE, dark, alone, respond(dark)).adjustments.strength
        )
    assert max(strengths[1:]) < 1.6


def test_maps_follow_by_their_time_constant() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    scene = small(1)
    smoothing.smooth(0.0, scene, adjustments(-0.2, 1.0, 0.1, 0.3), respond(scene))
    found = smoothing.smooth(0.25, scene, adjustments(-0.6, 1.0, 0.5, 0.7), respond(scene))
    share = 1 - math.exp(-0.25 / 0.5)
    np.testing.assert_allclose(found.maps, -0.2 - 0.4 * share, rtol=1e-5)
    assert found.adjustments.highlight_protection == pytest.approx(0.1 + 0.4 * share)
    assert found.adjustments.denoise == pytest.approx(0.3 + 0.4 * share)
    # In two steps of half the time as in one.
    again = Smoothing(0.5, smooth_maps=True)
    again.smooth(0.0, scene, adjustments(-0.2, 1.0), respond(scene))
    for time in (0.125, 0.25):
        steps = again.smooth(time, scene, adjustments(-0.6, 1.0), respond(scene))
    np.testing.assert_allclose(steps.maps, found.maps, rtol=1e-5)


def test_maps_go_with_what_moves() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    before, after = small(1), small(1)
    after[8:12, 12:16] *= 4
    smoothing.smooth(0.0, before, adjustments(-0.2, 1.0), respond(before))
    maps = smoothing.smooth(1 / RATE, after, adjustments(-0.6, 1.0), respond(after)).maps
    assert np.all(maps[8:12, 12:16] < -0.55)
    assert np.all(maps[:8] > -0.3)


def test_maps_that_frames_are_not_enhanced_with_are_left() -> None:
    smoothing = Smoothing(0.5, smooth_maps=False)
    scene = small(1)
    smoothing.smooth(0.0, scene, adjustments(-0.2, 1.0), respond(scene))
    found = smoothing.smooth(1 / RATE, scene, adjustments(-0.6, 1.0), respond(scene))
    assert np.all(found.maps == np.float32(-0.6))


def test_flickering_frames_reach_one_brightness() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    reached = []
    for number in range(30):
        scene = small(1) * np.float32(1 + 0.2 * math.sin(number))
        found = smoothing.smooth(number / RATE, scene, adjustments(-0.3, 1.0), respond(scene))
        reached.append(brightness(scene, found))
    assert np.ptp(reached) < 0.015
    alone = [
        brightness(small(1) * (1 + 0.2 * math.sin(n)), adjustments(-0.3, 1.0)) for n in range(30)
    ]
    assert np.ptp(alone) > 0.08


def test_a_fade_to_black_remains_one() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    reached = []
    for number in range(31):
        scene = small(1) * np.float32(1 - number / 30)
        # As exposure would have it: the darker, the stronger.
        alone = adjustments(-0.3, respond(scene)(adjustments(-0.3, 1.0)).strength_for(0.4))
        reached.append(
            brightness(scene, smoothing.smooth(number / RATE, scene, alone, respond(scene)))
        )
    assert reached[-1] == 0
    assert np.all(np.diff(reached[12:]) < 0)
    assert reached[27] < 0.6 * reached[0]


def test_bright_frames_are_left_alone() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    for number in range(10):
        scene = small(1, light=0.5) * np.float32(1 - 0.1 * (number % 2))
        found = smoothing.smooth(number / RATE, scene, adjustments(-0.3, 0.0), respond(scene))
        assert found.adjustments.strength == 0


def test_times_that_stand_still_change_nothing() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    scene = small(1)
    smoothing.smooth(1.0, scene, adjustments(-0.2, 1.0), respond(scene))
    for time in (1.0, 0.5):
        found = smoothing.smooth(time, scene, adjustments(-0.6, 1.0), respond(scene))
        np.testing.assert_allclose(found.maps, -0.2)


def test_frames_of_another_size_begin_anew() -> None:
    smoothing = Smoothing(0.5, smooth_maps=True)
    smoothing.smooth(0.0, small(1), adjustments(-0.2, 1.0), respond(small(1)))
    other = small(1)[:10]
    alone = FrameAdjustments(
        np.full((10, 32, 24), -0.6, np.float32), Adjustments(False, 2.0, 0.0, 0.0)
    )
    assert_same(smoothing.smooth(0.1, other, alone, respond(other)), alone)


# With real networks.


def flickering(count: int = 24) -> list[np.ndarray]:
    """A still scene under a lamp that flickers, with noise."""
    rng = np.random.default_rng(1)
    return [
        frame(
            still(light=0.06) * (1 + 0.2 * math.sin(2.1 * number) + 0.05 * rng.normal()),
            noise=0.02,
            seed=number,
        )
        for number in range(count)
    ]


def changes(frames: list[np.ndarray]) -> float:
    """Mean difference of the brightness of neighbouring frames."""
    return float(np.abs(np.diff([each.mean() for each in frames])).mean())


def timed(frames: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
    return [(number / RATE, each) for number, each in enumerate(frames)]


@pytest.mark.slow
@pytest.mark.parametrize("exposure", ["auto", "off"])
@pytest.mark.parametrize("name", ["fast", "reduced"])
def test_less_than_half_of_the_flicker_is_left(name: str, exposure: str) -> None:
    enhancer = Enhancer.load(name)
    frames = flickering()
    alone = [enhancer(each, exposure=exposure) for each in frames]
    together = list(enhancer.clip(timed(frames), exposure=exposure))
    assert changes(together) < 0.5 * changes(alone)
    assert np.mean(together) == pytest.approx(np.mean(alone), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("lit", [0.05, 0.22], ids=["dark", "nearly-bright-enough"])
@pytest.mark.parametrize("amplitude", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("name", ["fast", "reduced"])
def test_strong_flicker_goes_too(name: str, amplitude: float, lit: float) -> None:
    """Of what a camera delivers, in code values: alone, exposure makes each frame level already."""
    enhancer = Enhancer.load(name)
    rng = np.random.default_rng(3)
    scene = frame(still(light=lit)).astype(float)
    gains = 1 + amplitude * (np.sin(2.1 * np.arange(30)) + rng.normal(0, 1 / 3, 30))
    frames = [
        np.clip(np.rint(scene * gain + rng.normal(0, 5, scene.shape)), 0, 255).astype(np.uint8)
        for gain in gains
    ]
    alone = changes([enhancer(each) for each in frames])
    together = changes(list(enhancer.clip(timed(frames))))
    assert together < max(0.5 * alone, 0.3)
    assert together < alone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "reduced"])
def test_a_lamp_that_is_switched_on_dazzles_nobody(name: str) -> None:
    enhancer = Enhancer.load(name)
    scene = frame(still(light=0.3)).astype(float)
    lights = [0.15] * 10 + [0.9] * 20
    frames = [np.rint(scene * each).astype(np.uint8) for each in lights]
    reached = [each.mean() for each in enhancer.clip(timed(frames))]
    assert max(reached[10:]) < 1.05 * enhancer(frames[-1]).mean()


@pytest.mark.parametrize("name", ["fast", "reduced"])
def test_after_a_cut_there_is_no_ghost(name: str) -> None:
    enhancer = Enhancer.load(name)
    other = frame(still(light=0.3)[::-1, ::-1], noise=0.01)
    *_, after = enhancer.clip(timed([*flickering(6), other]))
    np.testing.assert_array_equal(after, enhancer(other))


def test_without_smoothing_frames_are_as_if_alone() -> None:
    enhancer = Enhancer.load("fast")
    frames = flickering(3)
    for one, found in zip(frames, enhancer.clip(timed(frames), smoothing=0), strict=True):
        np.testing.assert_array_equal(found, enhancer(one))


def test_tiles_do_not_show_in_videos() -> None:
    frames = timed(flickering(4))
    whole = list(Enhancer.load("fast", tile=256).clip(frames))
    tiled = list(Enhancer.load("fast", tile=32).clip(frames))
    for one, other in zip(whole, tiled, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_smoothing_must_be_a_time(seconds: float) -> None:
    with pytest.raises(UsageError, match="smoothing must be"):
        Enhancer.load("fast").clip([], smoothing=seconds)
