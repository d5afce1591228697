"""Fixtures for all tests: files, child processes, users, disks; run-time checks of shapes."""

import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from helpers import GOLDENS, REFERENCE, ROOT, shapecheck

# This must precede all imports of the package: the hook adds a check of every annotated shape.
jaxtyping.install_import_hook("zerodce_jax", f"{shapecheck.__name__}.checked")

from zerodce_jax.engines import fused

# Shells start background jobs with Ctrl-C ignored, and child processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_is_usable = fused.is_usable

settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from traversing all imported modules again and again."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a package which is not installed."""
    for marker in item.iter_markers("needs"):
        for package in marker.args:
            pytest.importorskip(package)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Return the folder of random networks and the outputs of their PyTorch originals."""
    return GOLDENS


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder of published networks and images, which the project must not include."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data at {REFERENCE}")
    return REFERENCE


@pytest.fixture(scope="session")
def random_network() -> Callable:
    """Return a function that loads a golden network by its name, such as ``reduced``."""
    from zerodce_jax.models import serialization

    return lambda name: serialization.load_network(GOLDENS / f"{name}_random.pth")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network that is small enough to compile in a fraction of a second."""
    from helpers.whole_image import random_network
    from zerodce_jax.config import NetworkConfig
    from zerodce_jax.models import serialization

    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    serialization.save_network(random_network(NetworkConfig(features=2, iterations=2)), path)
    return path


@pytest.fixture(scope="session")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small scene network that brightens images."""
    from helpers.enhancers import brightening_network
    from zerodce_jax.models import serialization

    path = tmp_path_factory.mktemp("scene") / "scene.safetensors"
    serialization.save_network(brightening_network("scene"), path)
    return path


@pytest.fixture
def no_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands that run in this process from changing the settings of JAX."""
    from zerodce_jax.engines import xla

    monkeypatch.setattr(xla, "use_compilation_cache", lambda: None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with an image, a text file, and a subfolder with another image."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 80, (30, 40, 3), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 80, (20, 10), dtype=np.uint8)).save(folder / "sub/gray.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of seven dark photographs to train on."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(7):
        Image.fromarray(rng.integers(0, 90, (24, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile each program once, because many tests run the same ones."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_end_with_their_module() -> Iterator[None]:
    """Free compiled programs after each module; together they would take several GiB."""
    import jax

    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables for child processes, which share a compilation cache of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    kept.pop("XLA_FLAGS", None)
    cache = tmp_path_factory.mktemp("cache")
    return kept | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""}


@pytest.fixture(scope="session")
def python(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python in a child process, in the root of the repository."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the memory of this process, so that an oversized allocation fails in it alone."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """Check that the test leaves neither threads nor temporary files."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert list(tmp_path.rglob(".zerodce-*")) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="zerodce-tests-"))
    folder.chmod(0o777)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody(open_folder: Path) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which file permissions apply, even when root runs the tests.

    Import modules before entering it: the other user may not be able to read them.
    """

    @contextmanager
    def act() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    locked = open_folder / "locked"
    locked.touch(mode=0)
    try:
        with act():
            readable = os.access(locked, os.R_OK, effective_ids=True)
    except OSError as error:
        pytest.skip(f"root cannot act as another user here: {error}")
    if readable:
        pytest.skip("file permissions have no effect here")
    locked.unlink()
    return act


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the root of a file system that holds 400 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="session")
def compilations() -> Callable[[], AbstractContextManager[list[str]]]:
    """Return a context that collects the names of the programs that XLA compiles."""
    import jax

    @contextmanager
    def record() -> Iterator[list[str]]:
        names: list[str] = []

        def listen(event: str, _seconds: float, **details: object) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                names.append(str(details["fun_name"]))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield names
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return record


@pytest.fixture(autouse=True)
def no_fused_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in the tiles of the engines, also where the fused pass is installed.

    The tests of the fused pass undo this (test_fused.py).
    """
    monkeypatch.setattr(fused, "is_usable", lambda _: False)


@pytest.fixture
def as_installed(no_fused_pass: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the fused pass where it is installed, as other processes do that a test compares with."""
    monkeypatch.setattr(fused, "is_usable", _is_usable)
