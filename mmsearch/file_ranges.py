"""Where the bytes of a file stand on this machine: in a file of their own, or in a stretch of another one, as those of
a member of an archive do that is not compressed."""

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

__all__ = ["AnyFile", "FileRange", "as_range"]


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


class _Stretch(io.RawIOBase):
    """Some bytes of an open file, which it closes."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

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

    def readinto(self, buffer: Any, /) -> int:
        self._file.seek(self._start + self._position)
        wanted = max(0, min(len(buffer), self._size - self._position))
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
