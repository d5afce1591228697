"""Read and write photographs in any file system that pyarrow and fsspec reach.

On object stores a file appears under its name only once it is complete. On other file systems it is
written under a hidden temporary name beside its own, and moved; if a process is killed before the
move, the temporary file stays.
"""

import io
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zerodce_jax.atomic import TEMPORARY_PREFIX
from zerodce_jax.errors import InputError, first_line, prefix_errors
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.media import formats, photo
from zerodce_jax.media.photo import Photo

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OBJECT_STORES = {"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "adl", "oci", "oss"}
"""Names of object stores in pyarrow and fsspec."""
_HEAD = 1 << 17
"""Number of bytes at the start of a file that hold the header of most photographs."""


@dataclass(frozen=True)
class RemoteFiles:
    """Files of another file system, by their paths in it."""

    filesystem: "FileSystem"
    prefix: str = field(compare=False)
    """Text that makes an address of a path, such as ``s3://``."""

    def name(self, path: Path, /) -> str:
        """Return the address of a file, without a password."""
        return f"{self.prefix}{path.as_posix()}"

    def find(self, folder: Path, leave_out: Path | None, /) -> Iterator[Item]:
        """Yield the photographs and videos in a folder; see `Files.find`."""
        excluded = leave_out if leave_out is not None and folder in leave_out.parents else None
        for path, _ in sorted(self._list(folder, missing_ok=False)):
            relative = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            below = excluded is not None and path.is_relative_to(excluded)
            known = formats.format_of(relative) or plan.is_video(relative)
            if known and not hidden and not below:
                yield Item(path, relative)

    def modification_times(self, folder: Path, /) -> dict[str, int]:
        """Return the modification time of each file in a folder; see `Files`."""
        files = self._list(folder, missing_ok=True)
        return {str(path.relative_to(folder)): time for path, time in files}

    def modification_time(self, path: Path, /) -> int | None:
        """Return the modification time of a file; see `Files`."""
        from pyarrow.fs import FileType

        with _as_input_error(self.name(path)):
            info = self.filesystem.get_file_info(path.as_posix())
        return (info.mtime_ns or 0) if info.type == FileType.File else None

    def size(self, path: Path, /, *, max_pixels: int) -> tuple[int, int]:
        """Return the width and height of a photograph; see `photo.size`.

        Raises:
            InputError: As for `photo.size`, or the file cannot be read.
        """
        with prefix_errors(self.name(path)):
            head = self._content(path, max_pixels, _HEAD)
            try:
                return photo.measure(io.BytesIO(head), max_pixels=max_pixels)
            except InputError:
                if len(head) < _HEAD:
                    raise
            content = self._content(path, max_pixels)
            return photo.measure(io.BytesIO(content), max_pixels=max_pixels)

    def read(self, path: Path, /, *, max_pixels: int) -> Photo:
        """Decode a photograph; see `photo.read`.

        Raises:
            InputError: As for `photo.read`, or the file cannot be read.
        """
        with prefix_errors(self.name(path)):
            return photo.decode(self._content(path, max_pixels), max_pixels=max_pixels)

    def write(self, path: Path, opened: Photo, /) -> tuple[str, ...]:
        """Encode a photograph; see `photo.write`.

        Raises:
            InputError: As for `photo.write`, or the file cannot be written.
        """
        with prefix_errors(self.name(path)):
            data, losses = photo.encode_as(path, opened)
        self.put(path, io.BytesIO(data))
        return losses

    def put(self, path: Path, content: io.BufferedIOBase, /) -> None:
        """Write a file completely or not at all; see `Files.put`."""
        with _as_input_error(self.name(path)):
            if self._is_object_store:
                self._copy(content, path)
                return
            temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}")
            self.filesystem.create_dir(path.parent.as_posix(), recursive=True)
            self._copy(content, temporary)
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
        try:
            found = self.filesystem.get_file_info(selector)
        except FileNotFoundError as error:
            raise InputError(f"{self.name(folder)}: the folder does not exist") from error
        except OSError as error:
            raise InputError(f"{self.name(folder)}: {first_line(error)}") from error
        for info in found:
            if info.type == FileType.File:
                yield Path(info.path), info.mtime_ns or 0

    def _content(self, path: Path, max_pixels: int, limit: int | None = None) -> bytes:
        """Return the content of a file, or its first `limit` bytes; errors do not name the file."""
        with _as_input_error(), self.filesystem.open_input_file(path.as_posix()) as file:
            photo.check_file(file.size(), max_pixels)
            return file.read(limit)

    def _copy(self, content: io.BufferedIOBase, path: Path) -> None:
        with self.filesystem.open_output_stream(path.as_posix()) as file:
            shutil.copyfileobj(content, file, 1 << 23)


@contextmanager
def _as_input_error(name: str = "") -> Iterator[None]:
    """Turn an error of the storage into an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        cause = first_line(error)
        raise InputError(f"{name}: {cause}" if name else cause) from error
