"""Tests of enhancer.py: streams of images with `many`, and several threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from helpers.enhancers import (
    DTYPES,
    enhancer_of,
    network_of,
    random_image,
    reduced_scale_enhancer,
)
from zerodce_jax import Enhancer, InputError, UsageError


def test_many_checks_its_settings_before_it_reads_an_image() -> None:
    def images() -> Iterator[np.ndarray]:
        raise AssertionError("read too early")
        yield

    with pytest.raises(UsageError, match="gamma"):
        enhancer_of().many(images(), gamma=0.0)
    with pytest.raises(UsageError, match="strength"):
        enhancer_of().many(images(), strength=3.0)
    for name in ("protect_highlights", "denoise", "exposure"):
        for value in (-0.1, 1.1):
            with pytest.raises(UsageError, match=name):
                enhancer_of().many(images(), **{name: value})
    enhancer_of().many(images())


def test_many_reads_only_a_few_images_ahead() -> None:
    read = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal read
        for i in range(100):
            read += 1
            yield random_image(16, 16, 3, seed=i)

    results = enhancer_of().many(images())
    for count in range(1, 21):
        next(results)
        assert read <= count + 20


def test_many_keeps_the_order_of_images_of_different_kinds() -> None:
    shapes = [(40, 50, 3), (1, 1), (17, 3, 3), (64, 16), (5, 5, 3), (33, 47, 3)]
    images: list = [
        random_image(*shape, dtype=DTYPES[i % len(DTYPES)], seed=i)
        for i, shape in enumerate(shapes)
    ]
    images.insert(2, Image.fromarray(random_image(30, 20, 3, seed=9)))
    enhancer = reduced_scale_enhancer()
    results = list(enhancer.many(images))
    for image, result in zip(images, results, strict=True):
        assert type(result) is type(image)
        assert np.asarray(result).dtype == np.asarray(image).dtype
        # Every bit is equal: other images in the batch have no influence.
        np.testing.assert_array_equal(np.asarray(result), np.asarray(enhancer(image)))


def test_many_of_no_images_gives_no_results() -> None:
    assert list(enhancer_of().many([])) == []


def test_an_invalid_image_raises_after_the_results_before_it() -> None:
    good, bad = random_image(5, 5, 3), np.zeros((5, 5, 4), np.uint8)
    results = enhancer_of().many([good, good, good, bad, good])
    for _ in range(3):
        next(results)
    with pytest.raises(InputError):
        next(results)


@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_threads_may_share_an_enhancer(engine: str) -> None:
    enhancer = Enhancer(network_of("reduced"), engine=engine, tile=16)
    images = [random_image(20 + i, 30, 3, seed=i) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(enhancer, images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, enhancer(image))
