"""Tests of xla.py: batches of tiles against the reference, devices, the compilation cache."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from helpers import GOLDENS, enhancers, scene_image, whole_image
from zerodce_jax import Enhancer
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines.base import Batch
from zerodce_jax.engines.xla import Dtype, XlaEngine, use_compilation_cache
from zerodce_jax.models import serialization
from zerodce_jax.models.network import Network
from zerodce_jax.ops.enhancement import Adjustments

PLAIN = EnhanceSettings(gamma=1.0)


@cache
def network_of(name: str, scale: int = 1) -> Network:
    if name == "scene":
        return enhancers.network_of("scene")
    network = serialization.load_network(GOLDENS / f"{name}_random.pth")
    return replace(network, config=replace(network.config, scale=scale))


@cache
def engine_of(dtype: Dtype = "float32") -> XlaEngine:
    return XlaEngine(network_of("reduced"), tile=16, batch=2, dtype=dtype)


def random_windows(engine: XlaEngine, dtype: type = np.float32) -> np.ndarray:
    """Return a batch of random tiles with their halo."""
    side = engine.tile + 2 * engine.halo
    pixels = np.random.default_rng(3).random((engine.batch, side, side, 3))
    max_value = 1 if dtype is np.float32 else np.iinfo(dtype).max
    return (pixels * max_value).astype(dtype)


def all_valid(tiles: np.ndarray) -> np.ndarray:
    """Return bounds that make every pixel of the windows a pixel of the image."""
    return np.tile(np.array([0, tiles.shape[1], 0, tiles.shape[2]], np.int32), (len(tiles), 1))


ONES = np.ones(2, np.float32)
COLOR = Adjustments(np.zeros(2, bool), ONES, *(0 * ONES for _ in range(4)))


def test_halo_is_the_radius_of_the_network() -> None:
    assert engine_of().halo == 8
    assert XlaEngine(network_of("original"), tile=16).halo == 7


@pytest.mark.parametrize("name", ["reduced", "original", "plusplus", "scene"])
def test_default_tiles_are_large_and_batches_divide_among_devices(name: str) -> None:
    engine = XlaEngine(network_of(name))
    assert engine.tile >= 128
    assert engine.batch % len(jax.local_devices()) == 0


def test_tiles_equal_the_center_of_the_whole_window() -> None:
    engine = engine_of()
    tiles = random_windows(engine)
    result = np.asarray(engine.enhance(Batch(tiles, all_valid(tiles), COLOR), PLAIN))
    assert result.shape == (2, 16, 16, 3)
    for tile, enhanced in zip(tiles, result, strict=True):
        whole = whole_image.enhance(network_of("reduced"), tile)
        np.testing.assert_allclose(enhanced, whole[8:-8, 8:-8], rtol=0, atol=1e-5)


def test_valid_bounds_are_the_edges_of_the_image() -> None:
    engine = engine_of()
    tiles = random_windows(engine)
    valid = np.array([[8, 20, 3, 32], [0, 10, 8, 9]], np.int32)
    for tile, (y0, y1, x0, x1) in zip(tiles, valid, strict=True):
        inside = np.zeros(tile.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
        tile[~inside] = 0
    result = np.asarray(engine.enhance(Batch(tiles, valid, COLOR), PLAIN))
    for tile, (y0, y1, x0, x1), enhanced in zip(tiles, valid, result, strict=True):
        image = whole_image.enhance(network_of("reduced"), tile[y0:y1, x0:x1])
        canvas = np.zeros_like(tile, np.float64)
        canvas[y0:y1, x0:x1] = image
        inside = np.zeros(tile.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
        inside = inside[8:-8, 8:-8]
        np.testing.assert_allclose(enhanced[inside], canvas[8:-8, 8:-8][inside], rtol=0, atol=1e-5)


def test_integers_are_rounded_once() -> None:
    engine = engine_of()
    tiles = random_windows(engine, np.uint8)
    settings = EnhanceSettings(gamma=1.15)
    result = np.asarray(engine.enhance(Batch(tiles, all_valid(tiles), COLOR), settings))
    assert result.dtype == np.uint8
    for tile, enhanced in zip(tiles, result, strict=True):
        whole = whole_image.enhance(network_of("reduced"), tile / 255, gamma=1.15)
        # The tolerance is half a level of rounding plus the error of float32.
        assert np.abs(enhanced - 255 * whole[8:-8, 8:-8]).max() <= 0.5 + 255e-5


def test_gray_tiles_are_the_mean_of_their_channels() -> None:
    engine = engine_of()
    tiles = random_windows(engine)
    tiles[0] = tiles[0, :, :, :1]
    tiles[1] = tiles[0]
    gray = COLOR._replace(gray=np.array([True, False]))
    gray_tile, color_tile = np.asarray(engine.enhance(Batch(tiles, all_valid(tiles), gray), PLAIN))
    np.testing.assert_array_equal(gray_tile, np.broadcast_to(gray_tile[:, :, :1], gray_tile.shape))
    assert np.ptp(color_tile, axis=-1).max() > 1e-3
    np.testing.assert_allclose(gray_tile[:, :, 0], color_tile.mean(axis=-1), rtol=0, atol=1e-6)


def test_estimated_curve_maps_equal_the_reference() -> None:
    engine = engine_of()
    tiles = random_windows(engine)
    maps = np.asarray(engine.estimate(tiles, all_valid(tiles)))
    assert maps.shape == (2, 16, 16, 24)
    for tile, maps_of_tile in zip(tiles, maps, strict=True):
        whole = whole_image.curve_maps(network_of("reduced"), tile)
        np.testing.assert_allclose(maps_of_tile, whole[8:-8, 8:-8], rtol=0, atol=1e-5)


def test_grids_equal_the_reference() -> None:
    network = network_of("scene")
    thumbnail = np.random.default_rng(0).random((128, 128, 3), dtype=np.float32) ** 3
    grid = np.asarray(XlaEngine(network, tile=16).predict_grid(thumbnail))
    assert grid.shape == (16, 16, network.config.outputs)
    expected = scene_image.scene_grid(network, thumbnail.astype(np.float64))
    np.testing.assert_allclose(grid, expected, rtol=0, atol=1e-5)


def test_bfloat16_is_within_two_levels_of_float32() -> None:
    tiles = random_windows(engine_of())
    exact = np.asarray(engine_of().enhance(Batch(tiles, all_valid(tiles), COLOR), PLAIN))
    coarse = np.asarray(engine_of("bfloat16").enhance(Batch(tiles, all_valid(tiles), COLOR), PLAIN))
    assert coarse.dtype == np.float32
    error = np.abs(coarse - exact)
    assert 0 < error.max() < 2 / 255
    assert error.mean() < 0.5 / 255


@pytest.fixture
def full_precision() -> Iterator[None]:
    """Compute convolutions in float32: by default, GPUs round their factors to 11 bits."""
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "highest")
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() == "cpu", reason="JAX has only CPUs here")
@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("name", ["reduced", "original", "plusplus"])
def test_accelerator_gives_the_outputs_of_pytorch(name: str) -> None:
    golden = np.load(GOLDENS / f"{name}_forward.npz")
    enhancer = Enhancer(network_of(name), engine="xla", tile=16)
    for case in ("odd", "even"):
        images, expected = golden[f"{case}_input"], golden[f"{case}_enhanced"]
        for image, enhanced in zip(images, expected, strict=True):
            np.testing.assert_allclose(enhancer(image, PLAIN), enhanced, rtol=0, atol=2e-5)


@pytest.mark.parametrize("option", [{"tile": 0}, {"tile": -16}, {"batch": 0}, {"batch": -1}])
def test_tiles_and_batches_below_1_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        XlaEngine(network_of("reduced"), **option)


# A program that enhances the arrays of one .npz file into another and prints the device count.
ON_DEVICES = """
import sys
import jax, numpy as np
from zerodce_jax import Enhancer
network, source, target = sys.argv[1:]
enhancer = Enhancer.load(network, engine="xla", tile=24)
images = np.load(source)
names = sorted(images)
results = enhancer.many(images[name] for name in names)
np.savez(target, **dict(zip(names, results, strict=True)))
print(len(jax.devices()), enhancer._engine.batch)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reduced", "plusplus", "scene"])
def test_four_devices_and_one_device_agree_to_one_level(
    name: str, tmp_path: Path, python: Callable
) -> None:
    scale = 12 if name == "plusplus" else 1
    network = tmp_path / "net.safetensors"
    serialization.save_network(network_of(name, scale), network)
    rng = np.random.default_rng(2)
    sizes = [(1, 1), (50, 70), (24, 24), (7, 90)]
    images = {
        f"image{i}": rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for i, (height, width) in enumerate(sizes)
    }
    np.savez(tmp_path / "images.npz", **images)
    result = python(
        *("-c", ON_DEVICES, network, tmp_path / "images.npz", tmp_path / "results.npz"),
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
    assert result.returncode == 0, result.stderr
    devices, batch = map(int, result.stdout.split())
    assert devices == 4
    assert batch % 4 == 0
    results = np.load(tmp_path / "results.npz")
    assert len(jax.devices()) == 1
    one_device = Enhancer.load(network, tile=24).many(images.values())
    for key, expected in zip(images, one_device, strict=True):
        assert results[key].dtype == np.uint8
        assert np.abs(results[key].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("place", ["no home", "no folder"])
def test_without_a_place_for_compiled_programs_a_note_says_so(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(_: str) -> str:
        raise RuntimeError("there is no home")

    monkeypatch.setattr("platformdirs.user_cache_dir", homeless)
    (tmp_path / "file").touch()
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")
    before = {name: jax.config.values[name] for name in names}
    chosen = None if place == "no home" else str(tmp_path / "file" / "cache")
    jax.config.update("jax_compilation_cache_dir", chosen)
    try:
        found = use_compilation_cache()
        assert not jax.config.values["jax_enable_compilation_cache"]
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    why = "there is no home" if chosen is None else f"{chosen}: Not a directory"
    assert found == f"compiled programs cannot be kept, so each start compiles them: {why}"


# A program that prints the hits and misses of the compilation cache for one image.
WITH_CACHE = """
import json, sys
import jax, numpy as np
from zerodce_jax import Enhancer
from zerodce_jax.engines.base import Batch
from zerodce_jax.engines.xla import use_compilation_cache
counts = {"cache_hits": 0, "cache_misses": 0}
def count(event, **_):
    name = event.rpartition("/")[2]
    if name in counts:
        counts[name] += 1
jax.monitoring.register_event_listener(count)
use_compilation_cache()
Enhancer.load(sys.argv[1], engine="xla", tile=16)(np.zeros((5, 6, 3), np.uint8))
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_second_start_takes_its_programs_from_the_cache(
    goldens: Path, tmp_path: Path, python: Callable
) -> None:
    runs = [
        python("-c", WITH_CACHE, goldens / "reduced_random.pth", XDG_CACHE_HOME=str(tmp_path))
        for _ in range(2)
    ]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["cache_hits"] == 0
    assert first["cache_misses"] >= 1
    assert second == {"cache_hits": first["cache_misses"], "cache_misses": 0}
    assert any(path.is_file() for path in (tmp_path / "zerodce_jax" / "xla").rglob("*"))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_one_line(
    scene_file: Path, pictures: Path, tmp_path: Path, python: Callable
) -> None:
    (tmp_path / "zerodce_jax").write_text("not a folder")
    run = python(
        *("enhance.py", pictures, "-o", tmp_path / "out", "-m", scene_file, "--engine", "xla"),
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert run.returncode == 0
    (line,) = run.stderr.splitlines()
    why = f"each start compiles them: {tmp_path / 'zerodce_jax' / 'xla'}: Not a directory"
    assert line == f"zerodce: note: compiled programs cannot be kept, so {why}"


@pytest.mark.slow
def test_a_cache_folder_of_the_user_is_kept(
    goldens: Path, tmp_path: Path, python: Callable
) -> None:
    run = python(
        *("-c", WITH_CACHE, goldens / "reduced_random.pth"),
        XDG_CACHE_HOME=str(tmp_path / "user"),
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "chosen"),
    )
    assert run.returncode == 0, run.stderr
    assert any((tmp_path / "chosen").iterdir())
    assert not (tmp_path / "user").exists()
