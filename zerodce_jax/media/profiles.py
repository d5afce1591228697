"""ICC profiles of standard color spaces, and conversions to sRGB with Little CMS.

`cmyk.icc` stands in for files without a profile of their own. It is the part of the profile
"Chemical proof" by Graeme W. Gill, which its copyright tag releases into the public domain, that
converts from CMYK.
"""

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Shaped

from zerodce_jax.errors import one_line
from zerodce_jax.media.samples import convert


@cache
def srgb() -> bytes:
    """Return the ICC profile of sRGB."""
    import imagecodecs

    profile = imagecodecs.cms_profile("srgb")
    # Without the time at which the profile was made, equal photographs give equal files.
    return profile[:24] + bytes(12) + profile[36:]


def from_cmyk(
    cmyk: Shaped[np.ndarray, "h w 4"], profile: bytes | None
) -> tuple[Shaped[np.ndarray, "h w 3"], str]:
    """Convert CMYK, in which 0 is no ink, to sRGB of the same type.

    Args:
        cmyk: Samples of the type uint8 or uint16.
        profile: ICC profile of the samples, or None.

    Returns:
        The samples, and a message of one line that says how they were converted.
    """
    reason = "none is embedded"
    if profile:
        try:
            pixels = _transform(cmyk, profile, "cmyk")
        except (
            Exception
        ) as error:  # Little CMS refuses damaged profiles, and those of other colors.
            reason = f"the embedded one is not usable: {one_line(error)}"
        else:
            return pixels, "its CMYK colors are converted to sRGB with its color profile"
    standard = resources.files("zerodce_jax.media").joinpath("cmyk.icc").read_bytes()
    message = "its CMYK colors are converted to sRGB with a standard color profile"
    return _transform(cmyk, standard, "cmyk"), f"{message}, because {reason}"


def from_lab(lab: Shaped[np.ndarray, "h w 3"]) -> tuple[Shaped[np.ndarray, "h w 3"], str]:
    """Convert CIE L*a*b* (D50) to sRGB of the same type, and return a message as `from_cmyk` does.

    The samples, uint8 or uint16, are as in ICC profiles of version 4: 0 to 100 for L*, and -128 to
    127 for a* and b*, are the whole range of the type.
    """
    import imagecodecs

    # With 16 bits, gray stays gray.
    pixels = _transform(convert(lab, np.uint16), imagecodecs.cms_profile("lab4"), "lab")
    return convert(pixels, lab.dtype), "its L*a*b* colors are converted to sRGB"


def _transform(samples: np.ndarray, profile: bytes, space: str) -> np.ndarray:
    import imagecodecs

    options: dict[str, Any] = {"colorspace": space, "outcolorspace": "rgb"}
    return imagecodecs.cms_transform(samples, profile, srgb(), **options)


def is_srgb(icc: bytes) -> bool:
    """Return whether the colors of an ICC profile are those of sRGB, to a level of 8 bits."""
    if icc == srgb():
        return True
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
    try:
        converted = _transform(colors, icc, "rgb")
    except Exception:  # As in `from_cmyk`.
        return False
    return int(np.abs(converted.astype(int) - colors).max()) <= 1


def from_rgb(
    pixels: Shaped[np.ndarray, "h w *channels"], profile: bytes
) -> tuple[Shaped[np.ndarray, "h w *channels"], str]:
    """Convert RGB, with or without alpha, to sRGB, and return a message as `from_cmyk` does.

    Gray, and colors with a damaged profile, stay as they are.
    """
    if pixels.shape[2:] not in {(3,), (4,)}:
        return pixels, "its gray profile is dropped"
    try:
        converted = _transform(np.ascontiguousarray(pixels[..., :3]), profile, "rgb")
    except Exception:  # As in `from_cmyk`.
        return pixels, "its color profile is damaged and is dropped"
    return np.dstack([converted, pixels[..., 3:]]), "its colors are converted"
