"""What stands at a location, wherever it is."""

import os
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import StoreError
from mmsearch.locations import Location

__all__ = ["FileState", "exists", "file_state", "is_folder", "local_copy", "real"]


@dataclass(frozen=True, slots=True)
class FileState:
    """What says whether a file has changed. etag: what an object store gives as the mark of its content."""

    size: int
    mtime_ns: int
    etag: str | None = None


def file_state(file: Location) -> FileState:
    """The state of a file. Raises OSError."""
    if isinstance(file, Path):
        status = file.stat()
        return FileState(status.st_size, status.st_mtime_ns)
    raise StoreError(f"{file}: object stores are not read yet")


def exists(location: Location) -> bool:
    """Whether a file or a folder stands there."""
    if isinstance(location, Path):
        return location.exists()
    raise StoreError(f"{location}: object stores are not read yet")


def is_folder(location: Location) -> bool:
    """Whether a folder stands there."""
    if isinstance(location, Path):
        return location.is_dir()
    raise StoreError(f"{location}: object stores are not read yet")


def local_copy(file: Location) -> Path:
    """A file as one on this machine. Raises OSError."""
    if isinstance(file, Path):
        return file
    raise StoreError(f"{file}: object stores are not read yet")


def real(location: Location) -> Location:
    """The same place by the one way to it that goes through no link."""
    return Path(os.path.realpath(location)) if isinstance(location, Path) else location
