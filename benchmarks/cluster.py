"""Compare `zerodce cluster`, with 1 and 2 actors, with `enhance.py --jobs 2` on a folder of JPEGs.

All three enhance the same photographs in turns. Rates count from the first results to the last;
the time to the first results is printed separately. Memory is sampled during each run.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tyro
from folder import make_photographs

from zerodce_jax.jobs import runner
from zerodce_jax.jobs.ray_cluster import Options, RayExecutor
from zerodce_jax.jobs.storage import Folder, LocalFiles
from zerodce_jax.jobs.worklist import Worklist, plan_work
from zerodce_jax.models import serialization
from zerodce_jax.models.network import Network


@dataclass
class Run:
    """Measurements of one turn."""

    starting: float = 0.0
    """Seconds from the start to the first result."""
    rate: float = 0.0
    """Photographs per second after the first results."""
    whole: float = 0.0
    """Seconds of the whole run, including the start."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """Memory of each process in MiB, early and at the end."""


def main(
    *,
    pictures: int = 600,
    width: int = 640,
    height: int = 480,
    model: str = "scene",
    turns: int = 3,
    batch: int = 16,
) -> None:
    """Print rates, ratios, start-up times and memory growth.

    Args:
        pictures: Number of JPEGs in the folder.
        width: Width of each JPEG, in pixels.
        height: Height of each JPEG, in pixels.
        model: Network to run.
        turns: How often each contender enhances the whole folder.
        batch: Photographs per batch of an actor.
    """
    network = serialization.load_network(model)
    runs: dict[str, list[Run]] = {"enhance --jobs 2": [], "1 actor": [], "2 actors": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_photographs(base / "in", pictures, width, height)
        for turn in range(turns):
            runs["enhance --jobs 2"].append(run_enhance(base / "in", base / f"{turn}-0", model))
            for actors in (1, 2):
                target = base / f"{turn}-{actors}"
                work = plan_work(Folder(LocalFiles(), base / "in"), Folder(LocalFiles(), target))
                name = "1 actor" if actors == 1 else "2 actors"
                runs[name].append(run_cluster(work, network, actors, batch))
    baseline = runs["enhance --jobs 2"]
    for name, turn_runs in runs.items():
        ratios = [a.rate / b.rate for a, b in zip(turn_runs, baseline, strict=True)]
        print(
            f"{name}: {spread([run.rate for run in turn_runs])} photographs/s, "
            f"ratio {spread(ratios)}, start {spread([run.starting for run in turn_runs])} s, "
            f"whole run {spread([run.whole for run in turn_runs])} s"
        )
        for process, values in turn_runs[-1].memory.items():
            early, late = values[0], values[-1]
            print(
                f"  {process}: {early:.1f} MiB after photograph 100, {late:.1f} MiB after the last"
            )


def run_enhance(source: Path, target: Path, model: str) -> Run:
    """Run `enhance.py` in a process and measure it."""
    enhance = Path(__file__).parent.parent / "enhance.py"
    start, run, times = time.perf_counter(), Run(), []
    memory = run.memory.setdefault("process", [0.0, 0.0])
    arguments = [str(source), "-o", str(target), "-m", model, "--jobs", "2"]
    process = psutil.Popen([sys.executable, str(enhance), *arguments])
    while process.poll() is None:
        done = len(list(target.glob("*"))) if target.exists() else 0
        times += [time.perf_counter()] * (done - len(times))
        # Keep the last measurement, because a process that has ended has no memory to read.
        memory[done > 100] = mebibytes(process) or memory[done > 100]
        time.sleep(0.01)
    assert process.returncode == 0
    run.whole = time.perf_counter() - start
    run.starting, run.rate = times[0] - start, (len(times) - 1) / (times[-1] - times[0])
    return run


def run_cluster(work: Worklist, network: Network, actors: int, batch: int) -> Run:
    """Start Ray, run the whole work on it, stop it, and measure the run."""
    options = Options(actors=actors, batch=batch)
    start, run, times = time.perf_counter(), Run(), []
    executor = RayExecutor(work, network, options=options, on_message=report_message)
    for number, result in enumerate(runner.run(work, executor), start=1):
        assert result.status == "done", result.message
        times.append(time.perf_counter())
        if number in (100, len(work)):
            run.memory.setdefault("driver", []).append(mebibytes(psutil.Process()))
            for i, process in enumerate(actor_processes()):
                run.memory.setdefault(f"actor {i + 1}", []).append(mebibytes(process))
    # The first batches of all actors finish at nearly the same time but started during start-up,
    # so the rate excludes them.
    first_done = times[min(actors * batch, len(times)) - 1]
    run.starting, run.whole = times[0] - start, time.perf_counter() - start
    run.rate = (len(times) - actors * batch) / (times[-1] - first_done)
    return run


def report_message(line: str) -> None:
    """Print a message of Ray."""
    print(line, file=sys.stderr)


def actor_processes() -> list[psutil.Process]:
    """Return the actors' processes, oldest first."""
    children = psutil.Process().children(recursive=True)
    return sorted(filter(is_actor, children), key=lambda process: process.create_time())


def is_actor(process: psutil.Process) -> bool:
    """Return whether a process has the name that Ray gives to actors."""
    try:
        return process.cmdline()[:1] != [] and "MapWorker" in process.cmdline()[0]
    except psutil.Error:
        return False


def mebibytes(process: psutil.Process) -> float:
    """Return the memory of a process in MiB, or 0 if the process has ended."""
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


def spread(values: list[float]) -> str:
    """Format the median and the range of values."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    tyro.cli(main)
