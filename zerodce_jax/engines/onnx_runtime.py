"""The ONNX Runtime engine, for CPUs: each core computes a tile of its own.

One core on each tile wastes less than many cores on one. JAX is never imported.
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
from zerodce_jax.engines.base import Batch
from zerodce_jax.engines.tiling import cores, tile_side
from zerodce_jax.models.network import Network
from zerodce_jax.ops import enhancement
from zerodce_jax.ops.resampling import linear_weights

# First row, first column, and one past the last of both.
Box = tuple[int, int, int, int]


class OnnxEngine:
    """Runs one network on single tiles; see `base.Engine`.

    Args:
        network: The network to run.
        tile: Side of a tile without halo, in pixels; None suits a CPU.

    Raises:
        UsageError: `tile` is below 1.
    """

    batch = 1
    on_cpu = True

    def __init__(self, network: Network, *, tile: int | None = None) -> None:
        config = network.config
        self.tile = tile_side(256 if tile is None else tile)
        self.halo = config.radius
        self.workers = cores()
        self._network = network
        self._sessions: dict[tuple[Any, ...], Session] = {}
        self._lock = threading.Lock()

    def enhance(
        self, batch: Batch, settings: EnhanceSettings
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Enhance a tile; see `Engine.enhance`."""
        steps, window = settings.steps, batch.tiles.shape[1]
        outer = self._box(
            batch.valid,
            self.tile + 2 * enhancement.reach(steps, self._network.config.levels),
            window,
        )
        inputs = {name: np.asarray(x)[0] for name, x in batch.adjustments._asdict().items()}
        inputs["gamma"] = np.float32(settings.gamma)
        if batch.maps is None:
            build, seen = onnx_graph.enhance, self._box(batch.valid, window, window)
            inputs["crop"] = _within(outer, seen)
        else:
            build, seen = onnx_graph.apply, outer
            inputs |= self._upsampling(batch, outer)
        inputs["pixels"] = _cut(batch.tiles[0], seen)
        if enhancement.reach(steps, self._network.config.levels):
            inputs["inner"] = _within(self._box(batch.valid, self.tile, window), outer)
        return self._whole(_run(self._session(build, batch.tiles.dtype.name, steps), inputs))

    def estimate(
        self, tiles: Float[np.ndarray, "1 window window 3"], valid: Int[np.ndarray, "1 4"]
    ) -> Float[np.ndarray, "1 tile tile outputs"]:
        """Estimate curve maps; see `Engine.estimate`."""
        seen = self._box(valid, tiles.shape[1], tiles.shape[1])
        inner = self._box(valid, self.tile, tiles.shape[1])
        inputs = {"pixels": _cut(tiles[0], seen), "crop": _within(inner, seen)}
        return self._whole(_run(self._session(onnx_graph.estimate), inputs))

    def predict_grid(
        self, thumbnail: Float[np.ndarray, "side side 3"]
    ) -> Float[np.ndarray, "cells cells outputs"]:
        """Predict a grid; see `Engine.predict_grid`."""
        return _run(self._session(onnx_graph.predict_grid), {"thumbnail": thumbnail})

    def _upsampling(self, batch: Batch, outer: Box) -> dict[str, np.ndarray]:
        """Return the curve maps of a tile, and the weights that interpolate between them."""
        assert batch.maps is not None
        maps, (top, left, bottom, right) = batch.maps[0], outer
        assert batch.rows is not None and batch.columns is not None  # noqa: PT018
        vertical, horizontal = (
            linear_weights(positions[0], len(maps)) for positions in (batch.rows, batch.columns)
        )
        return {
            "maps": maps,
            "vertical": vertical[top:bottom].astype(np.float32),
            "horizontal": np.ascontiguousarray(horizontal[left:right].T, np.float32),
        }

    def _box(self, valid: np.ndarray, size: int, window: int) -> Box:
        """Return the center of a window, cut off at the edges of the image.

        So the zero padding of each convolution, and the end of each mean, is where the whole image
        has it, without a mask.
        """
        y0, y1, x0, x1 = valid[0].tolist()
        start = (window - size) // 2
        end = start + size
        return max(y0, start), max(x0, start), min(y1, end), min(x1, end)

    def _whole(self, result: np.ndarray) -> np.ndarray:
        """Pad a tile to the usual size, if its image ends below or to the right of it."""
        missing = [(0, self.tile - result.shape[0]), (0, self.tile - result.shape[1]), (0, 0)]
        return np.pad(result, missing)[None]

    def _session(self, build: Callable[..., onnx.ModelProto], *arguments: Any) -> Session:
        """Return the session of a model, which is built when it is first asked for."""
        with self._lock:
            key = (build, arguments)
            if key not in self._sessions:
                model = build(self._network, *arguments).SerializeToString()
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
    """Return a box relative to the corner of another box."""
    top, left = other[:2]
    return np.array([box[0] - top, box[1] - left, box[2] - top, box[3] - left], np.int64)


def _run(session: Session, inputs: dict[str, Any]) -> np.ndarray:
    (result,) = session.run(None, {name: np.asarray(array) for name, array in inputs.items()})
    assert isinstance(result, np.ndarray)
    return result
