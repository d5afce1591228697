"""The recipe of a training run."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self

from zerodce_jax.config.network import AnyNetworkConfig, Dtype, SceneConfig, preset
from zerodce_jax.config.values import check_number
from zerodce_jax.errors import UsageError

Model = Literal["scene", "reduced", "original", "plusplus"]
"""Name of an architecture that can be trained."""
WELL_EXPOSED = (0.25, 0.6)
"""Lowest and highest mean brightness, in [0, 1], of photographs that darkening learns from."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses; the defaults are those of Zero-DCE-improved."""

    spatial_weight: float = 1.0
    """Weight of the spatial consistency loss."""
    exposure_weight: float = 10.0
    """Weight of the exposure loss."""
    color_weight: float = 5.0
    """Weight of the color constancy loss."""
    smoothness_weight: float = 300.0
    """Weight of the illumination smoothness loss; the original
    Zero-DCE uses 200."""
    exposure_level: float = 0.6
    """Brightness, in [0, 1], that the exposure loss wants in
    every region of 16x16 pixels."""
    consistency_weight: float = 10.0
    """Weight of the difference between restored photographs and
    the originals (--darken)."""


@dataclass(frozen=True)
class TrainConfig(LossConfig):
    """Every setting of a training run; the defaults are the recipe of Zero-DCE-improved."""

    model: Model = "reduced"
    """Architecture to train. The defaults of other options are
    the recipe of this architecture; a scene network degrades
    photographs of all kinds and learns to restore them."""
    scale: int = 1
    """Factor that reduces images before a DCE-Net estimates
    curves."""
    darken: bool = False
    """Darken well-exposed photographs and let a DCE-Net learn to
    restore them; skip other photographs."""
    epochs: int = 200
    """Number of passes over the photographs, if --steps is 0."""
    steps: int = 0
    """Number of training steps; 0 counts --epochs instead."""
    batch_size: int = 4
    """Number of images in a step, over all devices together."""
    image_size: int = 256
    """Side of the square training images, in pixels."""
    crop: bool = False
    """Take random crops instead of scaling whole images to the
    image size."""
    flip: bool = False
    """Mirror images at random."""
    turn: bool = False
    """Rotate images at random by multiples of 90 degrees."""
    cache: bool = False
    """Keep decoded images in memory."""
    lr: float = 1e-4
    """Learning rate of Adam; the cosine schedule peaks there."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of the learning rate after the warm-up: constant,
    or cosine decay to 0."""
    warmup_steps: int = 0
    """Number of first steps in which the learning rate rises
    linearly from 0."""
    weight_decay: float = 1e-4
    """L2 penalty, added to the gradient before Adam."""
    grad_clip: float = 0.1
    """Maximum global norm of the gradient; larger gradients are
    scaled down to it."""
    ema: float = 0.0
    """Decay of the moving average of the parameters, which
    becomes the trained network; 0 keeps no average."""
    dtype: Dtype = "float32"
    """Type that the convolutions compute in; parameters are
    always float32."""
    seed: int = 0
    """Seed of the initial weights, the order of images,
    augmentation and darkening."""
    val_fraction: float = 0.0
    """Share of the photographs, the last in counting order, to
    validate on without --val-data."""
    log_every: int = 10
    """Number of steps between log entries."""
    checkpoint_every: int = 500
    """Number of steps between checkpoints; validation comes
    before each."""
    keep: int = 3
    """Number of newest checkpoints to keep, besides the best by
    validation."""
    sample_every: int = 1000
    """Number of steps between sample sheets: input, enhanced
    image, curve map."""

    def __post_init__(self) -> None:
        def check(*names: str, **bounds: Any) -> None:
            for name in names:
                check_number(f"--{name.replace('_', '-')}", getattr(self, name), **bounds)

        check("scale", "epochs", "batch_size", "keep", at_least=1)
        check("log_every", "checkpoint_every", "sample_every", at_least=1)
        check("image_size", at_least=16)
        check("spatial_weight", "exposure_weight", "color_weight", "smoothness_weight", at_least=0)
        check("consistency_weight", "steps", "warmup_steps", "weight_decay", at_least=0)
        check("lr", "grad_clip", above=0)
        check("ema", "val_fraction", at_least=0, below=1)
        check("exposure_level", at_least=0, at_most=1)

        if self.model == "scene":
            if self.darken or self.crop or self.scale != 1:
                raise UsageError("--darken, --crop and --scale do not go with --model scene")
            if self.image_size % SceneConfig.thumbnail:
                raise UsageError(
                    f"--image-size must be a multiple of {SceneConfig.thumbnail} for --model scene,"
                    f" not {self.image_size}"
                )

    @classmethod
    def recipe(cls, model: Model) -> Self:
        """Return the recipe of an architecture: that of Zero-DCE-improved, or of scene networks."""
        if model != "scene":
            return cls(model=model)
        return cls(
            model="scene",
            steps=4000,
            batch_size=12,
            flip=True,
            cache=True,
            lr=2e-3,
            schedule="cosine",
            warmup_steps=100,
            weight_decay=0.0,
            grad_clip=1.0,
            ema=0.998,
        )

    @property
    def network(self) -> AnyNetworkConfig:
        """Architecture to train."""
        if self.model == "scene":
            return SceneConfig()
        return dataclasses.replace(preset(self.model), scale=self.scale)
