"""Metrics that model human judgement of images, such as LPIPS and NIQE, from the package pyiqa.

No package contains their weights. pyiqa downloads the weights of a metric at its first use and
stores them in ``pyiqa`` below PyTorch's hub folder (``$TORCH_HOME/hub``, or ``~/.cache/torch/hub``
by default). Stored weights need no internet connection.
"""

import contextlib
import math
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from zerodce_jax.errors import UsageError, install_command, one_line

# Metrics of pyiqa that compare folders, or an image with words.
_NOT_FOR_IMAGES = {"clipscore", "fid", "fid_dinov2", "inception_score", "sfid"}


@dataclass(frozen=True)
class PerceptualMetric:
    """A metric, by its name in pyiqa."""

    name: str
    lower_better: bool
    """Whether a lower score is better."""
    needs_reference: bool
    """Whether the metric compares an image with a reference."""
    _model: Any

    def __call__(
        self, image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"] | None
    ) -> float:
        """Return the score of an image in [0, 1], or nan if the metric is not defined for it.

        NIQE is not defined for black images and below 96x96 pixels. Only metrics that need a
        reference use it.
        """
        import torch  # pyright: ignore[reportMissingImports]

        images = [image] if reference is None or not self.needs_reference else [image, reference]
        tensors = [torch.from_numpy(x.transpose(2, 0, 1)[None].copy()) for x in images]
        try:
            with warnings.catch_warnings(action="ignore"):
                return float(self._model(*tensors))
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, IndexError, RuntimeError, ValueError):
            return math.nan


def load_metrics(names: Iterable[str], *, references: bool) -> list[PerceptualMetric]:
    """Load metrics of pyiqa, such as lpips, niqe, dists and musiq, with their weights, each once.

    Raises:
        UsageError: pyiqa is not installed or does not have a metric, a metric needs references that
            do not exist, or weights are neither stored nor can be downloaded.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
        2018 (LPIPS); Mittal et al., "Making a Completely Blind Image Quality Analyzer", IEEE Signal
        Processing Letters, 2013 (NIQE).
    """
    names = list(dict.fromkeys(names))
    if not names:
        return []
    try:
        import pyiqa  # pyright: ignore[reportMissingImports] (gigabytes: not installed for tests)
        from torch.hub import get_dir  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        command = install_command("perceptual")
        raise UsageError(f"{', '.join(names)}: needs packages: {command}") from error
    no_reference, full_reference = (
        set(pyiqa.list_models(metric_mode=mode)) - _NOT_FOR_IMAGES for mode in ("NR", "FR")
    )
    for name in names:
        if name not in no_reference | full_reference:
            raise UsageError(f"{name}: not a metric of images in pyiqa")
        if name in full_reference and not references:
            raise UsageError(f"{name} needs references: use --pairs LOW HIGH")
    metrics = []
    for name in names:
        try:
            # pyiqa prints what it loads, but standard output is for the table.
            with contextlib.redirect_stdout(sys.stderr):
                model = pyiqa.create_metric(name)
        # Weights have many file formats, and their readers raise many types of errors.
        except Exception as error:
            raise UsageError(
                f"{name}: its weights are missing or damaged in {get_dir()},"
                f" and could not be downloaded: {one_line(error)}"
            ) from error
        needs_reference = model.metric_mode == "FR"
        metrics.append(PerceptualMetric(name, model.lower_better, needs_reference, model))
    return metrics
