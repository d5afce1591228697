"""Parse the header of JPEG XL codestreams (ISO/IEC 18181-1, annexes D and E).

Fields of bits follow one another, the lowest bits first.
"""

from dataclasses import dataclass
from typing import Self

from zerodce_jax.errors import InputError

# Width by height, by their number in the header.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDES = ((1, 9), (1, 13), (1, 18), (1, 30))
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
# Numbers of color spaces, white points, primaries and transfer functions.
RGB, GRAY = 0, 1
D65, SRGB_PRIMARIES = 1, 1
LINEAR, SRGB = 8, 13


class Bits:
    """Reader of the bits of a codestream."""

    def __init__(self, data: bytes) -> None:
        self.value, self.length = int.from_bytes(data[:4096], "little"), 8 * min(len(data), 4096)
        self.at = 0

    def take(self, count: int) -> int:
        """Return the number in the next bits."""
        self.at += count
        if self.at > self.length:
            raise InputError("damaged image (JPEG XL with a damaged header)")
        return self.value >> (self.at - count) & ((1 << count) - 1)

    def choose(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Return a number of one of four forms: a constant, and bits whose number is added."""
        constant, count = choices[self.take(2)]
        return constant + self.take(count)


@dataclass(frozen=True)
class Header:
    """Header of the codestream. Orientations above 4 turn the image."""

    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    is_float: bool = False
    is_animated: bool = False
    is_xyb: bool = True
    """Whether the pixels are stored in a color space of their own, which is lossy."""
    colors: tuple[int, int] = (0, 0)
    """First bit of the color encoding, and the first behind it; both 0 if there is none."""
    has_profile: bool = False
    is_srgb: bool = True
    is_linear: bool = False

    @classmethod
    def parse(cls, codestream: bytes) -> Self:
        """Parse the beginning of a codestream.

        Raises:
            InputError: The header is damaged, or its color channels are not supported.
        """
        bits = Bits(codestream)
        if bits.take(16) != 0x0AFF:
            raise InputError("damaged image (JPEG XL without a codestream)")
        width, height = _read_size(bits)
        if bits.take(1):
            return cls(width, height)
        orientation, is_animated = 1, False
        if bits.take(1):
            orientation = 1 + bits.take(3)
            if bits.take(1):
                _read_size(bits)
            if bits.take(1):
                raise InputError("JPEG XL with a preview is not supported")
            if is_animated := bool(bits.take(1)):
                bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))
                bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
                bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))
                bits.take(1)
        depth, is_float = _read_depth(bits)
        bits.take(1)
        for _ in range(bits.choose(((0, 0), (1, 0), (2, 4), (1, 12)))):
            _skip_channel(bits)
        is_xyb = bool(bits.take(1))
        start = bits.at
        has_profile, is_srgb, is_linear = _read_colors(bits)
        return cls(
            width,
            height,
            orientation,
            depth,
            is_float,
            is_animated,
            is_xyb,
            (start, bits.at),
            has_profile,
            is_srgb,
            is_linear,
        )


def _read_size(bits: Bits) -> tuple[int, int]:
    is_small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if is_small else bits.choose(_SIDES)

    height = side()
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return side(), height


def _read_depth(bits: Bits) -> tuple[int, bool]:
    if bits.take(1):
        depth = bits.choose(((32, 0), (16, 0), (24, 0), (1, 6)))
        bits.take(4)
        return depth, True
    return bits.choose(((8, 0), (10, 0), (12, 0), (1, 6))), False


def _skip_channel(bits: Bits) -> None:
    """Read the description of an extra channel."""
    if bits.take(1):
        return
    kind = bits.choose(_ENUM)
    _read_depth(bits)
    bits.choose(((0, 0), (3, 0), (4, 0), (1, 3)))
    bits.take(8 * bits.choose(((0, 0), (0, 4), (16, 5), (48, 10))))
    if kind == 0:
        bits.take(1)
    elif kind == 2:
        bits.take(64)
    elif kind == 5:
        bits.choose(((1, 0), (0, 2), (3, 4), (19, 8)))


def _read_colors(bits: Bits) -> tuple[bool, bool, bool]:
    """Return whether the colors have a profile, are sRGB, and are linear with its primaries."""
    if bits.take(1):
        return False, True, False
    has_profile, space = bool(bits.take(1)), bits.choose(_ENUM)
    if has_profile or space not in {RGB, GRAY}:
        return True, False, False
    white = bits.choose(_ENUM)
    primaries = SRGB_PRIMARIES
    if white == D65 and space == RGB:
        primaries = bits.choose(_ENUM)
    if (white, primaries) != (D65, SRGB_PRIMARIES):
        return False, False, False
    if bits.take(1):
        bits.take(24)
        return False, False, False
    transfer = bits.choose(_ENUM)
    bits.choose(_ENUM)
    return False, transfer == SRGB, transfer == LINEAR
