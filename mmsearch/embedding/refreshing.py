"""`embed --refresh`: reads again what files say beside the pixels, and encodes nothing."""

import io
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from mmsearch.errors import ImageError, SourceError
from mmsearch.gallery import Gallery, open_writer, update_rows
from mmsearch.images import MAX_PIXELS
from mmsearch.items import IMAGES, ImageRow
from mmsearch.loading import DECODE_SECONDS, read_header_columns
from mmsearch.locations import Location, located
from mmsearch.names import real_name
from mmsearch.places import INSTALL, has_names
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.sources import (
    MAX_FILE_BYTES,
    Companion,
    ContainerState,
    Role,
    SourceFile,
    container_of,
    file_in,
    join_names,
    list_names,
    open_source_file,
    read_location,
    spanned,
)
from mmsearch.workers import Overdue, Workers

__all__ = ["RefreshReport", "refresh"]

_Path = str | os.PathLike[str]
_IN_FLIGHT = 4  # files a thread: enough that none waits
_NAMED = 10  # files that could not be read and are named


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What `refresh` did.

    Attributes:
        changed: The number of pictures of which something else is known now.
        unchanged: The number of those that say what the gallery knew.
        missing: The number of those whose files are not there.
        stale: The number of those whose files were changed since they were embedded; `embed` takes them anew.
        unread: The number of files that could not be read.
        unread_files: (file, reason) of the first of them.
        columns: Column -> how many pictures have another value there.
    """

    gallery: Location
    version: int
    changed: int
    unchanged: int
    missing: int
    stale: int
    unread: int
    unread_files: tuple[tuple[str, str], ...]
    columns: Mapping[str, int]
    seconds: float


class _Missing(Exception):
    """The file of a row is not there."""


class _Stale(Exception):
    """The file of a row is not what was embedded."""


def refresh(
    paths: Sequence[_Path] = (),
    *,
    gallery: _Path | None = None,
    places: bool = False,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> RefreshReport:
    """Read the headers of pictures that the gallery holds, and change those columns of their rows that say otherwise:
    dates, camera, lens, title, keywords, rating. Row ids and vectors stay, and so do indexes and scores.

    paths: only pictures in these folders, or these files; none: all. places: also where they were taken, which else
    stays as it is. threads: that read; by default one a core. Each shard (65,536 pictures at most) is committed when
    its files are read; an interrupted run keeps what it has read, and the same call goes on.
    Raises GalleryNotFound, GalleryBusy, StoreError, and SourceError where no picture lies below `paths`.
    """
    started = time.monotonic()
    if places and not has_names():
        announce(f"cities and countries are not named: {INSTALL}; latitudes and longitudes are kept")
    with open_writer(Gallery.open(gallery).path, command="embed --refresh") as writer:
        reader = _HeaderReader(writer.gallery, places, max_pixels, threads or os.cpu_count() or 1)
        chosen = _below(paths)
        counts = _Counts(writer.gallery.live_rows(IMAGES.name), progress)
        for shard in writer.gallery.shards(IMAGES.name):
            held = writer.gallery.records_in(IMAGES, shard)
            rows = ((row_id, row) for row_id, row in held if chosen(reader.file_of(row)))
            updates: dict[int, Mapping[str, Any]] = {}
            try:
                for row_id, row, said in reader.read_all(rows):
                    if changes := counts.add(reader.file_of(row), row, said):
                        updates[row_id] = changes
            finally:  # what was read before Ctrl-C is kept
                if updates:
                    writer.rewrite(partial(update_rows, table=IMAGES.name, shard=shard, updates=updates))
        if paths and not counts.done:
            raise SourceError(f"the gallery holds no picture below {', '.join(map(str, paths))}")
        return counts.report(writer.gallery, time.monotonic() - started)


def _below(paths: Sequence[_Path]) -> Callable[[str | None], bool]:
    """Whether a file is one of these, or lies in one of these folders."""
    if not paths:
        return lambda _: True
    folders = tuple(str(located(path)).rstrip("/") for path in paths)
    inside = tuple(f"{folder}/" for folder in folders)
    return lambda file: file is not None and (file in folders or file.startswith(inside))


class _Counts:
    """What was found out so far."""

    def __init__(self, total: int, progress: ProgressCallback) -> None:
        self._total, self._progress = total, progress
        self._outcomes: Counter[str] = Counter()
        self._columns: Counter[str] = Counter()
        self._unread: list[tuple[str, str]] = []

    @property
    def done(self) -> int:
        """How many rows were looked at."""
        return self._outcomes.total()

    def add(self, file: str | None, row: ImageRow, said: "Mapping[str, Any] | Exception") -> Mapping[str, Any]:
        """Count one more. Returns those columns that have another value now."""
        changes: dict[str, Any] = {}
        if isinstance(said, _Missing):
            self._outcomes["missing"] += 1
        elif isinstance(said, _Stale):
            self._outcomes["stale"] += 1
        elif isinstance(said, Exception):
            self._outcomes["unread"] += 1
            if len(self._unread) < _NAMED:
                self._unread.append((file or row.path, said.reason if isinstance(said, ImageError) else str(said)))
        else:
            changes = {name: value for name, value in said.items() if getattr(row, name) != value}
            self._outcomes["changed" if changes else "unchanged"] += 1
            self._columns.update(changes.keys())
        unusable = self.done - self._outcomes["changed"] - self._outcomes["unchanged"]
        self._progress(Progress("reading headers", self.done, self._total, unusable))
        return changes

    def report(self, gallery: Gallery, seconds: float) -> RefreshReport:
        outcomes = self._outcomes
        return RefreshReport(
            gallery=gallery.path,
            version=gallery.manifest.version,
            changed=outcomes["changed"],
            unchanged=outcomes["unchanged"],
            missing=outcomes["missing"],
            stale=outcomes["stale"],
            unread=outcomes["unread"],
            unread_files=tuple(self._unread),
            columns=dict(self._columns),
            seconds=seconds,
        )


class _HeaderReader:
    """Reads the headers of the files of rows, several at a time."""

    def __init__(self, gallery: Gallery, places: bool, max_pixels: int, threads: int) -> None:
        self._gallery, self._places, self._max_pixels, self._threads = gallery, places, max_pixels, threads
        self._folders = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}

    def file_of(self, row: ImageRow) -> str | None:
        """Where the file of a row stands; None where its root is no longer part of the gallery."""
        folder = self._folders.get(row.root_id)
        return None if folder is None else str(folder / real_name(row.path, row.path_bytes))

    def read_all(
        self, rows: Iterable[tuple[int, ImageRow]]
    ) -> Iterator[tuple[int, ImageRow, "Mapping[str, Any] | Exception"]]:
        """(row id, row, columns that its file gives, or why it gives none), in their order."""
        pending: deque[tuple[int, ImageRow, Future[Mapping[str, Any]]]] = deque()

        def take_first() -> "tuple[int, ImageRow, Mapping[str, Any] | Exception]":
            row_id, row, future = pending.popleft()
            try:
                return row_id, row, workers.result(future, DECODE_SECONDS)
            except Overdue:
                return row_id, row, ImageError("read", f"not read within {DECODE_SECONDS:g} seconds")
            except (_Missing, _Stale, ImageError, OSError, MemoryError) as error:
                return row_id, row, error

        with Workers(self._threads, "mmsearch-headers") as workers:
            for row_id, row in rows:
                pending.append((row_id, row, workers.submit(self._read, row)))
                if len(pending) > self._threads * _IN_FLIGHT:
                    yield take_first()
            while pending:
                yield take_first()

    def _read(self, row: ImageRow) -> Mapping[str, Any]:
        """Those columns of a row that its file gives. Raises _Missing, _Stale, ImageError, OSError."""
        location, root = self.file_of(row), self._folders.get(row.root_id)
        if location is None or root is None:
            raise _Missing
        if spanned(location) is not None:
            return {}  # a piece of a file, of which headers say nothing
        if container_of(location) is not None:
            return {} if row.files else self._read_member(row, location)  # what stands beside it is in the archive too
        return self._read_file(row, root)

    def _read_file(self, row: ImageRow, root: Location) -> Mapping[str, Any]:
        name = real_name(row.path, row.path_bytes)
        of_cut_file = row.etag is not None and ContainerState.of(row.etag).size == str(row.bytes)
        file = file_in(root, root / name, identified=row.etag is not None and not of_cut_file)
        if file.size is None:
            raise _Missing
        # Of an imported gallery nothing is known by which it could have changed.
        if row.mtime_ns is not None and (file.size, file.mtime_ns) != (row.bytes, row.mtime_ns):
            raise _Stale
        if row.etag is not None and not of_cut_file and file.version != row.etag:
            raise _Stale
        file = replace(file, beside=_beside(root, name, row.files or ()))
        with open_source_file(file) as opened:
            columns = self._columns(file, opened.stream)
            if opened.state() != file:
                raise _Stale
        return columns

    def _columns(self, file: SourceFile, stream: BinaryIO) -> Mapping[str, Any]:
        return read_header_columns(file, stream, max_pixels=self._max_pixels, places=self._places)

    def _read_member(self, row: ImageRow, location: str) -> Mapping[str, Any]:
        try:
            data = read_location(location, most=MAX_FILE_BYTES)
        except FileNotFoundError as error:
            raise _Missing from error
        if row.content_hash is not None and self._gallery.hash_content(data) != row.content_hash:
            raise _Stale
        return self._columns(SourceFile("", location, len(data), row.mtime_ns), io.BytesIO(data))


def _beside(root: Location, name: str, files: Sequence[str]) -> tuple[Companion, ...]:
    """What stands beside a file, of those that its row names."""
    folder, slash, own = name.rpartition("/")
    names = [file.rpartition("/")[2] for file in files if file.rpartition("/")[0] == folder]
    roles = _roles([own, *names])
    if not roles.keys() >= set(names):  # what is said of a file for which this one stands, since that holds no picture
        roles = _roles([own, *names, *list_names(root, folder)])
    found = ((file_in(root, root / f"{folder}{slash}{other}"), roles[other]) for other in names if other in roles)
    return tuple(Companion(file, role) for file, role in found if file.size is not None)


def _roles(names: Sequence[str]) -> dict[str, Role]:
    """What each file is to the picture that it stands beside."""
    beside = join_names(dict.fromkeys(names)).beside
    return {other.name: other.role for others in beside.values() for other in others}
