"""hosts.py and ``train.py`` in several processes: real ones on loopback, that are killed too."""

import json
import os
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

# Six rows are shared out evenly to one, two and three processes.
RECIPE = [
    *("--batch-size", "6", "--image-size", "16", "--lr", "1e-3", "--ema", "0.9"),
    *("--log-every", "1", "--checkpoint-every", "5", "--crop", "--flip", "--turn"),
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Run:
    """``train.py`` in so many processes, each with its output."""

    def __init__(self, root: Path, environment: dict[str, str], data: Path, workdir: Path) -> None:
        self._root, self._environment = root, environment
        self._data, self.workdir = data, workdir
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *, count: int = 1, steps: int = 8, options: Sequence[str] = ()) -> None:
        port = free_port()
        for i in range(count):
            place = ("--coordinator", f"127.0.0.1:{port}", "--processes", count, "--process-id", i)
            self.launch(*(place if count > 1 else ()), "--steps", steps, *options)

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
        """Exit status, and what was said, of each."""
        ended = [(*each.communicate(timeout=240), each.returncode) for each in self.processes]
        self.processes.clear()
        return [(status, out, err) for out, err, status in ended]

    def complete(self, **how: object) -> None:
        """Start, and expect that all goes well, and that the first speaks for all."""
        self.start(**how)  # pyright: ignore[reportArgumentType]
        ended = self.finish()
        assert [status for status, _, _ in ended] == [0] * len(ended), ended
        assert [bool(out) for _, out, _ in ended] == [True] + [False] * (len(ended) - 1)
        assert [err for _, _, err in ended] == [""] * len(ended)

    def log(self) -> list[dict[str, float]]:
        path = self.workdir / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, step: int) -> None:
        while all(each.poll() is None for each in self.processes):
            if any(entry["step"] >= step for entry in self.log()):
                return
            time.sleep(0.02)


Make = Callable[..., Run]


@pytest.fixture
def make(
    root: Path, environment: dict[str, str], photographs: Path, tmp_path: Path
) -> Iterator[Make]:
    made: list[Run] = []

    def new(name: str, data: Path = photographs) -> Run:
        made.append(Run(root, environment, data, tmp_path / name))
        return made[-1]

    yield new
    for each in made:
        for process in each.processes:
            process.kill()
            process.communicate()


def assert_alike(one: Run, other: Run, *, step: int) -> None:
    """The same parameters after a step, and the same losses on the way: so the same photographs."""
    first, second = (
        flatten(serialization.load_network(f"{each.workdir}@{step}").params)
        for each in (one, other)
    )
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=0, atol=1e-6, err_msg=name)
    logs = [[entry for entry in each.log() if entry["step"] <= step] for each in (one, other)]
    assert len(logs[0]) == len(logs[1])
    for before, after in zip(*logs, strict=True):
        before.pop("images_per_second", None)
        after.pop("images_per_second", None)
        # Rounding adds up; other photographs would make a difference of tenths.
        assert after == pytest.approx(before, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_as_one_and_as_three(make: Make) -> None:
    alone, pair = make("alone"), make("pair")
    alone.complete(steps=8)
    pair.complete(count=2, steps=5)
    assert_alike(alone, pair, step=5)
    before = [entry["total"] for entry in pair.log()]
    for count in (1, 3):
        again = make(f"again-{count}")
        subprocess.run(["cp", "-r", pair.workdir, again.workdir], check=True)
        again.complete(count=count, steps=8)
        assert [entry["total"] for entry in again.log()][:5] == before
        assert_alike(alone, again, step=8)
    # Records are kept by the first alone.
    assert len(list((pair.workdir / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_what_is_looked_at_in_shares_is_looked_at_as_a_whole(
    make: Make, photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "brackets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        # A third of them are too dark to be darkened.
        pixels = rng.integers(0, (60, 180, 250)[i % 3], (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "7.png").write_bytes(b"no picture")
    options = ["--darken", "--val-fraction", "0.3"]
    alone, pair = make("alone", folder), make("pair", folder)
    alone.start(steps=5, options=options)
    (single,) = alone.finish()
    pair.start(count=2, steps=5, options=options)
    several = pair.finish()
    assert [status for status, _, _ in (single, *several)] == [0, 0, 0], several
    assert_alike(alone, pair, step=5)
    assert any("val_total" in entry for entry in pair.log())
    # A bad file is named once, by the process that came across it.
    said = sorted("".join(err for _, _, err in several).splitlines())
    assert said == sorted(single[2].splitlines())
    assert [line.partition(": /")[0] for line in said if "zerodce" in line] == ["zerodce: left out"]


@pytest.fixture(scope="module")
def undisturbed(
    root: Path,
    environment: dict[str, str],
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A run of thirty steps in one process."""
    alone = Run(root, environment, photographs, tmp_path_factory.mktemp("undisturbed"))
    alone.complete(steps=30)
    return alone


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_nothing_is_lost(
    make: Make, undisturbed: Run, victim: int
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
    # JAX may be quicker to end it than it is itself; then its watcher speaks.
    assert len(err.splitlines()) == 1, err
    assert err.startswith("zerodce: ")
    assert "the same commands go on from the last checkpoint" in err
    pair.complete(count=2, steps=30)
    assert_alike(undisturbed, pair, step=30)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_after_the_same_step(make: Make) -> None:
    pair = make("pair")
    pair.start(count=2, steps=2000)
    pair.wait_for(3)
    pair.processes[1].send_signal(signal.SIGTERM)
    ended = pair.finish()
    assert [status for status, _, _ in ended] == [128 + signal.SIGTERM] * 2
    assert "by SIGTERM; the same command goes on from there" in ended[0][2]
    assert ended[1][1:] == ("", "")
    step = pair.log()[-1]["step"]
    assert (pair.workdir / str(step)).is_dir()
    pair.complete(count=2, steps=step + 2)


@pytest.mark.slow
def test_processes_that_were_started_differently_are_told_so(make: Make) -> None:
    pair = make("pair")
    port = free_port()
    for i in range(2):
        place = ("--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process-id", i)
        pair.launch(*place, "--steps", 3, "--seed", i)
    for status, out, err in pair.finish():
        assert (status, out) == (1, "")
        assert err == (
            "zerodce: the processes were started with different settings or photographs\n"
        )


@pytest.mark.slow
def test_slurm_is_detected(make: Make) -> None:
    pair = make("pair")
    # From which JAX makes the port.
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
def test_who_is_not_joined_and_a_port_that_is_taken(make: Make) -> None:
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
def test_flags_that_do_not_go_together(
    options: list, message: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("train", "--data", photographs, "--workdir", tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:0", "host:70000", "host:x"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="must be HOST:PORT"):
        hosts.join(address, 2, 0)


@pytest.mark.parametrize(("processes", "number"), [(2, 2), (0, 0), (2, -1)])
def test_numbers_that_are_none(processes: int, number: int) -> None:
    with pytest.raises(UsageError, match="--process-id must be"):
        hosts.join("localhost:7000", processes, number)


def test_without_a_cluster_there_is_nothing_to_detect(make: Make) -> None:
    alone = make("alone")
    alone.launch("--distributed", "auto")
    ((status, _, err),) = alone.finish()
    assert status == 2
    assert err.startswith("zerodce: --distributed auto: JAX finds no cluster here")


def test_one_process_is_the_trivial_case() -> None:
    assert hosts.is_first()
    assert list(hosts.rows(3 * jax.device_count())) == list(range(3 * jax.device_count()))
    pixels = np.arange(12, dtype=np.uint8).reshape(jax.device_count() * 2, -1)
    np.testing.assert_array_equal(hosts.shared(pixels), pixels)
    tree = {"a": np.ones((2, 3), np.float32), "b": np.int32(3)}
    everywhere = hosts.everywhere(tree)
    jax.tree.map(np.testing.assert_array_equal, hosts.here(everywhere), tree)
    assert int(hosts.largest(15)) == 15
    np.testing.assert_array_equal(
        hosts.summed(np.arange(6.0).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]
    )
    hosts.check_alike("this")
    hosts.wait("for nobody")
