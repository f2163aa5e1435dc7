"""Candidates: what FAISS finds by the codes of an index, without dead rows or among selected ones."""

import re
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
from mmsearch.ann.records import Effort
from mmsearch.ann.selections import RowSelection

__all__ = ["CodeSearch"]

_FOUND_AT_ONCE = 1 << 22
# What a factory string ends in when FAISS itself scores by the vectors: their codes are whole, or it refines by them.
_LOSSLESS = re.compile(r"(Flat|SQfp16|HNSW\d+|RFlat|Refine\((Flat|SQfp16)\))$")
# So many times as many candidates as are wanted are drawn by codes that hold nothing of what is taken from scores: what
# is best then may stand further down in their order. Codes that keep the vectors need few, but rows move as far.
_DRAWN, _DRAWN_LOSSLESS = 11, 54


class CodeSearch:
    """Searches a FAISS index, and keeps what follows from it. Rows are named by their positions.

    rows, dim, factory: as the record of the index says.
    """

    def __init__(self, index: Any, *, rows: int, dim: int, factory: str) -> None:
        self.index, self.rows, self.dim, self.factory = index, rows, dim, factory
        self._shares: ListShares | None = None
        self._lowered_codes: Any | None = None
        self._in_codes: NDArray[np.float64] | None = None

    def lower(self, lowered: NDArray[np.float64]) -> bool:
        """See `AnnIndex.lower`."""
        if self._lowered_codes is not None:
            raise ValueError("the codes of this index hold what is taken from scores: open it again for another")
        if structure_of(ivf := self.ivf_or_other) != "ivf":
            return False
        shares = share_by_lists(ivf, lowered)
        self._lowered_codes = move_into_lowered_codes(ivf, shares.left)
        if self._lowered_codes is None:
            return False
        self._shares, self._in_codes = shares, lowered
        return True

    def hold(self, lowered: NDArray[np.float64] | None) -> bool:
        """Whether the order of the codes is that of what is left of scores."""
        return lowered is None or lowered is self._in_codes

    def select(self, positions: NDArray[np.int64]) -> RowSelection:
        """Rows to be searched among again and again. positions: ascending."""
        ivf = self.ivf_or_other
        if structure_of(ivf) != "ivf" or not takes_selector(self.index):
            return RowSelection(positions)
        per_list = np.bincount(self._list_of_row[positions], minlength=ivf.nlist)
        return RowSelection(positions, per_list, select_only(positions, self.rows))

    @cached_property
    def are_lossless(self) -> bool:
        """Whether FAISS itself scores by the vectors."""
        refined = any(structure_of(part) == "refine" for part in parts_of(self.index))
        return refined or _LOSSLESS.search(self.factory) is not None

    @cached_property
    def ivf_or_other(self) -> Any:
        """What is asked in the end, behind transforms."""
        return unwrap_index(self.index, np.empty((0, self.dim), np.float32))[0]

    def candidates(
        self,
        queries: NDArray[np.float32],
        count: int,
        which: NDArray[np.int64] | RowSelection,
        effort: Effort,
        lowered: NDArray[np.float64] | None,
        *,
        exhaustive: bool = False,
    ) -> NDArray[np.int64]:
        """The positions of the rows that are worth scoring, (n, at most count), -1 for padding.

        which: the positions of the dead, or the rows that are selected. lowered: (rows,), what is taken from scores.
        """
        if lowered is None and not isinstance(which, RowSelection):
            return self.search(queries, count, which, effort, exhaustive=exhaustive)[1]
        if lowered is None or lowered is self._in_codes:
            shares = None if lowered is None else self._shares
            return self._search_lists(queries, count, which, effort, shares, exhaustive=exhaustive)[1]
        drawn = (_DRAWN_LOSSLESS if self.are_lossless else _DRAWN) * count
        if isinstance(which, RowSelection) or self._visits_lists(which):
            shares = self._share(lowered)
            found = self._search_lists(queries, drawn, which, effort, shares, exhaustive=exhaustive)
            return _best_corrected(*found, shares.left, count)
        found = self.search(queries, drawn, which, effort, exhaustive=exhaustive)
        return _best_corrected(*found, lowered, count)

    def _visits_lists(self, dead_positions: NDArray[np.int64]) -> bool:
        """Whether lists can be chosen here, and rows of them passed over."""
        selectable = takes_selector(self.index) or not len(dead_positions)
        return structure_of(self.ivf_or_other) == "ivf" and selectable

    def _share(self, lowered: NDArray[np.float64]) -> ListShares:
        """Of what the codes do not hold; kept for the next search where they hold nothing."""
        if self._lowered_codes is not None:
            return share_by_lists(self._lowered_codes, lowered)
        shares = self._shares
        if shares is None or shares.whole is not lowered:
            shares = self._shares = share_by_lists(self.ivf_or_other, lowered)
        return shares

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        dead_positions: NDArray[np.int64],
        effort: Effort,
        *,
        exhaustive: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """FAISS's scores and positions, (n, min(k, rows)); -inf and -1 for padding, at the end."""
        if queries.ndim != 2 or queries.shape[1] != self.dim or k < 1:
            raise ValueError(f"cannot search dim {self.dim} for {k} rows near {queries.shape}")
        if self._lowered_codes is not None:
            return self._search_lists(queries, k, dead_positions, effort, None, exhaustive=exhaustive)
        k = min(k, self.rows)
        queries = np.ascontiguousarray(queries, np.float32)
        index = self.index
        if exhaustive:
            index, queries = unwrap_index(index, queries)
            effort = replace(effort, nprobe=self.rows)
        if len(dead_positions) == 0:
            scores, positions = index.search(queries, k, params=search_parameters(index, None, effort, k))
        elif takes_selector(index):
            selector = select_all_but(dead_positions, self.rows)
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
        ivf, seen_queries = unwrap_index(self.index, np.ascontiguousarray(queries, np.float32))
        among = None
        if isinstance(which, RowSelection):
            assert which.per_list is not None
            selector, among = which.selector, (which.per_list, self._list_sizes)
        else:
            selector = select_all_but(which, self.rows) if len(which) else None
        scores, positions = search_lists(
            ivf,
            seen_queries,
            min(k, self.rows),
            shares,
            selector=selector,
            among=among,
            nprobe=self.rows if exhaustive else effort.nprobe or 1,
            lowered_codes=self._lowered_codes,
            is_lowered=shares is not None and shares.whole is self._in_codes,
        )
        return np.where(positions < 0, np.float32(-np.inf), scores), positions

    @cached_property
    def _list_of_row(self) -> NDArray[np.int32]:
        """(rows,), the list of each position, of an IVF index."""
        lists = np.zeros(self.rows, np.int32)
        for number, positions in lists_of(self._lowered_codes or self.ivf_or_other):
            lists[positions] = number
        return lists

    @cached_property
    def _list_sizes(self) -> NDArray[np.int64]:
        """(lists,), of an IVF index."""
        return np.bincount(self._list_of_row, minlength=self.ivf_or_other.nlist)


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
