"""Tests of metrics.py: values worked out by hand, and invariances."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zerodce_jax.evaluation import metrics


def uniform(value: float, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.float32)


def noise(shape: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def chessboard(low: float, high: float, *, side: int = 64) -> np.ndarray:
    """Return a chessboard with squares of 4x4 pixels, of which a block of 8x8 holds four."""
    dark = (np.indices((side, side)) // 4).sum(axis=0) % 2 == 0
    return np.where(dark, low, high).astype(np.float32)[:, :, None].repeat(3, axis=2)


images = hnp.arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40), st.just(3))).map(
    lambda levels: levels / np.float32(255)
)


# Comparison with a reference.


@pytest.mark.needs("skimage")
def test_scores_of_uniform_images() -> None:
    # PSNR: mean(0.1^2) = 0.01, that is 20 dB.
    # SSIM: (2 * 0.4 * 0.5 + 0.0001) / (0.4^2 + 0.5^2 + 0.0001).
    assert metrics.psnr(uniform(0.4), uniform(0.5)) == pytest.approx(20, abs=1e-4)
    assert metrics.ssim(uniform(0.4), uniform(0.5)) == pytest.approx(0.4001 / 0.4101, abs=1e-4)
    assert metrics.mae(uniform(0.4), uniform(0.5)) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.needs("skimage")
def test_scores_of_an_image_against_itself() -> None:
    image = noise((20, 30, 3))
    assert metrics.psnr(image, image) == math.inf
    assert metrics.ssim(image, image) == pytest.approx(1)
    assert metrics.mae(image, image) == 0


@pytest.mark.needs("skimage")
@pytest.mark.parametrize("size", [(11, 11), (40, 23)])
def test_psnr_and_ssim_equal_those_of_scikit_image_at_8_bits(size: tuple[int, int]) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    levels = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    levels[1] = (0.7 * levels[0] + 0.3 * levels[1]).astype(np.uint8)
    image, reference = levels / np.float32(255)
    psnr = peak_signal_noise_ratio(levels[1], levels[0])
    ssim = structural_similarity(
        levels[1].astype(np.float64),
        levels[0].astype(np.float64),
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.psnr(image, reference) == pytest.approx(psnr, abs=1e-4)
    assert metrics.ssim(image, reference) == pytest.approx(ssim, abs=1e-4)


@pytest.mark.needs("skimage")
def test_ssim_is_nan_for_images_smaller_than_a_window() -> None:
    assert math.isnan(metrics.ssim(noise((10, 40, 3)), noise((10, 40, 3))))


def test_match_brightness_gives_the_mean_of_the_reference() -> None:
    image = 0.5 * noise((20, 30, 3))
    np.testing.assert_allclose(
        metrics.match_brightness(image, uniform(0.3, 20, 30)).mean(), 0.3, rtol=1e-5
    )
    # Both halves become twice as bright, and 0.6 is clipped to white.
    halves = np.concatenate([uniform(0.2, 8, 8), uniform(0.6, 8, 8)])
    np.testing.assert_allclose(
        metrics.match_brightness(halves, uniform(0.8, 16, 8)),
        np.concatenate([uniform(0.4, 8, 8), uniform(1, 8, 8)]),
        rtol=1e-6,
    )


def test_match_brightness_keeps_a_black_image() -> None:
    assert not metrics.match_brightness(uniform(0), uniform(0.5)).any()


# Highlights.


def test_lift_depends_only_on_highlights() -> None:
    image, enhanced = uniform(0.2), uniform(0.5)
    image[:32], enhanced[:32] = 0.75, 0.8
    # Half of the highlights lose more than the others gain.
    image[:16], enhanced[:16] = 0.9, 0.75
    assert metrics.highlight_lift(image, enhanced) == pytest.approx((0.05 - 0.15) / 2, abs=1e-6)


def test_highlights_are_selected_by_the_mean_of_the_channels() -> None:
    image = uniform(0)
    image[...] = (1, 0, 1)
    assert math.isnan(metrics.highlight_lift(image, uniform(1)))
    image[...] = (1, 0.4, 0.8)
    assert metrics.highlight_lift(image, uniform(1)) == pytest.approx(1 - 2.2 / 3, abs=1e-6)


def test_lift_is_nan_for_too_few_bright_pixels() -> None:
    image = uniform(0.1, 50, 40)
    image[0, 0] = 0.9
    assert math.isnan(metrics.highlight_lift(image, image + np.float32(0.05)))
    image[0, 1] = 0.9
    assert metrics.highlight_lift(image, image + np.float32(0.05)) == pytest.approx(0.05, abs=1e-6)


def test_newly_clipped_counts_pixels_that_were_not_clipped_before() -> None:
    image, enhanced = uniform(0.5, 10, 10), uniform(0.6, 10, 10)
    enhanced[0, 0, 1] = 254 / 255  # Clipped in one channel: counts.
    enhanced[0, 1] = 1  # Clipped in all channels: counts once.
    enhanced[0, 2] = 253 / 255  # Not quite clipped.
    image[0, 3, 2], enhanced[0, 3] = 250 / 255, 1  # Was clipped before.
    image[0, 4], enhanced[0, 4] = 249 / 255, 1  # Was not clipped before: counts.
    assert metrics.newly_clipped(image, enhanced) == pytest.approx(0.03)


# Shadows and black.


def backlit(shadow: float = 0.1, sky: float = 0.8) -> np.ndarray:
    """Return 64 blocks of 8x8 pixels: half in shadow, a quarter between, and a quarter of sky."""
    image = uniform(0.4)
    image[:32], image[48:] = shadow, sky
    return image


def of_blocks(levels: list[float]) -> np.ndarray:
    """Return an image of 64 uniform blocks of 8x8 pixels."""
    grid = np.array(levels, np.float32).reshape(8, 8, 1)
    return grid.repeat(8, axis=0).repeat(8, axis=1).repeat(3, axis=2)


def test_shadow_lift_is_the_brightening_of_dark_blocks() -> None:
    image = backlit(0.1, 0.8)
    assert metrics.shadow_lift(image, backlit(0.25, 0.9)) == pytest.approx(0.15, abs=1e-6)
    assert metrics.shadow_lift(image, backlit(0.04, 1)) == pytest.approx(-0.06, abs=1e-6)
    # Half of the shadows gain 0.3 in green, which is 0.1 in brightness.
    enhanced = image.copy()
    enhanced[:16, :, 1] += 0.3
    assert metrics.shadow_lift(image, enhanced) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("shadow", "lift"), [(4 / 255, math.nan), (5 / 255, 0.2), (0.25, 0.2), (0.26, math.nan)]
)
def test_black_is_no_shadow(shadow: float, lift: float) -> None:
    measured = metrics.shadow_lift(backlit(shadow), backlit(shadow + 0.2))
    assert measured == pytest.approx(lift, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("bright", "dark", "lift"), [(7, 4, 0.1), (6, 4, math.nan), (7, 3, math.nan)]
)
def test_shadow_lift_needs_a_backlit_image(bright: int, dark: int, lift: float) -> None:
    # 7 of 64 blocks are more than 10 %, and 4 are more than 5 %.
    image = of_blocks([0.61] * bright + [0.4] * (64 - bright - dark) + [0.2] * dark)
    measured = metrics.shadow_lift(image, image + np.float32(0.1))
    assert measured == pytest.approx(lift, abs=1e-6, nan_ok=True)


def test_noise_and_rounding_hardly_change_shadow_lift() -> None:
    noisy = backlit() + np.random.default_rng(7).normal(0, 0.03, (64, 64, 3)).astype(np.float32)
    rounded = np.rint(noisy.clip(0, 1) * 255) / np.float32(255)
    assert metrics.shadow_lift(rounded, backlit(0.25)) == pytest.approx(0.15, abs=0.001)


def test_black_level_measures_brightness_and_chroma() -> None:
    enhanced = uniform(0)
    enhanced[...] = (0.05, 0.08, 0.02)
    level = metrics.black_level(uniform(2 / 255), enhanced)
    assert level == pytest.approx((0.05, 0.06, 0), abs=1e-6)


def test_black_level_measures_grain_where_the_image_was_black() -> None:
    image = uniform(1, 65, 65)
    image[10:55, 10:55] = 0
    # One pixel in each window of 5x5 is bright. Its brightness is 0.1 - 0.1 / 25 from the mean of
    # the window, and that of the others is 0.1 / 25.
    enhanced = uniform(0, 65, 65)
    enhanced[2::5, 2::5] = 0.1
    # Windows of 15x15 fit into the black square at the rows and columns 17 to 47. These 31 include
    # 7 of the bright pixels: 17, 22, ..., 47.
    share = 7**2 / 31**2
    grain = share * (0.1 - 0.004) + (1 - share) * 0.004
    level = metrics.black_level(image, enhanced)
    assert level == pytest.approx((0.1 * share, 0, grain), abs=1e-7)


@pytest.mark.parametrize(("channels", "black"), [((4, 4, 4), True), ((0, 5, 0), False)])
def test_black_is_decided_by_the_largest_channel(channels: tuple[int, ...], black: bool) -> None:
    image = uniform(0)
    image[...] = np.array(channels) / 255
    level = metrics.black_level(image, uniform(0.2))
    expected = (0.2, 0, 0) if black else (math.nan,) * 3
    assert level == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_single_bright_pixel_leaves_its_surroundings_black() -> None:
    # In the smallest windows, in the corners, the mean is 1/64 < 4/255.
    image = uniform(0, 15, 15)
    image[7, 7] = 1
    assert metrics.black_level(image, image).brightness == pytest.approx(1 / 225)


def test_black_level_is_nan_for_too_few_black_pixels() -> None:
    # A black square of 17x17 pixels holds windows of 15x15 at 9 places, one of 18x18 at 16.
    image = uniform(1, 100, 100)
    image[20:37, 20:37] = 0
    assert math.isnan(metrics.black_level(image, image).brightness)
    image[20:38, 20:38] = 0
    assert metrics.black_level(image, image) == (0, 0, 0)


@pytest.mark.parametrize("size", [(4, 30), (40, 21)])
def test_black_level_equals_its_formulas_pixel_by_pixel(size: tuple[int, int]) -> None:
    height, width = size
    image = (
        noise((height, width, 3)) * 8 / 255 * np.linspace(0, 1, width, dtype=np.float32)[:, None]
    )
    enhanced = noise((height, width, 3), seed=1)

    def mean(values: np.ndarray, y: int, x: int, radius: int) -> float:
        window = values[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        return float(window.mean())

    rows = [
        (
            pixel.mean(),
            pixel.max() - pixel.min(),
            abs(pixel.mean() - mean(enhanced.mean(axis=-1), y, x, 2)),
        )
        for (y, x), pixel in zip(np.ndindex(size), enhanced.reshape(-1, 3), strict=True)
        if mean(image.max(axis=-1), y, x, 7) <= 4 / 255
    ]
    assert 0 < len(rows) < height * width
    assert metrics.black_level(image, enhanced) == pytest.approx(np.mean(rows, axis=0), rel=1e-5)


# Noise.


def grain(spread: float, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, (128, 128, 3)).astype(np.float32)


def test_doubled_noise_scores_two() -> None:
    # The mean does not change, so the global brightening is the identity.
    added = grain(0.01)
    added -= added.mean()
    ratio = metrics.noise_amplification(0.15 + added, 0.15 + 2 * added)
    assert ratio == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("exponent", [0.4, 0.8, 1.7])
def test_a_global_gamma_scores_one(exponent: float) -> None:
    image = 0.12 + grain(0.01) + np.linspace(0, 0.05, 128, dtype=np.float32)[:, None, None]
    ratio = metrics.noise_amplification(image, image ** np.float32(exponent))
    assert ratio == pytest.approx(1, abs=1e-3)


def test_smoothed_noise_scores_less() -> None:
    image = 0.15 + grain(0.01)
    smooth = np.full_like(image, image.mean())
    assert metrics.noise_amplification(image, smooth) == 0
    assert metrics.noise_amplification(image, (image + smooth) / 2) == pytest.approx(0.5, rel=0.01)


def test_noise_is_measured_in_dark_flat_blocks() -> None:
    # A quarter of the blocks are flat and dark. Noise in all other blocks does not count.
    image = chessboard(0.05, 0.2, side=128) + grain(0.002)
    image[:64, :64] = 0.125 + grain(0.002)[:64, :64]
    noisier = image + grain(0.05, seed=1)
    noisier[:64, :64] = image[:64, :64]
    noisier += image.mean() - noisier.mean()
    assert metrics.noise_amplification(image, noisier) == pytest.approx(1, rel=0.01)
    # Noise in the flat dark blocks counts in full.
    noisier = image.copy()
    noisier[:64, :64] += 2 * (grain(0.002)[:64, :64] - grain(0.002)[:64, :64].mean())
    assert metrics.noise_amplification(image, noisier) == pytest.approx(3, rel=0.01)


def test_noise_in_bright_and_black_blocks_does_not_count() -> None:
    for level in (0.3, 0.001):
        image = np.abs(level + grain(level / 30))
        assert math.isnan(metrics.noise_amplification(image, image))
    # 16 dark blocks are enough, and 15 are not.
    image = 0.5 + grain(0.01)
    image[:32, :32] -= 0.3
    assert metrics.noise_amplification(image, image) == pytest.approx(1, abs=1e-5)
    image[:8, :8] += 0.3
    assert math.isnan(metrics.noise_amplification(image, image))


def test_noise_is_nan_without_noise_or_without_an_equal_global_brightening() -> None:
    assert math.isnan(metrics.noise_amplification(uniform(0.2), uniform(0.4)))
    # Noise below the rounding to 8 bits does not count.
    faint = 0.15 + grain(0.2 / 255)
    assert math.isnan(metrics.noise_amplification(faint, faint))
    # No exponent brightens an image that is mostly black to this mean.
    image = 0.2 + grain(0.01)
    image[:96] = 0
    assert math.isnan(metrics.noise_amplification(image, uniform(0.9, 128, 128)))


# Detail.


def test_contrast_scales_with_brightness_and_ignores_an_offset() -> None:
    image = chessboard(0.1, 0.3)
    assert metrics.detail_retention(image, 2 * image).textured == pytest.approx(2, rel=1e-4)
    lifted = metrics.detail_retention(image, image + np.float32(0.3))
    assert lifted.textured == pytest.approx(1, rel=1e-4)
    assert math.isnan(lifted.bright)


def test_bright_and_textured_blocks_have_separate_scores() -> None:
    image = chessboard(0.1, 0.3)
    image[:32] = chessboard(0.75, 0.85)[:32]
    enhanced = image.copy()
    enhanced[:32] = 0.5 * image[:32] + 0.4  # Deviation 0.05 -> 0.025, mean 0.8 as before.
    retained = metrics.detail_retention(image, enhanced)
    assert retained.bright == pytest.approx(0.5, rel=1e-4)
    assert retained.textured == pytest.approx(1, rel=1e-4)


def test_lost_detail_scores_zero() -> None:
    retained = metrics.detail_retention(chessboard(0.7, 0.9), uniform(0.8))
    assert retained.bright == retained.textured == pytest.approx(0, abs=1e-6)
    black = metrics.detail_retention(chessboard(0.7, 0.9), uniform(0))
    assert black.bright == black.textured == 0


def test_detail_is_nan_for_flat_black_and_small_images() -> None:
    for image in (
        uniform(0.8),
        chessboard(0, 0.01),
        chessboard(0.7, 0.9, side=24),
        noise((7, 9, 3)),
    ):
        retained = metrics.detail_retention(image, image)
        assert math.isnan(retained.textured)
    assert math.isnan(metrics.detail_retention(uniform(0.8), uniform(0.8)).bright)


def test_patterns_of_single_pixels_do_not_count_as_detail() -> None:
    fine = np.indices((64, 64)).sum(axis=0) % 2
    pixels = np.where(fine, 0.05, -0.05).astype(np.float32)[:, :, None]
    image = chessboard(0.3, 0.5)
    assert metrics.detail_retention(image, image + pixels).textured == pytest.approx(1, rel=1e-3)


# Order of lightness.


def test_a_negative_reverses_all_pairs_of_pixels() -> None:
    levels = np.random.default_rng(0).permutation(48).reshape(6, 8, 1) / np.float32(64)
    image = levels.repeat(3, axis=2)
    assert metrics.lightness_order_error(image, 1 - image) == 47


def test_one_misplaced_pixel_reverses_its_pairs() -> None:
    image = (np.arange(16, dtype=np.float32).reshape(4, 4, 1) / 16).repeat(3, axis=2)
    enhanced = image.copy()
    enhanced[0, 0] = (
        1  # The darkest becomes the brightest: 15 reversed pairs, seen from both sides.
    )
    assert metrics.lightness_order_error(image, enhanced) == 30 / 16


def test_lightness_is_the_largest_channel() -> None:
    image = noise((6, 6, 3))
    image[:, :, 1] = 0.5 + 0.5 * image[:, :, 1]
    image[:, :, ::2] *= 0.5
    enhanced = image.copy()
    enhanced[:, :, ::2] = 0
    assert metrics.lightness_order_error(image, enhanced) == 0
    enhanced[:, :, 1] = 1 - enhanced[:, :, 1]
    assert metrics.lightness_order_error(image, enhanced) == 35


@pytest.mark.parametrize(
    ("size", "count"), [((100, 400), 50 * 200), ((150, 60), 125 * 50), ((20, 30), 600)]
)
def test_lightness_order_is_measured_on_a_subsampled_image(
    size: tuple[int, int], count: int
) -> None:
    height, width = size
    levels = np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    image = levels.repeat(3, axis=2) / (height * width)
    assert metrics.lightness_order_error(image, 1 - image) == count - 1


@given(images, st.lists(st.floats(1e-3, 1), min_size=256, max_size=256))
def test_monotone_curves_keep_the_lightness_order(image: np.ndarray, steps: list[float]) -> None:
    curve = np.cumsum(steps) / sum(steps)
    enhanced = curve[np.rint(image * 255).astype(int)]
    assert metrics.lightness_order_error(image.astype(np.float64), enhanced) == 0


@given(images)
def test_an_unchanged_image_has_no_lift_clipping_or_reversal(image: np.ndarray) -> None:
    bright = (image.mean(axis=-1) >= 0.7).mean() >= 0.001
    expected = 0 if bright else math.nan
    assert metrics.highlight_lift(image, image) == pytest.approx(expected, nan_ok=True)
    assert metrics.shadow_lift(image, image) == 0 or math.isnan(metrics.shadow_lift(image, image))
    assert metrics.newly_clipped(image, image) == 0
    assert metrics.lightness_order_error(image, image) == 0


@pytest.mark.parametrize("seed", range(5))
def test_an_unchanged_image_keeps_all_noise_and_detail(seed: int) -> None:
    image = 0.7 * noise((96, 120, 3), seed=seed) ** 2
    image[:48] = 0.6 + 0.4 * image[:48]
    assert metrics.noise_amplification(image, image) == pytest.approx(1, abs=1e-5)
    assert metrics.detail_retention(image, image) == metrics.DetailRetention(1, 1)
    assert metrics.highlight_lift(image, image) == 0


@given(st.integers(1, 20), st.integers(1, 20))
def test_metrics_accept_any_size(height: int, width: int) -> None:
    image = noise((height, width, 3))
    assert metrics.mae(image, image) == 0
    assert metrics.lightness_order_error(image, image) == 0
    assert math.isnan(metrics.noise_amplification(image, image))
    assert math.isnan(metrics.detail_retention(image, image).textured)
    assert math.isnan(metrics.shadow_lift(image, image))
    assert metrics.black_level(0 * image, 0 * image) == (0, 0, 0)
