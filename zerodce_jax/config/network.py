"""The architectures of networks, and the presets that have names."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

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

    levels: ClassVar[int] = 1
    """Number of brightness levels that curve maps are estimated for."""

    def __post_init__(self) -> None:
        for name in ("features", "iterations", "scale"):
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

    @property
    def preset(self) -> str | None:
        """Name of the preset that this config is, at any scale, or None."""
        presets = {preset(name): name for name in PRESETS}
        return presets.get(dataclasses.replace(self, scale=1))

    @property
    def maps(self) -> int:
        """Number of curve maps of a pixel, three for each curve."""
        return 3 if self.shared_curve else 3 * self.iterations

    @property
    def outputs(self) -> int:
        """Number of output channels, the curve maps."""
        return self.maps

    @property
    def two_passes(self) -> bool:
        """Whether curves are estimated on a reduced copy of the whole image, and then applied."""
        return self.scale > 1

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


@dataclass(frozen=True)
class SceneConfig(Stored):
    """The architecture of a scene network: a thumbnail of the whole image to a grid of curves.

    The grid is bilateral: it holds curve maps by place and by brightness (`ops.grid`). The network
    decides the exposure itself.
    """

    features: int = 32
    """Number of channels at the resolution of the grid."""
    blocks: int = 2
    """Number of residual blocks, whose dilation doubles from one to the next."""
    levels: int = 6
    """Number of brightness levels of the grid."""
    iterations: int = 8
    """Number of iterations of the light-enhancement curve; all share one curve map per channel."""

    architecture: ClassVar[str] = "scene"
    """Name by which files tell this architecture from a DCE-Net."""
    thumbnail: ClassVar[int] = 128
    """Sides of the thumbnail, which is square for images of all shapes, in pixels."""
    cells: ClassVar[int] = 16
    """Rows and columns of the grid."""
    bins: ClassVar[int] = 12
    """Number of bins of the brightness histogram that the network sees."""
    maps: ClassVar[int] = 3
    """Number of curve maps of a pixel."""
    two_passes: ClassVar[bool] = True
    """Curves are estimated on a reduced copy of the whole image, and then applied."""
    radius: ClassVar[int] = 0
    """Surroundings that a tile needs for the network: none, since the thumbnail shows them all."""

    def __post_init__(self) -> None:
        for name, least in {"features": 8, "blocks": 0, "levels": 2, "iterations": 1}.items():
            check_number(name, getattr(self, name), whole=True, at_least=least)

    @property
    def preset(self) -> str | None:
        """The name ``scene`` for the default config, or None."""
        return "scene" if self == SceneConfig() else None

    @property
    def outputs(self) -> int:
        """Number of output channels: the curve maps of every brightness level."""
        return self.levels * self.maps

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Number of channels of the input, and after each of the three strided convolutions."""
        return 8, self.features // 2, 3 * self.features // 4, self.features

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by its dotted name; kernels are (height, width, in, out)."""
        n, widths = self.features, self.widths
        kernels = {
            **{f"down{i}": (3, 3, *widths[i - 1 : i + 1]) for i in (1, 2, 3)},
            **{f"block{i}": (3, 3, n, n) for i in range(1, self.blocks + 1)},
            "global1": (n + self.bins, n),
            "global2": (n, n),
            "grid1": (3, 3, n, n),
            "grid2": (3, 3, n, self.outputs),
        }
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in kernels.items():
            shapes |= {f"{name}.kernel": shape, f"{name}.bias": shape[-1:]}
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and the name of the architecture, as plain values."""
        return {"architecture": self.architecture, **super().to_dict()}


AnyNetworkConfig = NetworkConfig | SceneConfig
"""The config of a network of either architecture."""

PRESETS = ("reduced", "original", "plusplus")
"""Names of the presets of DCE-Nets."""


def preset(name: str) -> NetworkConfig:
    """Return the DCE-Net preset of a name, or raise `UsageError`."""
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return getattr(NetworkConfig, name)()


def network_config(values: dict[str, Any]) -> AnyNetworkConfig:
    """Return the config that `to_dict` turned into plain values.

    Raises:
        UsageError: A field or the architecture is unknown, or a value is out of range.
    """
    values = dict(values)
    architecture = values.pop("architecture", None)
    if architecture is None:
        # Earlier versions stored it for every DCE-Net; more levels than 1 were a bilateral grid.
        if values.pop("levels", 1) != 1:
            raise UsageError("DCE-Nets with a bilateral grid are no longer supported")
        return NetworkConfig.from_dict(values)
    if architecture != SceneConfig.architecture:
        raise UsageError(f"unknown architecture {architecture!r}")
    return SceneConfig.from_dict(values)
