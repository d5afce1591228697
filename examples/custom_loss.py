"""Train a network of your own design with a loss of your own.

    python examples/custom_loss.py PHOTOGRAPHS RUN

A loss function takes the images, the enhanced images (both (batch, height, width, 3), in [0, 1]),
the curve maps, and the settings of the run. It returns named scalars; training minimizes their sum.
This one adds a term to the losses of Zero-DCE. The log, TensorBoard and the validation show every
term by its name. Calling it again with the same folder continues the run, but only with a loss
function of the same name.
"""

import sys
from pathlib import Path

import jax.numpy as jnp
from jax import Array

from zerodce_jax.config import NetworkConfig, TrainConfig
from zerodce_jax.training import fit
from zerodce_jax.training.losses import weighted_losses


def losses_with_saturation(
    images: Array, enhanced: Array, maps: Array, config: TrainConfig
) -> dict[str, Array]:
    """Return the losses of Zero-DCE, and a penalty on colors that lose saturation."""
    before, after = (x.max(-1) - x.min(-1) for x in (images, enhanced))
    loss = jnp.square(jnp.maximum(before - after, 0)).mean()
    return weighted_losses(images, enhanced, maps, config) | {"saturation": 5.0 * loss}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} PHOTOGRAPHS RUN")
    photographs, run = map(Path, sys.argv[1:])
    fit(
        TrainConfig(steps=100, image_size=64),
        data=photographs,
        workdir=run,
        network=NetworkConfig(features=8, iterations=4),
        losses=losses_with_saturation,
    )
