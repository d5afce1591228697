"""Frozen settings: what a network is, and how a picture is enhanced with it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from zerodce_jax.errors import UsageError

Dtype = Literal["float32", "bfloat16"]
"""What convolutions compute in; parameters and images are always float32."""


@dataclass(frozen=True)
class _Stored:
    """What files of networks keep as plain values."""

    called: ClassVar[str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild it from what `to_dict` gave, as files of networks store it.

        Raises:
            UsageError: A field is unknown, or a value is out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"{cls.called}: unknown fields {', '.join(unknown)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, to be stored; `from_dict` reads them back."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class NetworkConfig(_Stored):
    """The architecture of a DCE-Net: seven 3x3 convolutions that predict curve maps.

    References:
        Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement",
        CVPR 2020; Li et al., "Learning to Enhance Low-Light Image via Zero-Reference Deep Curve
        Estimation" (Zero-DCE++), TPAMI 2021.
    """

    called: ClassVar[str] = "network config"

    features: int = 16
    """Channels of every hidden layer."""
    pool: bool = True
    """Whether a 3x3 max-pool with stride 1 (overlapping) follows the third convolution."""
    separable: bool = False
    """Whether each convolution is a depthwise 3x3 followed by a pointwise 1x1."""
    iterations: int = 8
    """How often the light-enhancement curve is applied."""
    shared_curve: bool = False
    """Whether all iterations share one curve map per channel (3 maps instead of 3 a iteration)."""
    scale: int = 1
    """Curves are estimated on the image reduced by this factor and scaled back up."""
    levels: int = 1
    """Levels of brightness that curves are estimated for, in a bilateral grid (`grid`): 1 is one
    curve for all, scaled up as Zero-DCE++ does it."""

    def __post_init__(self) -> None:
        for name in ("features", "iterations", "scale", "levels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(
                    f"{self.called}: {name} must be a whole number >= 1, not {value!r}"
                )
        for name in ("pool", "separable", "shared_curve"):
            if not isinstance(value := getattr(self, name), bool):
                raise UsageError(f"{self.called}: {name} must be true or false, not {value!r}")

    @classmethod
    def reduced(cls) -> Self:
        """Zero-DCE-improved: 16 channels and overlapping max-pooling; 23,592 parameters."""
        return cls()

    @classmethod
    def original(cls) -> Self:
        """Zero-DCE (CVPR 2020): 32 channels, no pooling; 79,416 parameters."""
        return cls(features=32, pool=False)

    @classmethod
    def plusplus(cls) -> Self:
        """Zero-DCE++ (TPAMI 2021): separable convolutions, one shared curve; 10,561 parameters.

        Its authors run it with ``scale=12``.
        """
        return cls(features=32, pool=False, separable=True, shared_curve=True)

    @classmethod
    def fast(cls) -> Self:
        """This project's own for large photographs: one shared curve, in a bilateral grid.

        Curves are estimated for blocks of 16x16 pixels and two levels of brightness; 18,390
        parameters.
        """
        return cls(shared_curve=True, scale=16, levels=2)

    @property
    def preset(self) -> str | None:
        """The name of the preset that this config is, at whatever scale, or None."""
        return next(
            (
                name
                for name in PRESETS
                if dataclasses.replace(preset(name), scale=self.scale) == self
            ),
            None,
        )

    @property
    def maps(self) -> int:
        """Number of curve maps of a pixel: three for each curve."""
        return 3 if self.shared_curve else 3 * self.iterations

    @property
    def outputs(self) -> int:
        """Channels of the network's output: the curve maps of every level of brightness."""
        return self.levels * self.maps

    @property
    def two_passes(self) -> bool:
        """Whether curves are estimated on a reduced copy of the whole image, and then applied."""
        return self.scale > 1 or self.levels > 1

    @property
    def radius(self) -> int:
        """Reach of the receptive field, in pixels of the image that the network sees.

        Each of the seven convolutions and the pool looks one pixel further.
        """
        return 7 + int(self.pool)

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by its dotted name; kernels are (height, width, in, out)."""
        n = self.features
        channels = [(3, n), (n, n), (n, n), (n, n), (2 * n, n), (2 * n, n), (2 * n, self.outputs)]
        shapes: dict[str, tuple[int, ...]] = {}
        for index, (inputs, outputs) in enumerate(channels, start=1):
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
    """Look a preset up by its name.

    Raises:
        UsageError: There is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return getattr(NetworkConfig, name)()


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Turn nested parameters into one dict with dotted names, as `param_shapes` has them."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def nest(flat: dict[str, Any]) -> dict:
    """Undo `flatten`."""
    tree: dict = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return tree


Exposure = Literal["auto", "off"] | float
Denoise = Literal["auto"] | float
AUTO_EXPOSURE = 0.4
"""Mean brightness that ``auto`` brings darker pictures to."""


@dataclass(frozen=True)
class EnhanceSettings(_Stored):
    """How the curves that a network predicts are put to use.

    The defaults are the recipe of Zero-DCE-improved. Networks carry their own in their files.
    """

    called: ClassVar[str] = "enhancement settings"

    exposure: Exposure = "off"
    """Mean brightness, in (0, 1), that darker pictures are brought to, by a strength for each of
    them; ``auto`` is 0.4. ``off`` gives every picture the same strength."""
    gamma: float = 1.15
    """Exponent applied after the curves, against over-exposure; 1 is off."""
    strength: float = 1.0
    """Factor on the curve maps, in [0, 2]: 0 gives the input back, 1 is the network's choice, or
    that of the exposure."""
    protect_highlights: float = 0.0
    """How far curves are held back where they would make bright places too bright, in [0, 1]."""
    denoise: Denoise = 0.0
    """How strongly noise is held down where the curve amplifies it, in [0, 1]; ``auto`` goes by the
    noise that is found in each picture."""

    def __post_init__(self) -> None:
        for name in ("gamma", "strength", "protect_highlights"):
            _number(name, getattr(self, name))
        if self.denoise != "auto":
            _number("denoise", self.denoise, "auto or ")
        if self.exposure not in ("auto", "off"):
            _number("exposure", self.exposure, "auto, off or ")
            if not 0.0 < self.exposure < 1.0:
                raise UsageError(f"exposure must lie between 0 and 1, not {self.exposure}")
        if not 0.0 < self.gamma <= 10.0:
            raise UsageError(f"gamma must be above 0 and at most 10, not {self.gamma}")
        if not 0.0 <= self.strength <= 2.0:
            raise UsageError(f"strength must lie in [0, 2], not {self.strength}")
        for name in ("protect_highlights", "denoise"):
            value = getattr(self, name)
            if value != "auto" and not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} must lie in [0, 1], not {value}")

    @classmethod
    def adaptive(cls) -> Self:
        """What suits the networks of this project: pictures come out well lit, and no more."""
        return cls(exposure="auto", gamma=1.0, protect_highlights=1.0, denoise="auto")

    def changed(self, **values: Any) -> Self:
        """These settings with some others; None leaves a setting as it is.

        Raises:
            UsageError: A value is out of range.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return dataclasses.replace(self, **given)

    @property
    def filters(self) -> int:
        """How many filters a result goes through, each of which looks at surroundings."""
        return (self.protect_highlights > 0) + (self.denoise != 0)

    @property
    def level(self) -> float | None:
        """Mean brightness that darker pictures are brought to, or None."""
        if self.exposure == "off":
            return None
        return AUTO_EXPOSURE if self.exposure == "auto" else float(self.exposure)


def _number(name: str, value: object, otherwise: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be {otherwise}a number, not {value!r}")


WELL_EXPOSED = (0.25, 0.6)
"""Mean brightness of photographs that are darkened to learn from."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the zero-reference losses; the defaults are those of Zero-DCE-improved."""

    spatial_weight: float = 1.0
    """Weight of the spatial consistency loss."""
    exposure_weight: float = 10.0
    """Weight of the exposure control loss."""
    color_weight: float = 5.0
    """Weight of the color constancy loss."""
    smoothness_weight: float = 300.0
    """Weight of the illumination smoothness loss (200 in the original Zero-DCE)."""
    exposure_level: float = 0.6
    """Brightness, in [0, 1], that the exposure loss brings every region of 16x16 pixels to."""
    consistency_weight: float = 10.0
    """Weight of the consistency with photographs before they were darkened (--darken)."""


@dataclass(frozen=True)
class TrainConfig(LossConfig):
    """Everything that decides the outcome of a training run, and how it is watched.

    The defaults are the recipe of Zero-DCE-improved.
    """

    model: Literal["reduced", "original", "plusplus", "fast"] = "reduced"
    """Architecture to train."""
    scale: int | None = None
    """Estimate curves on the image reduced by this factor, and train through it; 1, and 16 for
    fast, where it is not given."""
    darken: bool = False
    """Darken well-exposed photographs and learn to bring them back; others are left out."""
    epochs: int = 200
    """Passes over the folder, where --steps does not say how long to train."""
    steps: int | None = None
    """Steps to train for."""
    batch_size: int = 4
    """Images in a step, over all devices together."""
    image_size: int = 256
    """Side of the square training images, in pixels."""
    crop: bool = False
    """Take random crops of that size instead of scaling whole images down to it."""
    flip: bool = False
    """Mirror images at random."""
    turn: bool = False
    """Turn images at random by right angles."""
    cache: bool = False
    """Keep decoded images in memory."""
    lr: float = 1e-4
    """Learning rate of Adam; its peak with the cosine schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes: constant, or warm-up and cosine decay to 0."""
    warmup_steps: int = 0
    """Steps over which the learning rate first rises from 0."""
    weight_decay: float = 1e-4
    """L2 penalty, added to the gradient before Adam."""
    grad_clip: float = 0.1
    """Largest global norm of the gradient; larger ones are scaled down to it."""
    ema: float = 0.0
    """Decay of a moving average of the parameters, which is then the result; 0 keeps none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the convolutions compute in; parameters are always float32."""
    seed: int = 0
    """Decides initial weights, order of images and augmentation."""
    val_fraction: float = 0.0
    """Share of the folder, the last by name, to validate on where there is no --val-data."""
    log_every: int = 10
    """Steps between two entries of the log."""
    checkpoint_every: int = 500
    """Steps between two checkpoints, each with a validation before it."""
    keep: int = 3
    """How many of the newest checkpoints to keep, besides the best by validation."""
    sample_every: int = 1000
    """Steps between two pictures of input, enhanced image and curve maps."""

    def __post_init__(self) -> None:
        _require(self.scale is None or self.scale >= 1, "scale", "at least 1", self.scale)
        at_least_one = ("epochs", "batch_size", "log_every", "checkpoint_every", "keep")
        for name in (*at_least_one, "sample_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.steps is None or self.steps >= 1, "steps", "at least 1", self.steps)
        _require(self.image_size >= 16, "image_size", "at least 16", self.image_size)
        _require(self.warmup_steps >= 0, "warmup_steps", "at least 0", self.warmup_steps)
        for name in ("lr", "grad_clip"):
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        for name in ("spatial", "exposure", "color", "smoothness", "consistency"):
            weight = getattr(self, f"{name}_weight")
            _require(weight >= 0, f"{name}_weight", "at least 0", weight)
        _require(self.weight_decay >= 0, "weight_decay", "at least 0", self.weight_decay)
        for name in ("ema", "val_fraction"):
            _require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        _require(0 <= self.exposure_level <= 1, "exposure_level", "in [0, 1]", self.exposure_level)

    @property
    def network(self) -> NetworkConfig:
        """The architecture to train."""
        network = preset(self.model)
        return dataclasses.replace(network, scale=self.scale or network.scale)


def _require(holds: bool, name: str, what: str, value: object) -> None:
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} must be {what}, not {value}")
