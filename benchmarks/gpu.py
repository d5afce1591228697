"""Check the networks on a GPU, and time them beside PyTorch on the same card.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --size 256 --batches 1 4 --train-batches 4 --seconds 0.2

The second line suits a CPU, where everything runs if there is no GPU. One run prints, as Markdown:
goldens and exactness; float32, TF32 and bfloat16; inference and training beside PyTorch; the way
from arrays to arrays, with all transfers; and the roofline.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytorch
import pytorch_scene
import torch
import train_step
import tyro
from contenders import (
    PRECISIONS,
    JaxTraining,
    Precision,
    at_precision,
    channels_first,
    compiled,
    difference,
    enhance,
    forward,
    jax_inference,
    jax_seconds,
    median_seconds,
    print_devices,
    print_table,
    product_speed,
    set_torch_tf32,
    torch_device,
    torch_network,
)
from inference import GAMMA, cores, dark_image, timed

from zerodce_jax import Enhancer
from zerodce_jax.config import EnhanceSettings, TrainConfig
from zerodce_jax.engines.batches import Batches, Job
from zerodce_jax.engines.xla import XlaEngine
from zerodce_jax.models import serialization
from zerodce_jax.models.network import Network, flatten
from zerodce_jax.training.hosts import shard_batch
from zerodce_jax.training.step import make_losses

GOLDENS = Path(__file__).parent.parent / "tests" / "goldens"
TRAIN_SIZE = 256


def main(
    *,
    size: int = 1024,
    batches: tuple[int, ...] = (1, 4, 16),
    train_batches: tuple[int, ...] = (16, 128),
    seconds: float = 2.0,
    trace: Path | None = None,
) -> None:
    """Print all tables.

    Args:
        size: Side of the images to enhance, in pixels; a multiple of 128.
        batches: Numbers of images, or of tiles, that are enhanced together, rising.
        train_batches: Numbers of images of 256x256 pixels in a training step, rising.
        seconds: Time for each measurement.
        trace: Folder for a trace of the way from arrays to arrays, by `jax.profiler`.
    """
    # Both frameworks use one card, and JAX leaves memory to PyTorch.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    torch.set_num_threads(cores())
    networks = {name: serialization.load_network(name) for name in ("reduced", "scene")}
    print_devices()
    check_goldens(networks["scene"])
    check_exactness(networks, size)
    compare_inference(networks, size, batches, seconds)
    train_step.compare_steps(train_batches, TRAIN_SIZE, seconds)
    time_arrays(networks, size, batches, seconds, trace)
    print_roofline(networks, size, batches[-1], train_batches[-1], seconds)


def check_goldens(scene: Network) -> None:
    """Print the largest differences from PyTorch's results, at each precision."""
    rows = []
    for name in ("reduced", "original", "plusplus"):
        network = serialization.load_network(GOLDENS / f"{name}_random.pth")
        golden = np.load(GOLDENS / f"{name}_forward.npz")
        cases = [key.removesuffix("_input") for key in golden if key.endswith("_input")]
        row = [f"{name}, {', '.join(cases)}"]
        for precision in PRECISIONS:
            worst = 0.0
            for case in cases:
                config = replace(network.config, scale=12 if case == "scale12" else 1)
                run = jax.jit(partial(forward, replace(network, config=config), precision))
                results = run(network.params, golden[f"{case}_input"])
                expected = golden[f"{case}_enhanced"], golden[f"{case}_curves"]
                worst = max(worst, *map(difference, results, expected))
            row.append(f"{worst:.1e}")
        rows.append(row)
    image = dark_image(256, 256)[None] / np.float32(255)
    exact, _ = pytorch_scene.SceneNet(scene).double()(channels_first(image).double())
    row = ["scene, by the float64 network of pytorch_scene.py"]
    for precision in PRECISIONS:
        enhanced, _ = jax.jit(partial(forward, scene, precision))(scene.params, image)
        row.append(f"{difference(enhanced, exact.permute(0, 2, 3, 1)):.1e}")
    print_table("Goldens", ["largest difference", *PRECISIONS], [*rows, row])

    golden = np.load(GOLDENS / "train_5_steps.npz")
    start = serialization.load_network(GOLDENS / "train_start.pth")
    run = JaxTraining(TrainConfig(), start.params, steps=5)
    totals = np.array([run(shard_batch(batch)) for batch in golden["batches"]])
    expected = golden["loss_total_spatial_color5_exposure10_smoothness300_gradnorm"][:, 0]
    after = flatten(serialization.load_network(GOLDENS / "train_after_5_steps.pth").params)
    worst = max(difference(x, after[name]) for name, x in flatten(run.params).items())
    print(
        f"\nFive training steps: losses within {np.abs(totals / expected - 1).max():.1e}", end=" "
    )
    print(f"of their value, parameters within {worst:.1e}.")


def check_exactness(networks: dict[str, Network], size: int) -> None:
    """Print how results depend on tiles, batches and engines, with the networks' own settings."""
    pixels = dark_image(size, size - 30)
    floats = pixels / np.float32(255)
    rows = []
    for name, network in networks.items():
        tiles = Enhancer(network, engine="xla", tile=128, batch=1)
        others = {
            "the whole image in one tile": Enhancer(network, engine="xla", tile=size, batch=1),
            "tiles of 128 in batches of 8": Enhancer(network, engine="xla", tile=128, batch=8),
            "engine onnx on the CPU": Enhancer(network, engine="onnx"),
        }
        ours = tiles(floats), tiles(pixels)
        for label, other in others.items():
            levels = np.abs(other(pixels).astype(int) - ours[1])
            share = f"{levels.max()} in {(levels > 0).mean():.4%} of the values"
            rows.append([name, label, f"{difference(other(floats), ours[0]):.1e}", share])
    header = ["network", "tiles of 128, one by one, and", "floats", "levels of 255"]
    print_table("Exactness", header, rows)


def compare_inference(
    networks: dict[str, Network], size: int, batches: Sequence[int], seconds: float
) -> None:
    """Print megapixels per second of networks, curves and gamma, on images that the device has."""
    cases: list[tuple[int, Precision]] = [(batch, "float32") for batch in batches]
    cases += [(batches[-1], precision) for precision in PRECISIONS[1:]]
    rows = []
    for name, network in networks.items():
        module = torch_network(network)
        exact = None
        for batch, precision in cases:
            pixels = np.stack([dark_image(size, size)] * batch)
            tensor = torch.from_numpy(pixels).to(torch_device())
            theirs = partial(pytorch.enhance_batch, module, tensor, gamma=GAMMA)
            runs = {
                "zerodce_jax": jax_inference(network, precision, pixels),
                "eager": at_precision(theirs, precision),
                "compiled": at_precision(compiled(theirs), precision),
            }
            with set_torch_tf32(precision == "TF32"):
                medians = median_seconds(runs, seconds)
                result, other = runs["zerodce_jax"](), runs["eager"]()
            if precision == "float32":
                exact = result
            speeds = [f"{batch * size**2 / 1e6 / medians[key]:.2f}" for key in runs]
            distances = [f"{difference(result, array):.0f}" for array in (exact, other)]
            rows.append([name, precision, str(batch), *speeds, *distances])
    header = ["network", "precision", "images", "zerodce_jax", "PyTorch eager", "`torch.compile`"]
    header += ["levels from float32", "levels from PyTorch"]
    print_table(f"Inference: megapixels/s, {size}x{size}, on the device", header, rows)


def time_arrays(
    networks: dict[str, Network],
    size: int,
    batches: Sequence[int],
    seconds: float,
    trace: Path | None,
) -> None:
    """Print megapixels per second from NumPy to NumPy, as `Enhancer` and PyTorch compute it."""
    rows = []
    for name, network in networks.items():
        image = dark_image(size, size)
        plain = EnhanceSettings(gamma=GAMMA)
        theirs = partial(pytorch.enhance, torch_network(network), gamma=GAMMA, layout="first")
        for batch in batches:
            engine = XlaEngine(network, batch=batch)
            # Enough for several batches in a row.
            images = [image] * -(-4 * engine.batch * engine.tile**2 // size**2)
            whole = partial(enhance_arrays, engine, network, images)
            runs = {
                "one": partial(whole, network.settings, 1),
                "all": partial(whole, network.settings, engine.workers),
                "plain": partial(whole, plain, engine.workers),
                "PyTorch": lambda run=theirs, images=images: [run(image) for image in images],
            }
            medians = median_seconds(runs, seconds)
            speeds = [f"{len(images) * size**2 / 1e6 / medians[key]:.2f}" for key in runs]
            rows.append([name, f"{engine.batch} of {engine.tile}x{engine.tile}", *speeds])
            if name == "scene" and batch == batches[-1] and trace is not None:
                with jax.profiler.trace(trace):
                    runs["all"]()
    header = ["network", "tiles", "own settings, 1 worker", "own settings, all workers"]
    header += ["curves and gamma, all workers", "curves and gamma, PyTorch eager"]
    print_table(f"From arrays to arrays: megapixels/s, {size}x{size}", header, rows)


def print_roofline(
    networks: dict[str, Network], size: int, batch: int, train_batch: int, seconds: float
) -> None:
    """Print what the device can do, and how near to it the programs come."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    speeds = {precision: product_speed(side, precision, seconds) for precision in PRECISIONS}
    numbers = np.random.default_rng(0).random(4 * side**2, dtype=np.float32)
    on_device = jax.device_put(numbers)
    copy = jax.jit(lambda x: x + 1)
    bandwidth = 2 * numbers.nbytes / jax_seconds(lambda: copy(on_device), seconds)
    here, there = numbers, jax.sharding.SingleDeviceSharding(jax.devices()[0])
    pinned = jax.block_until_ready(jax.device_put(here, there.with_memory_kind("pinned_host")))
    times = {
        "sent from NumPy": jax_seconds(lambda: jax.device_put(here, there), seconds),
        "sent from page-locked memory": jax_seconds(lambda: jax.device_put(pinned, there), seconds),
        # An array keeps what it fetched, so each turn fetches a new one.
        "fetched": min(
            timed(partial(np.asarray, copy(on_device).block_until_ready())) for _ in "123"
        ),
    }
    rows = [[f"products, {name}", f"{speed / 1e9:,.0f} GFLOP/s"] for name, speed in speeds.items()]
    rows.append(["memory, read and written", f"{bandwidth / 1e9:,.1f} GB/s"])
    rows += [[name, f"{numbers.nbytes / 1e9 / time:,.1f} GB/s"] for name, time in times.items()]
    print_table("The device", ["measured", "speed"], rows)

    rows = []
    for name, function, arguments in programs(networks, size, batch, train_batch):
        # Only a CPU counts the operations before optimization; the device counts the bytes after.
        with jax.default_device(jax.devices("cpu")[0]):
            operations = jax.jit(function).lower(*arguments).cost_analysis()["flops"]
        arguments = jax.device_put(arguments)
        program = jax.jit(function).lower(*arguments).compile()
        moved = program.cost_analysis()["bytes accessed"]
        measured = jax_seconds(partial(program, *arguments), seconds)
        bounds = {"operations": operations / speeds["float32"], "memory": moved / bandwidth}
        limit = max(bounds, key=bounds.__getitem__)
        row = [name, f"{operations / 1e9:.2f}", f"{moved / 1e9:.3f}", f"{operations / moved:.1f}"]
        row += [f"{bounds[limit] * 1e3:.2f}, {limit}", f"{measured * 1e3:.2f}"]
        rows.append([*row, f"{bounds[limit] / measured:.0%}"])
    header = ["float32 program", "GFLOP", "GB moved", "FLOP/byte", "least ms, limited by", "ms"]
    print_table("Roofline", [*header, "share of the roofline"], rows)


def programs(
    networks: dict[str, Network], size: int, batch: int, train_batch: int
) -> Iterator[tuple[str, Callable[..., Any], tuple]]:
    """Yield the inference and the gradient of each network, with arguments of NumPy."""
    for name, network in networks.items():
        pixels = np.stack([dark_image(size, size)] * batch)
        yield f"{name}, inference", partial(enhance, network, "float32"), (network.params, pixels)
        config = TrainConfig.recipe(name)
        gradient = jax.grad(make_losses(config.network, config), has_aux=True)
        pixels = np.stack([dark_image(TRAIN_SIZE, TRAIN_SIZE)] * train_batch)
        normal = np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
        step = np.int32(1)
        yield (
            f"{name}, losses and gradient",
            gradient,
            (train_step.numpy_params(config), pixels, step, normal),
        )


def enhance_arrays(
    engine: XlaEngine,
    network: Network,
    images: Sequence[np.ndarray],
    settings: EnhanceSettings,
    workers: int,
) -> None:
    """Enhance images as `Enhancer` does, with a number of workers."""
    with ThreadPoolExecutor(workers) as pool:
        batches = Batches(engine, network.config, settings, pool)
        for image in images:
            batches.add(Job(image))
        batches.finish()


if __name__ == "__main__":
    tyro.cli(main)
