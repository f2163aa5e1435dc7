"""Opens and reads files: on a disk, in an object store, or in an archive, which is not unpacked."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from mmsearch.cache import file_identity
from mmsearch.content_hashes import content_hasher
from mmsearch.errors import ImageError, SourceError
from mmsearch.file_ranges import FileRange, RangedFile
from mmsearch.locations import Location, Url, located, url_of
from mmsearch.sources import parquet
from mmsearch.sources.archives import container_form, member_names
from mmsearch.sources.member_bytes import (
    archive_path,
    bytes_of_container,
    bytes_of_member,
    check_state,
    find_once,
    zip_directory,
)
from mmsearch.sources.source_files import MEMBER, READ_WHOLE, Container, Member, SourceFile
from mmsearch.sources.spans import hash_span, local_path, picture_as_file, spanned
from mmsearch.stores import exists, file_state, open_file, read_bytes, read_whole, special_file

__all__ = [
    "MAX_FILE_BYTES",
    "OpenFile",
    "container_of",
    "hash_location",
    "local_bytes",
    "open_location",
    "open_source_file",
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
    if archive.within is not None:
        with _open_in_member(file, archive, archive.within) as stream:
            yield OpenFile(stream, lambda: file)
        return
    with open_file(Path(archive_path(archive))) as whole:

        def state() -> SourceFile:
            if archive.copy is None:
                check_state(archive, os.fstat(whole.fileno()))
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


@contextmanager
def _open_in_member(file: Member, container: Container, within: Member) -> Iterator[BinaryIO]:
    """A picture that is made of a member of an archive, or that member."""
    if not file.span:
        with open_source_file(within) as whole:
            yield whole.stream
    else:
        with bytes_of_container(container) as found:
            yield io.BytesIO(picture_as_file(found, container.location, file.span))


def _range_of_bytes(file: Member, _: Container, whole: BinaryIO) -> BinaryIO:
    def read_range(start: int, end: int) -> bytes:
        whole.seek(file.position + start)
        return whole.read(end - start)

    return RangedFile(file.size or 0, read_range)


def _zip_member(file: Member, archive: Container, _: BinaryIO) -> Any:
    directory = find_once(zip_directory, archive)
    return directory.open(directory.infolist()[file.position])


def _parquet_member(file: Member, archive: Container, _: BinaryIO) -> BinaryIO:
    data = find_once(_rows_of, archive).read(file.position)
    if data is None:
        raise ImageError("identify", "no image in this row, or only a path to one")
    return io.BytesIO(data)


def _picture_in_file(file: Member, archive: Container, whole: BinaryIO) -> BinaryIO:
    if not file.span:
        return _range_of_bytes(file, archive, whole)
    return io.BytesIO(picture_as_file(FileRange(archive_path(archive)), archive.location, file.span))


_MEMBERS: dict[str, Callable[[Member, Container, BinaryIO], Any]] = {
    "tar": _range_of_bytes,
    "zip": _zip_member,
    "parquet": _parquet_member,
    "spans": _range_of_bytes,
    "pictures": _picture_in_file,
}

# The position in a table is expensive to find: it is kept while it is used.
_rows_of = lru_cache(_OPEN_ARCHIVES)(lambda archive: parquet.ImageRows(archive_path(archive)))


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
    if container_of(name) is None:
        return read_bytes(_to_location(name), 0, limit)
    if (cut_file := spanned(name)) is not None:
        with local_bytes(cut_file.path) as file:
            return picture_as_file(file, cut_file.path, cut_file.span)
    with open_location(name) as stream:
        return stream.read(-1 if limit is None else limit)


@contextmanager
def open_location(location: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream of a file, an object, or a member of an archive. Raises OSError, ImageError."""
    name = os.fspath(location)
    archive = container_of(name)
    if archive is not None:
        with open_source_file(_find_member(archive, name)) as file:
            yield file.stream
    elif (url := url_of(name)) is not None:
        yield io.BytesIO(read_bytes(url))
    else:
        with Path(name).open("rb") as stream:
            yield stream


@contextmanager
def local_bytes(location: str) -> Iterator[FileRange]:
    """Where the bytes of a file, or of a member of an archive, stand on this machine, for the block; an object is
    fetched. Raises OSError, ImageError."""
    archive = container_of(location)
    if archive is None:
        try:
            yield FileRange(local_path(location))
        except SourceError as error:
            raise ImageError("read", str(error)) from error
    else:
        with bytes_of_member(_find_member(archive, location)) as file:
            yield file


def _find_member(archive: str, name: str) -> Member:
    """A member of an archive as it is now. Raises OSError, ImageError."""
    if url_of(archive) is None and Path(archive).exists() and not Path(archive).is_file():
        raise ImageError("read", "its archive is no file any more")
    state = file_state(_to_location(archive))
    try:
        members = _directory(SourceFile("", archive, state.size, state.mtime_ns, version=state.etag))
    except SourceError as error:
        raise ImageError("read", str(error)) from error
    member = members.get(name.removeprefix(f"{archive}{MEMBER}"))
    if member is None:
        raise FileNotFoundError(2, "no such member", name)
    return member


def hash_location(location: str, data: bytes, hash_name: str) -> bytes:
    """The content hash of what stands at a location, whose bytes were read already: as its row holds it. 16 bytes.

    hash_name: see `mmsearch.content_hashes`."""
    if (cut_file := spanned(location)) is None:
        return content_hasher(hash_name)(data)
    with local_bytes(cut_file.path) as file:
        return hash_span(file, cut_file.span, hash_name)


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
