"""Tests of guided_filter.py: window means by hand, the effect of eps, masks, the reach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerodce_jax.ops import guided_filter


def test_window_means_by_hand() -> None:
    x = np.arange(8 * 7, dtype=np.float32).reshape(1, 8, 7, 1)
    inside = np.ones((1, 8, 7, 1), np.float32)
    means = guided_filter.window_means(x, inside)
    np.testing.assert_allclose(means[0, :, 0, 0], [24, 31])
    inside[:, :4] = 0
    means = guided_filter.window_means(x, inside)
    # Only rows 4 to 6, and rows 4 to 7, lie inside the image.
    np.testing.assert_allclose(means[0, :, 0, 0], [38, 41.5])
    assert guided_filter.window_means(x, np.zeros_like(inside)).tolist() == [[[[0]], [[0]]]]


@given(value=st.floats(0, 1, width=32), eps=st.floats(0, 1))
def test_flat_images_stay_flat(value: float, eps: float) -> None:
    image = np.full((1, 14, 15, 2), value, np.float32)
    inside = np.ones((1, 14, 15, 1), np.float32)
    result = guided_filter.smooth(image, eps, inside)
    assert result.shape == (1, 2, 3, 2)
    np.testing.assert_allclose(result, value, atol=1e-6)


def test_larger_eps_smooths_more() -> None:
    image = np.random.default_rng(0).normal(0.5, 0.05, (1, 40, 40, 1)).astype(np.float32)
    inside = np.ones((1, 40, 40, 1), np.float32)
    deviations = [
        guided_filter.smooth(image, eps, inside).std() for eps in (0.0, 1e-4, 1e-3, 1e-2, 1.0)
    ]
    assert deviations == sorted(deviations, reverse=True)
    np.testing.assert_array_equal(
        guided_filter.smooth(image, 0.0, inside),
        guided_filter.crop(image, guided_filter.REACH, inside),
    )
    # With a large eps, the result is the mean of window means.
    assert deviations[-1] == pytest.approx(0, abs=0.01)


def test_pixels_outside_the_mask_have_no_influence() -> None:
    image = np.random.default_rng(1).random((1, 30, 30, 3), dtype=np.float32)
    inside = np.zeros((1, 30, 30, 1), np.float32)
    inside[:, 8:, :22] = 1
    result = guided_filter.smooth(image, 0.01, inside)
    changed_outside = guided_filter.smooth(np.where(inside > 0, image, 0.123), 0.01, inside)
    pixels = guided_filter.crop(inside, guided_filter.REACH, inside)[..., 0] > 0
    np.testing.assert_array_equal(result[pixels], changed_outside[pixels])


def test_a_pixel_influences_results_up_to_reach() -> None:
    image = np.random.default_rng(2).random((1, 41, 41, 1), dtype=np.float32)
    inside = np.ones((1, 41, 41, 1), np.float32)
    brighter = image.copy()
    brighter[0, 20, 20] += 0.3
    before, after = (guided_filter.smooth(x, 0.01, inside) for x in (image, brighter))
    changed = np.argwhere((after != before)[0, :, :, 0]) + guided_filter.REACH
    assert np.abs(changed - 20).max() == guided_filter.REACH
