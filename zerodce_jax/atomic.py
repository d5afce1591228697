"""Files that are either whole or not there."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    workplace = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    try:
        temporary = workplace / path.name
        yield temporary
        if temporary.is_dir() and path.is_dir():
            # A folder cannot be replaced in one stroke: move the old one aside first.
            path.rename(workplace / "replaced")
        temporary.replace(path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
