"""An index that answers: without dead rows, with the effort that is asked for."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.parts import all_but, kind_of, parts_of, search_parameters, takes_selector, without_shortcuts
from mmsearch.ann.records import Effort, IndexRecord, MeasuredRecall

__all__ = ["AnnIndex"]

_NO_ROWS = np.empty(0, np.int64)


_FOUND_AT_ONCE = 1 << 22


# What a factory string ends in when FAISS itself scores by the vectors: their codes are whole, or it refines by them.
_LOSSLESS = re.compile(r"(Flat|SQfp16|HNSW\d+|RFlat|Refine\((Flat|SQfp16)\))$")


_CANDIDATES_PER_HIT = 4


class AnnIndex:
    """A FAISS index over rows of one table, in memory or mapped. Searching it from several threads is safe."""

    def __init__(self, index: Any, row_ids: NDArray[np.int64], record: IndexRecord) -> None:
        self.faiss_index = index
        self.row_ids = row_ids
        self.record = record

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

        queries: (n, dim), L2-normalised. dead: ascending row ids not to be found. Settings left out are the record's.
        exhaustive: look at every code, whatever the effort. The scores are those of the index's codes: score the rows
        again with the stored vectors (`exact.rescore`).
        """
        if queries.ndim != 2 or queries.shape[1] != self.record.dim or k < 1:
            raise ValueError(f"cannot search dim {self.record.dim} for {k} rows near {queries.shape}")
        k = min(k, self.record.rows)
        given = {"nprobe": nprobe, "ef_search": ef_search, "k_factor": k_factor}
        effort = replace(self.record.effort, **{name: value for name, value in given.items() if value is not None})
        queries = np.ascontiguousarray(queries, np.float32)
        index = self.faiss_index
        if exhaustive:
            index, queries = without_shortcuts(index, queries)
            effort = replace(effort, nprobe=self.record.rows)
        gone = self._positions(dead)
        if len(gone) == 0:
            scores, positions = index.search(queries, k, params=search_parameters(index, None, effort, k))
        elif takes_selector(index):
            selector = all_but(gone, self.record.rows)
            scores, positions = index.search(queries, k, params=search_parameters(index, selector, effort, k))
        else:
            scores, positions = _search_more(index, queries, k, gone, effort)
        missing = positions < 0
        row_ids = np.where(missing, -1, self.row_ids[np.where(missing, 0, positions)])
        return row_ids.astype(np.int64, copy=False), np.where(missing, np.float32(-np.inf), scores)

    def candidates(self, k: int) -> int:
        """How many hits to ask for so that, scored again, the k best are as good as the codes allow.

        k where the codes keep the vectors; more where they lose something, so that a good hit which they put a little
        too low is still among those that are scored.
        """
        return k if _LOSSLESS.search(self.record.factory) else _CANDIDATES_PER_HIT * k

    def efforts(self) -> list[Effort]:
        """Settings worth trying, cheapest first; one that says nothing where the index has no settings."""
        kinds = [kind_of(part) for part in parts_of(self.faiss_index)]
        lists = max((part.nlist for part in parts_of(self.faiss_index) if kind_of(part) == "ivf"), default=0)
        factors = [10, 40] if "refine" in kinds else [None]
        if lists:
            probes = [1 << power for power in range(lists.bit_length()) if 1 << power < lists] + [lists]
            return [Effort(nprobe=nprobe, k_factor=factor) for nprobe in probes for factor in factors]
        if "hnsw" in kinds:
            widths = [1 << power for power in range(4, 12)]
            return [Effort(ef_search=width, k_factor=factor) for width in widths for factor in factors]
        return [Effort(k_factor=factor) for factor in factors]

    def measured(
        self, effort: Effort, recall: tuple[MeasuredRecall, ...], recall_target: float, build_seconds: float
    ) -> "AnnIndex":
        """The same index with what was measured in its record."""
        record = replace(
            self.record, effort=effort, recall=recall, recall_target=recall_target, build_seconds=build_seconds
        )
        return AnnIndex(self.faiss_index, self.row_ids, record)

    def _positions(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of those of ascending row ids that the index holds."""
        if not len(row_ids):
            return _NO_ROWS
        if not self.record.ascending:
            return np.flatnonzero(np.isin(self.row_ids, row_ids))
        places = np.minimum(np.searchsorted(self.row_ids, row_ids), self.record.rows - 1)
        held: NDArray[np.int64] = places[self.row_ids[places] == row_ids]
        return held


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
