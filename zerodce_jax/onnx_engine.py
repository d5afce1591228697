"""A batch of tiles in, a batch of enhanced tiles out: the ONNX Runtime engine, for CPUs.

It does what `engine.XlaEngine` does, behind the same methods, and never imports JAX. Each core
works on a tile of its own, which wastes less than many cores on one.
"""

import threading
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float, Int, Shaped
from onnxruntime import InferenceSession as Session

from zerodce_jax import grid, onnx_graph
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.convert import Network
from zerodce_jax.tiling import cores, tile_side


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
        self._sessions: dict[tuple[Callable[..., onnx.ModelProto], str], Session] = {}
        self._lock = threading.Lock()

    def enhance(
        self,
        tiles: Shaped[np.ndarray, "1 window window 3"],
        valid: Int[np.ndarray, "1 4"],
        gray: Shaped[np.ndarray, "1"],
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Estimate curves and apply them; see `XlaEngine.enhance`."""
        session = self._session(onnx_graph.enhance, tiles.dtype)
        return self._crop_and_run(session, tiles, valid, _numbers(gray, settings))

    def estimate(
        self, tiles: Shaped[np.ndarray, "1 window window 3"], valid: Int[np.ndarray, "1 4"]
    ) -> Float[np.ndarray, "1 tile tile outputs"]:
        """Estimate curve maps alone; see `XlaEngine.estimate`."""
        session = self._session(onnx_graph.estimate, tiles.dtype)
        return self._crop_and_run(session, tiles, valid, {})

    def apply(
        self,
        tiles: Shaped[np.ndarray, "1 tile tile 3"],
        maps: Float[np.ndarray, "1 patch patch maps"],
        rows: Float[np.ndarray, "1 tile"],
        columns: Float[np.ndarray, "1 tile"],
        gray: Shaped[np.ndarray, "1"],
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Bring reduced curve maps up to size and apply them; see `XlaEngine.apply`."""
        samples = np.arange(maps.shape[1])
        vertical = np.maximum(0, 1 - np.abs(rows[0][:, None] - samples))
        horizontal = np.maximum(0, 1 - np.abs(columns[0] - samples[:, None]))
        return self._apply_weighted(tiles, maps, vertical, horizontal, gray, settings)

    def apply_grid(
        self,
        tiles: Shaped[np.ndarray, "1 tile tile 3"],
        maps: Float[np.ndarray, "1 patch patch outputs"],
        gray: Shaped[np.ndarray, "1"],
        settings: EnhanceSettings,
    ) -> Shaped[np.ndarray, "1 tile tile 3"]:
        """Read curve maps out of a bilateral grid and apply them; see `XlaEngine.apply_grid`."""
        weights = grid.up_weights(maps.shape[1] - 2, self._network.config.scale)
        return self._apply_weighted(tiles, maps, weights, weights.T, gray, settings)

    def _apply_weighted(
        self,
        tiles: np.ndarray,
        maps: np.ndarray,
        vertical: np.ndarray,
        horizontal: np.ndarray,
        gray: np.ndarray,
        settings: EnhanceSettings,
    ) -> np.ndarray:
        inputs = _numbers(gray, settings) | {
            "pixels": tiles[0],
            "maps": maps[0],
            "vertical": vertical.astype(np.float32),
            "horizontal": np.ascontiguousarray(horizontal, np.float32),
        }
        session = self._session(onnx_graph.apply, tiles.dtype)
        return _run(session, inputs)[None]

    def _crop_and_run(
        self,
        session: Session,
        tiles: np.ndarray,
        valid: np.ndarray,
        inputs: dict[str, np.ndarray],
    ) -> np.ndarray:
        # Cut off at the image's edges: the padding of each convolution then stands where the
        # whole image has it, without a mask.
        y0, y1, x0, x1 = valid[0].tolist()
        halo, end = self.halo, self.halo + self.tile
        top, bottom, left, right = max(y0, halo), min(y1, end), max(x0, halo), min(x1, end)
        crop = np.array([top - y0, left - x0, bottom - y0, right - x0], np.int64)
        window = np.ascontiguousarray(tiles[0, y0:y1, x0:x1])
        result = _run(session, inputs | {"pixels": window, "crop": crop})
        # The image may end before the tile does, below and to the right.
        missing = [(0, self.tile - result.shape[0]), (0, self.tile - result.shape[1]), (0, 0)]
        return np.pad(result, missing)[None]

    def _session(
        self, build: Callable[[Network, str], onnx.ModelProto], dtype: np.dtype
    ) -> Session:
        """The session of a model for a type of pixels, made when it is first asked for."""
        with self._lock:
            if (build, dtype.name) not in self._sessions:
                model = build(self._network, dtype.name).SerializeToString()
                options = onnxruntime.SessionOptions()
                # Tiles are spread over the cores, one each.
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                session = Session(model, options, providers=["CPUExecutionProvider"])
                self._sessions[build, dtype.name] = session
            return self._sessions[build, dtype.name]


def _numbers(gray: np.ndarray, settings: EnhanceSettings) -> dict[str, np.ndarray]:
    return {
        "gamma": np.array(settings.gamma, np.float32),
        "strength": np.array(settings.strength, np.float32),
        "gray": np.array(gray[0]),
    }


def _run(session: Session, inputs: dict[str, np.ndarray]) -> np.ndarray:
    (result,) = session.run(None, inputs)
    assert isinstance(result, np.ndarray)
    return result
