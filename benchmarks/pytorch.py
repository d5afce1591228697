"""Networks and the training step of Zero-DCE in PyTorch, written for the benchmarks.

They run with channels first, as the original systems do, and eagerly unless they are compiled.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's convention)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zerodce_jax.config import TrainConfig

# Without it, the compiler writes the curve's iterations into each other: three times the code with
# each of the eight, and it does not finish within 25 minutes.
COMPILER = {"realize_acc_reads_threshold": 1}


class ReducedDCENet(nn.Module):
    """Zero-DCE-improved: 16 channels, overlapping max-pooling, names of the original state dict."""

    def __init__(self) -> None:
        super().__init__()
        channels = [(3, 16), (16, 16), (16, 16), (16, 16), (32, 16), (32, 16), (32, 24)]
        for index, (inputs, outputs) in enumerate(channels, start=1):
            setattr(self, f"e_conv{index}", nn.Conv2d(inputs, outputs, 3, padding=1))
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance images (batch, 3, height, width); return the result and the curve maps."""
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


class PlusPlusDCENet(nn.Module):
    """Zero-DCE++: separable convolutions, one shared curve, estimated at a reduced scale."""

    def __init__(self, scale: int = 12) -> None:
        super().__init__()
        self._scale = scale
        channels = [(3, 32), (32, 32), (32, 32), (32, 32), (64, 32), (64, 32), (64, 3)]
        for index, (inputs, outputs) in enumerate(channels, start=1):
            depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
            layer = nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1))
            setattr(self, f"e_conv{index}", layer)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance images (batch, 3, height, width); return the result and the curve maps."""
        small = F.interpolate(x, scale_factor=1 / self._scale, mode="bilinear")
        x1 = F.relu(self.e_conv1(small))
        x2 = F.relu(self.e_conv2(x1))
        x3 = F.relu(self.e_conv3(x2))
        x4 = F.relu(self.e_conv4(x3))
        x5 = F.relu(self.e_conv5(torch.cat([x3, x4], 1)))
        x6 = F.relu(self.e_conv6(torch.cat([x2, x5], 1)))
        maps = torch.tanh(self.e_conv7(torch.cat([x1, x6], 1)))
        maps = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=True)
        for _ in range(8):
            x = x + maps * (x * x - x)
        return x, maps


def enhance(network: nn.Module, image: np.ndarray, *, gamma: float, layout: str) -> np.ndarray:
    """Enhance a uint8 image (height, width, 3), from array to array, on the network's device.

    Args:
        network: One of the networks above.
        image: The image.
        gamma: Exponent applied after the curves.
        layout: Memory position of the channels of activations, ``first`` or ``last``.
    """
    memory = torch.channels_last if layout == "last" else torch.contiguous_format
    with torch.inference_mode():
        pixels = torch.from_numpy(image)[None].to(next(network.parameters()).device)
        return enhance_batch(network, pixels, gamma=gamma, memory=memory)[0].cpu().numpy()


def enhance_batch(
    network: nn.Module,
    pixels: torch.Tensor,
    *,
    gamma: float,
    memory: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Enhance uint8 images (batch, height, width, 3) on their device; needs no gradients."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    enhanced, _ = network(x.contiguous(memory_format=memory))
    result = enhanced.pow_(gamma).mul_(255).add_(0.5).to(torch.uint8)
    return result.permute(0, 2, 3, 1).contiguous()


def load(tensors: Mapping[str, np.ndarray]) -> ReducedDCENet:
    """Load the weights that `zerodce_jax.models.pytorch_layout.to_torch` returns."""
    network = ReducedDCENet()
    network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    return network


class ZeroReferenceLosses(nn.Module):
    """Enhances images, and weighs the losses of Zero-DCE-improved."""

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self._network = network
        self._config = config
        kernels = torch.zeros(4, 1, 3, 3)
        kernels[:, 0, 1, 1] = 1
        for kernel, (y, x) in zip(kernels, [(1, 0), (1, 2), (0, 1), (2, 1)], strict=True):
            kernel[0, y, x] = -1
        self.register_buffer("_neighbors", kernels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the total loss of images (batch, 3, height, width) in [0, 1]."""
        enhanced, maps = self._network(images)
        before, after = (
            F.conv2d(F.avg_pool2d(x.mean(1, keepdim=True), 4), self._neighbors, padding=1)
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


class TrainStep:
    """The training step: losses, backward, clip, Adam and, if the config asks, an average.

    Args:
        losses: A module of the network that returns the total loss of images.
        config: The recipe; the learning rate stays at its ``lr``.
        compiled: Whether to compile the losses and their gradient with `torch.compile`.
    """

    def __init__(self, losses: nn.Module, config: TrainConfig, *, compiled: bool = False) -> None:
        self._module = losses
        self._losses = (
            torch.compile(losses, dynamic=False, options=COMPILER) if compiled else losses
        )
        self._config = config
        self._adam = torch.optim.Adam(
            losses.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self._average = None
        if config.ema:
            self._average = AveragedModel(losses, multi_avg_fn=get_ema_multi_avg_fn(config.ema))

    def __call__(self, images: torch.Tensor) -> float:
        """Train on images (batch, 3, height, width) in [0, 1]; return the total loss."""
        self._adam.zero_grad()
        total = self._losses(images)
        total.backward()
        nn.utils.clip_grad_norm_(self._module.parameters(), self._config.grad_clip)
        self._adam.step()
        if self._average is not None:
            self._average.update_parameters(self._module)
        return total.item()
