"""Shapes are checked at run time; fixtures for goldens, reference data and child processes."""

import os
import resource
import shutil
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

# Before anything imports the package: every annotated shape is checked from here on.
jaxtyping.install_import_hook("zerodce_jax", f"{shapecheck.__name__}.checked")

settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Random networks, and what their PyTorch originals made of random images."""
    return GOLDENS


@pytest.fixture(scope="session")
def reference() -> Path:
    """Published networks and pictures, which are no part of the project."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference data at {REFERENCE}")
    return REFERENCE


@pytest.fixture(scope="session")
def random_network() -> Callable:
    """Load one of the golden networks by its name, such as ``reduced``."""
    from zerodce_jax.models import serialization

    return lambda name: serialization.load_network(GOLDENS / f"{name}_random.pth")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network so small that it compiles in no time."""
    from helpers.whole_image import random_network
    from zerodce_jax.config import NetworkConfig
    from zerodce_jax.models import serialization

    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    serialization.save_network(random_network(NetworkConfig(features=2, iterations=2)), path)
    return path


@pytest.fixture
def no_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process leave JAX's settings alone."""
    from zerodce_jax.engines import xla

    monkeypatch.setattr(xla, "use_compilation_cache", lambda: None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with pictures, something that is none, and a folder within."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 80, (30, 40, 3), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 80, (20, 10), dtype=np.uint8)).save(folder / "sub/gray.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven dark pictures to train on."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(7):
        Image.fromarray(rng.integers(0, 90, (24, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Many tests run the same programs: compile each of them once."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_end_with_their_module() -> Iterator[None]:
    """Else they take several GiB in the end."""
    import jax

    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of child processes: compiled programs are shared by them, but not with the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    kept.pop("XLA_FLAGS", None)
    cache = tmp_path_factory.mktemp("cache")
    return kept | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""}


@pytest.fixture(scope="session")
def python(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own, from the repository's root."""

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
    """Lets a reader that trusts a damaged file run out of memory, and not the whole machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """Neither threads nor anything under a temporary name."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert list(tmp_path.rglob(".zerodce-*")) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone may write in."""
    folder = Path(tempfile.mkdtemp(prefix="zerodce-tests-"))
    folder.chmod(0o777)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody(open_folder: Path) -> Callable[[], AbstractContextManager[None]]:
    """Act as a user for whom permissions count, root too; what is to be imported should be."""

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
        pytest.skip(f"root cannot act as somebody else here: {error}")
    if readable:
        pytest.skip("permissions do not count here")
    locked.unlink()
    return act


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 400 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="session")
def compilations() -> Callable[[], AbstractContextManager[list[str]]]:
    """Record the names of the programs that XLA compiles, as JAX itself reports them."""
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
