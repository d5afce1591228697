"""The architecture of a network, and the presets that have names."""

import dataclasses
from dataclasses import dataclass
from typing import Literal, Self

from zerodce_jax.config.values import Stored, check_number
from zerodce_jax.errors import UsageError

Dtype = Literal["float32", "bfloat16"]
"""Type that convolutions compute in; parameters and images are always float32."""


@dataclass(frozen=True)
class NetworkConfig(Stored):
    """The architecture of a DCE-Net: seven 3x3 convolutions that predict curve maps.

    References:
        Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement",
        CVPR 2020; Li et al., "Learning to Enhance Low-Light Image via Zero-Reference Deep Curve
        Estimation" (Zero-DCE++), TPAMI 2021.
    """

    features: int = 16
    """Number of channels of every hidden layer."""
    pool: bool = True
    """Whether a 3x3 max-pool with stride 1 (overlapping) follows the third convolution."""
    separable: bool = False
    """Whether each convolution is a depthwise 3x3 followed by a pointwise 1x1."""
    iterations: int = 8
    """Number of iterations of the light-enhancement curve."""
    shared_curve: bool = False
    """Whether all iterations share one curve map per channel."""
    scale: int = 1
    """Factor by which the image is reduced before curve maps are estimated."""
    levels: int = 1
    """Number of brightness levels that curves are estimated for, in a bilateral grid (`ops.grid`);
    1 is one curve for all, whose maps are scaled back as Zero-DCE++ does it."""

    def __post_init__(self) -> None:
        for name in ("features", "iterations", "scale", "levels"):
            check_number(name, getattr(self, name), whole=True, at_least=1)
        for name in ("pool", "separable", "shared_curve"):
            if not isinstance(value := getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, not {value!r}")

    @classmethod
    def reduced(cls) -> Self:
        """Return Zero-DCE-improved: 16 channels and overlapping max-pooling; 23,592 parameters."""
        return cls()

    @classmethod
    def original(cls) -> Self:
        """Return Zero-DCE (CVPR 2020): 32 channels, no pooling; 79,416 parameters."""
        return cls(features=32, pool=False)

    @classmethod
    def plusplus(cls) -> Self:
        """Return Zero-DCE++ (TPAMI 2021), whose authors use ``scale=12``; 10,561 parameters."""
        return cls(features=32, pool=False, separable=True, shared_curve=True)

    @classmethod
    def fast(cls) -> Self:
        """Return this project's own for large photographs: a bilateral grid; 18,390 parameters."""
        return cls(shared_curve=True, scale=16, levels=2)

    @property
    def preset(self) -> str | None:
        """Name of the preset that this config is, at any scale, or None."""
        presets = {dataclasses.replace(preset(name), scale=self.scale): name for name in PRESETS}
        return presets.get(self)

    @property
    def maps(self) -> int:
        """Number of curve maps of a pixel, three for each curve."""
        return 3 if self.shared_curve else 3 * self.iterations

    @property
    def outputs(self) -> int:
        """Number of output channels: the curve maps of every brightness level."""
        return self.levels * self.maps

    @property
    def two_passes(self) -> bool:
        """Whether curves are estimated on a reduced copy of the whole image, and then applied."""
        return self.scale > 1 or self.levels > 1

    @property
    def radius(self) -> int:
        """Radius of the receptive field, in pixels of the image that the network sees."""
        # Each of the seven convolutions and the pool adds one pixel.
        return 7 + int(self.pool)

    @property
    def channels(self) -> list[tuple[int, int]]:
        """Number of input and output channels of each of the seven convolutions."""
        n = self.features
        return [(3, n), (n, n), (n, n), (n, n), (2 * n, n), (2 * n, n), (2 * n, self.outputs)]

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by its dotted name; kernels are (height, width, in, out)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for index, (inputs, outputs) in enumerate(self.channels, start=1):
            if self.separable:
                shapes[f"conv{index}.depthwise.kernel"] = (3, 3, 1, inputs)
                shapes[f"conv{index}.depthwise.bias"] = (inputs,)
                shapes[f"conv{index}.pointwise.kernel"] = (1, 1, inputs, outputs)
                shapes[f"conv{index}.pointwise.bias"] = (outputs,)
            else:
                shapes[f"conv{index}.kernel"] = (3, 3, inputs, outputs)
                shapes[f"conv{index}.bias"] = (outputs,)
        return shapes


PRESETS = ("reduced", "original", "plusplus", "fast")


def preset(name: str) -> NetworkConfig:
    """Return the preset of a name, or raise `UsageError`."""
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return getattr(NetworkConfig, name)()
