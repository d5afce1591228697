"""Decode bilevel images that are compressed as by fax machines (ITU-T T.4 and T.6).

The decoders of image libraries fill what they cannot decode with white and carry on. This one
raises an error at the first code word that does not exist, and at the first row that is too long.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from zerodce_jax.errors import InputError

# The codes of the runs of 0 to 63 pixels (T.4, table 2), then of 64, 128, ... 1728 pixels (table
# 3a), white and black, and of 1792, 1856, ... 2560 pixels of both colors (table 3b).
_WHITE = """
00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101
101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100
0011000 00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111
00101000 00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010
01010011 01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011
00110010 00110011 00110100
11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100
011001101 011010010 011010011 011010100 011010101 011010110 011010111 011011000 011011001
011011010 011011011 010011000 010011001 010011010 011000 010011011
"""
_BLACK = """
0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111
000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111
00000101000 00000010111 00000011000 000011001010 000011001011 000011001100 000011001101
000001101000 000001101001 000001101010 000001101011 000011010010 000011010011 000011010100
000011010101 000011010110 000011010111 000001101100 000001101101 000011011010 000011011011
000001010100 000001010101 000001010110 000001010111 000001100100 000001100101 000001010010
000001010011 000000100100 000000110111 000000111000 000000100111 000000101000 000001011000
000001011001 000000101011 000000101100 000001011010 000001100110 000001100111
0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101
0000001101100 0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010
0000001110011 0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011
0000001010100 0000001010101 0000001011010 0000001011011 0000001100100 0000001100101
"""
_LONG = """
00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101
000000010110 000000010111 000000011100 000000011101 000000011110 000000011111
"""
# The codes of the two-dimensional modes (T.4, table 4). The other modes are vertical; their number
# is the distance from the change in the row above.
_PASS, _HORIZONTAL = 10, 11
_MODES = {"1": 0, "011": 1, "010": -1, "000011": 2, "000010": -2, "0000011": 3, "0000010": -3}
_MODES |= {"0001": _PASS, "001": _HORIZONTAL}
_RUNS = [*range(64), *range(64, 2561, 64)]
# No code word is longer, and only the code for the end of a row begins with this many zeros.
_MAX_BITS, _EOL_ZEROS = 13, 11
_MASK = (1 << _MAX_BITS) - 1

Table = list[tuple[int, int]]
"""Number of bits and meaning of the code word at the start of each group of `_MAX_BITS` bits."""


def _table(codes: Iterable[tuple[str, int]]) -> Table:
    table: Table = [(0, 0)] * (1 << _MAX_BITS)
    for code, meaning in codes:
        free = _MAX_BITS - len(code)
        first = int(code, 2) << free
        table[first : first + (1 << free)] = [(len(code), meaning)] * (1 << free)
    return table


_RUN_TABLES = [_table(zip((x + _LONG).split(), _RUNS, strict=True)) for x in (_WHITE, _BLACK)]
_MODE_TABLE = _table(_MODES.items())


def decode(
    data: bytes, width: int, height: int, scheme: Literal[2, 3, 4], *, mixed: bool = False
) -> UInt8[np.ndarray, "{height} {width}"]:
    """Decode a strip of rows: 0 is white, 1 is black.

    Args:
        data: The compressed rows; the first bit of a byte is its highest one.
        width: Number of pixels in a row.
        height: Number of rows.
        scheme: How TIFF numbers the compression: 2 codes each row on its own and begins it at a
            whole byte, 3 is Group 3, and 4 is Group 4.
        mixed: Whether each row of Group 3 states if it refers to the row above.

    Raises:
        InputError: The data is damaged, or ends too early.
    """
    bits = _Bits(data)
    pixels = np.zeros((height, width), np.uint8)
    changes: list[int] = []
    for row in pixels:
        found_end = scheme == 3 and bits.skip_end_of_row()
        if mixed and not found_end:
            raise InputError("damaged image (CCITT: a row does not begin with its code)")
        if scheme == 4 or (mixed and not bits.take(1)):
            changes = _row_below(bits, changes, width)
        else:
            changes = _row(bits, width)
        if scheme == 2:
            bits.align()
        for start, end in zip(changes[::2], [*changes[1::2], width], strict=False):
            row[start:end] = 1
    return pixels


class _Bits:
    """Reads bits and code words, from the highest bit of each byte to the lowest."""

    def __init__(self, data: bytes) -> None:
        padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
        # The 32 bits from each byte on: looking them up is the fastest in Python.
        words = padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]
        self._words, self._end, self._at = words.tolist(), 8 * len(data), 0

    def _peek(self, count: int) -> int:
        at = min(self._at, self._end)
        return (self._words[at >> 3] >> 32 - count - (at & 7)) & (1 << count) - 1

    def take(self, count: int) -> int:
        """Return the number that the next bits make up."""
        number = self._peek(count)
        self._at += count
        return number

    def code(self, table: Table) -> int:
        """Return the meaning of the next code word."""
        at = self._at
        length, meaning = table[self._words[at >> 3] >> 32 - _MAX_BITS - (at & 7) & _MASK]
        self._at = at = at + length
        if not length or at > self._end:
            raise InputError("damaged image (CCITT: a code word that does not exist)")
        return meaning

    def run(self, color: int) -> int:
        """Return the length of the next run of pixels of a color: 0 for white, 1 for black."""
        length = 0
        while (part := self.code(_RUN_TABLES[color])) > 63:
            length += part
        return length + part

    def skip_end_of_row(self) -> bool:
        """Skip the code for the end of a row and zeros before it; return whether it is there."""
        if self._peek(_EOL_ZEROS):
            return False
        while self._at < self._end:
            if self.take(1):
                return True
        return False

    def align(self) -> None:
        """Go on to a whole byte."""
        self._at += -self._at % 8


def _row(bits: _Bits, width: int) -> list[int]:
    """Return where the color of a row changes, first from white to black."""
    changes: list[int] = []
    at = 0
    while at < width:
        at += bits.run(len(changes) % 2)
        changes.append(_inside(at, width))
    return changes


def _row_below(bits: _Bits, above: list[int], width: int) -> list[int]:
    """Return where the color of a row changes, which is coded by the changes of the row above."""
    changes: list[int] = []
    # A change at the first pixel counts as to the right of the start of the row.
    at, left, index = 0, -1, 0
    while at < width:
        color = len(changes) % 2
        # Find the first change to the right, from the color of this row to the other one.
        index = max(0, index - 2) // 2 * 2 + color
        while index < len(above) and above[index] <= left:
            index += 2
        below = above[index] if index < len(above) else width
        mode = bits.code(_MODE_TABLE)
        if mode == _PASS:
            at = above[index + 1] if index + 1 < len(above) else width
        elif mode == _HORIZONTAL:
            for run_color in (color, 1 - color):
                at = _inside(at + bits.run(run_color), width)
                changes.append(at)
        else:
            if below + mode < at:
                raise InputError("damaged image (CCITT: a change to the left)")
            at = _inside(below + mode, width)
            changes.append(at)
        left = at
    return changes


def _inside(at: int, width: int) -> int:
    if at > width:
        raise InputError("damaged image (CCITT: a row that is too long)")
    return at
