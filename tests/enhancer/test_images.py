"""Tests of enhancer.py: types of pixels, gray images, and NumPy, JAX and Pillow images."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from helpers import whole_image
from helpers.enhancers import (
    DTYPES,
    enhancer_of,
    network_of,
    onnx_enhancer,
    random_image,
    reduced_scale_enhancer,
    scene_enhancer,
)
from zerodce_jax import InputError


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "make_enhancer", [enhancer_of, reduced_scale_enhancer, onnx_enhancer, scene_enhancer]
)
def test_integers_are_the_rounded_float_result(dtype: str, make_enhancer: Callable) -> None:
    enhancer = make_enhancer()
    image = random_image(40, 30, 3, dtype=dtype)
    max_value = np.iinfo(dtype).max
    result = enhancer(image)
    assert result.dtype == dtype
    exact = max_value * whole_image.enhance(enhancer.network, image / max_value, gamma=1.15)
    assert np.abs(result - exact).max() <= 0.5 + max_value * 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_result_has_the_kind_shape_and_type_of_the_image(
    dtype: str, shape: tuple[int, ...]
) -> None:
    image = random_image(*shape, dtype=dtype)
    before = image.copy()
    result = enhancer_of()(image)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (image.dtype, shape)
    assert not np.array_equal(result, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">f8"])
def test_other_byte_orders_give_the_same_values(dtype: str) -> None:
    image = random_image(9, 8, 3, dtype="uint16" if dtype == ">u2" else "float32")
    result = enhancer_of()(image.astype(dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, enhancer_of()(image).astype(dtype))


def test_gray_result_is_the_mean_of_three_channels() -> None:
    image = random_image(20, 30, dtype="float32")
    whole = whole_image.enhance(network_of("reduced"), image, gamma=1.15)
    np.testing.assert_allclose(enhancer_of()(image), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_outside_the_range_are_clipped(dtype: str) -> None:
    image = random_image(10, 12, 3, dtype=dtype)
    clipped = image.copy()
    largest = float(np.finfo(dtype).max)
    outside = [(-0.5, 0), (1.5, 1), (np.inf, 1), (-np.inf, 0), (largest, 1)]
    for position, (value, bound) in enumerate(outside):
        image[position, position], clipped[position, position] = value, bound
    result = enhancer_of()(image)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result, enhancer_of()(clipped))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::2, ::-1],
        lambda image: image.transpose(1, 0, 2),
        lambda image: image[:, :, ::-1],
        np.asfortranarray,
    ],
    ids=["steps", "transposed", "bgr", "fortran"],
)
def test_views_and_read_only_arrays_are_accepted(dtype: str, view: Callable) -> None:
    image = view(random_image(20, 30, 3, dtype=dtype))
    image.flags.writeable = False
    np.testing.assert_array_equal(enhancer_of()(image), enhancer_of()(np.ascontiguousarray(image)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3), complex),
        np.zeros((4, 4, 3), object),
        np.full((4, 4), "x"),
    ],
    ids=lambda image: f"{image.dtype} {image.shape}",
)
def test_arrays_of_unsupported_shape_or_type_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError):
        enhancer_of()(image)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_refused(dtype: str) -> None:
    image = random_image(10, 12, 3, dtype=dtype)
    image[4, 5, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        enhancer_of()(image)


@pytest.mark.parametrize("image", [None, "photo.jpg", Path("photo.jpg"), [[1, 2], [3, 4]], 5])
def test_objects_that_are_not_images_are_refused(image: object) -> None:
    with pytest.raises(InputError):
        enhancer_of()(image)


@pytest.mark.parametrize(
    ("mode", "result_mode"),
    [
        ("RGB", "RGB"),
        ("L", "L"),
        ("RGBA", "RGBA"),
        ("LA", "LA"),
        ("P", "RGB"),
        ("1", "L"),
        ("I;16", "I;16"),
    ],
)
def test_pillow_images_return_as_pillow_images_with_their_alpha(
    mode: str, result_mode: str
) -> None:
    color = Image.fromarray(random_image(18, 21, 3))
    gray16 = Image.fromarray(random_image(18, 21, dtype="uint16"))
    image = gray16 if mode == "I;16" else color.convert(mode)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.fromarray(random_image(18, 21, seed=1)))
    before = image.copy()
    enhanced = enhancer_of()(image)
    assert isinstance(enhanced, Image.Image)
    assert (enhanced.mode, enhanced.size) == (result_mode, (21, 18))
    assert image == before
    if mode in {"RGBA", "LA"}:
        alpha = np.asarray(enhanced.getchannel("A"))
        np.testing.assert_array_equal(alpha, random_image(18, 21, seed=1))
        image, enhanced = image.convert(mode[:-1]), enhanced.convert(mode[:-1])
    elif mode in {"P", "1"}:
        image = image.convert(result_mode)
    np.testing.assert_array_equal(np.asarray(enhanced), enhancer_of()(np.asarray(image)))


def test_orientation_of_a_pillow_image_is_applied_to_the_result_only() -> None:
    image = Image.fromarray(random_image(10, 20, 3))
    image.getexif()[0x0112] = 6
    upright = enhancer_of()(image)
    assert upright.size == (10, 20)
    assert image.size == (20, 10)
    assert image.getexif()[0x0112] == 6
    np.testing.assert_array_equal(np.asarray(image), random_image(10, 20, 3))


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "YCbCr", "HSV"])
def test_pillow_images_of_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(InputError, match=mode):
        enhancer_of()(Image.new(mode, (4, 4)))


def test_empty_pillow_images_are_refused() -> None:
    with pytest.raises(InputError):
        enhancer_of()(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("engine", ["xla", "onnx"])
def test_jax_arrays_return_as_jax_arrays(dtype: str, engine: str) -> None:
    image = random_image(30, 41, 3, dtype=dtype)
    enhancer = enhancer_of() if engine == "xla" else onnx_enhancer()
    result = enhancer(jnp.asarray(image))
    assert isinstance(result, jax.Array)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, enhancer(image))
