"""``zerodce convert``."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zerodce_jax.cli.messages import note
from zerodce_jax.cli.options import unless
from zerodce_jax.errors import InputError, UsageError


def convert(
    source: Annotated[Positional[str], arg(metavar="SRC")],
    target: Annotated[
        Positional[Path | None], arg(metavar="[DST]", help_behavior_hint="(optional with --check)")
    ] = None,
    /,
    *,
    preset: Annotated[
        Literal["reduced", "original", "plusplus"] | None,
        unless("reduced|original|plusplus", "what the source says"),
    ] = None,
    scale: Annotated[int | None, unless("INT", "what the source says, or 1")] = None,
    key: Annotated[str | None, unless("KEY", "the only network, or its average")] = None,
    layout: Literal["jax", "torch"] = "jax",
    dtype: Literal["float32", "float16"] = "float32",
    check: Annotated[bool, FlagCreatePairsOff] = False,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
) -> int:
    """Convert networks between PyTorch .pth, Orbax folders and .safetensors.

    Args:
        source: A .pth or .safetensors file, a training folder (DIR or
            DIR@STEP), or the name of a shipped network.
        target: A .safetensors file, or a folder for an Orbax checkpoint.
        preset: Architecture of a DCE-Net, if the source does not store
            it.
        scale: Estimate the curves of a DCE-Net on the image reduced by
            this factor (12 for Zero-DCE++).
        key: Key of the network in a PyTorch checkpoint that holds
            several, such as params.
        layout: Layout of .safetensors: jax, or torch (OIHW, with the
            names of the PyTorch originals).
        dtype: Data type of the tensors in .safetensors. float16 halves
            the file; networks are read back as float32.
        check: Convert the network to every format and back, and print
            the differences.
        overwrite: Replace an existing target.
    """
    from zerodce_jax.models import serialization

    if target is None and not check:
        raise UsageError("convert: name a target, or use --check")
    if target is not None and target.exists() and not overwrite:
        raise InputError(f"{target}: already exists; --overwrite replaces it")
    network = serialization.load_network(source, preset=preset, scale=scale, key=key)
    note(*network.notes)
    if target is not None:
        serialization.save_network(network, target, layout=layout, dtype=dtype)
        print(f"{target}: {network.architecture}, {network.parameter_count:,} parameters")
    if check:
        return _print_differences(serialization.round_trip_differences(network))
    return 0


def _print_differences(rows: list[tuple[str, tuple[int, ...], float]]) -> int:
    width = max(len(name) for name, _, _ in rows)
    print(f"{'tensor':<{width}}  {'shape':<16}  largest difference after a round trip")
    for name, shape, difference in rows:
        print(f"{name:<{width}}  {shape!s:<16}  {difference:g}")
    return 1 if any(difference for _, _, difference in rows) else 0
