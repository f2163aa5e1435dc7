"""Exact search: the k best rows for each query, by the score of record, in one pass over the vectors.

The score of record of a row and a query is the float64 dot product of the stored vector and the query vector;
of equal scores the lower row id comes first. Blocks are compared in float32, and everything so close to the
running k-th score that float32 cannot tell is scored again in float64: the answer equals a float64 argsort.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Neighbours",
    "VectorBlock",
    "Vectors",
    "ascending",
    "best_of_queries",
    "exact_search",
    "highest_scores",
    "merge",
    "rescore",
    "scores_of_record",
]

Vectors = NDArray[np.float16] | NDArray[np.float32]
"""(n, dim) embeddings as a gallery stores them."""

MARGIN = 1e-5
"""Unit vectors whose float32 scores differ by more than this keep that order in float64: it is twice the error
of a float32 dot product, which is near 1e-7 and stays below 5e-6 for dimensions in use."""

# Bounds on temporary arrays. A tile of rows stays in the cache while it is widened and multiplied.
_TILE_ELEMENTS = 1 << 18
_SLAB_SCORES = 1 << 22
_PAIR_ELEMENTS = 1 << 20
_RESCORE_ROWS = 1 << 16
_PIECE_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Some rows of a table: row_ids (n,) ascending, vectors (n, dim) L2-normalised, as stored.

    live: (n,), which of them count; None: all. Scoring a few dead rows costs less than a copy without them.
    lowered: (n,), what is taken from the score of each before it is ranked; None: nothing. Of all blocks or of none.
    """

    row_ids: NDArray[np.int64]
    vectors: Vectors
    live: NDArray[np.bool_] | None = None
    lowered: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The best rows of each query, best first.

    row_ids: (n_queries, width). scores: (n_queries, width) scores of record.
    corrected: (n_queries, width), the scores less what was taken from them, which the order goes by; None: it goes by
    the scores. searched: among how many rows was looked, as far as that is known.
    A query with fewer hits than the widest ends in padding: row id -1, score -inf. `exact_search` never pads.
    """

    row_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    corrected: NDArray[np.float64] | None = None
    searched: int = 0

    @property
    def ranking(self) -> NDArray[np.float64]:
        """What the order goes by."""
        return self.scores if self.corrected is None else self.corrected


def exact_search(
    blocks: Iterable[VectorBlock], queries: NDArray[np.float32], k: int, *, threads: int = 1
) -> Neighbours:
    """The min(k, rows) best rows of all blocks for each query, by the score or by what is left of it.

    queries: (n, dim) float32, L2-normalised. blocks: disjoint in their row ids, in any order; read once.
    threads: how many share the blocks. Memory is bounded by one block and n * k for each, whatever the number of rows.

    >>> rows = np.eye(3, dtype=np.float16)
    >>> query = np.array([[0.6, 0.8, 0]], np.float32)
    >>> found = exact_search([VectorBlock(np.array([4, 7, 9]), rows)], query, k=2)
    >>> found.row_ids.tolist(), found.scores.round(3).tolist()
    ([[7, 4]], [[0.8, 0.6]])
    """
    _check(queries, k)
    if threads == 1:
        return _search(blocks, queries, k)
    from concurrent.futures import ThreadPoolExecutor

    pieces = _Shared(piece for block in blocks for piece in _pieces(block))
    with ThreadPoolExecutor(threads) as pool:
        return merge([*pool.map(lambda _: _search(pieces, queries, k), range(threads))], k)


def _search(blocks: Iterable[VectorBlock], queries: NDArray[np.float32], k: int) -> Neighbours:
    n_queries = len(queries)
    margin = MARGIN * np.maximum(1.0, np.linalg.norm(queries, axis=1))
    best = _empty(n_queries)
    floor = np.full(n_queries, -np.inf)  # no row that scores less in float32 can be among the k best
    pending: list[_Pairs] = []
    n_pending = searched = 0
    scratch = _Scratch()
    for block in blocks:
        searched += len(block.row_ids) if block.live is None else int(np.count_nonzero(block.live))
        for first, scores in _float32_scores(block.vectors, queries, scratch):
            columns = slice(first, first + scores.shape[1])
            if block.lowered is not None:
                scores -= block.lowered[columns].astype(np.float32)
            live = None if block.live is None else block.live[columns]
            of_query, column = _contenders(scores, floor, margin, k, live)
            if not len(column):
                continue
            row = first + column
            exact = scores_of_record(queries, of_query, block.vectors, row)
            corrected = None if block.lowered is None else exact - block.lowered[row]
            pending.append(_Pairs(of_query, block.row_ids[row], exact, corrected))
            n_pending += len(row)
            # Sorting costs about as much as it drops: waiting for n * k contenders keeps it a small share.
            if n_pending >= n_queries * k:
                best = _best(n_queries, k, [_pairs(best), *pending])
                pending, n_pending = [], 0
                if best.scores.shape[1] == k:
                    floor = best.ranking[:, -1] - margin
    best = _best(n_queries, k, [_pairs(best), *pending]) if pending else best
    return replace(best, searched=searched)


class _Shared(Iterator[VectorBlock]):
    """An iterator for several threads: each block goes to one of them."""

    def __init__(self, blocks: Iterator[VectorBlock]) -> None:
        self._blocks = blocks
        self._taking = threading.Lock()

    def __next__(self) -> VectorBlock:
        with self._taking:
            return next(self._blocks)


def _pieces(block: VectorBlock) -> Iterator[VectorBlock]:
    """A block in parts that several threads can share."""
    for start in range(0, len(block.row_ids), _PIECE_ROWS):
        some = slice(start, start + _PIECE_ROWS)
        live = None if block.live is None else block.live[some]
        lowered = None if block.lowered is None else block.lowered[some]
        yield VectorBlock(block.row_ids[some], block.vectors[some], live, lowered)


def merge(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """The k best of several searches of disjoint rows for the same queries.

    For example of an index and of the rows that it does not cover. Parts may be padded and of different widths; the
    result is as wide as its longest list of hits, at most k.
    """
    if not parts or len({len(part.row_ids) for part in parts}) != 1:
        raise ValueError("merge: needs at least one part, all for the same queries")
    _check_k(k)
    best = _best(len(parts[0].row_ids), k, [_pairs(part) for part in parts])
    return replace(best, searched=sum(part.searched for part in parts))


def best_of_queries(found: Neighbours, k: int) -> Neighbours:
    """The k best rows (1, k) by the highest of their scores with any of the queries.

    Where `found` has the k best rows of each query, it is exact: what stands before a row in the list of the query that
    likes it best stands before it by the highest score too.

    >>> found = Neighbours(np.array([[4, 7], [9, 4]]), np.array([[0.8, 0.6], [0.9, 0.5]]))
    >>> best = best_of_queries(found, 2)
    >>> best.row_ids.tolist(), best.scores.tolist()
    ([[9, 4]], [[0.9, 0.8]])
    """
    _check_k(k)
    pairs = _pairs(found)
    ranking = pairs.scores if pairs.corrected is None else pairs.corrected
    order = np.lexsort((-ranking, pairs.row_ids))
    row_ids = pairs.row_ids[order]
    order = order[np.concatenate([[True], row_ids[1:] != row_ids[:-1]])[: len(order)]]
    corrected = None if pairs.corrected is None else pairs.corrected[order]
    highest = _Pairs(np.zeros(len(order), np.intp), pairs.row_ids[order], pairs.scores[order], corrected)
    return replace(_best(1, k, [highest]), searched=found.searched)


def highest_scores(queries: NDArray[np.float32], vectors: Vectors) -> NDArray[np.float64]:
    """The highest score of record (n,) of each of some vectors (n, dim) with any of the queries (m, dim)."""
    scores = vectors.astype(np.float64) @ queries.astype(np.float64).T
    row, of_query = np.nonzero(scores >= scores.max(axis=1, keepdims=True) - _ROUNDING)
    highest = np.full(len(vectors), -np.inf)
    np.maximum.at(highest, row, scores_of_record(queries, of_query, vectors, row))
    return highest


_ROUNDING = 1e-9  # far more than what a float64 product of unit vectors rounds


def ascending(row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct ids, ascending: np.unique, but that loads numpy.ma, which takes as long as encoding a query."""
    ids = np.sort(row_ids, axis=None)
    return ids[np.concatenate([[True], ids[1:] != ids[:-1]])] if len(ids) else ids


def rescore(
    queries: NDArray[np.float32],
    row_ids: NDArray[np.int64],
    fetch: Callable[[NDArray[np.int64]], Vectors],
    k: int,
    *,
    lowered: NDArray[np.float64] | None = None,
) -> Neighbours:
    """The k best of given candidates, by the score of record.

    queries: (n, dim). row_ids: (n, m), -1 for none, unique within a row. fetch: the stored vectors of ascending,
    unique row ids, in that order; called for at most about 65,536 rows at a time. lowered: (n, m), what is taken from
    each score before it is ranked.
    """
    _check(queries, k)
    parts = []
    step = max(1, _RESCORE_ROWS // max(1, row_ids.shape[1]))
    for start in range(0, len(queries), step):
        of_query, column = np.nonzero(row_ids[start : start + step] >= 0)
        of_query += start
        wanted = row_ids[of_query, column]
        if len(wanted):
            distinct, row = np.unique(wanted, return_inverse=True)
            scores = scores_of_record(queries, of_query, fetch(distinct), row)
            corrected = None if lowered is None else scores - lowered[of_query, column]
            parts.append(_Pairs(of_query, wanted, scores, corrected))
    return _best(len(queries), k, parts)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Scored pairs of a query and a row, in any order. corrected: what ranks them; None: the scores."""

    of_query: NDArray[np.intp]
    row_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    corrected: NDArray[np.float64] | None = None


def _check(queries: NDArray[np.float32], k: int) -> None:
    _check_k(k)
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise ValueError(f"queries must be (n, dim) float32, not {queries.shape} {queries.dtype}")


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _empty(n_queries: int) -> Neighbours:
    return Neighbours(np.empty((n_queries, 0), np.int64), np.empty((n_queries, 0), np.float64))


def _pairs(found: Neighbours) -> _Pairs:
    of_query, column = np.nonzero(found.row_ids >= 0)
    corrected = None if found.corrected is None else found.corrected[of_query, column]
    return _Pairs(of_query, found.row_ids[of_query, column], found.scores[of_query, column], corrected)


def _best(n_queries: int, k: int, parts: Sequence[_Pairs]) -> Neighbours:
    """The k best pairs of each query, best first, padded to the longest list."""
    if not parts:
        return _empty(n_queries)
    of_query = np.concatenate([part.of_query for part in parts])
    row_ids = np.concatenate([part.row_ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    ranking = scores
    if any(part.corrected is not None for part in parts):
        ranking = np.concatenate([part.scores if part.corrected is None else part.corrected for part in parts])
    order = np.lexsort((row_ids, -ranking, of_query))
    of_query = of_query[order]
    place = np.arange(len(order)) - np.searchsorted(of_query, of_query)
    kept = place < k
    order, of_query, place = order[kept], of_query[kept], place[kept]
    shape = n_queries, int(place.max(initial=-1)) + 1

    def table(values: NDArray[Any], padding: float) -> NDArray[Any]:
        filled = np.full(shape, padding, values.dtype)
        filled[of_query, place] = values[order]
        return filled

    corrected = None if ranking is scores else table(ranking, -np.inf)
    return Neighbours(table(row_ids, -1), table(scores, -np.inf), corrected)


def _contenders(
    scores: NDArray[np.float32],
    floor: NDArray[np.float64],
    margin: NDArray[np.float64],
    k: int,
    live: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(query, column) of every float32 score that may belong to the k best of everything seen.

    live: (columns,), which of them count; the scores of others are overwritten."""
    if live is not None:
        scores[:, ~live] = -np.inf
    above = scores >= floor[:, None].astype(np.float32)
    if live is not None:
        above &= live  # while the floor is -inf too
    crowded = np.flatnonzero(np.count_nonzero(above, axis=1) > k)
    if len(crowded):
        among = scores[crowded]
        kth = np.partition(among, -k, axis=1)[:, -k]
        above[crowded] &= among >= (kth - margin[crowded])[:, None].astype(np.float32)
    flat = np.flatnonzero(above)  # three times as fast as nonzero of a matrix
    return flat // scores.shape[1], flat % scores.shape[1]


class _Scratch:
    """Memory for one block after the other: to be given new memory for each costs a fifth of scoring small ones."""

    def __init__(self) -> None:
        self._wide = np.empty((0, 0), np.int32)
        self._scores = np.empty((0, 0), np.float32)

    def wide(self, rows: int, dim: int) -> NDArray[np.int32]:
        """(rows, dim), of any values."""
        if self._wide.shape[0] < rows or self._wide.shape[1] != dim:
            self._wide = np.empty((rows, dim), np.int32)
        return self._wide[:rows]

    def scores(self, queries: int, rows: int) -> NDArray[np.float32]:
        """(queries, rows), of any values."""
        if self._scores.shape != (queries, rows):
            self._scores = np.empty((queries, rows), np.float32)
        return self._scores


def _float32_scores(
    vectors: Vectors, queries: NDArray[np.float32], scratch: _Scratch
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(first row, (n_queries, rows) scores) over all rows; the array is overwritten by the next."""
    n_rows, dim = vectors.shape
    slab = max(1, min(n_rows, _SLAB_SCORES // max(1, len(queries))))
    tile = max(1, min(slab, _TILE_ELEMENTS // max(1, dim)))
    half = vectors.dtype == np.float16
    lifted = queries * np.float32(_HALF_SCALE) if half else queries
    wide, scores = scratch.wide(tile, dim), scratch.scores(len(queries), slab)
    for first in range(0, n_rows, slab):
        past = min(first + slab, n_rows)
        for start in range(first, past, tile):
            rows = vectors[start : min(start + tile, past)]
            columns = slice(start - first, start - first + len(rows))
            np.matmul(lifted, (_widen(rows, wide) if half else rows).T, out=scores[:, columns])
        yield first, scores[:, : past - first]


_HALF_SCALE = 2.0**112
_HALF_BITS = np.int32(-0x70002000)  # 0x8FFFE000: where float32 keeps the sign, exponent and mantissa of a half


def _widen(rows: Vectors, out: NDArray[np.int32]) -> NDArray[np.float32]:
    """float16 as float32, divided by 2**112: the bits moved to their places without rebiasing the exponent.

    Five times as fast as astype, which would be most of the time of one query. Exact for every finite float16,
    subnormal ones too.
    """
    bits = out[: len(rows)]
    np.copyto(bits, rows.view(np.int16))  # extends the sign
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _HALF_BITS, out=bits)
    return bits.view(np.float32)


def scores_of_record(
    queries: NDArray[np.floating[Any]],
    of_query: NDArray[np.integer[Any]],
    vectors: NDArray[np.floating[Any]],
    row: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """The score of record of each pair, queries[of_query[i]] with vectors[row[i]]: float64 (n,).

    It depends on the two vectors alone, so that equal vectors have equal scores: a matrix product may round the same
    row differently at different places."""
    scores = np.empty(len(row), np.float64)
    step = max(1, _PAIR_ELEMENTS // max(1, vectors.shape[1]))
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        left, right = queries[of_query[some]], vectors[row[some]]
        np.einsum("nd,nd->n", left.astype(np.float64), right.astype(np.float64), out=scores[some])
    return scores
