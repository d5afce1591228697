"""``zerodce convert``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg


def convert(
    source: Annotated[Positional[str], arg(metavar="SRC")],
    target: Annotated[Positional[Path | None], arg(metavar="[DST]")] = None,
    /,
    *,
    preset: Literal["reduced", "original", "plusplus"] | None = None,
    scale: int | None = None,
    layout: Literal["jax", "torch"] = "jax",
    check: Annotated[bool, FlagCreatePairsOff] = False,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
) -> int:
    """Convert networks between PyTorch .pth, Orbax folders and .safetensors.

    Args:
        source: A .pth or .safetensors file, a training folder (DIR or DIR@STEP), or a shipped name.
        target: A .safetensors file, or a folder to write an Orbax checkpoint to.
        preset: The architecture, where the source does not say it.
        scale: Estimate curves on the image reduced by this factor (Zero-DCE++ is run at 12).
        layout: For .safetensors: jax, or torch (OIHW under the names of the PyTorch originals).
        check: Take the network through every format and back, and print what changed.
        overwrite: Replace a target that exists.
    """
    from zerodce_jax.errors import InputError, UsageError
    from zerodce_jax.models import serialization as networks

    if target is None and not check:
        raise UsageError("convert: name a target, or --check")
    if target is not None and target.exists() and not overwrite:
        raise InputError(f"{target}: exists already; --overwrite replaces it")
    network = networks.load(source, preset=preset, scale=scale)
    for note in network.notes:
        print(f"zerodce: note: {note}", file=sys.stderr)
    if target is not None:
        networks.save(network, target, layout=layout)
        called = network.config.preset or "an architecture of its own"
        print(f"{target}: {called}, {network.parameters:,} parameters")
    if check:
        return _print_check(networks.round_trip(network))
    return 0


def _print_check(rows: list[tuple[str, tuple[int, ...], float]]) -> int:
    width = max(len(name) for name, _, _ in rows)
    print(f"{'tensor':<{width}}  {'shape':<16}  largest difference after a round trip")
    for name, shape, difference in rows:
        print(f"{name:<{width}}  {shape!s:<16}  {difference:g}")
    return 1 if any(difference for _, _, difference in rows) else 0
