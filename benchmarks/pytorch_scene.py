"""The network ``scene`` and its training losses in PyTorch, for the benchmarks.

They compute the same as `zerodce_jax.models.scenenet` and `zerodce_jax.training.scenes`, with
channels first, for images whose sides are multiples of the thumbnail's.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's convention)

from zerodce_jax.config import SceneConfig
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.ops.grid import (
    AMPLITUDE,
    CENTER,
    DARK_OFFSET,
    LEVEL_EXPONENT,
    MAX_LEVEL_DROP,
    MIN_BRIGHTNESS,
)
from zerodce_jax.training import camera, scenes


class SceneNet(nn.Module):
    """A scene network with the parameters of one of this project's."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        assert isinstance(network.config, SceneConfig)
        self.config = network.config
        self._weights = nn.ParameterDict()
        for name, array in flatten(network.params).items():
            # From (..., inputs, outputs) to (outputs, inputs, ...); biases stay as they are.
            axes = (-1, -2)[: array.ndim]
            moved = np.moveaxis(array, axes, range(len(axes))).copy()
            self._weights[name.replace(".", "_")] = nn.Parameter(torch.from_numpy(moved))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance images (batch, 3, height, width); return the result and the grids."""
        grid = self.estimate(F.adaptive_avg_pool2d(images, self.config.thumbnail))
        return self.apply_grid(images, grid), grid

    def estimate(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """Predict the grids of images from their thumbnails."""
        encoded = (thumbnails + DARK_OFFSET) ** LEVEL_EXPONENT
        brightness = encoded.amax(1, keepdim=True)
        chroma = brightness - encoded.amin(1, keepdim=True)
        x = torch.cat([thumbnails, encoded, brightness, chroma], 1)
        for layer in ("down1", "down2", "down3"):
            x = F.relu(self._convolve(layer, F.pad(x, (0, 1, 0, 1)), stride=2))
        for i in range(self.config.blocks):
            x = x + F.relu(self._convolve(f"block{i + 1}", x, padding=2**i, dilation=2**i))
        bins = torch.arange(self.config.bins, device=x.device)
        position = brightness.flatten(1)[..., None] * (self.config.bins - 1)
        histogram = F.relu(1 - (position - bins).abs()).mean(1)
        scene = torch.cat([x.mean((2, 3)), histogram], 1)
        scene = self._dense("global2", F.relu(self._dense("global1", scene)))
        x = F.relu(x + scene[:, :, None, None])
        x = F.relu(self._convolve("grid1", x, padding=1))
        return CENTER + AMPLITUDE * torch.tanh(self._convolve("grid2", x, padding=1))

    def apply_grid(self, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """Read grids at every pixel of their images, and apply the curves."""
        levels = list(grid.chunk(self.config.levels, 1))
        for level in range(len(levels) - 2, -1, -1):
            levels[level] = torch.maximum(levels[level], levels[level + 1] - MAX_LEVEL_DROP)
        brightness = images.amax(1, keepdim=True).clamp(min=MIN_BRIGHTNESS)
        position = (len(levels) - 1) * brightness**LEVEL_EXPONENT
        large = _upsample(torch.cat(levels, 1), images).chunk(len(levels), 1)
        maps = large[0]
        for level in range(1, len(levels)):
            ramp = (position - (level - 1)).clamp(0, 1)
            maps = maps + ramp * (large[level] - large[level - 1])
        for _ in range(self.config.iterations):
            images = images + maps * (images * images - images)
        return images

    def _convolve(self, layer: str, x: torch.Tensor, **options: int) -> torch.Tensor:
        kernel, bias = self._weights[f"{layer}_kernel"], self._weights[f"{layer}_bias"]
        return F.conv2d(x, kernel, bias, **options)

    def _dense(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weights[f"{layer}_kernel"], self._weights[f"{layer}_bias"])


class SceneLosses(nn.Module):
    """Degrades photographs, restores them, and compares the two."""

    def __init__(self, network: SceneNet) -> None:
        super().__init__()
        self._network = network
        light = np.asarray(camera.to_light(np.arange(256) / 255))
        self.register_buffer("_light_of_pixels", torch.from_numpy(light.copy()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the total loss of photographs (batch, 3, height, width) in [0, 1]."""
        return self.compare(*self._degrade(self._vary_colors(images)))

    def compare(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the total loss of degraded photographs and their targets."""
        config = self._network.config
        inputs, targets = (F.adaptive_avg_pool2d(x, config.thumbnail) for x in (inputs, targets))
        grid = self._network.estimate(inputs)
        difference = self._network.apply_grid(inputs, grid) - targets
        regions = F.avg_pool2d(difference, 4)
        levels = grid.unflatten(1, (config.levels, config.maps))
        errors = (difference**2).mean((1, 2, 3))
        return (
            regions.abs().mean()
            + 0.3 * difference.abs().mean()
            + 0.3 * difference.mean((2, 3)).abs().mean()
            + 0.5 * sum(regions.diff(dim=dim).abs().mean() for dim in (2, 3))
            + 0.05 * (errors + 1e-3).log().mean()
            + 0.5 * sum((grid.diff(dim=dim) ** 2).mean() for dim in (2, 3))
            + 0.05 * (levels.diff(dim=1) ** 2).mean()
        )

    def _to_light(self, images: torch.Tensor) -> torch.Tensor:
        return self._light_of_pixels[(images * 255).round().int()]

    def _vary_colors(self, images: torch.Tensor) -> torch.Tensor:
        def factors(channels: int, deviation: float) -> torch.Tensor:
            shape = (len(images), channels, 1, 1)
            return (deviation * torch.randn(shape, device=images.device)).exp()

        gray = images.mean(1, keepdim=True)
        colored = (gray + factors(1, scenes.SATURATIONS) * (images - gray)).clamp(0, 1)
        return _to_pixels(factors(3, scenes.GAINS) * self._to_light(colored))

    def _fusion(self, images: torch.Tensor) -> torch.Tensor:
        light = self._to_light(images)
        total = weights = torch.zeros((), device=images.device)
        for factor in (0.25, 1.0, 4.0):
            shot = images if factor == 1 else _to_pixels(factor * light)
            weight = (-((shot.mean(1, keepdim=True) - 0.5) ** 2) / 0.08).exp()
            weight = _upsample(F.avg_pool2d(weight, images.shape[2] // 8), images) + 1e-3
            total, weights = total + weight * shot, weights + weight
        return total / weights

    def _degrade(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def uniform(low: float = 0, high: float = 1, channels: int = 1) -> torch.Tensor:
            shape = (len(images), channels, 1, 1)
            return low + (high - low) * torch.rand(shape, device=images.device)

        def log_uniform(low: float, high: float) -> torch.Tensor:
            return uniform(math.log(low), math.log(high)).exp()

        brightness = images.mean((1, 2, 3), keepdim=True)
        dimness, darkness = (
            ((high - brightness) / (high - low)).clamp(0, 1)
            for low, high in ((0.2, 0.42), (0.14, 0.32))
        )
        exponent = 2 * scenes.NORMALIZATION * (1 - darkness)
        exposure = (scenes.BRIGHTNESS / brightness.clamp(min=0.01)) ** exponent
        light = self._to_light(images)
        light = light * exposure.clamp(math.exp(-1), math.exp(1.4))

        dark = math.log(scenes.MIN_FACTOR) * (1 - 0.7 * darkness) * uniform()
        kind = uniform()
        bright = torch.where(kind < scenes.BACKLIT, dark * uniform(), dark)
        contrasty = kind > 1 - scenes.CONTRASTY
        dark = torch.where(contrasty, math.log(0.08) * uniform(), dark)
        bright = torch.where(contrasty, math.log(4.0) * uniform(), bright)

        luminance = _blurred(light.mean(1, keepdim=True), 4 * uniform())
        logarithm = (luminance + 1e-4).log()
        largest = logarithm.amax((1, 2, 3), keepdim=True)
        mean = (luminance.mean((1, 2, 3), keepdim=True) + 1e-4).log()
        middle = largest + uniform(-0.1, 1.2) * (mean - largest)
        share = torch.sigmoid((logarithm - middle) / log_uniform(0.15, 1.5))
        factor = (dark + (bright - dark) * share).exp()

        cast = 1 + 0.12 * uniform(-1, 1, channels=3) * (uniform() < 0.5)
        shot, read = log_uniform(1e-5, 6e-4), log_uniform(1e-5, 1.2e-3)
        seen = light * factor * cast
        noisy = seen + (shot * seen + read**2).sqrt() * torch.randn_like(seen)
        unchanged = uniform() < scenes.UNCHANGED + scenes.UNCHANGED_IF_DARK * dimness
        degraded, targets = (torch.where(unchanged, images, _to_pixels(x)) for x in (noisy, light))
        share = ((degraded.mean((1, 2, 3), keepdim=True) - 0.1) / 0.2).clamp(0, 1)
        share = scenes.FUSION * share * (1 - darkness)
        return degraded, targets + share * (self._fusion(targets) - targets)


def _upsample(maps: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps, size=images.shape[2:], mode="bilinear")


def _blurred(luminance: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
    """Return the luminance, or its mean over 1/8, 1/16 or 1/32 of the sides; choices are < 4."""
    result = luminance
    for index, parts in enumerate((8, 16, 32), start=1):
        blurred = _upsample(F.avg_pool2d(luminance, luminance.shape[2] // parts), luminance)
        result = torch.where((choice >= index) & (choice < index + 1), blurred, result)
    return result


def _to_pixels(light: torch.Tensor) -> torch.Tensor:
    encoded = light.clamp(1e-9, 1) ** (1 / camera.GAMMA)
    return (encoded * encoded * (3 - 2 * encoded) * 255).round() / 255
