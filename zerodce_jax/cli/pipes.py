"""``zerodce enhance`` with -: one photograph, or raw frames, through standard input and output."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from zerodce_jax.cli.messages import note
from zerodce_jax.cli.options import ResultFormat, VideoFlags
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import InputError, UsageError, prefix_errors
from zerodce_jax.jobs.animations import enhance_several
from zerodce_jax.jobs.plan import is_video
from zerodce_jax.jobs.videos import RawFormat, enhance_raw
from zerodce_jax.media import decoding, encoding, formats, photo
from zerodce_jax.media.photograph import Photo

Load = Callable[[], tuple[Enhancer, EnhanceSettings]]
"""Function that loads the network, which is called once the other arguments are checked."""


def enhance_photograph(
    inputs: tuple[str, ...],
    output: Path,
    load: Load,
    *,
    format: ResultFormat,  # noqa: A002
    strip: bool,
    max_pixels: int,
    overwrite: bool,
    first_frame: bool,
    smoothing: float,
) -> None:
    """Enhance one photograph from standard input, or to standard output.

    Raises:
        InputError: The photograph cannot be used, or the result exists already.
        UsageError: There is not exactly one photograph.
    """
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise UsageError("enhance: - stands for one photograph; name no other inputs with it")
    if is_video(Path(inputs[0])):
        raise UsageError(f"{inputs[0]}: the result of a video needs a file or a folder, not -")
    if str(output) != "-":
        if not formats.can_write(output):
            raise UsageError(
                f"{output}: name a photograph, such as out.jpg, or - for standard output"
            )
        if os.path.lexists(output) and not overwrite:
            raise InputError(f"{output}: exists already; --overwrite replaces it")
    enhancer, settings = load()
    with tqdm(total=1, unit="photograph", disable=not sys.stderr.isatty()) as bar:
        out = _standard_output() if str(output) == "-" else None
        if inputs[0] == "-":
            opened = _standard_input(max_pixels)
        else:
            opened = photo.read(Path(inputs[0]), max_pixels=max_pixels)
        opened = opened.stripped() if strip else opened
        opened = opened.still() if first_frame else opened
        kind = _result_format(opened, output, format)
        opened = opened.fitting(kind)
        if opened.images > 1:
            name = "standard input" if inputs[0] == "-" else inputs[0]
            opened = enhance_several(opened, name, enhancer, settings, smoothing=smoothing)
        else:
            opened = replace(opened, pixels=enhancer(opened.pixels, settings))
        if out is not None:
            data, losses = encoding.encode(opened, kind)
            with out:
                out.write(data)
        else:
            losses = photo.write(output, opened)
        bar.update()
    note(*opened.notes, *losses)


def _result_format(
    opened: Photo,
    output: Path,
    wanted: ResultFormat,
) -> formats.Format:
    """Return the format of the result: that of a file, or for standard output the wanted one."""
    if known := formats.format_of(output):
        return known
    if wanted != "keep":
        return wanted
    return formats.output_format(opened.format or "png", animated=opened.animation is not None)


def enhance_frames(
    inputs: tuple[str, ...], output: Path, raw: str, video: VideoFlags, load: Load
) -> None:
    """Enhance raw frames, whose form ``--raw`` states, from standard input to standard output.

    Raises:
        InputError: The last frame is incomplete.
        UsageError: A flag has no valid value.
    """
    parts = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})@([0-9]+(?:\.[0-9]+)?)", raw)
    if parts is None or float(parts[3]) <= 0:
        raise UsageError(f"--raw must be WxH@FPS, such as 1920x1080@25, not {raw}")
    if video.pixel_format not in {None, "rgb24", "rgb48le"}:
        raise UsageError(
            f"--raw knows the pixel formats rgb24 and rgb48le, not {video.pixel_format}"
        )
    if video.codec != "keep" or video.quality is not None:
        raise UsageError("--codec and --quality are for video files, not for --raw")
    if inputs != ("-",) or str(output) != "-":
        raise UsageError("--raw goes from - to -: zerodce enhance - -o - --raw WxH@FPS")
    dtype = np.dtype("<u2" if video.pixel_format == "rgb48le" else np.uint8)
    form = RawFormat(int(parts[1]), int(parts[2]), float(parts[3]), dtype)
    enhancer, settings = load()
    if sys.stdin is None:
        raise InputError("standard input: is closed")
    with _standard_output() as out:

        def write(data: bytes) -> None:
            out.write(data)
            out.flush()

        read = sys.stdin.buffer.read
        enhance_raw(read, write, form, enhancer, settings, smoothing=video.smoothing)


def _standard_output() -> IO[bytes]:
    if sys.stdout is None:
        raise InputError("standard output: is closed")
    # At exit, sys.stdout would try once more to write what a closed pipe refused.
    return open(sys.stdout.fileno(), "wb", closefd=False)


def _standard_input(max_pixels: int) -> Photo:
    if sys.stdin is None:
        raise InputError("standard input: is closed")
    limit = photo.largest_file(max_pixels)
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise InputError(
            f"standard input: more than {limit:,} bytes are too large for a photograph"
        )
    with prefix_errors("standard input"):
        return decoding.decode(data, max_pixels=max_pixels)
