"""Measure wall-clock time and peak memory of whole commands from JPEG to JPEG, also in PyTorch.

    python benchmarks/commands.py

A small photograph shows the cost of starting up; one of 12 megapixels shows the cost of the rest.
Commands run in turns, each in a process of its own as a user would start it. The compilation cache
is warm.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro
from inference import dark_image
from PIL import Image

ROOT = Path(__file__).parent.parent
SIZES = ((640, 480), (4000, 3000))
# Only curves and gamma, as in the PyTorch programs.
PLAIN = ["--exposure", "off", "--gamma", "1.15", "--protect-highlights", "0", "--denoise", "0"]
PYTORCH = """
import sys
import numpy as np
import pytorch
from PIL import Image
from zerodce_jax.models import pytorch_layout, serialization
network, source, target = sys.argv[1:]
if network == "reduced":
    module = pytorch.load(pytorch_layout.to_torch(serialization.load_network("reduced")))
else:
    module = pytorch.PlusPlusDCENet()
image = np.array(Image.open(source))
result = pytorch.enhance(module, image, gamma=1.15, layout="first")
Image.fromarray(result).save(target, quality=95)
"""


def main(*, repetitions: int = 5) -> None:
    """Print a table of seconds and memory.

    Args:
        repetitions: Timed turns with the small photograph; the large one has two.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        commands = {"python -c 'import jax'": ["-c", "import jax"]}
        for engine in ("onnx", "xla"):
            for network in ("scene", "reduced"):
                options = ["-m", network, "--engine", engine, "--overwrite", "-o", "{target}"]
                name = f"enhance.py --engine {engine} -m {network}"
                commands[name] = [str(ROOT / "enhance.py"), "{source}", *options]
                commands[f"{name}, curves and gamma only"] = [*commands[name], *PLAIN]
        for network in ("reduced", "plusplus"):
            commands[f"PyTorch eager, {network}"] = ["-c", PYTORCH, network, "{source}", "{target}"]
        print(f"| command | {' | '.join(f'{w}x{h}, s | MiB' for w, h in SIZES)} |")
        print("|---" * (1 + 2 * len(SIZES)) + "|")
        cells = {name: [] for name in commands}
        for width, height in SIZES:
            source = base / f"{width}.jpg"
            # The peak memory of a child process starts at that of its parent, so another process
            # makes the photograph.
            maker = multiprocessing.get_context("spawn").Process(
                target=save_photograph, args=(source, width, height)
            )
            maker.start()
            maker.join()
            figures = {name: [] for name in commands}
            for turn in range(1 + (repetitions if width < 4000 else 2)):
                for name, command in commands.items():
                    files = {"source": source, "target": base / f"out-{width}.jpg"}
                    filled = [p.format(**files) if p.startswith("{") else p for p in command]
                    figure = run(filled)
                    if turn:
                        figures[name].append(figure)
            for name, values in figures.items():
                seconds, peaks = zip(*values, strict=True)
                spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
                cells[name] += [
                    f"{statistics.median(seconds):.2f} ({spread})",
                    f"{max(peaks) / 1024:,.0f}",
                ]
        for name, row in cells.items():
            print(f"| {name} | {' | '.join(row)} |")


def run(command: list[str]) -> tuple[float, int]:
    """Run a Python process; return its seconds and its peak memory in KiB."""
    paths = [str(ROOT), str(ROOT / "benchmarks")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    assert status == 0, command
    return seconds, usage.ru_maxrss


def save_photograph(file: Path, width: int, height: int) -> None:
    """Write the image of the inference benchmark as a JPEG."""
    Image.fromarray(dark_image(width, height)).save(file, quality=90)


if __name__ == "__main__":
    tyro.cli(main)
