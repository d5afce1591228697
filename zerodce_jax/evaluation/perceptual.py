"""How good an image looks to a model of human judgement: LPIPS, NIQE and others, by pyiqa.

Their weights are no part of any package: pyiqa fetches each one's when it is first asked for, and
keeps them in ``pyiqa`` below PyTorch's hub folder (``$TORCH_HOME/hub``, else
``~/.cache/torch/hub``). Weights that lie there already are used without a network.
"""

import contextlib
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from zerodce_jax.errors import UsageError, one_line

# They compare folders, or an image with words.
_OTHERS = {"clipscore", "fid", "fid_dinov2", "inception_score", "sfid"}


@dataclass(frozen=True)
class Perceptual:
    """A metric of pyiqa."""

    name: str
    """As pyiqa calls it, such as lpips or niqe."""
    lower_better: bool
    needs_reference: bool
    _model: Any

    def __call__(
        self, image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"] | None
    ) -> float:
        """What the metric says of an image, in [0, 1], beside its reference if it needs one.

        Returns:
            nan where it cannot judge: NIQE below 96x96 pixels, or of black ones.
        """
        import torch  # pyright: ignore[reportMissingImports]

        given = [image] if reference is None or not self.needs_reference else [image, reference]
        tensors = [torch.from_numpy(x.transpose(2, 0, 1)[None].copy()) for x in given]
        try:
            with warnings.catch_warnings(action="ignore"):
                return float(self._model(*tensors))
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, IndexError, RuntimeError, ValueError):
            return math.nan


def load(names: Iterable[str], *, references: bool) -> list[Perceptual]:
    """Metrics by their names in pyiqa, with their weights.

    Args:
        names: Such as lpips, niqe, dists, musiq; each one once.
        references: Whether there are references to compare with.

    Raises:
        UsageError: pyiqa is not installed or has no such metric, it compares with references and
            there are none, or its weights are not at hand and cannot be fetched.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
        2018 (LPIPS); Mittal et al., "Making a Completely Blind Image Quality Analyzer", IEEE Signal
        Processing Letters, 2013 (NIQE).
    """
    names = list(dict.fromkeys(names))
    if not names:
        return []
    try:
        import pyiqa  # pyright: ignore[reportMissingImports] (gigabytes, so no part of the tests')
    except ModuleNotFoundError as error:
        needed = "pip install 'zerodce-jax[perceptual]'"
        raise UsageError(f"{', '.join(names)}: needs packages: {needed}") from error
    alone, beside = (set(pyiqa.list_models(metric_mode=mode)) - _OTHERS for mode in ("NR", "FR"))
    for name in names:
        if name not in alone | beside:
            raise UsageError(f"{name}: pyiqa has no such metric of images")
        if name in beside and not references:
            raise UsageError(f"{name} compares with references: name --pairs LOW HIGH")
    return [_loaded(name, pyiqa.create_metric) for name in names]


def _loaded(name: str, create: Callable[[str], Any]) -> Perceptual:
    from torch.hub import get_dir  # pyright: ignore[reportMissingImports]

    # It says on stdout what it loads, where tables go.
    try:
        with contextlib.redirect_stdout(sys.stderr):
            model = create(name)
    # Weights lie in files of many kinds, whose readers have errors of their own.
    except Exception as error:
        raise UsageError(
            f"{name}: its weights are not in {get_dir()}, or not whole, "
            f"and could not be fetched: {one_line(error)}"
        ) from error
    return Perceptual(name, model.lower_better, model.metric_mode == "FR", model)
