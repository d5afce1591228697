"""Evaluation of networks on photographs, with or without references, one photograph at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from zerodce_jax.config import SettingOverrides
from zerodce_jax.errors import InputError, UsageError, one_line, require
from zerodce_jax.evaluation import metrics
from zerodce_jax.evaluation.perceptual import PerceptualMetric
from zerodce_jax.media import photo, pillow

if TYPE_CHECKING:
    from zerodce_jax.enhancer import Enhancer

INPUT = "input"
"""Name that stands for the photograph without enhancement, beside the names of the networks."""

COLUMNS = {
    "psnr": ("PSNR, dB ↑", 2),
    "ssim": ("SSIM ↑", 3),
    "mae": ("MAE ↓", 3),
    "psnr_matched": ("PSNR matched, dB ↑", 2),
    "ssim_matched": ("SSIM matched ↑", 3),
    "highlight_lift": ("highlight lift, to 0", 3),
    "shadow_lift": ("shadow lift ↑", 3),
    "black_brightness": ("black level ↓", 3),
    "black_chroma": ("black chroma ↓", 3),
    "black_grain": ("black grain ↓", 4),
    "newly_clipped": ("newly clipped ↓", 4),
    "noise_amplification": ("noise ↓", 2),
    "detail_bright": ("detail, bright ↑", 2),
    "detail_textured": ("detail, textured ↑", 2),
    "lightness_order_error": ("LOE ↓", 0),
}
"""Heading and number of decimals of each score in tables, by the name of the score."""

THUMBNAIL_SIZE = (240, 160)
"""Width and height of the thumbnails, in pixels."""
_MAX_THUMBNAILS = 12  # photographs
_WHITE = np.float32(255)


@dataclass(frozen=True)
class Evaluation:
    """The scores of one photograph."""

    photograph: Path
    reference: Path | None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Scores by network (`INPUT` first) and name; nan if a metric is not defined for the image."""
    thumbnails: tuple[UInt8[np.ndarray, "h w 3"], ...] = ()
    """Thumbnails of the input, the result of each network, and the reference."""
    error: str = ""
    """One line that says why there are no scores; empty otherwise."""


def evaluate(
    networks: "Mapping[str, Enhancer]",
    photographs: Sequence[Path],
    references: Sequence[Path] | None = None,
    *,
    overrides: SettingOverrides | None = None,
    perceptual: Sequence[PerceptualMetric] = (),
) -> Iterator[Evaluation]:
    """Evaluate networks on photographs, at 8 bits.

    Args:
        networks: Enhancers by the names that reports give them.
        photographs: Dark photographs.
        references: Well-lit photographs of the same scenes, in the same order. Without them, only
            metrics that need no reference are computed.
        overrides: Settings that replace those of all networks.
        perceptual: Further metrics; see `perceptual.load_metrics`.

    Yields:
        The evaluations, in the order of the photographs. Only the first few have thumbnails, to
        bound the memory.

    Raises:
        UsageError: A network has the name `INPUT`, a perceptual metric has the name of another
            score, a package is not installed, or a setting is out of range.
    """
    if INPUT in networks:
        raise UsageError(f"{INPUT} is the name of the unprocessed photograph; write ./{INPUT}")
    for metric in perceptual:
        if metric.name in COLUMNS:
            raise UsageError(f"{metric.name} is always computed; it is not a perceptual metric")
    if references is not None:
        require("evaluate", "evaluate", "skimage")
    successes = 0
    partners = [None] * len(photographs) if references is None else references
    for photograph, reference in zip(photographs, partners, strict=True):
        try:
            evaluation = _evaluate_one(networks, photograph, reference, overrides or {}, perceptual)
        except UsageError:
            raise
        except (InputError, OSError) as error:
            yield Evaluation(photograph, reference, error=one_line(error))
            continue
        successes += 1
        yield evaluation if successes <= _MAX_THUMBNAILS else replace(evaluation, thumbnails=())


def _evaluate_one(
    networks: "Mapping[str, Enhancer]",
    photograph: Path,
    reference: Path | None,
    overrides: SettingOverrides,
    perceptual: Sequence[PerceptualMetric],
) -> Evaluation:
    dark = photo.read_rgb(photograph)
    bright = None if reference is None else photo.read_rgb(reference)
    if bright is not None and bright.shape != dark.shape:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (dark, bright)]
        raise InputError(f"{photograph} has {sizes[0]} pixels, but {reference} has {sizes[1]}")
    before = dark / _WHITE
    target = None if bright is None else bright / _WHITE
    scores = {INPUT: _scores(before, before, target, perceptual)}
    thumbnails = [pillow.thumbnail(dark, THUMBNAIL_SIZE)]
    for name, enhancer in networks.items():
        enhanced = enhancer(dark, **overrides)
        scores[name] = _scores(before, enhanced / _WHITE, target, perceptual)
        thumbnails.append(pillow.thumbnail(enhanced, THUMBNAIL_SIZE))
    if bright is not None:
        thumbnails.append(pillow.thumbnail(bright, THUMBNAIL_SIZE))
    return Evaluation(photograph, reference, scores, tuple(thumbnails))


def _scores(
    image: metrics.Image,
    enhanced: metrics.Image,
    reference: metrics.Image | None,
    perceptual: Sequence[PerceptualMetric],
) -> dict[str, float]:
    scores = {}
    if reference is not None:
        matched = metrics.match_brightness(enhanced, reference)
        scores = {
            "psnr": metrics.psnr(enhanced, reference),
            "ssim": metrics.ssim(enhanced, reference),
            "mae": metrics.mae(enhanced, reference),
            "psnr_matched": metrics.psnr(matched, reference),
            "ssim_matched": metrics.ssim(matched, reference),
        }
    black = metrics.black_level(image, enhanced)
    detail = metrics.detail_retention(image, enhanced)
    return scores | {
        "highlight_lift": metrics.highlight_lift(image, enhanced),
        "shadow_lift": metrics.shadow_lift(image, enhanced),
        "black_brightness": black.brightness,
        "black_chroma": black.chroma,
        "black_grain": black.grain,
        "newly_clipped": metrics.newly_clipped(image, enhanced),
        "noise_amplification": metrics.noise_amplification(image, enhanced),
        "detail_bright": detail.bright,
        "detail_textured": detail.textured,
        "lightness_order_error": metrics.lightness_order_error(image, enhanced),
        **{metric.name: metric(enhanced, reference) for metric in perceptual},
    }
