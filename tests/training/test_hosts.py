"""hosts.py, and ``train.py`` in several processes on this machine, some of which are killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from helpers.command import run
from zerodce_jax.errors import UsageError
from zerodce_jax.models import serialization
from zerodce_jax.models.network import flatten
from zerodce_jax.training import hosts

# A batch of six rows can be split evenly over one, two and three processes.
RECIPE = [
    *("--batch-size", "6", "--image-size", "16", "--lr", "1e-3", "--ema", "0.9"),
    *("--log-every", "1", "--checkpoint-every", "5", "--crop", "--flip", "--turn"),
]
# What the first process says before it compiles.
ANNOUNCEMENT = re.compile(r"zerodce: \d+ photographs, [\d,]+ parameters, steps .*; compiling\n")
SCENE = ["--model", "scene", "--image-size", "128", "--warmup-steps", "1", "--no-crop"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Run:
    """``train.py`` in one or several processes."""

    def __init__(self, root: Path, environment: dict[str, str], data: Path, workdir: Path) -> None:
        self._root, self._environment = root, environment
        self._data, self.workdir = data, workdir
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *, count: int = 1, steps: int = 8, options: Sequence[str] = ()) -> None:
        port = free_port()
        for i in range(count):
            flags = ("--coordinator", f"127.0.0.1:{port}", "--processes", count, "--process-id", i)
            self.launch(*(flags if count > 1 else ()), "--steps", steps, *options)

    def launch(self, *options: object, **variables: str) -> None:
        command = [sys.executable, self._root / "train.py", "--data", self._data]
        command += ["--workdir", self.workdir, *RECIPE, *options]
        self.processes.append(
            subprocess.Popen(
                [*map(str, command)],
                env=self._environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def finish(self) -> list[tuple[int, str, str]]:
        """Wait, and return exit status, stdout and stderr of each process.

        The announcement of the first process is left out of its stderr.
        """
        ended = [(*p.communicate(timeout=240), p.returncode) for p in self.processes]
        self.processes.clear()
        out, err, status = ended[0]
        ended[0] = (out, ANNOUNCEMENT.sub("", err, count=1), status)
        return [(status, out, err) for out, err, status in ended]

    def complete(self, **options: object) -> None:
        """Start, and assert that all processes succeed and that only the first prints."""
        self.start(**options)  # pyright: ignore[reportArgumentType]
        ended = self.finish()
        assert [status for status, _, _ in ended] == [0] * len(ended), ended
        assert [bool(out) for _, out, _ in ended] == [True] + [False] * (len(ended) - 1)
        assert [err for _, _, err in ended] == [""] * len(ended)

    def log(self) -> list[dict[str, float]]:
        path = self.workdir / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, step: int) -> None:
        while all(process.poll() is None for process in self.processes):
            if any(entry["step"] >= step for entry in self.log()):
                return
            time.sleep(0.02)


Make = Callable[..., Run]


@pytest.fixture
def make(
    root: Path, environment: dict[str, str], photographs: Path, tmp_path: Path
) -> Iterator[Make]:
    runs: list[Run] = []

    def new(name: str, data: Path = photographs) -> Run:
        runs.append(Run(root, environment, data, tmp_path / name))
        return runs[-1]

    yield new
    for started in runs:
        for process in started.processes:
            process.kill()
            process.communicate()


def assert_same_run(one: Run, other: Run, *, step: int, atol: float = 1e-6) -> None:
    """Assert equal parameters after a step and equal losses before it: so equal photographs."""
    first, second = (
        flatten(serialization.load_network(f"{run.workdir}@{step}").params) for run in (one, other)
    )
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=0, atol=atol, err_msg=name)
    logs = [[entry for entry in run.log() if entry["step"] <= step] for run in (one, other)]
    assert len(logs[0]) == len(logs[1])
    for before, after in zip(*logs, strict=True):
        before.pop("images_per_second", None)
        after.pop("images_per_second", None)
        # Rounding errors accumulate; other photographs would change the losses far more.
        assert after == pytest.approx(before, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_like_one_and_one_or_three_continue_their_run(make: Make) -> None:
    alone, pair = make("alone"), make("pair")
    alone.complete(steps=8)
    pair.complete(count=2, steps=5)
    assert_same_run(alone, pair, step=5)
    before = [entry["total"] for entry in pair.log()]
    for count in (1, 3):
        again = make(f"again-{count}")
        subprocess.run(["cp", "-r", pair.workdir, again.workdir], check=True)
        again.complete(count=count, steps=8)
        assert [entry["total"] for entry in again.log()][:5] == before
        assert_same_run(alone, again, step=8)
    # Only the first process writes records.
    assert len(list((pair.workdir / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_two_processes_train_a_scene_network_like_one(make: Make) -> None:
    alone, pair = make("alone"), make("pair")
    alone.complete(steps=4, options=[*SCENE, "--checkpoint-every", "4"])
    pair.complete(count=2, steps=4, options=[*SCENE, "--checkpoint-every", "4"])
    # Degraded pixels that lie halfway between two levels of 8 bits may be rounded differently.
    assert_same_run(alone, pair, step=4, atol=2e-5)
    # The recipe of scene networks gives the options that the command line leaves out.
    recorded = json.loads((pair.workdir / "config.json").read_text())["train"]
    assert (recorded["model"], recorded["schedule"]) == ("scene", "cosine")


@pytest.mark.slow
def test_two_processes_select_and_validate_like_one(
    make: Make, photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "brackets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        # A third of the photographs are too dark for darkening.
        pixels = rng.integers(0, (60, 180, 250)[i % 3], (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "7.png").write_bytes(b"not an image")
    options = ["--darken", "--val-fraction", "0.3"]
    alone, pair = make("alone", folder), make("pair", folder)
    alone.start(steps=5, options=options)
    (single,) = alone.finish()
    pair.start(count=2, steps=5, options=options)
    both = pair.finish()
    assert [status for status, _, _ in (single, *both)] == [0, 0, 0], both
    assert_same_run(alone, pair, step=5)
    assert any("val_total" in entry for entry in pair.log())
    # The process that reads a bad file reports it once.
    lines = sorted("".join(err for _, _, err in both).splitlines())
    assert lines == sorted(single[2].splitlines())
    assert [line.partition(": /")[0] for line in lines if "zerodce" in line] == ["zerodce: skipped"]


@pytest.fixture(scope="module")
def uninterrupted(
    root: Path,
    environment: dict[str, str],
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Run of thirty steps in one process."""
    alone = Run(root, environment, photographs, tmp_path_factory.mktemp("uninterrupted"))
    alone.complete(steps=30)
    return alone


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_can_continue(
    make: Make, uninterrupted: Run, victim: int
) -> None:
    pair = make("pair")
    pair.start(count=2, steps=30)
    pair.wait_for(12)
    start = time.monotonic()
    pair.processes[victim].kill()
    ended = pair.finish()
    assert time.monotonic() - start < 60
    assert ended[victim][0] == -signal.SIGKILL
    status, out, err = ended[1 - victim]
    assert status not in {0, None}
    assert out == ""
    # If JAX ends the process before it reports the error itself, its child process reports it.
    assert len(err.splitlines()) == 1, err
    assert err.startswith("zerodce: ")
    assert "the same commands continue from the last checkpoint" in err
    pair.complete(count=2, steps=30)
    assert_same_run(uninterrupted, pair, step=30)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(make: Make) -> None:
    pair = make("pair")
    pair.start(count=2, steps=2000)
    pair.wait_for(3)
    pair.processes[1].send_signal(signal.SIGTERM)
    ended = pair.finish()
    assert [status for status, _, _ in ended] == [128 + signal.SIGTERM] * 2
    assert "by SIGTERM; the same command continues from there" in ended[0][2]
    assert ended[1][1:] == ("", "")
    step = pair.log()[-1]["step"]
    assert (pair.workdir / str(step)).is_dir()
    pair.complete(count=2, steps=step + 2)


@pytest.mark.slow
def test_processes_that_were_started_differently_are_refused(make: Make) -> None:
    pair = make("pair")
    port = free_port()
    for i in range(2):
        flags = ("--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process-id", i)
        pair.launch(*flags, "--steps", 3, "--seed", i)
    for status, out, err in pair.finish():
        assert (status, out) == (1, "")
        assert err == (
            "zerodce: the processes were started with different settings or photographs\n"
        )


@pytest.mark.slow
def test_slurm_is_detected(make: Make) -> None:
    pair = make("pair")
    # JAX computes the port from the number of the job.
    job = str(free_port() + os.getpid() * 4096)
    for i in range(2):
        pair.launch(
            *("--distributed", "auto", "--steps", 3),
            SLURM_JOB_ID=job,
            SLURM_STEP_NODELIST="localhost",
            SLURM_NTASKS="2",
            SLURM_PROCID=str(i),
            SLURM_LOCALID=str(i),
        )
    ended = pair.finish()
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert sorted(out for _, out, _ in ended) == ["", f"{pair.workdir}: trained to step 3\n"]


@pytest.mark.slow
def test_a_port_that_is_taken_is_an_error_of_one_line(make: Make) -> None:
    alone = make("alone")
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        alone.launch("--coordinator", address, "--processes", 2, "--process-id", 0)
        ((status, _, err),) = alone.finish()
    assert status not in {0, None}
    assert err.startswith("zerodce: "), err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coordinator", "a:1"], "go together"),
        (["--processes", 2, "--process-id", 0], "go together"),
        (["--distributed", "auto", "--processes", 2], "finds --coordinator"),
    ],
)
def test_flags_that_cannot_be_combined_are_refused(
    options: list, message: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("train", "--data", photographs, "--workdir", tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:0", "host:70000", "host:x"])
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="must be HOST:PORT"):
        hosts.join(address, 2, 0)


@pytest.mark.parametrize(("processes", "number"), [(2, 2), (0, 0), (2, -1)])
def test_invalid_process_numbers_are_refused(processes: int, number: int) -> None:
    with pytest.raises(UsageError, match="--process-id must be"):
        hosts.join("localhost:7000", processes, number)


@pytest.mark.slow
def test_detection_without_a_cluster_is_an_error(make: Make) -> None:
    alone = make("alone")
    alone.launch("--distributed", "auto")
    ((status, _, err),) = alone.finish()
    assert status == 2
    assert err.startswith("zerodce: --distributed auto: JAX finds no cluster here")


def test_every_function_works_in_a_single_process() -> None:
    assert hosts.is_first()
    assert list(hosts.local_rows(3 * jax.device_count())) == list(range(3 * jax.device_count()))
    pixels = np.arange(12, dtype=np.uint8).reshape(jax.device_count() * 2, -1)
    np.testing.assert_array_equal(hosts.shard_batch(pixels), pixels)
    tree = {"a": np.ones((2, 3), np.float32), "b": np.int32(3)}
    replicated = hosts.replicate(tree)
    jax.tree.map(np.testing.assert_array_equal, hosts.local_copy(replicated), tree)
    assert int(hosts.max_over_processes(15)) == 15
    np.testing.assert_array_equal(
        hosts.sum_over_processes(np.arange(6.0).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]
    )
    hosts.check_same("text")
