"""Where the bytes of a member of an archive stand on this machine.

Those of a tar, and those of a zip that are not compressed, stand in the archive itself, and are read there. The others
are unpacked into a file while they are used.
"""

import os
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.locations import Url
from mmsearch.sources.source_files import Container, Member, SourceFile
from mmsearch.sources.unpacking import unpacked
from mmsearch.stores import local_copy

__all__ = [
    "MOST_UNPACKED_BYTES",
    "archive_path",
    "bytes_of_container",
    "bytes_of_member",
    "check_as_listed",
    "check_state",
    "damaged_in_archive",
    "find_once",
    "zip_directory",
]

MOST_UNPACKED_BYTES = 8 << 30
"""What a compressed member may have, to be unpacked."""

_OPEN_ARCHIVES = 4  # files are read in the order of their archives, so that few are in use at a time
_SUSPICIOUS_BYTES, _MOST_RATIO = 1 << 26, 100  # films and documents hardly get smaller; what was made to explode does
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PIECE = 1 << 20


def archive_path(archive: Container) -> str:
    """The path of an archive's bytes on this machine."""
    if archive.copy is None:
        return archive.location
    if Path(archive.copy).exists():
        return archive.copy
    return str(local_copy(Url(archive.location)))  # the copy was removed to make room for others


def check_as_listed(container: Container) -> None:
    """Raise ImageError where a container, or the archive that it is a member of, has changed since it was listed;
    OSError where it is gone."""
    if container.copy is None:
        path = container.location if container.within is None else archive_path(_archive_of(container.within))
        check_state(container, os.stat(path))  # noqa: PTH116 - asked for every frame of a film


def check_state(container: Container, status: os.stat_result) -> None:
    """Raise ImageError where what `status` is of is not as it was when a container was listed."""
    now = SourceFile("", "", status.st_size, status.st_mtime_ns)
    if (now.size, now.mtime_ns) != (container.size, container.mtime_ns):
        what = "it" if container.form == "pictures" and container.within is None else "its archive"
        raise ImageError("read", f"{what} changed since it was listed")


def _archive_of(member: Member) -> Container:
    if member.container is None:
        raise ImageError("read", "it is in no archive")
    return member.container


@contextmanager
def bytes_of_container(container: Container) -> Iterator[FileRange]:
    """The bytes of a container, for the block. Raises ImageError where it changed since it was listed, or cannot be
    read; OSError."""
    check_as_listed(container)
    if container.within is None:
        yield FileRange(archive_path(container))
    else:
        with bytes_of_member(container.within) as file:
            yield file


@contextmanager
def bytes_of_member(member: Member) -> Iterator[FileRange]:
    """The bytes of a member of an archive, for the block. Raises ImageError, OSError."""
    if member.refused is not None:
        raise ImageError("identify", member.refused)
    archive = _archive_of(member)
    if archive.form == "tar":
        yield FileRange(archive_path(archive), member.position, member.size or 0)
        return
    if archive.form != "zip":
        raise ImageError("identify", "it stands in a table, and has no place that can be read alone")
    with damaged_in_archive():
        directory = find_once(zip_directory, archive)
        info = directory.infolist()[member.position]
        in_place = _find_stored(archive_path(archive), info)
    if in_place is not None:
        yield in_place
        return
    _refuse_bomb(info)

    def write(file: BinaryIO) -> None:
        with damaged_in_archive(), directory.open(info) as stream:
            while piece := stream.read(_PIECE):
                file.write(piece)

    key = archive.location, archive.size, archive.mtime_ns, member.position
    suffix = Path(member.name).suffix
    with unpacked(key, info.file_size, suffix if suffix.isascii() else "", write) as path:
        yield FileRange(path)


def _find_stored(archive: str, info: zipfile.ZipInfo) -> FileRange | None:
    """Where a member stands that is not compressed; None for the others. Raises BadZipFile."""
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with open(archive, "rb") as file:  # noqa: PTH123 - the location may hold surrogates; Path adds nothing
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise zipfile.BadZipFile("truncated")
        mark, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        end = file.seek(0, 2)
    if mark != b"PK\3\4" or info.compress_size != info.file_size:
        raise zipfile.BadZipFile("what stands where a member should is none")
    if start + info.file_size > end:
        raise zipfile.BadZipFile(f"it ends after {max(0, end - start):,} of the {info.file_size:,} bytes of a member")
    return FileRange(archive, start, info.file_size)


def _refuse_bomb(info: zipfile.ZipInfo) -> None:
    if info.file_size > MOST_UNPACKED_BYTES:
        raise ImageError(
            "identify",
            f"{info.file_size:,} bytes, compressed in its archive, over the limit of {MOST_UNPACKED_BYTES:,} for that; "
            "unpack it",
        )
    if info.file_size > _SUSPICIOUS_BYTES and info.file_size > _MOST_RATIO * info.compress_size:
        raise ImageError(
            "identify", f"{info.compress_size:,} bytes that claim to unpack to {info.file_size:,}, as a bomb does"
        )


@contextmanager
def damaged_in_archive() -> Iterator[None]:
    """Make of what readers of a damaged archive raise an ImageError: zlib.error, UnicodeDecodeError, anything."""
    try:
        yield
    except (ImageError, OSError):
        raise
    except Exception as error:
        raise ImageError("identify", f"damaged in its archive: {' '.join(str(error).split())[:100]}") from error


# The directory of a zip is expensive to find: it is kept while it is used, and closes itself when the last user is.
_opening = threading.Lock()
zip_directory = lru_cache(_OPEN_ARCHIVES)(lambda archive: zipfile.ZipFile(archive_path(archive)))


def find_once(find: Callable[[Container], Any], archive: Container) -> Any:
    """What `find` keeps of an archive, by one thread at a time."""
    with _opening:
        return find(archive)
