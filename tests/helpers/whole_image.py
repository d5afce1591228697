"""A second implementation of the enhancement, for tests to compare with.

It computes with NumPy in float64 on the whole image, without tiles. It compiles nothing, so tests
can go through hundreds of image sizes. It shares no code with `zerodce_jax.ops`.
"""

import numpy as np

from helpers import scene_image
from helpers.scene_image import bilinear, cell_positions
from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings, SceneConfig
from zerodce_jax.models.network import Network, flatten, unflatten


def random_network(
    config: AnyNetworkConfig, *, seed: int = 0, weight_scale: float = 1.0
) -> Network:
    """Return a network of any architecture with random weights that give varied curve maps."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in config.param_shapes.items():
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 25
        params[name] = rng.normal(0, weight_scale * np.sqrt(2 / fan_in), shape).astype(np.float32)
    return Network(config, unflatten(params))


def enhance(
    network: Network,
    image: np.ndarray,
    *,
    gamma: float = 1.0,
    strength: float = 1.0,
    protect_highlights: float = 0.0,
    denoise: float = 0.0,
    rounding: float = 0.0,
) -> np.ndarray:
    """Return the enhanced image.

    Args:
        network: The network to enhance with.
        image: Color (height, width, 3) or gray (height, width), floats in [0, 1].
        gamma: Exponent after the curves.
        strength: Factor on the curve maps, including the exposure strength.
        protect_highlights: Highlight protection of the settings, in [0, 1].
        denoise: Denoising strength in [0, 1].
        rounding: Step of rounding of the image, in [0, 1]; 0 for floats.
    """
    gray = image.ndim == 2
    x = np.asarray(image, np.float64)
    if gray:
        x = np.stack([x, x, x], axis=-1)
    iterations = network.config.iterations
    is_scene = isinstance(network.config, SceneConfig)
    presence = presence_of_lights(network, x)
    protection = protect_highlights * presence
    maps = curve_maps(network, x, strength=strength, protection=protection * is_scene)
    if protect_highlights and not is_scene:
        maps = limit_maps(maps, x, protection, iterations)
    enhanced = apply_curves(x, maps, iterations)
    if denoise:
        enhanced = remove_noise(x, enhanced, denoise, rounding, presence)
    enhanced = enhanced**gamma
    return enhanced.mean(axis=-1) if gray else enhanced


def mean_brightness(
    image: np.ndarray,
    maps: np.ndarray,
    *,
    iterations: int,
    strength: float,
    gamma: float = 1.0,
    protection: float = 0.0,
) -> float:
    """Return the mean of an image after enhancement with given curve maps."""
    x = np.asarray(image, np.float64)
    maps = np.clip(strength * np.asarray(maps, np.float64), -1, 1)
    maps = limit_maps_at(maps, x.max(axis=-1, keepdims=True), protection, iterations)
    return float((apply_curves(x, maps, iterations) ** gamma).mean())


def apply_curves(x: np.ndarray, maps: np.ndarray, iterations: int) -> np.ndarray:
    """Apply the light-enhancement curve several times."""
    for i in range(iterations):
        a = maps if maps.shape[-1] <= 3 else maps[..., 3 * i : 3 * i + 3]
        x = x + a * (x * x - x)
    return x


def presence_of_lights(network: Network, image: np.ndarray) -> float:
    """Return how far a color image has highlights, or lights for scene networks, in [0, 1]."""
    if not isinstance(network.config, SceneConfig):
        return highlight_presence(sample_pixels(image))
    brightest = scene_image.area_means(image, network.config.thumbnail).max()
    t = np.clip((brightest - 0.5) / 0.4, 0, 1)
    return float(3 * t**2 - 2 * t**3)


def protect_levels(grid: np.ndarray, protection: float, config: SceneConfig) -> np.ndarray:
    """Limit the curves of the levels of a grid by the brightness that each stands for."""
    levels = grid.reshape(*grid.shape[:2], config.levels, -1)
    brightness = np.minimum((np.arange(config.levels) / (config.levels - 1)) ** 2.5, 0.9)
    limited = limit_maps_at(levels, brightness[:, None], protection, config.iterations)
    return limited.reshape(grid.shape)


def highlight_presence(image: np.ndarray) -> float:
    """Return how far an image has highlights, in [0, 1]."""
    t = np.clip((np.percentile(image.max(axis=-1), 99) - 0.4) / 0.6, 0, 1)
    return float(3 * t**2 - 2 * t**3)


def limit_maps(
    maps: np.ndarray, image: np.ndarray, protection: float, iterations: int
) -> np.ndarray:
    """Limit curve maps so that each pixel's surroundings stay below their brightness ceiling."""
    local_brightness = _guided_filter(image.max(axis=-1, keepdims=True), 0.03)
    return limit_maps_at(maps, local_brightness, protection, iterations)


def limit_maps_at(
    maps: np.ndarray, local_brightness: np.ndarray, protection: float, iterations: int
) -> np.ndarray:
    """Limit curve maps by a given local brightness."""
    if not protection:
        return maps
    v = np.clip(np.asarray(local_brightness, np.float64), 1e-3, 1 - 1e-3)

    def exponent(distance_to_white: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(np.log(np.maximum(distance_to_white, 1e-30)) / np.log(1 - v), 1))

    wanted = exponent(protection * 0.35 * (1 - v**6))
    step = wanted / iterations
    for _ in range(2):
        x = apply_curves(v, -np.clip(np.exp(step) - 1, 0, 1), iterations)
        step = step * wanted / np.maximum(exponent(1 - x), 1e-6)
    return np.maximum(maps, -np.clip(np.exp(step) - 1, 0, 1))


def auto_denoising_strength(image: np.ndarray) -> float:
    """Return the denoising strength for the noise measured in 16x16 blocks of a float image."""
    x = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    rows, columns = x.shape[0] // 16, x.shape[1] // 16
    estimates = []
    if rows * columns >= 16:
        for i in np.unique(np.linspace(0, rows, 2 * min(rows, 32) + 1)[1::2].astype(int)):
            for j in np.unique(np.linspace(0, columns, 2 * min(columns, 32) + 1)[1::2].astype(int)):
                block = x[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
                if 2 / 255 < block.mean() <= 0.5:
                    brightness = block.mean(axis=-1, keepdims=True)
                    halved = sum(brightness[k::2, n::2] for k, n in np.ndindex(2, 2)) / 4
                    estimates.append(2 * noise_level(halved))
    if len(estimates) < 16:
        return 0.17
    return min(max(3 * np.quantile(estimates, 0.1) / 0.02, 0.17), 1)


def noise_level(block: np.ndarray) -> float:
    """Return the standard deviation of the noise in a block, by Immerkaer's kernel."""
    response = 4 * block[1:-1, 1:-1]
    height, width = response.shape[:2]
    # The kernel is symmetric, so each weight belongs to two opposite neighbors.
    for y, x, weight in ((0, 0, 1), (0, 1, -2), (0, 2, 1), (1, 0, -2)):
        neighbor = block[y : y + height, x : x + width]
        opposite = block[2 - y : 2 - y + height, 2 - x : 2 - x + width]
        response = response + weight * (neighbor + opposite)
    return np.abs(response).mean() * np.sqrt(np.pi / 2) / 6


def remove_noise(
    image: np.ndarray, enhanced: np.ndarray, strength: float, rounding: float, black: float
) -> np.ndarray:
    """Remove noise and false color from an enhanced image in proportion to the curve gain."""
    image, enhanced = np.asarray(image, np.float64), np.asarray(enhanced, np.float64)
    half, before = _block_means(enhanced, 2), _block_means(image, 2)
    luma = half.mean(axis=-1)
    color = half - luma[..., None]

    def window_means(x: np.ndarray) -> np.ndarray:
        planes = x.reshape(*luma.shape, -1)
        return _window_means(_window_means(planes, 1), 1).reshape(x.shape)

    def variance(x: np.ndarray) -> np.ndarray:
        # Subtracting a nearby value first keeps the difference of two close numbers accurate.
        x = x - x.mean(axis=(0, 1))
        return np.maximum(window_means(x**2) - window_means(x) ** 2, 0)

    before, after = window_means(before.mean(axis=-1)), window_means(half)
    y = after.mean(axis=-1)
    gain = y * (1 - y) / np.maximum(before * (1 - before), 1e-6)
    amplified = np.maximum(gain - 1, 0) ** 2
    noise = 0.7 * (0.02 * strength) ** 2 * amplified
    luma_share = _removed_share(variance(luma), noise)
    color_share = _removed_share(variance(color).mean(axis=-1), 8 * noise)
    trace = strength * (5.6 * rounding) ** 2 * amplified
    largest = after.max(axis=-1)
    colored = 1 - _removed_share(largest**2, trace)
    lightless = strength / (strength + 0.05) * black * (2.6 * rounding) ** 2 * amplified
    lit = 1 - _removed_share(largest**2, lightless)
    kept_luma, kept_color = lit * (1 - luma_share), lit * colored * (1 - color_share)
    luma, color = window_means(luma), window_means(color)
    added = (lit * luma_share * luma + (1 - lit) * before)[..., None]
    added = added + (lit * colored * color_share)[..., None] * color
    height, width = image.shape[:2]

    def full_size(x: np.ndarray) -> np.ndarray:
        rows, columns = ((np.arange(size) + 0.5) / 2 - 0.5 for size in (height, width))
        return bilinear(x.reshape(*luma.shape, -1), rows, columns)

    brightness = enhanced.mean(axis=-1, keepdims=True)
    result = full_size(kept_luma) * brightness + full_size(added)
    return np.clip(result + full_size(kept_color) * (enhanced - brightness), 0, 1)


def _removed_share(value: np.ndarray, eps: np.ndarray) -> np.ndarray:
    return eps**2 / (value**2 + eps**2 + 1e-30)


def _guided_filter(image: np.ndarray, eps: np.ndarray | float) -> np.ndarray:
    """Filter an image with itself as guide, over 7x7 windows that are cut off at its edges."""
    average = _window_means(image)
    # Subtracting a nearby value first keeps the difference of two close numbers accurate.
    middle = image.mean(axis=(0, 1))
    variance = _window_means((image - middle) ** 2) - (average - middle) ** 2
    a = np.ones_like(image)
    np.divide(variance, variance + eps, out=a, where=variance + eps > 1e-14)
    return _window_means(a) * image + _window_means(average * (1 - a))


def _window_means(x: np.ndarray, radius: int = 3) -> np.ndarray:
    border, side = (radius, radius), 2 * radius + 1
    padded = np.pad(x, (border, border, (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    return np.nanmean(windows, axis=(-2, -1))


def exposure_strength(network: Network, image: np.ndarray, settings: EnhanceSettings) -> float:
    """Return the strength that brings a color image to the exposure level of its settings."""
    if settings.exposure == "off" or (
        settings.exposure == "auto" and isinstance(network.config, SceneConfig)
    ):
        return 1.0
    level = 0.4 if settings.exposure == "auto" else float(settings.exposure)
    samples = sample_pixels(image)
    protection = settings.protect_highlights * presence_of_lights(network, image)
    estimated = estimate(network, image)
    step = -(-max(samples.shape[:2]) // 64)
    rows, columns = (
        np.array(positions)[min(step, len(positions)) // 2 :: step]
        for positions in _sample_positions(image)
    )
    thinned = image[rows][:, columns]

    maps_at_1 = _maps_at(network, estimated, image, rows, columns)

    def brightness(strength: float) -> float:
        maps = np.clip(strength * maps_at_1, -1, 1)
        if isinstance(network.config, SceneConfig):
            # The grid is read first and limited then, which hardly differs from the other order.
            maps = protect_levels(maps, protection, network.config)
            maps = scene_image.interpolate_levels(maps, thinned, network.config)
        else:
            brightest = thinned.max(axis=-1, keepdims=True)
            maps = limit_maps_at(maps, brightest, protection, iterations)
        return float((apply_curves(thinned, maps, iterations) ** settings.gamma).mean())

    iterations = network.config.iterations
    if brightness(0) >= level:
        return 0.0
    low, high = 0.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if brightness(middle) < level else (low, middle)
    return high


def _maps_at(
    network: Network, grid: np.ndarray, image: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return the curve maps of some pixels: of the nearest place, or of all levels of the grid."""
    (height, width), config = image.shape[:2], network.config
    if isinstance(config, SceneConfig):
        places = (
            cell_positions(size, config)[at] for size, at in ((height, rows), (width, columns))
        )
        return bilinear(grid, *places)
    return grid[rows * grid.shape[0] // height][:, columns * grid.shape[1] // width]


def sample_pixels(image: np.ndarray) -> np.ndarray:
    """Return evenly spaced pixels of an image, at most 128 in each direction."""
    rows, columns = _sample_positions(image)
    return image[rows][:, columns]


def _sample_positions(image: np.ndarray) -> list[list[int]]:
    """Return the rows and the columns of the sampled pixels."""
    step = -(-max(image.shape[:2]) // 128)
    return [
        [int((2 * i + 1) * size / (2 * -(-size // step))) for i in range(-(-size // step))]
        for size in image.shape[:2]
    ]


def curve_maps(
    network: Network, image: np.ndarray, *, strength: float = 1.0, protection: float = 0.0
) -> np.ndarray:
    """Return the curve maps of a float image, (height, width, maps).

    The maps are multiplied by the strength and clipped to [-1, 1] at the scale of the network, then
    upsampled. Those of scene networks are limited by the highlight protection.
    """
    (height, width), config = image.shape[:2], network.config
    if isinstance(config, SceneConfig):
        grid = np.clip(strength * estimate(network, image), -1, 1)
        grid = protect_levels(grid, protection, config)
        rows, columns = (cell_positions(size, config) for size in (height, width))
        return scene_image.read_grid(grid, image, rows, columns, config)
    small = image if config.scale == 1 else _reduce(image, config.scale)
    maps = np.clip(strength * _forward(network, small), -1, 1)
    if config.scale == 1:
        return maps
    rows, columns = maps.shape[:2]
    return bilinear(maps, np.linspace(0, rows - 1, height), np.linspace(0, columns - 1, width))


def estimate(network: Network, image: np.ndarray) -> np.ndarray:
    """Return the curve maps that decide the exposure of an image, or its bilateral grid."""
    config = network.config
    if isinstance(config, SceneConfig):
        return scene_image.scene_grid(network, scene_image.area_means(image, config.thumbnail))
    if config.scale > 1:
        return _forward(network, _reduce(image, config.scale))
    return _forward(network, _block_means(image, -(-max(image.shape[:2]) // 128)))


def _reduce(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    return bilinear(image, _half_pixel(height, rows), _half_pixel(width, columns))


def _block_means(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array(
        [
            [image[y : y + scale, x : x + scale].mean((0, 1)) for x in range(0, width, scale)]
            for y in range(0, height, scale)
        ]
    )


def _forward(network: Network, image: np.ndarray) -> np.ndarray:
    params = {name: array.astype(np.float64) for name, array in flatten(network.params).items()}

    def conv(name: str, x: np.ndarray) -> np.ndarray:
        if network.config.separable:
            kernel = params[f"{name}.depthwise.kernel"]
            x = sum(s * kernel[i, j, 0] for i, j, s in _neighbors(x, 0))
            x = x + params[f"{name}.depthwise.bias"]
            return x @ params[f"{name}.pointwise.kernel"][0, 0] + params[f"{name}.pointwise.bias"]
        kernel = params[f"{name}.kernel"]
        return sum(s @ kernel[i, j] for i, j, s in _neighbors(x, 0)) + params[f"{name}.bias"]

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    x1 = relu(conv("conv1", image))
    x2 = relu(conv("conv2", x1))
    x3 = relu(conv("conv3", x2))
    pooled = x3
    if network.config.pool:
        pooled = np.max([s for _, _, s in _neighbors(x3, -np.inf)], axis=0)
    x4 = relu(conv("conv4", pooled))
    x5 = relu(conv("conv5", np.concatenate([x3, x4], axis=-1)))
    x6 = relu(conv("conv6", np.concatenate([x2, x5], axis=-1)))
    return np.tanh(conv("conv7", np.concatenate([x1, x6], axis=-1)))


def _neighbors(x: np.ndarray, padding: float) -> list[tuple[int, int, np.ndarray]]:
    """Return the nine shifted copies of an array with their positions in a 3x3 kernel."""
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=padding)
    return [(i, j, padded[i : i + height, j : j + width]) for i in range(3) for j in range(3)]


def _half_pixel(size: int, reduced: int) -> np.ndarray:
    """Return the position in the image of each sample, with half-pixel centers."""
    return (np.arange(reduced) + 0.5) * size / reduced - 0.5
