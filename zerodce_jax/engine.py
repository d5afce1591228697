"""A batch of tiles in, a batch of enhanced tiles out: the XLA engine.

The engine knows the network and nothing of images. All its batches have one shape, so each of its
programs is compiled once for every image there is. Pixels travel in their own type (8 bits stay
8 bits) and are scaled, enhanced, and rounded once, on the device.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.convert import Network
from zerodce_jax.curves import apply_curves
from zerodce_jax.errors import UsageError
from zerodce_jax.network import DCENet, graphdef, to_float

Dtype = Literal["float32", "bfloat16"]


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
        halo: Pixels of surroundings that `enhance` and `estimate` need on every side.
        patch: Side of the patch of reduced curve maps that `apply` takes.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: int | None = None,
        batch: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        for name, value in (("tile", tile), ("batch", batch)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be a whole number >= 1, not {value}")
        devices = jax.local_devices()
        # On a CPU one tile at a time keeps the activations small and wastes nothing on small
        # images; a GPU wants enough work to fill it.
        default_tile, default_batch = (256, 1) if devices[0].platform == "cpu" else (512, 8)
        self.tile = tile or default_tile
        per_device = -(-(batch or default_batch * len(devices)) // len(devices))
        self.batch = per_device * len(devices)
        self.halo = network.config.radius
        # Neighbouring pixels lie at most 1/scale samples of the reduced image apart; the patch
        # begins up to one sample before the first pixel and ends up to one after the last.
        self.patch = (self.tile - 1) // network.config.scale + 3
        mesh = jax.make_mesh((len(devices),), ("tiles",), axis_types=(jax.sharding.AxisType.Auto,))
        self._over_devices = jax.NamedSharding(mesh, jax.P("tiles"))
        on_all_devices = jax.NamedSharding(mesh, jax.P())
        self._params = jax.device_put(network.params, on_all_devices)
        structure = graphdef(network.config, dtype=jnp.dtype(dtype))
        iterations = network.config.iterations
        self._enhance = jax.jit(partial(_enhance, structure, self.halo, iterations))
        self._estimate = jax.jit(partial(_estimate, structure, self.halo))
        self._apply = jax.jit(partial(_apply, iterations))

    def enhance(
        self,
        tiles: Shaped[np.ndarray, "batch window window 3"],
        valid: Int[np.ndarray, "batch 4"],
        gray: Shaped[np.ndarray, " batch"],
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Estimate curves and apply them, for networks that do both at full size.

        Args:
            tiles: uint8, uint16 or float32 pixels with their halo; floats in [0, 1].
            valid: Of each window, the rows and columns inside its image.
            gray: Of each tile, whether its three channels are one gray image.
            settings: How to apply the curves.

        Returns:
            Enhanced pixels of the tiles without halo, of the input's dtype, still being computed.
        """
        return self._enhance(self._params, *self._put(tiles, valid, gray), *_numbers(settings))

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
        return self._estimate(self._params, *self._put(tiles, valid))

    def apply(
        self,
        tiles: Shaped[np.ndarray, "batch tile tile 3"],
        maps: Float[np.ndarray, "batch patch patch maps"],
        rows: Float[np.ndarray, "batch tile"],
        columns: Float[np.ndarray, "batch tile"],
        gray: Shaped[np.ndarray, " batch"],
        settings: EnhanceSettings,
    ) -> Shaped[Array, "batch tile tile 3"]:
        """Bring reduced curve maps up to size and apply them.

        Args:
            tiles: Full-size pixels without halo: uint8, uint16, or float32 in [0, 1].
            maps: Of each tile, the patch of the reduced curve maps that it needs.
            rows: Of each row of the tiles, its position in the patch, in samples.
            columns: The same of each column.
            gray: Of each tile, whether its three channels are one gray image.
            settings: How to apply the curves.

        Returns:
            Enhanced pixels of the input's shape and dtype, still being computed.
        """
        return self._apply(*self._put(tiles, maps, rows, columns, gray), *_numbers(settings))

    def _put(self, *arrays: np.ndarray) -> list[Array]:
        return jax.device_put(list(arrays), self._over_devices)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that the next start is fast.

    For programs, which own JAX's settings; a library call leaves them alone. A folder that was
    chosen already (``JAX_COMPILATION_CACHE_DIR``) is kept.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = Path(platformdirs.user_cache_dir("zerodce_jax")) / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _numbers(settings: EnhanceSettings) -> tuple[np.float32, np.float32]:
    return np.float32(settings.gamma), np.float32(settings.strength)


def _enhance(
    structure: nnx.GraphDef[DCENet],
    halo: int,
    iterations: int,
    params: dict,
    tiles: Array,
    valid: Array,
    gray: Array,
    gamma: Array,
    strength: Array,
) -> Array:
    maps = _estimate(structure, halo, params, tiles, valid)
    tiles = _without_halo(tiles, halo)
    return _finish(tiles, maps, gray, gamma, strength, iterations)


def _estimate(
    structure: nnx.GraphDef[DCENet], halo: int, params: dict, tiles: Array, valid: Array
) -> Array:
    y0, y1, x0, x1 = (valid[:, i, None] for i in range(4))
    at = jnp.arange(tiles.shape[1])
    rows, columns = (at >= y0) & (at < y1), (at >= x0) & (at < x1)
    mask = (rows[:, :, None, None] & columns[:, None, :, None]).astype(jnp.float32)
    model = nnx.merge(structure, params)
    return _without_halo(model.at_size(to_float(tiles), mask), halo)


def _apply(
    iterations: int,
    tiles: Array,
    maps: Array,
    rows: Array,
    columns: Array,
    gray: Array,
    gamma: Array,
    strength: Array,
) -> Array:
    # Hat functions around the samples: their weighted sum is linear interpolation.
    samples = jnp.arange(maps.shape[1])
    vertical = jnp.maximum(0, 1 - jnp.abs(rows[:, :, None] - samples))
    horizontal = jnp.maximum(0, 1 - jnp.abs(columns[:, :, None] - samples))
    maps = jnp.einsum(
        "bys,bxt,bstc->byxc", vertical, horizontal, maps, precision=jax.lax.Precision.HIGHEST
    )
    return _finish(tiles, maps, gray, gamma, strength, iterations)


def _finish(
    tiles: Array, maps: Array, gray: Array, gamma: Array, strength: Array, iterations: int
) -> Array:
    maps = jnp.clip(strength * maps, -1, 1)
    image = apply_curves(to_float(tiles), maps, iterations=iterations)
    image = jnp.where(gamma == 1, image, image**gamma)
    # Mean around the first channel, so that three equal channels keep their value exactly.
    first = image[..., :1]
    mean = first + (image - first).mean(-1, keepdims=True)
    image = jnp.where(gray[:, None, None, None], mean, image)
    return _from_float(image, tiles.dtype)


def _without_halo(tiles: Array, halo: int) -> Array:
    return tiles[:, halo : tiles.shape[1] - halo, halo : tiles.shape[2] - halo]


def _from_float(image: Array, dtype: jnp.dtype) -> Array:
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.floor(image * jnp.iinfo(dtype).max + 0.5).astype(dtype)
    return image
