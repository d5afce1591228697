"""profiles.py: conversions of CMYK and L*a*b* to sRGB."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from helpers.photo_files import ICC
from zerodce_jax.media import profiles

# Paper, ink of each color, and all of them; what they look like with any process of printing.
CMYK = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cmyk_without_a_profile_becomes_plausible_colors(dtype: str) -> None:
    scale = np.iinfo(dtype).max // 255
    rgb, note = profiles.from_cmyk((CMYK * scale).astype(dtype), None)
    assert rgb.dtype == dtype
    paper, cyan, magenta, yellow, black = rgb[0].astype(float) / np.iinfo(dtype).max
    assert paper.min() > 0.93
    assert black.max() < 0.25
    assert np.argmin(cyan) == 0
    assert np.argmin(magenta) == 1
    assert np.argmin(yellow) == 2
    assert note.startswith("its CMYK colors are converted to sRGB with a standard color profile")


def test_a_profile_of_other_colors_is_not_used() -> None:
    expected, _ = profiles.from_cmyk(CMYK.astype(np.uint8), None)
    for profile in (ICC, b"damaged"):
        rgb, note = profiles.from_cmyk(CMYK.astype(np.uint8), profile)
        np.testing.assert_array_equal(rgb, expected)
        assert "the embedded one is not usable" in note
        assert "\n" not in note


def test_lab_becomes_the_colors_that_pillow_computes() -> None:
    # Within sRGB, so that both convert alike.
    lab = np.array([[[0, 128, 128], [128, 128, 128], [255, 128, 128], [150, 150, 110]]], np.uint8)
    rgb, note = profiles.from_lab(lab)
    assert note == "its L*a*b* colors are converted to sRGB"
    space, srgb = ImageCms.createProfile("LAB"), ImageCms.ImageCmsProfile(io.BytesIO(ICC))
    # Pillow takes a* and b* in two's complement.
    image = Image.frombytes("LAB", (4, 1), (lab ^ np.array([0, 128, 128], np.uint8)).tobytes())
    expected = ImageCms.profileToProfile(image, space, srgb, outputMode="RGB")
    np.testing.assert_allclose(rgb.astype(int), np.asarray(expected), atol=2)
    assert np.ptp(rgb[0, :3].astype(int), axis=-1).max() <= 1


def test_the_profile_of_results_is_srgb_and_always_the_same() -> None:
    colors = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    assert profiles.srgb() == profiles.srgb()
    same = imagecodecs.cms_transform(
        colors, profiles.srgb(), ICC, colorspace="rgb", outcolorspace="rgb"
    )
    np.testing.assert_allclose(same.astype(int), colors, atol=1)
