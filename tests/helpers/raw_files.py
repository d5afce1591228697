"""Camera RAW files for tests: DNG files that hold a linear image behind a Bayer pattern."""

import numpy as np

from helpers.photo_files import EXIF_POINTER, MAKE, MAKER_NOTE, ORIENTATION, directory, tiff_head

LENS_MODEL = 0xA434
WHITE, BLACK = 16_000, 512
NEUTRAL = (0.5, 1.0, 0.625)
"""What the sensor measures of white, for red, green and blue."""
# Linear sRGB of the colors XYZ (IEC 61966-2-1), so that the sensor's colors are those of sRGB.
_MATRIX = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)
_SUB_DIRECTORIES, _PREVIEW = 330, 1


def encode_dng(
    linear: np.ndarray, *, orientation: int = 1, order: str = "<", with_preview: bool = False
) -> bytes:
    """Return a DNG file of 14 bits.

    Args:
        linear: Linear sRGB in [0, 1], of an even height and width, as the camera stores it.
        orientation: The EXIF orientation.
        order: Byte order, as a `struct` prefix.
        with_preview: Whether a gray preview comes first, as in the files of cameras.
    """
    height, width = linear.shape[:2]
    sensor = linear * np.array(NEUTRAL)
    mosaic = np.empty((height, width))
    for channel, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        mosaic[row::2, column::2] = sensor[row::2, column::2, channel]
    samples = np.round(BLACK + mosaic * (WHITE - BLACK)).astype(f"{order}u2").tobytes()
    preview = np.full((height, width), 128, np.uint8).tobytes()
    about = [
        (MAKE, 2, b"Maker\0"),
        (0x0110, 2, b"Camera 1\0"),
        (ORIENTATION, 3, orientation),
        (50706, 1, (1, 4, 0, 0)),
        (50708, 2, b"Maker Camera 1\0"),
        (50721, 10, tuple(number for x in _MATRIX for number in (x, 10_000))),
        (50728, 5, tuple(number for x in NEUTRAL for number in (round(x * 1000), 1000))),
        (50778, 3, 21),
    ]
    camera = [(0x829A, 5, (1, 30)), (LENS_MODEL, 2, b"Lens 35mm\0"), (MAKER_NOTE, 7, b"note" * 9)]

    def stored(kind: int, at: int, length: int) -> list:
        longs = ((254, kind), (256, width), (257, height), (273, at), (278, height), (279, length))
        return [(259, 3, 1), (277, 3, 1), *((tag, 4, number) for tag, number in longs)]

    raw = [(258, 3, 16), (262, 3, 32803), (33421, 3, (2, 2)), (33422, 1, (0, 1, 1, 2))]
    raw += [(50714, 3, BLACK), (50717, 4, WHITE)]
    places = [0, 0, 0, 0]
    for _ in range(2):
        first = [*about, (EXIF_POINTER, 4, places[0])]
        if with_preview:
            first += [*stored(_PREVIEW, places[3], len(preview)), (258, 3, 8), (262, 3, 1)]
            first += [(_SUB_DIRECTORIES, 4, places[1])]
        else:
            first += [*stored(0, places[2], len(samples)), *raw]
        blocks = [tiff_head(order)]
        starts = []
        for entries in (first, camera, [*stored(0, places[2], len(samples)), *raw]):
            starts.append(sum(map(len, blocks)))
            blocks.append(directory(order, starts[-1], entries))
        end = sum(map(len, blocks))
        places = [starts[1], starts[2], end, end + len(samples)]
    return b"".join(blocks) + samples + (preview if with_preview else b"")
