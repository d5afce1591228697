"""The training step: it turns a state and a batch into the next state and the losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from zerodce_jax.config import AnyNetworkConfig, SceneConfig, TrainConfig
from zerodce_jax.errors import UsageError
from zerodce_jax.models.modules import graphdef
from zerodce_jax.models.scenenet import SceneNet
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.pixels import to_float
from zerodce_jax.training import hosts
from zerodce_jax.training.darkening import darken, restoration_losses
from zerodce_jax.training.losses import Loss, LossFunction, weighted_losses
from zerodce_jax.training.scenes import degrade, scene_losses, vary_colors

State = dict[str, Any]
"""``params``, ``optimizer``, ``step`` (int32) and, if the config asks for an average, ``ema``."""
Metrics = dict[str, Loss]


def learning_rate(config: TrainConfig, steps: int) -> optax.Schedule:
    """Return the learning rate by step: a linear warm-up, then constant or a cosine decay to 0."""
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.lr, max(1, steps - config.warmup_steps))
    else:
        main = optax.constant_schedule(config.lr)
    warmup = optax.linear_schedule(0.0, config.lr, max(1, config.warmup_steps))
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Return the optimizer: clip by the global norm, add the L2 penalty to the gradient, Adam."""
    return optax.chain(
        optax.clip_by_global_norm(config.grad_clip),
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(learning_rate(config, steps)),
    )


def init_state(params: dict, config: TrainConfig, steps: int) -> State:
    """Return the state before the first step, replicated on all devices."""
    params = jax.tree.map(jnp.asarray, params)
    opt_state = optimizer(config, steps).init(params)
    state = {"params": params, "optimizer": opt_state, "step": jnp.int32(0)}
    if config.ema:
        state["ema"] = jax.tree.map(jnp.copy, params)
    return hosts.replicate(state)


def eval_params(state: State) -> dict:
    """Return the parameters to evaluate: their moving average if the run keeps one."""
    return state.get("ema", state["params"])


def make_losses(
    network: AnyNetworkConfig, config: TrainConfig, losses: LossFunction = weighted_losses
) -> Callable[..., tuple[Loss, Metrics]]:
    """Make the function from parameters and pixels to losses.

    Returns:
        A pure function of parameters, pixels (uint8, or float32 in [0, 1]) and, optionally, the
        step, from which random numbers are drawn, and the `normal_numbers` of that step. It
        returns the sum of the losses, and a dict of the losses and their sum, ``total``. The losses
        are those of `losses`; `restoration_losses` if the config darkens photographs; or
        `scene_losses`.

    Raises:
        UsageError: The photographs are restored but `losses` is not the default, or the network
            is not of the kind that the config trains. The returned function raises it if a loss is
            not a scalar or has a reserved name.
    """
    is_scene = isinstance(network, SceneConfig)
    if is_scene != (config.model == "scene"):
        raise UsageError("--model scene trains scene networks, and no other model does")
    if (config.darken or is_scene) and losses is not weighted_losses:
        raise UsageError("training that restores photographs has its own losses, not others")
    structure = graphdef(network, dtype=jnp.dtype(config.dtype))

    def compute_losses(
        params: dict,
        pixels: Shaped[Array, "b h w 3"],
        step: Int[Array, ""] | int = 0,
        normal: Float[Array, "b h w 3"] | None = None,
    ) -> tuple[Loss, Metrics]:
        images = to_float(pixels)
        model = nnx.merge(structure, params)
        key = jax.random.fold_in(jax.random.key(config.seed), step)
        if isinstance(model, SceneNet):
            if normal is None:
                normal = normal_numbers(config, step, images.shape)
            images = vary_colors(images, jax.random.fold_in(key, 1))
            terms = scene_losses(model, *degrade(images, key, normal))
        elif config.darken:
            inputs = darken(images, key)
            terms = restoration_losses(images, inputs, model(inputs), config, network.iterations)
        else:
            maps = model(images)
            enhanced = apply_curves(images, maps, iterations=network.iterations)
            terms = losses(images, enhanced, maps, config)
        for name, value in terms.items():
            if name in {"total", "grad_norm", "lr"}:
                raise UsageError(f"losses: the name {name!r} is reserved")
            if jnp.shape(value) != ():
                raise UsageError(f"losses: {name!r} has shape {jnp.shape(value)}, not a scalar's")
        total = sum(terms.values(), jnp.zeros(()))
        return total, terms | {"total": total}

    return compute_losses


def normal_numbers(
    config: TrainConfig, step: Int[Array, ""] | int, shape: tuple[int, ...]
) -> Float[Array, "b h w 3"]:
    """Draw the numbers of a step's noise, with a standard normal distribution."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    return jax.random.normal(jax.random.fold_in(key, 0), shape)


def make_step(
    losses: Callable[..., tuple[Loss, Metrics]], config: TrainConfig, steps: int
) -> Callable[[State, Shaped[Array, "b h w 3"]], tuple[State, Metrics]]:
    """Make the training step of a run of `steps` steps, from the function of `make_losses`.

    Returns:
        A jitted function of the state, which it consumes, and a batch of pixels from
        `hosts.shard_batch`. It returns the next state, and the losses of this step with
        ``grad_norm`` (before clipping) and ``lr``.
    """
    schedule = learning_rate(config, steps)
    update = optimizer(config, steps).update

    def step(state: State, pixels: Array, normal: Array | None) -> tuple[State, Metrics]:
        params, done = state["params"], state["step"]
        grads, metrics = jax.grad(losses, has_aux=True)(params, pixels, done + 1, normal)
        updates, opt_state = update(grads, state["optimizer"], params)
        params = optax.apply_updates(params, updates)
        new = {"params": params, "optimizer": opt_state, "step": done + 1}
        if config.ema:
            # A smaller decay in the first steps keeps the initial weights from lingering.
            decay = jnp.minimum(config.ema, (1 + done) / (10 + done))
            new["ema"] = optax.incremental_update(params, state["ema"], 1 - decay)
        return new, metrics | {"grad_norm": optax.tree.norm(grads), "lr": schedule(done)}

    jitted = jax.jit(step, donate_argnums=0, out_shardings=hosts.sharding())
    if config.model != "scene":
        return lambda state, pixels: jitted(state, pixels, None)
    # A program of its own: in the program of the step, XLA's CPU backend would draw the numbers
    # again in each loop that uses them, which takes a third of the step.
    draw = jax.jit(
        lambda done, shape: normal_numbers(config, done + 1, shape),
        static_argnums=1,
        out_shardings=hosts.sharding("data"),
    )
    return lambda state, pixels: jitted(state, pixels, draw(state["step"], pixels.shape))
