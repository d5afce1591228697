"""Decide which file goes where: find the inputs, name the results, divide the work into shares."""

import errno
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
from zerodce_jax.media import formats, photo

_VIDEOS_WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".mts", ".m2ts")
_VIDEOS_ONLY_READ = (".3gp", ".asf", ".avi", ".flv", ".mpeg", ".mpg", ".ogv", ".wmv")


@dataclass(frozen=True)
class Item:
    """One photograph or video to enhance."""

    source: Path
    """The file to read."""
    target: Path
    """The file to write."""
    problem: str = ""
    """Why the item cannot be tried, such as a folder that cannot be searched; empty otherwise."""
    modified: int | None = None
    """Modification time of the result that the planning of a cluster's work found, in nanoseconds;
    None if there was no result."""

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its name."""
        return is_video(self.source)


def plan(
    inputs: Iterable[str | Path],
    output: Path,
    *,
    suffix: str = "",
    format: Literal["keep"] | formats.Format = "keep",  # noqa: A002
    first_frame: bool = False,
) -> list[Item]:
    """Decide which photograph and which video goes where.

    Args:
        inputs: Files, folders and glob patterns. Folders are searched with the folders below them,
            whose structure is kept; symbolic links to folders and hidden names are left out.
        output: The folder for the results, or, for one input file, the file to write.
        suffix: Text between the name of a result and its extension.
        format: The format of photographs; ``keep`` keeps the format of each (GIF becomes PNG if it
            is no animation). Videos stay in their container if it can be written, and become
            Matroska otherwise.
        first_frame: Whether only the first frame of animations is taken.

    Returns:
        Items in the order of the inputs, with sorted folders. Files below `output`, and results
        beside their sources, are left out.

    Raises:
        UsageError: Nothing matches, two results would have the same name, a result would replace
            its source, a video would become a photograph, or `output` is not a folder but names
            one file for several results, or a file of an unknown format, or `suffix` holds a
            separator of folders.
    """
    if Path(f"a{suffix}").name != f"a{suffix}":
        raise UsageError(f"--suffix is part of a name, and must not be {suffix}")
    inputs = [Path(name) for name in inputs]
    found = [item for given in inputs for item in find(given, output)]
    one_file = len(found) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112
    if one_file and (formats.format_of(output) or is_video(output)):
        source = found[0].source
        items = [Item(source, output)]
        animated = not first_frame and is_gif(source) and photo.is_animated_gif(source)
        can_write = formats.can_write(output) or (is_gif(output) and animated)
        if not is_video(output) and not can_write:
            raise UsageError(f"{output}: {formats.format_of(output)} is read, but not written")
        if is_video(source) and output.suffix.lower() not in _VIDEOS_WRITTEN:
            raise UsageError(f"{output}: a video becomes one of {', '.join(_VIDEOS_WRITTEN)}")
        if formats.format_of(source) and is_video(output):
            raise UsageError(f"{output}: a photograph does not become a video")
    else:
        _refuse_file(output)
        items = []
        for item in found:
            animated = (
                not first_frame and is_gif(item.source) and photo.is_animated_gif(item.source)
            )
            name = renamed(item.target, suffix, format, animated=animated)
            items.append(replace(item, target=output / name))
        if suffix:
            results = {os.path.realpath(item.target) for item in items}
            items = [item for item in items if os.path.realpath(item.source) not in results]
    if not items:
        raise UsageError(f"no photographs or videos in {', '.join(map(str, inputs))}")
    _refuse_clashes(items)
    return items


def share(items: Iterable[Item], output: Path, shard: str) -> list[Item]:
    """Return one of several shares of the work, for processes that do not know each other.

    The name of a result alone decides which share it belongs to. So the shares are disjoint and
    complete, and stay the same when files are added or finished.

    Args:
        items: All items.
        output: The folder of their targets.
        shard: ``I/N``, the I-th of N shares, from ``1/N`` to ``N/N``.

    Raises:
        UsageError: `shard` does not have this form.
    """
    parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, count = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard must be I/N with 1 <= I <= N, such as 1/4, not {shard}")

    def owner(item: Item) -> int:
        name = os.fsencode(os.path.relpath(item.target, output))
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) % count

    return [item for item in items if owner(item) == number - 1]


def find(given: Path, output: Path | None) -> Iterator[Item]:
    """Yield the photographs and videos that an input names.

    Args:
        given: A file, a folder or a glob pattern.
        output: A folder that is not searched if it lies below `given`.

    Yields:
        Items whose target is the path relative to the folder for the results.
    """
    if os.path.isdir(given):  # noqa: PTH112 (Path.is_dir raises if it may not look)
        problems: list[OSError] = []
        excluded = os.path.realpath(output) if output is not None else None
        for folder, folders, files in os.walk(given, onerror=problems.append):
            yield from _problems(problems)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            place = os.path.realpath(folder)
            if place == excluded and place != os.path.realpath(given):
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
            if os.path.isfile(name):  # noqa: PTH113 (Path.is_file raises if it may not look)
                yield Item(Path(name), Path(Path(name).name))
    else:
        missing = "" if os.path.lexists(given) else f"{given}: {os.strerror(errno.ENOENT)}"
        yield Item(given, _name(given), missing)


def _problems(problems: list[OSError]) -> Iterator[Item]:
    for error in problems:
        folder = Path(str(error.filename))
        yield Item(folder, _name(folder), one_line(error))
    problems.clear()


def _name(path: Path) -> Path:
    # The absolute path also gives '.' and '..' a name.
    return Path(os.path.basename(os.path.abspath(path)) or "_")  # noqa: PTH100, PTH119


def renamed(
    relative: Path,
    suffix: str,
    kind: Literal["keep"] | formats.Format,
    *,
    animated: bool = False,
) -> Path:
    """Return the name of the result of a photograph, an animation or a video; see `plan`."""
    known = formats.format_of(relative)
    kept = known and formats.output_format(known, animated=animated)
    wanted = kept if kind == "keep" else kind
    ending = formats.suffix_of(wanted) if wanted and wanted != known else relative.suffix
    if is_video(relative):
        ending = relative.suffix if relative.suffix.lower() in _VIDEOS_WRITTEN else ".mkv"
    return relative.with_name(f"{relative.stem}{suffix}{ending}")


def is_gif(path: Path) -> bool:
    """Return whether a file is a GIF, by its name; its result depends on its content."""
    return formats.format_of(path) == "gif"


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its name."""
    return path.suffix.lower() in _VIDEOS_WRITTEN + _VIDEOS_ONLY_READ


def _refuse_file(output: Path) -> None:
    """Raise UsageError if an output names a file, where a folder is needed."""
    if output.is_dir():
        return
    if formats.format_of(output) or is_video(output):
        raise UsageError(f"{output}: is the name of a file; several results need a folder")
    if output.is_file():
        raise UsageError(f"{output}: is a file; name a folder, or a file such as {output.stem}.jpg")
    if re.fullmatch(r"\.[A-Za-z]\w{1,4}", output.suffix):
        raise UsageError(
            f"{output}: no format has the suffix {output.suffix}; name a folder, or a file such as "
            f"{output.stem}.jpg"
        )


def _refuse_clashes(items: list[Item]) -> None:
    by_target = defaultdict(list)
    for item in items:
        if not item.problem:
            by_target[os.path.realpath(item.target)].append(item.source)
    for target, sources in by_target.items():
        if len(sources) > 1:
            raise UsageError(f"{target}: both {sources[0]} and {sources[1]} would be written there")
        if target == os.path.realpath(sources[0]):
            raise UsageError(f"{target}: the result would replace its own source")
