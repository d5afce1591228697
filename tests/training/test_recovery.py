"""Training runs in real processes that are interrupted by signals and killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from zerodce_jax.config import TrainConfig
from zerodce_jax.models.checkpoint import TrainingCheckpoints, read_config
from zerodce_jax.models.modules import init_params
from zerodce_jax.training.step import init_state

pytestmark = pytest.mark.slow

STEPS = 120
OPTIONS = [
    *("--steps", str(STEPS), "--batch-size", "2", "--image-size", "16", "--lr", "1e-3"),
    *("--checkpoint-every", "5", "--log-every", "1", "--sample-every", "20", "--ema", "0.9"),
    *("--crop", "--flip", "--turn", "--val-fraction", "0.25", "--schedule", "cosine"),
]


class Run:
    """``train.py`` in a separate process."""

    def __init__(self, photographs: Path, workdir: Path, root: Path, environment: dict) -> None:
        self.log = workdir / "metrics.jsonl"
        command = [sys.executable, root / "train.py", "--data", photographs, "--workdir", workdir]
        self.process = subprocess.Popen(
            [*map(str, command), *OPTIONS],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lines(self) -> int:
        return len(self.log.read_bytes().splitlines()) if self.log.exists() else 0

    def wait_for_lines(self, count: int) -> None:
        """Wait until the log has at least `count` lines or the run has ended."""
        while self.process.poll() is None and self.lines() < count:
            time.sleep(0.005)

    def finish(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=300)
        return self.process.returncode, output


def losses_of(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "images_per_second"} for x in lines]


def state_of(workdir: Path) -> dict:
    """Return the newest checkpoint; its step is also the position in the data."""
    config = TrainConfig(**read_config(workdir)["train"])
    state = init_state(init_params(config.network, seed=1), config, STEPS)
    with TrainingCheckpoints(workdir, keep=config.keep) as checkpoints:
        return jax.tree.map(np.asarray, checkpoints.restore(state))


@pytest.fixture(scope="module")
def uninterrupted(
    photographs: Path, root: Path, environment: dict, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    status, output = Run(photographs, workdir, root, environment).finish()
    assert status == 0, output
    return workdir


def assert_same_run(a: Path, b: Path) -> None:
    assert losses_of(a) == losses_of(b)
    jax.tree.map(np.testing.assert_array_equal, state_of(a), state_of(b))


def test_ten_kills_do_not_change_the_result(
    photographs: Path, tmp_path: Path, root: Path, environment: dict, uninterrupted: Path
) -> None:
    rng = random.Random(0)
    kills = 0
    for _ in range(10):
        run = Run(photographs, tmp_path, root, environment)
        # The kill comes before the first step or some steps later; the random delay makes it hit
        # steps, validation, and the writing of checkpoints.
        run.wait_for_lines(run.lines() + rng.randint(0, 9))
        time.sleep(rng.random() * 0.05)
        os.kill(run.process.pid, signal.SIGKILL)
        kills += run.finish()[0] == -signal.SIGKILL
    assert kills == 10
    status, output = Run(photographs, tmp_path, root, environment).finish()
    assert status == 0, output
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_continues(
    photographs: Path,
    tmp_path: Path,
    root: Path,
    environment: dict,
    uninterrupted: Path,
    signum: signal.Signals,
) -> None:
    run = Run(photographs, tmp_path, root, environment)
    run.wait_for_lines(7)
    run.process.send_signal(signum)
    status, output = run.finish()
    assert status == 128 + signum
    assert "Traceback" not in output
    assert f"by {signum.name}; the same command continues from there" in output
    status, output = Run(photographs, tmp_path, root, environment).finish()
    assert status == 0, output
    assert_same_run(tmp_path, uninterrupted)
