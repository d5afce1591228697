"""``zerodce enhance`` in processes: pipes, signals, kills, full disks, published results."""

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command import opened, summary_of
from zerodce_jax.models import serialization

pytestmark = pytest.mark.slow


class Command:
    """``zerodce enhance`` with a tiny network, in processes of its own."""

    def __init__(self, network: Path, environment: dict[str, str]) -> None:
        self.command = [sys.executable, "-m", "zerodce_jax", "enhance", "-m", str(network)]
        # Output to a pipe is buffered, as it is from a shell.
        self.environment = environment | {"PYTHONUNBUFFERED": ""}

    def start(self, *arguments: object, **streams: object) -> subprocess.Popen:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [*self.command, "--tile", "32", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, **pipes | streams)

    def __call__(
        self, *arguments: object, given: bytes = b"", **streams: object
    ) -> tuple[int, bytes, str]:
        """Run to the end; return exit status, standard output, standard error."""
        with self.start(*arguments, **streams) as process:
            printed, errors = process.communicate(given, timeout=300)
        return process.returncode, printed, errors.decode()


@pytest.fixture(scope="session")
def enhance(network: Path, environment: dict[str, str]) -> Command:
    return Command(network, environment)


def make_photographs(folder: Path, count: int, side: int = 60) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        (folder / f"{i % 3}").mkdir(exist_ok=True)
        pixels = rng.integers(0, 90, (side, side + i % 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i % 3}" / f"{i}.png")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files, also of those with temporary names."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def as_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 90, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def test_from_pipe_to_pipe(enhance: Command) -> None:
    status, printed, errors = enhance("-", "-o", "-", given=as_bytes("JPEG"))
    assert (status, errors) == (0, "")
    with Image.open(io.BytesIO(printed)) as image:
        assert (image.format, image.size) == ("JPEG", (40, 30))
        image.load()


def test_a_broken_photograph_on_standard_input(enhance: Command) -> None:
    status, printed, errors = enhance("-", "-o", "-", given=as_bytes("JPEG")[:100])
    assert (status, printed) == (1, b"")
    assert re.fullmatch(r"zerodce: standard input: .+\n", errors)


@pytest.mark.parametrize(("source", "closed"), [("-", "<&-"), ("{here}/a.jpg", ">&-")])
def test_standard_streams_that_are_closed(
    source: str, closed: str, enhance: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(as_bytes("JPEG"))
    arguments = [source.format(here=tmp_path), "-o", "-"]
    result = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *enhance.command, *arguments],
        env=enhance.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"zerodce: standard (in|out)put: .+\n", result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "-"),
        ("-o", "{out}", "--dry-run"),
        ("-o", "{out}"),
    ],
)
def test_a_closed_output_pipe(arguments: tuple[str, ...], enhance: Command, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(as_bytes("JPEG"))
    arguments = tuple(argument.format(out=tmp_path / "out") for argument in arguments)
    with enhance.start(tmp_path / "a.jpg", *arguments) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (1, b"zerodce: Broken pipe\n")
    assert (tmp_path / "out").exists() == (arguments[-1] == str(tmp_path / "out"))


def test_a_dry_run_does_not_import_jax(python: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    result = python(
        "-c",
        "import sys\nfrom zerodce_jax.cli import main\n"
        "status = main(['enhance', sys.argv[1], '-o', sys.argv[2], '--dry-run'])\n"
        "heavy = {'jax', 'flax', 'orbax', 'tqdm'} & set(sys.modules)\n"
        "print('heavy:', *sorted(heavy))\n"
        "sys.exit(status)",
        tmp_path / "a.png",
        tmp_path / "out",
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{tmp_path}/a.png -> {tmp_path}/out/a.png",
        "1 to do, 0 exist",
        "heavy:",
    ]
    assert not (tmp_path / "out").exists()


def test_unusual_names_take_one_line_each(enhance: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = [b"a\nb.png", b"\x1b[31m.png", b"\xff.png", b"\xe2\x80\xae.png"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path / "in") + b"/" + name)).touch()
    missing = tmp_path / "missing.png"
    (tmp_path / "good.jpg").write_bytes(as_bytes("JPEG"))
    inputs = (missing, tmp_path / "in", tmp_path / "good.jpg")
    status, printed, errors = enhance(*inputs, "-o", tmp_path / "out")
    assert status == 1
    assert summary_of(printed.decode()) == (1, 0, 5)
    assert errors.count("\n") == 5
    assert errors.startswith(f"zerodce: {missing}: No such file or directory\n")
    assert all(line.isprintable() for line in errors.splitlines())
    assert list(files_in(tmp_path / "out")) == ["good.jpg"]


def test_a_full_disk_and_a_read_only_disk(
    enhance: Command, tmp_path: Path, small_disk: Path
) -> None:
    # A file has about 110 kB.
    source = make_photographs(tmp_path / "in", 8, side=190)
    assert enhance(source, "-o", tmp_path / "out")[0] == 0
    expected = files_in(tmp_path / "out")

    out = small_disk / "out"
    status, printed, errors = enhance(source, "-o", out, "--jobs", 2)
    assert status == 1
    done, skipped, failed = summary_of(printed.decode())
    assert (done + failed, skipped) == (8, 0)
    assert done >= 1
    for line in errors.splitlines():
        assert re.fullmatch(f"zerodce: {out}/./.+: No space left on device", line)
    assert len(errors.splitlines()) == failed >= 4
    assert len(files_in(out)) == done
    assert files_in(out).items() <= expected.items()
    assert not list(out.rglob(".zerodce-*"))

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    status, printed, errors = enhance(source / "0/0.png", "-o", out / "0.png")
    assert (status, summary_of(printed.decode())) == (1, (0, 0, 1))
    assert errors == f"zerodce: {out}/0.png: Read-only file system\n"
    status, printed, errors = enhance(source / "0/0.png", "-o", small_disk / "new")
    assert (status, summary_of(printed.decode())) == (1, (0, 0, 1))
    assert re.fullmatch(f"zerodce: {small_disk}/new.*: Read-only file system\n", errors)


def results_in(out: Path) -> list[Path]:
    """Return the results, without temporary files."""
    return list(out.glob("?/*.png"))


def wait_for_results(process: subprocess.Popen, out: Path, count: int) -> None:
    """Return once there are `count` results, or the run has ended."""
    while process.poll() is None and len(results_in(out)) < count:
        time.sleep(0.005)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_begun_files_and_reports_the_others(
    stop: signal.Signals, enhance: Command, tmp_path: Path
) -> None:
    source, out = make_photographs(tmp_path / "in", 240), tmp_path / "out"
    report = ("--report", tmp_path / "report.json")
    with enhance.start(source, "-o", out, *report) as process:
        wait_for_results(process, out, 5)
        process.send_signal(stop)
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"zerodce: interrupted\n")
    first = files_in(out)
    assert not [name for name in first if ".zerodce-" in name]
    done, not_started = map(int, re.findall(rb"(\d+) (?:done|not started)", printed))
    assert done == len(first) >= 5
    assert done + not_started == 240
    assert (tmp_path / "report.json").read_text().count('"not_started"') == not_started

    status, printed, errors = enhance(source, "-o", out)
    assert status == 0
    assert "skipped results exist" in errors
    assert summary_of(printed.decode()) == (not_started, done, 0)
    assert enhance(source, "-o", tmp_path / "undisturbed")[0] == 0
    assert files_in(out) == files_in(tmp_path / "undisturbed")
    assert files_in(out).items() >= first.items()


def test_eight_kills_do_not_change_the_results(enhance: Command, tmp_path: Path) -> None:
    source, out = make_photographs(tmp_path / "in", 200, side=100), tmp_path / "out"
    assert enhance(source, "-o", tmp_path / "undisturbed")[0] == 0
    chance = random.Random(0)
    for _ in range(8):
        with enhance.start(source, "-o", out) as process:
            # The kill comes before the first new result, or some results later.
            wait_for_results(process, out, len(results_in(out)) + chance.randint(0, 15))
            time.sleep(chance.random() * 0.05)
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        # Each result is complete.
        for path in results_in(out):
            expected = tmp_path / "undisturbed" / path.relative_to(out)
            assert path.read_bytes() == expected.read_bytes()
    assert enhance(source, "-o", out)[0] == 0
    assert files_in(out) == files_in(tmp_path / "undisturbed")
    assert not list(out.rglob(".zerodce-*"))


def test_published_results(reference: Path, tmp_path: Path, python: Callable) -> None:
    weights = reference / "weights" / "zero_dce_improved_pretrain.pth"
    assert python("-m", "zerodce_jax", "convert", weights, tmp_path / "net").returncode == 0
    options = ("-m", tmp_path / "net", "-o", tmp_path / "out", "--format", "png")
    result = python("enhance.py", reference / "lime", *options)
    assert result.returncode == 0, result.stderr
    published = sorted((reference / "lime_results").glob("*.bmp"))
    assert summary_of(result.stdout) == (len(published), 0, 0)
    for path in published:
        theirs = np.asarray(opened(path)).astype(int)
        ours = np.asarray(opened(tmp_path / "out" / f"{path.stem}.png")).astype(int)
        difference = np.abs(ours - theirs)
        assert difference.max() <= 2
        assert difference.mean() <= 0.5


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("zero_dce_improved_pretrain", "reduced"),
        ("zero_dce_epoch99", "original"),
        ("zero_dce_plusplus_epoch99", "plusplus"),
    ],
)
def test_published_networks_convert_and_brighten(
    name: str, preset: str, reference: Path, tmp_path: Path, python: Callable
) -> None:
    model = tmp_path / "net.safetensors"
    weights = reference / "weights" / f"{name}.pth"
    converted = python("-m", "zerodce_jax", "convert", weights, model)
    assert converted.returncode == 0, converted.stderr
    assert f"{model}: {preset}, " in converted.stdout
    dark = reference / "lime" / "4.bmp"
    result = python("enhance.py", dark, "-m", model, "-o", tmp_path / "bright.png")
    assert result.returncode == 0, result.stderr
    before, after = (np.asarray(opened(p)).mean() for p in (dark, tmp_path / "bright.png"))
    assert after > 1.2 * before


# The memory of a child process includes its parent's at the start, so a small parent starts it.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def peak_memory(command: list[object], environment: dict[str, str], cwd: Path) -> int:
    """Run a process without errors and return its largest resident memory, in bytes."""
    arguments = [sys.executable, "-c", MEASURE, *map(str, command)]
    done = subprocess.run(arguments, env=environment, cwd=cwd, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "scale", "size", "limit"),
    [
        ("reduced", 1, (4000, 3000), 1.0e9),
        ("plusplus", 12, (12_000, 8_000), 2.0e9),
    ],
)
def test_memory(
    name: str,
    scale: int,
    size: tuple[int, int],
    limit: float,
    goldens: Path,
    root: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    network = serialization.load_network(goldens / f"{name}_random.pth", scale=scale)
    serialization.save_network(network, tmp_path / "net.safetensors")
    ramp = np.linspace(0, 90, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    source, target = tmp_path / "large.jpg", tmp_path / "out.jpg"
    Image.fromarray(ramp).resize(size, Image.Resampling.BILINEAR).save(source, quality=90)
    command = [sys.executable, root / "enhance.py", source, "-o", target]
    peak = peak_memory([*command, "-m", tmp_path / "net.safetensors"], environment, root)
    print(f"{size[0]}x{size[1]}, {name}: {peak / 1e6:.0f} MB")
    assert peak < limit
    with Image.open(target) as image:
        assert image.size == size
