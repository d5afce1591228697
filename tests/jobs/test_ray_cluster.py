"""``zerodce cluster``: the worklist, the actors, and runs on Ray with killed processes."""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from helpers import object_store, photo_files
from helpers.command import run, summary_of
from helpers.inverters import PIXELS, touch
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import UsageError, install_command
from zerodce_jax.jobs import ray_cluster
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.ray_cluster import Options, RayExecutor
from zerodce_jax.jobs.storage import Folder, LocalFiles
from zerodce_jax.jobs.worklist import Worklist, plan_work
from zerodce_jax.media import photo
from zerodce_jax.media.photograph import Photo
from zerodce_jax.models import serialization

SKIPPED = (
    "zerodce: note: skipped results exist, maybe with other settings; --overwrite replaces them\n"
)


def local(path: Path) -> Folder:
    return Folder(LocalFiles(), path)


def worklist(tmp_path: Path, **options: object) -> Worklist:
    return plan_work(local(tmp_path / "in"), local(tmp_path / "out"), **options)


def test_the_worklist_has_names_and_modification_times(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("a.gif", "b.png", "sub/c.jpg", "d.mp4", "e.txt")))
    touch(tmp_path / "out/sub/c.jpg", tmp_path / "out/other.png")
    work = worklist(tmp_path)
    modified = (tmp_path / "out/sub/c.jpg").stat().st_mtime_ns
    assert work.names == [b"a.gif", b"b.png", b"sub/c.jpg"]
    assert work.targets == [b"a.png", b"b.png", b"sub/c.jpg"]
    assert work.modified == [None, None, modified]
    assert (work.videos, len(work)) == (1, 3)
    assert work[0] == Item(tmp_path / "in/a.gif", tmp_path / "out/a.png")
    assert work[2].modified == modified
    assert worklist(tmp_path, format="webp").targets == [b"a.webp", b"b.webp", b"sub/c.webp"]


def test_names_that_clash_and_folders_that_are_the_same(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.jpg", tmp_path / "in/a.png", tmp_path / "empty/a.txt")
    assert len(worklist(tmp_path)) == 2
    with pytest.raises(UsageError, match=r"out/a\.png: two photographs would be written there"):
        worklist(tmp_path, format="png")
    with pytest.raises(UsageError, match="results need a folder of their own"):
        plan_work(local(tmp_path / "in"), local(tmp_path / "in"))
    with pytest.raises(UsageError, match="no photographs in"):
        plan_work(local(tmp_path / "empty"), local(tmp_path / "out"))


def test_names_are_kept_as_bytes_and_problems_come_last(tmp_path: Path) -> None:
    names = [b"\xff.png", "雪.png".encode(), b"a\nb.png"]
    touch(*(Path(os.fsdecode(bytes(tmp_path / "in") + b"/" + name)) for name in names))
    work = worklist(tmp_path)
    assert sorted(work.names) == sorted(names)
    work.problems.append(Item(tmp_path, tmp_path, "locked"))
    assert len(work) == 4
    assert [os.fsencode(work[i].source.name) for i in range(3)] == work.names
    assert work[3].problem == "locked"


def test_the_executor_skips_results_that_the_planning_found(network: Path, tmp_path: Path) -> None:
    touch(tmp_path / "in/a.png", tmp_path / "in/b.png", tmp_path / "out/a.png")
    work = worklist(tmp_path)
    executor = RayExecutor(work, serialization.load_network(network))
    # A later result does not count, since no storage is asked again.
    touch(tmp_path / "out/b.png")
    assert [executor.exists(work[number]) for number in range(2)] == [True, False]


def table_of(work: Worklist) -> pa.Table:
    return next(ray_cluster._tables(work, range(len(work.names)), 100))


def test_an_actor_keeps_the_results_of_a_lost_attempt(
    network: Path, tmp_path: Path, no_compilation_cache: None
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        photo.write(tmp_path / "in" / name, Photo(PIXELS))
    photo.write(tmp_path / "out/c.png", Photo(PIXELS))
    work = worklist(tmp_path)
    # One result was written after the planning.
    photo.write(tmp_path / "out/a.png", Photo(PIXELS[:1]))
    before = (tmp_path / "out/a.png").stat().st_mtime_ns
    actor = ray_cluster._Actor(
        work, serialization.load_network(network), EnhanceSettings(), Options(engine="xla")
    )
    rows = sorted(actor(table_of(work)).to_pylist(), key=lambda row: row["number"])
    assert [row["status"] for row in rows] == ["done"] * 3
    assert [(row["width"], row["height"]) for row in rows] == [(2, 1), (2, 2), (2, 2)]
    assert (tmp_path / "out/a.png").stat().st_mtime_ns == before
    assert (tmp_path / "out/c.png").read_bytes() == (tmp_path / "out/b.png").read_bytes()
    again = actor(table_of(work)).to_pylist()
    assert [row["seconds"] for row in again] == [0.0] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--actors", "0"], "--max-pixels, --batch and --actors must be whole numbers >= 1"),
        (["--batch", "0"], "--max-pixels, --batch and --actors must be whole numbers >= 1"),
        (["--gpus-per-actor", "-1"], "--gpus-per-actor must not be negative"),
        (["--gamma", "-1"], "gamma"),
        (["--report", "nonesuch://a/b"], "nonesuch://a/b: "),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cluster", pictures, pictures / "out", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (pictures / "out").exists()


def test_a_missing_package_is_named(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "ray" else found(n))
    assert run("cluster", pictures, pictures / "out") == 2
    error = capsys.readouterr().err
    assert error == f"zerodce: a cluster needs packages: {install_command('ray')}\n"


def test_without_work_ray_does_not_start(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path / "out/a.png", tmp_path / "out/sub/gray.png", pictures / "film.mp4")
    assert run("cluster", pictures, tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (0, 2, 0)
    assert printed.err == f"zerodce: note: 1 videos are left out; enhance takes them\n{SKIPPED}"
    assert not (tmp_path / "out/report.parquet").exists()
    assert "ray" not in sys.modules
    report = tmp_path / "report.parquet"
    assert run("cluster", pictures, tmp_path / "out", "--report", report) == 0
    assert pq.read_table(report)["status"].to_pylist() == ["skipped"] * 2


# The other tests run Ray, in processes of its own.


class Ray:
    """``zerodce cluster`` with a tiny network, on a Ray cluster that no other process can join."""

    def __init__(self, network: Path, environment: dict[str, str]) -> None:
        self.mark = secrets.token_hex(20)
        self.place = tempfile.mkdtemp(prefix="zerodce-ray-")
        self.options = ("-m", str(network), "--engine", "xla")
        self.environment = environment | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.mark,
            "RAY_TMPDIR": self.place,
        }

    def start(self, *arguments: object, begin: tuple[str, ...] = (), **variables: str):
        return subprocess.Popen(
            [sys.executable, *(begin or ("-m", "zerodce_jax")), "cluster"]
            + [str(argument) for argument in (*arguments, *self.options)],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def workers(self) -> list[int]:
        """Return the process numbers of the actors."""
        found = []
        for place in Path("/proc").iterdir():
            try:
                titled = (place / "cmdline").read_bytes().startswith(b"ray::MapWorker")
                if titled and self.mark.encode() in (place / "environ").read_bytes():
                    found.append(int(place.name))
            except (OSError, ValueError):
                continue
        return found


@pytest.fixture
def ray(network: Path, environment: dict[str, str]) -> Iterator[Ray]:
    started = Ray(network, environment)
    yield started
    shutil.rmtree(started.place, ignore_errors=True)


@pytest.fixture
def store() -> Iterator[object_store.Store]:
    with object_store.running() as running:
        yield running


def make_photographs(folder: Path, count: int) -> Path:
    """Write small photographs of each format, with metadata, some of 16 bits, and a broken one."""
    rng = np.random.default_rng(0)
    for i in range(count):
        suffix = (*photo_files.METADATA_SUFFIXES, "gif", "bmp")[i % 8]
        path = folder / f"{i % 3}" / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 90, (90, 120 + i % 7, 3), dtype=np.uint8))
        carried = {"exif": photo_files.exif(6), "icc_profile": photo_files.ICC}
        path.write_bytes(photo_files.encode_image(image, suffix, **carried))
    for i in range(4):
        pixels = rng.integers(0, 20_000, (50, 60 + i, 3), dtype=np.uint16)
        photo.write(folder / f"deep/{i}.{('png', 'tif')[i % 2]}", Photo(pixels))
    touch(folder / "broken.png")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def enhance_locally(python: Callable, ray: Ray, source: Path, target: Path) -> dict[str, bytes]:
    """Return the files that ``enhance`` writes."""
    result = python("enhance.py", source, "-o", target, *ray.options)
    assert result.returncode == 1
    return files_in(target)


def wait_for(process: subprocess.Popen, count: Callable[[], int], minimum: int) -> None:
    while process.poll() is None and count() < minimum:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.ray
def test_from_and_to_an_object_store_while_a_worker_is_killed(
    ray: Ray, store: object_store.Store, python: Callable, tmp_path: Path
) -> None:
    source = make_photographs(tmp_path / "in", 296)
    for name, content in files_in(source).items():
        store.put(f"in/{name}", content)
    expected = enhance_locally(python, ray, source, tmp_path / "out")
    assert len(expected) == 300
    command = ("s3://pictures/in", "s3://pictures/out", "--actors", 2, "--batch", 8)
    with ray.start(*command, **store.variables) as process:
        wait_for(process, lambda: len(store.versions("out/")), 40)
        victim = ray.workers()[0]
        os.kill(victim, signal.SIGKILL)
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert summary_of(printed) == (300, 0, 1)
    assert printed.count("\n") == 1
    broken = "zerodce: s3://pictures/in/broken.png: not an image of a known format"
    others = [line for line in errors.splitlines() if line != broken]
    assert len(others) == len(errors.splitlines()) - 1
    assert all(line.startswith("zerodce: note: ") for line in others), errors
    # Each result was written once, and no other object was.
    versions = store.versions("out/")
    assert versions == Counter([f"out/{name}" for name in expected] + ["out/report.parquet"])
    for name, content in expected.items():
        assert store.get(f"out/{name}") == content, name
    report = pq.read_table(pa.BufferReader(store.get("out/report.parquet"))).to_pylist()
    by_source = {row["source"]: row for row in report}
    assert len(report) == len(by_source) == 301
    assert Counter(row["status"] for row in report) == {"done": 300, "failed": 1}
    assert by_source["s3://pictures/in/broken.png"]["message"] in broken
    assert by_source["s3://pictures/in/deep/3.tif"] | {"seconds": 0} == {
        "source": "s3://pictures/in/deep/3.tif",
        "target": "s3://pictures/out/deep/3.tif",
        "status": "done",
        "message": "",
        "seconds": 0,
        "width": 63,
        "height": 50,
    }
    # A second run does nothing.
    store.delete("in/broken.png")
    with ray.start(*command, **store.variables) as process:
        printed, errors = process.communicate(timeout=300)
    assert (process.returncode, summary_of(printed), errors) == (0, (0, 300, 0), SKIPPED)
    assert store.versions("out/") == versions


# Kills one of the actors for good once there are 40 results.
KILLING = """
import gc, os, sys, threading, time
from zerodce_jax.cli import main

def kill():
    while sum(len(names) for *_, names in os.walk(sys.argv[1])) < 40:
        time.sleep(0.02)
    import ray
    from ray.actor import ActorHandle
    actors = [value for value in gc.get_objects() if type(value) is ActorHandle]
    ray.kill([actor for actor in actors if "MapWorker" in repr(actor)][0], no_restart=True)
    print("killed", file=sys.stderr)

threading.Thread(target=kill, daemon=True).start()
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_from_folder_to_folder_while_an_actor_is_killed_for_good(
    ray: Ray, python: Callable, tmp_path: Path
) -> None:
    source = make_photographs(tmp_path / "in", 196)
    expected = enhance_locally(python, ray, source, tmp_path / "expected")
    out, report = tmp_path / "out", tmp_path / "report.parquet"
    command = (source, out, "--actors", 2, "--batch", 8, "--report", report)
    with ray.start(*command, begin=("-c", KILLING, str(out))) as process:
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "killed" in errors.splitlines()
    assert summary_of(printed) == (200, 0, 1)
    assert files_in(out) == expected
    statuses = Counter(pq.read_table(report)["status"].to_pylist())
    assert statuses == {"done": 200, "failed": 1}


# Replaces the decoder by one that crashes on a certain photograph.
DEADLY = """
import os, signal, sys
if "default_worker.py" in " ".join(sys.orig_argv):
    from zerodce_jax.media import photo
    decode = photo.decode
    def deadly(data, **options):
        if b"deadly" in data:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, **options)
    photo.decode = deadly
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_photograph_that_crashes_its_worker_fails_no_other(ray: Ray, tmp_path: Path) -> None:
    for i in range(12):
        photo.write(tmp_path / f"in/{i:02}.png", Photo(PIXELS))
    deadly = tmp_path / "in/05.png"
    deadly.write_bytes(deadly.read_bytes() + b"deadly")
    touch(tmp_path / "site/sitecustomize.py")
    (tmp_path / "site/sitecustomize.py").write_text(DEADLY)
    path = f"{tmp_path / 'site'}:{ray.environment['PYTHONPATH']}"
    command = (tmp_path / "in", tmp_path / "out", "--actors", 1, "--batch", 4)
    with ray.start(*command, PYTHONPATH=path) as process:
        printed, errors = process.communicate(timeout=400)
    assert process.returncode == 1, errors
    assert summary_of(printed) == (11, 0, 1)
    failures = [line for line in errors.splitlines() if "note: " not in line]
    assert failures == [f"zerodce: {deadly}: {ray_cluster._GAVE_UP}"]


# Waits until a cluster has two machines.
WAITING = """
import sys, time
import ray

for _ in range(100):
    try:
        ray.init(sys.argv[1], log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.2)
"""


@contextmanager
def machine(ray: Ray, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a machine of a cluster; all its processes end with it."""
    command = [Path(sys.executable).parent / "ray", "start", *options, "--num-cpus=1", "--block"]
    started = subprocess.Popen(
        command,
        env=ray.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.mark.slow
@pytest.mark.ray
def test_a_machine_of_a_cluster_is_lost(ray: Ray, python: Callable, tmp_path: Path) -> None:
    source, out = make_photographs(tmp_path / "in", 156), tmp_path / "out"
    expected = enhance_locally(python, ray, source, tmp_path / "expected")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    head = ("--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false")
    report = tmp_path / "report.parquet"
    with machine(ray, *head) as first, machine(ray, f"--address={address}") as second:
        command = (source, out, "--actors", 2, "--batch", 4, "--report", report)
        assert python("-c", WAITING, address, **ray.environment).returncode == 0
        with ray.start(*command, "--address", address) as process:
            # Temporary files may disappear while they are counted, which os.walk allows.
            wait_for(process, lambda: sum(len(names) for *_, names in os.walk(out)), 40)
            os.killpg(second.pid, signal.SIGKILL)
            printed, errors = process.communicate(timeout=300)
        assert first.poll() is None
    assert process.returncode == 1, errors
    assert summary_of(printed) == (160, 0, 1)
    assert files_in(out) == expected
    assert Counter(pq.read_table(report)["status"].to_pylist()) == {"done": 160, "failed": 1}


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_that_does_not_answer(ray: Ray, pictures: Path, tmp_path: Path) -> None:
    with ray.start(pictures, tmp_path / "out", "--address", "127.0.0.1:9") as process:
        printed, errors = process.communicate(timeout=300)
    assert (process.returncode, printed) == (1, "")
    assert re.fullmatch(r"zerodce: 127\.0\.0\.1:9: .+\n", errors)
