"""The function of whole images that exported files hold, in JAX."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from zerodce_jax.config import EnhanceSettings, SceneConfig
from zerodce_jax.models.modules import graphdef
from zerodce_jax.models.network import Network
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.denoise import MIN_AUTO_STRENGTH
from zerodce_jax.ops.enhancement import Adjustments, enhance
from zerodce_jax.ops.highlights import light_presence
from zerodce_jax.ops.pixels import from_float, rounding_step

Function = Callable[..., Any]
"""Takes the arrays of `input_names`, and returns the enhanced images."""


def input_names(network: Network) -> list[str]:
    """Return the names of the function's inputs, in their order."""
    return ["image", "strength", *["protection"] * takes_protection(network), "gamma"]


def takes_protection(network: Network) -> bool:
    """Return whether highlight protection is an input; scene networks find it themselves."""
    is_scene = isinstance(network.config, SceneConfig)
    return network.settings.steps.protect_highlights and not is_scene


def adjustments(
    settings: EnhanceSettings, strength: Any, protection: Any = 0.0, brightest: Any = None
) -> Adjustments:
    """Return the adjustments of exported files: two are inputs, the others fixed by the settings.

    The denoising strength ``auto`` is `MIN_AUTO_STRENGTH`, and images are taken to have 8 bits. For
    scene networks, the brightest value of each thumbnail decides the highlight protection.
    """
    denoise = MIN_AUTO_STRENGTH if settings.denoise == "auto" else float(settings.denoise)
    black = protection
    if brightest is not None:
        black = light_presence(brightest)
        protection = float(settings.protect_highlights) * black
    return Adjustments(None, strength, protection, denoise, rounding_step("uint8"), black)


def jax_function(network: Network) -> Function:
    """Return the function that is exported, not jitted.

    The settings of the network decide whether there is an input for highlight protection, and how
    strongly to denoise.

    Returns:
        A function of image (batch, height, width, 3) in [0, 1], strength (batch,), protection
        (batch,) if there is one, and gamma (), to enhanced images of the same shape, in [0, 1].
    """
    config, steps = network.config, network.settings.steps
    model = nnx.merge(graphdef(config), network.params)

    def function(
        image: Float[Array, "b h w 3"], strength: Float[Array, " b"], *others: Array
    ) -> Float[Array, "b h w 3"]:
        *protection, gamma = others
        if isinstance(model, SceneNet):
            thumbnails = model.thumbnails(image)
            maps = model.forward(thumbnails)
            brightest = thumbnails.max((1, 2, 3))
            decided = adjustments(network.settings, strength, brightest=brightest)
        else:
            maps = model.estimate(image)
            decided = adjustments(network.settings, strength, *protection)
        enhanced = enhance(
            image,
            maps,
            decided,
            gamma,
            steps=steps,
            iterations=config.iterations,
            levels=config.levels,
            upsample=lambda maps: model.upsample(maps, image),
        )
        return from_float(enhanced, image.dtype)

    return function
