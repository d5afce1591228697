"""The XLA engine: JAX computes the tiles, on CPUs, GPUs and TPUs.

All batches of an engine have one shape, so each of its programs is compiled once for images of all
sizes. Pixels travel in their own type (8 bits stay 8 bits) and are scaled, enhanced, and rounded
once, on the device.
"""

import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from zerodce_jax.config import AnyNetworkConfig, Dtype, EnhanceSettings, Steps
from zerodce_jax.engines.base import Batch
from zerodce_jax.engines.tiling import cores, tile_side
from zerodce_jax.errors import UsageError, one_line
from zerodce_jax.models.dcenet import DCENet
from zerodce_jax.models.modules import graphdef
from zerodce_jax.models.network import Network
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops import enhancement
from zerodce_jax.ops.grid import interpolate_levels
from zerodce_jax.ops.pixels import from_float, to_float
from zerodce_jax.ops.resampling import linear_weights


class XlaEngine:
    """Runs one network on batches of tiles, on all local devices; see `base.Engine`.

    Args:
        network: The network to run.
        tile: Side of a tile without halo, in pixels; None suits the device.
        batch: Number of tiles in a batch, over all devices together; None suits the device.
        dtype: The type that convolutions compute in.

    Raises:
        UsageError: `tile` or `batch` is below 1.
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
        config = network.config
        devices = jax.local_devices()
        self.on_cpu = on_cpu = devices[0].platform == "cpu"
        # XLA computes most of a convolution on one core of a CPU, so each core gets a tile. A GPU
        # needs enough work to fill it, and the next batch while it computes one.
        default_tile, default_batch = (256, 1) if on_cpu else (512, 8)
        if on_cpu and not config.two_passes:
            # It divides the sides of many photographs and videos; 256 overhangs them.
            default_tile = 240
        self.workers = -(-cores() // len(devices)) if on_cpu else 2
        self.tile = tile_side(default_tile if tile is None else tile)
        per_device = -(-(batch or default_batch * len(devices)) // len(devices))
        self.batch = per_device * len(devices)
        self.halo = config.radius
        mesh = jax.make_mesh((len(devices),), ("tiles",), axis_types=(jax.sharding.AxisType.Auto,))
        self._over_devices = jax.NamedSharding(mesh, jax.P("tiles"))
        self._params = jax.device_put(network.params, jax.NamedSharding(mesh, jax.P()))
        structure = graphdef(config, dtype=jnp.dtype(dtype), inference=True)
        self._estimate = _Program(_estimate, structure=structure, size=self.tile)
        self._predict_grid = _Program(_predict_grid, structure=structure)
        self._enhance = _Program(_enhance, structure=structure, config=config, tile=self.tile)

    def enhance(
        self, batch: Batch, settings: EnhanceSettings
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Enhance tiles; see `Engine.enhance`."""
        batch, gamma = jax.device_put(batch, self._over_devices), np.float32(settings.gamma)
        return self._enhance(self._params, batch, gamma, steps=settings.steps)

    def estimate(
        self, tiles: Float[np.ndarray, "batch window window 3"], valid: Int[np.ndarray, "batch 4"]
    ) -> Float[Array, "batch tile tile outputs"]:
        """Estimate curve maps; see `Engine.estimate`."""
        return self._estimate(self._params, *jax.device_put((tiles, valid), self._over_devices))

    def predict_grid(
        self, thumbnail: Float[np.ndarray, "side side 3"]
    ) -> Float[Array, "cells cells outputs"]:
        """Predict a grid; see `Engine.predict_grid`."""
        return self._predict_grid(self._params, thumbnail)


class _Program:
    """A jitted function that any thread may call, compiled once for each kind of input.

    Args:
        function: A function of arrays, and of static arguments by name.
        **static: Static arguments of every call.
    """

    def __init__(self, function: Callable[..., Array], **static: Any) -> None:
        self._function = partial(function, **static)
        self._compiled: dict[Any, Callable[..., Array]] = {}
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **static: Any) -> Array:
        kind = (*static.values(), *(x.dtype for x in jax.tree.leaves(args)))
        with self._lock:
            if kind not in self._compiled:
                jitted = jax.jit(partial(self._function, **static))
                self._compiled[kind] = jitted.lower(*args).compile()
        return self._compiled[kind](*args)


def use_compilation_cache() -> str | None:
    """Keep compiled programs in the user's cache folder, so that the next start is fast.

    Programs call this, since they own JAX's settings; library code does not. A folder that was
    chosen already (``JAX_COMPILATION_CACHE_DIR``) is kept.

    Returns:
        A note for the user if there is no such folder, or it cannot be written; then there is no
        cache.
    """
    chosen = jax.config.values["jax_compilation_cache_dir"]
    try:
        folder = Path(chosen or Path(platformdirs.user_cache_dir("zerodce_jax")) / "xla")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # platformdirs: the user has no home folder.
        # JAX would warn of every program.
        jax.config.update("jax_enable_compilation_cache", False)
        return f"compiled programs cannot be kept, so each start compiles them: {one_line(error)}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return None


def _estimate(
    params: dict,
    tiles: Array,
    valid: Array,
    *,
    structure: nnx.GraphDef[DCENet | SceneNet],
    size: int,
) -> Array:
    model = nnx.merge(structure, params)
    assert isinstance(model, DCENet)
    return _center(model.forward(to_float(tiles), _mask(valid, tiles.shape[1])), size)


def _predict_grid(
    params: dict, thumbnail: Array, *, structure: nnx.GraphDef[DCENet | SceneNet]
) -> Array:
    model = nnx.merge(structure, params)
    assert isinstance(model, SceneNet)
    return model.forward(thumbnail[None])[0]


def _enhance(
    params: dict,
    batch: Batch,
    gamma: Array,
    *,
    structure: nnx.GraphDef[DCENet | SceneNet],
    config: AnyNetworkConfig,
    tile: int,
    steps: Steps,
) -> Array:
    size = tile + 2 * enhancement.reach(steps, config.levels)
    pixels, valid, maps = jax.tree.map(jnp.asarray, (batch.tiles, batch.valid, batch.maps))
    image = to_float(_center(pixels, size))
    if maps is None:
        maps = _estimate(params, pixels, valid, structure=structure, size=size)

    def upsample(maps: Array) -> Array:
        if not config.two_passes:
            return maps
        # Tiles of a reduced network have no more halo than the filters reach.
        interpolate = partial(_interpolate, rows=batch.rows, columns=batch.columns)
        return interpolate_levels(maps, image, config.levels, interpolate)

    enhanced = enhancement.enhance(
        image,
        maps,
        batch.adjustments,
        gamma,
        steps=steps,
        iterations=config.iterations,
        levels=config.levels,
        inside=_center(_mask(valid, pixels.shape[1]), size),
        upsample=upsample,
    )
    return from_float(enhanced, pixels.dtype)


def _interpolate(maps: Array, rows: Any, columns: Any) -> Array:
    """Read maps bilinearly at positions, as matrix products."""
    vertical, horizontal = (linear_weights(x, maps.shape[1]) for x in (rows, columns))
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("bys,bxt,bstc->byxc", vertical, horizontal, maps, precision=exact)


def _mask(valid: Array, window: int) -> Array:
    """Return 1 on pixels of the images, 0 beyond their edges."""
    y0, y1, x0, x1 = (valid[:, i, None] for i in range(4))
    at = jnp.arange(window)
    rows, columns = (at >= y0) & (at < y1), (at >= x0) & (at < x1)
    return (rows[:, :, None, None] & columns[:, None, :, None]).astype(jnp.float32)


def _center(x: Array, size: int) -> Array:
    border = (x.shape[1] - size) // 2
    return x[:, border : border + size, border : border + size]
