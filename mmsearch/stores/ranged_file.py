"""An object as a file that can be read from any place in it."""

import io
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

__all__ = ["RangedFile"]


_AT_ONCE = 16


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
