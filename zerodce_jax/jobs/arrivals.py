"""Find the photographs and videos that arrive in a folder while it is watched."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from zerodce_jax.errors import UsageError, one_line, require
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.media import formats

_QUIET_MILLISECONDS = 1000
"""How long a file must stay as it is before it counts as complete."""


def arrivals(
    folder: Path,
    output: Path,
    *,
    format: Literal["keep"] | formats.Format = "keep",  # noqa: A002
    first_frame: bool = False,
) -> Iterator[list[Item]]:
    """Watch a folder, with the folders below it, and yield items when files are complete.

    Args:
        folder: The folder.
        output: The folder for the results; it may lie below `folder`, and is not watched then.
        format: The format of photographs, as for `plan.plan`.
        first_frame: Whether only the first frame of animations is taken.

    Returns:
        An endless iterator. It yields first what exists already, which may be nothing, and then
        files that were added or changed, once they have stayed as they are for a second. If
        `plan.plan` refuses the folder as it is, there is one item with the problem.

    Raises:
        UsageError: The folder does not exist or is that of the results, or a package is not
            installed.
    """
    require("watch", "watch", "watchfiles")
    if not folder.is_dir():
        raise UsageError(f"{folder}: this folder does not exist")
    if os.path.realpath(folder) == os.path.realpath(output):
        raise UsageError(f"{output}: the results need a folder of their own")
    return _watch(folder, output, format, first_frame=first_frame)


def _watch(
    folder: Path, output: Path, kind: Literal["keep"] | formats.Format, *, first_frame: bool
) -> Iterator[list[Item]]:
    from watchfiles import Change, watch

    complete: set[str] | None = None
    changing: set[str] = set()
    for changes in watch(
        folder, watch_filter=None, rust_timeout=_QUIET_MILLISECONDS, yield_on_timeout=True
    ):
        now = {os.path.realpath(path) for kind, path in changes if kind is not Change.deleted}
        complete = None if complete is None else changing - now
        changing = now
        if complete is None or complete:
            items = _plan(folder, output, kind, first_frame=first_frame)
            yield [
                item
                for item in items
                if not complete or item.problem or os.path.realpath(item.source) in complete
            ]
            complete = complete or set()


def _plan(
    folder: Path, output: Path, kind: Literal["keep"] | formats.Format, *, first_frame: bool
) -> list[Item]:
    if next(plan.find(folder, output), None) is None:
        return []
    try:
        return plan.plan([folder], output, format=kind, first_frame=first_frame)
    except UsageError as error:
        return [Item(folder, output, one_line(error))]
