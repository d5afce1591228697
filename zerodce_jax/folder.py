"""Many files: find them, enhance each, say what became of it."""

import glob
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zerodce_jax import photo
from zerodce_jax.atomic import TEMPORARY_PREFIX
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.enhancer import Enhancer
from zerodce_jax.errors import InputError, UsageError


@dataclass(frozen=True)
class Item:
    """A picture to be made from another."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Result:
    """What became of an item."""

    item: Item
    status: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    pixels: int = 0
    """Pixels enhanced."""
    message: str = ""
    """One line on why it failed."""


def plan(
    inputs: Iterable[str | Path],
    output: Path,
    *,
    suffix: str = "",
    format: Literal["keep"] | photo.Format = "keep",  # noqa: A002
) -> list[Item]:
    """Decide which picture goes where.

    Args:
        inputs: Files, folders (searched through, their structure kept) and glob patterns.
        output: The folder for the results, or, for one input file, the file to write.
        suffix: Goes between the name of a result and its extension.
        format: The format of the results; ``keep`` leaves each as it is.

    Returns:
        Items in the order of the inputs, folders sorted. Pictures below `output` are left out.

    Raises:
        UsageError: Nothing matches, or two results would have one name, or a result would take
            the place of its source.
    """
    inputs = [Path(name) for name in inputs]
    found = [pair for given in inputs for pair in _find(given, output)]
    if len(found) == 1 and not inputs[0].is_dir() and photo.format_of(output):
        items = [Item(found[0][0], output)]
    else:
        if output.is_file():
            raise UsageError(f"{output}: is a file; several results need a folder")
        items = [
            Item(source, output / _renamed(relative, suffix, format)) for source, relative in found
        ]
    if not items:
        raise UsageError(f"no pictures in {', '.join(map(str, inputs))}")
    _refuse_clashes(items)
    return items


def enhance_all(
    items: Iterable[Item],
    enhancer: Enhancer,
    settings: EnhanceSettings,
    *,
    overwrite: bool = False,
) -> Iterator[Result]:
    """Enhance files one after another; a file that fails does not keep the others from it.

    Args:
        items: What `plan` made.
        enhancer: The network.
        settings: How to apply its curves.
        overwrite: Whether to make results anew that exist already, instead of skipping them.

    Returns:
        An iterator over the results, each as soon as its file is written.
    """
    for item in items:
        if not overwrite and os.path.lexists(item.target):
            yield Result(item, "skipped")
            continue
        start = time.perf_counter()
        try:
            opened = photo.read(item.source)
            enhanced = enhancer(opened.pixels, gamma=settings.gamma, strength=settings.strength)
            opened = replace(opened, pixels=enhanced)
            photo.write(item.target, opened)
        except (InputError, OSError) as error:
            yield Result(item, "failed", time.perf_counter() - start, message=_one_line(error))
        else:
            pixels = enhanced.shape[0] * enhanced.shape[1]
            yield Result(item, "done", time.perf_counter() - start, pixels)


def _find(given: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the pictures that an input stands for, each with its path below the output."""
    if given.is_dir():
        for folder, folders, files in os.walk(given):
            below_output = Path(folder).resolve() == output.resolve()
            folders[:] = sorted(name for name in folders if not name.startswith(TEMPORARY_PREFIX))
            if below_output and given.resolve() != output.resolve():
                folders.clear()
                continue
            for name in sorted(files):
                path = Path(folder, name)
                if photo.format_of(path):
                    yield path, path.relative_to(given)
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        for name in sorted(glob.glob(str(given), recursive=True)):  # noqa: PTH207 (absolute too)
            if Path(name).is_file():
                yield Path(name), Path(Path(name).name)
    else:
        # A file; where it does not exist, reading it says so, and the others are done.
        yield given, Path(given.name)


def _renamed(relative: Path, suffix: str, kind: Literal["keep"] | photo.Format) -> Path:
    ending = relative.suffix
    if kind != "keep" and photo.format_of(relative) != kind:
        ending = photo.suffix_of(kind)
    return relative.with_name(f"{relative.stem}{suffix}{ending}")


def _refuse_clashes(items: list[Item]) -> None:
    by_target = defaultdict(list)
    for item in items:
        by_target[item.target.resolve()].append(item.source)
    for target, sources in by_target.items():
        if len(sources) > 1:
            raise UsageError(f"{target}: both {sources[0]} and {sources[1]} would be written there")
        if target == sources[0].resolve():
            raise UsageError(f"{target}: would take the place of its own source")


def _one_line(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
