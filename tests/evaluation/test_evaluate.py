"""Tests of ``zerodce evaluate``, evaluate.py, pairs.py and report.py."""

import csv
import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.command import opened, run
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import InputError, UsageError, install_command
from zerodce_jax.evaluation import metrics, report
from zerodce_jax.evaluation.evaluate import INPUT, Evaluation, evaluate
from zerodce_jax.evaluation.pairs import pair_by_name
from zerodce_jax.evaluation.perceptual import PerceptualMetric
from zerodce_jax.media import photo, pillow
from zerodce_jax.media.formats import find_photographs

ONNX = ("--engine", "onnx")
NO_REFERENCE = [
    "highlight_lift",
    "shadow_lift",
    "black_brightness",
    "black_chroma",
    "black_grain",
    "newly_clipped",
    "noise_amplification",
    "detail_bright",
    "detail_textured",
    "lightness_order_error",
]
ALL_SCORES = ["psnr", "ssim", "mae", "psnr_matched", "ssim_matched", *NO_REFERENCE]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def low(tmp_path: Path) -> Path:
    """Return a folder with three dark photographs, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        pixels = rng.integers(20, 50, (40 + 8 * i, 64, 3), dtype=np.uint8)
        save(tmp_path / "low" / name, pixels)
    return tmp_path / "low"


@pytest.fixture
def high(low: Path, tmp_path: Path) -> Path:
    """Return a folder with references: three times as bright, in another format."""
    for path in low.rglob("*.png"):
        pixels = np.asarray(opened(path))
        target = tmp_path / "high" / path.relative_to(low).with_suffix(".tif")
        save(target, 3 * pixels)
    return tmp_path / "high"


class FakeEnhancer:
    """An enhancer that multiplies images by a factor and records its overrides."""

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.overrides: list[dict[str, Any]] = []

    def __call__(self, image: np.ndarray, **overrides: Any) -> np.ndarray:
        self.overrides.append(overrides)
        return self.factor * image


def evaluate_folders(
    low: Path, high: Path | None = None, **networks: FakeEnhancer
) -> Iterator[Evaluation]:
    references = None if high is None else find_photographs(high)
    return evaluate(networks, find_photographs(low), references)


# The subcommand.


@pytest.mark.needs("skimage")
def test_pairs_are_reported_as_table_json_csv_and_sheet(
    low: Path, high: Path, scene_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from skimage.metrics import peak_signal_noise_ratio

    files = [tmp_path / name for name in ("out.json", "out.csv", "out.png")]
    options = ("--json", files[0], "--csv", files[1], "--sheet", files[2], *ONNX)
    assert run("evaluate", "reduced", scene_file, "--pairs", low, high, *options) == 0
    printed = capsys.readouterr()
    assert printed.err == ""

    content = json.loads(files[0].read_text())
    assert content["settings"] == {}
    names = [low / "a.png", low / "b.png", low / "sub/c.png"]
    assert [entry["image"] for entry in content["pictures"]] == [str(name) for name in names]
    assert content["pictures"][2]["reference"] == str(high / "sub/c.tif")
    enhancer = Enhancer.load("reduced", engine="onnx")
    psnrs = []
    for entry in content["pictures"]:
        assert list(entry["figures"]) == ["input", "reduced", str(scene_file)]
        assert all(list(row) == ALL_SCORES for row in entry["figures"].values())
        enhanced = enhancer(np.asarray(opened(Path(entry["image"]))))
        bright = np.asarray(opened(Path(entry["reference"])))
        psnrs.append(peak_signal_noise_ratio(bright, enhanced))
        assert entry["figures"]["reduced"]["psnr"] == pytest.approx(psnrs[-1], abs=1e-3)
        # The reference is three times as bright as the input.
        assert entry["figures"]["input"]["psnr_matched"] > 60
        assert entry["figures"]["input"]["ssim"] < 0.7
    assert content["means"]["reduced"]["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-3)
    assert content["means"]["reduced"]["highlight_lift"] is None

    header, line, *rows, empty, last = printed.out.splitlines()
    cells = [cell.strip() for cell in header.strip("|").split("|")]
    assert cells[:5] == ["network", "PSNR, dB ↑", "SSIM ↑", "MAE ↓", "PSNR matched, dB ↑"]
    assert line == "| --- " * 16 + "|"
    assert [re.split(r" *\| *", row)[1] for row in rows] == ["input", "reduced", str(scene_file)]
    numbers = re.split(r" *\| *", rows[1])[2:-1]
    assert numbers[0] == f"{np.mean(psnrs):.2f}"
    assert numbers[5] == "–"
    assert (empty, last) == ("", "means over 3 photographs")

    with files[1].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["image", "reference", "network", *ALL_SCORES]
    assert [row["network"] for row in table] == ["input", "reduced", str(scene_file)] * 3
    assert float(table[1]["psnr"]) == content["pictures"][0]["figures"]["reduced"]["psnr"]
    assert table[1]["highlight_lift"] == ""

    # A row of captions, and three rows with the input, two results and the reference.
    assert opened(files[2]).size == (4 * 244, 24 + 3 * 164)


def test_images_need_no_references(
    low: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("out.json", "out.jpg")]
    options = ("--json", files[0], "--sheet", files[1], "--gamma", 1, "--strength", 0, *ONNX)
    assert run("evaluate", "reduced", "--images", low, *options) == 0
    assert "PSNR" not in capsys.readouterr().out
    content = json.loads(files[0].read_text())
    assert content["settings"] == {"gamma": 1, "strength": 0}
    for entry in content["pictures"]:
        assert entry["reference"] is None
        # With these settings enhancement changes nothing.
        assert list(entry["figures"]["reduced"]) == NO_REFERENCE
        assert entry["figures"]["reduced"] == entry["figures"]["input"]
        assert entry["figures"]["reduced"]["noise_amplification"] == pytest.approx(1, abs=1e-5)
    assert opened(files[1]).size == (2 * 244, 24 + 3 * 164)


@pytest.mark.needs("skimage")
def test_photographs_without_a_partner_are_named_and_skipped(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (high / "a.tif").rename(high / "z.tif")
    assert run("evaluate", "reduced", "--pairs", low, high, *ONNX) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"zerodce: note: {path}: skipped, because it has no partner"
        for path in (low / "a.png", high / "z.tif")
    ]
    assert printed.out.endswith("means over 2 photographs\n")


@pytest.mark.needs("skimage")
def test_unusable_photographs_give_one_line_and_the_others_are_evaluated(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save(high / "a.tif", np.zeros((40, 63, 3), np.uint8))
    (low / "b.png").write_bytes(b"not an image")
    json_file = tmp_path / "out.json"
    assert run("evaluate", "reduced", "--pairs", low, high, "--json", json_file, *ONNX) == 1
    printed = capsys.readouterr()
    sizes, broken = printed.err.splitlines()
    assert sizes == f"zerodce: {low / 'a.png'} has 64x40 pixels, but {high / 'a.tif'} has 63x40"
    assert broken.startswith(f"zerodce: {low / 'b.png'}: ")
    assert printed.out.endswith("means over 1 photograph\n")
    rows = json.loads(json_file.read_text())["pictures"]
    assert [bool(row["problem"]) for row in rows] == [True, True, False]
    assert [bool(row["figures"]) for row in rows] == [False, False, True]


def test_without_usable_photographs_nothing_is_printed(
    low: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in low.rglob("*.png"):
        path.write_bytes(b"not an image")
    sheet, table = tmp_path / "out.png", tmp_path / "out.csv"
    options = ("--sheet", sheet, "--csv", table, *ONNX)
    assert run("evaluate", "reduced", "--images", low, *options) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 3
    assert not sheet.exists()
    assert table.read_text().splitlines() == ["image,reference,network"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["reduced"], 2),
        (["reduced", "--pairs", "{low}", "{high}", "--images", "{low}"], 2),
        (["--images", "{low}"], 2),
        (["reduced", "--images", "{low}", "--gamma", "0"], 2),
        (["reduced", "--images", "{low}", "--strength", "3"], 2),
        (["reduced", "--images", "{low}", "--exposure", "1.5"], 2),
        (["reduced", "--images", "{low}", "--protect-highlights", "-1"], 2),
        (["reduced", "--images", "{low}", "--denoise", "nan"], 2),
        (["reduced", "--images", "{low}", "--sheet", "{low}/sheet.gif"], 2),
        (["reduced", "--images", "{low}", "--sheet", "{low}/sheet"], 2),
        (["reduced", "--images", "{low}", "--json", "{low}/missing/out.json"], 2),
        (["nonesuch", "--images", "{low}"], 1),
        (["reduced", "--images", "{low}/missing"], 1),
        (["reduced", "--images", "{empty}"], 1),
        (["reduced", "--pairs", "{low}", "{empty}"], 1),
        (["reduced", "--pairs", "{low}", "{high}/sub"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_wrong_usage_of_evaluate(
    arguments: list[str],
    status: int,
    low: Path,
    high: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    folders = {"low": low, "high": high, "empty": tmp_path / "empty"}
    formatted = [argument.format(**folders) for argument in arguments]
    assert run("evaluate", *formatted, *ONNX) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"zerodce: .+\n", printed.err), printed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_json_stores_the_settings_of_the_command_line(
    low: Path, scene_file: Path, tmp_path: Path
) -> None:
    several = ("--exposure", 0.3, "--protect-highlights", 0, "--denoise", 0.25)
    stored = {}
    for name, options in (("none", ()), ("several", several), ("off", ("--exposure", "off"))):
        json_file = tmp_path / f"{name}.json"
        assert (
            run("evaluate", scene_file, "--images", low, "--json", json_file, *ONNX, *options) == 0
        )
        stored[name] = json.loads(json_file.read_text())
    assert stored["none"]["settings"] == {}
    assert stored["several"]["settings"] == {
        "exposure": 0.3,
        "protect_highlights": 0.0,
        "denoise": 0.25,
    }
    assert stored["off"]["settings"] == {"exposure": "off"}
    assert stored["none"]["pictures"] != stored["several"]["pictures"] != stored["off"]["pictures"]


def test_only_references_need_an_extra(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "skimage" else found(n))
    assert run("evaluate", "reduced", "--pairs", low, high, *ONNX) == 2
    message = f"zerodce: evaluate needs packages: {install_command('evaluate')}\n"
    assert capsys.readouterr().err == message
    assert run("evaluate", "reduced", "--images", low, *ONNX) == 0


# The functions.


@pytest.mark.needs("skimage")
def test_scores_are_those_of_the_metrics(low: Path, high: Path) -> None:
    double = FakeEnhancer(2)
    for evaluation in evaluate_folders(low, high, double=double):
        assert evaluation.reference is not None
        image, reference = (
            photo.read_rgb(path) / np.float32(255)
            for path in (evaluation.photograph, evaluation.reference)
        )
        scores = evaluation.scores["double"]
        assert scores["psnr"] == metrics.psnr(2 * image, reference)
        assert scores["ssim"] == metrics.ssim(2 * image, reference)
        assert scores["mae"] == pytest.approx(image.mean(), rel=1e-5)
        assert scores["ssim_matched"] == pytest.approx(1, abs=1e-4)
        assert scores["noise_amplification"] == metrics.noise_amplification(image, 2 * image)
        detail = metrics.detail_retention(image, 2 * image)
        assert scores["detail_textured"] == pytest.approx(detail.textured, nan_ok=True)
        assert evaluation.scores[INPUT]["lightness_order_error"] == 0
    # Without overrides, the enhancer uses its own settings.
    assert double.overrides == [{}, {}, {}]


def test_scores_compare_the_result_with_the_input(tmp_path: Path) -> None:
    save(tmp_path / "grey.png", np.full((64, 64, 3), 204, np.uint8))
    networks = {"white": lambda image: np.full_like(image, 255), "same": lambda image: image}
    (evaluation,) = evaluate(networks, [tmp_path / "grey.png"])
    for name, lift, clipped in (("input", 0, 0), ("same", 0, 0), ("white", 0.2, 1)):
        assert evaluation.scores[name]["highlight_lift"] == pytest.approx(lift, abs=1e-6)
        assert evaluation.scores[name]["newly_clipped"] == clipped


def test_shadows_and_black_are_scored(tmp_path: Path) -> None:
    # A quarter each: black, shadow, and twice white.
    levels = np.repeat(np.array([0, 51, 255, 255], np.uint8), 32)
    save(tmp_path / "in.png", np.tile(levels[:, None, None], (1, 32, 3)))
    networks = {"lifted": lambda image: np.maximum(image, 102)}
    (evaluation,) = evaluate(networks, [tmp_path / "in.png"])
    for name, lift, black in (("input", 0, 0), ("lifted", 0.2, 0.4)):
        scores = evaluation.scores[name]
        assert scores["shadow_lift"] == pytest.approx(lift, abs=1e-6)
        assert scores["black_brightness"] == pytest.approx(black, abs=1e-6)
        assert scores["black_chroma"] == 0
        assert scores["black_grain"] == pytest.approx(0, abs=1e-6)


@pytest.mark.needs("skimage")
def test_perceptual_metrics_come_last(low: Path, high: Path) -> None:
    def largest_difference(image: np.ndarray, reference: np.ndarray | None) -> float:
        return math.nan if reference is None else float(np.abs(image - reference).max())

    perceptual = [
        PerceptualMetric("far", lower_better=True, needs_reference=True, _model=None),
        PerceptualMetric("nice", lower_better=False, needs_reference=False, _model=None),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PerceptualMetric, "__call__", lambda _, *images: largest_difference(*images))
        networks, photographs = {"triple": FakeEnhancer(3)}, find_photographs(low)
        references = find_photographs(high)
        evaluations = list(evaluate(networks, photographs, references, perceptual=perceptual))
        (no_reference, *_) = evaluate(networks, photographs, perceptual=perceptual)
    for evaluation in evaluations:
        assert list(evaluation.scores["triple"]) == [*ALL_SCORES, "far", "nice"]
        assert evaluation.scores["triple"]["far"] == 0
        assert evaluation.scores["input"]["far"] > 0.1
    assert math.isnan(no_reference.scores["triple"]["nice"])
    header, _, _, row = report.markdown_table(evaluations, perceptual).splitlines()
    assert header.endswith("| LOE ↓ | far ↓ | nice ↑ |")
    assert row.endswith("| 0.000 | 0.000 |")
    ssim = PerceptualMetric("ssim", lower_better=False, needs_reference=True, _model=None)
    with pytest.raises(UsageError, match="ssim is always computed"):
        next(evaluate(networks, photographs, references, perceptual=[ssim]))


def test_every_network_receives_the_overrides(low: Path) -> None:
    networks = {"one": FakeEnhancer(1), "two": FakeEnhancer(2)}
    overrides = {"gamma": 1.3, "unknown": True}
    list(evaluate(networks, find_photographs(low), overrides=overrides))
    assert all(network.overrides == [overrides] * 3 for network in networks.values())


def test_photographs_are_evaluated_one_at_a_time(low: Path) -> None:
    network = FakeEnhancer(1)
    evaluations = evaluate_folders(low, network=network)
    next(evaluations)
    assert len(network.overrides) == 1
    next(evaluations)
    assert len(network.overrides) == 2


def test_means_ignore_nan() -> None:
    def with_score(value: float) -> Evaluation:
        return Evaluation(Path("x"), None, {"input": {"newly_clipped": value}})

    evaluations = [with_score(0.25), with_score(math.nan), with_score(0.75)]
    assert report.mean_scores(evaluations) == {"input": {"newly_clipped": 0.5}}
    table = report.markdown_table([with_score(math.nan)])
    assert table.splitlines()[-1] == "| input | – |"
    table = report.markdown_table([with_score(0.25), with_score(0.75)])
    assert table.splitlines()[-1] == "| input | 0.5000 |"


@pytest.mark.needs("skimage")
def test_infinite_scores_are_null_in_json(low: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    evaluations = list(evaluate_folders(low, low))
    assert evaluations[0].scores["input"]["psnr"] == math.inf
    report.write_json(path, evaluations, {})
    assert json.loads(path.read_text())["means"]["input"]["psnr"] is None
    assert "| inf | 1.000 |" in report.markdown_table(evaluations)


def test_the_sheet_shows_captions_and_centered_thumbnails(low: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/wide.png", np.full((40, 80, 3), 60, np.uint8))
    evaluations = evaluate_folders(tmp_path / "in", double=FakeEnhancer(2))
    report.write_sheet(tmp_path / "sheet.png", evaluations)
    sheet = np.asarray(opened(tmp_path / "sheet.png"))
    assert sheet.shape == (24 + 164, 2 * 244, 3)
    # 80x40 fits into 240x160 as 240x120, in the middle.
    thumbnail = sheet[24:, 2:242]
    assert np.array_equal(thumbnail[22:142], np.full((120, 240, 3), 60))
    assert (thumbnail[:22] == 255).all()
    assert (thumbnail[142:] == 255).all()
    assert (sheet[24 + 22 : 24 + 142, 246:486] == 120).all()
    # Each column has a caption.
    assert (sheet[:24, :244] < 100).any()
    assert (sheet[:24, 244:] < 100).any()


def test_only_the_first_photographs_have_thumbnails(tmp_path: Path) -> None:
    for i in range(14):
        save(tmp_path / f"in/{i:02}.png", np.full((16, 16, 3), i, np.uint8))
    (tmp_path / "in/03.png").write_bytes(b"not an image")
    evaluations = list(evaluate_folders(tmp_path / "in"))
    expected = [i not in (3, 13) for i in range(14)]
    assert [bool(evaluation.thumbnails) for evaluation in evaluations] == expected
    with pytest.raises(InputError, match="no photographs to show"):
        report.write_sheet(tmp_path / "sheet.png", evaluations[13:])


def test_narrow_images_have_a_thumbnail(tmp_path: Path) -> None:
    line = np.full((1, 2000, 3), 7, np.uint8)
    thumbnail = pillow.thumbnail(line, (240, 160))
    assert thumbnail.shape == (160, 240, 3)
    assert (thumbnail == 7).all(axis=2).sum() == 240


def test_ambiguous_names_are_refused_and_table_cells_are_escaped(low: Path, high: Path) -> None:
    save(high / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif are references with the same name"):
        pair_by_name(low, high)
    with pytest.raises(UsageError, match="input is the name of the unprocessed photograph"):
        next(evaluate_folders(low, input=FakeEnhancer(1)))
    scores = {"newly_clipped": 0.0}
    evaluation = Evaluation(Path("x"), None, {"input": scores, "a|b\nc": scores})
    table = report.markdown_table([evaluation])
    assert table.splitlines()[-1] == r"| a\|b\nc | 0.0000 |"


def test_hidden_photographs_are_ignored(low: Path) -> None:
    save(low / ".hidden.png", np.zeros((4, 4, 3), np.uint8))
    save(low / ".cache/d.png", np.zeros((4, 4, 3), np.uint8))
    (low / "notes.txt").touch()
    names = [str(path.relative_to(low)) for path in find_photographs(low)]
    assert names == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize("write", [report.write_csv, partial(report.write_json, overrides={})])
def test_failed_writes_keep_the_old_file(
    write: Callable, low: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"precious")
    evaluations = list(evaluate_folders(low))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        for method in ("write_text", "open"):
            patched.setattr(Path, method, fail)
        with pytest.raises(OSError, match="disk full"):
            write(path, evaluations)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.glob(".zerodce-*")) == []
    write(path, evaluations)
    assert b"a.png" in path.read_bytes()
