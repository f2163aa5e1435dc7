"""The first stage: the best rows of a table for some vectors, exact or through an index, and always complete."""

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, open_index
from mmsearch.blas import one_thread
from mmsearch.errors import AnnIndexError, MmsearchWarning
from mmsearch.exact import Neighbours, exact_search, merge
from mmsearch.gallery import Gallery, HeldGallery, consistently
from mmsearch.search.through_index import search_index

if TYPE_CHECKING:
    import pyarrow as pa

    from mmsearch.filter_process import BoundedFilter, FilterProcesses
    from mmsearch.filters import RowFilter

__all__ = ["EXACT", "Retriever", "SearchOptions"]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search.

    Attributes:
        exact: pass by the index.
        nprobe: lists that an IVF index visits; None: as it was tuned.
        ef_search: candidates that an HNSW index keeps; None: as it was tuned.
    """

    exact: bool = False
    nprobe: int | None = None
    ef_search: int | None = None


EXACT = SearchOptions(exact=True)

# So few are bound by reading the vectors, not by multiplying with them.
_FEW_QUERIES = 16
_SEARCHING = min(4, os.cpu_count() or 1)  # threads of an exact search; more wait for the memory
_KEPT_FILTERS = 8  # each has a connection of its own


class Retriever:
    """Finds rows of one version of a gallery, for any number of threads. It opens indexes and filters once.

    filter_processes: where filters run, if not in this process.
    """

    def __init__(self, gallery: Gallery, filter_processes: "FilterProcesses | None" = None) -> None:
        self.gallery = gallery
        self._filter_processes = filter_processes
        self._indexes: dict[str, AnnIndex | None] = {}
        self._filters: dict[tuple[str, str], RowFilter | BoundedFilter] = {}
        self._opening = threading.RLock()

    def for_version(self, gallery: Gallery) -> "Retriever":
        """A retriever of another version of the gallery. Indexes that this names too stay open."""
        other = Retriever(gallery, self._filter_processes)
        names = [entry.name for entry in gallery.manifest.indexes]
        other._indexes = {name: self._indexes[name] for name in names if name in self._indexes}
        return other

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int,
        table: str,
        where: str | None = None,
        options: SearchOptions = SearchOptions(),
    ) -> Neighbours:
        """The k best live rows for each of `vectors` (n, dim), L2-normalised, by the score of record.

        Through the index of the table where there is one; rows that it does not cover are scored exactly beside it.
        where: an SQL expression; then all that it admits is scored exactly. Raises FilterError.
        """
        if where is not None:
            columns, admitted_ids = self.open_filter(table, where)
            return consistently(
                self.gallery,
                lambda gallery: exact_search(gallery.admitted_blocks(table, columns, admitted_ids), vectors, k),
            )
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return consistently(self.gallery, lambda gallery: self._search(gallery, vectors, k, table, options))

    def open_filter(self, table: str, where: str) -> "tuple[Sequence[str], Callable[[pa.Table], NDArray[np.int64]]]":
        """(the columns that a filter reads, rows with these and `row_id` -> the ids of those that it admits).

        Raises FilterError where the expression is no filter of the table; the function raises it too.
        """
        from mmsearch.filter_process import BoundedFilter

        opened = self._filter(table, where)
        return opened.columns, opened.in_time() if isinstance(opened, BoundedFilter) else opened.row_ids

    def close(self) -> None:
        """End the processes that run filters, of this version and of those made from it."""
        if self._filter_processes is not None:
            self._filter_processes.close()

    def _search(
        self, gallery: Gallery, vectors: NDArray[np.float32], k: int, table: str, options: SearchOptions
    ) -> Neighbours:
        threads = _SEARCHING if isinstance(gallery, HeldGallery) else 1  # what is read comes at the disk's pace
        entry = None if options.exact else gallery.index_for(table)
        index = self._index(gallery, table) if entry is not None else None
        if entry is None or index is None:
            return exact_search(gallery.vector_blocks(table), vectors, k, threads=threads)
        effort = Effort(nprobe=options.nprobe, ef_search=options.ef_search)
        indexed = search_index(index, gallery, table, vectors, k, effort=effort)
        beside = exact_search(gallery.vector_blocks(table, skip=entry.covers), vectors, k, threads=threads)
        return merge([indexed, beside], k)

    def _filter(self, table: str, where: str) -> "RowFilter | BoundedFilter":
        if (known := self._filters.get((table, where))) is not None:
            return known
        made = self._make_filter(table, where)  # without the lock: one that takes its time holds up no index
        with self._opening:
            self._filters = dict([*self._filters.items()][1 - _KEPT_FILTERS :]) | {(table, where): made}
        return made

    def _make_filter(self, table: str, where: str) -> "RowFilter | BoundedFilter":
        columns = [field for field in self.gallery.schema(table) if field.name != "embedding"]
        if self._filter_processes is not None:
            from mmsearch.filter_process import BoundedFilter

            return BoundedFilter(where, columns, self._filter_processes)
        from mmsearch.filters import RowFilter  # DuckDB is loaded only where it is asked for

        return RowFilter(where, columns)

    def _index(self, gallery: Gallery, table: str) -> AnnIndex | None:
        """The opened index of a table; None, with a warning, where it cannot be trusted."""
        entry = gallery.index_for(table)
        if entry is None:
            return None
        with self._opening:
            if entry.name not in self._indexes:
                own, folder = gallery.manifest.encoder, gallery.index_folder(entry.name)
                try:
                    opened = open_index(folder, fingerprint=own.fingerprint, dim=own.dim, entry=entry)
                    self._indexes[entry.name] = opened
                except AnnIndexError as error:
                    warnings.warn(f"{error}. Answering by exact search.", MmsearchWarning, stacklevel=2)
                    self._indexes[entry.name] = None
            return self._indexes[entry.name]
