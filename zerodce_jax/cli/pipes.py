"""``zerodce enhance`` with - : one picture, or raw frames, through standard input and output."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.media import formats

if TYPE_CHECKING:
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.media import photo


def check_pipe(inputs: tuple[str, ...], output: Path, *, overwrite: bool) -> None:
    """Refuse what cannot go through a pipe.

    Raises:
        InputError: The result exists already.
        UsageError: There is more than one picture, or none.
    """
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise UsageError("enhance: - stands for one picture; name no others beside it")
    if str(output) != "-" and formats.format_of(output) in {None, "gif"}:
        raise UsageError(f"{output}: name a picture, such as out.jpg, or - for standard output")
    if str(output) != "-" and os.path.lexists(output) and not overwrite:
        raise InputError(f"{output}: exists already; --overwrite replaces it")


def pipe_picture(
    source: str,
    output: Path,
    enhancer: "Enhancer",
    settings: "EnhanceSettings",
    format: Literal["keep"] | formats.Format,  # noqa: A002
    strip: bool,
    max_pixels: int,
) -> list[str]:
    """Enhance one picture from standard input, or to standard output.

    Returns:
        What of it was lost, a line each.
    """
    from tqdm import tqdm

    from zerodce_jax.media import photo

    with tqdm(total=1, unit="picture", disable=not sys.stderr.isatty()) as bar:
        out = _standard_output() if str(output) == "-" else None
        if source == "-":
            opened = _standard_input(max_pixels)
        else:
            opened = photo.read(Path(source), max_pixels=max_pixels)
        opened = opened.stripped() if strip else opened
        enhanced = enhancer(opened.pixels, **settings.to_dict())
        opened = replace(opened, pixels=enhanced)
        if out is not None:
            kind = formats.output_format(opened.format or "png") if format == "keep" else format
            data, losses = photo.encode(opened, kind)
            with out:
                out.write(data)
        else:
            losses = photo.write(output, opened)
        bar.update()
    return [*opened.notes, *losses]


def raw_form(raw: str, pixel_format: str | None) -> dict[str, Any]:
    """What ``--raw`` and ``--pixel-format`` say of frames, as `videos.enhance_raw` takes it.

    Raises:
        UsageError: They make no sense.
    """
    parts = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})@([0-9]+(?:\.[0-9]+)?)", raw)
    if parts is None or float(parts[3]) <= 0:
        raise UsageError(f"--raw must be WxH@FPS, such as 1920x1080@25, not {raw}")
    if pixel_format not in {None, "rgb24", "rgb48le"}:
        raise UsageError(f"--raw knows the pixel formats rgb24 and rgb48le, not {pixel_format}")
    return {
        "width": int(parts[1]),
        "height": int(parts[2]),
        "rate": float(parts[3]),
        "deep": pixel_format == "rgb48le",
    }


def pipe_frames(
    enhancer: "Enhancer", settings: "EnhanceSettings", smoothing: float, form: dict[str, Any]
) -> None:
    """Enhance raw frames from standard input to standard output."""
    from zerodce_jax.jobs import videos

    if sys.stdin is None:
        raise InputError("standard input: is closed")
    with _standard_output() as out:

        def write(data: bytes) -> None:
            out.write(data)
            out.flush()

        videos.enhance_raw(
            sys.stdin.buffer.read, write, enhancer, settings, smoothing=smoothing, **form
        )


def _standard_output() -> IO[bytes]:
    if sys.stdout is None:
        raise InputError("standard output: is closed")
    # Not through sys.stdout, which would write again at the end what a reader refused.
    return open(sys.stdout.fileno(), "wb", closefd=False)


def _standard_input(max_pixels: int) -> "photo.Photo":
    from zerodce_jax.media import photo

    if sys.stdin is None:
        raise InputError("standard input: is closed")
    most = photo.largest_file(max_pixels)
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise InputError(f"standard input: more than {most:,} bytes are too large for a picture")
    try:
        return photo.decode(data, max_pixels=max_pixels)
    except InputError as error:
        raise InputError(f"standard input: {error}") from error
