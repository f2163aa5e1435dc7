"""Where the bytes of a file stand on this machine: in a file of their own, or in a stretch of another one, as those of
a member of an archive do that is not compressed; and what is read from any place by a function, as an object is."""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

__all__ = ["AnyFile", "FileRange", "RangedFile", "as_range"]

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class FileRange:
    """The bytes of a file.

    Attributes:
        path: of what holds them, a file system string.
        start: where they begin in it.
        size: how many there are; None for all of `path`.
    """

    path: str
    start: int = 0
    size: int | None = None

    def open(self) -> BinaryIO:
        """A stream of them, seekable. Raises OSError."""
        file = open(self.path, "rb")  # noqa: PTH123, SIM115 - the path may hold surrogates; who asked closes it
        return file if self.size is None else io.BufferedReader(_Stretch(file, self.start, self.size), 1 << 16)

    def length(self) -> int:
        """How many bytes there are. Raises OSError."""
        return os.stat(self.path).st_size if self.size is None else self.size  # noqa: PTH116

    def state(self) -> tuple[str, int, int, int]:
        """What tells it from others, and whether it changed. Raises OSError where it is gone."""
        status = os.stat(self.path)  # noqa: PTH116
        return self.path, self.start, status.st_size if self.size is None else self.size, status.st_mtime_ns


AnyFile: TypeAlias = str | FileRange
"""A file of its own by its path, or a range."""


def as_range(file: AnyFile) -> FileRange:
    """The range that a file is."""
    return FileRange(file) if isinstance(file, str) else file


class RangedFile(io.RawIOBase, BinaryIO):
    """A file of `size` bytes, read by `read_range(start, end)`. `fetch` helps only where that caches."""

    def __init__(self, size: int, read_range: Callable[[int, int], bytes]) -> None:
        self._size, self._read_range, self._position = size, read_range, 0

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Have these pieces, which will be read one after the other, fetched at the same time."""
        if len(ranges) > 1:
            from concurrent.futures import ThreadPoolExecutor  # late: what lies on a disk is not fetched

            with ThreadPoolExecutor(_AT_ONCE) as readers:
                list(readers.map(lambda piece: self._read_range(*piece), ranges))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        data = self._read_range(self._position, end) if end > self._position else b""
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Stretch(RangedFile):
    """Some bytes of an open file, which it closes."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__(size, self._read_stretch)
        self._file, self._start = file, start

    def _read_stretch(self, start: int, end: int) -> bytes:
        self._file.seek(self._start + start)
        return self._file.read(end - start)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
