"""Adjustments that do not flicker: those of each frame are smoothed over the frames before it.

Curve maps, strength, highlight protection and denoising strength are averaged exponentially over
time. The enhanced brightness is averaged too, and each frame gets the strength that reaches this
average. This also removes the flicker of lamps and of the camera's own exposure. Where frames only
get darker, they follow the mean adjustments: a fade to black remains a fade to black.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from zerodce_jax.errors import UsageError
from zerodce_jax.ops.enhancement import Adjustments
from zerodce_jax.ops.exposure import Response
from zerodce_jax.ops.grid import block_means, blocks

SAMPLES = 256
"""Longer side of the small copy that brightness is measured on, in pixels; on fewer pixels, noise
would show as flicker."""
_LEEWAY = 0.15
"""Logarithm of the factor by which a frame may be brighter or darker than under the mean
adjustments, if the frames before it did not flicker."""
_INITIAL_FLICKER = 0.3
"""Flicker that is assumed before a scene begins, as a logarithm of brightness."""
_MAX_STRENGTH_RATIO = 1.5
"""Largest ratio of a frame's strength to the mean strength, unless the frame alone has a larger."""
_MAX_STEPS, _TOLERANCE = 8, 1 / 4000
"""Largest number of steps of the search, and the error in brightness that ends it."""
_CELLS = 16
"""Longer side of the copy by which two frames are compared, to detect a cut."""
_CUT = 0.65
"""Correlation of two frames below which they belong to different scenes."""
_DARK, _FLAT = 2 / 255, 0.05
"""Brightness, and difference of its logarithm, that is no more than noise."""
_STILL = 0.2
"""Relative change of brightness below which a place counts as still."""


def check_smoothing(seconds: float) -> None:
    """Check a time constant, 0 for none.

    Raises:
        UsageError: It is not a finite number of seconds, or negative.
    """
    if not 0 <= seconds < math.inf:
        raise UsageError(f"smoothing must be a number of seconds >= 0, not {seconds:g}")


@dataclass(frozen=True)
class FrameAdjustments:
    """Decisions for one frame of a video."""

    maps: Float[np.ndarray, "y x outputs"]
    """Curve maps at a reduced size, in [-1, 1]."""
    adjustments: Adjustments
    """Their strength, highlight protection and denoising strength, as numbers."""


@dataclass
class _State:
    """The last frame, and the means up to it."""

    time: float
    cells: np.ndarray
    scene: np.ndarray
    mean: FrameAdjustments
    brightness: float
    log_brightness: float
    """Logarithm of the frame's brightness before enhancement."""
    rises: float
    falls: float
    """How far that logarithm rose and fell recently."""


class Smoothing:
    """Smooths the adjustments of frames over the frames before them, back to the last cut.

    Args:
        seconds: Time constant of the exponential means.
        smooth_maps: Whether frames are enhanced with the curve maps at the reduced size; otherwise
            the maps are left as they are.
    """

    def __init__(self, seconds: float, *, smooth_maps: bool) -> None:
        self._seconds, self._smooth_maps = seconds, smooth_maps
        self._state: _State | None = None

    def smooth(
        self,
        time: float,
        frame: Float[np.ndarray, "y x 3"],
        alone: FrameAdjustments,
        respond: Callable[[FrameAdjustments], Response],
    ) -> FrameAdjustments:
        """Return the adjustments of the next frame.

        Args:
            time: When the frame is shown, in seconds.
            frame: A small copy of it, of the size of the maps, in [0, 1].
            alone: The decisions for this frame without the others.
            respond: Returns the brightness of this frame under other adjustments, as a function of
                the strength.

        Returns:
            The adjustments to enhance the frame with; `alone` for the first frame, and after a cut.
        """
        cells = _cells(frame)
        # Relative to the brightness of the frame, so that flicker does not count as motion.
        luma = frame.mean(-1, keepdims=True)
        frame_brightness = float(luma.mean())
        scene = luma / max(frame_brightness, _DARK)
        log_brightness = math.log(frame_brightness + _DARK)
        last = self._state
        brightness_alone = respond(alone)(alone.adjustments.strength)
        if last is None or last.scene.shape != scene.shape or _is_cut(last.cells, cells):
            self._state = _State(
                time,
                cells,
                scene,
                alone,
                brightness_alone,
                log_brightness,
                rises=_INITIAL_FLICKER,
                falls=_INITIAL_FLICKER,
            )
            return alone
        kept = math.exp(-max(time - last.time, 0) / self._seconds)
        share = 1 - kept
        maps = alone.maps
        if self._smooth_maps:
            # Where something moves, the maps of the frame alone count.
            motion = np.abs(scene - last.scene) / (_STILL * (0.25 + last.scene))
            shares = 1 - (1 - share) * np.exp(-(motion**2))
            scene = last.scene + shares * (scene - last.scene)
            maps = (last.mean.maps + shares * (maps - last.mean.maps)).astype(np.float32)
        now = alone.adjustments
        pairs = zip(last.mean.adjustments[1:], now[1:], strict=True)
        mean = Adjustments(now.gray, *(old + share * (new - old) for old, new in pairs))
        mean_frame = FrameAdjustments(maps, mean)
        response = respond(mean_frame)
        brightness_mean = response(mean.strength)
        brightness = last.brightness + share * (brightness_alone - last.brightness)
        # Flicker goes both ways, a fade or a lamp that is switched on only one.
        change = log_brightness - last.log_brightness
        rises = last.rises * kept + max(change, 0)
        falls = last.falls * kept + max(-change, 0)
        leeway = math.exp(_LEEWAY + min(rises, falls))
        self._state = _State(
            time, cells, scene, mean_frame, brightness, log_brightness, rises, falls
        )
        # No frame needs to be brighter than it would be alone.
        level = min(
            max(brightness, min(brightness_mean / leeway, brightness_alone)),
            brightness_mean * leeway,
        )
        limit = max(now.strength, _MAX_STRENGTH_RATIO * mean.strength)
        strength = _strength_reaching(level, response, mean.strength, brightness_mean, limit)
        return replace(mean_frame, adjustments=mean._replace(strength=strength))


def _strength_reaching(
    level: float, response: Response, strength: float, brightness: float, limit: float
) -> float:
    """Return the strength that brings a frame to a level, by false position.

    Args:
        level: The brightness to reach.
        response: The brightness of the frame by strength.
        strength: A strength to begin with.
        brightness: The brightness that it gives.
        limit: The largest strength, at least `strength`.

    Returns:
        A strength between 0 and the limit, which stand for levels out of reach.
    """
    if abs(brightness - level) < _TOLERANCE:
        return strength
    if level < brightness:
        low, below, high, above = 0.0, response(0.0), strength, brightness
    else:
        low, below, high, above = strength, brightness, limit, response(limit)
    if below >= level:
        return low
    if above <= level:
        return high
    for _ in range(_MAX_STEPS):
        middle = low + (level - below) * (high - low) / (above - below)
        reached = response(middle)
        if abs(reached - level) < _TOLERANCE:
            return middle
        if reached < level:
            low, below = middle, reached
        else:
            high, above = middle, reached
    return low + (level - below) * (high - low) / (above - below)


def _cells(frame: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "rows columns 1"]:
    """Return logarithms of the brightness of a few places, relative to their mean."""
    means = block_means(frame, blocks(max(frame.shape[:2]), _CELLS)).mean(-1, keepdims=True)
    logarithms = np.log(means + _DARK)
    return logarithms - logarithms.mean()


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether two frames belong to different scenes, by the correlation of their cells.

    Cells are ratios, not differences as in cut detectors for well-lit videos: two dark scenes
    hardly differ. A brighter or darker frame of the same scene correlates perfectly.
    """
    floor = before.size * _FLAT**2
    pairs = ((before, after), (before, before), (after, after))
    covariance, variance, other_variance = (float((a * b).sum()) + floor for a, b in pairs)
    return covariance < _CUT * math.sqrt(variance * other_variance)
