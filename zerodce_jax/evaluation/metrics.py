"""Metrics of an enhanced image, against a reference or against the dark input image.

Images are NumPy floats in [0, 1], (height, width, 3), in their encoding (not in linear light). The
brightness Y of a pixel is the mean of its channels. Results are Python floats, or nan if a metric
is not defined for the image.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from zerodce_jax.ops.guided_filter import window_means
from zerodce_jax.ops.noise import immerkaer

Image = Float[np.ndarray, "h w 3"]

_BLOCK = 8  # pixels
_MIN_BLOCKS = 16  # for a meaningful average
# 4/255, which must count as black however the floats are rounded. No mean of up to 225 values of
# 8 bits lies between the two.
_BLACK = 4.001 / 255
# Standard deviation of the error of rounding to 8 bits, which has a uniform distribution.
_ROUNDING_NOISE = 1 / 255 / math.sqrt(12)


def psnr(image: Image, reference: Image) -> float:
    """Return the peak signal-to-noise ratio, -10 log10(mean((image - reference)^2)), in decibels.

    scikit-image computes it. Higher is better; inf means equal images.
    """
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=1))


def ssim(image: Image, reference: Image) -> float:
    """Return the structural similarity, at most 1, as a mean over channels and windows.

    Windows are 11x11 pixels with Gaussian weights of sigma 1.5; K1 = 0.01, K2 = 0.03. scikit-image
    computes it. Higher is better; 1 means equal images; nan for images smaller than a window.

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        IEEE Transactions on Image Processing, 2004.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < 11:
        return math.nan
    similarity: Any = structural_similarity(
        reference,
        image,
        channel_axis=-1,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def mae(image: Image, reference: Image) -> float:
    """Return the mean absolute error, mean(|image - reference|), in [0, 1]; lower is better."""
    return float(np.abs(image - reference).mean(dtype=np.float64))


def match_brightness(image: Image, reference: Image) -> Image:
    """Scale the image to the mean brightness of the reference, and clip it.

    The result is image mean(Y reference) / mean(Y image). Its `psnr` and `ssim` do not depend on
    the overall brightness, which is a matter of taste. Report them in separate columns, because
    they use the reference. A black image stays black.
    """
    mean = image.mean(dtype=np.float64)
    if not mean:
        return image
    factor = reference.mean(dtype=np.float64) / mean
    return np.clip(image * image.dtype.type(factor), 0, 1)


def highlight_lift(image: Image, enhanced: Image) -> float:
    """Return how much brighter highlights become: mean(Y enhanced - Y image) where Y image >= 0.7.

    The result lies in [-1, 0.3], or is nan if fewer than 0.1 % of the pixels are highlights.
    """
    before, after = image.mean(axis=-1), enhanced.mean(axis=-1)
    bright = before >= 0.7
    if bright.mean() < 0.001:
        return math.nan
    return float((after - before)[bright].mean(dtype=np.float64))


def shadow_lift(image: Image, enhanced: Image) -> float:
    """Return how much brighter the shadows of a backlit image become.

    Let Y be the mean brightness of a block of 8x8 pixels, which reduces noise and the rounding to
    8 bits. Shadows are the blocks with 4/255 < Y image <= 0.25; what is darker is black, see
    `black_level`. The image is backlit if at least 5 % of the blocks are shadows, and at least
    10 % are bright, with Y image >= 0.6. The lamps of a night scene are fewer.

    The result is mean(Y enhanced - Y image) over the shadows. It lies in [-0.25, 1]; higher is
    better as long as the image looks natural, and 0 means that the shadows get no help. It is nan
    if the image is not backlit.
    """
    before, after = (_blocks(x).mean(axis=(1, 2, 3), dtype=np.float64) for x in (image, enhanced))
    shadows = (before > _BLACK) & (before <= 0.25)
    if not len(before) or shadows.mean() < 0.05 or (before >= 0.6).mean() < 0.1:
        return math.nan
    return float((after - before)[shadows].mean())


class BlackLevel(NamedTuple):
    """What enhancement makes of black places; see `black_level`."""

    brightness: float
    """Mean brightness."""
    chroma: float
    """Mean difference of the largest and the smallest channel."""
    grain: float
    """Mean difference of the brightness from its local mean."""


def black_level(image: Image, enhanced: Image) -> BlackLevel:
    """Return what becomes of black places, such as a night sky, which hold little but noise.

    A pixel is in a black place if the mean of its largest channel over 15x15 pixels is at most
    4/255 in the input image. Windows end at the edge of the image. The results are means over
    these pixels of the enhanced image:

    - brightness: Y
    - chroma: max(r, g, b) - min(r, g, b)
    - grain: |Y - M|, with M the mean of Y over 5x5 pixels

    All are in [0, 1], like the image (multiply by 255 for levels of 8 bits), and lower is better.
    They are nan if fewer than 0.1 % of the pixels are in black places.
    """
    black = _window_means(image.max(axis=-1), radius=7) <= _BLACK
    if black.mean() < 0.001:
        return BlackLevel(math.nan, math.nan, math.nan)
    brightness = enhanced.mean(axis=-1)
    values = (
        brightness,
        enhanced.max(axis=-1) - enhanced.min(axis=-1),
        np.abs(brightness - _window_means(brightness, radius=2)),
    )
    return BlackLevel(*(float(value[black].mean(dtype=np.float64)) for value in values))


def newly_clipped(image: Image, enhanced: Image) -> float:
    """Return the share of the pixels in which enhancement clips a channel to white, in [0, 1].

    Such a pixel has a channel >= 254/255 in the enhanced image, and all channels < 250/255 in the
    input image. Lower is better.
    """
    clipped = (enhanced.max(axis=-1) >= 254 / 255) & (image.max(axis=-1) < 250 / 255)
    return float(clipped.mean())


def noise_amplification(image: Image, enhanced: Image) -> float:
    """Return the noise in dark flat blocks, relative to a global brightening.

    The global brightening is image^g, with g such that it has the mean of the enhanced image. Dark
    blocks have 8x8 pixels, 1/255 < mean Y <= 0.25, and more noise than the rounding to 8 bits.
    The quarter of them with the smallest variance of 2x2 means, which has the least structure,
    counts as flat. `immerkaer` measures the noise.

    The result is 1 for as much noise as the global brightening has; lower is better. It is nan if
    there are fewer than 16 dark blocks, or if no g gives the mean.
    """
    before = _blocks(image)
    brightness = before.mean(axis=-1)
    means = brightness.mean(axis=(1, 2))
    noisy = (means > 1 / 255) & (means <= 0.25) & (immerkaer(before) >= _ROUNDING_NOISE)
    (dark,) = np.nonzero(noisy)
    exponent = _global_exponent(image, float(enhanced.mean(dtype=np.float64)))
    if len(dark) < _MIN_BLOCKS or math.isnan(exponent):
        return math.nan
    structure = _fine_means(brightness[dark]).var(axis=(1, 2))
    flat = dark[np.argsort(structure, kind="stable")[: len(dark) // 4]]
    expected = immerkaer(before[flat] ** image.dtype.type(exponent)).sum()
    return float(immerkaer(_blocks(enhanced)[flat]).sum() / expected)


class DetailRetention(NamedTuple):
    """Ratio of the local contrast after enhancement to that before; see `detail_retention`."""

    bright: float
    """Ratio in bright blocks, such as clouds."""
    textured: float
    """Ratio in the blocks with the most contrast."""


def detail_retention(image: Image, enhanced: Image) -> DetailRetention:
    """Return how much local contrast enhancement keeps.

    The contrast of a block of 8x8 pixels is the standard deviation of its Y (RMS contrast), after
    means over 2x2 pixels that reduce noise. Bright blocks have a mean Y >= 0.6 in the input image.
    Textured blocks are the quarter with the most contrast there, among those with a mean
    Y > 2/255. Blocks without contrast in the input image do not count.

    The results are medians over the blocks of contrast enhanced / contrast image. 1 means that
    enhancement keeps the contrast; less is flatter; nan if there are fewer than 16 blocks.

    References:
        Peli, "Contrast in Complex Images", Journal of the Optical Society of America A, 1990.
    """
    before = _fine_means(_blocks(image.mean(axis=-1)))
    after = _fine_means(_blocks(enhanced.mean(axis=-1)))
    means, deviations = before.mean(axis=(1, 2)), before.std(axis=(1, 2))
    bright = means >= 0.6
    (visible,) = np.nonzero(means > 2 / 255)
    textured = np.zeros_like(bright)
    textured[visible[np.argsort(-deviations[visible], kind="stable")[: len(visible) // 4]]] = True

    def median_ratio(selected: Bool[np.ndarray, " blocks"]) -> float:
        selected = selected & (deviations > 0)
        if selected.sum() < _MIN_BLOCKS:
            return math.nan
        return float(np.median(after[selected].std(axis=(1, 2)) / deviations[selected]))

    return DetailRetention(median_ratio(bright), median_ratio(textured))


def lightness_order_error(image: Image, enhanced: Image) -> float:
    """Return the lightness order error (LOE): how often enhancement reverses pairs of pixels.

    Let L be the largest channel of a pixel and U(a, b) = (a >= b). The error is the mean over the
    pixels x of the number of pixels y for which U(L(x), L(y)) differs between the two images. As in
    the publication, both images are subsampled first, to 50 pixels on the shorter side.

    The result lies between 0 and one less than the number of subsampled pixels; lower is better.
    Values for images of different shapes are not comparable.

    References:
        Wang et al., "Naturalness Preserved Enhancement Algorithm for Non-Uniform Illumination
        Images", IEEE Transactions on Image Processing, 2013.
    """
    ratio = min(1, 50 / min(image.shape[:2]))
    counts = [(size, int(size * ratio)) for size in image.shape[:2]]
    subset = np.ix_(*(np.arange(count) * size // count for size, count in counts))
    before, after = (x[subset].max(axis=-1).ravel() for x in (image, enhanced))
    # Chunks bound the memory, because a panorama has many pairs of pixels.
    reversals = sum(
        np.count_nonzero(
            (before[i : i + 256, None] >= before) != (after[i : i + 256, None] >= after)
        )
        for i in range(0, len(before), 256)
    )
    return reversals / len(before)


def _blocks(values: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "blocks 8 8 *c"]:
    """Split an image into blocks of 8x8; incomplete blocks at the right and bottom are dropped."""
    rows, columns = values.shape[0] // _BLOCK, values.shape[1] // _BLOCK
    complete = values[: rows * _BLOCK, : columns * _BLOCK]
    grid = complete.reshape(rows, _BLOCK, columns, _BLOCK, *values.shape[2:])
    return grid.swapaxes(1, 2).reshape(rows * columns, _BLOCK, _BLOCK, *values.shape[2:])


def _fine_means(blocks: Float[np.ndarray, "blocks 8 8"]) -> Float[np.ndarray, "blocks 4 4"]:
    return blocks.reshape(len(blocks), 4, 2, 4, 2).mean(axis=(2, 4))


def _window_means(values: Float[np.ndarray, "h w"], radius: int) -> Float[np.ndarray, "h w"]:
    """Return the means over square windows of 2 radius + 1 pixels, which end with the image."""
    return window_means(values[None, ..., None], radius=radius)[0, ..., 0]


def _global_exponent(image: Image, mean: float) -> float:
    """Return the exponent g in [1/64, 64] for which image^g has the given mean, or nan."""
    # A histogram of 16 bits, which is exact for images of 8 and 16 bits, saves the seconds that
    # repeated powers of all pixels would take.
    counts = np.bincount(np.rint(image * 65535).astype(np.uint16).ravel(), minlength=65536)
    (levels,) = np.nonzero(counts)
    values, shares = levels / 65535, counts[levels] / image.size

    def brightness(exponent: float) -> float:
        return float(shares @ values**exponent)

    low, high = 1 / 64, 64.0
    if not brightness(high) <= mean <= brightness(low):
        return math.nan
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if brightness(middle) > mean else (low, middle)
    return math.sqrt(low * high)
