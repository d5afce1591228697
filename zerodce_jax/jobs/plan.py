"""Which file goes where: inputs found, results named, shares of the work."""

import glob
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zerodce_jax.errors import UsageError, one_line
from zerodce_jax.media import formats

_VIDEOS_WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".mts", ".m2ts")
_VIDEOS_READ = (
    *_VIDEOS_WRITTEN,
    *(".3gp", ".asf", ".avi", ".flv", ".mpeg", ".mpg", ".ogv", ".wmv"),
)


@dataclass(frozen=True)
class Item:
    """A picture or a video to be made from another."""

    source: Path
    target: Path
    problem: str = ""
    """Why it cannot even be tried: a folder that cannot be searched."""

    @property
    def is_video(self) -> bool:
        """Whether the name of the source is that of a video."""
        return is_video(self.source)


def plan(
    inputs: Iterable[str | Path],
    output: Path,
    *,
    suffix: str = "",
    format: Literal["keep"] | formats.Format = "keep",  # noqa: A002
) -> list[Item]:
    """Decide which picture and which video goes where.

    Args:
        inputs: Files, folders (searched through, their structure kept; symbolic links to folders
            and hidden names are left out) and glob patterns.
        output: The folder for the results, or, for one input file, the file to write.
        suffix: Goes between the name of a result and its extension.
        format: The format of pictures; ``keep`` leaves each as it is (but GIF becomes PNG).
            Videos stay in their container where it is written, and become Matroska else.

    Returns:
        Items in the order of the inputs, folders sorted. Pictures below `output`, and results
        that lie beside their sources, are left out.

    Raises:
        UsageError: Nothing matches, or two results would have one name, or a result would take
            the place of its source, or a video would become a picture.
    """
    inputs = [Path(name) for name in inputs]
    found = [pair for given in inputs for pair in find(given, output)]
    one = len(found) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112
    if one and (formats.format_of(output) or is_video(output)):
        items = [Item(found[0].source, output)]
        _refuse_other_kind(items[0])
    else:
        if output.is_file():
            raise UsageError(f"{output}: is a file; several results need a folder")
        items = [
            replace(item, target=output / renamed(item.target, suffix, format)) for item in found
        ]
        made = {os.path.realpath(item.target) for item in items}
        items = [item for item in items if os.path.realpath(item.source) not in made or not suffix]
    if not items:
        raise UsageError(f"no pictures or videos in {', '.join(map(str, inputs))}")
    _refuse_clashes(items)
    return items


def share(items: Iterable[Item], output: Path, shard: str) -> list[Item]:
    """One of several shares of the work, for as many processes that know nothing of each other.

    The name of a result alone decides whose it is, so the shares are disjoint and complete, and
    stay the same where files are added or done meanwhile.

    Args:
        items: All of them.
        output: What their targets lie in.
        shard: ``I/N``, the I-th of N shares, from ``1/N`` to ``N/N``.

    Raises:
        UsageError: `shard` is nothing of that kind.
    """
    parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, count = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard must be I/N with 1 <= I <= N, such as 1/4, not {shard}")

    def owner(item: Item) -> int:
        name = os.fsencode(os.path.relpath(item.target, output))
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) % count

    return [item for item in items if owner(item) == number - 1]


def is_done(item: Item) -> bool:
    """Whether the result of an item exists already."""
    return os.path.lexists(item.target)


def find(given: Path, output: Path | None) -> Iterator[Item]:
    """Yield what an input stands for, each with its path below the output.

    Args:
        given: A file, a folder or a glob pattern.
        output: A folder that is not searched, where it lies below `given`.
    """
    if os.path.isdir(given):  # noqa: PTH112 (which says no where it may not look)
        problems: list[OSError] = []
        below_output = os.path.realpath(output) if output is not None else None
        for folder, folders, files in os.walk(given, onerror=problems.append):
            yield from _problems(problems)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            place = os.path.realpath(folder)
            if place == below_output and place != os.path.realpath(given):
                folders.clear()
                continue
            for name in sorted(files):
                path = Path(folder, name)
                known = formats.format_of(path) or is_video(path)
                if known and not name.startswith("."):
                    yield Item(path, path.relative_to(given))
        yield from _problems(problems)
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        for name in sorted(glob.glob(str(given), recursive=True)):  # noqa: PTH207 (absolute too)
            if os.path.isfile(name):  # noqa: PTH113 (which says no where it may not look)
                yield Item(Path(name), Path(Path(name).name))
    else:
        # A file; where it does not exist, reading it says so, and the others are done.
        yield Item(given, _name(given))


def _problems(problems: list[OSError]) -> Iterator[Item]:
    for error in problems:
        folder = Path(str(error.filename))
        yield Item(folder, _name(folder), one_line(error))
    problems.clear()


def _name(path: Path) -> Path:
    # '.' and '..' have a name as well.
    return Path(os.path.basename(os.path.abspath(path)) or "_")  # noqa: PTH100, PTH119


def renamed(relative: Path, suffix: str, kind: Literal["keep"] | formats.Format) -> Path:
    """What the result of a picture or a video is called; see `plan`."""
    if is_video(relative):
        ending = relative.suffix if relative.suffix.lower() in _VIDEOS_WRITTEN else ".mkv"
        return relative.with_name(f"{relative.stem}{suffix}{ending}")
    known = formats.format_of(relative)
    wanted = (formats.output_format(known) if known else None) if kind == "keep" else kind
    ending = formats.suffix_of(wanted) if wanted and wanted != known else relative.suffix
    return relative.with_name(f"{relative.stem}{suffix}{ending}")


def is_video(path: Path) -> bool:
    """Whether a name is that of a video."""
    return path.suffix.lower() in _VIDEOS_READ


def _refuse_other_kind(item: Item) -> None:
    if item.is_video and item.target.suffix.lower() not in _VIDEOS_WRITTEN:
        raise UsageError(f"{item.target}: a video becomes one of {', '.join(_VIDEOS_WRITTEN)}")
    if formats.format_of(item.source) and is_video(item.target):
        raise UsageError(f"{item.target}: a picture does not become a video")


def _refuse_clashes(items: list[Item]) -> None:
    by_target = defaultdict(list)
    for item in items:
        if not item.problem:
            by_target[os.path.realpath(item.target)].append(item.source)
    for target, sources in by_target.items():
        if len(sources) > 1:
            raise UsageError(f"{target}: both {sources[0]} and {sources[1]} would be written there")
        if target == os.path.realpath(sources[0]):
            raise UsageError(f"{target}: would take the place of its own source")
