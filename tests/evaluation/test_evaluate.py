"""evaluate.py and ``zerodce evaluate``: what is judged, printed, written, and what goes wrong."""

import csv
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
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.evaluation import evaluate, metrics
from zerodce_jax.evaluation.perceptual import Perceptual
from zerodce_jax.media import photo, pillow

ONNX = ("--engine", "onnx")
WITHOUT_REFERENCE = [
    "highlight_lift",
    "newly_clipped",
    "noise_amplification",
    "detail_bright",
    "detail_textured",
    "lightness_order_error",
]
ALL = ["psnr", "ssim", "mae", "psnr_matched", "ssim_matched", *WITHOUT_REFERENCE]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def low(tmp_path: Path) -> Path:
    """Three dark pictures, one of them in a folder below."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        pixels = rng.integers(20, 50, (40 + 8 * i, 64, 3), dtype=np.uint8)
        save(tmp_path / "low" / name, pixels)
    return tmp_path / "low"


@pytest.fixture
def high(low: Path, tmp_path: Path) -> Path:
    """The same three times as bright, in another format."""
    for path in low.rglob("*.png"):
        pixels = np.asarray(opened(path))
        target = tmp_path / "high" / path.relative_to(low).with_suffix(".tif")
        save(target, 3 * pixels)
    return tmp_path / "high"


class Brighter:
    """Stands in for an enhancer."""

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.settings: list[dict[str, Any]] = []

    def __call__(self, image: np.ndarray, **settings: Any) -> np.ndarray:
        self.settings.append(settings)
        return self.factor * image


def judged(low: Path, high: Path | None = None, **networks: Brighter) -> Iterator[evaluate.Judged]:
    images = evaluate.pictures_in(low)
    references = None if high is None else evaluate.pictures_in(high)
    return evaluate.evaluate(networks, images, references)


# The command.


@pytest.mark.needs("onnxruntime", "skimage")
def test_pairs_in_every_form(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("out.json", "out.csv", "out.png")]
    options = ("--json", files[0], "--csv", files[1], "--sheet", files[2], *ONNX)
    assert run("evaluate", "reduced", "fast", "--pairs", low, high, *options) == 0
    printed = capsys.readouterr()
    assert printed.err == ""

    content = json.loads(files[0].read_text())
    assert content["settings"] == {}
    names = [low / "a.png", low / "b.png", low / "sub/c.png"]
    assert [picture["image"] for picture in content["pictures"]] == [str(name) for name in names]
    assert content["pictures"][2]["reference"] == str(high / "sub/c.tif")
    enhancer = Enhancer.load("reduced", engine="onnx")
    from skimage.metrics import peak_signal_noise_ratio

    psnrs = []
    for picture in content["pictures"]:
        assert list(picture["figures"]) == ["input", "reduced", "fast"]
        assert all(list(row) == ALL for row in picture["figures"].values())
        enhanced = enhancer(np.asarray(opened(Path(picture["image"]))))
        bright = np.asarray(opened(Path(picture["reference"])))
        psnrs.append(peak_signal_noise_ratio(bright, enhanced))
        assert picture["figures"]["reduced"]["psnr"] == pytest.approx(psnrs[-1], abs=1e-3)
        # Three times the input is the reference.
        assert picture["figures"]["input"]["psnr_matched"] > 60
        assert picture["figures"]["input"]["ssim"] < 0.7
    assert content["means"]["reduced"]["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-3)
    assert content["means"]["reduced"]["highlight_lift"] is None

    head, line, *rows, empty, last = printed.out.splitlines()
    cells = [cell.strip() for cell in head.strip("|").split("|")]
    assert cells[:5] == ["network", "PSNR, dB ↑", "SSIM ↑", "MAE ↓", "PSNR matched, dB ↑"]
    assert line == "| --- " * 12 + "|"
    assert [re.split(r" *\| *", row)[1] for row in rows] == ["input", "reduced", "fast"]
    figures = re.split(r" *\| *", rows[1])[2:-1]
    assert figures[0] == f"{np.mean(psnrs):.2f}"
    assert figures[5] == "–"
    assert (empty, last) == ("", "means over 3 pictures")

    with files[1].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["image", "reference", "network", *ALL]
    assert [row["network"] for row in table] == ["input", "reduced", "fast"] * 3
    assert float(table[1]["psnr"]) == content["pictures"][0]["figures"]["reduced"]["psnr"]
    assert table[1]["highlight_lift"] == ""

    # Captions, and three rows of input, two networks and reference.
    assert opened(files[2]).size == (4 * 244, 24 + 3 * 164)


@pytest.mark.needs("onnxruntime")
def test_images_without_references(
    low: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("out.json", "out.jpg")]
    options = ("--json", files[0], "--sheet", files[1], "--gamma", 1, "--strength", 0, *ONNX)
    assert run("evaluate", "reduced", "--images", low, *options) == 0
    assert "PSNR" not in capsys.readouterr().out
    content = json.loads(files[0].read_text())
    assert content["settings"] == {"gamma": 1, "strength": 0}
    for picture in content["pictures"]:
        assert picture["reference"] is None
        # Which leaves the pictures as they are.
        assert list(picture["figures"]["reduced"]) == WITHOUT_REFERENCE
        assert picture["figures"]["reduced"] == picture["figures"]["input"]
        assert picture["figures"]["reduced"]["noise_amplification"] == pytest.approx(1, abs=1e-5)
    assert opened(files[1]).size == (2 * 244, 24 + 3 * 164)


@pytest.mark.needs("onnxruntime", "skimage")
def test_pictures_without_a_partner_are_named(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (high / "a.tif").rename(high / "z.tif")
    assert run("evaluate", "reduced", "--pairs", low, high, *ONNX) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"zerodce: note: {path}: has no partner, left out"
        for path in (low / "a.png", high / "z.tif")
    ]
    assert printed.out.endswith("means over 2 pictures\n")


@pytest.mark.needs("onnxruntime", "skimage")
def test_what_cannot_be_judged_is_one_line_and_the_rest_is_done(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save(high / "a.tif", np.zeros((40, 63, 3), np.uint8))
    (low / "b.png").write_bytes(b"no picture")
    report = tmp_path / "out.json"
    assert run("evaluate", "reduced", "--pairs", low, high, "--json", report, *ONNX) == 1
    printed = capsys.readouterr()
    sizes, broken = printed.err.splitlines()
    assert sizes == f"zerodce: {low / 'a.png'} has 64x40 pixels, but {high / 'a.tif'} has 63x40"
    assert broken.startswith(f"zerodce: {low / 'b.png'}: ")
    assert printed.out.endswith("means over 1 picture\n")
    rows = json.loads(report.read_text())["pictures"]
    assert [bool(row["problem"]) for row in rows] == [True, True, False]
    assert [bool(row["figures"]) for row in rows] == [False, False, True]


@pytest.mark.needs("onnxruntime")
def test_nothing_that_can_be_judged(
    low: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in low.rglob("*.png"):
        path.write_bytes(b"no picture")
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
    places = {"low": low, "high": high, "empty": tmp_path / "empty"}
    given = [argument.format(**places) for argument in arguments]
    assert run("evaluate", *given, *ONNX) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"zerodce: .+\n", printed.err), printed.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.needs("onnxruntime")
def test_settings_on_the_command_line_are_kept_with_the_figures(low: Path, tmp_path: Path) -> None:
    given = ("--exposure", 0.3, "--protect-highlights", 0, "--denoise", 0.25)
    shown = {}
    for name, options in (("own", ()), ("given", given), ("off", ("--exposure", "off"))):
        report = tmp_path / f"{name}.json"
        arguments = ("--images", low, "--json", report, "--engine", "onnx")
        assert run("evaluate", "fast", *arguments, *options) == 0
        shown[name] = json.loads(report.read_text())
    assert shown["own"]["settings"] == {}
    assert shown["given"]["settings"] == {
        "exposure": 0.3,
        "protect_highlights": 0.0,
        "denoise": 0.25,
    }
    assert shown["off"]["settings"] == {"exposure": "off"}
    assert shown["own"]["pictures"] != shown["given"]["pictures"] != shown["off"]["pictures"]


@pytest.mark.needs("onnxruntime")
def test_references_need_an_extra_and_images_do_not(
    low: Path, high: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "find_spec", lambda _: None)
    assert run("evaluate", "reduced", "--pairs", low, high, *ONNX) == 2
    needed = "zerodce: evaluate needs packages: pip install 'zerodce-jax[evaluate]'\n"
    assert capsys.readouterr().err == needed
    assert run("evaluate", "reduced", "--images", low, *ONNX) == 0


# The room itself.


@pytest.mark.needs("skimage")
def test_figures_are_those_of_the_metrics(low: Path, high: Path) -> None:
    double = Brighter(2)
    for picture in judged(low, high, double=double):
        assert picture.reference is not None
        image, reference = (
            photo.read_rgb(path) / np.float32(255) for path in (picture.image, picture.reference)
        )
        found = picture.figures["double"]
        assert found["psnr"] == metrics.psnr(2 * image, reference)
        assert found["ssim"] == metrics.ssim(2 * image, reference)
        assert found["mae"] == pytest.approx(image.mean(), rel=1e-5)
        assert found["ssim_matched"] == pytest.approx(1, abs=1e-4)
        assert found["noise_amplification"] == metrics.noise_amplification(image, 2 * image)
        detail = metrics.detail_retention(image, 2 * image)
        assert found["detail_textured"] == pytest.approx(detail.textured, nan_ok=True)
        assert picture.figures[evaluate.INPUT]["lightness_order_error"] == 0
    # What was not asked for is up to the enhancer.
    assert double.settings == [{}, {}, {}]


def test_what_is_new_in_a_picture_is_told_from_what_was_there(tmp_path: Path) -> None:
    save(tmp_path / "grey.png", np.full((64, 64, 3), 204, np.uint8))
    networks = {"white": lambda image: np.full_like(image, 255), "same": lambda image: image}
    (found,) = evaluate.evaluate(networks, [tmp_path / "grey.png"])
    for name, lift, clipped in (("input", 0, 0), ("same", 0, 0), ("white", 0.2, 1)):
        assert found.figures[name]["highlight_lift"] == pytest.approx(lift, abs=1e-6)
        assert found.figures[name]["newly_clipped"] == clipped


@pytest.mark.needs("skimage")
def test_figures_of_models_stand_last(low: Path, high: Path) -> None:
    def distance(image: np.ndarray, reference: np.ndarray | None) -> float:
        return math.nan if reference is None else float(np.abs(image - reference).max())

    measures = [
        Perceptual("far", lower_better=True, needs_reference=True, _model=None),
        Perceptual("nice", lower_better=False, needs_reference=False, _model=None),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Perceptual, "__call__", lambda _, *images: distance(*images))
        networks, images = {"triple": Brighter(3)}, evaluate.pictures_in(low)
        references = evaluate.pictures_in(high)
        found = list(evaluate.evaluate(networks, images, references, perceptual=measures))
        (alone, *_) = evaluate.evaluate(networks, images, perceptual=measures)
    assert all(list(picture.figures["triple"]) == [*ALL, "far", "nice"] for picture in found)
    assert all(picture.figures["triple"]["far"] == 0 for picture in found)
    assert all(picture.figures["input"]["far"] > 0.1 for picture in found)
    assert math.isnan(alone.figures["triple"]["nice"])
    header, _, _, row = evaluate.markdown(found, measures).splitlines()
    assert header.endswith("| LOE ↓ | far ↓ | nice ↑ |")
    assert row.endswith("| 0.000 | 0.000 |")
    ssim = Perceptual("ssim", lower_better=False, needs_reference=True, _model=None)
    with pytest.raises(UsageError, match="ssim is a figure that is there anyway"):
        evaluate.evaluate(networks, images, references, perceptual=[ssim])


def test_settings_reach_every_network(low: Path) -> None:
    networks = {"one": Brighter(1), "two": Brighter(2)}
    settings = {"gamma": 1.3, "of_tomorrow": True}
    images = evaluate.pictures_in(low)
    list(evaluate.evaluate(networks, images, settings=settings))
    assert all(network.settings == [settings] * 3 for network in networks.values())


def test_pictures_are_gone_through_one_at_a_time(low: Path) -> None:
    network = Brighter(1)
    found = judged(low, network=network)
    next(found)
    assert len(network.settings) == 1
    next(found)
    assert len(network.settings) == 2


def test_means_leave_out_what_has_no_value() -> None:
    def of(value: float) -> evaluate.Judged:
        return evaluate.Judged(Path("x"), None, {"input": {"newly_clipped": value}})

    nothing = math.nan
    assert evaluate.means([of(0.25), of(nothing), of(0.75)]) == {"input": {"newly_clipped": 0.5}}
    assert evaluate.markdown([of(nothing)]).splitlines()[-1] == "| input | – |"
    assert evaluate.markdown([of(0.25), of(0.75)]).splitlines()[-1] == "| input | 0.5000 |"


@pytest.mark.needs("skimage")
def test_an_infinite_figure_is_no_number_in_json(low: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    same = list(judged(low, low))
    assert same[0].figures["input"]["psnr"] == math.inf
    evaluate.write_json(path, same, {})
    assert json.loads(path.read_text())["means"]["input"]["psnr"] is None
    assert "| inf | 1.000 |" in evaluate.markdown(same)


def test_the_sheet_shows_pictures_in_their_places(low: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/wide.png", np.full((40, 80, 3), 60, np.uint8))
    evaluate.write_sheet(tmp_path / "sheet.png", judged(tmp_path / "in", double=Brighter(2)))
    sheet = np.asarray(opened(tmp_path / "sheet.png"))
    assert sheet.shape == (24 + 164, 2 * 244, 3)
    # 80x40 fits into 240x160 as 240x120, in the middle.
    shown = sheet[24:, 2:242]
    assert np.array_equal(shown[22:142], np.full((120, 240, 3), 60))
    assert (shown[:22] == 255).all()
    assert (shown[142:] == 255).all()
    assert (sheet[24 + 22 : 24 + 142, 246:486] == 120).all()
    # Something stands above each.
    assert (sheet[:24, :244] < 100).any()
    assert (sheet[:24, 244:] < 100).any()


def test_a_sheet_holds_the_first_few_pictures(tmp_path: Path) -> None:
    for i in range(14):
        save(tmp_path / f"in/{i:02}.png", np.full((16, 16, 3), i, np.uint8))
    (tmp_path / "in/03.png").write_bytes(b"no picture")
    found = list(judged(tmp_path / "in"))
    assert [bool(picture.cells) for picture in found] == [i not in (3, 13) for i in range(14)]
    with pytest.raises(InputError, match="no pictures to show"):
        evaluate.write_sheet(tmp_path / "sheet.png", found[13:])


def test_long_and_strange_pictures_have_a_thumbnail(tmp_path: Path) -> None:
    line = np.full((1, 2000, 3), 7, np.uint8)
    small = pillow.thumbnail(line, (240, 160))
    assert small.shape == (160, 240, 3)
    assert (small == 7).all(axis=2).sum() == 240


def test_names_of_networks_and_references(low: Path, high: Path) -> None:
    save(high / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif are references of one name"):
        evaluate.pairs_of(low, high)
    with pytest.raises(UsageError, match="input is the row of the untouched pictures"):
        judged(low, input=Brighter(1))
    figures = {"newly_clipped": 0.0}
    one = evaluate.Judged(Path("x"), None, {"input": figures, "a|b\nc": figures})
    assert evaluate.markdown([one]).splitlines()[-1] == r"| a\|b\nc | 0.0000 |"


def test_hidden_pictures_are_left_out(low: Path) -> None:
    save(low / ".hidden.png", np.zeros((4, 4, 3), np.uint8))
    save(low / ".cache/d.png", np.zeros((4, 4, 3), np.uint8))
    (low / "notes.txt").touch()
    names = [str(path.relative_to(low)) for path in evaluate.pictures_in(low)]
    assert names == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize("write", [evaluate.write_csv, partial(evaluate.write_json, settings={})])
def test_failed_writes_leave_what_was_there(
    write: Callable, low: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"precious")
    found = list(judged(low))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        for method in ("write_text", "open"):
            patched.setattr(Path, method, fail)
        with pytest.raises(OSError, match="disk full"):
            write(path, found)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.glob(".zerodce-*")) == []
    write(path, found)
    assert b"a.png" in path.read_bytes()
