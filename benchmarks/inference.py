"""Measure megapixels per second of enhancement, also in other frameworks.

    python benchmarks/inference.py --json-file inference.json

PyTorch (eager), ONNX Runtime and OpenVINO run networks of the same architectures on whole images.
Every contender maps a uint8 array to a uint8 array, in a process of its own, on the same cores. The
contenders run in turns, so that a slow minute of the machine affects all of them.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tyro

SIZES = ((640, 480), (1200, 900))
LARGEST = (4000, 3000)
GAMMA = 1.15
Run = Callable[[np.ndarray], np.ndarray]


def ours(network: str, engine: str, *, default: bool = False, native: bool = True) -> Run:
    """Return this project's enhancer, from array to array.

    Args:
        network: The network.
        engine: The engine.
        default: Whether to use the network's own settings; otherwise only curves and gamma, like
            the other contenders.
        native: Whether to use zerodce-native where it can.
    """
    from zerodce_jax import Enhancer, EnhanceSettings
    from zerodce_jax.engines import fused

    if not native:
        fused.is_usable = lambda config: False
    enhancer = Enhancer.load(network, engine=engine)
    settings = enhancer.network.settings if default else EnhanceSettings(gamma=GAMMA)
    return lambda image: enhancer(image, settings)


def eager(network: str, layout: str) -> Run:
    """Return PyTorch on the whole image."""
    import pytorch
    import torch

    from zerodce_jax.models import pytorch_layout, serialization

    torch.set_num_threads(cores())
    if network == "reduced":
        module = pytorch.load(pytorch_layout.to_torch(serialization.load_network("reduced")))
    else:
        module = pytorch.PlusPlusDCENet()
    if layout == "last":
        module = module.to(memory_format=torch.channels_last)
    return lambda image: pytorch.enhance(module, image, gamma=GAMMA, layout=layout)


def whole_image_model() -> bytes:
    """Return the network ``reduced`` with curves, gamma and rounding as one ONNX model."""
    from zerodce_jax.engines import onnx_graph
    from zerodce_jax.models import serialization

    return onnx_graph.enhance(serialization.load_network("reduced"), "uint8").SerializeToString()


def inputs(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of the model: the image, no crop, gamma, strength 1, and color."""
    height, width = image.shape[:2]
    return {
        "pixels": image,
        "crop": np.array([0, 0, height, width], np.int64),
        "gamma": np.array(GAMMA, np.float32),
        "strength": np.array(1, np.float32),
        "gray": np.array(False),
        "highlight_protection": np.array(0, np.float32),
        "denoise": np.array(0, np.float32),
        "rounding": np.array(1 / 255, np.float32),
        "black": np.array(0, np.float32),
    }


def onnx_runtime() -> Run:
    """Return ONNX Runtime on the whole image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(
        whole_image_model(), options, providers=["CPUExecutionProvider"]
    )
    return lambda image: session.run(None, inputs(image))[0]


def openvino() -> Run:
    """Return OpenVINO on the whole image."""
    # Without this package OpenVINO does not report its use; it reads no variable.
    sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    import openvino

    core = openvino.Core()
    model = core.compile_model(
        core.read_model(whole_image_model()),
        "CPU",
        {"INFERENCE_NUM_THREADS": cores(), "PERFORMANCE_HINT": "LATENCY"},
    )
    # OpenVINO removes inputs that nothing uses.
    names = {port.any_name for port in model.inputs}
    return lambda image: model({k: x for k, x in inputs(image).items() if k in names})[0]


CONTENDERS: dict[str, Callable[[], Run]] = {
    "zerodce_jax, xla, scene, default settings": lambda: ours("scene", "xla", default=True),
    "zerodce_jax, onnx, scene, default settings": lambda: ours("scene", "onnx", default=True),
    "zerodce_jax, xla, scene, default settings, without zerodce-native": lambda: ours(
        "scene", "xla", default=True, native=False
    ),
    "zerodce_jax, onnx, scene, default settings, without zerodce-native": lambda: ours(
        "scene", "onnx", default=True, native=False
    ),
    "zerodce_jax, xla, scene": lambda: ours("scene", "xla"),
    "zerodce_jax, onnx, scene": lambda: ours("scene", "onnx"),
    "zerodce_jax, xla, reduced": lambda: ours("reduced", "xla"),
    "zerodce_jax, onnx, reduced": lambda: ours("reduced", "onnx"),
    "PyTorch eager, reduced": lambda: eager("reduced", "first"),
    "PyTorch eager, channels last, reduced": lambda: eager("reduced", "last"),
    "PyTorch eager, Zero-DCE++ at 1/12": lambda: eager("plusplus", "first"),
    "ONNX Runtime, whole image, reduced": onnx_runtime,
    "OpenVINO, whole image, reduced": openvino,
}


def main(
    *,
    repetitions: int = 5,
    json_file: Path | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Print a table of megapixels per second and memory.

    Args:
        repetitions: Turns at the smaller sizes; the largest size has half as many.
        json_file: File for all measurements, as JSON.
        only: Run only contenders whose name contains one of these texts.
    """
    names = [name for name in CONTENDERS if not only or any(part in name for part in only)]
    rows = {name: Contender(name) for name in names}
    for width, height in SIZES:
        for contender in rows.values():
            contender.prepare(width, height)
        for _ in range(repetitions):
            for contender in rows.values():
                contender.run(width, height)
    for contender in rows.values():
        contender.end()
    # Some contenders take 10 GB for the largest image and keep it, so only one process runs.
    width, height = LARGEST
    for _ in range(max(1, repetitions // 2)):
        for contender in rows.values():
            contender.start()
            contender.prepare(*SIZES[0])
            contender.run(width, height)
            contender.end()
    machine = description()
    print(machine)
    print()
    sizes = " | ".join(f"{width}x{height}" for width, height in (*SIZES, LARGEST))
    print(f"| megapixels/s, median (range) | {sizes} | peak memory | first run |")
    print("|---" * (len(SIZES) + 4) + "|")
    for contender in rows.values():
        print(contender.row())
    if json_file is not None:
        figures = {name: contender.figures for name, contender in rows.items()}
        text = json.dumps({"machine": machine, "contenders": figures}, indent=1)
        json_file.write_text(text + "\n")


class Contender:
    """A process that enhances one image per request."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.figures: dict = {"first": {}, "seconds": {}, "peak": {}}
        self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=serve, args=(self._name, child_pipe), daemon=True)
        self._process.start()
        self.figures["ready"] = self._pipe.recv()

    def prepare(self, width: int, height: int) -> None:
        """Run once before the timed turns, to compile and allocate."""
        self.figures["first"][f"{width}x{height}"] = self._ask(width, height)[0]

    def run(self, width: int, height: int) -> None:
        """Run once and record the time and the peak memory."""
        seconds, peak = self._ask(width, height)
        self.figures["seconds"].setdefault(f"{width}x{height}", []).append(seconds)
        self.figures["peak"][f"{width}x{height}"] = peak

    def end(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()

    def row(self) -> str:
        """Format the row of the table."""
        cells = []
        for width, height in (*SIZES, LARGEST):
            rates = [width * height / 1e6 / s for s in self.figures["seconds"][f"{width}x{height}"]]
            cells.append(f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})")
        peak = max(self.figures["peak"].values()) / 2**20
        first = self.figures["ready"] + next(iter(self.figures["first"].values()))
        return f"| {self._name} | {' | '.join(cells)} | {peak:,.0f} MiB | {first:.1f} s |"

    def _ask(self, width: int, height: int) -> tuple[float, int]:
        self._pipe.send((width, height))
        return self._pipe.recv()


def serve(name: str, pipe: multiprocessing.connection.Connection) -> None:
    """Load a contender, and run it once for each image size that the pipe delivers."""
    start = time.perf_counter()
    run = CONTENDERS[name]()
    pipe.send(time.perf_counter() - start)
    while (size := pipe.recv()) is not None:
        image = dark_image(*size)
        start = time.perf_counter()
        result = run(image)
        seconds = time.perf_counter() - start
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        del image, result
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def dark_image(width: int, height: int) -> np.ndarray:
    """Return a dark image with some structure and noise."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / 90
    light = 40 + 30 * np.sin(rows) * np.cos(columns)
    noise = np.random.default_rng(0).integers(-4, 5, (height, width, 3), dtype=np.int8)
    return (light[:, :, None] + noise).clip(0, 255).astype(np.uint8)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def description() -> str:
    """Describe the machine, the versions, and the speed that its arithmetic permits."""
    a = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    best = min(timed(lambda: a @ a) for _ in range(5))
    speed = 2 * 2048**3 / best
    from zerodce_jax.config import preset

    kernels = [s for n, s in preset("reduced").param_shapes.items() if n.endswith("kernel")]
    flops = 2 * sum(int(np.prod(shape)) for shape in kernels)
    packages = ("jax", "onnxruntime", "torch", "openvino")
    return (
        f"{cores()} cores, {platform.processor() or platform.machine()}; "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f". Matrix products reach {speed / 1e9:.0f} GFLOP/s. reduced needs "
        f"{flops / 1e3:.1f} kFLOP per pixel, so at most {speed / flops / 1e6:.1f} megapixels/s "
        "are possible."
    )


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
