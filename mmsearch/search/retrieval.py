"""The first stage: the best rows of a table for some vectors, exact or through an index, and always complete."""

import os
import threading
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import one_thread
from mmsearch.errors import AnnIndexError, GalleryError, MmsearchWarning
from mmsearch.exact import Neighbours, VectorBlock, exact_search, merge
from mmsearch.gallery import Gallery, InMemoryGallery, read_consistently, sample_rows
from mmsearch.items import kind
from mmsearch.search.correct import with_lowered
from mmsearch.search.filtering import Filters
from mmsearch.search.through_index import search_index
from mmsearch.versions import IndexEntry

if TYPE_CHECKING:
    from mmsearch.ann import AnnIndex, Effort
    from mmsearch.filter_process import FilterProcesses
    from mmsearch.gallery import FileSpans
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

# So few are multiplied with by the threads of the search: those of the product beside them wait for each other, and a
# film asked in 7.9 s among 100,000 rows, not in 1.1 (scripts/film_queries_protocol.py --time).
_FEW_QUERIES = 64
_SEARCHING = min(4, os.cpu_count() or 1)  # threads of an exact search; more wait for the memory
_MANY_ROWS = 1 << 16
_MOMENTS_ROWS = 4096  # the standard deviation to a hundredth


class Retriever:
    """Finds rows of one version of a gallery, for any number of threads. It opens indexes and filters once.

    filter_processes: where filters run, if not in this process.
    """

    def __init__(self, gallery: Gallery, filter_processes: "FilterProcesses | None" = None) -> None:
        self.gallery = gallery
        self._filters = Filters(gallery, filter_processes)
        self._indexes: dict[str, AnnIndex | None] = {}
        self._scores: dict[str, TableScores | None] = {}
        self._moments: dict[str, Moments] = {}
        self._lowered: dict[tuple[str, str, float], NDArray[np.float64]] = {}
        self._file_spans: dict[str, FileSpans | None] = {}
        self._opening = threading.RLock()

    def for_version(self, gallery: Gallery) -> "Retriever":
        """A retriever of another version of the gallery. Indexes that this names too stay open."""
        other = Retriever(gallery, self._filters.processes)
        names = [entry.name for entry in gallery.manifest.indexes]
        named = [entry.name for entry in gallery.manifest.scores]
        with self._opening:  # an index whose codes are being moved is not to be searched yet
            other._indexes = {name: self._indexes[name] for name in names if name in self._indexes}
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
        where: an SQL expression; then only rows that it admits are looked at, and all of them where that costs less
        than the index. alpha: of the correction by the table's scores, see `scores`; 0 for none. Raises FilterError.
        """
        asked = _Asked(vectors, k, table, options, alpha)
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return read_consistently(
                self.gallery,
                lambda now: self._search(now, asked) if where is None else self._search_admitted(now, asked, where),
            )

    def plan(
        self,
        table: str,
        *,
        k: int,
        where: str | None = None,
        options: SearchOptions = SearchOptions(),
        alpha: float = 0.0,
    ) -> str:
        """How `search` looks for one query, in a line for people. Raises FilterError."""
        through = self._through_index(self.gallery, table, options, alpha)
        rows = self.gallery.live_rows(table)
        if where is None:
            way = f"all {rows:,} are scored" if through is None else f"asked are {through.ann.in_words(through.effort)}"
            return f"{table}: {way}"
        if through is None:
            return f"{table}: the filter is asked of all {rows:,}, and what it admits is read and scored"
        admitted = self._filters.admitted(self.gallery, table, where)
        way = "these are scored"
        if not through.ann.scores_all(1, k, admitted.among(through.ann), through.effort):
            way = (
                f"asked are lists that hold these, more than without a filter ({through.ann.in_words(through.effort)})"
            )
        return f"{table}: the filter admits {len(admitted.row_ids):,} of {rows:,}; {way}"

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

    def file_spans(self, table: str) -> "FileSpans | None":
        """Which rows of a table share a file with others; None where none does."""
        if not any(shard.has_spans for shard in self.gallery.shards(table)):
            return None
        from mmsearch.gallery import read_file_spans

        with self._opening:
            if table not in self._file_spans:
                self._file_spans[table] = read_consistently(self.gallery, lambda now: read_file_spans(now, table))
            return self._file_spans[table]

    def check_filter(self, table: str, where: str) -> None:
        """Raise FilterError where the expression is no filter of the table. It may still fail on a row."""
        self._filters.open(table, where)

    def admitted(self, gallery: Gallery, table: str, where: str) -> NDArray[np.int64]:
        """The ids of the live rows that a filter admits, ascending, as it was at most a minute ago.

        Raises FilterError.
        """
        return self._filters.admitted(gallery, table, where).row_ids

    def close(self) -> None:
        """End the processes that run filters, of this version and of those made from it."""
        self._filters.close()

    def _search_admitted(self, gallery: Gallery, asked: "_Asked", where: str) -> Neighbours:
        vectors, k, table, options, alpha = asked
        through = self._through_index(gallery, table, options, alpha)
        admitted = self._filters.admitted(gallery, table, where)
        if through is None:
            blocks = self._with_lowered(gallery.blocks_of(table, admitted.row_ids), table, alpha)
            return exact_search(blocks, vectors, k, threads=_threads(gallery, len(admitted.row_ids)))
        index = through.ann
        selection = admitted.among(index)
        found = [index.neighbours_among(vectors, k, selection, effort=through.effort, lowered=through.lowered)]
        if len(outside := admitted.outside(index)):
            blocks = self._with_lowered(gallery.blocks_of(table, outside), table, alpha)
            found.append(exact_search(blocks, vectors, k))
        return replace(merge(found, k), searched=len(admitted.row_ids))

    def _search(self, gallery: Gallery, asked: "_Asked") -> Neighbours:
        vectors, k, table, options, alpha = asked
        through = self._through_index(gallery, table, options, alpha)
        if through is None:
            blocks = self._with_lowered(gallery.vector_blocks(table), table, alpha)
            return exact_search(blocks, vectors, k, threads=_threads(gallery, gallery.live_rows(table)))
        index, effort, lowered = through.ann, through.effort, through.lowered
        found = [search_index(index, gallery, table, vectors, k, effort=effort, lowered=lowered)]
        uncovered = iter(gallery.vector_blocks(table, skip=through.entry.covers))
        if (first := next(uncovered, None)) is not None:  # threads that find nothing to do cost as much as the index
            blocks = self._with_lowered(chain([first], uncovered), table, alpha)
            found.append(exact_search(blocks, vectors, k, threads=_threads(gallery, gallery.live_rows(table))))
        return replace(merge(found, k), searched=gallery.live_rows(table))

    def _through_index(
        self, gallery: Gallery, table: str, options: SearchOptions, alpha: float
    ) -> "_ThroughIndex | None":
        """The index that answers, and how; None where everything is scored."""
        entry = None if options.exact else gallery.index_for(table)
        if entry is None:
            return None
        from mmsearch.ann import Effort  # late: where everything is scored, no index is opened

        index, lowered = self._lowered_index(gallery, entry, alpha)
        if index is None:
            return None
        tuned, scores = Effort(), self.scores(table) if lowered is not None else None
        if scores is not None:
            tuned = scores.record.effort_for(entry.name)
        effort = Effort(options.nprobe or tuned.nprobe, options.ef_search or tuned.ef_search, tuned.k_factor)
        return _ThroughIndex(entry, index, effort, lowered)

    def _with_lowered(self, blocks: Iterable[VectorBlock], table: str, alpha: float) -> Iterable[VectorBlock]:
        scores = self.scores(table) if alpha else None
        return blocks if scores is None else with_lowered(blocks, scores, alpha)

    def _lowered_index(
        self, gallery: Gallery, entry: IndexEntry, alpha: float
    ) -> "tuple[AnnIndex | None, NDArray[np.float64] | None]":
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

    def _index(self, gallery: Gallery, table: str) -> "AnnIndex | None":
        """The opened index of a table; None, with a warning, where it cannot be trusted."""
        entry = gallery.index_for(table)
        if entry is None:
            return None
        with self._opening:
            if entry.name not in self._indexes:
                from mmsearch.ann import open_index

                own, folder = gallery.manifest.encoder, gallery.index_folder(entry.name)
                side = kind(entry.table).side
                try:
                    opened = open_index(folder, fingerprint=own.of_side(side), dim=own.dim, entry=entry)
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


class _Asked(NamedTuple):
    """What `Retriever.search` is asked."""

    vectors: NDArray[np.float32]
    k: int
    table: str
    options: SearchOptions
    alpha: float


class _ThroughIndex(NamedTuple):
    entry: IndexEntry
    ann: "AnnIndex"
    effort: "Effort"
    lowered: NDArray[np.float64] | None


def _threads(gallery: Gallery, rows: int) -> int:
    """Of an exact search of so many rows: what is read comes at the disk's pace, and few rows take less than threads
    do."""
    return _SEARCHING if isinstance(gallery, InMemoryGallery) and rows > _MANY_ROWS else 1


def _sample_moments(gallery: Gallery, table: str) -> "Moments":
    from mmsearch.scoring import MomentsSum

    moments = MomentsSum(gallery.manifest.encoder.dim)
    moments.add(sample_rows(gallery, table, _MOMENTS_ROWS, np.random.default_rng(0))[1])
    return moments.moments()
