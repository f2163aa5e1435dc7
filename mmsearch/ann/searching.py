"""An index that answers: without dead rows, with the effort that is asked for, by the scores of record."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.parts import all_but, kind_of, parts_of, search_parameters, takes_selector, without_shortcuts
from mmsearch.ann.records import Effort, IndexRecord
from mmsearch.exact import Neighbours, Vectors, rescore, scores_of_record

__all__ = ["AnnIndex"]

_NO_ROWS = np.empty(0, np.int64)
_FOUND_AT_ONCE = 1 << 22
_SCORED_AT_ONCE = 1 << 16
# What a factory string ends in when FAISS itself scores by the vectors: their codes are whole, or it refines by them.
_LOSSLESS = re.compile(r"(Flat|SQfp16|HNSW\d+|RFlat|Refine\((Flat|SQfp16)\))$")
# For codes that lose something: beyond the last, more lists or finer codes are the better use of time.
_FACTORS = (2, 5, 10, 20, 40, 80)
_MOST_CANDIDATES = 4096


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

    def neighbours(
        self, queries: NDArray[np.float32], k: int, *, dead: NDArray[np.int64] = _NO_ROWS, effort: Effort | None = None
    ) -> Neighbours:
        """The k best of the live rows that it finds, by the score of record.

        queries: (n, dim), L2-normalised. dead: ascending row ids not to be found. effort: what is None in it is as the
        record says. A query that would get fewer than k rows though more are alive looks at every code instead.
        """
        effort, gone = self._effort(effort), self._positions(dead)
        count = self.candidates(k, effort)
        found = self._rescored(queries, self._search(queries, count, gone, effort)[1], k)
        alive = self.record.rows - len(gone)
        short = np.flatnonzero(np.count_nonzero(found.row_ids >= 0, axis=1) < min(k, alive))
        if not len(short):
            return found
        everything = self._search(queries[short], count, gone, effort, exhaustive=True)[1]
        return _with(found, short, self._rescored(queries[short], everything, k))

    def candidate_scores(
        self, queries: NDArray[np.float32], count: int, *, dead: NDArray[np.int64] = _NO_ROWS, effort: Effort
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(row_ids, scores of record) of the `count` best rows by the codes, in the order of the codes; -1 and -inf.

        What `neighbours` would score again are the first `candidates` of them.
        """
        gone, effort = self._positions(dead), self._effort(effort)
        positions = self._search(queries, count, gone, effort)[1]
        scores = np.full(positions.shape, -np.inf)
        step = max(1, _SCORED_AT_ONCE // positions.shape[1])
        for start in range(0, len(queries), step):
            some = positions[start : start + step]
            of_query, column = np.nonzero(some >= 0)
            rows = self._stored[some[of_query, column]]
            exact = scores_of_record(queries[start : start + step], of_query, rows, np.arange(len(rows)))
            scores[start + of_query, column] = exact
        return self._ids(positions), scores

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
        effort = self._effort(Effort(nprobe, ef_search, k_factor))
        scores, positions = self._search(queries, k, self._positions(dead), effort, exhaustive=exhaustive)
        return self._ids(positions), scores

    def candidates(self, k: int, effort: Effort) -> int:
        """How many rows are scored again for k hits: k where the codes keep the vectors, else k_factor times k.

        Never fewer than for the number of hits that the effort was chosen for: the best hit of all stands as far down
        in the order of the codes whether one hit is asked for or ten.
        """
        k = max(k, self.record.tuned_k)
        return k if self._whole else k * (effort.k_factor or 1)

    @property
    def prefixed(self) -> bool:
        """Whether a search for fewer candidates finds the first of those that one for more finds."""
        return not self._whole and not any(kind_of(part) == "hnsw" for part in parts_of(self.faiss_index))

    def widths(self) -> list[Effort]:
        """Search efforts worth trying, but for the k_factor, cheapest first; one that says nothing without settings."""
        kinds = [kind_of(part) for part in parts_of(self.faiss_index)]
        lists = max((part.nlist for part in parts_of(self.faiss_index) if kind_of(part) == "ivf"), default=0)
        if lists:
            powers = [1 << power for power in range(lists.bit_length())]
            probes = sorted({probe for power in powers for probe in (power, power + power // 2) if probe < lists})
            return [Effort(nprobe=nprobe) for nprobe in [*probes, lists]]
        if "hnsw" in kinds:
            return [Effort(ef_search=1 << power) for power in range(4, 12)]
        return [Effort()]

    def factors(self, k: int) -> list[int | None]:
        """Numbers of candidates for each of k hits worth trying; None alone where the codes keep the vectors."""
        if any(kind_of(part) == "refine" for part in parts_of(self.faiss_index)):
            return [10, 40]
        return (
            [None] if self._whole else [factor for factor in _FACTORS if factor == 2 or k * factor <= _MOST_CANDIDATES]
        )

    @property
    def _whole(self) -> bool:
        refined = any(kind_of(part) == "refine" for part in parts_of(self.faiss_index))
        return refined or _LOSSLESS.search(self.record.factory) is not None

    @property
    def _stored(self) -> Vectors:
        if self.vectors is None:
            raise ValueError("this index is being built: its vectors are there once it is saved and opened")
        return self.vectors

    def _effort(self, effort: Effort | None) -> Effort:
        """What is asked for, completed by the record."""
        own = self.record.effort
        if effort is None:
            return own
        return Effort(effort.nprobe or own.nprobe, effort.ef_search or own.ef_search, effort.k_factor or own.k_factor)

    def _search(
        self, queries: NDArray[np.float32], k: int, gone: NDArray[np.int64], effort: Effort, *, exhaustive: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """FAISS's scores and positions, (n, min(k, rows)); -inf and -1 for padding, at the end."""
        if queries.ndim != 2 or queries.shape[1] != self.record.dim or k < 1:
            raise ValueError(f"cannot search dim {self.record.dim} for {k} rows near {queries.shape}")
        k = min(k, self.record.rows)
        queries = np.ascontiguousarray(queries, np.float32)
        index = self.faiss_index
        if exhaustive:
            index, queries = without_shortcuts(index, queries)
            effort = replace(effort, nprobe=self.record.rows)
        if len(gone) == 0:
            scores, positions = index.search(queries, k, params=search_parameters(index, None, effort, k))
        elif takes_selector(index):
            selector = all_but(gone, self.record.rows)
            scores, positions = index.search(queries, k, params=search_parameters(index, selector, effort, k))
        else:
            scores, positions = _search_more(index, queries, k, gone, effort)
        return np.where(positions < 0, np.float32(-np.inf), scores), positions

    def _ids(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        row_ids = self.row_ids[np.where(positions < 0, 0, positions)]
        return np.where(positions < 0, -1, row_ids).astype(np.int64, copy=False)

    def _rescored(self, queries: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Neighbours:
        row_ids = self._ids(positions)
        distinct, first = np.unique(row_ids, return_index=True)
        place = positions.reshape(-1)[first]
        return rescore(queries, row_ids, lambda ids: self._stored[place[np.searchsorted(distinct, ids)]], k)

    def _positions(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of those of ascending row ids that the index holds."""
        if not len(row_ids):
            return _NO_ROWS
        if not self.record.ascending:
            return np.flatnonzero(np.isin(self.row_ids, row_ids))
        places = np.minimum(np.searchsorted(self.row_ids, row_ids), self.record.rows - 1)
        held: NDArray[np.int64] = places[self.row_ids[places] == row_ids]
        return held


def _with(found: Neighbours, queries: NDArray[np.intp], better: Neighbours) -> Neighbours:
    """`found` with the hits of some queries replaced."""
    width = max(found.row_ids.shape[1], better.row_ids.shape[1])
    both = Neighbours(np.full((len(found.row_ids), width), -1, np.int64), np.full((len(found.row_ids), width), -np.inf))
    for rows, part in ((np.arange(len(found.row_ids)), found), (queries, better)):
        both.row_ids[rows], both.scores[rows] = -1, -np.inf
        both.row_ids[rows, : part.row_ids.shape[1]] = part.row_ids
        both.scores[rows, : part.scores.shape[1]] = part.scores
    return both


def _search_more(
    index: Any, queries: NDArray[np.float32], k: int, gone: NDArray[np.int64], effort: Effort
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For kinds without a selector: ask for as many more rows as are dead, then drop those."""
    more = min(k + len(gone), index.ntotal)
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    step = max(1, _FOUND_AT_ONCE // more)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        all_scores, found = index.search(queries[some], more, params=search_parameters(index, None, effort, more))
        unwanted = (found < 0) | np.isin(found, gone)
        found[unwanted] = -1
        order = np.argsort(unwanted, axis=1, kind="stable")[:, :k]  # the wanted first, in their order
        scores[some] = np.take_along_axis(all_scores, order, axis=1)
        positions[some] = np.take_along_axis(found, order, axis=1)
    return scores, positions
