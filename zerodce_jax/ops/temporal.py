"""Light that does not flicker: what is decided on each frame of a video follows the last ones.

Of a frame alone come its curve maps, how strong they are, how far highlights are protected and
noise is held down. In a video each is an exponential mean over time instead. So is the brightness
that frames reach, and the strength of a frame is what brings that very frame there: that takes out
the flicker of lamps and of a camera's own exposure too. But where frames only get darker, they do
so in the mean light: a fade to black remains one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from zerodce_jax.errors import UsageError
from zerodce_jax.ops.exposure import Response
from zerodce_jax.ops.grid import block_means, blocks

SAMPLES = 256
"""Longer side of the small copy that brightness is measured on, in pixels: noise in fewer of them
would show as flicker."""
_EVENED = 0.15
"""Logarithm of how much brighter or darker than in the mean light a frame is made, without any
flicker before it."""
_DOUBT = 0.3
"""What a scene is taken to have flickered before it began, as a logarithm of brightness."""
_STRONGER = 1.5
"""Factor on the mean strength beyond which only a frame alone would go."""
_STEPS, _EXACT = 8, 1 / 4000
"""At most so many of a search, and the brightness that ends it."""
_CELLS = 16
"""Longer side of what two frames are compared by, to tell a cut."""
_CUT = 0.65
"""Correlation of two frames, below which they are of different scenes."""
_DARK, _FLAT = 2 / 255, 0.05
"""Brightness, and differences of its logarithm, that are no more than noise."""
_SAME = 0.2
"""Difference of a place, in shares of its brightness and the frame's, that is not motion yet."""


def check_seconds(seconds: float) -> None:
    """Check a time constant, 0 for none.

    Raises:
        UsageError: It is no number of seconds.
    """
    if not 0 <= seconds < math.inf:
        raise UsageError(f"smoothing must be a number of seconds >= 0, not {seconds:g}")


@dataclass(frozen=True)
class FrameAdjustments:
    """What is decided on a frame."""

    maps: Float[np.ndarray, "y x outputs"]
    """Curve maps at a reduced size, in [-1, 1]."""
    strength: float
    """Factor on them."""
    protection: float
    """Of highlights, in [0, 1]."""
    denoise: float
    """How strongly noise is held down, in [0, 1]."""


@dataclass
class _State:
    time: float
    cells: np.ndarray
    scene: np.ndarray
    light: FrameAdjustments
    brightness: float
    logarithm: float
    """Of how bright the frame was before."""
    rises: float
    falls: float
    """How far that went up and down of late."""


class Smoothing:
    """Makes the light of frames follow that of the ones before them, up to the last cut.

    Args:
        seconds: Time constant of the exponential means.
        maps: Whether the curve maps at the reduced size are those that frames are enhanced with;
            else they are left as they are.
    """

    def __init__(self, seconds: float, *, maps: bool) -> None:
        self._seconds, self._maps = seconds, maps
        self._state: _State | None = None

    def smooth(
        self,
        time: float,
        frame: Float[np.ndarray, "y x 3"],
        light: FrameAdjustments,
        respond: Callable[[FrameAdjustments], Response],
    ) -> FrameAdjustments:
        """The light of the next frame.

        Args:
            time: When the frame is shown, in seconds.
            frame: A small copy of it, of the size of the maps, in [0, 1].
            light: What was decided on it alone.
            respond: Tells how bright the frame becomes with other maps and protection.

        Returns:
            What to enhance it with: of the first frame, and of the first after a cut, `light`.
        """
        cells = _cells(frame)
        # Relative to the whole frame: where all flickers, nothing moves.
        luma = frame.mean(-1, keepdims=True)
        whole = float(luma.mean())
        scene, logarithm = luma / max(whole, _DARK), math.log(whole + _DARK)
        last = self._state
        if last is None or last.scene.shape != scene.shape or _is_cut(last.cells, cells):
            brightness = respond(light)(light.strength)
            self._state = _State(
                time, cells, scene, light, brightness, logarithm, rises=_DOUBT, falls=_DOUBT
            )
            return light
        kept = math.exp(-max(time - last.time, 0) / self._seconds)
        share = 1 - kept
        maps = light.maps
        if self._maps:
            # Where something moves, its maps go with it.
            moved = np.abs(scene - last.scene) / (_SAME * (0.25 + last.scene))
            shares = 1 - (1 - share) * np.exp(-(moved**2))
            scene = last.scene + shares * (scene - last.scene)
            maps = (last.light.maps + shares * (maps - last.light.maps)).astype(np.float32)
        mean = FrameAdjustments(
            maps,
            last.light.strength + share * (light.strength - last.light.strength),
            last.light.protection + share * (light.protection - last.light.protection),
            last.light.denoise + share * (light.denoise - last.light.denoise),
        )
        response = respond(mean)
        alone, evenly = respond(light)(light.strength), response(mean.strength)
        brightness = last.brightness + share * (alone - last.brightness)
        # Flicker goes both ways, a fade or a lamp that is switched on but one.
        change = logarithm - last.logarithm
        rises = last.rises * kept + max(change, 0)
        falls = last.falls * kept + max(-change, 0)
        leeway = math.exp(_EVENED + min(rises, falls))
        self._state = _State(time, cells, scene, mean, brightness, logarithm, rises, falls)
        # No frame need be brighter than it would be alone.
        level = min(max(brightness, min(evenly / leeway, alone)), evenly * leeway)
        most = max(light.strength, _STRONGER * mean.strength)
        strength = _reaching(level, response, (0.0, mean.strength, most))
        return replace(mean, strength=strength)


def _reaching(level: float, response: Response, strengths: tuple[float, ...]) -> float:
    """The strength that brings a frame to a level, by false position between given ones.

    Args:
        level: The brightness to reach.
        response: Of the frame.
        strengths: In ascending order.

    Returns:
        The first or the last of them where the level lies beyond.
    """
    known = [(each, response(each)) for each in strengths]
    if known[0][1] >= level:
        return strengths[0]
    if known[-1][1] <= level:
        return strengths[-1]
    low, below = [each for each in known if each[1] < level][-1]
    high, above = next(each for each in known if each[1] >= level)
    for _ in range(_STEPS):
        middle = low + (level - below) * (high - low) / (above - below)
        reached = response(middle)
        if abs(reached - level) < _EXACT:
            return middle
        if reached < level:
            low, below = middle, reached
        else:
            high, above = middle, reached
    return low + (level - below) * (high - low) / (above - below)


def _cells(frame: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "rows columns 1"]:
    """Logarithms of the brightness of a few places, about their mean."""
    means = block_means(frame, blocks(max(frame.shape[:2]), _CELLS)).mean(-1, keepdims=True)
    logarithms = np.log(means + _DARK)
    return logarithms - logarithms.mean()


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two frames are of different scenes: where the one is bright, the other is not.

    By ratios, not by differences as cut detectors for well-lit videos: two dark scenes hardly
    differ. A brighter or darker frame of one scene correlates perfectly.
    """
    floor = before.size * _FLAT**2
    alike, one, other = (
        float((a * b).sum()) + floor for a, b in ((before, after), (before, before), (after, after))
    )
    return alike < _CUT * math.sqrt(one * other)
