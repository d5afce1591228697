"""``zerodce enhance``, and ``enhance.py``."""

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli.enhancing import Settings, make_ready
from zerodce_jax.errors import InputError, UsageError

if TYPE_CHECKING:
    from zerodce_jax import photo
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import Enhancer
    from zerodce_jax.folder import Result
    from zerodce_jax.plan import Item


def enhance(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")],
    /,
    *,
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str, arg(aliases=["-m"])] = "reduced",
    settings: OmitArgPrefixes[Settings] = Settings(),  # noqa: B008 (frozen)
    engine: Literal["auto", "xla", "onnx"] = "auto",
    tile: int | None = None,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    suffix: str = "",
    format: Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif"] = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    jobs: int = min(8, os.cpu_count() or 1),
    shard: Annotated[str, arg(metavar="I/N")] = "1/1",
    dry_run: Annotated[bool, FlagCreatePairsOff] = False,
    fail_fast: Annotated[bool, FlagCreatePairsOff] = False,
    report: Annotated[Path | None, arg(metavar="FILE.json")] = None,
    max_pixels: int = 300_000_000,
) -> int:
    """Light up photographs.

    Args:
        inputs: Photographs, folders of them (structure is kept), or glob patterns; - reads one
            from standard input.
        output: Folder for the results; for one photograph also a file name, or - for standard
            output.
        model: Network: reduced or fast, a training folder (DIR or DIR@STEP), a .safetensors or
            a .pth file.
        settings: How to enhance.
        engine: What computes: JAX (xla), ONNX Runtime (onnx, an extra), or the fastest there is.
        tile: Side of the tiles that pictures are computed in, in pixels; smaller needs less memory.
        overwrite: Make results anew that exist already, instead of skipping them.
        suffix: Added to the names of the results, before the extension.
        format: Format of the results.
        strip: Leave out EXIF, XMP, texts and resolution; the colour profile stays.
        jobs: Threads that decode and encode, and pictures that each keeps ahead and behind.
        shard: Do the I-th of N shares only, for job arrays: 1/N to N/N.
        dry_run: Print what would be done, and do nothing.
        fail_fast: Stop at the first picture that fails.
        report: Write what became of each file, as JSON.
        max_pixels: Pixels of the largest picture that is decoded.
    """
    from zerodce_jax import convert, folder, photo, plan
    from zerodce_jax.config import EnhanceSettings

    photo.quiet_decoders()
    given = settings.given()
    # Wrong values are wrong for every network.
    EnhanceSettings().changed(**given)
    if not inputs:
        raise UsageError("enhance: nothing to enhance; name photographs or folders")
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"{report}: there is no such folder")
    if max_pixels < 1 or jobs < 1:
        raise UsageError("--max-pixels and --jobs must be whole numbers >= 1")
    piped = "-" in inputs or str(output) == "-"
    items = []
    if piped:
        if suffix or shard != "1/1" or report is not None or dry_run:
            raise UsageError("--suffix, --shard, --report and --dry-run are for files, not for -")
        _check_pipe(inputs, output, overwrite=overwrite)
    else:
        items = plan.plan(inputs, output, suffix=suffix, format=format)
        items = plan.share(items, output, shard)
    if dry_run:
        return _print_plan(items, overwrite=overwrite)
    network = convert.load(model)
    chosen = network.settings.changed(**given)
    for note in network.notes:
        _say(f"note: {note}")

    from zerodce_jax.enhancer import Enhancer

    enhancer = Enhancer(network, engine=make_ready(engine), tile=tile)
    if piped:
        return _pipe(inputs[0], output, enhancer, chosen, format, strip, max_pixels)
    results = folder.enhance_all(
        items,
        enhancer,
        chosen,
        jobs=jobs,
        overwrite=overwrite,
        fail_fast=fail_fast,
        strip=strip,
        max_pixels=max_pixels,
    )
    return _follow(results, len(items), report)


def _follow(results: "Generator[Result, None, None]", total: int, report: Path | None) -> int:
    """Show what becomes of the pictures, and return the exit status."""
    from tqdm import tqdm

    from zerodce_jax import folder

    start = time.perf_counter()
    seen: list[Result] = []
    interrupted = False
    with tqdm(total=total, unit="picture", disable=not sys.stderr.isatty()) as bar:
        try:
            for result in results:
                seen.append(result)
                if result.message:
                    note = "" if result.status == "failed" else "note: "
                    with bar.external_write_mode(file=sys.stderr):
                        _say(f"{note}{result.message}")
                bar.update(result.status != "left")
        except KeyboardInterrupt:
            interrupted = True
            # It may have struck out here: then the results do not know of it yet.
            with contextlib.suppress(KeyboardInterrupt):
                seen.append(results.throw(KeyboardInterrupt))
                seen.extend(results)
    seconds = time.perf_counter() - start
    counts = Counter(result.status for result in seen)
    left = total - counts["done"] - counts["skipped"] - counts["failed"]
    summary = ", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed"))
    summary += f", {left} left" if left else ""
    pixels = sum(result.width * result.height for result in seen)
    if report is not None:
        folder.write_report(report, seen)
    print(f"{summary} in {seconds:.1f} s ({pixels / 1e6 / seconds:.2f} megapixels/s)")
    if interrupted:
        raise KeyboardInterrupt
    return 1 if counts["failed"] else 0


def _print_plan(items: "list[Item]", *, overwrite: bool) -> int:
    from zerodce_jax import plan
    from zerodce_jax.errors import one_line

    counts = Counter()
    for item in items:
        if item.problem:
            counts["problems"] += 1
            _say(item.problem)
        elif plan.is_done(item) and not overwrite:
            counts["done"] += 1
            print(f"{one_line(item.target)} exists")
        else:
            print(f"{one_line(item.source)} -> {one_line(item.target)}")
    to_do = len(items) - counts["done"] - counts["problems"]
    print(f"{to_do} to do, {counts['done']} exist")
    return 1 if counts["problems"] else 0


def _check_pipe(inputs: tuple[str, ...], output: Path, *, overwrite: bool) -> None:
    from zerodce_jax import photo

    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise UsageError("enhance: - stands for one picture; name no others beside it")
    if str(output) != "-" and photo.format_of(output) in {None, "gif"}:
        raise UsageError(f"{output}: name a picture, such as out.jpg, or - for standard output")
    if str(output) != "-" and os.path.lexists(output) and not overwrite:
        raise InputError(f"{output}: exists already; --overwrite replaces it")


def _pipe(
    source: str,
    output: Path,
    enhancer: "Enhancer",
    settings: "EnhanceSettings",
    format: "Literal['keep'] | photo.Format",  # noqa: A002
    strip: bool,
    max_pixels: int,
) -> int:
    """Enhance one picture from standard input, or to standard output."""
    from tqdm import tqdm

    from zerodce_jax import photo

    if str(output) == "-" and sys.stdout is None:
        raise InputError("standard output: is closed")
    with tqdm(total=1, unit="picture", disable=not sys.stderr.isatty()) as bar:
        if source == "-":
            opened = _standard_input(max_pixels)
        else:
            opened = photo.read(Path(source), max_pixels=max_pixels)
        opened = opened.stripped() if strip else opened
        enhanced = enhancer(opened.pixels, **settings.to_dict())
        opened = replace(opened, pixels=enhanced)
        if str(output) == "-":
            kind = photo.written_as(opened.kind or "png") if format == "keep" else format
            data, losses = photo.encode(opened, kind)
            # Not through sys.stdout, which would write again at the end what a reader refused.
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                out.write(data)
        else:
            losses = photo.write(output, opened)
        bar.update()
    for note in (*opened.notes, *losses):
        _say(f"note: {note}")
    return 0


def _standard_input(max_pixels: int) -> "photo.Photo":
    from zerodce_jax import photo

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


def _say(line: str) -> None:
    print(f"zerodce: {line}", file=sys.stderr)
