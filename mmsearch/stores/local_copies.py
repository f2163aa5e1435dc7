"""Keeps copies of files in object stores on this machine. The files never change, so no copy is ever stale.

CACHE/objects/<hash of a folder's URL>/<folder>/<name>    a file, or a folder of files, each whole
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from mmsearch.cache import cache_dir, writable_cache
from mmsearch.errors import StoreError
from mmsearch.locations import Url
from mmsearch.names import random_name
from mmsearch.stores.folder_locks import is_being_filled, list_unfinished

__all__ = ["MOST_BYTES", "LocalCopies"]

MOST_BYTES = 20_000_000_000
"""What all copies together may take; those unused for longest go first."""

_IN_USE = 600  # seconds after its last use in which a copy stays, whatever the bound
_LOOK_AFTER = 1 << 26  # bytes fetched between two looks at the bound


class LocalCopies:
    """Copies of the files below one URL. Names are relative to it. Thread-safe; processes may share them."""

    _locks = tuple(Lock() for _ in range(64))  # a file has one of them, so that threads do not fetch it twice
    _fetched = _LOOK_AFTER

    def __init__(self, url: Url) -> None:
        digest = hashlib.blake2b(url.text.encode("utf-8", "surrogateescape"), digest_size=16)
        self._folder = writable_cache("objects", digest.hexdigest())

    def path(self, name: str) -> Path:
        """Where a copy is, or would be."""
        return self._folder / name

    def present(self, name: str) -> Path | None:
        """A copy that is there; this is a use of it."""
        path = self.path(name)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def keep(self, name: str, fill: Callable[[Path], None]) -> Path:
        """The copy of `name`, filled by `fill(path)` where there is none. It appears when it is whole.

        fill: makes a file or a folder at a path in a folder that is there. Raises what it raises, and StoreError.
        """
        path = self.path(name)
        with self._locks[hash(path) % len(self._locks)]:
            if (present := self.present(name)) is not None:
                return present
            temporary = self.temporary(name)
            try:
                fill(temporary)
                self.adopt(temporary, name)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StoreError(
                        f"no space for copies in {cache_dir()}; free some, or name another place: MMSEARCH_CACHE"
                    ) from error
                raise
            finally:
                _remove(temporary)
        return path

    def temporary(self, name: str) -> Path:
        """A path beside that of `name` at which nothing is yet."""
        path = self.path(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._folder.stat().st_mode & 0o077:  # a bucket that is private stays so; also in caches of before
                self._folder.chmod(0o700)
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot write {path.parent}: {error.strerror or error}. Name another place: MMSEARCH_CACHE"
            ) from error
        return path.with_name(f".{random_name(8)}.tmp")

    def adopt(self, temporary: Path, name: str) -> None:
        """Make a finished file or folder the copy of `name`."""
        size = sum(
            map(_sync_file, _files(temporary))
        )  # else a crash could leave a copy of the right size, full of zeros
        with contextlib.suppress(OSError):  # a folder that another process has put there meanwhile
            temporary.replace(self.path(name))
        LocalCopies._fetched += size
        if LocalCopies._fetched >= _LOOK_AFTER:
            LocalCopies._fetched = 0
            _trim()

    def drop(self, name: str) -> None:
        """Remove a copy; not one that is being made."""
        if not is_being_filled(self.path(name)):
            _remove(self.path(name))


def _trim() -> None:
    """Remove the copies unused for longest until the rest is within MOST_BYTES."""
    now = time.time()
    copies: list[tuple[float, int, Path]] = []
    paths = [path for path in (cache_dir() / "objects").glob("*/*/*") if not path.name.endswith(".lock")]
    filling = {parent / name for parent in {path.parent for path in paths} for name in list_unfinished(parent)}
    for path in paths:
        if path in filling:
            continue
        with contextlib.suppress(OSError):  # removed by somebody else meanwhile
            copies.append((path.stat().st_mtime, sum(file.stat().st_size for file in _files(path)), path))
    total = sum(size for _, size, _ in copies)
    for used, size, path in sorted(copies):
        if total <= MOST_BYTES or now - used < _IN_USE:
            break
        _remove(path)
        total -= size


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _sync_file(file: Path) -> int:
    """The bytes of a file, which are on the disk now."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
        return os.fstat(stream.fileno()).st_size


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
