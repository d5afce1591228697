"""``zerodce train``, and ``train.py``."""

import functools
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from tyro.conf import OmitArgPrefixes, arg

from zerodce_jax.cli.distributed import DistributedFlags, joined_processes
from zerodce_jax.cli.messages import note, say
from zerodce_jax.cli.options import unless
from zerodce_jax.config import Model, TrainConfig
from zerodce_jax.errors import require_training

if TYPE_CHECKING:
    from tqdm import tqdm

    from zerodce_jax.training.journal import OnMetrics


def train(
    *,
    data: Annotated[Path, arg(metavar="DIR")],
    workdir: Annotated[Path, arg(metavar="DIR")],
    val_data: Annotated[Path | None, unless("DIR", "--val-fraction")] = None,
    init: Annotated[str | None, unless("NET", "random weights")] = None,
    resume: Literal["auto", "never"] = "auto",
    config: OmitArgPrefixes[TrainConfig] = TrainConfig(),  # noqa: B008 (frozen)
    distributed: OmitArgPrefixes[DistributedFlags] = DistributedFlags(),  # noqa: B008
) -> int:
    """Train a network on a folder of photographs, without reference images.

    Args:
        data: Folder of photographs; subfolders are included.
        workdir: Folder for checkpoints, logs and samples.
        val_data: Folder of photographs to validate on.
        init: Network to start from, as in enhance --model; its
            architecture replaces --model.
        resume: Continue the run in the working folder (auto), or refuse a
            folder that holds one (never).
        config: The recipe. The losses that have weights are those of
            DCE-Nets.
        distributed: Several processes that train one network together.
    """
    require_training("training")
    with joined_processes(distributed, workdir) as is_first:
        # Joining must come before anything uses JAX.
        from tqdm import tqdm

        from zerodce_jax.engines.xla import use_compilation_cache
        from zerodce_jax.models import serialization
        from zerodce_jax.training import fit

        # Imported libraries have configured logging already, so this must override them.
        logging.basicConfig(format="zerodce: %(message)s", force=True)
        logging.getLogger("zerodce_jax").setLevel(logging.INFO)
        if problem := use_compilation_cache():
            note(problem)
        with tqdm(unit="step", disable=not sys.stderr.isatty(), smoothing=0.05) as bar:
            outcome = fit(
                config,
                data=data,
                workdir=workdir,
                val_data=val_data,
                init=serialization.load_network(init) if init else None,
                resume=resume,
                on_metrics=_progress(bar),
            )
        signum = outcome.stopped_by
        if is_first and signum is not None:
            stopped = f"stopped after step {outcome.step} by {signum.name}"
            say(f"{stopped}; the same command continues from there")
        elif is_first:
            print(f"{workdir}: trained to step {outcome.step}")
    return 0 if signum is None else 128 + signum


def with_recipe(args: Sequence[str]) -> Callable[..., int]:
    """Return the subcommand whose defaults are the recipe of the ``--model`` among the arguments.

    Args:
        args: The arguments of the process; a model that does not exist is reported later.
    """
    joined = " ".join(args).replace("--model=", "--model ")
    named = re.search(r"--model (\S+)", joined)
    models = {model: model for model in get_args(Model)}
    config = TrainConfig.recipe(models.get(named.group(1) if named else "", "reduced"))
    return functools.partial(train, config=config)


def _progress(bar: "tqdm[Any]") -> "OnMetrics":
    """Return a function that shows a run's metrics on a progress bar."""
    shown: dict[str, str] = {}

    def show(step: int, steps: int, metrics: dict[str, float]) -> None:
        if "val_total" in metrics:
            bar.write(f"step {step}: validation loss {metrics['val_total']:.5f}", sys.stderr)
            return
        if bar.total is None:
            bar.reset(steps)
            # Steps before this start must not count for the speed.
            bar.initial = bar.n = step - 1
        shown["loss"] = f"{metrics['total']:.4f}"
        if "images_per_second" in metrics:
            shown["images/s"] = f"{metrics['images_per_second']:.1f}"
        bar.set_postfix(shown, refresh=False)
        bar.update(step - bar.n)

    return show
