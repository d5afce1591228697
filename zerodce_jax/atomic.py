"""Files that are either whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where leftovers of a killed process stay
    fcntl = None

TEMPORARY_PREFIX = ".zerodce-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name and rename it once it is complete.

    Args:
        path: Where the result belongs; what stands there is replaced at the end, or kept if the
            body raises.

    Yields:
        A path that does not exist yet, in a private folder beside `path` and with the same name
        (so that the suffix still tells the format).
    """
    with working_folder(path.parent) as workplace:
        temporary = workplace / path.name
        yield temporary
        if temporary.is_dir() and path.is_dir():
            # A folder cannot be replaced in one stroke: move the old one aside first.
            aside = path.rename(workplace / "replaced")
            try:
                temporary.replace(path)
            except BaseException:
                aside.rename(path)
                raise
        else:
            temporary.replace(path)


def sweep(folder: Path, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove what killed processes left behind in a folder; what a live one works on stays."""
    try:
        leftovers = list(folder.glob(f"{prefix}*"))
    except OSError:  # where nothing can be looked for
        return
    for left in leftovers:
        lock = _lock(left, wait=False)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


@contextmanager
def working_folder(parent: Path, prefix: str = TEMPORARY_PREFIX) -> Iterator[Path]:
    """A new private folder, locked for as long as this process lives and works in it."""
    while True:
        try:
            workplace = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:
            # It is not for the name that was made up that this cannot be.
            error.filename = str(parent)
            raise
        # Another process may be sweeping it away before it is locked: wait for that, and make
        # another one.
        lock = _lock(workplace, wait=True)
        if workplace.exists():
            break
        if lock is not None:
            os.close(lock)
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Take the lock of a folder, which its holder's death gives up; None if that cannot be."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
