"""How good an enhanced image is: beside a reference, or beside the dark image that it was made of.

Images are NumPy floats in [0, 1], (height, width, 3), as they are encoded; brightness Y is the mean
of the channels. Results are plain floats, nan where an image holds nothing to judge by.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from zerodce_jax.ops.noise import immerkaer

_BLOCK = 8
_FEW = 16
"""Fewer blocks than these say nothing."""
# Of rounding to 8 bits: the standard deviation of even chance within one level.
_ROUNDING = 1 / 255 / math.sqrt(12)


def psnr(image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]) -> float:
    """Peak signal-to-noise ratio: -10 log10(mean((image - reference)^2)), by scikit-image.

    Returns:
        Decibels; higher is nearer to the reference, inf is the reference itself.
    """
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=1))


def ssim(image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]) -> float:
    """Structural similarity, by scikit-image: mean over the channels and over all windows.

    Windows are 11x11 with Gaussian weights of sigma 1.5; K1 = 0.01, K2 = 0.03.

    Returns:
        At most 1, which is the reference itself; nan for images smaller than a window.

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


def mae(image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]) -> float:
    """Mean absolute error: mean(|image - reference|), in [0, 1]; lower is nearer."""
    return float(np.abs(image - reference).mean(dtype=np.float64))


def matched(
    image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w 3"]:
    """The image as bright as the reference: image mean(Y reference) / mean(Y image), clipped.

    What `psnr` and `ssim` say of it leaves the choice of brightness out, which is a matter of
    taste. Such figures belong in columns of their own, since the reference helped to make them.

    Returns:
        (h, w, 3) in [0, 1]; a black image stays black.
    """
    mean = image.mean(dtype=np.float64)
    if not mean:
        return image
    factor = reference.mean(dtype=np.float64) / mean
    return np.clip(image * image.dtype.type(factor), 0, 1)


def highlight_lift(
    image: Float[np.ndarray, "h w 3"], enhanced: Float[np.ndarray, "h w 3"]
) -> float:
    """How much brighter bright places become: mean of Y enhanced - Y image where Y image >= 0.7.

    Returns:
        In [-1, 0.3], 0 is as they were; nan where fewer than 0.1 % of the pixels are that bright.
    """
    before, after = image.mean(axis=-1), enhanced.mean(axis=-1)
    bright = before >= 0.7
    if bright.mean() < 0.001:
        return math.nan
    return float((after - before)[bright].mean(dtype=np.float64))


def newly_clipped(image: Float[np.ndarray, "h w 3"], enhanced: Float[np.ndarray, "h w 3"]) -> float:
    """Share of the pixels that lose a channel to white.

    Those with a channel >= 254/255 in the enhanced image, and all below 250/255 in the image.

    Returns:
        In [0, 1]; lower is better.
    """
    lost = (enhanced.max(axis=-1) >= 254 / 255) & (image.max(axis=-1) < 250 / 255)
    return float(lost.mean())


def noise_amplification(
    image: Float[np.ndarray, "h w 3"], enhanced: Float[np.ndarray, "h w 3"]
) -> float:
    """Noise in dark flat places, as a multiple of what a global brightening would give.

    The global brightening is image^g with the mean of the enhanced image. Places are blocks of 8x8
    pixels with 1/255 < mean Y <= 0.25 and more noise than rounding to 8 bits leaves; of these the
    quarter with the smallest variance of their 2x2 means is taken, where structure is least. Noise
    in them is measured by `immerkaer`.

    Returns:
        1 is as much noise as the global brightening brings, lower is better; nan where there are
        fewer than 16 such blocks, or where no g gives that mean.
    """
    before = _blocks(image)
    brightness = before.mean(axis=-1)
    means = brightness.mean(axis=(1, 2))
    noisy = (means > 1 / 255) & (means <= 0.25) & (immerkaer(before) >= _ROUNDING)
    (dark,) = np.nonzero(noisy)
    exponent = _global_exponent(image, float(enhanced.mean(dtype=np.float64)))
    if len(dark) < _FEW or math.isnan(exponent):
        return math.nan
    structure = _fine_means(brightness[dark]).var(axis=(1, 2))
    flat = dark[np.argsort(structure, kind="stable")[: len(dark) // 4]]
    expected = immerkaer(before[flat] ** image.dtype.type(exponent)).sum()
    return float(immerkaer(_blocks(enhanced)[flat]).sum() / expected)


@dataclass(frozen=True)
class DetailRetention:
    """Local contrast in the enhanced image over that in the image; see `detail_retention`."""

    bright: float
    """Where the image is bright, such as clouds."""
    textured: float
    """Where it has most structure."""


def detail_retention(
    image: Float[np.ndarray, "h w 3"], enhanced: Float[np.ndarray, "h w 3"]
) -> DetailRetention:
    """How much of the local contrast is left.

    Contrast of a block of 8x8 pixels is the standard deviation of Y in it (RMS contrast), after
    means over 2x2 pixels, so that noise counts less. Bright blocks have a mean Y >= 0.6 in the
    image; textured ones are the quarter with the most contrast there, of all with a mean Y > 2/255.
    Blocks without any contrast in the image are left out.

    Returns:
        Medians over the blocks of contrast enhanced / contrast image: 1 is all that was there, less
        is flatter; nan where there are fewer than 16 blocks.

    References:
        Peli, "Contrast in Complex Images", Journal of the Optical Society of America A, 1990.
    """
    before = _fine_means(_blocks(image.mean(axis=-1)))
    after = _fine_means(_blocks(enhanced.mean(axis=-1)))
    means, deviations = before.mean(axis=(1, 2)), before.std(axis=(1, 2))
    bright = means >= 0.6
    (seen,) = np.nonzero(means > 2 / 255)
    textured = np.zeros_like(bright)
    textured[seen[np.argsort(-deviations[seen], kind="stable")[: len(seen) // 4]]] = True

    def median(chosen: Bool[np.ndarray, " blocks"]) -> float:
        chosen = chosen & (deviations > 0)
        if chosen.sum() < _FEW:
            return math.nan
        return float(np.median(after[chosen].std(axis=(1, 2)) / deviations[chosen]))

    return DetailRetention(median(bright), median(textured))


def lightness_order_error(
    image: Float[np.ndarray, "h w 3"], enhanced: Float[np.ndarray, "h w 3"]
) -> float:
    """How often the order of lightness is turned round (LOE): light that looks wrong.

    With L the largest channel and U(a, b) = (a >= b): the mean over the pixels x of the number of
    pixels y where U(L(x), L(y)) differs between the two images. Both are reduced first, to 50
    pixels on the shorter side, by leaving pixels out, as the figure is published.

    Returns:
        Pixels, from 0 to all that the reduced image has but one; lower is better. Images of
        different shapes cannot be compared by it.

    References:
        Wang et al., "Naturalness Preserved Enhancement Algorithm for Non-Uniform Illumination
        Images", IEEE Transactions on Image Processing, 2013.
    """
    height, width = image.shape[:2]
    ratio = min(1, 50 / min(height, width))
    places = np.ix_(
        np.arange(int(height * ratio)) * height // int(height * ratio),
        np.arange(int(width * ratio)) * width // int(width * ratio),
    )
    before, after = (x[places].max(axis=-1).ravel() for x in (image, enhanced))
    # In parts, since a panorama has many pairs of pixels.
    turned = sum(
        np.count_nonzero(
            (before[i : i + 256, None] >= before) != (after[i : i + 256, None] >= after)
        )
        for i in range(0, len(before), 256)
    )
    return turned / len(before)


def _blocks(values: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "blocks 8 8 *c"]:
    """Cut into blocks of 8x8; what is left over at the right and below is left out."""
    rows, columns = values.shape[0] // _BLOCK, values.shape[1] // _BLOCK
    whole = values[: rows * _BLOCK, : columns * _BLOCK]
    apart = whole.reshape(rows, _BLOCK, columns, _BLOCK, *values.shape[2:])
    return apart.swapaxes(1, 2).reshape(rows * columns, _BLOCK, _BLOCK, *values.shape[2:])


def _fine_means(blocks: Float[np.ndarray, "blocks 8 8"]) -> Float[np.ndarray, "blocks 4 4"]:
    """Means over 2x2 pixels."""
    return blocks.reshape(len(blocks), 4, 2, 4, 2).mean(axis=(2, 4))


def _global_exponent(image: Float[np.ndarray, "h w 3"], mean: float) -> float:
    """The exponent g for which image^g has that mean, in [1/64, 64], or nan."""
    # Counted at 16 bits, exactly for images that are 8 or 16 bits deep: powers of all pixels, time
    # and again, would take seconds.
    counts = np.bincount(np.rint(image * 65535).astype(np.uint16).ravel(), minlength=65536)
    (used,) = np.nonzero(counts)
    values, shares = used / 65535, counts[used] / image.size

    def brightness(exponent: float) -> float:
        return float(shares @ values**exponent)

    low, high = 1 / 64, 64.0
    if not brightness(high) <= mean <= brightness(low):
        return math.nan
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if brightness(middle) > mean else (low, middle)
    return math.sqrt(low * high)
