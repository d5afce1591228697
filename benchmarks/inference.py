"""Megapixels per second of enhancement: this project's engines and networks beside others.

    python benchmarks/inference.py --json inference.json

PyTorch (eager), ONNX Runtime and OpenVINO run networks of the same architectures on whole images.
Every contender takes a uint8 array and gives one, in a process of its own, on the same cores; they
take turns, so that a slow minute of the machine strikes all of them.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import resource
import statistics
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


def ours(network: str, engine: str) -> Run:
    """This project's enhancer, from arrays to arrays."""
    from zerodce_jax import Enhancer, EnhanceSettings

    enhancer = Enhancer.load(network, engine=engine)
    # What the others do, and nothing besides.
    settings = EnhanceSettings(gamma=GAMMA)
    return lambda image: enhancer(image, settings)


def eager(network: str, layout: str) -> Run:
    """PyTorch on the whole image."""
    import pytorch
    import torch

    from zerodce_jax.models import serialization

    torch.set_num_threads(cores())
    if network == "reduced":
        module = pytorch.load(serialization.to_torch(serialization.load("reduced")))
    else:
        module = pytorch.PlusPlusDCENet()
    if layout == "last":
        module = module.to(memory_format=torch.channels_last)
    return lambda image: pytorch.enhance(module, image, gamma=GAMMA, layout=layout)


def whole_image_model() -> bytes:
    """The network ``reduced`` with its curves, gamma and rounding as one ONNX model."""
    from zerodce_jax.engines import onnx_graph
    from zerodce_jax.models import serialization

    return onnx_graph.enhance(serialization.load("reduced"), "uint8").SerializeToString()


def inputs(image: np.ndarray) -> dict[str, np.ndarray]:
    """What the model takes besides the image: nothing cut off, gamma, full strength, colour."""
    height, width = image.shape[:2]
    return {
        "pixels": image,
        "crop": np.array([0, 0, height, width], np.int64),
        "gamma": np.array(GAMMA, np.float32),
        "strength": np.array(1, np.float32),
        "gray": np.array(False),
    }


def onnx_runtime() -> Run:
    """ONNX Runtime on the whole image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(
        whole_image_model(), options, providers=["CPUExecutionProvider"]
    )
    return lambda image: session.run(None, inputs(image))[0]


def openvino() -> Run:
    """OpenVINO on the whole image."""
    import openvino

    core = openvino.Core()
    model = core.compile_model(
        core.read_model(whole_image_model()),
        "CPU",
        {"INFERENCE_NUM_THREADS": cores(), "PERFORMANCE_HINT": "LATENCY"},
    )
    return lambda image: model(inputs(image))[0]


CONTENDERS: dict[str, Callable[[], Run]] = {
    "zerodce_jax, xla, reduced": lambda: ours("reduced", "xla"),
    "zerodce_jax, onnx, reduced": lambda: ours("reduced", "onnx"),
    "zerodce_jax, xla, fast": lambda: ours("fast", "xla"),
    "zerodce_jax, onnx, fast": lambda: ours("fast", "onnx"),
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
    """Print a table of megapixels per second, and of the memory that it took.

    Args:
        repetitions: Turns at the smaller sizes; there are half as many at the largest.
        json_file: Write every single figure there too.
        only: Contenders whose name holds one of these.
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
    # Some take 10 GB for the largest and keep it: one process at a time.
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
    """A process that enhances when it is told to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.figures: dict = {"first": {}, "seconds": {}, "peak": {}}
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=serve, args=(self._name, there), daemon=True)
        self._process.start()
        self.figures["ready"] = self._here.recv()

    def prepare(self, width: int, height: int) -> None:
        """Run once without counting: compile, allocate."""
        self.figures["first"][f"{width}x{height}"] = self._ask(width, height)[0]

    def run(self, width: int, height: int) -> None:
        """Run and count."""
        seconds, peak = self._ask(width, height)
        self.figures["seconds"].setdefault(f"{width}x{height}", []).append(seconds)
        self.figures["peak"][f"{width}x{height}"] = peak

    def end(self) -> None:
        """Let the process go."""
        self._here.send(None)
        self._process.join()

    def row(self) -> str:
        """A row of the table."""
        cells = []
        for width, height in (*SIZES, LARGEST):
            rates = [width * height / 1e6 / s for s in self.figures["seconds"][f"{width}x{height}"]]
            cells.append(f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})")
        peak = max(self.figures["peak"].values()) / 2**20
        first = self.figures["ready"] + next(iter(self.figures["first"].values()))
        return f"| {self._name} | {' | '.join(cells)} | {peak:,.0f} MiB | {first:.1f} s |"

    def _ask(self, width: int, height: int) -> tuple[float, int]:
        self._here.send((width, height))
        return self._here.recv()


def serve(name: str, pipe: multiprocessing.connection.Connection) -> None:
    """Load a contender and run it whenever the pipe says so, at the size that it says."""
    start = time.perf_counter()
    run = CONTENDERS[name]()
    pipe.send(time.perf_counter() - start)
    while (size := pipe.recv()) is not None:
        image = picture(*size)
        start = time.perf_counter()
        result = run(image)
        seconds = time.perf_counter() - start
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        del image, result
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def picture(width: int, height: int) -> np.ndarray:
    """A dark picture with some structure and noise."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / 90
    light = 40 + 30 * np.sin(rows) * np.cos(columns)
    noise = np.random.default_rng(0).integers(-4, 5, (height, width, 3), dtype=np.int8)
    return (light[:, :, None] + noise).clip(0, 255).astype(np.uint8)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def description() -> str:
    """The machine, the versions, and what its arithmetic would allow."""
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
        + f". Matrix products reach {speed / 1e9:.0f} GFLOP/s here, so the {flops / 1e3:.1f} kFLOP "
        f"that reduced takes for a pixel would allow {speed / flops / 1e6:.1f} megapixels/s."
    )


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    tyro.cli(main)
