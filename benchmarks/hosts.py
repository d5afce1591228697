"""Training in one process and in two, each with a core of its own, in turns.

    python benchmarks/hosts.py --data PHOTOGRAPHS

Both train on the same batches, so the ratio of their speeds says what the second host brings, and
what the collectives of every step cost.
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
        batch_size: Images in a step, over both processes together.
        steps: Steps of each run; the first half is not counted.
        turns: How often both are run.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for processes, found in rates.items():
            found.append(speed(data, processes, batch_size, steps))
    for processes, found in rates.items():
        middle, slowest, fastest = statistics.median(found), min(found), max(found)
        print(f"{processes} process(es): {middle:.2f} images/s ({slowest:.2f} to {fastest:.2f})")
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def speed(data: Path, processes: int, batch_size: int, steps: int) -> float:
    """Images per second of the second half of a run, each process on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, str(ROOT / "train.py"), "--data", str(data), "--workdir", place]
        command += ["--batch-size", str(batch_size), "--steps", str(steps), "--cache"]
        command += ["--log-every", str(steps // 2), "--checkpoint-every", str(steps + 1)]
        running = []
        for i in range(processes):
            several = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes)]
            several += ["--process-id", str(i)]
            running.append(
                subprocess.Popen(
                    command + (several if processes > 1 else []),
                    stdout=subprocess.DEVNULL,
                    # Runs in the child, before Python: its threads are counted by its cores.
                    preexec_fn=lambda core=cores[i]: os.sched_setaffinity(0, {core}),
                )
            )
        if any(process.wait() for process in running):
            raise SystemExit("a run failed")
        lines = (Path(place) / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["images_per_second"]


if __name__ == "__main__":
    tyro.cli(main)
