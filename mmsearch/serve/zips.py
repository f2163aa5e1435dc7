"""Pictures of a gallery as one zip, made while it is sent: one file at a time is in memory, however many there are."""

import io
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import IMAGES, ImageRow
from mmsearch.search.gallery_files import FileGone, read_content

__all__ = ["MOST_CHOSEN", "NOT_INCLUDED", "ChosenLists", "live_rows", "zip_pieces"]

MOST_CHOSEN = 100_000
"""Pictures of one request."""
NOT_INCLUDED = "not included.txt"
"""The member that names what could not be included, and why."""
_KEPT_LISTS, _KEPT_SECONDS = 16, 600.0
_ROWS_AT_ONCE = 256
_PIECE_BYTES = 256 << 10
_LONGEST_NAME = 150  # characters, before its suffix
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\\/:*?"<>|\u200e\u200f\u2028-\u202e\u2066-\u2069]')
_FIRST_YEAR, _LAST_YEAR = 1980, 2107  # that a zip can write


class ChosenLists:
    """Lists of row ids that are about to be asked for, each under a name that nobody guesses. Thread-safe."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, tuple[float, NDArray[np.int64]]] = OrderedDict()
        self._keeping = threading.Lock()

    def keep(self, row_ids: NDArray[np.int64]) -> str:
        """The name of a list, for ten minutes or until sixteen others have come."""
        name = secrets.token_hex(16)
        with self._keeping:
            self._lists[name] = time.monotonic(), row_ids
            while len(self._lists) > _KEPT_LISTS:
                self._lists.popitem(last=False)
        return name

    def get(self, name: str) -> NDArray[np.int64] | None:
        """A list, or None where it is not known any more."""
        with self._keeping:
            since, row_ids = self._lists.get(name, (0.0, None))
        return None if time.monotonic() - since > _KEPT_SECONDS else row_ids


def live_rows(gallery: Gallery, row_ids: NDArray[np.int64]) -> Iterator[list[tuple[int, ImageRow | None]]]:
    """Pictures by their row ids, in the order asked, some at a time; None for one that the gallery no longer holds."""

    def live(now: Gallery) -> NDArray[np.int64]:
        present = [rows.column("row_id").to_numpy() for rows in now.scan(IMAGES.name, ())]
        return np.concatenate([np.empty(0, np.int64), *present])

    held = np.isin(row_ids, read_consistently(gallery, live))
    for start in range(0, len(row_ids), _ROWS_AT_ONCE):
        some, known = row_ids[start : start + _ROWS_AT_ONCE], held[start : start + _ROWS_AT_ONCE]
        rows = iter(_image_rows(gallery, some[known]))
        yield [(row_id, next(rows) if is_held else None) for row_id, is_held in zip(some.tolist(), known, strict=True)]


def _image_rows(gallery: Gallery, row_ids: NDArray[np.int64]) -> list[ImageRow]:
    return read_consistently(gallery, lambda now: now.image_rows(row_ids)) if len(row_ids) else []


def zip_pieces(gallery: Gallery, row_ids: NDArray[np.int64]) -> Iterator[bytes]:
    """A zip of the files of these pictures, stored as they are, in pieces to be sent.

    Each has its own name, without folders. What is gone is named in a text beside them. Raises GalleryError."""
    sent = _Sent()
    names = _Names()
    missing: list[str] = []
    with ZipFile(sent, "w", ZIP_STORED) as archive:
        for some in live_rows(gallery, row_ids):
            for row_id, row in some:
                if row is None:
                    missing.append(f"picture {row_id}: it is no longer in the gallery")
                    continue
                try:
                    data = read_content(gallery, row).data
                except FileGone as error:
                    missing.append(f"{row.path}: {error}")
                    continue
                archive.writestr(_member(names.unique(row.path), row), data)
                del data
                yield from sent.pieces()
        if missing:
            lines = "".join(f"{_UNSAFE_IN_LINES.sub('_', line)}\n" for line in missing)
            archive.writestr(ZipInfo(names.unique(NOT_INCLUDED), time.localtime()[:6]), lines)
    yield from sent.pieces()


_UNSAFE_IN_LINES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _member(name: str, row: ImageRow) -> ZipInfo:
    taken_at = row.taken_at or (datetime.fromtimestamp(row.mtime_ns / 1e9, UTC) if row.mtime_ns else None)
    known = taken_at is not None and _FIRST_YEAR <= taken_at.year <= _LAST_YEAR
    member = ZipInfo(name, taken_at.timetuple()[:6]) if taken_at is not None and known else ZipInfo(name)
    member.external_attr = 0o644 << 16
    return member


class _Names:
    """Names for the members of a zip: no two alike, also where capitals do not count, and none that leads elsewhere."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, path: str) -> str:
        base = _UNSAFE.sub("_", path.rpartition("/")[2]).strip(". ") or "picture"
        stem, dot, suffix = base.rpartition(".")
        if not dot or len(suffix) > 10:
            stem, suffix = base, ""
        stem = stem[:_LONGEST_NAME]
        name, number = f"{stem}{dot if suffix else ''}{suffix}", 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem} ({number}){dot if suffix else ''}{suffix}"
        self._taken.add(name.casefold())
        return name


class _Sent(io.RawIOBase):
    """A file of which all but its end has been sent: a member may be gone over again until its pieces are taken."""

    def __init__(self) -> None:
        self._gone = 0
        self._kept = bytearray()
        self._at = 0

    def pieces(self) -> Iterator[bytes]:
        """What was written since, to be sent; it cannot be changed any more."""
        kept, self._kept = self._kept, bytearray()
        self._gone += len(kept)
        self._at = 0
        for start in range(0, len(kept), _PIECE_BYTES):
            yield bytes(kept[start : start + _PIECE_BYTES])

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._gone + self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        assert offset >= self._gone
        self._at = offset - self._gone
        return offset

    def write(self, data: Any) -> int:
        written = memoryview(data).cast("B")
        self._kept[self._at : self._at + len(written)] = written
        self._at += len(written)
        return len(written)
