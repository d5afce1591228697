"""``zerodce enhance`` in this process: exit codes, files, what is printed and reported."""

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command import enhance, opened, rows_of, run, summary_of
from zerodce_jax.cli import progress
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.jobs import photos, runner
from zerodce_jax.media import photo, png, tiff
from zerodce_jax.media.metadata import Metadata
from zerodce_jax.models import serialization

pytestmark = pytest.mark.usefixtures("no_compilation_cache")


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
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (0, 2, 0)
    assert printed.out.endswith(f", results in {out}\n")
    assert "maybe with other settings; --overwrite replaces them" in printed.err
    assert (out / "a.png").read_bytes() == first

    assert enhance(pictures, "-o", out, "-m", network, "--gamma", 3, "--overwrite") == 0
    assert summary_of(capsys.readouterr().out) == (2, 0, 0)
    assert (out / "a.png").read_bytes() != first


def test_exposure_levels_out_of_reach_are_noted(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = pictures / "a.png"
    mean = np.asarray(opened(source)).mean() / 255
    for level, message in ((0.01, f"its mean brightness is {mean:.2f}, since"), (mean, None)):
        arguments = ("--gamma", 1, "--exposure", level, "--overwrite")
        assert enhance(source, "-o", tmp_path / "out", "-m", network, *arguments) == 0
        printed = capsys.readouterr().err
        assert (message in printed) if message else not printed
    assert (
        enhance(
            source, "-o", tmp_path / "weak", "-m", network, "--exposure", 0.01, "--strength", 0.5
        )
        == 0
    )
    assert capsys.readouterr().err == ""


def test_options_change_the_results(
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


def record_settings(monkeypatch: pytest.MonkeyPatch) -> list[EnhanceSettings | None]:
    """Make enhancers return images unchanged, and return the settings that they are called with."""
    seen = []

    def many(
        self: Enhancer, images: Iterable[np.ndarray], settings: EnhanceSettings | None = None
    ) -> Iterator:
        seen.append(settings)
        yield from images

    monkeypatch.setattr(Enhancer, "many", many)
    return seen


@pytest.mark.parametrize("piped", [False, True])
def test_flags_replace_the_settings_of_the_network(
    piped: bool, pictures: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = EnhanceSettings(exposure=0.7, gamma=0.9, strength=1.5, protect_highlights=1, denoise=1)
    model = tmp_path / "net.safetensors"
    serialization.save_network(replace(serialization.load_network(network), settings=ours), model)
    seen = record_settings(monkeypatch)
    given = {
        (): ours,
        ("--exposure", 0.5): replace(ours, exposure=0.5),
        ("--exposure", "auto"): replace(ours, exposure="auto"),
        ("--exposure", "off", "--strength", 0): replace(ours, exposure="off", strength=0.0),
        ("--gamma", 1, "--denoise", 0): replace(ours, gamma=1.0, denoise=0.0),
        ("--protect-highlights", 0): replace(ours, protect_highlights=0.0),
        ("--denoise", "auto"): replace(ours, denoise="auto"),
    }
    for i, options in enumerate(given):
        inputs, output = pictures / "a.png", tmp_path / "out" / f"{i}.png"
        if piped:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(inputs.read_bytes())))
        assert enhance("-" if piped else inputs, "-o", output, "-m", model, *options) == 0
    assert seen == list(given.values())


def test_flags_turn_everything_off(pictures: Path, network: Path, tmp_path: Path) -> None:
    plain, ours = serialization.load_network(network), tmp_path / "net.safetensors"
    assert plain.settings == EnhanceSettings()
    # The curves brighten, so that the flags have something to turn off.
    params = {**plain.params, "conv7": {**plain.params["conv7"], "bias": np.full(6, -0.5, "f4")}}
    serialization.save_network(replace(plain, params=params), tmp_path / "plain.safetensors")
    serialization.save_network(
        replace(plain, params=params, settings=EnhanceSettings.adaptive()), ours
    )
    off = ("--exposure", "off", "--gamma", 1.15, "--protect-highlights", 0, "--denoise", 0)
    runs = {"recipe": ("plain", ()), "off": ("net", off), "ours": ("net", ())}
    for name, (model, options) in runs.items():
        out = ("-o", tmp_path / f"{name}.png", "-m", tmp_path / f"{model}.safetensors")
        assert enhance(pictures / "a.png", *out, *options) == 0
    recipe, turned_off, adaptive = (np.asarray(opened(tmp_path / f"{x}.png")) for x in runs)
    np.testing.assert_array_equal(turned_off, recipe)
    assert adaptive.mean() > recipe.mean() + 10


def test_an_exposure_is_the_brightness_of_the_result(pictures: Path, tmp_path: Path) -> None:
    for model, exposure, level in (
        ("scene", 0.25, 0.25),
        ("scene", 0.5, 0.5),
        ("reduced", 0.25, 0.25),
        ("reduced", "auto", 0.4),
    ):
        target = tmp_path / f"{model}-{exposure}.png"
        options = ("-m", model, "--exposure", exposure)
        assert enhance(pictures / "a.png", "-o", target, *options) == 0
        assert np.asarray(opened(target)).mean() / 255 == pytest.approx(level, abs=0.01)


def test_the_default_network_chooses_the_exposure_itself(pictures: Path, tmp_path: Path) -> None:
    runs = {
        "default": (),
        "named": ("-m", "scene", "--exposure", "auto"),
        "stronger": ("--strength", 2),
    }
    for name, options in runs.items():
        assert enhance(pictures / "a.png", "-o", tmp_path / f"{name}.png", *options) == 0
    before = np.asarray(opened(pictures / "a.png"))
    default, named, stronger = (np.asarray(opened(tmp_path / f"{name}.png")) for name in runs)
    np.testing.assert_array_equal(default, Enhancer.load("scene")(before))
    np.testing.assert_array_equal(named, default)
    # The strength scales what the network chooses; a level would bring both to the same mean.
    assert stronger.mean() > default.mean() + 5 > before.mean() + 10


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
        ["{in}", "-o", "{out}", "--exposure", "1.5"],
        ["{in}", "-o", "{out}", "--exposure", "0"],
        ["{in}", "-o", "{out}", "--exposure", "-0.5"],
        ["{in}", "-o", "{out}", "--exposure", "nan"],
        ["{in}", "-o", "{out}", "--protect-highlights", "2"],
        ["{in}", "-o", "{out}", "--protect-highlights", "-1"],
        ["{in}", "-o", "{out}", "--denoise", "1.1"],
        ["{in}", "-o", "{out}", "--denoise", "inf"],
        ["-", "-o", "-", "--denoise", "-1"],
        ["{in}", "-o", "{out}", "--tile", "0"],
        ["{in}", "-o", "{in}"],
        ["{in}/nothing*.png", "-o", "{out}"],
        ["{in}/a.png", "{in}/a.png", "-o", "{out}"],
        ["-o", "{out}"],
        ["{in}", "-o", "{out}", "--jobs", "0"],
        ["{in}", "-o", "{out}", "--max-pixels", "0"],
        ["{in}", "-o", "{out}", "--shard", "5/4"],
        ["{in}", "-o", "{out}", "--shard", ""],
        ["{in}", "-o", "{out}", "--report", "{in}/missing/report.json"],
        ["{in}", "-o", "{out}", "--report", "{out}.txt"],
        ["{in}", "-o", "{out}", "--report", "{out}.csv", "--dry-run"],
        ["-", "{in}/a.png", "-o", "{out}"],
        ["-", "-o", "{out}"],
        ["{in}", "-o", "-"],
        ["{in}/clip.mp4", "-o", "-"],
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


def test_a_dry_run_prints_the_plan_and_does_nothing(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub/gray.png").touch()
    (pictures / "b\n.gif").touch()
    before = sorted(tmp_path.rglob("*"))
    assert run("enhance", pictures, "-o", out, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{pictures}/a.png -> {out}/a.png",
        f"{pictures}/b\\n.gif -> {out}/b\\n.png",
        f"{out}/sub/gray.png exists",
        "2 to do, 1 exist",
    ]
    assert sorted(tmp_path.rglob("*")) == before
    assert run("enhance", pictures, "-o", out, "--dry-run", "--overwrite") == 0
    assert capsys.readouterr().out.endswith("3 to do, 0 exist\n")


def test_all_shards_together_write_each_photograph_once(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for i in range(6):
        shutil.copy(pictures / "a.png", pictures / f"{i}.png")
    out, made = tmp_path / "out", []
    for shard in ("3/3", "1/3", "2/3"):
        assert enhance(pictures, "-o", out, "-m", network, "--shard", shard) == 0
        printed = capsys.readouterr()
        assert summary_of(printed.out)[1:] == (0, 0)
        made.append(summary_of(printed.out)[0])
    assert sum(made) == 8
    assert {path.relative_to(out) for path in out.rglob("*.png")} == {
        path.relative_to(pictures) for path in pictures.rglob("*.png")
    }


def test_the_report_agrees_with_the_files(pictures: Path, network: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    (pictures / "broken.png").touch()
    arguments = (pictures, "-o", out, "-m", network, "--report", report)
    assert enhance(*arguments) == 1
    assert rows_of(report) == [("a.png", "done"), ("broken.png", "failed"), ("gray.png", "done")]
    for row in json.loads(report.read_text()):
        target = Path(row["target"])
        assert target.exists() == (row["status"] == "done")
        if row["status"] == "done":
            assert (row["width"], row["height"]) == opened(target).size
            assert row["seconds"] > 0
        else:
            assert row["message"] == f"{row['source']}: not an image of a known format"
    (out / "a.png").unlink()
    assert enhance(*arguments, "--fail-fast") == 1
    assert rows_of(report)[:2] == [("a.png", "done"), ("broken.png", "failed")]


def test_a_report_can_be_csv(pictures: Path, network: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    assert enhance(pictures, "-o", tmp_path / "out", "-m", network, "--report", report) == 0
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["status"]) for row in rows] == [
        (str(pictures / "a.png"), "done"),
        (str(pictures / "sub/gray.png"), "done"),
    ]


def only_the_first(
    self: Enhancer, images: Iterable[np.ndarray], settings: EnhanceSettings | None = None
) -> Iterator:
    """Replace `Enhancer.many`, and interrupt the run at the second photograph."""
    for i, image in enumerate(images):
        if i:
            raise KeyboardInterrupt
        yield image


def test_an_interrupted_run_reports_what_was_not_started(
    pictures: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for i in range(6):
        shutil.copy(pictures / "a.png", pictures / f"{i}.png")
    monkeypatch.setattr(Enhancer, "many", only_the_first)
    report = tmp_path / "report.json"
    arguments = (pictures, "-o", tmp_path / "out", "-m", network, "--report", report)
    assert enhance(*arguments) == 130
    printed = capsys.readouterr()
    done = len(list((tmp_path / "out").rglob("*.png")))
    assert done <= 1
    assert printed.out.startswith(f"{done} done, 0 skipped, 0 failed, {8 - done} not started in ")
    assert printed.err == "zerodce: interrupted\n"
    statuses = [status for _, status in rows_of(report)]
    assert statuses == ["done"] * done + ["not_started"] * (8 - done)


def test_an_interrupt_between_two_photographs_is_reported_as_well(
    pictures: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        (pictures / f"{i}.png").touch()

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "say", interrupt)
    report = tmp_path / "report.json"
    arguments = (pictures, "-o", tmp_path / "out", "-m", network, "--report", report)
    assert enhance(*arguments) == 130
    names = [f"{i}.png" for i in range(6)]
    assert [name for name, _ in rows_of(report)] == [*names, "a.png", "gray.png"]
    for row in json.loads(report.read_text()):
        assert Path(row["target"]).exists() == (row["status"] == "done")


def test_options_reach_the_runner_and_the_executor(
    pictures: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    class Recorder(photos.PhotoExecutor):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            seen.update(options)

    def run(*_: object, **options: object) -> Iterator:
        seen.update(options)
        return (result for result in ())

    monkeypatch.setattr(photos, "PhotoExecutor", Recorder)
    monkeypatch.setattr(runner, "run", run)
    options = ("--jobs", 1, "--max-pixels", 7, "--fail-fast", "--strip", "--overwrite")
    options += ("--first-frame",)
    assert enhance(pictures, "-o", tmp_path, "-m", network, "--suffix", "x", *options) == 0
    assert seen == {
        "jobs": 1,
        "max_pixels": 7,
        "fail_fast": True,
        "strip": True,
        "overwrite": True,
        "first_frame": True,
        "smoothing": 0.5,
    }


def test_limits_change_the_results(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    opened(pictures / "a.png").save(pictures / "b.png", exif=exif)
    for name, options in (("kept", ()), ("stripped", ("--strip",))):
        assert enhance(pictures / "b.png", "-o", tmp_path / name, "-m", network, *options) == 0
    assert b"taken at home" in (tmp_path / "kept/b.png").read_bytes()
    assert b"taken at home" not in (tmp_path / "stripped/b.png").read_bytes()
    capsys.readouterr()

    limited = (pictures, "-o", tmp_path / "out", "-m", network, "--max-pixels", 500, "--jobs", 1)
    assert enhance(*limited) == 1
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (1, 0, 2)
    assert all("40x30 pixels are more than the limit" in line for line in printed.err.splitlines())
    assert enhance(*limited, "--fail-fast", "--overwrite") == 1
    assert re.match(r"\d done, 0 skipped, [12] failed", capsys.readouterr().out)


def test_a_folder_without_write_permission(
    open_folder: Path,
    as_nobody: Callable,
    pictures: Path,
    network: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Enhancer, "many", lambda _, images, settings: iter(images))
    shutil.copytree(pictures, open_folder / "in")
    shutil.copy(network, open_folder / "net.safetensors")
    arguments = (open_folder / "in", "-m", open_folder / "net.safetensors")
    # The first run, as root, imports all modules.
    assert enhance(*arguments, "-o", open_folder / "out") == 0
    capsys.readouterr()
    (open_folder / "out").chmod(0o555)
    (open_folder / "out/sub").chmod(0o555)
    with as_nobody():
        assert enhance(*arguments, "-o", open_folder / "out", "--overwrite") == 1
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (0, 0, 2)
    assert printed.err.splitlines() == [
        f"zerodce: {open_folder}/out/a.png: Permission denied",
        f"zerodce: {open_folder}/out/sub/gray.png: Permission denied",
    ]


@pytest.mark.parametrize("model", ["nonesuch", "{folder}", "{folder}@3", "{folder}/text.pth"])
def test_invalid_networks(
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


def as_bytes(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 90, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def through_pipe(
    network: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, bytes, str]]:
    """Run enhance with standard input; return exit status, standard output and error."""

    def through(given: bytes, *arguments: object) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        status = enhance(*arguments, "-m", network)
        printed = capfdbinary.readouterr()
        return status, printed.out, printed.err.decode()

    return through


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_pipes_keep_the_format(kind: str, through_pipe: Callable) -> None:
    status, printed, errors = through_pipe(as_bytes(kind), "-", "-o", "-")
    assert (status, errors) == (0, "")
    with Image.open(io.BytesIO(printed)) as image:
        assert (image.format, image.size) == ("PNG" if kind == "GIF" else kind, (40, 30))
        image.load()


def test_options_apply_to_pipes(through_pipe: Callable) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    source = as_bytes("JPEG", exif=exif)
    _, kept, _ = through_pipe(source, "-", "-o", "-", "--format", "png")
    assert kept.startswith(b"\x89PNG")
    assert b"taken at home" in kept
    _, stripped, _ = through_pipe(source, "-", "-o", "-", "--strip", "--format", "jpeg")
    assert stripped.startswith(b"\xff\xd8")
    assert b"taken at home" not in stripped
    assert through_pipe(source, "-", "-o", "-", "--max-pixels", 1000) == (
        1,
        b"",
        "zerodce: standard input: 40x30 pixels are more than the limit of 1,000 (--max-pixels)\n",
    )


def test_from_pipe_to_file_and_from_file_to_pipe(through_pipe: Callable, tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "new" / "b.jpg"
    source.write_bytes(as_bytes("JPEG"))
    assert through_pipe(source.read_bytes(), "-", "-o", target) == (0, b"", "")
    assert through_pipe(b"", source, "-o", "-") == (0, target.read_bytes(), "")
    assert through_pipe(b"", tmp_path / "missing.jpg", "-o", "-") == (
        1,
        b"",
        f"zerodce: {tmp_path}/missing.jpg: No such file or directory\n",
    )


def test_flags_for_videos_have_no_use_for_photographs(
    pictures: Path, network: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert enhance(pictures, "-o", tmp_path / "out", "-m", network, "--quality", 5) == 0
    printed = capsys.readouterr()
    assert summary_of(printed.out) == (2, 0, 0)
    wanted = "--codec, --quality and --pixel-format are for videos, and there are none"
    assert printed.err == f"zerodce: note: {wanted}\n"


def test_messages_list_the_values_of_a_flag_in_order(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        enhance(pictures, "-o", tmp_path / "out", "--codec", "h265")
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "('keep', 'h264', 'hevc', 'av1', 'vp9', 'prores', 'ffv1')" in message


def test_a_run_without_results_names_no_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enhance(tmp_path / "missing.jpg", "-o", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert re.fullmatch(r"0 done, 0 skipped, 1 failed in \d+\.\d s\n", printed.out)
    assert printed.err == f"zerodce: {tmp_path}/missing.jpg: No such file or directory\n"


def test_notes_go_to_standard_error(through_pipe: Callable) -> None:
    frames = {"save_all": True, "append_images": [Image.new("RGB", (40, 30))]}
    options = ("-", "-o", "-", "--first-frame")
    status, printed, errors = through_pipe(as_bytes("TIFF", **frames), *options)
    assert status == 0
    with Image.open(io.BytesIO(printed)) as image:
        assert image.format == "TIFF"
    assert errors == "zerodce: note: only the first of its 2 pages is read\n"


@pytest.mark.parametrize("given", [b"", b"no picture", as_bytes("PNG")[:100]])
def test_a_broken_photograph_on_standard_input(given: bytes, through_pipe: Callable) -> None:
    status, printed, errors = through_pipe(given, "-", "-o", "-")
    assert (status, printed) == (1, b"")
    assert re.fullmatch(r"zerodce: standard input: .+\n", errors)


def test_a_pipe_replaces_a_file_only_with_overwrite(through_pipe: Callable, tmp_path: Path) -> None:
    target = tmp_path / "a.jpg"
    target.write_bytes(b"precious")
    status, printed, errors = through_pipe(as_bytes("JPEG"), "-", "-o", target)
    assert (status, printed) == (1, b"")
    assert re.fullmatch(f"zerodce: {target}: .+\n", errors)
    assert target.read_bytes() == b"precious"
    assert through_pipe(as_bytes("JPEG"), "-", "-o", target, "--overwrite") == (0, b"", "")
    assert opened(target).size == (40, 30)


def test_an_endless_pipe_is_not_read_to_the_end(
    through_pipe: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo, "largest_file", lambda _: 1000)
    status, printed, errors = through_pipe(as_bytes("BMP"), "-", "-o", "-")
    assert (status, printed) == (1, b"")
    assert errors == (
        "zerodce: standard input: more than 1,000 bytes are too large for a photograph\n"
    )


def test_options_that_pipes_refuse(through_pipe: Callable, tmp_path: Path) -> None:
    for options in (("--shard", "1/2"), ("--suffix", "x"), ("--dry-run",)):
        status, printed, errors = through_pipe(as_bytes("PNG"), "-", "-o", "-", *options)
        assert (status, printed) == (2, b"")
        assert "are for files, not for -" in errors
    status, _, errors = through_pipe(as_bytes("GIF"), "-", "-o", tmp_path / "a.gif")
    assert status == 2
    assert "name a photograph" in errors


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
def test_strength_zero_and_gamma_one_keep_each_pixel_at_each_depth(
    dtype: str, channels: tuple[int, ...], network: Path, tmp_path: Path
) -> None:
    samples = np.random.default_rng(0).random((41, 37, *channels), dtype=np.float32)
    if dtype != "float32":
        samples = np.round(samples * np.iinfo(dtype).max).astype(dtype)
    kinds = {"tif": tiff.encode([(samples, Metadata())])}
    if dtype != "float32":
        kinds["png"] = png.encode(samples, Metadata())
    for suffix, content in kinds.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/a.{suffix}").write_bytes(content)
    options = ("--strength", 0, "--gamma", 1, "-m", network)
    assert enhance(tmp_path / "in", "-o", tmp_path / "out", "--suffix", "x", *options) == 0
    for suffix in kinds:
        before, after = (
            photo.read(tmp_path / name) for name in (f"in/a.{suffix}", f"out/ax.{suffix}")
        )
        np.testing.assert_array_equal(after.pixels, before.pixels)
        assert after.pixels.dtype == dtype
        if channels in {(2,), (4,)}:
            np.testing.assert_array_equal(after.alpha, samples[..., -1])
