"""Light that does not flicker: what is decided on each frame of a video follows the last ones.

Of a frame alone come its curve maps, how strong they are, and how far highlights are protected. In
a video each is an exponential mean over time instead. So is the brightness that frames reach, and
the strength of a frame is what brings that very frame there: that takes out the flicker of lamps
and of a camera's own exposure too. But the strength stays near its own mean, so that a fade to
black remains one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from zerodce_jax.errors import UsageError
from zerodce_jax.exposure import Response
from zerodce_jax.grid import block_means, blocks

SECONDS = 0.5
"""Over which light follows, where nothing else is said."""
SAMPLES = 256
"""Longer side of the small copy that brightness is measured on, in pixels: noise in fewer of them
would show as flicker."""
_FOLLOWING = 1.2
"""How far the strength of a frame may be from its mean over time, as a factor."""
_STEPS = 2
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
class Light:
    """What is decided on a frame."""

    maps: Float[np.ndarray, "y x outputs"]
    """Curve maps at a reduced size, in [-1, 1]."""
    strength: float
    """Factor on them."""
    protection: float
    """Of highlights, in [0, 1]."""


@dataclass
class _State:
    time: float
    cells: np.ndarray
    scene: np.ndarray
    light: Light
    brightness: float


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

    def follow(
        self,
        time: float,
        frame: Float[np.ndarray, "y x 3"],
        light: Light,
        respond: Callable[[Light], Response],
    ) -> Light:
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
        scene = luma / max(float(luma.mean()), _DARK)
        last = self._state
        if last is None or last.scene.shape != scene.shape or _is_cut(last.cells, cells):
            brightness = respond(light)(light.strength)
            self._state = _State(time, cells, scene, light, brightness)
            return light
        share = 1 - math.exp(-max(time - last.time, 0) / self._seconds)
        maps = light.maps
        if self._maps:
            # Where something moves, its maps go with it.
            moved = np.abs(scene - last.scene) / (_SAME * (0.25 + last.scene))
            shares = 1 - (1 - share) * np.exp(-(moved**2))
            scene = last.scene + shares * (scene - last.scene)
            maps = (last.light.maps + shares * (maps - last.light.maps)).astype(np.float32)
        mean = Light(
            maps,
            last.light.strength + share * (light.strength - last.light.strength),
            last.light.protection + share * (light.protection - last.light.protection),
        )
        response = respond(mean)
        brightness = last.brightness + share * (response(light.strength) - last.brightness)
        self._state = _State(time, cells, scene, mean, brightness)
        return Light(maps, _near(mean.strength, response, brightness), mean.protection)


def _near(strength: float, response: Response, level: float) -> float:
    """The strength near a given one that brings a frame to a level, by false position."""
    low, high = strength / _FOLLOWING, strength * _FOLLOWING
    below, above = response(low) - level, response(high) - level
    if below >= 0 or above <= 0:
        return low if below >= 0 else high
    for _ in range(_STEPS):
        middle = low - below * (high - low) / (above - below)
        error = response(middle) - level
        if error < 0:
            low, below = middle, error
        else:
            high, above = middle, error
    return low - below * (high - low) / (above - below)


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
