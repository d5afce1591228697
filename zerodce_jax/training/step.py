"""The training step: state in, batch in, next state and losses out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from zerodce_jax.config import NetworkConfig, TrainConfig
from zerodce_jax.models.dcenet import graphdef
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.pixels import to_float
from zerodce_jax.training import darkening, hosts
from zerodce_jax.training.losses import Images, weighted_losses

State = dict[str, Any]
"""``params``, ``optimizer``, ``step`` (int32) and, where one is kept, ``ema``."""
Terms = dict[str, Float[Array, ""]]


def learning_rate(config: TrainConfig, steps: int) -> optax.Schedule:
    """The learning rate by step: a linear warm-up, then constant or a cosine down to 0."""
    if config.schedule == "cosine":
        rest = optax.cosine_decay_schedule(config.lr, max(1, steps - config.warmup_steps))
    else:
        rest = optax.constant_schedule(config.lr)
    rise = optax.linear_schedule(0.0, config.lr, max(1, config.warmup_steps))
    return optax.join_schedules([rise, rest], [config.warmup_steps])


def optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Clip by the global norm, add the L2 penalty to the gradient, then Adam."""
    return optax.chain(
        optax.clip_by_global_norm(config.grad_clip),
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(learning_rate(config, steps)),
    )


def init_state(params: dict, config: TrainConfig, steps: int) -> State:
    """The state before the first step, the same on all devices."""
    params = jax.tree.map(jnp.asarray, params)
    state = {
        "params": params,
        "optimizer": optimizer(config, steps).init(params),
        "step": jnp.int32(0),
    }
    if config.ema:
        state["ema"] = jax.tree.map(jnp.copy, params)
    return hosts.everywhere(state)


def result(state: State) -> dict:
    """The parameters that a run is after: their moving average where one is kept."""
    return state.get("ema", state["params"])


def make_losses(network: NetworkConfig, config: TrainConfig) -> Callable[..., Terms]:
    """Make the function of parameters and pixels that gives the weighted losses.

    Returns:
        A pure function of parameters, pixels (uint8 or floats in [0, 1]) and, where photographs
        are darkened, the step, which decides how; its result is that of `weighted_losses`, or of
        `darkening.losses`.
    """
    structure = graphdef(network, dtype=jnp.dtype(config.dtype))

    def losses(
        params: dict, pixels: Shaped[Array, "b h w 3"], step: Int[Array, ""] | int = 0
    ) -> Terms:
        images = to_float(pixels)
        model = nnx.merge(structure, params)

        def curves(images: Images) -> tuple[Array, Array]:
            estimated = model.estimate(images)
            maps = model.upsample(estimated, images)
            # A grid is to be smooth from block to block, but free to follow brightness.
            return maps, estimated if network.levels > 1 else maps

        if config.darken:
            key = jax.random.fold_in(jax.random.key(config.seed), step)
            return darkening.losses(curves, images, key, config, iterations=network.iterations)
        maps, to_smooth = curves(images)
        enhanced = apply_curves(images, maps, iterations=network.iterations)
        return weighted_losses(images, enhanced, to_smooth, config)

    return losses


def make_step(
    network: NetworkConfig, config: TrainConfig, steps: int
) -> Callable[[State, Shaped[Array, "b h w 3"]], tuple[State, Terms]]:
    """Make the training step.

    Args:
        network: The architecture.
        config: The recipe.
        steps: Length of the run, for the schedule.

    Returns:
        A jitted function of the state, which it uses up, and a batch of pixels (as
        `hosts.shared` lays them over the devices), to the next state and the losses of this one,
        with ``grad_norm`` (before clipping) and ``lr``.
    """
    losses = make_losses(network, config)
    schedule = learning_rate(config, steps)
    update = optimizer(config, steps).update

    def total_and_terms(params: dict, pixels: Array, step: Array) -> tuple[Array, Terms]:
        terms = losses(params, pixels, step)
        return terms["total"], terms

    def step(state: State, pixels: Array) -> tuple[State, Terms]:
        grads, terms = jax.grad(total_and_terms, has_aux=True)(
            state["params"], pixels, state["step"] + 1
        )
        updates, opt_state = update(grads, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        new = {"params": params, "optimizer": opt_state, "step": state["step"] + 1}
        if config.ema:
            # Young averages forget faster, so that the initial weights do not linger.
            decay = jnp.minimum(config.ema, (1 + state["step"]) / (10 + state["step"]))
            new["ema"] = optax.incremental_update(params, state["ema"], 1 - decay)
        return new, terms | {"grad_norm": optax.tree.norm(grads), "lr": schedule(state["step"])}

    return jax.jit(step, donate_argnums=0, out_shardings=jax.NamedSharding(hosts.mesh(), jax.P()))
