"""``zerodce train``, and ``train.py``."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from zerodce_jax.cli.several import Several, joined
from zerodce_jax.config import TrainConfig

if TYPE_CHECKING:
    from zerodce_jax.training.loop import Outcome


def train(
    *,
    data: Annotated[Path, arg(metavar="DIR")],
    workdir: Annotated[Path, arg(metavar="DIR")],
    val_data: Annotated[Path | None, arg(metavar="DIR")] = None,
    init: Annotated[str | None, arg(metavar="NET")] = None,
    resume: Literal["auto", "never"] = "auto",
    config: OmitArgPrefixes[TrainConfig] = TrainConfig(),  # noqa: B008 (frozen)
    several: OmitArgPrefixes[Several] = Several(),  # noqa: B008
) -> int:
    """Train a network on a folder of photographs, without references.

    Args:
        data: Folder of photographs, searched through.
        workdir: Folder for checkpoints, logs and samples.
        val_data: Folder of photographs to validate on.
        init: Network to start from, as for enhance --model; its architecture then counts.
        resume: Go on with the run in the working folder (auto), or refuse to (never).
        config: The recipe.
        several: Other processes to train together with.
    """
    with joined(several, workdir) as speaks:
        outcome = _trained(data, workdir, val_data, init, resume, config)
        signum = outcome.stopped_by
        if signum is not None and speaks:
            stopped = f"stopped after step {outcome.step} by {signum.name}"
            print(f"zerodce: {stopped}; the same command goes on from there", file=sys.stderr)
        elif speaks:
            print(f"{workdir}: trained to step {outcome.step}")
    return 0 if signum is None else 128 + signum


def _trained(
    data: Path,
    workdir: Path,
    val_data: Path | None,
    init: str | None,
    resume: Literal["auto", "never"],
    config: TrainConfig,
) -> "Outcome":
    from tqdm import tqdm

    from zerodce_jax.engines.xla import use_compilation_cache
    from zerodce_jax.models import serialization
    from zerodce_jax.training import loop

    # Forced, since libraries that were just imported have set their own.
    logging.basicConfig(format="zerodce: %(message)s", force=True)
    use_compilation_cache()
    network = serialization.load_network(init) if init else None
    with tqdm(unit="step", disable=not sys.stderr.isatty(), smoothing=0.05) as bar:
        shown: dict[str, str] = {}

        def watch(step: int, steps: int, values: dict[str, float]) -> None:
            if "val_total" in values:
                bar.write(f"step {step}: validation loss {values['val_total']:.5f}", sys.stderr)
                return
            if bar.total is None:
                bar.reset(steps)
                # What was trained before this start is no part of the speed.
                bar.initial = bar.n = step - 1
            shown["loss"] = f"{values['total']:.4f}"
            if "images_per_second" in values:
                shown["images/s"] = f"{values['images_per_second']:.1f}"
            bar.set_postfix(shown, refresh=False)
            bar.update(step - bar.n)

        return loop.fit(
            config,
            data=data,
            workdir=workdir,
            val_data=val_data,
            init=network,
            resume=resume,
            watch=watch,
        )
