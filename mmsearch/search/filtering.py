"""What filters admit: opened once, run once for a version of a gallery, and remembered for a while."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery

if TYPE_CHECKING:
    import pyarrow as pa

    from mmsearch.ann import AnnIndex, RowSelection
    from mmsearch.filter_process import BoundedFilter, FilterProcesses
    from mmsearch.filters import RowFilter

__all__ = ["Admitted", "Filters"]

_K = TypeVar("_K")
_V = TypeVar("_V")

_KEPT_FILTERS = 8  # each has a connection of its own
_PIECE_ROWS, _PIECE_BYTES = 262_144, 64 << 20
_KEPT_SECONDS = 60.0  # what a filter admits may change by itself: taken_at > now() - interval 1 day


@dataclass(slots=True, eq=False)
class Admitted:
    """The live rows that a filter admits. row_ids: int64 (n,), ascending."""

    row_ids: NDArray[np.int64]
    since: float = field(default_factory=time.monotonic)
    _selections: "dict[str, RowSelection]" = field(default_factory=dict)

    def among(self, index: "AnnIndex") -> "RowSelection":
        """Those that an index holds."""
        name = index.record.name
        if name not in self._selections:
            self._selections[name] = index.select(self.row_ids)
        return self._selections[name]

    def outside(self, index: "AnnIndex") -> NDArray[np.int64]:
        """The row ids of the others, ascending."""
        selection = self.among(index)
        if len(selection) == len(self.row_ids):
            return self.row_ids[:0]
        return np.setdiff1d(self.row_ids, index.row_ids[selection.positions], assume_unique=True)


class Filters:
    """The filters of one version of a gallery, for any number of threads.

    processes: where they run, if not in this process.
    """

    def __init__(self, gallery: Gallery, processes: "FilterProcesses | None" = None) -> None:
        self._gallery, self.processes = gallery, processes
        self._opened: dict[tuple[str, str], RowFilter | BoundedFilter] = {}
        self._admitted: dict[tuple[int, str, str], Admitted] = {}
        self._keeping = threading.Lock()

    def open(self, table: str, where: str) -> "tuple[Sequence[str], Callable[[pa.Table], NDArray[np.int64]]]":
        """(the columns that a filter reads, rows with these and `row_id` -> the ids of those that it admits).

        Raises FilterError where the expression is no filter of the table; the function raises it too.
        """
        from mmsearch.filter_process import BoundedFilter

        opened = self._opened.get((table, where))
        if opened is None:
            opened = self._make(table, where)
            with self._keeping:
                self._opened = _newest(self._opened) | {(table, where): opened}
        return opened.columns, opened.in_time() if isinstance(opened, BoundedFilter) else opened.row_ids

    def admitted(self, gallery: Gallery, table: str, where: str) -> Admitted:
        """What a filter admits of a table, as it was at most a minute ago. Raises FilterError."""
        key = (gallery.manifest.version, table, where)
        known = self._admitted.get(key)
        if known is not None and time.monotonic() - known.since < _KEPT_SECONDS:
            return known
        columns, admits = self.open(table, where)
        ids = [admits(rows) for rows in _in_large_pieces(gallery.scan(table, columns))]
        found = Admitted(np.sort(np.concatenate(ids)) if ids else np.empty(0, np.int64))
        with self._keeping:
            self._admitted = _newest({each: kept for each, kept in self._admitted.items() if each != key})
            self._admitted[key] = found
        return found

    def close(self) -> None:
        """End the processes that run filters, of this version and of those made from it."""
        if self.processes is not None:
            self.processes.close()

    def _make(self, table: str, where: str) -> "RowFilter | BoundedFilter":
        columns = [column for column in self._gallery.schema(table) if column.name != "embedding"]
        if self.processes is not None:
            from mmsearch.filter_process import BoundedFilter

            return BoundedFilter(where, columns, self.processes)
        from mmsearch.filters import RowFilter  # DuckDB is loaded only where it is asked for

        return RowFilter(where, columns)


def _in_large_pieces(pieces: "Iterable[pa.Table]") -> "Iterator[pa.Table]":
    """The rows of many pieces in fewer: a filter takes a millisecond for each before it looks at a row."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for rows in pieces:
        waiting.append(rows)
        if (
            sum(each.num_rows for each in waiting) >= _PIECE_ROWS
            or sum(each.nbytes for each in waiting) >= _PIECE_BYTES
        ):
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _newest(kept: dict[_K, _V]) -> dict[_K, _V]:
    """What stays where one more is kept."""
    return dict([*kept.items()][1 - _KEPT_FILTERS :])
