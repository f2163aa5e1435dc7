"""Compressed members of archives, unpacked into files, where they are to be read at any place: a film, a document.

CACHE/unpacked/<random>/<number>.mp4    those of one process, in a folder that it holds a lock beside

They are there while they are used; of the others the newest stay up to MOST_KEPT_BYTES, since the pieces of one file
are made by several calls. They go with the process, and where that was killed, when the next one unpacks something.
"""

import atexit
import errno
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmsearch.cache import writable_cache
from mmsearch.names import random_name
from mmsearch.stores import fill_folder, list_unfinished

__all__ = ["MOST_KEPT_BYTES", "unpacked"]

MOST_KEPT_BYTES = 2 << 30
_LEFT_FREE = 1 << 30  # bytes of the disk, which other programs need


@dataclass(slots=True)
class _Copy:
    """An unpacked member. users: how many read it. lock: held while it is written."""

    path: str
    size: int
    users: int
    lock: threading.Lock
    is_whole: bool = False


class _Copies:
    """The copies of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: OrderedDict[Hashable, _Copy] = OrderedDict()
        self._folder: Path | None = None
        self._held = ExitStack()
        self._owner = 0
        self._made = 0

    @contextmanager
    def one(self, key: Hashable, size: int, suffix: str, write: Callable[[BinaryIO], None]) -> Iterator[str]:
        with self._lock:
            copy = self._copies.get(key) if self._owner == os.getpid() else None
            if copy is not None and copy.is_whole and not os.path.exists(copy.path):  # noqa: PTH110
                copy = None  # somebody has emptied the cache
            if copy is None:
                folder = self._open_folder()
                self._made += 1
                copy = _Copy(str(folder / f"{self._made}{suffix}"), size, 0, threading.Lock())
                self._copies[key] = copy
            self._copies.move_to_end(key)
            copy.users += 1
        try:
            with copy.lock:
                if not copy.is_whole:
                    _fill(copy, write)
            yield copy.path
        finally:
            with self._lock:
                copy.users -= 1
                self._drop_oldest()

    def _open_folder(self) -> Path:
        """The folder of this process; those of processes that were killed are removed before it is made."""
        if self._folder is None or self._owner != os.getpid():  # a fork: they are its parent's
            self._copies, self._held, self._owner = OrderedDict(), ExitStack(), os.getpid()
            place = writable_cache("unpacked")
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            there = list(place.iterdir())
            kept = list_unfinished(place)
            for left in there:
                if left.name not in kept and left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            self._folder = place / random_name(8)
            self._held.enter_context(fill_folder(self._folder))
            atexit.register(self._end, self._owner)
        return self._folder

    def _drop_oldest(self) -> None:
        kept = sum(copy.size for copy in self._copies.values() if not copy.users)
        for key, copy in [*self._copies.items()]:
            if not copy.users and (kept > MOST_KEPT_BYTES or not copy.is_whole):
                del self._copies[key]
                kept -= copy.size
                with suppress(OSError):
                    os.unlink(copy.path)  # noqa: PTH108

    def _end(self, owner: int) -> None:
        if self._owner == owner == os.getpid() and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._held.close()


def _fill(copy: _Copy, write: Callable[[BinaryIO], None]) -> None:
    if copy.size > shutil.disk_usage(Path(copy.path).parent).free - _LEFT_FREE:
        raise OSError(
            errno.ENOSPC,
            f"no space to unpack its {copy.size:,} bytes; free some, or name another place: MMSEARCH_CACHE",
        )
    try:
        with open(copy.path, "wb") as file:  # noqa: PTH123
            write(file)
    except BaseException:
        with suppress(OSError):
            os.unlink(copy.path)  # noqa: PTH108
        raise
    copy.is_whole = True


_copies = _Copies()


@contextmanager
def unpacked(key: Hashable, size: int, suffix: str, write: Callable[[BinaryIO], None]) -> Iterator[str]:
    """The path of a member as a file, for the block. Raises OSError, and what `write` raises.

    key: tells members and their states apart. size: how many bytes it has. write: writes them into a file.
    """
    with _copies.one(key, size, suffix, write) as path:
        yield path
