"""A batch of tiles in, a batch of enhanced tiles out: the XLA engine.

The engine knows the network and nothing of images. All its batches have one shape, so each of its
programs is compiled once for every image there is. Pixels travel in their own type (8 bits stay
8 bits) and are scaled, enhanced, and rounded once, on the device.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from zerodce_jax.config import Dtype, EnhanceSettings, NetworkConfig
from zerodce_jax.engines.tiling import PerTile, cores, tile_side
from zerodce_jax.errors import UsageError
from zerodce_jax.models.dcenet import DCENet, graphdef, to_float
from zerodce_jax.models.network import Network
from zerodce_jax.ops.curves import apply_curves, curve_gain
from zerodce_jax.ops.denoise import denoise
from zerodce_jax.ops.grid import slice_grid
from zerodce_jax.ops.guided_filter import REACH
from zerodce_jax.ops.highlights import local_brightness, max_curve_strength


class XlaEngine:
    """Runs one network on batches of tiles, on all local devices.

    Args:
        network: What to run.
        tile: Side of a tile without halo, in pixels; None takes what suits the device.
        batch: Tiles in a batch, over all devices together; None takes what suits the device.
        dtype: What the convolutions compute in.

    Raises:
        UsageError: `tile` or `batch` is below 1.

    Attributes:
        tile: Side of a tile without halo, in pixels.
        batch: Tiles in a batch.
        workers: Batches that should be worked on at one time.
        halo: Pixels of surroundings that `enhance` and `estimate` need on every side.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        if batch is not None and batch < 1:
            raise UsageError(f"batch must be a whole number >= 1, not {batch}")
        devices = jax.local_devices()
        on_cpu = devices[0].platform == "cpu"
        # On a CPU, one tile for each core: XLA computes most of a convolution on one. A GPU wants
        # enough work to fill it, and the next batch while it computes one.
        default_tile, default_batch = (256, 1) if on_cpu else (512, 8)
        if on_cpu and not network.config.two_passes:
            # It divides the sides of many pictures and videos; 256 overhangs them.
            default_tile = 240
        self.workers = -(-cores() // len(devices)) if on_cpu else 2
        self.tile = tile_side(default_tile if tile is None else tile, network.config)
        per_device = -(-(batch or default_batch * len(devices)) // len(devices))
        self.batch = per_device * len(devices)
        self.halo = network.config.radius
        mesh = jax.make_mesh((len(devices),), ("tiles",), axis_types=(jax.sharding.AxisType.Auto,))
        self._over_devices = jax.NamedSharding(mesh, jax.P("tiles"))
        on_all_devices = jax.NamedSharding(mesh, jax.P())
        self._params = jax.device_put(network.params, on_all_devices)
        structure = graphdef(network.config, dtype=jnp.dtype(dtype), inference=True)
        self._enhance = _Program(partial(_enhance, structure, self.halo))
        self._estimate = _Program(partial(_estimate, structure, self.halo))
        self._apply = _Program(_apply)
        self._apply_grid = _Program(_apply_grid)
        self._config = network.config

    def enhance(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Estimate curves and apply them, for networks that do both at full size.

        Args:
            tiles: uint8, uint16 or float32 pixels; floats in [0, 1]. Their halo is that of the
                network, and `guided_filter.REACH` more for each of the settings' filters.
            valid: Of each window, the rows and columns inside its image.
            each: What is particular to each tile.
            settings: How to apply the curves, but for that.

        Returns:
            Enhanced pixels of the tiles without halo, of the input's dtype, still being computed.
        """
        arrays = self._put(tiles, valid, each)
        return self._enhance(self._how(settings), self._params, *arrays, np.float32(settings.gamma))

    def estimate(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
    ) -> Float[Array, "batch tile tile maps"]:
        """Estimate curve maps alone, for networks that do so on a reduced image.

        Args:
            tiles: Tiles of the reduced image with their halo, float32 in [0, 1].
            valid: Of each window, the rows and columns inside the reduced image.

        Returns:
            Curve maps without halo, in [-1, 1], still being computed.
        """
        return self._estimate(None, self._params, *self._put(tiles, valid))

    def apply(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        maps: Float[np.ndarray, "batch patch patch maps"],
        rows: Float[np.ndarray, "batch window"],
        columns: Float[np.ndarray, "batch window"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Bring reduced curve maps up to size and apply them.

        Args:
            tiles: Full-size pixels: uint8, uint16, or float32 in [0, 1]. With a halo of
                `guided_filter.REACH` for each of the settings' filters.
            valid: Of each window, the rows and columns inside its image.
            maps: Of each tile, the patch of the reduced curve maps that it needs.
            rows: Of each row of the tiles, its position in the patch, in samples.
            columns: The same of each column.
            each: What is particular to each tile.
            settings: How to apply the curves, but for that.

        Returns:
            Enhanced pixels without halo, of the input's dtype, still being computed.
        """
        arrays = self._put(tiles, valid, maps, rows, columns, each)
        return self._apply(self._how(settings), *arrays, np.float32(settings.gamma))

    def apply_grid(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        maps: Float[np.ndarray, "batch patch patch outputs"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Read curve maps out of a bilateral grid and apply them.

        Args:
            tiles: Full-size pixels: uint8, uint16, or float32 in [0, 1]. With a halo of
                `guided_filter.REACH` for each of the settings' filters, as whole blocks.
            valid: Of each window, the rows and columns inside its image.
            maps: Of each tile, its blocks of the grid with one more on each side.
            each: What is particular to each tile.
            settings: How to apply the curves, but for that.

        Returns:
            Enhanced pixels without halo, of the input's dtype, still being computed.
        """
        arrays = self._put(tiles, valid, maps, each)
        return self._apply_grid(self._how(settings), *arrays, np.float32(settings.gamma))

    def _how(self, settings: EnhanceSettings) -> "_How":
        protect, denoise = settings.protect_highlights > 0, settings.denoise != 0
        return _How(self._config, self.tile, protect, denoise)

    def _put(self, *arrays: np.ndarray | PerTile) -> list[Any]:
        return jax.device_put(list(arrays), self._over_devices)


@dataclass(frozen=True)
class _How:
    """What a program is compiled for: steps that are off are not in it."""

    network: NetworkConfig
    tile: int
    protect: bool
    denoise: bool


class _Program:
    """A jitted function, compiled once for each `_How` and type of pixels, whoever asks first."""

    def __init__(self, function: Callable[..., Array]) -> None:
        self._jitted = jax.jit(function, static_argnums=0)
        self._compiled: dict[Any, Callable[..., Array]] = {}
        self._lock = threading.Lock()

    def __call__(self, how: _How | None, *args: Any) -> Array:
        kind = (how, *(x.dtype for x in jax.tree.leaves(args)))
        with self._lock:
            if kind not in self._compiled:
                self._compiled[kind] = self._jitted.lower(how, *args).compile()
        return self._compiled[kind](*args)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that the next start is fast.

    For programs, which own JAX's settings; a library call leaves them alone. A folder that was
    chosen already (``JAX_COMPILATION_CACHE_DIR``) is kept.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = Path(platformdirs.user_cache_dir("zerodce_jax")) / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _enhance(
    structure: nnx.GraphDef[DCENet],
    halo: int,
    how: _How,
    params: dict,
    tiles: Array,
    valid: Array,
    each: PerTile,
    gamma: Array,
) -> Array:
    maps = _stronger(_estimate(structure, halo, None, params, tiles, valid), each.strength)
    return _finish(how, tiles, valid, maps, each, gamma)


def _estimate(
    structure: nnx.GraphDef[DCENet],
    halo: int,
    _how: None,
    params: dict,
    tiles: Array,
    valid: Array,
) -> Array:
    maps = nnx.merge(structure, params).forward(to_float(tiles), _inside(valid, tiles.shape[1]))
    return _middle(maps, tiles.shape[1] - 2 * halo)


def _apply(
    how: _How,
    tiles: Array,
    valid: Array,
    maps: Array,
    rows: Array,
    columns: Array,
    each: PerTile,
    gamma: Array,
) -> Array:
    # Hat functions around the samples: their weighted sum is linear interpolation.
    samples = jnp.arange(maps.shape[1])
    vertical = jnp.maximum(0, 1 - jnp.abs(rows[:, :, None] - samples))
    horizontal = jnp.maximum(0, 1 - jnp.abs(columns[:, :, None] - samples))
    maps = jnp.einsum(
        "bys,bxt,bstc->byxc",
        vertical,
        horizontal,
        _stronger(maps, each.strength),
        precision=jax.lax.Precision.HIGHEST,
    )
    return _finish(how, tiles, valid, maps, each, gamma)


def _apply_grid(
    how: _How,
    tiles: Array,
    valid: Array,
    grid: Array,
    each: PerTile,
    gamma: Array,
) -> Array:
    scale, levels = how.network.scale, how.network.levels
    maps = slice_grid(_stronger(grid, each.strength), to_float(tiles), scale=scale, levels=levels)
    return _finish(how, tiles, valid, maps, each, gamma)


def _stronger(maps: Array, strength: Any) -> Array:
    return jnp.clip(_spread(strength) * maps, -1, 1)


def _spread(x: Any) -> Array:
    """A number of each tile, over its pixels and channels."""
    return jnp.asarray(x)[:, None, None, None]


def _finish(
    how: _How,
    tiles: Array,
    valid: Array,
    maps: Array,
    each: PerTile,
    gamma: Array,
) -> Array:
    """Curves, noise, gamma, the mean for gray, and rounding."""
    window = tiles.shape[1]
    size = how.tile + 2 * REACH * (how.protect + how.denoise)
    iterations = how.network.iterations
    pixels, maps = to_float(_middle(tiles, size)), _middle(maps, size)
    inside = _middle(_inside(valid, window), size)
    if how.protect:
        brightness = local_brightness(pixels, inside)
        size -= 2 * REACH
        pixels, maps, inside = (_middle(x, size) for x in (pixels, maps, inside))
        most = max_curve_strength(brightness, _spread(each.protection), iterations=iterations)
        maps = jnp.maximum(maps, -most)
    image = apply_curves(pixels, maps, iterations=iterations)
    if how.denoise:
        gain = curve_gain(pixels, maps, iterations=iterations)
        image = denoise(image, gain, inside, _spread(each.denoise))
    # Several times as fast as a power, and no less exact; the logarithm of 0 is what it should be.
    image = jnp.where(gamma == 1, image, jnp.exp(gamma * jnp.log(image)))
    # Mean around the first channel, so that three equal channels keep their value exactly.
    first = image[..., :1]
    mean = first + (image - first).mean(-1, keepdims=True)
    image = jnp.where(_spread(each.gray), mean, image)
    return _from_float(image, tiles.dtype)


def _inside(valid: Array, window: int) -> Array:
    """1 on pixels of the images, 0 beyond their edges."""
    y0, y1, x0, x1 = (valid[:, i, None] for i in range(4))
    at = jnp.arange(window)
    rows, columns = (at >= y0) & (at < y1), (at >= x0) & (at < x1)
    return (rows[:, :, None, None] & columns[:, None, :, None]).astype(jnp.float32)


def _middle(x: Array, size: int) -> Array:
    border = (x.shape[1] - size) // 2
    return x[:, border : border + size, border : border + size]


def _from_float(image: Array, dtype: jnp.dtype) -> Array:
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.floor(image * jnp.iinfo(dtype).max + 0.5).astype(dtype)
    return image
