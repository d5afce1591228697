"""Tests of noise.py: known noise is measured, and smooth blocks have none."""

import math

import numpy as np
import pytest

from helpers import whole_image
from zerodce_jax.ops.noise import immerkaer


@pytest.mark.parametrize("sigma", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("channels", [1, 3])
def test_standard_deviation_of_gaussian_noise_is_measured(sigma: float, channels: int) -> None:
    noise = np.random.default_rng(0).normal(0.3, sigma, (5, 100, 120, channels))
    estimates = immerkaer(noise.astype(np.float32))
    assert estimates.shape == (5,)
    np.testing.assert_allclose(estimates, sigma, rtol=0.03)


def test_each_block_is_measured_independently() -> None:
    sigmas = np.array([0.01, 0.05, 0.2])
    noise = np.random.default_rng(1).normal(0, 1, (3, 100, 100, 1)) * sigmas[:, None, None, None]
    np.testing.assert_allclose(immerkaer(noise.astype(np.float32)), sigmas, rtol=0.03)


def test_estimate_is_the_mean_over_channels() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (1, 40, 40, 3)).astype(np.float32)
    per_channel = [immerkaer(noise[..., i : i + 1]).item() for i in range(3)]
    assert immerkaer(noise).item() == pytest.approx(np.mean(per_channel), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_flat_blocks_have_no_noise(value: float) -> None:
    assert immerkaer(np.full((2, 8, 8, 3), value, np.float32)).tolist() == [0, 0]


def test_gradients_have_no_noise() -> None:
    y, x = np.mgrid[:8, :9].astype(np.float32)
    block = 3 * y * y + 5 * x * x + 2 * x * y
    assert immerkaer(block[None, :, :, None]).tolist() == [0]


def test_a_single_bright_pixel_by_hand() -> None:
    block = np.zeros((1, 3, 3, 1), np.float32)
    block[0, 1, 1] = 0.5
    # The center of the kernel is 4.
    assert immerkaer(block).item() == pytest.approx(4 * 0.5 * math.sqrt(math.pi / 2) / 6)


def test_estimate_equals_the_reference() -> None:
    blocks = np.random.default_rng(3).random((4, 9, 12, 3))
    expected = [whole_image.noise_level(block) for block in blocks]
    np.testing.assert_allclose(immerkaer(blocks.astype(np.float32)), expected, rtol=1e-5)
