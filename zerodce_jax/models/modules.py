"""The flax.nnx module of any architecture: its structure, and its initial parameters."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from zerodce_jax.config import AnyNetworkConfig, SceneConfig
from zerodce_jax.models.dcenet import DCENet
from zerodce_jax.models.scenenet import SceneNet


def graphdef(
    config: AnyNetworkConfig, *, dtype: DTypeLike = jnp.float32, inference: bool = False
) -> nnx.GraphDef[DCENet | SceneNet]:
    """Return the structure of a network, to merge with parameters (`nnx.merge`) inside jit.

    Args:
        config: The architecture.
        dtype: Data type of the convolutions, float32 or bfloat16.
        inference: Whether a `DCENet` convolves in the form that is fastest without gradients.
    """

    def build() -> DCENet | SceneNet:
        if isinstance(config, SceneConfig):
            return SceneNet(config, dtype=dtype, rngs=None)
        return DCENet(config, dtype=dtype, inference=inference, rngs=nnx.Rngs(0))

    return nnx.graphdef(nnx.eval_shape(build))


def init_params(config: AnyNetworkConfig, *, seed: int) -> dict:
    """Return initial parameters, a nested dict of float32 arrays that the seed determines."""

    def draw() -> dict:
        make = SceneNet if isinstance(config, SceneConfig) else DCENet
        model = make(config, rngs=nnx.Rngs(seed))  # pyright: ignore[reportArgumentType]
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))

    # Without jit, JAX would compile a program for every shape.
    return jax.jit(draw)()
