"""A folder of JPEGs through `zerodce cluster` with 1 and 2 actors, beside `enhance.py --jobs 2`.

All do the same pictures in turns. The clock runs from the first results to the last; how long it
takes to the first is printed apart. Memory is read along the way.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tyro
from folder import make_pictures

from zerodce_jax.jobs import runner
from zerodce_jax.jobs.ray_cluster import Options, RayExecutor
from zerodce_jax.jobs.storage import Folder, LocalFiles
from zerodce_jax.jobs.worklist import Worklist, plan_work
from zerodce_jax.models import serialization


@dataclass
class Run:
    """What one turn took."""

    starting: float = 0.0
    """Seconds until the first batch was there."""
    rate: float = 0.0
    """Pictures per second, from the first batch to the last."""
    whole: float = 0.0
    """Seconds, with the start."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """MiB of each process, early and at the end."""


def main(
    *,
    pictures: int = 600,
    width: int = 640,
    height: int = 480,
    model: str = "reduced",
    turns: int = 3,
    batch: int = 16,
) -> None:
    """Print pictures per second of each, ratios, start-up, and how memory grows.

    Args:
        pictures: JPEGs in the folder.
        width: Of each, in pixels.
        height: Of each, in pixels.
        model: The network.
        turns: How often each does the whole folder.
        batch: Pictures that an actor takes at one time.
    """
    network = serialization.load(model)
    runs: dict[str, list[Run]] = {"enhance --jobs 2": [], "1 actor": [], "2 actors": []}
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        make_pictures(base / "in", pictures, width, height)
        for turn in range(turns):
            runs["enhance --jobs 2"].append(alone(base / "in", base / f"{turn}-0", model))
            for actors in (1, 2):
                target = base / f"{turn}-{actors}"
                work = plan_work(Folder(LocalFiles(), base / "in"), Folder(LocalFiles(), target))
                name = "1 actor" if actors == 1 else "2 actors"
                runs[name].append(together(work, network, actors, batch))
    for name, some in runs.items():
        ratios = [a.rate / b.rate for a, b in zip(some, runs["enhance --jobs 2"], strict=True)]
        print(
            f"{name}: {spread([run.rate for run in some])} pictures/s, ratio {spread(ratios)}, "
            f"start {spread([run.starting for run in some])} s, whole "
            f"{spread([run.whole for run in some])} s"
        )
        for process, values in some[-1].memory.items():
            early, late = values[0], values[-1]
            print(f"  {process}: {early:.1f} MiB after picture 100, {late:.1f} MiB after the last")


def alone(source: Path, target: Path, model: str) -> Run:
    """The command itself."""
    enhance = Path(__file__).parent.parent / "enhance.py"
    start, run, times = time.perf_counter(), Run(), []
    memory = run.memory.setdefault("process", [0.0, 0.0])
    arguments = [str(source), "-o", str(target), "-m", model, "--jobs", "2"]
    process = psutil.Popen([sys.executable, str(enhance), *arguments])
    while process.poll() is None:
        done = len(list(target.glob("*"))) if target.exists() else 0
        times += [time.perf_counter()] * (done - len(times))
        # Nothing is left of it to be asked once it has ended.
        memory[done > 100] = mebibytes(process) or memory[done > 100]
        time.sleep(0.01)
    assert process.returncode == 0
    run.whole = time.perf_counter() - start
    run.starting, run.rate = times[0] - start, (len(times) - 1) / (times[-1] - times[0])
    return run


def together(work: Worklist, network: serialization.Network, actors: int, batch: int) -> Run:
    """A whole run on Ray, which is started and ended."""
    options = Options(actors=actors, batch=batch)
    start, run, times = time.perf_counter(), Run(), []
    executor = RayExecutor(work, network, options=options, on_message=report_message)
    for number, result in enumerate(runner.run(work, executor), start=1):
        assert result.status == "done", result.message
        times.append(time.perf_counter())
        if number in (100, len(work)):
            run.memory.setdefault("driver", []).append(mebibytes(psutil.Process()))
            for i, process in enumerate(workers()):
                run.memory.setdefault(f"actor {i + 1}", []).append(mebibytes(process))
    # The first batches of all actors come at nearly one time, and were begun before.
    begun = times[min(actors * batch, len(times)) - 1]
    run.starting, run.whole = times[0] - start, time.perf_counter() - start
    run.rate = (len(times) - actors * batch) / (times[-1] - begun)
    return run


def report_message(line: str) -> None:
    """Print a message of Ray."""
    print(line, file=sys.stderr)


def workers() -> list[psutil.Process]:
    """The actors' processes, the oldest first."""
    found = [each for each in psutil.Process().children(recursive=True) if is_actor(each)]
    return sorted(found, key=lambda each: each.create_time())


def is_actor(process: psutil.Process) -> bool:
    """Whether a process is called by Ray what an actor is called."""
    try:
        return process.cmdline()[:1] != [] and "MapWorker" in process.cmdline()[0]
    except psutil.Error:
        return False


def mebibytes(process: psutil.Process) -> float:
    """Memory of a process; none once it has ended."""
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def spread(values: list[float]) -> str:
    """The median, and the least and largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    tyro.cli(main)
