"""Atomic writes: a file or folder appears complete under its name, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    # Windows has no fcntl: there, nothing is locked and `sweep` removes nothing.
    fcntl = None

TEMPORARY_PREFIX = ".zerodce-"
"""Prefix of the names of temporary folders."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name, and rename it when it is complete.

    Args:
        path: Destination. An existing file or folder there is replaced at the end, or stays
            unchanged if the body raises.

    Yields:
        A path that does not exist yet, in a private folder beside `path`. It has the same name as
        `path`, so that its suffix still states the format.
    """
    with working_folder(path.parent) as folder:
        temporary = folder / path.name
        yield temporary
        if temporary.is_dir() and path.is_dir():
            # No system call replaces a folder that is not empty: move the old one away first.
            replaced = path.rename(folder / "replaced")
            try:
                temporary.replace(path)
            except BaseException:
                replaced.rename(path)
                raise
        else:
            temporary.replace(path)


def check_place(path: Path) -> None:
    """Raise OSError if no file can be written at a path, before the work whose result it is for."""
    try:
        with working_folder(path.parent):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


def sweep(folder: Path, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove the temporary folders that killed processes left in a folder.

    Temporary folders of running processes are locked and stay.
    """
    try:
        candidates = list(folder.glob(f"{prefix}*"))
    except OSError:
        # A folder that cannot be listed cannot be written to either.
        return
    for candidate in candidates:
        lock = _lock(candidate, wait=False)
        if lock is not None:
            shutil.rmtree(candidate, ignore_errors=True)
            os.close(lock)


@contextmanager
def working_folder(parent: Path, prefix: str = TEMPORARY_PREFIX) -> Iterator[Path]:
    """Make a private folder, lock it while the body runs, and remove it afterwards.

    Yields:
        The path of the folder.
    """
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:
            # Name the parent: the random name means nothing to the reader of the message.
            error.filename = str(parent)
            raise
        # Another process may sweep the folder away before it is locked. Wait until that is done,
        # and make another folder.
        lock = _lock(folder, wait=True)
        if folder.exists():
            break
        if lock is not None:
            os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder and return the file descriptor that holds the lock, or None on failure.

    The system releases the lock when the process ends.
    """
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
