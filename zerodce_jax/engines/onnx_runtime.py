"""A batch of tiles in, a batch of enhanced tiles out: the ONNX Runtime engine, for CPUs.

It does what `xla.XlaEngine` does, behind the same methods, and never imports JAX. Each core
works on a tile of its own, which wastes less than many cores on one.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float, Int, Shaped
from onnxruntime import InferenceSession as Session

from zerodce_jax.config import EnhanceSettings
from zerodce_jax.engines import onnx_graph
from zerodce_jax.engines.onnx_ops import Steps
from zerodce_jax.engines.tiling import PerTile, cores, tile_side
from zerodce_jax.models.network import Network
from zerodce_jax.ops import grid
from zerodce_jax.ops.guided_filter import REACH

# First row, first column, and one past the last of both.
Box = tuple[int, int, int, int]


class OnnxEngine:
    """Runs one network on tiles, each core on one of its own.

    Args:
        network: What to run.
        tile: Side of a tile without halo, in pixels; None takes what suits a CPU.

    Raises:
        UsageError: `tile` is below 1.

    Attributes:
        tile: Side of a tile without halo, in pixels.
        batch: Tiles in a batch, 1.
        workers: Batches that should be worked on at one time.
        halo: Pixels of surroundings that `enhance` and `estimate` need on every side.
    """

    batch = 1

    def __init__(self, network: Network, *, tile: int | None = None) -> None:
        config = network.config
        # Without convolutions a tile should stay in a core's cache from one node to the next.
        default_tile = 192 if config.two_passes else 256
        self.tile = tile_side(default_tile if tile is None else tile, config)
        self.halo = config.radius
        self.workers = cores()
        self._network = network
        self._sessions: dict[tuple[Any, ...], Session] = {}
        self._lock = threading.Lock()

    def enhance(
        self,
        tiles: Shaped[np.ndarray, "1 window window 3"],
        valid: Int[np.ndarray, "1 4"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Estimate curves and apply them; see `XlaEngine.enhance`."""
        window = self._box(valid, tiles.shape[1], tiles.shape[1])
        outer = self._box(valid, self._size(settings), tiles.shape[1])
        inputs = {
            "pixels": _cut(tiles[0], window),
            "crop": _within(outer, window),
            **_numbers(each, settings),
        }
        inner = _within(self._box(valid, self.tile, tiles.shape[1]), outer)
        return self._run(onnx_graph.enhance, inputs, inner, settings)

    def estimate(
        self, tiles: Shaped[np.ndarray, "1 window window 3"], valid: Int[np.ndarray, "1 4"]
    ) -> Float[np.ndarray, "1 tile tile outputs"]:
        """Estimate curve maps alone; see `XlaEngine.estimate`."""
        window = self._box(valid, tiles.shape[1], tiles.shape[1])
        inner = self._box(valid, self.tile, tiles.shape[1])
        inputs = {"pixels": _cut(tiles[0], window), "crop": _within(inner, window)}
        return self._whole(_run(self._session(onnx_graph.estimate, tiles.dtype), inputs))

    def apply(
        self,
        tiles: Shaped[np.ndarray, "1 window window 3"],
        valid: Int[np.ndarray, "1 4"],
        maps: Float[np.ndarray, "1 patch patch maps"],
        rows: Float[np.ndarray, "1 window"],
        columns: Float[np.ndarray, "1 window"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Bring reduced curve maps up to size and apply them; see `XlaEngine.apply`."""
        samples = np.arange(maps.shape[1])
        vertical = np.maximum(0, 1 - np.abs(rows[0][:, None] - samples))
        horizontal = np.maximum(0, 1 - np.abs(columns[0] - samples[:, None]))
        numbers = _numbers(each, settings)
        return self._apply_weighted(tiles, valid, maps, vertical, horizontal, numbers, settings)

    def apply_grid(
        self,
        tiles: Shaped[np.ndarray, "1 window window 3"],
        valid: Int[np.ndarray, "1 4"],
        maps: Float[np.ndarray, "1 patch patch outputs"],
        each: PerTile,
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Read curve maps out of a bilateral grid and apply them; see `XlaEngine.apply_grid`."""
        weights = grid.up_weights(maps.shape[1] - 2, self._network.config.scale)
        numbers = _numbers(each, settings)
        return self._apply_weighted(tiles, valid, maps, weights, weights.T, numbers, settings)

    def _apply_weighted(
        self,
        tiles: np.ndarray,
        valid: np.ndarray,
        maps: np.ndarray,
        vertical: np.ndarray,
        horizontal: np.ndarray,
        numbers: dict[str, np.ndarray],
        settings: EnhanceSettings,
    ) -> np.ndarray:
        outer = self._box(valid, self._size(settings), tiles.shape[1])
        top, left, bottom, right = outer
        inputs = numbers | {
            "pixels": _cut(tiles[0], outer),
            "maps": maps[0],
            "vertical": vertical[top:bottom].astype(np.float32),
            "horizontal": np.ascontiguousarray(horizontal[:, left:right], np.float32),
        }
        inner = _within(self._box(valid, self.tile, tiles.shape[1]), outer)
        return self._run(onnx_graph.apply, inputs, inner, settings)

    def _run(
        self,
        build: Callable[..., onnx.ModelProto],
        inputs: dict[str, np.ndarray],
        inner: np.ndarray,
        settings: EnhanceSettings,
    ) -> np.ndarray:
        steps = Steps(settings.protect_highlights > 0, settings.denoise != 0)
        if steps.filters:
            inputs["inner"] = inner
        return self._whole(_run(self._session(build, inputs["pixels"].dtype, steps), inputs))

    def _size(self, settings: EnhanceSettings) -> int:
        """Side of what the curves are applied to, in pixels."""
        return self.tile + 2 * REACH * settings.filters

    def _box(self, valid: np.ndarray, size: int, window: int) -> Box:
        """The middle of a window, cut off at the image's edges.

        There the padding of each convolution, and the end of each mean, stands where the whole
        image has it, without a mask.
        """
        y0, y1, x0, x1 = valid[0].tolist()
        start = (window - size) // 2
        end = start + size
        return max(y0, start), max(x0, start), min(y1, end), min(x1, end)

    def _whole(self, result: np.ndarray) -> np.ndarray:
        """As a tile of the usual size: its image may end before it does, below and to the right."""
        missing = [(0, self.tile - result.shape[0]), (0, self.tile - result.shape[1]), (0, 0)]
        return np.pad(result, missing)[None]

    def _session(
        self,
        build: Callable[..., onnx.ModelProto],
        dtype: np.dtype,
        *steps: Steps,
    ) -> Session:
        """The session of a model for a type of pixels, made when it is first asked for."""
        with self._lock:
            key = (build, dtype.name, steps)
            if key not in self._sessions:
                model = build(self._network, dtype.name, *steps).SerializeToString()
                options = onnxruntime.SessionOptions()
                # Tiles are spread over the cores, one each.
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                session = Session(model, options, providers=["CPUExecutionProvider"])
                self._sessions[key] = session
            return self._sessions[key]


def _cut(pixels: np.ndarray, box: Box) -> np.ndarray:
    top, left, bottom, right = box
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _within(box: Box, other: Box) -> np.ndarray:
    """A box as seen from another one's corner."""
    top, left = other[:2]
    return np.array([box[0] - top, box[1] - left, box[2] - top, box[3] - left], np.int64)


def _numbers(each: PerTile, settings: EnhanceSettings) -> dict[str, np.ndarray]:
    numbers = {
        "gamma": np.array(settings.gamma, np.float32),
        "strength": np.array(each.strength[0], np.float32),
        "gray": np.array(each.gray[0]),
    }
    if settings.protect_highlights > 0:
        numbers["protection"] = np.array(each.protection[0], np.float32)
    if settings.denoise != 0:
        numbers["denoise"] = np.array(each.denoise[0], np.float32)
    return numbers


def _run(session: Session, inputs: dict[str, np.ndarray]) -> np.ndarray:
    (result,) = session.run(None, inputs)
    assert isinstance(result, np.ndarray)
    return result
