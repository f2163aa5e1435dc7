"""Which rows of a table are of one file: frames of a film, pages, tiles and the picture that they are tiles of."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.exact import ascending
from mmsearch.gallery import tables
from mmsearch.gallery.gallery_reader import Gallery
from mmsearch.items import MEMBER, NUMBERS, without_span
from mmsearch.names import composed, composed_column
from mmsearch.versions import Shard

__all__ = ["FileSpans", "Frames", "read_file_spans", "rows_of_file"]

_TIMES, _BOX = ("start_s", "end_s"), "box"
_ORDERED = ("start_s", "page")  # what items of a file that has none of its own are in the order of


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The frames of one film, in the order of their times.

    Attributes:
        row_ids: int64 (n,).
        start_s, end_s: float64 (n,): when each is seen; nan where its row does not say when it ends.
    """

    row_ids: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]


class FileSpans:
    """The rows of a table that share a file with others.

    row_ids: int64 (n,), ascending, of live rows. files: int64 (n,), from 0, the same for rows of one file. start_s,
    end_s: float64 (n,), nan where a row is no frame.
    """

    def __init__(
        self,
        row_ids: NDArray[np.int64],
        files: NDArray[np.int64],
        start_s: NDArray[np.float64],
        end_s: NDArray[np.float64],
    ) -> None:
        self._row_ids, self._files, self._start_s, self._end_s = row_ids, files, start_s, end_s
        self._by_file = np.lexsort((start_s, files))
        self._files_in_order = files[self._by_file]
        self._first_rows = np.zeros(int(files.max(initial=-1)) + 1, np.int64)
        self._first_rows[files[::-1]] = row_ids[::-1]  # of equal places the last stays, which is the lowest row

    def files_of(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same number for rows (n,) of one file, another one for each file; below 0 for what shares none."""
        numbers = -1 - row_ids
        places = self._places(row_ids)
        numbers[places >= 0] = self._files[places[places >= 0]]
        return numbers

    def first_rows(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The lowest row id of the file of each row (n,): the row itself where it shares none."""
        places = self._places(row_ids)
        return np.where(places >= 0, self._first_rows[self._files[places]], row_ids)

    def by_file(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(all of these rows, those of one file side by side; the place (n_files,) at which each file begins)."""
        begins = np.concatenate([[True], np.diff(self._files_in_order) > 0])[: len(self._row_ids)]
        return self._row_ids[self._by_file], np.flatnonzero(begins)

    def are_frames(self, row_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows (n,) are frames of films."""
        places = self._places(row_ids)
        frames: NDArray[np.bool_] = (places >= 0) & ~np.isnan(self._start_s[places])
        return frames

    def count_files(self, live_rows: int, admitted: NDArray[np.int64] | None = None) -> int:
        """How many files a table of so many live rows has, or of how many some of its rows are (ascending ids)."""
        if admitted is None:
            return live_rows - len(self._row_ids) + _count(self._files_in_order)
        there = tables.contains(admitted, self._row_ids)
        return len(admitted) - int(np.count_nonzero(there)) + _count(np.sort(self._files[there]))

    def frames_of(self, file: int) -> Frames:
        """The frames of a file, by its number."""
        first, past = np.searchsorted(self._files_in_order, [file, file + 1])
        rows = self._by_file[first:past]
        rows = rows[~np.isnan(self._start_s[rows])]
        return Frames(self._row_ids[rows], self._start_s[rows], self._end_s[rows])

    def frame_rows(self) -> NDArray[np.int64]:
        """The row ids of all frames, ascending."""
        return self._row_ids[~np.isnan(self._start_s)]

    def films(self) -> list[Frames]:
        """The frames of each film."""
        numbers = ascending(self._files[~np.isnan(self._start_s)])
        return [self.frames_of(number) for number in numbers.tolist()]

    def _places(self, row_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Where rows stand in `self._row_ids`; -1 where they do not."""
        if not len(self._row_ids):
            return np.full(len(row_ids), -1)
        places = np.minimum(np.searchsorted(self._row_ids, row_ids), len(self._row_ids) - 1)
        return np.where(self._row_ids[places] == row_ids, places, -1)


def _count(ascending: NDArray[np.int64]) -> int:
    """How many different numbers there are."""
    return int(np.count_nonzero(np.diff(ascending))) + (len(ascending) > 0)


def read_file_spans(gallery: Gallery, table: str) -> FileSpans | None:
    """Which rows of a table share a file; None, at no cost, where none does.

    Reads the paths of those shards that hold spans: some 0.1 s for 100,000 rows.
    """
    shards = gallery.manifest.shards[table]
    if not any(shard.has_spans for shard in shards):
        return None
    pieces = [rows for shard in shards if shard.has_spans for rows in _read_shard(gallery, table, shard)]
    numbers: dict[tuple[int, str], int] = {}
    found = [piece for rows in pieces for piece in _spans(rows, numbers)]
    if any(rows.column(_BOX).null_count < rows.num_rows for rows in pieces if _BOX in rows.column_names):
        others = (rows for shard in shards if not shard.has_spans for rows in _read_shard(gallery, table, shard))
        for rows in (*pieces, *others):  # the pictures that tiles were cut from
            found += _whole_files(rows, numbers)
    if not found:  # those that there were are dead
        return None
    row_ids = np.concatenate([piece[0] for piece in found])
    files = np.concatenate([piece[1] for piece in found])
    start_s, end_s = np.concatenate([piece[2] for piece in found]), np.concatenate([piece[3] for piece in found])
    order = np.argsort(row_ids)
    return FileSpans(row_ids[order], files[order], start_s[order], end_s[order])


def rows_of_file(gallery: Gallery, table: str, path: str) -> list[tuple[int, int]]:
    """(row id, root id) of the live rows that are pieces of a file with this path, below any root: frames by their
    times, pages by their numbers. Forms of Unicode make no difference."""
    import pyarrow.compute as pc

    found: list[tuple[float, int, int]] = []
    for shard in gallery.manifest.shards[table]:
        for rows in _read_shard(gallery, table, shard) if shard.has_spans else ():
            matching = rows.filter(pc.starts_with(composed_column(rows.column("path")), f"{composed(path)}{MEMBER}"))
            numbers = [matching.column(name).to_pylist() for name in _ORDERED if name in matching.column_names]
            for row_id, root_id, name, *places in zip(
                tables.row_ids_of(matching).tolist(),
                matching.column("root_id").to_pylist(),
                matching.column("path").to_pylist(),
                *numbers,
                strict=True,
            ):
                is_piece = composed(without_span(name)) == composed(path)  # and not one of a member of this archive
                if is_piece and (place := next((each for each in places if each is not None), None)) is not None:
                    found.append((place, row_id, root_id))
    return [(row_id, root_id) for _, row_id, root_id in sorted(found)]


_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _read_shard(gallery: Gallery, table: str, shard: Shard) -> Iterator[pa.Table]:
    """The live rows of a shard in one table; none where all of them are dead."""
    columns = [name for name in ("root_id", "path", *NUMBERS) if name in gallery.schema(table).names]
    if rows := [*gallery.live_rows_of(table, shard, columns)]:
        yield pa.concat_tables(rows).combine_chunks()


def _spans(rows: pa.Table, numbers: dict[tuple[int, str], int]) -> Iterator[_Found]:
    """The rows that are spans; numbers: of files, to which those of new ones are added."""
    is_span = np.zeros(rows.num_rows, bool)
    for name in NUMBERS:
        if name in rows.column_names:
            is_span |= _is_there(rows.column(name))
    spans = np.flatnonzero(is_span)
    if not len(spans):
        return
    kept = tables.filter_rows(rows, is_span)
    files = np.empty(len(spans), np.int64)
    last_root, last_prefix, last_number = -1, "", -1
    for place, (root_id, path) in enumerate(
        zip(kept.column("root_id").to_pylist(), kept.column("path").to_pylist(), strict=True)
    ):
        same_file = root_id == last_root and last_prefix and path.startswith(last_prefix)
        if not same_file or MEMBER in path[len(last_prefix) :]:
            file = without_span(path)
            last_root, last_prefix = root_id, f"{file}{MEMBER}" if file != path else ""
            last_number = numbers.setdefault((root_id, file), len(numbers))
        files[place] = last_number
    nan = np.full(len(spans), np.nan)
    start_s, end_s = (_numbers(kept.column(name)) if name in kept.column_names else nan for name in _TIMES)
    yield tables.row_ids_of(kept), files, start_s, end_s


def _whole_files(rows: pa.Table, numbers: dict[tuple[int, str], int]) -> Iterator[_Found]:
    """The rows that stand for a whole file of which there are spans too."""
    keys = zip(rows.column("root_id").to_pylist(), rows.column("path").to_pylist(), strict=True)
    files = np.array([numbers.get(key, -1) for key in keys], np.int64)
    there = np.flatnonzero(files >= 0)
    if len(there):
        nan = np.full(len(there), np.nan)
        yield tables.row_ids_of(rows)[there], files[there], nan, nan


def _is_there(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which values are not null."""
    if column.null_count in (0, len(column)):
        return np.full(len(column), column.null_count == 0)
    return np.concatenate([_valid(chunk) for chunk in column.chunks])


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    bits = array.buffers()[0]
    if bits is None:
        return np.ones(len(array), bool)
    all_bits = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return all_bits[array.offset : array.offset + len(array)].astype(bool)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """float64 (n,), nan where a value is null."""
    values = [np.empty(0)]
    for chunk in column.chunks:
        numbers = np.frombuffer(chunk.buffers()[1], np.float64)[chunk.offset : chunk.offset + len(chunk)]
        values.append(np.where(_valid(chunk), numbers, np.nan))
    return np.concatenate(values)
