"""Folders of pictures, here or wherever pyarrow and fsspec reach: ``s3://``, ``gs://``, ``hdfs://``.

On object stores a file appears once it is complete. Elsewhere it is written under a hidden name
beside its own and then moved; a process that is killed meanwhile leaves that behind.
"""

import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from zerodce_jax.atomic import TEMPORARY_PREFIX, replacing
from zerodce_jax.errors import InputError, UsageError, prefix_errors
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.media import formats, photo
from zerodce_jax.media.photo import Photo

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# By the names that pyarrow and fsspec have for them.
_OBJECT_STORES = {"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "adl", "oci", "oss"}
# Of most pictures this holds the header, of small ones everything.
_HEAD = 1 << 17


@runtime_checkable
class Files(Protocol):
    """Where pictures are read and written: `photo` itself is this machine, `Remote` elsewhere."""

    def name(self, path: Path, /) -> str:
        """What a file is called in messages."""
        ...

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """As `photo.size`."""
        ...

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """As `photo.read`."""
        ...

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """As `photo.write`."""
        ...

    def sweep(self, folder: Path, /) -> None:
        """As `atomic.sweep`."""
        ...


@dataclass(frozen=True)
class Local:
    """A folder of this machine, or of one that all machines see under the same name."""

    root: Path

    @property
    def files(self) -> Files:
        """How its pictures are read and written."""
        return photo

    def find(self, leave_out: "Folder") -> Iterator[Item]:
        """Yield pictures and videos, each with its path below the folder, by the rules of `plan`.

        Raises:
            InputError: There is no such folder.
        """
        if not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such folder")
        yield from plan.find(self.root, leave_out.root if isinstance(leave_out, Local) else None)

    def stamps(self) -> dict[str, int]:
        """Of every file its path below the folder, and its `stamp`; none where there is no folder.

        Raises:
            InputError: It is a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is a file; results need a folder")
        paths = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        return {str(path.relative_to(self.root)): self.stamp(path) or 0 for path in paths}

    def stamp(self, path: Path) -> int | None:
        """A number that changes when a file is written anew, or None where there is none."""
        try:
            return path.lstat().st_mtime_ns
        except OSError:
            return None

    def put(self, path: Path, content: io.BufferedIOBase) -> None:
        """Write a file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)


@dataclass(frozen=True)
class Remote:
    """A folder elsewhere; paths are those within its file system."""

    filesystem: "FileSystem"
    root: Path
    head: str
    """What comes before a path to make an address of it, such as ``s3://``."""

    @property
    def files(self) -> Files:
        """How its pictures are read and written."""
        return self

    def name(self, path: Path, /) -> str:
        """The address of a file."""
        return f"{self.head}{path.as_posix()}"

    def find(self, leave_out: "Folder") -> Iterator[Item]:
        """As `Local.find`.

        Raises:
            InputError: There is no such folder, or it cannot be listed.
        """
        here = isinstance(leave_out, Remote) and leave_out.filesystem == self.filesystem
        inside = here and self.root in leave_out.root.parents
        for path, _ in sorted(self._listed(missing_ok=False)):
            relative = path.relative_to(self.root)
            hidden = any(part.startswith(".") for part in relative.parts)
            below = inside and path.is_relative_to(leave_out.root)
            known = formats.format_of(relative) or plan.is_video(relative)
            if known and not hidden and not below:
                yield Item(path, relative)

    def stamps(self) -> dict[str, int]:
        """As `Local.stamps`.

        Raises:
            InputError: It cannot be listed.
        """
        listed = self._listed(missing_ok=True)
        return {str(path.relative_to(self.root)): stamp for path, stamp in listed}

    def stamp(self, path: Path) -> int | None:
        """As `Local.stamp`.

        Raises:
            InputError: The storage does not say.
        """
        from pyarrow.fs import FileType

        with _telling(self.name(path)):
            info = self.filesystem.get_file_info(path.as_posix())
        return (info.mtime_ns or 0) if info.type == FileType.File else None

    def put(self, path: Path, content: io.BufferedIOBase) -> None:
        """As `Local.put`.

        Raises:
            InputError: It cannot be written.
        """
        with _telling(self.name(path)):
            if self._is_object_store:
                self._copy(content, path)
                return
            temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
            self.filesystem.create_dir(path.parent.as_posix(), recursive=True)
            self._copy(content, temporary)
            self.filesystem.move(temporary.as_posix(), path.as_posix())

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """As `photo.size`.

        Raises:
            InputError: As there, or the file cannot be read.
        """
        with prefix_errors(self.name(path)):
            head = self._content(path, max_pixels, _HEAD)
            try:
                return photo.measure(io.BytesIO(head), max_pixels=max_pixels)
            except InputError:
                if len(head) < _HEAD:
                    raise
            whole = self._content(path, max_pixels)
            return photo.measure(io.BytesIO(whole), max_pixels=max_pixels)

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """As `photo.read`.

        Raises:
            InputError: As there, or the file cannot be read.
        """
        with prefix_errors(self.name(path)):
            return photo.decode(self._content(path, max_pixels), max_pixels=max_pixels)

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """As `photo.write`.

        Raises:
            InputError: As there, or the file cannot be written.
        """
        with prefix_errors(self.name(path)):
            data, losses = photo.encode_as(path, opened)
        self.put(path, io.BytesIO(data))
        return losses

    def sweep(self, folder: Path, /) -> None:
        """Does nothing: who is dead cannot be told from here."""

    @property
    def _is_object_store(self) -> bool:
        # Of fsspec it is "py::fsspec+" and one name or several: ('s3', 's3a').
        name = self.filesystem.type_name.removeprefix("py::fsspec+")
        return not _OBJECT_STORES.isdisjoint(name.strip("()").replace("'", "").split(", "))

    def _listed(self, *, missing_ok: bool) -> Iterator[tuple[Path, int]]:
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.root.as_posix(), missing_ok, recursive=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except FileNotFoundError as error:
            raise InputError(f"{self.name(self.root)}: there is no such folder") from error
        except OSError as error:
            raise InputError(f"{self.name(self.root)}: {_cause(error)}") from error
        for info in found:
            if info.type == FileType.File:
                yield Path(info.path), info.mtime_ns or 0

    def _content(self, path: Path, max_pixels: int, most: int = -1) -> bytes:
        """A file's bytes, or the first of them; what goes wrong does not name it."""
        with _telling(), self.filesystem.open_input_file(path.as_posix()) as file:
            photo.check_file(file.size(), max_pixels)
            return file.read(most if most >= 0 else None)

    def _copy(self, content: io.BufferedIOBase, path: Path) -> None:
        with self.filesystem.open_output_stream(path.as_posix()) as file:
            shutil.copyfileobj(content, file, 1 << 23)


Folder = Local | Remote


def folder_at(address: str) -> Folder:
    """The folder that a path or an address stands for.

    Args:
        address: A path of this machine, or an address that pyarrow knows, with its options
            (``s3://BUCKET/PATH?endpoint_override=http://HOST:PORT``), or else fsspec.

    Raises:
        UsageError: Nobody knows such addresses, or what it needs is not installed.
        InputError: The storage cannot be reached.
    """
    if "://" not in address:
        return Local(Path(address))
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem

    scheme, _, rest = address.partition("://")
    if scheme == "s3":
        # One request for a small file instead of three.
        whole = f"{address}{'&' if '?' in rest else '?'}allow_delayed_open=true"
    else:
        whole = address
    try:
        filesystem, path = FileSystem.from_uri(whole)
    except ArrowInvalid as unknown:
        if "Unrecognized filesystem" not in str(unknown):
            raise UsageError(f"{address}: {_cause(unknown)}") from unknown
        try:
            from fsspec.core import url_to_fs

            spec, path = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{address}: {_cause(error)}") from error
        except OSError as error:
            raise InputError(f"{address}: {_cause(error)}") from error
        filesystem = PyFileSystem(FSSpecHandler(spec))
    except OSError as error:
        raise InputError(f"{address}: {_cause(error)}") from error
    if not path.strip("/") and scheme in _OBJECT_STORES:
        raise UsageError(f"{address}: names no bucket")
    if isinstance(filesystem, LocalFileSystem):
        return Local(Path(path))
    head = f"{scheme}://{rest.partition('?')[0]}".removesuffix("/").removesuffix(path)
    # Messages and reports are no place for a password.
    return Remote(filesystem, Path(path), re.sub("//[^/]*@", "//", head))


@contextmanager
def _telling(name: str = "") -> Iterator[None]:
    """Turn what the storage says into an error of one line."""
    try:
        yield
    except OSError as error:
        said = _cause(error)
        raise InputError(f"{name}: {said}" if name else said) from error


def _cause(error: Exception) -> str:
    """The first line of what an error says, which may go on for pages."""
    said = isinstance(error, OSError) and error.strerror
    return next(iter((said or str(error)).strip().splitlines()), type(error).__name__)
