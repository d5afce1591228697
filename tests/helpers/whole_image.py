"""What the package computes, written down a second time: NumPy, float64, the image as a whole.

Needs no compilation, so that tests can go through hundreds of image sizes.
"""

import numpy as np

from zerodce_jax.config import NetworkConfig
from zerodce_jax.models.network import Network, flatten, unflatten


def random_network(config: NetworkConfig, *, seed: int = 0, spread: float = 1.0) -> Network:
    """A network of any architecture with weights that give it varied curve maps."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in config.param_shapes.items():
        fan_in = np.prod(shape[:-1]) if len(shape) == 4 else 25
        params[name] = rng.normal(0, spread * np.sqrt(2 / fan_in), shape).astype(np.float32)
    return Network(config, unflatten(params))


def enhance(
    network: Network,
    image: np.ndarray,
    *,
    gamma: float = 1.0,
    strength: float = 1.0,
    protect_highlights: float = 0.0,
    denoise: float = 0.0,
) -> np.ndarray:
    """Enhance a float image in [0, 1], (height, width, 3) or gray (height, width)."""
    gray = image.ndim == 2
    x = np.asarray(image, np.float64)
    if gray:
        x = np.stack([x, x, x], axis=-1)
    iterations = network.config.iterations
    maps = curve_maps(network, x, strength=strength)
    if protect_highlights:
        protection = protect_highlights * presence(sampled(x))
        maps = held_back(maps, x, protection, iterations)
    bent = curves(x, maps, iterations)
    if denoise:
        # A derivative along the imaginary axis is exact: no difference of like numbers.
        gain = curves(x + 1e-30j, maps, iterations).imag / 1e-30
        bent = denoised(bent, gain, denoise)
    x = bent**gamma
    return x.mean(axis=-1) if gray else x


def brightness(
    image: np.ndarray,
    maps: np.ndarray,
    *,
    iterations: int,
    strength: float,
    gamma: float = 1.0,
    protection: float = 0.0,
) -> float:
    """The mean of an image after enhancement with these maps."""
    x = np.asarray(image, np.float64)
    maps = np.clip(strength * np.asarray(maps, np.float64), -1, 1)
    maps = held_back_at(maps, x.max(axis=-1, keepdims=True), protection, iterations)
    bent = curves(x, maps, iterations)
    return float((bent**gamma).mean())


def curves(x: np.ndarray, maps: np.ndarray, iterations: int) -> np.ndarray:
    """The iterated curve."""
    for i in range(iterations):
        a = maps if maps.shape[-1] <= 3 else maps[..., 3 * i : 3 * i + 3]
        x = x + a * (x * x - x)
    return x


def presence(image: np.ndarray) -> float:
    """How far an image has highlights."""
    t = np.clip((np.percentile(image.max(axis=-1), 99) - 0.4) / 0.6, 0, 1)
    return float(3 * t**2 - 2 * t**3)


def held_back(
    maps: np.ndarray, image: np.ndarray, protection: float, iterations: int
) -> np.ndarray:
    """Curve maps under the ceiling of their surroundings."""
    local = _smoothed(image.max(axis=-1, keepdims=True), 0.03)
    return held_back_at(maps, local, protection, iterations)


def held_back_at(
    maps: np.ndarray, brightness: np.ndarray, protection: float, iterations: int
) -> np.ndarray:
    """The same by local brightness."""
    if not protection:
        return maps
    v = np.clip(np.asarray(brightness, np.float64), 1e-3, 1 - 1e-3)

    def exponent(below: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(np.log(np.maximum(below, 1e-30)) / np.log(1 - v), 1))

    wanted = exponent(protection * 0.35 * (1 - v**6))
    step = wanted / iterations
    for _ in range(2):
        x = curves(v, -np.clip(np.exp(step) - 1, 0, 1), iterations)
        step = step * wanted / np.maximum(exponent(1 - x), 1e-6)
    return np.maximum(maps, -np.clip(np.exp(step) - 1, 0, 1))


def amount(image: np.ndarray) -> float:
    """How strongly to hold down noise, by the noise in a float image: that of 16x16 blocks."""
    x = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    rows, columns = x.shape[0] // 16, x.shape[1] // 16
    found = []
    if rows * columns >= 16:
        for i in np.unique(np.linspace(0, rows, 2 * min(rows, 32) + 1)[1::2].astype(int)):
            for j in np.unique(np.linspace(0, columns, 2 * min(columns, 32) + 1)[1::2].astype(int)):
                block = x[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
                if 2 / 255 < block.mean() <= 0.5:
                    light = block.mean(axis=-1, keepdims=True)
                    found.append(2 * noise(sum(light[k::2, n::2] for k, n in np.ndindex(2, 2)) / 4))
    if len(found) < 16:
        return 0.17
    return min(max(3 * np.quantile(found, 0.1) / 0.02, 0.17), 1)


def noise(block: np.ndarray) -> float:
    """Its standard deviation, by Immerkaer's kernel."""
    inner = 4 * block[1:-1, 1:-1]
    for y, x, weight in ((0, 0, 1), (0, 1, -2), (0, 2, 1), (1, 0, -2)):
        one = block[y : y + len(inner), x : x + inner.shape[1]]
        y, x = 2 - y, 2 - x
        inner = inner + weight * (one + block[y : y + len(inner), x : x + inner.shape[1]])
    return np.abs(inner).mean() * np.sqrt(np.pi / 2) / 6


def denoised(image: np.ndarray, gain: np.ndarray, amount: float) -> np.ndarray:
    """A guided filter with the gain as guide."""
    image, gain = np.asarray(image, np.float64), np.asarray(gain, np.float64)
    noise = _window_means(
        ((amount * 0.02 * np.maximum(gain - 1, 0)) ** 2).mean(axis=-1, keepdims=True)
    )
    light = image.mean(axis=-1, keepdims=True)
    red, blue = image[..., :1] - light, image[..., 2:] - light
    light, red, blue = (
        _smoothed(x, eps) for x, eps in ((light, noise), (red, 4 * noise), (blue, 4 * noise))
    )
    return np.clip(np.concatenate([light + red, light - red - blue, light + blue], axis=-1), 0, 1)


def _smoothed(image: np.ndarray, eps: np.ndarray | float) -> np.ndarray:
    """The guided filter of an image by itself, over windows of 7x7 that end with the image."""
    average = _window_means(image)
    # Around a value nearby: no difference of like numbers.
    middle = image.mean(axis=(0, 1))
    variance = _window_means((image - middle) ** 2) - (average - middle) ** 2
    a = np.ones_like(image)
    np.divide(variance, variance + eps, out=a, where=variance + eps > 1e-14)
    return _window_means(a) * image + _window_means(average * (1 - a))


def _window_means(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((3, 3), (3, 3), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(0, 1))
    return np.nanmean(windows, axis=(-2, -1))


def looked_at(network: Network, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples of an image and the curve maps at them, from which its strength is found."""
    config = network.config
    if config.levels > 1:
        small = _block_means(image, config.scale)
    elif config.scale > 1:
        small = _reduced(image, config.scale)
    else:
        small = _block_means(image, -(-max(image.shape[:2]) // 128))
    maps = _forward(network, small)
    rows, columns = _places(image)
    samples = sampled(image)
    of_rows, of_columns = (
        [at * count // size for at in places]
        for places, count, size in zip(
            (rows, columns), maps.shape[:2], image.shape[:2], strict=True
        )
    )
    maps = maps[of_rows][:, of_columns]
    if config.levels > 1:
        maps = _of_levels(maps, samples, config)
    return samples, maps


def sampled(image: np.ndarray) -> np.ndarray:
    rows, columns = _places(image)
    return image[rows][:, columns]


def _places(image: np.ndarray) -> list[list[int]]:
    step = -(-max(image.shape[:2]) // 128)
    return [
        [int((2 * i + 1) * size / (2 * -(-size // step))) for i in range(-(-size // step))]
        for size in image.shape[:2]
    ]


def curve_maps(network: Network, image: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
    """Curve maps of a float image, (height, width, maps), estimated at the network's scale.

    There they are kept within [-1, 1], whatever the strength.
    """
    height, width, scale = *image.shape[:2], network.config.scale

    def estimated(small: np.ndarray) -> np.ndarray:
        return np.clip(strength * _forward(network, small), -1, 1)

    if network.config.levels > 1:
        return _sliced(estimated(_block_means(image, scale)), image, network.config)
    if scale == 1:
        return estimated(image)
    maps = estimated(_reduced(image, scale))
    rows, columns = maps.shape[:2]
    return _bilinear(maps, np.linspace(0, rows - 1, height), np.linspace(0, columns - 1, width))


def _reduced(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    return _bilinear(image, _half_pixel(height, rows), _half_pixel(width, columns))


def _block_means(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array(
        [
            [image[y : y + scale, x : x + scale].mean((0, 1)) for x in range(0, width, scale)]
            for y in range(0, height, scale)
        ]
    )


def _sliced(grid: np.ndarray, image: np.ndarray, config: NetworkConfig) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = ((np.arange(size) + 0.5) / config.scale - 0.5 for size in (height, width))
    return _of_levels(_bilinear(grid, rows, columns), image, config)


def _of_levels(maps: np.ndarray, image: np.ndarray, config: NetworkConfig) -> np.ndarray:
    maps = maps.reshape(*image.shape[:2], config.levels, config.maps)
    at = image.mean(axis=-1, keepdims=True)[..., None] * (config.levels - 1)
    hats = np.maximum(0, 1 - np.abs(at - np.arange(config.levels)[:, None]))
    return (hats * maps).sum(axis=2)


def _forward(network: Network, image: np.ndarray) -> np.ndarray:
    params = {name: array.astype(np.float64) for name, array in flatten(network.params).items()}

    def conv(name: str, x: np.ndarray) -> np.ndarray:
        if network.config.separable:
            kernel = params[f"{name}.depthwise.kernel"]
            x = sum(s * kernel[i, j, 0] for i, j, s in _neighbours(x, 0))
            x = x + params[f"{name}.depthwise.bias"]
            return x @ params[f"{name}.pointwise.kernel"][0, 0] + params[f"{name}.pointwise.bias"]
        kernel = params[f"{name}.kernel"]
        return sum(s @ kernel[i, j] for i, j, s in _neighbours(x, 0)) + params[f"{name}.bias"]

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    x1 = relu(conv("conv1", image))
    x2 = relu(conv("conv2", x1))
    x3 = relu(conv("conv3", x2))
    pooled = x3
    if network.config.pool:
        pooled = np.max([s for _, _, s in _neighbours(x3, -np.inf)], axis=0)
    x4 = relu(conv("conv4", pooled))
    x5 = relu(conv("conv5", np.concatenate([x3, x4], axis=-1)))
    x6 = relu(conv("conv6", np.concatenate([x2, x5], axis=-1)))
    maps = np.tanh(conv("conv7", np.concatenate([x1, x6], axis=-1)))
    levels = maps.reshape(*maps.shape[:2], network.config.levels, -1)
    mean = levels.mean(axis=2, keepdims=True)
    near = 1 if network.config.levels == 1 else 0.125
    return (mean + near * (levels - mean)).reshape(maps.shape)


def _neighbours(x: np.ndarray, beyond: float) -> list[tuple[int, int, np.ndarray]]:
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=beyond)
    return [(i, j, padded[i : i + height, j : j + width]) for i in range(3) for j in range(3)]


def _half_pixel(size: int, reduced: int) -> np.ndarray:
    return (np.arange(reduced) + 0.5) * size / reduced - 0.5


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    vertical, horizontal = _weights(rows, image.shape[0]), _weights(columns, image.shape[1])
    return np.einsum("ys,xt,stc->yxc", vertical, horizontal, image, optimize=True)


def _weights(positions: np.ndarray, size: int) -> np.ndarray:
    # Beyond the outermost samples np.interp repeats them.
    return np.stack([np.interp(positions, np.arange(size), one) for one in np.eye(size)], axis=1)
