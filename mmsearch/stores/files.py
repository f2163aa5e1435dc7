"""Looks at and reads files and folders, on disks and in object stores alike."""

import contextlib
import errno
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mmsearch.errors import StoreError
from mmsearch.locations import Location, Url
from mmsearch.stores.store_entries import ObjectListing, StoredObject

if TYPE_CHECKING:
    from mmsearch.stores.objects import Objects

__all__ = [
    "MOST_TEXT_BYTES",
    "FileState",
    "absence",
    "exists",
    "file_state",
    "is_folder",
    "list_folder",
    "local_copy",
    "open_file",
    "read_bytes",
    "read_lines",
    "read_whole",
    "real",
    "special_file",
    "require_file",
    "unpacked",
    "utf8_name",
    "without_gz",
]


MOST_TEXT_BYTES = 1 << 32
"""Of a text that somebody names and that is read whole or line by line: lists, captions, ids, judgements."""


@dataclass(frozen=True, slots=True)
class FileState:
    """Tells whether a file has changed.

    Attributes:
        etag: The object store's mark of the content; None for files on a disk.
    """

    size: int
    mtime_ns: int
    etag: str | None = None


def file_state(file: Location) -> FileState:
    """The state of a file. Raises OSError."""
    if isinstance(file, Path):
        status = file.stat()
        return FileState(status.st_size, status.st_mtime_ns)
    stored = _client_of(file).find(file)
    if stored is None:
        raise IsADirectoryError(21, "is a folder", str(file))
    return FileState(stored.size, stored.modified_ns, stored.etag)


def exists(location: Location) -> bool:
    """Whether there is a file or a folder. Raises StoreError where a store does not answer."""
    return location.exists() if isinstance(location, Path) else _find_object(location)[0]


def absence(location: Location) -> str:
    """A message that there is nothing at a location, or that its bucket is missing, where that is known."""
    if isinstance(location, Url):
        try:
            _client_of(location).require_bucket(location)
        except FileNotFoundError as error:
            return f"cannot read {location}: {error.strerror} as {error.filename}"
        except OSError:
            pass
    return f"no such file or folder: {location}"


def is_folder(location: Location) -> bool:
    """Whether there is a folder. Raises StoreError where a store does not answer."""
    return location.is_dir() if isinstance(location, Path) else _find_object(location) == (True, None)


def read_bytes(file: Location, start: int = 0, end: int | None = None) -> bytes:
    """The bytes [start, end) of a file, as far as it has them; of an object by one request. Raises OSError."""
    if isinstance(file, Url):
        return _client_of(file).read(file, start, end)
    with file.open("rb") as stream:
        stream.seek(start)
        return stream.read(-1 if end is None else end - start)


def read_whole(file: Path | None, most: int) -> bytes:
    """Read a file of at most `most` bytes; None is stdin. Links are followed.

    Devices and named pipes are refused, since reading them may never end; a pipe that the shell made, as in <(command),
    is read. Raises OSError, whose strerror says what is wrong.
    """
    if file is None:
        return _read_at_most(sys.stdin.buffer, most, "stdin")
    with open_file(file, most) as stream:
        return _read_at_most(stream, most, str(file))


def unpacked(data: bytes, name: str, most: int = MOST_TEXT_BYTES) -> bytes:
    """What gzip has packed, unpacked, where it is at most so many bytes; other data as they are. Raises OSError."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return _read_at_most(cast(BinaryIO, stream), most, name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(errno.EILSEQ, f"is damaged: {error}", name) from error


def without_gz(name: str) -> str:
    """The name of what a file holds: captions.csv.gz is a captions.csv."""
    return name[: -len(".gz")] if name.lower().endswith(".gz") else name


def read_lines(file: Path, most: int = MOST_TEXT_BYTES) -> list[str]:
    """The lines of a UTF-8 text of at most so many bytes. Raises OSError as `read_whole`, and where it is no text."""
    try:
        return read_whole(file, most).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise OSError(errno.EILSEQ, reason, str(file)) from error


def open_file(file: Path, most: int | None = None) -> BinaryIO:
    """A file for reading, where it is one and has at most so many bytes; a pipe of the shell may have more.

    Raises OSError as `read_whole`.
    """
    size, of_shell = require_file(file)
    if most is not None and size > most:
        raise _too_large(str(file), most)
    handle = os.open(file, os.O_RDONLY | (0 if of_shell else getattr(os, "O_NONBLOCK", 0)) | getattr(os, "O_BINARY", 0))
    return os.fdopen(handle, "rb")


@contextlib.contextmanager
def utf8_name(file: Path) -> Iterator[str]:
    """A name by which a library finds the file that takes no name but UTF-8, as Arrow does.

    Raises OSError where it is no file, or cannot be opened.

    A stream of Python would not do: Arrow's threads let go of it when they like, and where that is as the interpreter
    ends, the process aborts.
    """
    require_file(file)  # it would wait for a pipe
    try:
        str(file).encode()
    except UnicodeEncodeError:
        with file.open("rb") as stream:
            yield f"/dev/fd/{stream.fileno()}"
    else:
        yield str(file)


def require_file(file: Path) -> tuple[int, bool]:
    """The size of a file, and whether it is a pipe that the shell made.

    Raises OSError where there is no file but a folder, a device or a pipe, after following links.
    """
    status = file.stat()
    kind = status.st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(file))
    of_shell = _is_of_shell(file, kind)
    if (special := special_file(kind)) is not None and not of_shell:
        raise OSError(errno.EINVAL, f"is {special}", str(file))
    return status.st_size, of_shell


def special_file(mode: int) -> str | None:
    """What a file with this `st_mode` is, where it is not opened: a pipe may block, and a device may have effects."""
    if stat.S_ISFIFO(mode):
        return "a named pipe, not a file"
    if stat.S_ISSOCK(mode):
        return "a socket, not a file"
    return "a device, not a file" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else None


def _is_of_shell(file: Path, mode: int) -> bool:
    """Whether it is a pipe that the shell made, as for <(command)."""
    return stat.S_ISFIFO(mode) and os.path.realpath(file.parent).startswith("/proc/")


def _read_at_most(stream: BinaryIO, most: int, name: str) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise _too_large(name, most)
    return data


def _too_large(name: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"is larger than the {most:,} bytes that are read", name)


def list_folder(url: Url) -> ObjectListing:
    """What stands directly in a folder of an object store. Raises OSError."""
    return _client_of(url).list(url)


def local_copy(file: Location) -> Path:
    """A file as one on this machine: itself, or a copy of what it is now. Raises OSError, for pipes and devices too."""
    if isinstance(file, Path):
        mode = file.stat().st_mode
        if (special := special_file(mode)) is not None and not _is_of_shell(file, mode):
            raise OSError(errno.EINVAL, f"is {special}", str(file))
        return file
    import hashlib  # late, as the next: what lies on a disk is not copied

    from mmsearch.stores.local_copies import LocalCopies

    state = file_state(file)
    mark = hashlib.blake2b(f"{state.etag or state.mtime_ns} {state.size}".encode(), digest_size=8).hexdigest()
    name = f"sources/{mark}{file.suffix}"
    return LocalCopies(file).keep(name, lambda path: _client_of(file).download(file, path, state.size))


def real(location: Location) -> Location:
    """The same location with all links resolved."""
    return Path(os.path.realpath(location)) if isinstance(location, Path) else location


def _find_object(url: Url) -> tuple[bool, StoredObject | None]:
    try:
        return True, _client_of(url).find(url)
    except FileNotFoundError:
        return False, None
    except OSError as error:
        failure = StoreError(f"cannot look at {url}: {error.strerror or error}")
    raise failure


def _client_of(url: Url) -> "Objects":
    from mmsearch.stores.objects import objects_of  # late: what lies on a disk needs none of it

    return objects_of(url.scheme)
