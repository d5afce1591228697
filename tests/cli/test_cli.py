"""The command line: wrong usage, ``zerodce convert``, help, and malicious networks."""

import errno
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from helpers import pth_files
from helpers.command import opened, run, summary_of
from zerodce_jax.cli import main
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.models import serialization


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
        ["convert", "net.pth", "net.safetensors", "--dtype", "bfloat16"],
    ],
    ids=" ".join,
)
def test_invalid_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("target", ["net", "net.safetensors"])
def test_convert_writes_and_reports_the_network(
    target: str, goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "below" / target
    assert run("convert", goldens / "plusplus_random_legacy.pth", path, "--scale", 12) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{path}: plusplus, 10,561 parameters\n"
    assert "assuming the preset plusplus without a max-pool" in printed.err
    assert serialization.load_network(path).config.scale == 12


def test_convert_to_the_torch_layout(goldens: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    assert run("convert", goldens / "reduced_random.pth", path, "--layout", "torch") == 0
    assert safetensors.numpy.load_file(path)["e_conv7.weight"].shape == (24, 32, 3, 3)


def test_convert_writes_scene_networks_in_the_layout_jax_alone(
    scene_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "net.safetensors"
    assert run("convert", scene_file, target, "--layout", "torch") == 2
    printed = capsys.readouterr()
    assert printed.err == (
        "zerodce: custom architecture has no original in PyTorch; use the layout jax\n"
    )
    assert run("convert", scene_file, target, "--scale", 2) == 2
    assert "always sees a thumbnail; omit the scale" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run("convert", scene_file, target) == 0
    assert run("convert", target, "--check") == 0
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[0] == "tensor"
    network = serialization.load_network(target)
    assert network.settings == EnhanceSettings.scene()
    assert [row.split()[0] for row in rows] == list(network.config.param_shapes)


def test_convert_keeps_settings(goldens: Path, tmp_path: Path) -> None:
    assert run("convert", "reduced", tmp_path / "net") == 0
    assert run("convert", tmp_path / "net", tmp_path / "net.safetensors") == 0
    torch = ("--layout", "torch")
    assert run("convert", tmp_path / "net.safetensors", tmp_path / "t.safetensors", *torch) == 0
    ours = serialization.load_network("reduced").settings
    assert ours.exposure == "auto"
    for name in ("net", "net.safetensors", "t.safetensors"):
        assert serialization.load_network(tmp_path / name).settings == ours
    # A PyTorch file has no settings.
    assert run("convert", goldens / "reduced_random.pth", tmp_path / "plain.safetensors") == 0
    assert serialization.load_network(tmp_path / "plain.safetensors").settings == EnhanceSettings()


def test_convert_stores_float16_in_half_the_bytes(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = goldens / "reduced_random.pth"
    sizes = {}
    for dtype in ("float32", "float16"):
        path = tmp_path / f"{dtype}.safetensors"
        assert run("convert", source, path, "--dtype", dtype) == 0
        assert capsys.readouterr().out == f"{path}: reduced, 23,592 parameters\n"
        sizes[dtype] = path.stat().st_size
        assert {a.dtype.name for a in safetensors.numpy.load_file(path).values()} == {dtype}
    assert 0.5 < sizes["float16"] / sizes["float32"] < 0.52


@pytest.mark.parametrize("target", ["net", "net.orbax"])
def test_convert_stores_float16_only_in_safetensors(
    target: str, goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / target
    arguments = (goldens / "reduced_random.pth", path, "--preset", "reduced")
    assert run("convert", *arguments, "--dtype", "float16") == 2
    message = f"zerodce: {path}: only .safetensors files store float16\n"
    assert capsys.readouterr().err == message
    assert list(tmp_path.iterdir()) == []


def test_convert_assumes_reduced_for_16_features_with_a_note(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("convert", goldens / "reduced_random.pth", tmp_path / "net") == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("zerodce: note: ")
    assert "assuming the preset reduced with a max-pool because of its 16 features" in note
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


def test_convert_replaces_a_file_only_with_overwrite(
    goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, target = goldens / "reduced_random.pth", tmp_path / "net.safetensors"
    target.write_bytes(b"precious")
    assert run("convert", source, target) == 1
    assert f"{target}: already exists" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert run("convert", source, target, "--overwrite") == 0
    assert serialization.load_network(target).parameter_count == 23_592


def test_convert_never_replaces_a_folder_of_other_files(
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
    assert serialization.load_network(tmp_path / "net").config.preset == "original"


@pytest.mark.parametrize("target", ["net", "net.safetensors"])
def test_convert_names_each_mismatch_and_writes_nothing(
    target: str, goldens: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tensors = pth_files.read(goldens / "reduced_random.pth")
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
        "  e_conv3.bias: shape (15,), expected (16,)",
        "  stranger: unexpected, shape (2, 2)",
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
    monkeypatch.setattr(serialization, "round_trip_differences", lambda _: [("a.bias", (3,), 0.25)])
    assert run("convert", goldens / "reduced_random.pth", "--check") == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["a.bias", "(3,)", "0.25"]


def test_an_interrupt_prints_no_traceback(
    goldens: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serialization, "load_network", interrupt)
    assert run("convert", goldens / "reduced_random.pth", "--check") == 130
    assert capsys.readouterr().err == "zerodce: interrupted\n"


# The other tests start processes.


@pytest.mark.slow
def test_enhance_in_a_process_of_its_own(
    pictures: Path, goldens: Path, tmp_path: Path, python: Callable
) -> None:
    model = tmp_path / "net"
    converted = python("-m", "zerodce_jax", "convert", goldens / "reduced_random.pth", model)
    assert (converted.returncode, converted.stdout.count("\n")) == (0, 1)
    # Pillow itself warns of this kind of damage.
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
    assert script.stdout.replace("python enhance.py", "zerodce enhance") == module.stdout
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


@pytest.mark.parametrize(
    "command",
    [
        ("enhance", "{pictures}", "-o", "{out}/made", "--report", "{out}/new.csv"),
        ("evaluate", "scene", "--images", "{pictures}", "--csv", "{out}/new.csv"),
        ("export", "{out}/new.onnx"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_named_before_the_work(
    command: tuple[str, ...],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("zerodce_jax.atomic.tempfile.mkdtemp", refuse)
    out = tmp_path / "out"
    out.mkdir()
    arguments = [argument.format(pictures=pictures, out=out) for argument in command]
    assert run(*arguments) == 1
    target = next(argument for argument in arguments if "new." in argument)
    assert capsys.readouterr().err == f"zerodce: {target}: Permission denied\n"
    assert list(out.iterdir()) == []
