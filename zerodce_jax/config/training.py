"""The recipe of a training run."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from zerodce_jax.config.network import Dtype, NetworkConfig, preset
from zerodce_jax.errors import UsageError

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
    dtype: Dtype = "float32"
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
