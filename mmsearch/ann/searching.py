"""Searches an index: without dead rows, at the effort that is asked for, by the scores of record."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.lowering import ListShares, lists_of, move_into_lowered_codes, search_lists, share_by_lists
from mmsearch.ann.parts import (
    parts_of,
    search_parameters,
    select_all_but,
    select_only,
    structure_of,
    takes_selector,
    unwrap_index,
)
from mmsearch.ann.records import Effort, IndexRecord
from mmsearch.ann.selections import RowSelection, exact_is_cheaper
from mmsearch.exact import Neighbours, VectorBlock, Vectors, exact_search, rescore, scores_of_record

__all__ = ["AnnIndex"]

_NO_ROWS = np.empty(0, np.int64)
_FOUND_AT_ONCE = 1 << 22
_SCORED_AT_ONCE = 1 << 16
_SELECTED_AT_ONCE = 1 << 15
# What a factory string ends in when FAISS itself scores by the vectors: their codes are whole, or it refines by them.
_LOSSLESS = re.compile(r"(Flat|SQfp16|HNSW\d+|RFlat|Refine\((Flat|SQfp16)\))$")
# For codes that lose something: beyond the last, more lists or finer codes are the better use of time.
_FACTORS = (2, 3, 5, 7, 10, 14, 20, 40, 80)
_MOST_CANDIDATES = 4096
# So many times as many candidates as else are scored exactly where something is taken from scores.
_MORE_SCORED = 1.5
# And so many times as many are drawn by codes that hold nothing of it: what is best then may stand further down in
# their order. Codes that keep the vectors need few candidates, but rows move as far.
_DRAWN, _DRAWN_LOSSLESS = 11, 54
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
        self._shares: ListShares | None = None
        self._lowered_codes: Any | None = None
        self._in_codes: NDArray[np.float64] | None = None

    def lower(self, lowered: NDArray[np.float64]) -> bool:
        """Make searches with this `lowered` quick, where codes of this kind can hold it; whether they do.

        lowered: as of `neighbours`, which knows it again by its identity. At most once for an index, and before others
        search it: codes are moved.
        """
        if self._lowered_codes is not None:
            raise ValueError("the codes of this index hold what is taken from scores: open it again for another")
        if structure_of(ivf := self._ivf_or_other) != "ivf":
            return False
        shares = share_by_lists(ivf, lowered)
        self._lowered_codes = move_into_lowered_codes(ivf, shares.left)
        if self._lowered_codes is None:
            return False
        self._shares, self._in_codes = shares, lowered
        return True

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
            positions = self._candidates(some, count, dead_positions, effort, lowered, exhaustive=exhaustive)
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
        positions, ivf = self._find_positions(row_ids), self._ivf_or_other
        if structure_of(ivf) != "ivf" or not takes_selector(self.faiss_index):
            return RowSelection(positions)
        per_list = np.bincount(self._list_of_row[positions], minlength=ivf.nlist)
        return RowSelection(positions, per_list, select_only(positions, self.record.rows))

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
            found = self._candidates(some, count, _NO_ROWS, effort, lowered, selection)
            return self._rescore(some, found, k, lowered)

        return _look_again(search, queries, min(k, len(selection)), score_all)

    def in_words(self, effort: Effort | None = None) -> str:
        """How many of its lists a search visits, for people."""
        effort, ivf = self._complete_effort(effort), self._ivf_or_other
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
            code_bytes=self._ivf_or_other.code_size,
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
        positions = self._candidates(queries, count, dead_positions, effort, lowered)
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
        scores, positions = self._search(queries, k, self._find_positions(dead), effort, exhaustive=exhaustive)
        return self._row_ids_of(positions), scores

    def candidates(self, k: int, effort: Effort, *, lowered: NDArray[np.float64] | None = None) -> int:
        """How many rows are scored again for k hits: k where the codes keep the vectors, else k_factor times k; half as
        many more where something is taken from scores.

        Never fewer than for the number of hits that the effort was chosen for: the best hit of all stands as far down
        in the order of the codes whether one hit is asked for or ten.
        """
        k = max(k, self.record.tuned_k)
        count = k if self._codes_are_lossless else k * (effort.k_factor or 1)
        return count if lowered is None else math.ceil(_MORE_SCORED * count)

    def candidates_are_nested(self, lowered: NDArray[np.float64] | None = None) -> bool:
        """Whether a search for fewer candidates finds the first of those that one for more finds."""
        if lowered is not None and lowered is not self._in_codes:
            return False
        return not self._codes_are_lossless and not any(
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
            if self._codes_are_lossless
            else [factor for factor in _FACTORS if factor == 2 or k * factor <= _MOST_CANDIDATES]
        )

    @cached_property
    def _codes_are_lossless(self) -> bool:
        refined = any(structure_of(part) == "refine" for part in parts_of(self.faiss_index))
        return refined or _LOSSLESS.search(self.record.factory) is not None

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
    def _ivf_or_other(self) -> Any:
        """What is asked in the end, behind transforms."""
        return unwrap_index(self.faiss_index, np.empty((0, self.record.dim), np.float32))[0]

    @cached_property
    def _is_flat(self) -> bool:
        """Whether it is nothing but the vectors, one after the other."""
        return self._codes_are_lossless and all(structure_of(part) == "scan" for part in parts_of(self.faiss_index))

    def _candidates(
        self,
        queries: NDArray[np.float32],
        count: int,
        dead_positions: NDArray[np.int64],
        effort: Effort,
        lowered: NDArray[np.float64] | None,
        selection: RowSelection | None = None,
        *,
        exhaustive: bool = False,
    ) -> NDArray[np.int64]:
        """The positions of the rows that are scored again, (n, at most count), -1 for padding."""
        if lowered is None and selection is None:
            return self._search(queries, count, dead_positions, effort, exhaustive=exhaustive)[1]
        which = dead_positions if selection is None else selection
        if lowered is None or lowered is self._in_codes:
            shares = None if lowered is None else self._shares
            return self._search_lists(queries, count, which, effort, shares, exhaustive=exhaustive)[1]
        drawn = (_DRAWN_LOSSLESS if self._codes_are_lossless else _DRAWN) * count
        selectable = takes_selector(self.faiss_index) or not len(dead_positions)
        if structure_of(self._ivf_or_other) == "ivf" and selectable:
            shares = self._share(lowered)
            found = self._search_lists(queries, drawn, which, effort, shares, exhaustive=exhaustive)
            return _best_corrected(*found, shares.left, count)
        found = self._search(queries, drawn, dead_positions, effort, exhaustive=exhaustive)
        return _best_corrected(*found, lowered, count)

    def _share(self, lowered: NDArray[np.float64]) -> ListShares:
        """Of what the codes do not hold; kept for the next search where they hold nothing."""
        if self._lowered_codes is not None:
            return share_by_lists(self._lowered_codes, lowered)
        shares = self._shares
        if shares is None or shares.whole is not lowered:
            shares = self._shares = share_by_lists(self._ivf_or_other, lowered)
        return shares

    def _search(
        self,
        queries: NDArray[np.float32],
        k: int,
        dead_positions: NDArray[np.int64],
        effort: Effort,
        *,
        exhaustive: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """FAISS's scores and positions, (n, min(k, rows)); -inf and -1 for padding, at the end."""
        if queries.ndim != 2 or queries.shape[1] != self.record.dim or k < 1:
            raise ValueError(f"cannot search dim {self.record.dim} for {k} rows near {queries.shape}")
        if self._lowered_codes is not None:
            return self._search_lists(queries, k, dead_positions, effort, None, exhaustive=exhaustive)
        k = min(k, self.record.rows)
        queries = np.ascontiguousarray(queries, np.float32)
        index = self.faiss_index
        if exhaustive:
            index, queries = unwrap_index(index, queries)
            effort = replace(effort, nprobe=self.record.rows)
        if len(dead_positions) == 0:
            scores, positions = index.search(queries, k, params=search_parameters(index, None, effort, k))
        elif takes_selector(index):
            selector = select_all_but(dead_positions, self.record.rows)
            scores, positions = index.search(queries, k, params=search_parameters(index, selector, effort, k))
        else:
            scores, positions = _search_without_selector(index, queries, k, dead_positions, effort)
        return np.where(positions < 0, np.float32(-np.inf), scores), positions

    def _search_lists(
        self,
        queries: NDArray[np.float32],
        k: int,
        which: NDArray[np.int64] | RowSelection,
        effort: Effort,
        shares: ListShares | None,
        *,
        exhaustive: bool,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `_search`, of an IVF index, by what is left of the scores but for what codes do not hold of it. which: the
        positions of the dead, or the rows that are selected."""
        ivf, seen_queries = unwrap_index(self.faiss_index, np.ascontiguousarray(queries, np.float32))
        among = None
        if isinstance(which, RowSelection):
            assert which.per_list is not None
            selector, among = which.selector, (which.per_list, self._list_sizes)
        else:
            selector = select_all_but(which, self.record.rows) if len(which) else None
        scores, positions = search_lists(
            ivf,
            seen_queries,
            min(k, self.record.rows),
            shares,
            selector=selector,
            among=among,
            nprobe=self.record.rows if exhaustive else effort.nprobe or 1,
            lowered_codes=self._lowered_codes,
            is_lowered=shares is not None and shares.whole is self._in_codes,
        )
        return np.where(positions < 0, np.float32(-np.inf), scores), positions

    @cached_property
    def _list_of_row(self) -> NDArray[np.int32]:
        """(rows,), the list of each position, of an IVF index."""
        lists = np.zeros(self.record.rows, np.int32)
        for number, positions in lists_of(self._lowered_codes or self._ivf_or_other):
            lists[positions] = number
        return lists

    @cached_property
    def _list_sizes(self) -> NDArray[np.int64]:
        """(lists,), of an IVF index."""
        return np.bincount(self._list_of_row, minlength=self._ivf_or_other.nlist)

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


def _best_corrected(
    scores: NDArray[np.float32], positions: NDArray[np.int64], lowered: NDArray[np.floating[Any]], count: int
) -> NDArray[np.int64]:
    """Of positions (n, m) the `count` best of each row by what is left of their scores, in any order."""
    if positions.shape[1] <= count:
        return positions
    taken = lowered[positions].astype(np.float32, copy=False)
    columns = np.argpartition(np.where(positions < 0, np.inf, taken - scores), count - 1, axis=1)[:, :count]
    best: NDArray[np.int64] = np.take_along_axis(positions, columns, axis=1)
    return best


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


def _search_without_selector(
    index: Any, queries: NDArray[np.float32], k: int, dead_positions: NDArray[np.int64], effort: Effort
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For kinds without a selector: ask for as many more rows as are dead, then drop those."""
    more = min(k + len(dead_positions), index.ntotal)
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    step = max(1, _FOUND_AT_ONCE // more)
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        all_scores, all_positions = index.search(
            queries[rows], more, params=search_parameters(index, None, effort, more)
        )
        unwanted = (all_positions < 0) | np.isin(all_positions, dead_positions)
        all_positions[unwanted] = -1
        order = np.argsort(unwanted, axis=1, kind="stable")[:, :k]  # the wanted first, in their order
        scores[rows] = np.take_along_axis(all_scores, order, axis=1)
        positions[rows] = np.take_along_axis(all_positions, order, axis=1)
    return scores, positions
