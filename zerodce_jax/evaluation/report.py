"""Reports of evaluations: means, Markdown, JSON and CSV tables, and a contact sheet."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from zerodce_jax.atomic import replacing
from zerodce_jax.config import SettingOverrides
from zerodce_jax.errors import InputError, one_line
from zerodce_jax.evaluation.evaluate import COLUMNS, INPUT, THUMBNAIL_SIZE, Evaluation
from zerodce_jax.evaluation.perceptual import PerceptualMetric
from zerodce_jax.media import photo, pillow
from zerodce_jax.media.photograph import Photo


def mean_scores(evaluations: Iterable[Evaluation]) -> dict[str, dict[str, float]]:
    """Return the mean of each score by network and name; nan values do not count."""
    values: dict[str, dict[str, list[float]]] = {}
    for evaluation in evaluations:
        for network, scores in evaluation.scores.items():
            for name, value in scores.items():
                defined = values.setdefault(network, {}).setdefault(name, [])
                defined += [] if math.isnan(value) else [value]
    return {
        network: {name: fmean(defined) if defined else math.nan for name, defined in scores.items()}
        for network, scores in values.items()
    }


def markdown_table(
    evaluations: Iterable[Evaluation], perceptual: Sequence[PerceptualMetric] = ()
) -> str:
    """Return the mean scores as a Markdown table: a row per network, a dash for nan."""
    rows = mean_scores(evaluations)
    names = list(rows[INPUT]) if rows else []
    arrows = {metric.name: "↓" if metric.lower_better else "↑" for metric in perceptual}
    columns = COLUMNS | {name: (f"{name} {arrow}", 3) for name, arrow in arrows.items()}
    lines = [["network", *(columns[name][0] for name in names)], ["---"] * (len(names) + 1)]
    for network, scores in rows.items():
        numbers = (f"{value:.{columns[name][1]}f}" for name, value in scores.items())
        cells = ("–" if number == "nan" else number for number in numbers)
        lines.append([one_line(network).replace("|", r"\|"), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_json(path: Path, evaluations: Sequence[Evaluation], overrides: SettingOverrides) -> None:
    """Write scores and means as JSON; null stands for nan and for infinite values."""
    content = {
        "settings": dict(overrides),
        "pictures": [
            {
                "image": str(evaluation.photograph),
                "reference": None if evaluation.reference is None else str(evaluation.reference),
                "problem": evaluation.error,
                "figures": _finite(evaluation.scores),
            }
            for evaluation in evaluations
        ],
        "means": _finite(mean_scores(evaluations)),
    }
    with replacing(path) as temporary:
        # JSON's escapes also hold file names that are not valid Unicode.
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, evaluations: Iterable[Evaluation]) -> None:
    """Write scores as CSV: a row per photograph and network, an empty field for nan."""
    rows = [
        {"image": evaluation.photograph, "reference": evaluation.reference, "network": network}
        | {name: "" if math.isnan(value) else value for name, value in scores.items()}
        for evaluation in evaluations
        for network, scores in evaluation.scores.items()
    ]
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["image", "reference", "network"])
        writer.writeheader()
        writer.writerows(rows)


def write_sheet(path: Path, evaluations: Iterable[Evaluation]) -> None:
    """Write a contact sheet: a row per evaluation with thumbnails of input, results, reference.

    Raises:
        InputError: No evaluation has thumbnails, or the format cannot be written.
    """
    shown = [evaluation for evaluation in evaluations if evaluation.thumbnails]
    if not shown:
        raise InputError(f"{path}: no photographs to show")
    names = [Path(network).name for network in shown[0].scores]
    captions = [*names, "reference"][: len(shown[0].thumbnails)]
    rows = [[pillow.draw_text(text, (THUMBNAIL_SIZE[0], 20)) for text in captions]]
    rows += [evaluation.thumbnails for evaluation in shown]
    margin = ((2, 2), (2, 2), (0, 0))
    strips = [
        np.hstack([np.pad(cell, margin, constant_values=255) for cell in row]) for row in rows
    ]
    photo.write(path, Photo(np.vstack(strips)))


def _finite(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        network: {name: value if math.isfinite(value) else None for name, value in row.items()}
        for network, row in scores.items()
    }
