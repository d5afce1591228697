"""The network and the training step of Zero-DCE-improved in PyTorch, written for the benchmarks.

Channels first and eager, as that system runs them.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own custom)

from zerodce_jax.config import TrainConfig


class ReducedDCENet(nn.Module):
    """16 channels, overlapping max-pooling; names as in the original's state dict."""

    def __init__(self) -> None:
        super().__init__()
        channels = [(3, 16), (16, 16), (16, 16), (16, 16), (32, 16), (32, 16), (32, 24)]
        for index, (inputs, outputs) in enumerate(channels, start=1):
            setattr(self, f"e_conv{index}", nn.Conv2d(inputs, outputs, 3, padding=1))
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance images (batch, 3, height, width); gives the result and the curve maps."""
        x1 = F.relu(self.e_conv1(x))
        x2 = F.relu(self.e_conv2(x1))
        x3 = F.relu(self.e_conv3(x2))
        x4 = F.relu(self.e_conv4(self.pool(x3)))
        x5 = F.relu(self.e_conv5(torch.cat([x3, x4], 1)))
        x6 = F.relu(self.e_conv6(torch.cat([x2, x5], 1)))
        maps = torch.tanh(self.e_conv7(torch.cat([x1, x6], 1)))
        for a in torch.split(maps, 3, dim=1):
            x = x + a * (x * x - x)
        return x, maps


def load(tensors: Mapping[str, np.ndarray]) -> ReducedDCENet:
    """Make a network of the weights that `zerodce_jax.convert.to_torch` gives."""
    network = ReducedDCENet()
    network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    return network


class TrainStep:
    """One step after another: forward, losses, backward, clip, Adam."""

    def __init__(self, network: ReducedDCENet, config: TrainConfig) -> None:
        self._network = network
        self._config = config
        self._adam = torch.optim.Adam(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        kernels = torch.zeros(4, 1, 3, 3)
        kernels[:, 0, 1, 1] = 1
        for kernel, (y, x) in zip(kernels, [(1, 0), (1, 2), (0, 1), (2, 1)], strict=True):
            kernel[0, y, x] = -1
        self._neighbours = kernels

    def __call__(self, images: torch.Tensor) -> float:
        """Train on images (batch, 3, height, width) in [0, 1]; gives the total loss."""
        self._adam.zero_grad()
        total = self._losses(images)
        total.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.grad_clip)
        self._adam.step()
        return total.item()

    def _losses(self, images: torch.Tensor) -> torch.Tensor:
        enhanced, maps = self._network(images)
        before, after = (
            F.conv2d(F.avg_pool2d(x.mean(1, keepdim=True), 4), self._neighbours, padding=1)
            for x in (images, enhanced)
        )
        spatial = ((after - before) ** 2).sum(1).mean()
        patches = F.avg_pool2d(enhanced.mean(1, keepdim=True), 16)
        exposure = ((patches - self._config.exposure_level) ** 2).mean()
        red, green, blue = enhanced.mean((2, 3)).unbind(1)
        color = ((red - green) ** 4 + (red - blue) ** 4 + (green - blue) ** 4).sqrt().mean()
        batch, _, height, width = maps.shape
        vertical = ((maps[:, :, 1:] - maps[:, :, :-1]) ** 2).sum() / ((height - 1) * width)
        horizontal = ((maps[..., 1:] - maps[..., :-1]) ** 2).sum() / (height * (width - 1))
        smoothness = 2 * (vertical + horizontal) / batch
        return (
            self._config.spatial_weight * spatial
            + self._config.exposure_weight * exposure
            + self._config.color_weight * color
            + self._config.smoothness_weight * smoothness
        )
