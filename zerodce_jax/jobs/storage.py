"""Where photographs are read and written: on this machine, or at an address such as ``s3://``.

`LocalFiles` and `RemoteFiles` follow the protocol `Files`. A `Folder` is one folder in either of
them; `folder_at` opens the folder that a path or an address names.
"""

import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from zerodce_jax import atomic
from zerodce_jax.errors import InputError, UsageError, first_line
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.remote_files import OBJECT_STORES, RemoteFiles
from zerodce_jax.media import photo
from zerodce_jax.media.photo import Photo


@runtime_checkable
class Files(Protocol):
    """Files of one storage, by their paths in it."""

    def name(self, path: Path, /) -> str:
        """Return the name of a file for messages and reports."""
        ...

    def find(self, folder: Path, leave_out: Path | None, /) -> Iterator[Item]:
        """Yield the photographs and videos in a folder, by the rules of `plan.plan`.

        Args:
            folder: The folder to search.
            leave_out: A folder below `folder` that is not searched.

        Yields:
            Items whose target is the path of the source relative to `folder`.

        Raises:
            InputError: The folder does not exist or cannot be listed.
        """
        ...

    def modification_times(self, folder: Path, /) -> dict[str, int]:
        """Return the modification time of each file in a folder, by its path relative to it.

        The times are in nanoseconds since 1970. A folder that does not exist has no files.

        Raises:
            InputError: The folder is a file, or cannot be listed.
        """
        ...

    def modification_time(self, path: Path, /) -> int | None:
        """Return the modification time of a file in nanoseconds, or None if it does not exist.

        Raises:
            InputError: The storage does not answer.
        """
        ...

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """Return the width and height of a photograph; see `photo.size`."""
        ...

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """Decode a photograph; see `photo.read`."""
        ...

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """Encode a photograph; see `photo.write`."""
        ...

    def put(self, path: Path, content: io.BufferedIOBase, /) -> None:
        """Write a file completely or not at all.

        Raises:
            InputError: The file cannot be written.
            OSError: The same, for a file of this machine.
        """
        ...

    def sweep(self, folder: Path, /) -> None:
        """Remove the temporary files of killed processes from a folder; see `atomic.sweep`."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Files of this machine, or of a disk that all machines mount at the same path."""

    def name(self, path: Path, /) -> str:
        """Return the path."""
        return str(path)

    def find(self, folder: Path, leave_out: Path | None, /) -> Iterator[Item]:
        """Yield the photographs and videos in a folder; see `Files.find`."""
        if not folder.is_dir():
            raise InputError(f"{folder}: the folder does not exist")
        yield from plan.find(folder, leave_out)

    def modification_times(self, folder: Path, /) -> dict[str, int]:
        """Return the modification time of each file in a folder; see `Files`."""
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; results need a folder")
        paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
        return {str(path.relative_to(folder)): self.modification_time(path) or 0 for path in paths}

    def modification_time(self, path: Path, /) -> int | None:
        """Return the modification time of a file, or of a symbolic link itself; see `Files`."""
        try:
            return path.lstat().st_mtime_ns
        except OSError:
            return None

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """Return the width and height of a photograph; see `photo.size`."""
        return photo.size(path, max_pixels=max_pixels)

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """Decode a photograph; see `photo.read`."""
        return photo.read(path, max_pixels=max_pixels)

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """Encode a photograph; see `photo.write`."""
        return photo.write(path, opened)

    def put(self, path: Path, content: io.BufferedIOBase, /) -> None:
        """Write a file completely or not at all; see `Files.put`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)

    def sweep(self, folder: Path, /) -> None:
        """Remove the temporary files of killed processes from a folder; see `atomic.sweep`."""
        atomic.sweep(folder)


@dataclass(frozen=True)
class Folder:
    """One folder of a storage."""

    files: Files
    root: Path
    """Path of the folder in its storage."""

    @property
    def name(self) -> str:
        """Name of the folder for messages."""
        return self.files.name(self.root)


def folder_at(address: str) -> Folder:
    """Return the folder that a path or an address names.

    Args:
        address: A path of this machine, or an address that pyarrow knows, with its options
            (``s3://BUCKET/PATH?endpoint_override=http://HOST:PORT``), or one that fsspec knows.

    Raises:
        UsageError: The kind of address is unknown, or a package that it needs is not installed.
        InputError: The storage cannot be reached.
    """
    if "://" not in address:
        return Folder(LocalFiles(), Path(address))
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem

    scheme, _, rest = address.partition("://")
    uri = address
    if scheme == "s3":
        # Writing a small file then takes one request instead of three.
        uri += f"{'&' if '?' in rest else '?'}allow_delayed_open=true"
    try:
        filesystem, path = FileSystem.from_uri(uri)
    except ArrowInvalid as unknown:
        if "Unrecognized filesystem" not in str(unknown):
            raise UsageError(f"{address}: {first_line(unknown)}") from unknown
        try:
            from fsspec.core import url_to_fs

            spec, path = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{address}: {first_line(error)}") from error
        except OSError as error:
            raise InputError(f"{address}: {first_line(error)}") from error
        filesystem = PyFileSystem(FSSpecHandler(spec))
    except OSError as error:
        raise InputError(f"{address}: {first_line(error)}") from error
    if not path.strip("/") and scheme in OBJECT_STORES:
        raise UsageError(f"{address}: names no bucket")
    if isinstance(filesystem, LocalFileSystem):
        return Folder(LocalFiles(), Path(path))
    prefix = f"{scheme}://{rest.partition('?')[0]}".removesuffix("/").removesuffix(path)
    # Messages and reports must not show a password.
    return Folder(RemoteFiles(filesystem, re.sub("//[^/]*@", "//", prefix)), Path(path))
