"""Tests of fused.py: the C++ pass against the reference, for all sizes, types and settings."""

import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.enhancers import (
    brightening_enhancer,
    brightening_network,
    dark_image,
    expected_image,
    in_unit_range,
    random_image,
)
from zerodce_jax import Enhancer
from zerodce_jax.config import EnhanceSettings, SceneConfig, Steps
from zerodce_jax.engines import fused
from zerodce_jax.engines.tiling import Tile
from zerodce_jax.ops.enhancement import Adjustments

pytestmark = pytest.mark.needs("zerodce_native")

SETTINGS = [
    EnhanceSettings.scene(),
    EnhanceSettings.scene().changed(protect_highlights=1.0, denoise=1.0, gamma=1.2),
    EnhanceSettings.scene().changed(protect_highlights=0.0, denoise=0.0, strength=0.7),
    EnhanceSettings.scene().changed(exposure=0.5, denoise=0.4, gamma=0.8),
]
# Rounding of float32, and of pixels that lie halfway between two levels.
TOLERANCES = {"uint8": 1 / 255, "uint16": 2 / 65535, "float32": 2e-5}


@pytest.fixture(autouse=True)
def small_fused_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the pass, in tiles so small that even small images have several."""
    monkeypatch.setattr(fused, "is_usable", lambda config: isinstance(config, SceneConfig))
    monkeypatch.setattr(fused, "TILE", 16)


@pytest.fixture(params=["xla", "onnx"])
def enhancer(request: pytest.FixtureRequest) -> Enhancer:
    """Return an enhancer of a small scene network, whose sizes the pass has no loop for."""
    return brightening_enhancer("scene", 1, 16, 2 if request.param == "xla" else 0)


@settings(max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    gray=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCES)),
    options=st.sampled_from(SETTINGS),
)
def test_equals_the_reference(
    height: int, width: int, gray: bool, dtype: str, options: EnhanceSettings
) -> None:
    image = dark_image(height, width, *(() if gray else (3,)), dtype=dtype)
    network = brightening_network("scene")
    result = brightening_enhancer("scene", 1, 16, 2)(image, options)
    assert result.dtype == image.dtype
    expected = expected_image(network, image, options)
    np.testing.assert_allclose(in_unit_range(result), expected, rtol=0, atol=TOLERANCES[dtype])


def test_engines_give_the_same_image(enhancer: Enhancer) -> None:
    image = dark_image(61, 83, 3, dtype="uint8")
    expected = expected_image(brightening_network("scene"), image, SETTINGS[0])
    np.testing.assert_allclose(enhancer(image, SETTINGS[0]) / 255, expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_shipped_network_agrees_with_tiles(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enhancer = Enhancer.load("scene", engine="xla")
    image = dark_image(90, 131, 3, dtype=dtype)
    results = [enhancer(image)]
    monkeypatch.setattr(fused, "is_usable", lambda _: False)
    results.append(enhancer(image))
    assert not np.array_equal(results[0], image)
    first, second = map(in_unit_range, results)
    np.testing.assert_allclose(first, second, rtol=0, atol=1.01 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_no_strength_leaves_every_bit(enhancer: Enhancer, dtype: str) -> None:
    image = random_image(37, 52, 3, dtype=dtype)
    np.testing.assert_array_equal(enhancer(image, SETTINGS[0], strength=0.0), image)


def test_reads_views_and_leaves_them_alone(enhancer: Enhancer) -> None:
    image = dark_image(80, 90, 3, dtype="uint8")
    image.flags.writeable = False
    before = image.copy()
    view = image[::-2, 5:77]
    np.testing.assert_array_equal(enhancer(view), enhancer(np.ascontiguousarray(view)))
    np.testing.assert_array_equal(image, before)


def test_unaligned_pixels_are_read(enhancer: Enhancer) -> None:
    # Large enough that the engine does not copy it.
    image = dark_image(150, 170, 3, dtype="uint16")
    buffer = np.zeros(image.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(np.uint16).reshape(image.shape)
    unaligned[:] = image
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(enhancer(unaligned), enhancer(image))


@pytest.mark.parametrize("side", [40, 150])
def test_an_array_may_be_reused_for_the_next_image(
    side: int, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [dark_image(side, side, 3, dtype="uint8", seed=i) for i in range(3)]
    expected = [enhancer(image) for image in images]
    compute = fused.FusedPass.__call__

    def compute_late(self: fused.FusedPass, tile: Tile) -> None:
        time.sleep(0.002)
        compute(self, tile)

    def reused() -> Iterator[np.ndarray]:
        array = np.empty_like(images[0])
        for image in images:
            array[:] = image
            yield array

    monkeypatch.setattr(fused.FusedPass, "__call__", compute_late)
    np.testing.assert_array_equal(list(enhancer.many(reused())), expected)


def test_grid_may_lie_in_memory_in_any_order() -> None:
    image = dark_image(21, 30, 3, dtype="uint8")
    config = SceneConfig()
    shape = (config.cells, config.cells, 3 * config.levels)
    grid = np.random.default_rng(0).uniform(-0.7, 0.3, shape).astype(np.float32)
    results = [np.zeros_like(image) for _ in range(2)]
    for order, result in zip("CF", results, strict=True):
        in_order = np.asarray(grid, order=order)
        compute = fused.FusedPass(image, result, in_order, Adjustments(), SETTINGS[0], config)
        compute(Tile(0, 0, 32, 0))
    assert results[0].any()
    np.testing.assert_array_equal(*results)


def test_many_images_keep_their_order(enhancer: Enhancer) -> None:
    images = [dark_image(20 + i, 90 - i, 3, dtype="uint8", seed=i) for i in range(12)]
    for image, result in zip(images, enhancer.many(iter(images)), strict=True):
        np.testing.assert_array_equal(result, enhancer(image))


def test_frames_of_a_video_agree_with_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    enhancer = brightening_enhancer("scene", 1, 16, 2)
    frames = [(i / 25, dark_image(40, 56, 3, dtype="uint8", seed=i)) for i in range(6)]
    results = [list(enhancer.clip(frames))]
    monkeypatch.setattr(fused, "is_usable", lambda _: False)
    results.append(list(enhancer.clip(frames)))
    for first, second in zip(*results, strict=True):
        np.testing.assert_allclose(first.astype(int), second.astype(int), rtol=0, atol=1)


def test_knows_every_step_and_adjustment() -> None:
    """A new step must be added to the pass, or refused by `fused.is_usable`."""
    assert {field.name for field in fields(Steps)} == {"protect_highlights", "denoise"}
    known = {"gray", "strength", "highlight_protection", "denoise", "rounding", "black"}
    assert set(Adjustments._fields) == known


def native_inputs() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    grid = rng.uniform(-0.5, 0.2, (16, 16, 6, 3)).astype(np.float32)
    grid[:, :, 1:] *= 0.1
    image = dark_image(75, 101, 3, dtype="uint8")
    return {
        "pixels": image,
        "out": np.zeros_like(image),
        "box": (0, 0, 75, 101),
        "grid": grid,
        "iterations": 8,
        "denoise": True,
        "strength": 0.5,
        "rounding": 1 / 255,
        "black": 1.0,
        "gamma": 1.1,
    }


def instruction_sets() -> Iterator[str]:
    native = pytest.importorskip("zerodce_native")
    yield from native.INSTRUCTION_SETS


@pytest.mark.parametrize("count", [4, 6])
def test_instruction_sets_agree(count: int) -> None:
    import zerodce_native

    results = []
    for name in instruction_sets():
        inputs = native_inputs()
        inputs["grid"] = np.ascontiguousarray(inputs["grid"][:, :, :count])
        zerodce_native.enhance(**inputs, instructions=name)
        results.append(inputs["out"].astype(int))
    assert results[0].any()
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1)


@pytest.mark.parametrize(
    "box", [(0, 0, 76, 101), (0, 0, 75, 102), (-2, 0, 75, 101), (1, 0, 75, 101), (0, 0, 0, 101)]
)
def test_boxes_must_lie_in_the_image(box: tuple[int, ...]) -> None:
    import zerodce_native

    with pytest.raises(ValueError, match="box"):
        zerodce_native.enhance(**(native_inputs() | {"box": box}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": np.zeros((75, 100, 3), np.uint8)},
        {"grid": np.zeros((16, 15, 6, 3), np.float32)},
        {"grid": np.zeros((0, 0, 6, 3), np.float32)},
        {"grid": np.full((16, 16, 6, 3), np.nan, np.float32)},
        {"grid": np.full((16, 16, 6, 3), 0.4, np.float32)},
        {"instructions": "mmx"},
        {"gamma": np.nan},
        {"gamma": 0.0},
        {"strength": np.nan},
        {"black": -1.0},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    import zerodce_native

    (name,) = wrong
    with pytest.raises(ValueError, match="shape" if name == "out" else name):
        zerodce_native.enhance(**(native_inputs() | wrong))


def test_out_must_not_overlap_the_pixels() -> None:
    import zerodce_native

    both = np.zeros((76, 101, 3), np.uint8)
    with pytest.raises(ValueError, match="overlap"):
        zerodce_native.enhance(**(native_inputs() | {"pixels": both[1:], "out": both[:-1]}))


@pytest.mark.parametrize("name", ["pixels", "out", "grid"])
def test_unaligned_arrays_are_refused(name: str) -> None:
    import zerodce_native

    inputs = native_inputs()
    for key in ("pixels", "out"):
        inputs[key] = inputs[key].astype(np.uint16)
    array = inputs[name]
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    inputs[name] = buffer[1:].view(array.dtype).reshape(array.shape)
    with pytest.raises(ValueError, match="aligned"):
        zerodce_native.enhance(**inputs)


def test_images_of_too_many_rows_are_refused() -> None:
    import zerodce_native

    # The system gives memory to an array of zeros only where it is written.
    large = np.zeros((2**29 + 1, 1, 1), np.uint8)
    inputs = native_inputs() | {"pixels": large, "out": large, "box": (0, 0, 4, 1)}
    with pytest.raises(ValueError, match="large"):
        zerodce_native.enhance(**inputs)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_writes_nothing_outside_the_box(dtype: str) -> None:
    import zerodce_native

    image = dark_image(70, 99, 3, dtype=dtype)
    whole, part = np.zeros_like(image), np.zeros_like(image)
    inputs = native_inputs() | {"pixels": image}
    zerodce_native.enhance(**(inputs | {"out": whole, "box": (0, 0, 70, 99)}))
    zerodce_native.enhance(**(inputs | {"out": part, "box": (12, 6, 47, 81)}))
    expected = np.zeros_like(image)
    expected[12:47, 6:81] = whole[12:47, 6:81]
    np.testing.assert_allclose(
        in_unit_range(part), in_unit_range(expected), rtol=0, atol=TOLERANCES[dtype]
    )
    outside = np.ones(image.shape[:2], bool)
    outside[12:47, 6:81] = False
    assert not part[outside].any()


def test_other_types_are_refused() -> None:
    import zerodce_native

    with pytest.raises(TypeError):
        zerodce_native.enhance(**(native_inputs() | {"out": np.zeros((75, 101, 3), np.float32)}))
