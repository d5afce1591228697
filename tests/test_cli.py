"""The command line: exit codes, what is printed, real processes, published results, memory."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pth_files
import pytest
import safetensors.numpy
from PIL import Image
from whole_image import random_network

from zerodce_jax import convert, engine
from zerodce_jax.cli import main
from zerodce_jax.config import NetworkConfig

SUMMARY = r"^(\d+) done, (\d+) skipped, (\d+) failed in \d+\.\d s \(\d+\.\d+ megapixels/s\)$"


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process leave JAX's settings alone."""
    monkeypatch.setattr(engine, "use_compilation_cache", lambda: None)


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
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network so small that it compiles in no time."""
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    convert.save(random_network(NetworkConfig(features=2, iterations=2)), path)
    return path


def opened(path: Path) -> Image.Image:
    """A picture whose file is closed."""
    with Image.open(path) as image:
        image.load()
        return image


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def enhance(*arguments: object) -> int:
    return run("enhance", *arguments, "--tile", 32)


def summary_of(output: str) -> tuple[int, ...]:
    """Done, skipped and failed, from the last line that was printed."""
    found = re.match(SUMMARY, output.splitlines()[-1])
    assert found, output
    return tuple(map(int, found.groups()))


def test_enhance_writes_skips_and_overwrites(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert enhance(pictures, "-o", out, "-m", network) == 0
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (2, 0, 0)
    assert printed.err == ""
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "a.png",
        "sub/gray.png",
    ]
    assert opened(out / "sub/gray.png").mode == "L"
    first = (out / "a.png").read_bytes()

    assert enhance(pictures, "-o", out, "-m", network, "--gamma", 3) == 0
    assert summary_of(capsys.readouterr().out) == (0, 2, 0)
    assert (out / "a.png").read_bytes() == first

    assert enhance(pictures, "-o", out, "-m", network, "--gamma", 3, "--overwrite") == 0
    assert summary_of(capsys.readouterr().out) == (2, 0, 0)
    assert (out / "a.png").read_bytes() != first


def test_options_reach_the_pictures(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, result = pictures / "a.png", tmp_path / "new" / "same.png"
    assert enhance(source, "-o", result, "-m", network, "--strength", 0, "--gamma", 1) == 0
    np.testing.assert_array_equal(np.asarray(opened(result)), np.asarray(opened(source)))

    options = ("--suffix", "_bright", "--format", "jpeg")
    assert enhance(pictures / "*.png", "-o", tmp_path / "out", "-m", network, *options) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_bright.jpg"]
    assert opened(tmp_path / "out/a_bright.jpg").format == "JPEG"
    assert summary_of(capsys.readouterr().out) == (1, 0, 0)


def test_failures_are_one_line_each_and_exit_one(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "empty.png").write_bytes(b"")
    missing = tmp_path / "missing.png"
    assert enhance(pictures, missing, "-o", tmp_path / "out", "-m", network) == 1
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (2, 0, 3)
    lines = printed.err.splitlines()
    assert len(lines) == 3
    broken = (pictures / "broken.jpg", pictures / "empty.png", missing)
    for line, path in zip(lines, broken, strict=True):
        assert line.startswith(f"zerodce: {path}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["{in}", "-o", "{out}", "--gamma", "0"],
        ["{in}", "-o", "{out}", "--gamma", "nan"],
        ["{in}", "-o", "{out}", "--strength", "2.5"],
        ["{in}", "-o", "{out}", "--tile", "0"],
        ["{in}", "-o", "{in}"],
        ["{in}/nothing*.png", "-o", "{out}"],
        ["{in}/a.png", "{in}/a.png", "-o", "{out}"],
        ["-o", "{out}"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_enhance(
    arguments: list[str], pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places = {"in": pictures, "out": tmp_path / "out"}
    assert run("enhance", *(argument.format(**places) for argument in arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("zerodce: ")
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["improve"],
        ["enhance"],
        ["enhance", "a.png"],
        ["enhance", "a.png", "-o", "b.png", "--gamma", "much"],
        ["enhance", "a.png", "-o", "b.png", "--format", "gif"],
        ["enhance", "a.png", "-o", "b.png", "--nonesuch"],
        ["convert"],
        ["convert", "net.pth", "net", "--preset", "tiny"],
        ["convert", "net.pth", "net", "--layout", "tensorflow"],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("model", ["nonesuch", "{folder}", "{folder}@3", "{folder}/text.pth"])
def test_networks_that_are_none(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "text.pth").write_text("no network")
    name = model.format(folder=tmp_path)
    assert enhance(pictures, "-o", tmp_path / "out", "-m", name) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("zerodce: ")
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["net", "net.safetensors"])
def test_convert_writes_and_says_what(
    target: str, goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "below" / target
    assert run("convert", goldens / "plusplus_random_legacy.pth", path, "--scale", 12) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{path}: plusplus, 10,561 parameters\n"
    assert "taken for the preset plusplus" in printed.err
    assert convert.load(path).config.scale == 12


def test_convert_to_the_torch_layout(goldens: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    assert run("convert", goldens / "reduced_random.pth", path, "--layout", "torch") == 0
    assert safetensors.numpy.load_file(path)["e_conv7.weight"].shape == (24, 32, 3, 3)


def test_convert_assumes_reduced_for_16_features_and_says_so(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("convert", goldens / "reduced_random.pth", tmp_path / "net") == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("zerodce: note: ")
    assert "16 features are taken for the preset reduced" in note
    preset = ("--preset", "reduced")
    assert run("convert", goldens / "reduced_random.pth", tmp_path / "sure", *preset) == 0
    assert capsys.readouterr().err == ""


def test_check_prints_a_table(goldens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", goldens / "reduced_random.pth", "--check") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split(maxsplit=2) == ["tensor", "shape", "largest difference after a round trip"]
    assert len(rows) == 14
    assert re.split(r"\s{2,}", rows[0]) == ["conv1.kernel", "(3, 3, 3, 16)", "0"]
    assert all(row.endswith(" 0") for row in rows)


def test_convert_replaces_nothing_unasked(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, target = goldens / "reduced_random.pth", tmp_path / "net.safetensors"
    target.write_bytes(b"precious")
    assert run("convert", source, target) == 1
    assert f"{target}: exists already" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert run("convert", source, target, "--overwrite") == 0
    assert convert.load(target).parameters == 23_592


def test_convert_never_replaces_a_folder_of_something_else(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "wedding.jpg").write_bytes(b"precious")
    for source in ("reduced_random.pth", "original_random.pth"):
        assert run("convert", goldens / source, photos, "--overwrite") != 0
        assert str(photos) in capsys.readouterr().err
        assert [path.name for path in photos.iterdir()] == ["wedding.jpg"]
    assert run("convert", goldens / "reduced_random.pth", tmp_path / "net") == 0
    assert run("convert", goldens / "original_random.pth", tmp_path / "net", "--overwrite") == 0
    assert convert.load(tmp_path / "net").config.preset == "original"


@pytest.mark.parametrize("target", ["net", "net.safetensors"])
def test_convert_names_every_misfit_and_writes_nothing(
    target: str, goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from zerodce_jax.pth import read_state_dict

    tensors = read_state_dict(goldens / "reduced_random.pth")
    del tensors["e_conv2.bias"]
    tensors["e_conv3.bias"] = np.zeros(15, np.float32)
    tensors["stranger"] = np.zeros((2, 2), np.float32)
    source = tmp_path / "bad.pth"
    source.write_bytes(pth_files.both(tensors)[1])
    assert run("convert", source, tmp_path / target) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[1:] == [
        "  e_conv2.bias: missing, expected (16,)",
        "  stranger: left over, shape (2, 2)",
        "  e_conv3.bias: shape (15,), expected (16,)",
    ]
    assert list(tmp_path.iterdir()) == [source]


def test_wrong_usage_of_convert(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = goldens / "reduced_random.pth"
    for arguments in ([], [tmp_path / "net.pth"], [tmp_path / "net", "--scale", 0]):
        assert run("convert", source, *arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) in (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_check_reports_differences(
    goldens: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "round_trip", lambda _: [("a.bias", (3,), 0.25)])
    assert run("convert", goldens / "reduced_random.pth", "--check") == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["a.bias", "(3,)", "0.25"]


def test_interruption_is_no_traceback(
    goldens: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "load", interrupt)
    assert run("convert", goldens / "reduced_random.pth", "--check") == 130
    assert capsys.readouterr().err == "zerodce: interrupted\n"


# From here on: real processes.


def test_enhance_in_a_process_of_its_own(
    pictures: Path, goldens: Path, tmp_path: Path, python: Callable
) -> None:
    model = tmp_path / "net"
    converted = python("-m", "zerodce_jax", "convert", goldens / "reduced_random.pth", model)
    assert (converted.returncode, converted.stdout.count("\n")) == (0, 1)
    # Damaged in a way that makes Pillow grumble on its own account.
    Image.new("RGB", (30, 30)).save(pictures / "cut.tif")
    (pictures / "cut.tif").write_bytes((pictures / "cut.tif").read_bytes()[:30])
    result = python("enhance.py", pictures, "-o", tmp_path / "out", "-m", model, "--tile", "32")
    assert result.returncode == 1, result.stderr
    assert summary_of(result.stdout) == (2, 0, 1)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"zerodce: {pictures / 'cut.tif'}: ")
    assert opened(tmp_path / "out/a.png").size == (40, 30)


def test_help_is_fast_and_the_same_everywhere(python: Callable) -> None:
    script = python("enhance.py", "--help", COLUMNS="100")
    module = python("-m", "zerodce_jax", "enhance", "--help", COLUMNS="100")
    assert script.returncode == module.returncode == 0
    assert script.stdout == module.stdout
    for option in ("--output", "--model", "--gamma", "--strength", "--tile", "--overwrite"):
        assert option in script.stdout
    imported = python(
        "-c",
        "import sys\nfrom zerodce_jax.cli import main\n"
        "try: main(['enhance', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'jax', 'flax', 'orbax', 'numpy', 'PIL', 'tqdm', 'grain'} & set(sys.modules)\n"
        "print('heavy:', *sorted(heavy))",
    )
    assert imported.stdout.splitlines()[-1] == "heavy:"


def test_wrong_usage_exits_two_without_a_traceback(python: Callable) -> None:
    for arguments in (["enhance.py", "nothing*.png", "-o", "out"], ["-m", "zerodce_jax"]):
        result = python(*arguments)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        assert result.stderr


class RunsCommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("command", ["convert", "enhance"])
def test_a_network_that_runs_commands_is_refused(
    command: str, pictures: Path, tmp_path: Path, python: Callable
) -> None:
    marker, hostile = tmp_path / "ran", tmp_path / "hostile.pth"
    content = pickle.dumps({"e_conv1.weight": RunsCommand(f"touch {marker}")}, 2)[2:-1]
    hostile.write_bytes(pth_files.zipped(content, {}))
    if command == "convert":
        result = python("-m", "zerodce_jax", "convert", hostile, tmp_path / "net")
    else:
        result = python("enhance.py", pictures, "-m", hostile, "-o", tmp_path / "net")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"zerodce: {hostile}: ")
    assert re.search(r"(posix|nt|os)\.system", line)
    assert not marker.exists()
    assert not (tmp_path / "net").exists()


@pytest.mark.slow
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


@pytest.mark.slow
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


def peak_memory(command: list[object], environment: dict[str, str], cwd: Path) -> int:
    """Run a process to its good and silent end; its largest resident memory, in bytes."""
    arguments = [str(part) for part in command]
    with subprocess.Popen(arguments, env=environment, cwd=cwd, stderr=subprocess.PIPE) as process:
        assert process.stderr
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, errors) == (0, b"")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
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
    network = convert.load(goldens / f"{name}_random.pth", scale=scale)
    convert.save(network, tmp_path / "net.safetensors")
    ramp = np.linspace(0, 90, 40 * 30 * 3).reshape(30, 40, 3).astype(np.uint8)
    source, target = tmp_path / "large.jpg", tmp_path / "out.jpg"
    Image.fromarray(ramp).resize(size, Image.Resampling.BILINEAR).save(source, quality=90)
    command = [sys.executable, root / "enhance.py", source, "-o", target]
    peak = peak_memory([*command, "-m", tmp_path / "net.safetensors"], environment, root)
    print(f"{size[0]}x{size[1]}, {name}: {peak / 1e6:.0f} MB")
    assert peak < limit
    with Image.open(target) as image:
        assert image.size == size
