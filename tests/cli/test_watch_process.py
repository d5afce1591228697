"""``zerodce watch`` in a process: files that exist, arrive, are damaged, and are repaired."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command import summary_of

pytest.importorskip("watchfiles")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_watch_enhances_what_arrives_until_it_is_stopped(
    stop: signal.Signals, network: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    folder, out = tmp_path / "hot", tmp_path / "out"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 90, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "first.png")
    command = ["-m", "zerodce_jax", "watch", folder, "-o", out, "-m", network]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, *map(str, command)], env=environment, text=True, **streams
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"watching {folder}; Ctrl-C stops\n"
        assert process.stdout.readline() == f"{folder}/first.png -> {out}/first.png\n"
        (folder / "second.png").write_bytes((folder / "first.png").read_bytes()[:50])
        assert "second.png: " in process.stderr.readline()
        Image.fromarray(pixels).save(folder / "second.png")
        assert process.stdout.readline() == f"{folder}/second.png -> {out}/second.png\n"
        process.send_signal(stop)
        printed, errors = process.communicate(timeout=60)
    assert summary_of(printed) == (2, 0, 1)
    assert (process.returncode, errors) == (1, "")
    assert (out / "first.png").read_bytes() == (out / "second.png").read_bytes()
