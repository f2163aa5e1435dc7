"""Pages of a TIFF: the first is the file itself, as before; the others are `scan.tif!/page=2` and so on."""

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO

from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.images import (
    WHOLE,
    CutOptions,
    Cutter,
    MadePicture,
    PictureSpan,
    decode_stream,
    read_directory,
    values_of,
)

__all__ = ["TIFF_PAGES"]

_SUBFILE, _OLD_SUBFILE = 254, 255
_NO_PAGE = 0b101  # a smaller copy of another picture, or a mask of one
_OLD_SMALLER = 2
_MOST_DIRECTORIES = 20_000
_HEADER_BYTES = 8


class _Pages:
    """Where the directory of each page stands. damaged: why there may be more."""

    def __init__(self, offsets: list[int], damaged: str | None) -> None:
        self.offsets, self.damaged = offsets, damaged


def _read_pages(file: BinaryIO) -> _Pages:
    """The pages of a TIFF; none where it is another file, one that is read in another way (BigTIFF), or begins with
    something else than a page."""
    head = file.read(_HEADER_BYTES)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None:
        return _Pages([], None)
    offsets: list[int] = []
    seen: set[int] = set()
    offset = int.from_bytes(head[4:], "little" if order == "<" else "big")
    while offset:
        if offset in seen:
            return _Pages(offsets, "damaged TIFF: its pages follow each other in a circle")
        if len(seen) >= _MOST_DIRECTORIES:
            return _Pages(offsets, f"only its first {_MOST_DIRECTORIES:,} pages are read")
        seen.add(offset)
        try:
            tags, following = read_directory(file, offset, order)
            subfile = (values_of(file, tags.get(_SUBFILE), order) or [0])[0]
            old_subfile = (values_of(file, tags.get(_OLD_SUBFILE), order) or [0])[0]
        except ValueError:
            return _Pages(offsets, "truncated TIFF: what follows is not there")
        if not (subfile & _NO_PAGE or old_subfile == _OLD_SMALLER):
            offsets.append(offset)
        elif not offsets:
            return _Pages([], None)
        offset = following
    return _Pages(offsets, None)


def _list_spans(file: FileRange, _: CutOptions) -> Iterator[PictureSpan]:
    with file.open() as stream:
        pages = _read_pages(stream)
    count = len(pages.offsets)
    several = count > 1 or pages.damaged is not None
    yield PictureSpan(WHOLE, {"page": 1} if several else {})
    for page in range(2, count + 1):
        yield PictureSpan(f"page={page}", {"page": page})
    if pages.damaged is not None and count:
        yield PictureSpan(f"page={count + 1}", {"page": count + 1}, refused=pages.damaged)


@lru_cache(maxsize=8)
def _pages_of(file: FileRange, _state: tuple[str, int, int, int]) -> _Pages:
    with file.open() as stream:
        return _read_pages(stream)


class _AtPage(io.RawIOBase, BinaryIO):
    """A TIFF whose header names the directory of one page as its first, so that no page before it is looked at."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._file, self._header = file, header
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        """libtiff reads the file itself, at the directory that it is told."""
        return self._file.fileno()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        position = self._file.tell()
        data = self._file.read(len(buffer))
        if position < _HEADER_BYTES:
            data = (self._header[position:] + data[_HEADER_BYTES - position :])[: len(data)]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Leaves the file open: other pages are to be read."""


def _make(file: FileRange, spans: Sequence[str], max_pixels: int) -> Iterator[MadePicture | ImageError]:
    with file.open() as stream:
        pages = _pages_of(file, file.state())
        mark = stream.read(4)
        for span in spans:
            try:
                offset = pages.offsets[_page_number(span) - 1]
            except (ValueError, IndexError):
                yield ImageError("identify", f"it has {len(pages.offsets):,} pages")
                continue
            header = mark + offset.to_bytes(4, "little" if mark[:2] == b"II" else "big")
            try:
                decoded = decode_stream(_AtPage(stream, header), max_pixels=max_pixels)
            except ImageError as error:
                yield error
                continue
            yield MadePicture(decoded.image, decoded.width, decoded.height, decoded.facts, decoded.damaged)


def _page_number(span: str) -> int:
    """The number that a span names. Raises ValueError."""
    number = int(span.partition("=")[2])
    if number < 1:
        raise ValueError(f"there is no page {number}")
    return number


TIFF_PAGES = Cutter(
    key="page",
    suffixes=(".tif", ".tiff"),
    format="TIFF",
    word=lambda _: "pages",
    list_spans=_list_spans,
    make=_make,
)
