"""Where photographs are read and written: on this machine, or at an address such as ``s3://``.

`LocalFiles` and `RemoteFiles` have the same methods. A `Folder` is one folder in either of them;
`folder_at` opens the folder that a path or an address names.
"""

import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zerodce_jax import atomic
from zerodce_jax.errors import InputError, UsageError, first_line, prefix_errors
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.media import decoding, formats, photo
from zerodce_jax.media.limits import MAX_PIXELS
from zerodce_jax.media.photograph import Photo

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OBJECT_STORES = {"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "adl", "oci", "oss"}
"""Names of object stores in pyarrow and fsspec."""
_HEAD = 1 << 17
"""Number of bytes at the start of a file that hold the header of most photographs."""


@dataclass(frozen=True)
class LocalFiles:
    """Files of this machine, or of a disk that all machines mount at the same path."""

    def name(self, path: Path, /) -> str:
        """Return the name of a file for messages and reports: its path."""
        return str(path)

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
        if not folder.is_dir():
            raise InputError(f"{folder}: the folder does not exist")
        yield from plan.find(folder, leave_out)

    def modification_times(self, folder: Path, /) -> dict[str, int]:
        """Return the modification time of each file in a folder, by its path relative to it.

        The times are in nanoseconds since 1970. A folder that does not exist has no files.

        Raises:
            InputError: The folder is a file, or cannot be listed.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; results need a folder")
        paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
        return {str(path.relative_to(folder)): self.modification_time(path) or 0 for path in paths}

    def modification_time(self, path: Path, /) -> int | None:
        """Return the modification time of a file, in nanoseconds, or None if it does not exist.

        The time of a symbolic link is its own.
        """
        try:
            return path.lstat().st_mtime_ns
        except OSError:
            return None

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """Return the width and height of a photograph; see `photo.size`."""
        return photo.size(path, max_pixels=max_pixels)

    def is_animated_gif(self, path: Path, /) -> bool:
        """Return whether a file is an animated GIF; see `photo.is_animated_gif`."""
        return photo.is_animated_gif(path)

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """Decode a photograph; see `photo.read`."""
        return photo.read(path, max_pixels=max_pixels)

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """Encode a photograph; see `photo.write`."""
        return photo.write(path, opened)

    def put(self, path: Path, content: io.BufferedIOBase, /) -> None:
        """Write a file completely or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)

    def sweep(self, folder: Path, /) -> None:
        """Remove the temporary files of killed processes from a folder; see `atomic.sweep`."""
        atomic.sweep(folder)


@dataclass(frozen=True)
class RemoteFiles:
    """Files of any file system that pyarrow and fsspec reach, by their paths in it.

    The methods are those of `LocalFiles`, but raise each error of the storage as an `InputError` of
    one line. On object stores a file appears under its name only once it is complete. On other file
    systems it is written under a hidden temporary name beside its own, and moved; if a process is
    killed before the move, the temporary file stays.
    """

    filesystem: "FileSystem"
    prefix: str = field(compare=False)
    """Text that makes an address of a path, such as ``s3://``."""

    def name(self, path: Path, /) -> str:
        """Return the address of a file, without a password."""
        return f"{self.prefix}{path.as_posix()}"

    def find(self, folder: Path, leave_out: Path | None, /) -> Iterator[Item]:
        """Yield the photographs and videos in a folder; see `LocalFiles.find`."""
        excluded = leave_out if leave_out is not None and folder in leave_out.parents else None
        for path, _ in sorted(self._list(folder, missing_ok=False)):
            relative = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            below = excluded is not None and path.is_relative_to(excluded)
            known = formats.format_of(relative) or plan.is_video(relative)
            if known and not hidden and not below:
                yield Item(path, relative)

    def modification_times(self, folder: Path, /) -> dict[str, int]:
        """Return the modification time of each file; see `LocalFiles.modification_times`."""
        files = self._list(folder, missing_ok=True)
        return {str(path.relative_to(folder)): time for path, time in files}

    def modification_time(self, path: Path, /) -> int | None:
        """Return the modification time of a file; see `LocalFiles.modification_time`."""
        from pyarrow.fs import FileType

        with _storage_errors(self.name(path)):
            info = self.filesystem.get_file_info(path.as_posix())
        return (info.mtime_ns or 0) if info.type == FileType.File else None

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """Return the width and height of a photograph; see `photo.size`."""
        with prefix_errors(self.name(path)):
            head = self._content(path, max_pixels, _HEAD)
            try:
                return decoding.measure(io.BytesIO(head), max_pixels=max_pixels)
            except InputError:
                if len(head) < _HEAD:
                    raise
            file = io.BytesIO(self._content(path, max_pixels))
            return decoding.measure(file, max_pixels=max_pixels)

    def is_animated_gif(self, path: Path, /) -> bool:
        """Return whether a file is an animated GIF; see `photo.is_animated_gif`."""
        try:
            return photo.is_animated_gif(io.BytesIO(self._content(path, MAX_PIXELS)))
        except InputError:
            return False

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """Decode a photograph; see `photo.read`."""
        with prefix_errors(self.name(path)):
            return decoding.decode(self._content(path, max_pixels), max_pixels=max_pixels)

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """Encode a photograph; see `photo.write`."""
        with prefix_errors(self.name(path)):
            data, losses = photo.encode_as(path, opened)
        self.put(path, io.BytesIO(data))
        return losses

    def put(self, path: Path, content: io.BufferedIOBase, /) -> None:
        """Write a file completely or not at all."""
        temporary = path
        with _storage_errors(self.name(path)):
            if not self._is_object_store:
                name = f"{atomic.TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}"
                temporary = path.with_name(name)
                self.filesystem.create_dir(path.parent.as_posix(), recursive=True)
            with self.filesystem.open_output_stream(temporary.as_posix()) as file:
                shutil.copyfileobj(content, file, 1 << 23)
            if temporary != path:
                self.filesystem.move(temporary.as_posix(), path.as_posix())

    def sweep(self, folder: Path, /) -> None:
        """Do nothing: only the machine of a process can tell whether it still runs."""

    @property
    def _is_object_store(self) -> bool:
        # fsspec's names read "py::fsspec+s3" or "py::fsspec+('s3', 's3a')".
        name = self.filesystem.type_name.removeprefix("py::fsspec+")
        return not OBJECT_STORES.isdisjoint(name.strip("()").replace("'", "").split(", "))

    def _list(self, folder: Path, *, missing_ok: bool) -> Iterator[tuple[Path, int]]:
        """Yield the path and the modification time of each file in a folder."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(folder.as_posix(), missing_ok, recursive=True)
        with _storage_errors(self.name(folder)):
            try:
                found = self.filesystem.get_file_info(selector)
            except FileNotFoundError as error:
                raise InputError("the folder does not exist") from error
        for info in found:
            if info.type == FileType.File:
                yield Path(info.path), info.mtime_ns or 0

    def _content(self, path: Path, max_pixels: int, limit: int | None = None) -> bytes:
        """Return the content of a file, or its first `limit` bytes."""
        opening = self.filesystem.open_input_file
        with _storage_errors(self.name(path)), opening(path.as_posix()) as file:
            photo.check_file(file.size(), max_pixels)
            return file.read(limit)


Files = LocalFiles | RemoteFiles


@contextmanager
def _storage_errors(name: str) -> Iterator[None]:
    """Turn an error of the storage into an `InputError` of one line that names a file."""
    with prefix_errors(name):
        try:
            yield
        except OSError as error:
            raise InputError(first_line(error)) from error


@dataclass(frozen=True)
class Folder:
    """One folder of a storage, by its path there."""

    files: Files
    root: Path

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
        except (ImportError, ValueError, OSError) as error:
            kind = InputError if isinstance(error, OSError) else UsageError
            raise kind(f"{address}: {first_line(error)}") from error
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
