"""Exact ranks and top lists in bounded memory: blocks of float32 scores, each looked at for both directions.

What float32 cannot tell is scored again in float64, so that ranks and lists equal those of a full float64 argsort
(stable, descending), whatever the size of the blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import scores_of_record
from mmsearch.metrics.relevance import Ids, Relevance, Vectors

__all__ = [
    "NOT_FOUND",
    "RankBounds",
    "Ranking",
    "first_found_ranks",
    "first_relevant_ranks",
    "rank_bounds",
    "rank_both",
]

NOT_FOUND = int(np.iinfo(np.int64).max)
"""The rank of a query none of whose relevant items was returned."""

MARGIN = 1e-5
"""Scores this close in float32 are compared again in float64; more where the vectors are longer than unit
length."""
BLOCK_BYTES = 64 << 20
"""Bound on one block of float32 scores."""
_WIDEST = 8_192  # items of a block: the vectors of both its sides stay small beside its scores


@dataclass(frozen=True, slots=True, eq=False)
class RankBounds:
    """The rank of the best relevant item of each query, int64 (n_queries,), under three rules for equal
    scores.

    Without ties all three are equal.

    Attributes:
        ranks: The lower gallery position first: the rule of record.
        optimistic: The relevant item first.
        pessimistic: Every item that is not relevant first.
    """

    ranks: Ids
    optimistic: Ids
    pessimistic: Ids

    @property
    def tied_queries(self) -> int:
        """How many queries have a rank that hangs on the rule."""
        return int(np.count_nonzero(self.optimistic != self.pessimistic))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """One direction, ranked.

    Attributes:
        bounds: The rank of the best relevant item of each query.
        top: int64 (n_queries, depth, or all of a smaller gallery) gallery positions, best first.
        relevant: The relevance that was ranked by.
    """

    bounds: RankBounds
    top: Ids
    relevant: Relevance


def first_relevant_ranks(queries: Vectors, gallery: Vectors, relevant: Relevance) -> Ids:
    """Rank, from 1, of the best-ranked relevant item of each query: int64 (n_queries,).

    queries: (n_queries, dim). gallery: (n_items, dim). Equal to a float64 argsort of everything (stable,
    descending), in bounded memory: a few times BLOCK_BYTES. Raises ValueError on shapes that do not fit, on positions
    outside the gallery and on vectors that are not finite.

    >>> gallery = np.eye(3, dtype=np.float16)
    >>> queries = np.array([[0.8, 0.6, 0], [0, 1, 0]], np.float16)
    >>> first_relevant_ranks(queries, gallery, Relevance.lists([[1, 2], [1]])).tolist()
    [2, 1]
    """
    return rank_bounds(queries, gallery, relevant).ranks


def rank_bounds(queries: Vectors, gallery: Vectors, relevant: Relevance) -> RankBounds:
    """As `first_relevant_ranks`, with the bounds that equal scores leave open.

    >>> gallery = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float16)  # the second of three equal items
    >>> bounds = rank_bounds(np.array([[1, 0]], np.float16), gallery, Relevance.one_each(np.array([1])))
    >>> bounds.optimistic.tolist(), bounds.ranks.tolist(), bounds.pessimistic.tolist()
    ([1], [2], [3])
    """
    forward = _DirectionRanking(queries, gallery, relevant, depth=0, axis=1)
    _scan(queries, gallery, [forward])
    return forward.ranking().bounds


def rank_both(
    captions: Vectors,
    images: Vectors,
    images_of_caption: Relevance | None,
    captions_of_image: Relevance | None,
    *,
    depth: int = 10,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Ranking | None, Ranking | None]:
    """text_to_image and image_to_text, ranked in one pass over the scores; a direction without relevance is left out.

    captions: (n_captions, dim). images: (n_images, dim). depth: how long the top lists are. progress: told how many of
    how many scores are done. Memory: a few times BLOCK_BYTES, and depth * 16 bytes an item. Raises ValueError as
    `first_relevant_ranks` does.

    >>> images = np.array([[1, 0], [0, 1]], np.float32)
    >>> captions = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    >>> of_caption = np.array([0, 0, 1])
    >>> both = rank_both(captions, images, Relevance.one_each(of_caption), Relevance.inverse(of_caption, 2), depth=2)
    >>> [ranking.bounds.ranks.tolist() for ranking in both], [ranking.top.tolist() for ranking in both]
    ([[1, 2, 1], [1, 1]], [[[0, 1], [1, 0], [1, 0]], [[0, 1], [2, 1]]])
    """
    forward = _DirectionRanking(captions, images, images_of_caption, depth, axis=1) if images_of_caption else None
    backward = _DirectionRanking(images, captions, captions_of_image, depth, axis=0) if captions_of_image else None
    _scan(captions, images, [side for side in (forward, backward) if side is not None], progress)
    return forward.ranking() if forward else None, backward.ranking() if backward else None


def first_found_ranks(hit_positions: NDArray[np.integer[Any]], relevant: Relevance) -> Ids:
    """Rank of the first relevant item in ranked lists that somebody else made, e.g. an index; NOT_FOUND where
    there is none.

    hit_positions: (n_queries, m) gallery positions, best first; -1 for no hit. recall_at_k of the result holds for k
    <= m.

    >>> ranks = first_found_ranks(np.array([[5, 3], [4, -1]]), Relevance.lists([[3], [0, 1]]))
    >>> int(ranks[0]), bool(ranks[1] == NOT_FOUND)
    (2, True)
    """
    if hit_positions.ndim != 2 or len(hit_positions) != len(relevant):
        raise ValueError(f"hits of shape {hit_positions.shape} for {len(relevant)} queries")
    if hit_positions.shape[1] == 0:
        return np.full(len(hit_positions), NOT_FOUND, np.int64)
    hits = relevant.are_relevant(np.arange(len(relevant))[:, None], hit_positions.astype(np.int64))
    return np.where(hits.any(axis=1), np.argmax(hits, axis=1) + 1, NOT_FOUND).astype(np.int64)


# --- the pass ---------------------------------------------------------------------------------------------------------


def _scan(
    queries: Vectors,
    gallery: Vectors,
    sides: "list[_DirectionRanking]",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Show every block of queries @ gallery.T to the sides."""
    longest = {1: _lengths(gallery, "gallery"), 0: _lengths(queries, "queries")}
    for side in sides:
        side.set_margins(longest[1 - side.axis], float(longest[side.axis].max()))
    columns = min(len(gallery), _WIDEST, max(1, BLOCK_BYTES // 4))
    rows = min(len(queries), max(1, BLOCK_BYTES // (4 * columns)))
    buffer = np.empty(rows * columns, np.float32)
    for top in range(0, len(queries), rows):
        block_queries = queries[top : top + rows].astype(np.float32, copy=False)
        for left in range(0, len(gallery), columns):
            block_items = gallery[left : left + columns].astype(np.float32, copy=False)
            scores = buffer[: len(block_queries) * len(block_items)].reshape(len(block_queries), len(block_items))
            np.matmul(block_queries, block_items.T, out=scores)
            for side in sides:
                side.take_block(scores, top, left)
            progress(top * len(gallery) + (left + len(block_items)) * len(block_queries), len(queries) * len(gallery))


def _lengths(vectors: Vectors, what: str) -> NDArray[np.float64]:
    """The length of each vector; refuses what would make every comparison false."""
    lengths = np.empty(len(vectors))
    for start in range(0, len(vectors), _WIDEST):
        wide = vectors[start : start + _WIDEST].astype(np.float32, copy=False)
        lengths[start : start + _WIDEST] = np.sqrt(np.einsum("nd,nd->n", wide, wide, dtype=np.float64))
    if not np.isfinite(lengths).all():
        raise ValueError(f"{what}: not all vectors are finite")
    return lengths


class _DirectionRanking:
    """What one direction has seen so far.

    axis: along which of a block's axes its items lie: 1 where the rows are its queries, 0 where they are its items.
    """

    def __init__(self, queries: Vectors, gallery: Vectors, relevant: Relevance, depth: int, axis: int) -> None:
        _check(queries, gallery, relevant)
        self.axis = axis
        self._queries, self._gallery, self._relevant = queries, gallery, relevant
        self._best_score, self._best_position = _best_relevant(queries, gallery, relevant)
        self._above, self._tied, self._tied_before = (np.zeros(len(queries), np.int64) for _ in range(3))
        self._depth = min(depth, len(gallery))
        self._top = np.full((len(queries), self._depth), -1, np.int64)
        self._top_scores = np.full((len(queries), self._depth), -np.inf)

    def set_margins(self, lengths: NDArray[np.float64], longest: float) -> None:
        """How far, at most, a float32 score lies from the score of record, for each query.

        The classical bound on a dot product summed in any order, dim * unit roundoff * |a| * |b| (Higham,
        Accuracy and Stability of Numerical Algorithms, 3.1), with four more for the rounding of the vectors
        themselves and of the bounds.
        """
        dim = self._queries.shape[1]
        self._margin = np.maximum(MARGIN, (dim + 4) * 2.0**-24 * lengths * longest)
        # score - margin and score + margin in float32, rounded away from the score
        low, high = self._best_score - self._margin, self._best_score + self._margin
        self._low = np.nextafter(low.astype(np.float32), np.float32(-np.inf))
        self._high = np.nextafter(high.astype(np.float32), np.float32(np.inf))

    def take_block(self, scores: NDArray[np.float32], top: int, left: int) -> None:
        """Take in the scores of the block whose first row and column are these."""
        first_query, first_item = (top, left) if self.axis == 1 else (left, top)
        block = slice(first_query, first_query + scores.shape[1 - self.axis])
        self._count(scores, block, first_item)
        if self._depth:
            self._extend(scores, block, first_item)

    def ranking(self) -> Ranking:
        above, tied = 1 + self._above, self._tied
        bounds = RankBounds(above + self._tied_before, above, above + tied)
        return Ranking(bounds, self._top, self._relevant)

    def _shape_for_block(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A value a query, shaped to be compared with a block."""
        return values[:, None] if self.axis == 1 else values[None, :]

    def _marked_pairs(self, mask: NDArray[np.bool_], block: slice, first_item: int) -> tuple[Ids, Ids]:
        """(query, position) of what a mask of a block marks."""
        row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
        query, item = (row, column) if self.axis == 1 else (column, row)
        return query + block.start, item + first_item

    def _count(self, scores: NDArray[np.float32], block: slice, first_item: int) -> None:
        """How many items that are not relevant score more than the best relevant one, tie with it, and tie with it and
        stand before it."""
        is_above = scores > self._shape_for_block(self._high[block])
        self._above[block] += np.count_nonzero(is_above, axis=self.axis)
        is_near = scores >= self._shape_for_block(self._low[block])
        is_near ^= is_above
        query, position = self._marked_pairs(is_near, block, first_item)
        # Relevant items never count against a query: the best cannot be beaten by them, and it is the first of
        # those equal to it.
        is_irrelevant = ~self._relevant.are_relevant(query, position)
        query, position = query[is_irrelevant], position[is_irrelevant]
        score = scores_of_record(self._queries, query, self._gallery, position)
        best = self._best_score[query]
        is_equal = score == best
        is_before = is_equal & (position < self._best_position[query])
        for total, counted in ((self._above, score > best), (self._tied, is_equal), (self._tied_before, is_before)):
            np.add.at(total, query[counted], 1)

    def _extend(self, scores: NDArray[np.float32], block: slice, first_item: int) -> None:
        """The top lists, with what this block adds."""
        floor = self._top_scores[block, -1] - 2 * self._margin[block]
        least = _kth_best_at_least(scores, self._depth, self.axis) - 2 * self._margin[block]
        floor = np.maximum(floor, least).astype(np.float32)
        floor = np.nextafter(floor, np.float32(-np.inf))
        mask = scores >= self._shape_for_block(floor)
        query, position = self._marked_pairs(mask, block, first_item)
        if not len(query):
            return
        found = scores[query - block.start, position - first_item] if self.axis == 1 else None
        found = scores[position - first_item, query - block.start] if found is None else found
        known_query, place = np.nonzero(self._top[block] >= 0)
        known_query += block.start
        query = np.concatenate([known_query, query])
        position = np.concatenate([self._top[block][self._top[block] >= 0], position])
        score = np.concatenate([self._top_scores[known_query, place], found.astype(np.float64)])
        self._keep_best(query, position, score)

    def _keep_best(self, query: Ids, position: Ids, score: NDArray[np.float64]) -> None:
        """Of all these candidates of some queries, the best `depth` of each."""
        order = np.lexsort((-score, query))
        query, position, score = query[order], position[order], score[order]
        # Neighbours that float32 cannot tell apart get their scores of record; all others are in order already.
        close = (query[1:] == query[:-1]) & (score[:-1] - score[1:] <= 2 * self._margin[query[1:]])
        unsure = np.zeros(len(query), bool)
        unsure[1:] |= close
        unsure[:-1] |= close
        score[unsure] = scores_of_record(self._queries, query[unsure], self._gallery, position[unsure])
        order = np.lexsort((position, -score, query))
        query, position, score = query[order], position[order], score[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        kept = place < self._depth
        self._top[query[kept], place[kept]] = position[kept]
        self._top_scores[query[kept], place[kept]] = score[kept]


def _kth_best_at_least(scores: NDArray[np.float32], k: int, axis: int) -> NDArray[np.float64]:
    """For each query something that at least k of its scores in this block reach: the k-th of the maxima of groups.

    Nearly as tight as the k-th score itself, and much quicker to find. -inf where the block has too few items.
    """
    items = scores.shape[axis]
    width = max(1, items // max(64, 8 * k))
    groups = items // width
    if groups < k:
        return np.full(scores.shape[1 - axis], -np.inf)
    if axis == 1:
        maxima = scores[:, : groups * width].reshape(-1, width, groups).max(axis=1)
    else:
        maxima = scores[: groups * width].reshape(width, groups, -1).max(axis=0).T
    kth: NDArray[np.float64] = np.partition(maxima, groups - k, axis=1)[:, groups - k].astype(np.float64)
    return kth


def _best_relevant(queries: Vectors, gallery: Vectors, relevant: Relevance) -> tuple[NDArray[np.float64], Ids]:
    """Score and position of each query's best relevant item; of equal ones the lowest position."""
    query = np.repeat(np.arange(len(queries)), relevant.counts)
    score = scores_of_record(queries, query, gallery, relevant.positions)
    best = np.lexsort((relevant.positions, -score, query))[relevant.offsets[:-1]]
    return score[best], relevant.positions[best]


def _check(queries: Vectors, gallery: Vectors, relevant: Relevance) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be (n, dim) with one dim")
    if len(relevant) != len(queries):
        raise ValueError(f"relevance for {len(relevant)} queries, but {len(queries)} queries")
    if int(relevant.positions.max()) >= len(gallery):
        raise ValueError(f"position {int(relevant.positions.max())} in a gallery of {len(gallery)}")
