"""Networks side by side on pictures: figures of each, tables of them, a sheet to look at."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from zerodce_jax.atomic import replacing
from zerodce_jax.errors import InputError, UsageError, one_line
from zerodce_jax.evaluation import metrics
from zerodce_jax.media import formats, photo, pillow

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.evaluation.perceptual import Perceptual

INPUT = "input"
"""The row of the pictures as they are."""

# Heading with unit and direction, and digits behind the point, of each figure.
_COLUMNS = {
    "psnr": ("PSNR, dB ↑", 2),
    "ssim": ("SSIM ↑", 3),
    "mae": ("MAE ↓", 3),
    "psnr_matched": ("PSNR matched, dB ↑", 2),
    "ssim_matched": ("SSIM matched ↑", 3),
    "highlight_lift": ("highlight lift, to 0", 3),
    "newly_clipped": ("newly clipped ↓", 4),
    "noise_amplification": ("noise ↓", 2),
    "detail_bright": ("detail, bright ↑", 2),
    "detail_textured": ("detail, textured ↑", 2),
    "lightness_order_error": ("LOE ↓", 0),
}
_SHEET_PICTURES = 12
_CELL = (240, 160)


@dataclass(frozen=True)
class Judged:
    """What was found of one picture."""

    image: Path
    reference: Path | None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By network, `INPUT` first, and by name; nan where a figure has nothing to go by."""
    cells: tuple[UInt8[np.ndarray, "h w 3"], ...] = ()
    """The picture, what each network made of it, and the reference, small; of the first few."""
    problem: str = ""
    """One line on why there are no figures."""


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder and the folders below it, sorted; hidden names are left out.

    Raises:
        InputError: There is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [
        path
        for path in folder.rglob("*")
        if formats.format_of(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise InputError(f"{folder}: no pictures in this folder")
    return sorted(found)


def pairs_of(low: Path, high: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair the pictures of two folders by their names, without the extension.

    Args:
        low: Folder of dark pictures.
        high: Folder of their references.

    Returns:
        Pairs of a picture and its reference, and the pictures of both folders without a partner.

    Raises:
        InputError: A folder holds no pictures, no two go together, or two references go by one
            name.
    """
    images = [(path, path.relative_to(low).with_suffix("")) for path in pictures_in(low)]
    references: dict[Path, Path] = {}
    for path in pictures_in(high):
        name = path.relative_to(high).with_suffix("")
        if name in references:
            raise InputError(f"{references[name]} and {path} are references of one name")
        references[name] = path
    pairs = [(path, references[name]) for path, name in images if name in references]
    if not pairs:
        raise InputError(f"no pictures of {low} and {high} go by one name")
    left = [path for path, name in images if name not in references]
    taken = {reference for _, reference in pairs}
    return pairs, left + [path for path in references.values() if path not in taken]


def evaluate(
    networks: "Mapping[str, Enhancer]",
    images: Sequence[Path],
    references: Sequence[Path] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    perceptual: Sequence["Perceptual"] = (),
) -> Iterator[Judged]:
    """Judge what networks make of pictures, one picture after another, in 8 bits.

    Args:
        networks: Enhancers by the names that the rows go by.
        images: Files of dark pictures.
        references: Files of the same pictures in good light, in the same order; without them there
            are only the figures that need none.
        settings: Keyword arguments of `Enhancer.__call__`, the same for all networks; what is not
            given is up to the enhancer.
        perceptual: Further figures, by models of human judgement: see `perceptual.load`.

    Returns:
        An iterator over what was found, in the order of the images.

    Raises:
        UsageError: A network is called `INPUT`, or a metric as a figure of ours; a setting is out
            of range (with the first picture), or a package is not installed.
    """
    if INPUT in networks:
        raise UsageError(f"{INPUT} is the row of the untouched pictures; write ./{INPUT}")
    for metric in perceptual:
        if metric.name in _COLUMNS:
            raise UsageError(f"{metric.name} is a figure that is there anyway")
    if references is not None and find_spec("skimage") is None:
        raise UsageError("evaluate needs packages: pip install 'zerodce-jax[evaluate]'")
    partners = [None] * len(images) if references is None else references
    pairs = zip(images, partners, strict=True)
    return _evaluate(networks, pairs, settings or {}, perceptual)


def _evaluate(
    networks: "Mapping[str, Enhancer]",
    pairs: Iterable[tuple[Path, Path | None]],
    settings: Mapping[str, Any],
    perceptual: Sequence["Perceptual"],
) -> Iterator[Judged]:
    on_sheet = 0
    for image, reference in pairs:
        try:
            judged = _judge(networks, image, reference, settings, perceptual)
            # Kept by whoever collects them, so not of all pictures.
            judged = judged if on_sheet < _SHEET_PICTURES else replace(judged, cells=())
            on_sheet += 1
        except UsageError:
            raise
        except (InputError, OSError) as error:
            judged = Judged(image, reference, problem=one_line(error))
        yield judged


def _judge(
    networks: "Mapping[str, Enhancer]",
    image: Path,
    reference: Path | None,
    settings: Mapping[str, Any],
    perceptual: Sequence["Perceptual"],
) -> Judged:
    dark = photo.read_rgb(image)
    bright = None if reference is None else photo.read_rgb(reference)
    if bright is not None and bright.shape != dark.shape:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (dark, bright)]
        raise InputError(f"{image} has {sizes[0]} pixels, but {reference} has {sizes[1]}")
    before = _floats(dark)
    wanted = None if bright is None else _floats(bright)
    figures = {INPUT: _figures(before, before, wanted, perceptual)}
    cells = [pillow.thumbnail(dark, _CELL)]
    for name, enhancer in networks.items():
        enhanced = enhancer(dark, **settings)
        figures[name] = _figures(before, _floats(enhanced), wanted, perceptual)
        cells.append(pillow.thumbnail(enhanced, _CELL))
    if bright is not None:
        cells.append(pillow.thumbnail(bright, _CELL))
    return Judged(image, reference, figures, tuple(cells))


def _floats(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    return pixels / np.float32(255)


def _figures(
    image: Float[np.ndarray, "h w 3"],
    enhanced: Float[np.ndarray, "h w 3"],
    reference: Float[np.ndarray, "h w 3"] | None,
    perceptual: Sequence["Perceptual"],
) -> dict[str, float]:
    figures = {}
    if reference is not None:
        matched = metrics.matched(enhanced, reference)
        figures = {
            "psnr": metrics.psnr(enhanced, reference),
            "ssim": metrics.ssim(enhanced, reference),
            "mae": metrics.mae(enhanced, reference),
            "psnr_matched": metrics.psnr(matched, reference),
            "ssim_matched": metrics.ssim(matched, reference),
        }
    detail = metrics.detail_retention(image, enhanced)
    return figures | {
        "highlight_lift": metrics.highlight_lift(image, enhanced),
        "newly_clipped": metrics.newly_clipped(image, enhanced),
        "noise_amplification": metrics.noise_amplification(image, enhanced),
        "detail_bright": detail.bright,
        "detail_textured": detail.textured,
        "lightness_order_error": metrics.lightness_order_error(image, enhanced),
        **{metric.name: metric(enhanced, reference) for metric in perceptual},
    }


def means(judged: Iterable[Judged]) -> dict[str, dict[str, float]]:
    """The mean of each figure over the pictures that have it, by network and name."""
    values: dict[str, dict[str, list[float]]] = {}
    for picture in judged:
        for network, figures in picture.figures.items():
            for name, value in figures.items():
                found = values.setdefault(network, {}).setdefault(name, [])
                found += [] if math.isnan(value) else [value]
    return {
        network: {name: fmean(found) if found else math.nan for name, found in figures.items()}
        for network, figures in values.items()
    }


def markdown(judged: Iterable[Judged], perceptual: Sequence["Perceptual"] = ()) -> str:
    """The means as a Markdown table, a row a network; a dash where no picture has a figure."""
    rows = means(judged)
    names = list(rows[INPUT]) if rows else []
    arrows = {metric.name: "↓" if metric.lower_better else "↑" for metric in perceptual}
    columns = _COLUMNS | {name: (f"{name} {arrow}", 3) for name, arrow in arrows.items()}
    lines = [["network", *(columns[name][0] for name in names)], ["---"] * (len(names) + 1)]
    for network, figures in rows.items():
        cells = (f"{value:.{columns[name][1]}f}" for name, value in figures.items())
        shown = ("–" if cell == "nan" else cell for cell in cells)
        lines.append([one_line(network).replace("|", r"\|"), *shown])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_json(path: Path, judged: Sequence[Judged], settings: Mapping[str, Any]) -> None:
    """Write figures and means as JSON; null is what has no value, or an infinite one."""
    content = {
        "settings": dict(settings),
        "pictures": [
            {
                "image": str(picture.image),
                "reference": None if picture.reference is None else str(picture.reference),
                "problem": picture.problem,
                "figures": _finite(picture.figures),
            }
            for picture in judged
        ],
        "means": _finite(means(judged)),
    }
    with replacing(path) as temporary:
        # Escapes keep names that are no Unicode readable for Python, and valid JSON.
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, judged: Iterable[Judged]) -> None:
    """Write the figures as CSV, a row for each picture and network; empty is what has no value."""
    rows = [
        {"image": picture.image, "reference": picture.reference, "network": network}
        | {name: "" if math.isnan(value) else value for name, value in figures.items()}
        for picture in judged
        for network, figures in picture.figures.items()
    ]
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["image", "reference", "network"])
        writer.writeheader()
        writer.writerows(rows)


def write_sheet(path: Path, judged: Iterable[Judged]) -> None:
    """Write a contact sheet: a row a picture, the input, what each network made, the reference.

    Args:
        path: A picture, in the format that its name stands for.
        judged: The first few pictures of it are shown.

    Raises:
        InputError: There is nothing to show, or the format is not written.
    """
    shown = [picture for picture in judged if picture.cells]
    if not shown:
        raise InputError(f"{path}: there are no pictures to show")
    names = [Path(network).name for network in shown[0].figures]
    captions = [*names, "reference"][: len(shown[0].cells)]
    rows = [[pillow.draw_text(text, (_CELL[0], 20)) for text in captions]]
    rows += [picture.cells for picture in shown]
    framed = [np.hstack([_framed(cell) for cell in row]) for row in rows]
    photo.write(path, photo.Photo(np.vstack(framed)))


def _framed(cell: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    return np.pad(cell, ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _finite(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        network: {name: value if math.isfinite(value) else None for name, value in row.items()}
        for network, row in figures.items()
    }
