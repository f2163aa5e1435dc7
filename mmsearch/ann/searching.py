"""Searches an index: without dead rows, at the effort that is asked for, by the scores of record."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.code_search import CodeSearch
from mmsearch.ann.parts import parts_of, structure_of
from mmsearch.ann.records import Effort, IndexRecord
from mmsearch.ann.selections import RowSelection, exact_is_cheaper
from mmsearch.exact import Neighbours, VectorBlock, Vectors, exact_search, rescore, scores_of_record

__all__ = ["AnnIndex"]

_NO_ROWS = np.empty(0, np.int64)
_SCORED_AT_ONCE = 1 << 16
_SELECTED_AT_ONCE = 1 << 15
# For codes that lose something: beyond the last, more lists or finer codes are the better use of time.
_FACTORS = (2, 3, 5, 7, 10, 14, 20, 40, 80)
_MOST_CANDIDATES = 4096
# So many times as many candidates as else are scored exactly where something is taken from scores.
_MORE_SCORED = 1.5
# So many times as many among selected rows, of which the best may score much alike.
_AMONG = 4


class AnnIndex:
    """A FAISS index over rows of one table, in memory or mapped. Searching it from several threads is safe.

    row_ids: (n,), of its positions. vectors: (n, dim), as the gallery stores them; None while the index is built.
    """

    def __init__(
        self, index: Any, row_ids: NDArray[np.int64], record: IndexRecord, vectors: Vectors | None = None
    ) -> None:
        self.faiss_index = index
        self.row_ids = row_ids
        self.record = record
        self.vectors = vectors
        self._codes = CodeSearch(index, rows=record.rows, dim=record.dim, factory=record.factory)

    def lower(self, lowered: NDArray[np.float64]) -> bool:
        """Make searches with this `lowered` quick, where codes of this kind can hold it; whether they do.

        lowered: as of `neighbours`, which knows it again by its identity. At most once for an index, and before others
        search it: codes are moved.
        """
        return self._codes.lower(lowered)

    def neighbours(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        dead: NDArray[np.int64] = _NO_ROWS,
        effort: Effort | None = None,
        lowered: NDArray[np.float64] | None = None,
    ) -> Neighbours:
        """The k best of the live rows that it finds, by the score of record.

        queries: (n, dim), L2-normalised. dead: ascending row ids not to be found. effort: what is None in it is as the
        record says. lowered: (rows,), by position, what is taken from each row's score before it is ranked. A query
        that would get fewer than k rows though more are alive looks at every code instead, and at every vector.
        """
        effort, dead_positions = self._complete_effort(effort), self._find_positions(dead)
        if lowered is not None and self._is_flat:
            return self._neighbours_in_all(queries, k, dead_positions, lowered)
        count = self.candidates(k, effort, lowered=lowered)

        def search(some: NDArray[np.float32], *, exhaustive: bool = False) -> Neighbours:
            positions = self._codes.candidates(some, count, dead_positions, effort, lowered, exhaustive=exhaustive)
            return self._rescore(some, positions, k, lowered)

        return _look_again(
            search,
            queries,
            min(k, self.record.rows - len(dead_positions)),
            lambda some: search(some, exhaustive=True),
            lambda some: self._neighbours_in_all(some, k, dead_positions, lowered),
        )

    def select(self, row_ids: NDArray[np.int64]) -> RowSelection:
        """Those of ascending row ids that it holds, to be searched among again and again."""
        return self._codes.select(self._find_positions(row_ids))

    def neighbours_among(
        self,
        queries: NDArray[np.float32],
        k: int,
        selection: RowSelection,
        *,
        effort: Effort | None = None,
        lowered: NDArray[np.float64] | None = None,
    ) -> Neighbours:
        """As `neighbours`, of selected rows alone: all of them are scored where that costs less, see `scores_all`."""
        effort = self._complete_effort(effort)
        queries = np.ascontiguousarray(queries, np.float32)

        def score_all(some: NDArray[np.float32]) -> Neighbours:
            return exact_search(self._selected_blocks(selection, lowered), some, k)

        if self.scores_all(len(queries), k, selection, effort):
            return score_all(queries)
        count = _AMONG * self.candidates(k, effort, lowered=lowered)

        def search(some: NDArray[np.float32]) -> Neighbours:
            found = self._codes.candidates(some, count, selection, effort, lowered)
            return self._rescore(some, found, k, lowered)

        return _look_again(search, queries, min(k, len(selection)), score_all)

    def in_words(self, effort: Effort | None = None) -> str:
        """How many of its lists a search visits, for people."""
        effort, ivf = self._complete_effort(effort), self._codes.ivf_or_other
        if structure_of(ivf) != "ivf":
            return f"{self.record.rows:,} rows of the index"
        return f"{min(effort.nprobe or 1, ivf.nlist):,} of the {ivf.nlist:,} lists of the index"

    def scores_all(self, queries: int, k: int, selection: RowSelection, effort: Effort | None = None) -> bool:
        """Whether `neighbours_among` scores every selected row, which is exact, for so many queries and hits."""
        if selection.per_list is None:
            return True
        effort, lists = self._complete_effort(effort), len(selection.per_list)
        return exact_is_cheaper(
            len(selection),
            queries=queries,
            rows=self.record.rows,
            lists=lists,
            nprobe=effort.nprobe or 1,
            code_bytes=self._codes.ivf_or_other.code_size,
            candidates=_AMONG * self.candidates(k, effort),
        )

    def candidate_scores(
        self,
        queries: NDArray[np.float32],
        count: int,
        *,
        dead: NDArray[np.int64] = _NO_ROWS,
        effort: Effort,
        lowered: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(row_ids, scores of record, less `lowered`) of the `count` best rows by the codes; -1 and -inf.

        They are in the order of the codes where `candidates_are_nested`: what `neighbours` would score again are the
        first `candidates` of them.
        """
        dead_positions, effort = self._find_positions(dead), self._complete_effort(effort)
        positions = self._codes.candidates(queries, count, dead_positions, effort, lowered)
        scores = np.full(positions.shape, -np.inf)
        step = max(1, _SCORED_AT_ONCE // positions.shape[1])
        for start in range(0, len(queries), step):
            block = positions[start : start + step]
            of_query, column = np.nonzero(block >= 0)
            rows = self._stored_vectors[block[of_query, column]]
            exact = scores_of_record(queries[start : start + step], of_query, rows, np.arange(len(rows)))
            scores[start + of_query, column] = exact if lowered is None else exact - lowered[block[of_query, column]]
        return self._row_ids_of(positions), scores

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        dead: NDArray[np.int64] = _NO_ROWS,
        nprobe: int | None = None,
        ef_search: int | None = None,
        k_factor: int | None = None,
        exhaustive: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(row_ids, scores), both (n, min(k, rows)), best first: row ids unique, padded with -1 and -inf at the end.

        What FAISS finds and how it scores, by the codes; `neighbours` scores with the stored vectors.
        exhaustive: look at every code, whatever the effort.
        """
        effort = self._complete_effort(Effort(nprobe, ef_search, k_factor))
        scores, positions = self._codes.search(queries, k, self._find_positions(dead), effort, exhaustive=exhaustive)
        return self._row_ids_of(positions), scores

    def candidates(self, k: int, effort: Effort, *, lowered: NDArray[np.float64] | None = None) -> int:
        """How many rows are scored again for k hits: k where the codes keep the vectors, else k_factor times k; half as
        many more where something is taken from scores.

        Never fewer than for the number of hits that the effort was chosen for: the best hit of all stands as far down
        in the order of the codes whether one hit is asked for or ten.
        """
        k = max(k, self.record.tuned_k)
        count = k if self._codes.are_lossless else k * (effort.k_factor or 1)
        return count if lowered is None else math.ceil(_MORE_SCORED * count)

    def candidates_are_nested(self, lowered: NDArray[np.float64] | None = None) -> bool:
        """Whether a search for fewer candidates finds the first of those that one for more finds."""
        if not self._codes.hold(lowered):
            return False
        return not self._codes.are_lossless and not any(
            structure_of(part) == "hnsw" for part in parts_of(self.faiss_index)
        )

    def widths(self) -> list[Effort]:
        """Search efforts worth trying, but for the k_factor, cheapest first; one that says nothing without settings."""
        structures = [structure_of(part) for part in parts_of(self.faiss_index)]
        lists = max((part.nlist for part in parts_of(self.faiss_index) if structure_of(part) == "ivf"), default=0)
        if lists:
            powers = [1 << power for power in range(lists.bit_length())]
            probes = sorted({probe for power in powers for probe in (power, power + power // 2) if probe < lists})
            return [Effort(nprobe=nprobe) for nprobe in [*probes, lists]]
        if "hnsw" in structures:
            return [Effort(ef_search=1 << power) for power in range(4, 12)]
        return [Effort()]

    def factors(self, k: int) -> list[int | None]:
        """Numbers of candidates for each of k hits worth trying; None alone where the codes keep the vectors."""
        if any(structure_of(part) == "refine" for part in parts_of(self.faiss_index)):
            return [10, 40]
        return (
            [None]
            if self._codes.are_lossless
            else [factor for factor in _FACTORS if factor == 2 or k * factor <= _MOST_CANDIDATES]
        )

    @property
    def _stored_vectors(self) -> Vectors:
        if self.vectors is None:
            raise ValueError("this index is being built: its vectors are there once it is saved and opened")
        return self.vectors

    def _complete_effort(self, effort: Effort | None) -> Effort:
        """What is asked for, completed by the record."""
        own = self.record.effort
        if effort is None:
            return own
        return Effort(effort.nprobe or own.nprobe, effort.ef_search or own.ef_search, effort.k_factor or own.k_factor)

    @cached_property
    def _is_flat(self) -> bool:
        """Whether it is nothing but the vectors, one after the other."""
        return self._codes.are_lossless and all(structure_of(part) == "scan" for part in parts_of(self.faiss_index))

    def _selected_blocks(self, selection: RowSelection, lowered: NDArray[np.float64] | None) -> Iterator[VectorBlock]:
        for start in range(0, len(selection), _SELECTED_AT_ONCE):
            positions = selection.positions[start : start + _SELECTED_AT_ONCE]
            taken = None if lowered is None else lowered[positions]
            yield VectorBlock(self.row_ids[positions], self._stored_vectors[positions], None, taken)

    def _neighbours_in_all(
        self,
        queries: NDArray[np.float32],
        k: int,
        dead_positions: NDArray[np.int64],
        lowered: NDArray[np.float64] | None,
    ) -> Neighbours:
        """A scan of all vectors, which is what a flat index does, by what is left of the scores."""
        live = None
        if len(dead_positions):
            live = np.ones(self.record.rows, bool)
            live[dead_positions] = False
        block = VectorBlock(np.asarray(self.row_ids), self._stored_vectors, live, lowered)
        return exact_search([block], np.ascontiguousarray(queries, np.float32), k)

    def _row_ids_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        row_ids = self.row_ids[np.where(positions < 0, 0, positions)]
        return np.where(positions < 0, -1, row_ids).astype(np.int64, copy=False)

    def _rescore(
        self,
        queries: NDArray[np.float32],
        positions: NDArray[np.int64],
        k: int,
        lowered: NDArray[np.float64] | None = None,
    ) -> Neighbours:
        row_ids = self._row_ids_of(positions)
        distinct, first = np.unique(row_ids, return_index=True)
        positions_of_distinct = positions.reshape(-1)[first]
        return rescore(
            queries,
            row_ids,
            lambda ids: self._stored_vectors[positions_of_distinct[np.searchsorted(distinct, ids)]],
            k,
            lowered=None if lowered is None else lowered[positions],
        )

    def _find_positions(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of those of ascending row ids that the index holds."""
        if not len(row_ids):
            return _NO_ROWS
        if not self.record.ascending:
            return np.flatnonzero(np.isin(self.row_ids, row_ids))
        positions = np.minimum(np.searchsorted(self.row_ids, row_ids), self.record.rows - 1)
        held_positions: NDArray[np.int64] = positions[self.row_ids[positions] == row_ids]
        return held_positions


_Search = Callable[[NDArray[np.float32]], Neighbours]


def _look_again(search: _Search, queries: NDArray[np.float32], enough: int, *further: _Search) -> Neighbours:
    """What `search` finds for queries; those that get fewer than `enough` rows are asked of `further`, in turn.

    Even who visits all lists may miss some: a graph that finds lists (IVF4096_HNSW32) does not lead to each of them.
    """
    neighbours = search(queries)
    for look_further in further:
        short_queries = np.flatnonzero(np.count_nonzero(neighbours.row_ids >= 0, axis=1) < enough)
        if not len(short_queries):
            break
        neighbours = _replace_hits(neighbours, short_queries, look_further(queries[short_queries]))
    return neighbours


def _replace_hits(neighbours: Neighbours, queries: NDArray[np.intp], replacement: Neighbours) -> Neighbours:
    """The neighbours with the hits of some queries replaced."""
    width = max(neighbours.row_ids.shape[1], replacement.row_ids.shape[1])

    def merged(before: NDArray[Any], now: NDArray[Any], padding: float) -> NDArray[Any]:
        table = np.full((len(before), width), padding, before.dtype)
        table[:, : before.shape[1]] = before
        table[queries] = padding
        table[queries, : now.shape[1]] = now
        return table

    corrected = None
    if neighbours.corrected is not None or replacement.corrected is not None:
        corrected = merged(neighbours.ranking, replacement.ranking, -np.inf)
    row_ids = merged(neighbours.row_ids, replacement.row_ids, -1)
    return Neighbours(row_ids, merged(neighbours.scores, replacement.scores, -np.inf), corrected)
