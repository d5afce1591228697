"""The same work in JAX and in PyTorch, at several precisions, and its time."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytorch
import pytorch_scene
import torch
from flax import nnx
from inference import GAMMA, cores, timed
from torch import nn

from zerodce_jax.config import SceneConfig, TrainConfig
from zerodce_jax.models import dcenet, scenenet
from zerodce_jax.models.modules import graphdef
from zerodce_jax.models.network import Network
from zerodce_jax.models.pytorch_layout import to_torch
from zerodce_jax.ops.curves import apply_curves
from zerodce_jax.ops.enhancement import apply_gamma
from zerodce_jax.ops.pixels import from_float, to_float
from zerodce_jax.training.step import init_state, make_losses, make_step

Array = Any  # Of NumPy, JAX or PyTorch.
Precision = Literal["float32", "TF32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "TF32", "bfloat16")
XLA_PRECISIONS = {"TF32": jax.lax.Precision.HIGH}  # Other precisions have that of the project.


def forward(
    network: Network, precision: Precision, params: dict, images: Array
) -> tuple[Array, Array]:
    """Return enhanced images and curve maps; to be jitted, once for each precision."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    constant = XLA_PRECISIONS.get(precision, dcenet.PRECISION)
    with (
        mock.patch.object(dcenet, "PRECISION", constant),
        mock.patch.object(scenenet, "PRECISION", constant),
    ):
        model = nnx.merge(graphdef(network.config, dtype=dtype, inference=True), params)
        maps = model(images)
    return apply_curves(images, maps, iterations=network.config.iterations), maps


def enhance(network: Network, precision: Precision, params: dict, pixels: Array) -> Array:
    """Return enhanced uint8 images (batch, height, width, 3), with curves and gamma."""
    enhanced, _ = forward(network, precision, params, to_float(pixels))
    return from_float(apply_gamma(enhanced, GAMMA), pixels.dtype)


def jax_inference(
    network: Network, precision: Precision, pixels: np.ndarray
) -> Callable[[], Array]:
    """Return a function that enhances images on the device and waits for it."""
    run = jax.jit(partial(enhance, network, precision))
    arguments = jax.device_put((network.params, pixels))
    return lambda: jax.block_until_ready(run(*arguments))


class JaxTraining:
    """The training step, and its state."""

    def __init__(self, config: TrainConfig, params: dict, steps: int = 1000) -> None:
        self._step = make_step(make_losses(config.network, config), config, steps)
        self._state = init_state(params, config, steps)

    def __call__(self, pixels: jax.Array) -> float:
        """Train on pixels from `shard_batch`; return the total loss."""
        self._state, terms = self._step(self._state, pixels)
        return float(terms["total"])

    @property
    def params(self) -> dict:
        """The parameters after the steps so far."""
        return self._state["params"]


def torch_device() -> str:
    """Return PyTorch's name of the device that JAX uses."""
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return "cuda" if on_gpu else "cpu"


def torch_network(network: Network) -> nn.Module:
    """Return a network in PyTorch, on the device."""
    is_scene = isinstance(network.config, SceneConfig)
    module = pytorch_scene.SceneNet(network) if is_scene else pytorch.load(to_torch(network))
    return module.to(torch_device())


def torch_training(network: Network, config: TrainConfig, *, compiled: bool) -> pytorch.TrainStep:
    """Return the training step in PyTorch, from the parameters of a network."""
    module = torch_network(network)
    if isinstance(module, pytorch_scene.SceneNet):
        losses: nn.Module = pytorch_scene.SceneLosses(module)
    else:
        losses = pytorch.ZeroReferenceLosses(module, config)
    torch.compiler.reset()
    return pytorch.TrainStep(losses.to(torch_device()), config, compiled=compiled)


def compiled(run: Callable[[], Array]) -> Callable[[], Array]:
    """Return a function compiled by PyTorch, which then forgets those that it compiled before."""
    torch.compiler.reset()
    return torch.compile(lambda: run(), dynamic=False, options=pytorch.COMPILER)


def at_precision(run: Callable[[], Array], precision: Precision) -> Callable[[], Array]:
    """Return a function of PyTorch that computes at a precision and waits for the device."""

    def run_and_wait() -> Array:
        half = precision == "bfloat16"
        with torch.no_grad(), torch.autocast(torch_device(), torch.bfloat16, enabled=half):
            result = run()
        if torch_device() == "cuda":
            torch.cuda.synchronize()
        return result

    return run_and_wait


@contextmanager
def set_torch_tf32(allowed: bool) -> Iterator[None]:
    """Let PyTorch round float32 to TF32 or not; by default, it does so in convolutions alone."""
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Return images (batch, height, width, 3) as a tensor (batch, 3, height, width)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def product_speed(side: int, precision: Precision, seconds: float) -> float:
    """Return the operations per second of the product of two square matrices."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    constant = XLA_PRECISIONS.get(precision, dcenet.PRECISION)
    product = jax.jit(partial(jnp.matmul, precision=constant))
    return 2 * side**3 / jax_seconds(lambda: product(matrix, matrix), seconds)


def jax_seconds(run: Callable[[], Array], seconds: float) -> float:
    """Return the median seconds until a result of JAX is there."""
    return median_seconds({"run": lambda: jax.block_until_ready(run())}, seconds)["run"]


def median_seconds(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median seconds of each function, which run in turns after two warm-ups each.

    Args:
        runs: Functions that return once the device has finished.
        seconds: Time for each; there are three turns at least.
    """
    for run in runs.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, run in runs.items():
            times[name].append(timed(run))
    return {name: statistics.median(values) for name, values in times.items()}


def difference(ours: Array, theirs: Array) -> float:
    """Return the largest difference of two arrays of any framework."""
    theirs = theirs.detach().cpu().numpy() if isinstance(theirs, torch.Tensor) else theirs
    return float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max())


def print_devices() -> None:
    """Print which devices the two frameworks use."""
    device = jax.devices()[0]
    other = torch.cuda.get_device_name() if torch_device() == "cuda" else "the CPU"
    print(f"JAX {jax.__version__} on {device.device_kind} ({device.platform}),", end=" ")
    print(f"PyTorch {torch.__version__} on {other}; {cores()} cores.")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as Markdown."""
    print(f"\n### {title}\n")
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |", flush=True)
