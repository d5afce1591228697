"""``zerodce enhance`` with -: one photograph, or raw frames, through standard input and output."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zerodce_jax.cli.options import ResultFormat
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.media import formats

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.jobs.videos import RawFormat
    from zerodce_jax.media import photo


def check_pipe(inputs: tuple[str, ...], output: Path, *, overwrite: bool) -> None:
    """Refuse inputs and outputs that cannot be used with a pipe.

    Raises:
        InputError: The result exists already.
        UsageError: There is not exactly one photograph.
    """
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise UsageError("enhance: - stands for one photograph; name no other inputs with it")
    if str(output) != "-" and formats.format_of(output) in {None, "gif"}:
        raise UsageError(f"{output}: name a photograph, such as out.jpg, or - for standard output")
    if str(output) != "-" and os.path.lexists(output) and not overwrite:
        raise InputError(f"{output}: exists already; --overwrite replaces it")


def pipe_photograph(
    source: str,
    output: Path,
    enhancer: "Enhancer",
    settings: "EnhanceSettings",
    format: ResultFormat,  # noqa: A002
    strip: bool,
    max_pixels: int,
) -> list[str]:
    """Enhance one photograph from standard input, or to standard output.

    Returns:
        What is missing from the result, a line each.
    """
    from tqdm import tqdm

    from zerodce_jax.media import photo

    with tqdm(total=1, unit="photograph", disable=not sys.stderr.isatty()) as bar:
        out = _standard_output() if str(output) == "-" else None
        if source == "-":
            opened = _standard_input(max_pixels)
        else:
            opened = photo.read(Path(source), max_pixels=max_pixels)
        opened = opened.stripped() if strip else opened
        opened = replace(opened, pixels=enhancer(opened.pixels, settings))
        if out is not None:
            kind = formats.output_format(opened.format or "png") if format == "keep" else format
            data, losses = photo.encode(opened, kind)
            with out:
                out.write(data)
        else:
            losses = photo.write(output, opened)
        bar.update()
    return [*opened.notes, *losses]


def raw_format(raw: str, pixel_format: str | None) -> "RawFormat":
    """Return the form of frames that ``--raw`` and ``--pixel-format`` describe.

    Raises:
        UsageError: A flag has no valid value.
    """
    parts = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})@([0-9]+(?:\.[0-9]+)?)", raw)
    if parts is None or float(parts[3]) <= 0:
        raise UsageError(f"--raw must be WxH@FPS, such as 1920x1080@25, not {raw}")
    if pixel_format not in {None, "rgb24", "rgb48le"}:
        raise UsageError(f"--raw knows the pixel formats rgb24 and rgb48le, not {pixel_format}")
    import numpy as np

    from zerodce_jax.jobs.videos import RawFormat

    dtype = np.dtype("<u2" if pixel_format == "rgb48le" else np.uint8)
    return RawFormat(int(parts[1]), int(parts[2]), float(parts[3]), dtype)


def pipe_frames(
    form: "RawFormat", enhancer: "Enhancer", settings: "EnhanceSettings", smoothing: float
) -> None:
    """Enhance raw frames from standard input to standard output."""
    from zerodce_jax.jobs.videos import enhance_raw

    if sys.stdin is None:
        raise InputError("standard input: is closed")
    with _standard_output() as out:

        def write(data: bytes) -> None:
            out.write(data)
            out.flush()

        enhance_raw(sys.stdin.buffer.read, write, form, enhancer, settings, smoothing=smoothing)


def _standard_output() -> IO[bytes]:
    if sys.stdout is None:
        raise InputError("standard output: is closed")
    # At exit, sys.stdout would try once more to write what a closed pipe refused.
    return open(sys.stdout.fileno(), "wb", closefd=False)


def _standard_input(max_pixels: int) -> "photo.Photo":
    from zerodce_jax.media import photo

    if sys.stdin is None:
        raise InputError("standard input: is closed")
    limit = photo.largest_file(max_pixels)
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise InputError(
            f"standard input: more than {limit:,} bytes are too large for a photograph"
        )
    try:
        return photo.decode(data, max_pixels=max_pixels)
    except InputError as error:
        raise InputError(f"standard input: {error}") from error
