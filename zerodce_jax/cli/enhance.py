"""``zerodce enhance``, and ``enhance.py``."""

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg


def enhance(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str, arg(aliases=["-m"])] = "reduced",
    gamma: float = 1.15,
    strength: float = 1.0,
    tile: int | None = None,
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    suffix: str = "",
    format: Literal["keep", "png", "jpeg", "webp", "tiff"] = "keep",  # noqa: A002
) -> int:
    """Light up photographs.

    Args:
        inputs: Photographs, folders of them (structure is kept), or glob patterns.
        output: Folder for the results; for one photograph also a file name.
        model: Network: a shipped name, a training folder (DIR or DIR@STEP), a .safetensors or
            a .pth file.
        gamma: Exponent applied after the curves, against over-exposure; 1 is off.
        strength: How strongly to enhance: 0 not at all, 1 as the network chooses, at most 2.
        tile: Side of the tiles that pictures are computed in, in pixels; smaller needs less memory.
        overwrite: Make results anew that exist already, instead of skipping them.
        suffix: Added to the names of the results, before the extension.
        format: Format of the results.
    """
    from tqdm import tqdm

    from zerodce_jax import convert, folder
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.errors import UsageError

    settings = EnhanceSettings(gamma=gamma, strength=strength)
    if not inputs:
        raise UsageError("enhance: nothing to enhance; name photographs or folders")
    items = folder.plan(inputs, output, suffix=suffix, format=format)
    network = convert.load(model)
    for note in network.notes:
        print(f"zerodce: note: {note}", file=sys.stderr)

    from zerodce_jax.engine import use_compilation_cache
    from zerodce_jax.enhancer import Enhancer

    use_compilation_cache()
    start = time.perf_counter()
    counts = {"done": 0, "skipped": 0, "failed": 0}
    pixels = 0
    with tqdm(total=len(items), unit="picture", disable=not sys.stderr.isatty()) as bar:
        enhancer = Enhancer(network, tile=tile)
        for result in folder.enhance_all(items, enhancer, settings, overwrite=overwrite):
            counts[result.status] += 1
            pixels += result.pixels
            if result.status == "failed":
                bar.write(f"zerodce: {result.message}", file=sys.stderr)
            bar.update()
    seconds = time.perf_counter() - start
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"{summary} in {seconds:.1f} s ({pixels / 1e6 / seconds:.2f} megapixels/s)")
    return 1 if counts["failed"] else 0
