"""The first stage: the best rows of a table for some vectors, exact or through an index, and always complete."""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, open_index
from mmsearch.blas import one_thread
from mmsearch.errors import AnnIndexError, GalleryError, MmsearchWarning
from mmsearch.exact import Neighbours, VectorBlock, exact_search, merge
from mmsearch.gallery import Gallery, InMemoryGallery, read_consistently, sample_rows
from mmsearch.search.correct import with_lowered
from mmsearch.search.through_index import search_index
from mmsearch.versions import IndexEntry

if TYPE_CHECKING:
    import pyarrow as pa

    from mmsearch.filter_process import BoundedFilter, FilterProcesses
    from mmsearch.filters import RowFilter
    from mmsearch.scoring import Moments, ScoresRecord
    from mmsearch.scoring.stored import TableScores

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
_MOMENTS_ROWS = 4096  # the standard deviation to a hundredth
_KEPT_FILTERS = 8  # each has a connection of its own


class Retriever:
    """Finds rows of one version of a gallery, for any number of threads. It opens indexes and filters once.

    filter_processes: where filters run, if not in this process.
    """

    def __init__(self, gallery: Gallery, filter_processes: "FilterProcesses | None" = None) -> None:
        self.gallery = gallery
        self._filter_processes = filter_processes
        self._indexes: dict[str, AnnIndex | None] = {}
        self._scores: dict[str, TableScores | None] = {}
        self._moments: dict[str, Moments] = {}
        self._lowered: dict[tuple[str, str, float], NDArray[np.float64]] = {}
        self._filters: dict[tuple[str, str], RowFilter | BoundedFilter] = {}
        self._opening = threading.RLock()

    def for_version(self, gallery: Gallery) -> "Retriever":
        """A retriever of another version of the gallery. Indexes that this names too stay open."""
        other = Retriever(gallery, self._filter_processes)
        names = [entry.name for entry in gallery.manifest.indexes]
        other._indexes = {name: self._indexes[name] for name in names if name in self._indexes}
        named = [entry.name for entry in gallery.manifest.scores]
        other._scores = {name: self._scores[name] for name in named if name in self._scores}
        other._lowered = {
            (index, scores, alpha): lowered
            for (index, scores, alpha), lowered in self._lowered.items()
            if index in names and scores in named
        }
        return other

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int,
        table: str,
        where: str | None = None,
        options: SearchOptions = SearchOptions(),
        alpha: float = 0.0,
    ) -> Neighbours:
        """The k best live rows for each of `vectors` (n, dim), L2-normalised, by the score of record.

        Through the index of the table where there is one; rows that it does not cover are scored exactly beside it.
        where: an SQL expression; then all that it admits is scored exactly. alpha: of the correction by the table's
        scores, see `scores`; 0 for none. Raises FilterError.
        """
        if where is not None:
            columns, admitted_ids = self.open_filter(table, where)

            def search_admitted(gallery: Gallery) -> Neighbours:
                blocks = gallery.admitted_blocks(table, columns, admitted_ids)
                return exact_search(self._with_lowered(blocks, table, alpha), vectors, k)

            return read_consistently(self.gallery, search_admitted)
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return read_consistently(
                self.gallery, lambda gallery: self._search(gallery, vectors, k, table, options, alpha)
            )

    def scores(self, table: str) -> "TableScores | None":
        """What makes the scores of a table comparable; None, with a warning, where it cannot be trusted."""
        entry = self.gallery.scores_for(table)
        if entry is None:
            return None
        from mmsearch.scoring.stored import open_scores  # as few queries as possible wait for what they do not need

        with self._opening:
            if entry.name not in self._scores:
                own = self.gallery.manifest.encoder
                try:
                    self._scores[entry.name] = open_scores(
                        self.gallery.scores_folder(entry.name), table=table, fingerprint=own.fingerprint, dim=own.dim
                    )
                except (GalleryError, FileNotFoundError) as error:
                    warnings.warn(f"{error}. Answering without correction.", MmsearchWarning, stacklevel=2)
                    self._scores[entry.name] = None
            return self._scores[entry.name]

    def moments(self, table: str) -> "Moments":
        """What makes the scores of a table comparable with those of another: as they were stored with its scores, else
        taken from some of its rows."""
        if (scores := self.scores(table)) is not None:
            return scores.moments
        with self._opening:
            if table not in self._moments:
                self._moments[table] = read_consistently(self.gallery, lambda gallery: _sample_moments(gallery, table))
            return self._moments[table]

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
        self,
        gallery: Gallery,
        vectors: NDArray[np.float32],
        k: int,
        table: str,
        options: SearchOptions,
        alpha: float,
    ) -> Neighbours:
        threads = _SEARCHING if isinstance(gallery, InMemoryGallery) else 1  # what is read comes at the disk's pace
        entry = None if options.exact else gallery.index_for(table)
        index, lowered = self._lowered_index(gallery, entry, alpha) if entry is not None else (None, None)
        if entry is None or index is None:
            blocks = self._with_lowered(gallery.vector_blocks(table), table, alpha)
            return exact_search(blocks, vectors, k, threads=threads)
        tuned, scores = Effort(), self.scores(table) if lowered is not None else None
        if scores is not None:
            tuned = scores.record.effort_for(entry.name)
        effort = Effort(options.nprobe or tuned.nprobe, options.ef_search or tuned.ef_search, tuned.k_factor)
        found = [search_index(index, gallery, table, vectors, k, effort=effort, lowered=lowered)]
        uncovered = iter(gallery.vector_blocks(table, skip=entry.covers))
        if (first := next(uncovered, None)) is not None:  # threads that find nothing to do cost as much as the index
            blocks = self._with_lowered(chain([first], uncovered), table, alpha)
            found.append(exact_search(blocks, vectors, k, threads=threads))
        return replace(merge(found, k), searched=gallery.live_rows(table))

    def _with_lowered(self, blocks: Iterable[VectorBlock], table: str, alpha: float) -> Iterable[VectorBlock]:
        scores = self.scores(table) if alpha else None
        return blocks if scores is None else with_lowered(blocks, scores, alpha)

    def _lowered_index(
        self, gallery: Gallery, entry: IndexEntry, alpha: float
    ) -> tuple[AnnIndex | None, NDArray[np.float64] | None]:
        """An index, and what is taken from the score of each of its rows, by its position there; None: nothing."""
        stored, scores = (self.gallery.scores_for(entry.table), self.scores(entry.table)) if alpha else (None, None)
        with self._opening:
            if stored is None or scores is None:
                return self._index(gallery, entry.table), None
            key = entry.name, stored.name, alpha
            if key not in self._lowered and self._indexes.get(entry.name, True) is not None:
                self._indexes.pop(entry.name, None)  # its codes are going to be moved, and others may be searching it
                index = self._index(gallery, entry.table)
                if index is not None and (vectors := index.vectors) is not None:
                    lowered = scores.lowered(index.row_ids, lambda rows: vectors[rows], alpha=alpha)
                    index.lower(lowered)
                    self._lowered[key] = lowered
                    _warn_of_other_index(scores.record, entry)
            return self._indexes[entry.name], self._lowered.get(key)

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


def _warn_of_other_index(record: "ScoresRecord", entry: IndexEntry) -> None:
    if record.through_index is not None and record.through_index.index != entry.name:
        warnings.warn(
            f"corrected searches of {entry.table} were tuned for an index that was there before, and may find less "
            "through this one: run mmsearch calibrate",
            MmsearchWarning,
            stacklevel=2,
        )


def _sample_moments(gallery: Gallery, table: str) -> "Moments":
    from mmsearch.scoring import MomentsSum

    moments = MomentsSum(gallery.manifest.encoder.dim)
    moments.add(sample_rows(gallery, table, _MOMENTS_ROWS, np.random.default_rng(0))[1])
    return moments.moments()
