"""atomic.py: complete files and folders, failed writes, and leftovers of killed processes."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zerodce_jax.atomic import TEMPORARY_PREFIX, check_place, replacing, sweep
from zerodce_jax.errors import one_line

WRITER = """
import sys
from pathlib import Path
from zerodce_jax.atomic import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("inside", flush=True)
    sys.stdin.read()
    temporary.write_bytes(b"whole")
"""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writer(environment: dict[str, str]) -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Start a process that has written half of a file, and goes on when its input is closed."""
    started = []

    def start(path: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER, str(path)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"inside\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_file_appears_complete_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        assert temporary.name == "a.png"
        assert not temporary.exists()
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.png"]


def test_a_folder_appears_complete_and_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "network"
    for content in ("old", "new"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / content).touch()
        assert names_in(path) == [content]
        assert names_in(tmp_path) == ["network"]


def test_new_files_have_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with replacing(tmp_path / "a") as temporary:
        temporary.touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_failure_keeps_the_existing_file_or_folder(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    if kind == "file":
        path.write_bytes(b"old")
    elif kind == "folder":
        path.mkdir()
        (path / "old").touch()

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    if kind == "file":
        assert path.read_bytes() == b"old"
    elif kind == "folder":
        assert names_in(path) == ["old"]
    assert names_in(tmp_path) == ([] if kind == "nothing" else ["kept"])


def test_the_old_folder_stays_if_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network"
    path.mkdir()
    (path / "old").touch()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def replace() -> None:
        with replacing(path) as temporary:
            temporary.mkdir()
            monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match="Input/output"):
        replace()
    assert names_in(path) == ["old"]


def test_a_body_that_writes_nothing_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert names_in(tmp_path) == []


def test_sweep_removes_folders_of_killed_processes(tmp_path: Path, writer: Callable) -> None:
    process = writer(tmp_path / "a.png")
    process.kill()
    process.wait()
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(TEMPORARY_PREFIX)
    assert (leftover / "a.png").read_bytes() == b"half"
    sweep(tmp_path)
    assert names_in(tmp_path) == []


def test_sweep_keeps_folders_of_running_processes(tmp_path: Path, writer: Callable) -> None:
    process = writer(tmp_path / "a.png")
    sweep(tmp_path)
    process.communicate(b"", timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    assert names_in(tmp_path) == ["a.png"]


def test_sweep_keeps_folders_of_this_process(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"whole")
        sweep(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_sweep_keeps_everything_else(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for name in ("photos", ".hidden", "zerodce-1", ".zerodce", "sub/.zerodce-abc"):
        (folder / name).mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (folder / ".zerodce-link").symlink_to(elsewhere)
    (folder / ".zerodce-loop").symlink_to(".zerodce-loop")
    (folder / ".zerodce-notes").write_text("precious")
    before = sorted(folder.rglob("*"))
    sweep(folder)
    assert sorted(folder.rglob("*")) == before
    assert names_in(elsewhere) == ["precious"]


def test_sweep_ignores_paths_that_cannot_be_listed(
    open_folder: Path, as_nobody: Callable, tmp_path: Path
) -> None:
    sweep(tmp_path / "missing")
    (tmp_path / "file").touch()
    sweep(tmp_path / "file")
    sweep(Path("/", *(50 * ["x" * 200])))
    (open_folder / "locked" / "sub").mkdir(parents=True)
    (open_folder / "locked").chmod(0)
    with as_nobody():
        sweep(open_folder / "locked")
        sweep(open_folder / "locked" / "sub")


def test_a_place_that_cannot_be_written_to_is_named(
    open_folder: Path, as_nobody: Callable, tmp_path: Path
) -> None:
    (open_folder / "locked").mkdir()
    (open_folder / "locked").chmod(0o555)
    with as_nobody():
        with pytest.raises(PermissionError, match=r"locked/report\.csv'$"):
            check_place(open_folder / "locked" / "report.csv")
        check_place(open_folder / "report.csv")
    assert names_in(open_folder) == ["locked"]
    with pytest.raises(FileNotFoundError, match=r"missing/a\.csv'$"):
        check_place(tmp_path / "missing" / "a.csv")


def test_a_new_folder_that_another_process_sweeps_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdtemp = tempfile.mkdtemp
    sweeps = []

    def make_folder_and_sweep(**options: str) -> str:
        name = mkdtemp(**options)
        if not sweeps:
            descriptor = os.open(name, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)

            def finish_sweep() -> None:
                shutil.rmtree(name)
                os.close(descriptor)

            sweeps.append(threading.Timer(0.1, finish_sweep))
            sweeps[0].start()
        return name

    descriptors = names_in(Path("/proc/self/fd"))
    monkeypatch.setattr(tempfile, "mkdtemp", make_folder_and_sweep)
    with replacing(tmp_path / "a") as temporary:
        sweeps[0].join()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names_in(Path("/proc/self/fd")) == descriptors


WRITERS = """
import sys
import threading
from pathlib import Path
from zerodce_jax.atomic import replacing

def write(prefix):
    for i in range(150):
        path = Path(f"{prefix}-{i}")
        with replacing(path) as temporary:
            temporary.write_text(path.name)

threads = [threading.Thread(target=write, args=[f"{sys.argv[1]}-{i}"]) for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

SWEEPER = """
import sys
import time
from pathlib import Path
from zerodce_jax.atomic import sweep

while not Path(sys.argv[1]).exists():
    sweep(Path())
    # Give other processes time to run on a busy machine.
    time.sleep(0.002)
"""


def test_sweeping_and_writing_at_the_same_time_loses_no_file(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folder, stop = tmp_path / "results", tmp_path / "stop"
    folder.mkdir()

    def start(script: str, argument: object) -> subprocess.Popen:
        command = [sys.executable, "-c", script, str(argument)]
        return subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )

    sweepers = [start(SWEEPER, stop) for _ in range(2)]
    writers = [start(WRITERS, i) for i in range(2)]
    try:
        errors = [process.communicate(timeout=120)[1] for process in writers]
    finally:
        stop.touch()
    errors += [process.communicate(timeout=120)[1] for process in sweepers]
    assert errors == 4 * [""]
    expected = sorted(f"{i}-{j}-{k}" for i in range(2) for j in range(2) for k in range(150))
    assert names_in(folder) == expected
    assert [(folder / name).read_text() for name in expected] == expected


def test_the_error_for_a_missing_folder_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "no/such/x.onnx"):
        pass
    assert one_line(caught.value) == f"{tmp_path}/no/such: No such file or directory"
