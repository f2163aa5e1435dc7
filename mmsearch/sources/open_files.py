"""Opens and reads files: on a disk, in an object store, or in an archive, which is not unpacked."""

import errno
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from mmsearch.cache import file_identity
from mmsearch.errors import ImageError, SourceError
from mmsearch.locations import Location, Url, located, url_of
from mmsearch.sources import parquet
from mmsearch.sources.archives import container_form, member_names
from mmsearch.sources.source_files import MEMBER, READ_WHOLE, Container, Member, SourceFile
from mmsearch.sources.spans import local_path, picture_as_file, spanned
from mmsearch.stores import RangedFile, exists, file_state, local_copy, open_file, read_bytes, read_whole, special_file

__all__ = [
    "MAX_FILE_BYTES",
    "OpenFile",
    "container_of",
    "open_source_file",
    "path_of_container",
    "read_location",
    "read_picture",
]

MAX_FILE_BYTES = 1 << 30
"""No image under the pixel limit needs more than this; what is larger is not read into memory."""

_HEAD = 1 << 18  # bytes of a large object that are looked at first
_OPEN_ARCHIVES = 4  # files are read in the order of their archives, so that few are in use at a time


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file. stream: seekable, at its start. state: returns the file with its present size and time."""

    stream: BinaryIO
    state: Callable[[], SourceFile]


@contextmanager
def open_source_file(file: SourceFile) -> Iterator[OpenFile]:
    """Open a file or a member of an archive. Raises OSError, and ImageError for what an archive does not give out."""
    if file.refused is not None:
        raise ImageError("identify", file.refused)
    if isinstance(file, Member) and file.container is not None:
        with _open_member(file, file.container) as open_member:
            yield open_member
        return
    if (url := url_of(file.location)) is not None:
        yield OpenFile(_open_object(file, url), file.without_bytes)
        return
    if (special := special_file(os.stat(file.location).st_mode)) is not None:  # noqa: PTH116
        raise ImageError("identify", special)  # it took the place of a file since the walk
    with open(file.location, "rb") as stream:  # noqa: PTH123 - the location may hold surrogates; Path adds nothing
        yield OpenFile(stream, lambda: _current_state(file, stream))


def _open_object(file: SourceFile, url: Url) -> BinaryIO:
    """Open an object: a small one whole, a large one in pieces, so that a file that is no picture is not fetched.

    An object that has changed since it was listed has another size than `file` says.
    """
    if file.ahead is not None:
        return io.BytesIO(file.ahead.data.result())
    size = file.size
    if size is None or size <= READ_WHOLE:
        return io.BytesIO(read_bytes(url))
    head = read_bytes(url, 0, _HEAD)

    def piece(start: int, end: int) -> bytes:
        if end <= len(head):
            return head[start:end]
        rest = read_bytes(url, max(start, len(head)), None if end == size else end)
        return head[start:] + rest if start < len(head) else rest

    return RangedFile(size, piece)


def _current_state(file: SourceFile, stream: BinaryIO) -> SourceFile:
    status = os.fstat(stream.fileno())
    version = None if file.version is None else file_identity(status)
    return replace(file, size=status.st_size, mtime_ns=status.st_mtime_ns, version=version)


@contextmanager
def _open_member(file: Member, archive: Container) -> Iterator[OpenFile]:
    with open_file(Path(_archive_path(archive))) as whole:

        def state() -> SourceFile:
            if archive.copy is None:
                _check_unchanged(archive, os.fstat(whole.fileno()))
            return file

        state()
        try:
            with _MEMBERS[archive.form](file, archive, whole) as stream:
                yield OpenFile(stream, state)
        except ImageError:
            raise
        except parquet.Unreadable as error:
            raise ImageError("identify", str(error)) from error
        except Exception as error:
            # Readers of a damaged archive may raise anything: zlib.error, UnicodeDecodeError, ...
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            raise ImageError("identify", f"damaged in its archive: {' '.join(str(error).split())[:100]}") from error


def _check_unchanged(archive: Container, status: os.stat_result) -> None:
    now = SourceFile("", "", status.st_size, status.st_mtime_ns)
    if (now.size, now.mtime_ns) != (archive.size, archive.mtime_ns):
        what = "it" if archive.form == "pictures" else "its archive"
        raise ImageError("read", f"{what} changed since it was listed")


def path_of_container(member: Member) -> str:
    """The path, on this machine, of the bytes of the container of a member. Raises ImageError where it has changed
    since it was listed, OSError."""
    if member.container is None:
        raise ImageError("read", "it is in no container")
    path = _archive_path(member.container)
    if member.container.copy is None:
        _check_unchanged(member.container, Path(path).stat())
    return path


def _archive_path(archive: Container) -> str:
    """The path of an archive's bytes on this machine."""
    if archive.copy is None:
        return archive.location
    if Path(archive.copy).exists():
        return archive.copy
    return str(local_copy(Url(archive.location)))  # the copy was removed to make room for others


def _range_of_bytes(file: Member, _: Container, whole: BinaryIO) -> BinaryIO:
    def read_range(start: int, end: int) -> bytes:
        whole.seek(file.position + start)
        return whole.read(end - start)

    return RangedFile(file.size or 0, read_range)


def _zip_member(file: Member, archive: Container, _: BinaryIO) -> Any:
    directory = _find_once(_zip_of, archive)
    return directory.open(directory.infolist()[file.position])


def _parquet_member(file: Member, archive: Container, _: BinaryIO) -> BinaryIO:
    data = _find_once(_rows_of, archive).read(file.position)
    if data is None:
        raise ImageError("identify", "no image in this row, or only a path to one")
    return io.BytesIO(data)


def _picture_in_file(file: Member, archive: Container, whole: BinaryIO) -> BinaryIO:
    if not file.span:
        return _range_of_bytes(file, archive, whole)
    return io.BytesIO(picture_as_file(_archive_path(archive), archive.location, file.span))


_MEMBERS: dict[str, Callable[[Member, Container, BinaryIO], Any]] = {
    "tar": _range_of_bytes,
    "zip": _zip_member,
    "parquet": _parquet_member,
    "spans": _range_of_bytes,
    "pictures": _picture_in_file,
}

# The directory of a zip and the position in a table are expensive to find: they are kept while they are used, and close
# themselves when the last user is done.
_opening = threading.Lock()
_zip_of = lru_cache(_OPEN_ARCHIVES)(lambda archive: zipfile.ZipFile(_archive_path(archive)))
_rows_of = lru_cache(_OPEN_ARCHIVES)(lambda archive: parquet.ImageRows(_archive_path(archive)))


def _find_once(find: Callable[[Container], Any], archive: Container) -> Any:
    with _opening:
        return find(archive)


def container_of(location: str | os.PathLike[str]) -> str | None:
    """The archive of a location such as `photos/a.tar!/x.jpg`, the file of one such as `scan.tif!/page=2`; None where
    the location is that of a file."""
    name = os.fspath(location)
    path, mark, _ = name.partition(MEMBER)
    if not mark or exists(_to_location(name)):
        return None
    if container_form(path) is not None:
        return path
    return cut_file.path if (cut_file := spanned(name)) is not None else None


def _to_location(location: str) -> Location:
    return url_of(location) or Path(location)


def read_location(location: str | os.PathLike[str], *, most: int | None = None) -> bytes:
    """The bytes of a file, or of a member such as `photos/a.tar!/x.jpg`.

    most: where there are more bytes, no more than one beyond these is read. Raises OSError, ImageError.
    """
    limit = None if most is None else most + 1
    name = os.fspath(location)
    path, inner = container_of(name), name.partition(MEMBER)[2]
    if path is None:
        return read_bytes(_to_location(name), 0, limit)
    if (cut_file := spanned(name)) is not None and cut_file.path == path:
        return _read_picture_in(cut_file.path, cut_file.span)
    if Path(path).exists() and not Path(path).is_file():
        raise ImageError("read", "its archive is no file any more")
    state = file_state(_to_location(path))
    archive = SourceFile("", path, state.size, state.mtime_ns, version=state.etag)
    try:
        member = _directory(archive).get(inner)
    except SourceError as error:
        raise ImageError("read", str(error)) from error
    if member is None:
        raise FileNotFoundError(2, "no such member", name)
    with open_source_file(member) as file:
        return file.stream.read(-1 if limit is None else limit)


def _read_picture_in(file: str, span: str) -> bytes:
    try:
        return picture_as_file(local_path(file), file, span)
    except SourceError as error:
        raise ImageError("read", str(error)) from error


def read_picture(name: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture that somebody named: a file, an object, a member of an archive; "-" is stdin.

    At most MAX_FILE_BYTES. Raises OSError, ImageError, StoreError.
    """
    if os.fspath(name) == "-":
        return read_whole(None, MAX_FILE_BYTES)
    location = located(name)
    if isinstance(location, Path) and container_of(location) is None:
        return read_whole(location, MAX_FILE_BYTES)
    data = read_location(location, most=MAX_FILE_BYTES)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("identify", f"over the limit of {MAX_FILE_BYTES:,} bytes")
    return data


_directory = lru_cache(_OPEN_ARCHIVES)(member_names)
