"""Compare training in one process with training in two, each on a core of its own.

    python benchmarks/hosts.py --data PHOTOGRAPHS

Both train on the same batches, in turns. The ratio of their speeds shows what a second host gains,
and what the collectives of every step cost.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro

ROOT = Path(__file__).parent.parent


def main(*, data: Path, batch_size: int = 8, steps: int = 60, turns: int = 5) -> None:
    """Print images per second of both, and the ratio.

    Args:
        data: Folder of photographs.
        batch_size: Images per step, over both processes together.
        steps: Steps of each run; the first half does not count.
        turns: Number of runs of each.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for processes, speeds in rates.items():
            speeds.append(speed(data, processes, batch_size, steps))
    for processes, speeds in rates.items():
        middle, slowest, fastest = statistics.median(speeds), min(speeds), max(speeds)
        print(f"{processes} process(es): {middle:.2f} images/s ({slowest:.2f} to {fastest:.2f})")
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def speed(data: Path, processes: int, batch_size: int, steps: int) -> float:
    """Train with each process on a core of its own; return images/s of the second half."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as workdir, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, str(ROOT / "train.py"), "--data", str(data)]
        command += ["--workdir", workdir]
        command += ["--batch-size", str(batch_size), "--steps", str(steps), "--cache"]
        command += ["--log-every", str(steps // 2), "--checkpoint-every", str(steps + 1)]
        running = []
        for i in range(processes):
            group = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes)]
            group += ["--process-id", str(i)]
            running.append(
                subprocess.Popen(
                    command + (group if processes > 1 else []),
                    stdout=subprocess.DEVNULL,
                    # Set before Python starts, because libraries size their thread pools by it.
                    preexec_fn=lambda core=cores[i]: os.sched_setaffinity(0, {core}),
                )
            )
        if any(process.wait() for process in running):
            raise SystemExit("a run failed")
        lines = (Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["images_per_second"]


if __name__ == "__main__":
    tyro.cli(main)
