"""A second implementation of scene networks and their grids, for tests to compare with.

It computes with NumPy in float64, and shares no code with `zerodce_jax.ops` or the networks.
"""

import numpy as np

from zerodce_jax.config import SceneConfig
from zerodce_jax.models.network import Network, flatten


def area_means(image: np.ndarray, side: int) -> np.ndarray:
    """Return the means of an image over side x side equal shares of its area."""

    def reduce_rows(image: np.ndarray) -> np.ndarray:
        height = len(image)
        # The integral over the rows is a straight line within each row.
        integral = np.concatenate([np.zeros_like(image[:1]), image.cumsum(axis=0)])
        edges = np.arange(side + 1) * height / side
        columns = integral.reshape(height + 1, -1).T
        read = [np.interp(edges, np.arange(height + 1), column) for column in columns]
        means = np.diff(np.stack(read, axis=1), axis=0) * side / height
        return means.reshape(side, *image.shape[1:])

    rows = reduce_rows(np.asarray(image, np.float64))
    return reduce_rows(rows.swapaxes(0, 1)).swapaxes(0, 1)


def limit_levels(grid: np.ndarray, levels: int) -> np.ndarray:
    """Return the grid as (rows, columns, levels, maps), limited so that tones keep their order."""
    limited = grid.reshape(*grid.shape[:2], levels, -1).copy()
    for level in reversed(range(levels - 1)):
        limited[..., level, :] = np.maximum(
            limited[..., level, :], limited[..., level + 1, :] - 0.1
        )
    return limited


def cell_positions(size: int, config: SceneConfig) -> np.ndarray:
    return np.clip((np.arange(size) + 0.5) * config.cells / size - 0.5, 0, config.cells - 1)


def read_grid(
    grid: np.ndarray, image: np.ndarray, rows: np.ndarray, columns: np.ndarray, config: SceneConfig
) -> np.ndarray:
    """Read the grid bilinearly at the places of pixels, and linearly at their brightness."""
    limited = limit_levels(grid, config.levels).reshape(grid.shape)
    return interpolate_levels(bilinear(limited, rows, columns), image, config)


def interpolate_levels(maps: np.ndarray, image: np.ndarray, config: SceneConfig) -> np.ndarray:
    """Limit the curve maps of pixels, and interpolate linearly at their brightness."""
    limited = limit_levels(maps, config.levels)
    position = np.maximum(image.max(axis=-1), 1e-7) ** 0.4 * (config.levels - 1)
    weights = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(config.levels)))
    return (weights[..., None] * limited).sum(axis=2)


def scene_grid(network: Network, thumbnail: np.ndarray) -> np.ndarray:
    """Return the grid that a scene network predicts for a thumbnail."""
    config = network.config
    params = {name: array.astype(np.float64) for name, array in flatten(network.params).items()}

    def conv(name: str, x: np.ndarray, *, stride: int = 1, dilation: int = 1) -> np.ndarray:
        height, width = x.shape[:2]
        padding = (dilation if stride == 1 else 0, dilation)
        padded = np.pad(x, (padding, padding, (0, 0)))
        result = params[f"{name}.bias"]
        for i, j in np.ndindex(3, 3):
            top, left = i * dilation, j * dilation
            seen = padded[top : top + height : stride, left : left + width : stride]
            result = result + seen @ params[f"{name}.kernel"][i, j]
        return result

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ params[f"{name}.kernel"] + params[f"{name}.bias"]

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    encoded = (thumbnail + 1e-4) ** 0.4
    brightness = encoded.max(axis=-1, keepdims=True)
    chroma = brightness - encoded.min(axis=-1, keepdims=True)
    x = np.concatenate([thumbnail, encoded, brightness, chroma], axis=-1)
    for name in ("down1", "down2", "down3"):
        x = relu(conv(name, x, stride=2))
    for i in range(config.blocks):
        x = x + relu(conv(f"block{i + 1}", x, dilation=2**i))
    histogram = np.maximum(0, 1 - np.abs(brightness * (config.bins - 1) - np.arange(config.bins)))
    scene = np.concatenate([x.mean((0, 1)), histogram.mean((0, 1))])
    x = relu(x + dense("global2", relu(dense("global1", scene))))
    return -0.15 + 0.6 * np.tanh(conv("grid2", relu(conv("grid1", x))))


def bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    vertical = linear_weights(rows, image.shape[0])
    horizontal = linear_weights(columns, image.shape[1])
    return np.einsum("ys,xt,stc->yxc", vertical, horizontal, image, optimize=True)


def linear_weights(positions: np.ndarray, size: int) -> np.ndarray:
    """Return linear interpolation as a matrix of (positions, samples)."""
    # Beyond the outermost samples, np.interp repeats them.
    units = np.eye(size)
    return np.stack([np.interp(positions, np.arange(size), unit) for unit in units], axis=1)
