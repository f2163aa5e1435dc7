"""How good ranked answers are: pure functions of arrays.

"Recall@k" has three meanings in the wild. Each has its own name here, and no other:

    recall_at_k           R@k: the share of queries with at least one relevant item in the top k. What CLIP
                          papers call recall (and ir_measures Success@k).
    relevant_recall_at_k  the share of a query's relevant items that are in its top k, averaged over queries.
                          TREC's recall.
    ann_recall_at_k       the share of a query's k exact neighbours that an index returned, averaged over
                          queries. It judges the index, and knows nothing of relevance.

With one relevant item per query (text_to_image) the first two agree; with five (image_to_text) they are far
apart.

The score of an item for a query is the float64 dot product of the two stored vectors. Items are ranked by
score, best first; of equal scores the lower gallery position comes first. Ranks count from 1.

The usual way through:

>>> caption_image = np.array([0, 0, 1])                              # two captions of image 0, one of image 1
>>> images = np.array([[1, 0], [0, 1]], np.float32)
>>> captions = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
>>> text_to_image = first_relevant_ranks(captions, images, Relevance.one_each(caption_image))
>>> text_to_image.tolist(), round(recall_at_k(text_to_image, 1), 3)
([1, 2, 1], 0.667)
>>> image_to_text = first_relevant_ranks(images, captions, Relevance.inverse(caption_image, n_queries=2))
>>> image_to_text.tolist(), recall_at_k(image_to_text, 1)
([1, 1], 1.0)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Direction",
    "DirectionResult",
    "NOT_FOUND",
    "RankBounds",
    "Relevance",
    "Vectors",
    "ann_recall_at_k",
    "first_found_ranks",
    "first_relevant_ranks",
    "mean_rank",
    "median_rank",
    "rank_bounds",
    "recall_at_k",
    "relevant_recall_at_k",
    "summarize",
]

Vectors: TypeAlias = NDArray[np.floating[Any]]
"""(n, dim) finite vectors as stored: float16, float32 or float64. Normalised or not: the score is the dot
product."""
Ids: TypeAlias = NDArray[np.int64]
Direction: TypeAlias = Literal["text_to_image", "image_to_text"]

NOT_FOUND = int(np.iinfo(np.int64).max)
"""The rank of a query none of whose relevant items was returned."""

MARGIN = 1e-5
"""Scores this close in float32 are compared again in float64; more where the vectors are longer than unit
length."""
BLOCK_BYTES = 64 << 20
"""Bound on one block of float32 scores, and on the float64 vectors of one batch of pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Which gallery positions are relevant to each query, as ragged rows: those of query q are
    positions[offsets[q]:offsets[q + 1]], ascending.

    offsets: int64 (n_queries + 1,), from 0 to len(positions). positions: int64, at least one for each query:
    a query that nothing can answer has no rank, and leaving it out or counting it as missed is for the caller
    to decide.

    >>> relevant = Relevance.lists([[2], [0, 1]])
    >>> relevant.offsets.tolist(), relevant.positions.tolist()
    ([0, 1, 3], [2, 0, 1])
    """

    offsets: Ids
    positions: Ids

    def __post_init__(self) -> None:
        if len(self.offsets) < 2:
            raise ValueError("no queries")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.positions):
            raise ValueError("offsets must run from 0 to the number of positions")
        counts = np.diff(self.offsets)
        if np.any(counts < 1):
            without = int(np.flatnonzero(counts < 1)[0])
            raise ValueError(f"query {without} has no relevant item")
        same_query = np.diff(np.repeat(np.arange(len(counts)), counts)) == 0
        if np.any(self.positions < 0) or np.any(np.diff(self.positions)[same_query] <= 0):
            raise ValueError("positions must be ascending within a query, without repetition or negative numbers")

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ids:
        """How many items are relevant to each query, (n_queries,)."""
        return np.diff(self.offsets)

    @classmethod
    def one_each(cls, positions: NDArray[np.integer[Any]]) -> Self:
        """One relevant item for each query: caption_image makes this the relevance of text_to_image."""
        return cls(np.arange(len(positions) + 1, dtype=np.int64), np.asarray(positions, np.int64))

    @classmethod
    def inverse(cls, positions: NDArray[np.integer[Any]], n_queries: int) -> Self:
        """Item i is relevant to query positions[i]: caption_image and the number of images make this
        image_to_text.

        >>> Relevance.inverse(np.array([1, 0, 1]), n_queries=2).positions.tolist()
        [1, 0, 2]
        """
        counts = np.bincount(positions, minlength=n_queries)
        if len(counts) > n_queries:
            raise ValueError(f"query {len(counts) - 1} is named, but there are only {n_queries}")
        return cls(np.concatenate([[0], np.cumsum(counts)]), np.argsort(positions, kind="stable"))

    @classmethod
    def lists(cls, relevant: Iterable[Iterable[int]]) -> Self:
        """One list of positions for each query, in any order."""
        rows = [sorted(set(row)) for row in relevant]
        flat = np.array([position for row in rows for position in row], np.int64)
        return cls(np.cumsum([0, *map(len, rows)]), flat)


@dataclass(frozen=True, slots=True, eq=False)
class RankBounds:
    """The rank of the best relevant item of each query, int64 (n_queries,), under three rules for equal
    scores.

    ranks: the lower gallery position first: the rule of record. optimistic: the relevant item first.
    pessimistic: every item that is not relevant first. Without ties all three are equal.
    """

    ranks: Ids
    optimistic: Ids
    pessimistic: Ids

    @property
    def tied_queries(self) -> int:
        """How many queries have a rank that hangs on the rule."""
        return int(np.count_nonzero(self.optimistic != self.pessimistic))


@dataclass(frozen=True, slots=True)
class DirectionResult:
    """One direction of a benchmark. The dicts map k to R@k; queries and gallery are counts."""

    direction: Direction
    queries: int
    gallery: int
    recall: dict[int, float]
    recall_optimistic: dict[int, float]
    recall_pessimistic: dict[int, float]
    median_rank: float
    mean_rank: float
    tied_queries: int


def first_relevant_ranks(queries: Vectors, gallery: Vectors, relevant: Relevance) -> Ids:
    """Rank, from 1, of the best-ranked relevant item of each query: int64 (n_queries,).

    queries: (n_queries, dim). gallery: (n_items, dim). Equal to a float64 argsort of everything (stable,
    descending), in bounded memory: about three times BLOCK_BYTES and a float32 copy of what is not stored as
    float32. Raises ValueError on shapes that do not fit, on positions outside the gallery and on vectors that
    are not finite.

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
    _check(queries, gallery, relevant)
    wide = _float32(gallery, "gallery")
    above = np.zeros(len(queries), np.int64)
    tied = np.zeros(len(queries), np.int64)
    tied_before = np.zeros(len(queries), np.int64)
    longest = float(np.sqrt(np.max(np.einsum("nd,nd->n", wide, wide), initial=0)))
    rows = max(1, BLOCK_BYTES // (4 * len(gallery)))
    for start in range(0, len(queries), rows):
        block = slice(start, min(start + rows, len(queries)))
        counted = _count_above(queries[block], gallery, wide, longest, _between(relevant, block))
        above[block], tied[block], tied_before[block] = counted
    return RankBounds(1 + above + tied_before, 1 + above, 1 + above + tied)


def recall_at_k(ranks: Ids, k: int) -> float:
    """R@k: the share of queries whose best relevant item is in the top k. ranks: int64 (n_queries,), from 1.

    >>> recall_at_k(np.array([1, 2, 4, 10]), 3)
    0.5
    """
    _check_ranks(ranks)
    _check_k(k)
    return int(np.count_nonzero(ranks <= k)) / len(ranks)


def median_rank(ranks: Ids) -> float:
    """The middle rank; of an even number the mean of the middle two.

    >>> median_rank(np.array([1, 2, 4, 10]))
    3.0
    """
    _check_ranks(ranks)
    return float(np.median(ranks))


def mean_rank(ranks: Ids) -> float:
    """The average rank. Few very bad queries dominate it: the median says more.

    >>> mean_rank(np.array([1, 2, 4, 10]))
    4.25
    """
    _check_ranks(ranks)
    return float(np.mean(ranks))


def summarize(
    direction: Direction, bounds: RankBounds, gallery: int, ks: Sequence[int] = (1, 5, 10)
) -> DirectionResult:
    """All figures of one direction. gallery: the number of items that were ranked."""
    ranks = bounds.ranks
    return DirectionResult(
        direction=direction,
        queries=len(ranks),
        gallery=gallery,
        recall={k: recall_at_k(ranks, k) for k in ks},
        recall_optimistic={k: recall_at_k(bounds.optimistic, k) for k in ks},
        recall_pessimistic={k: recall_at_k(bounds.pessimistic, k) for k in ks},
        median_rank=median_rank(ranks),
        mean_rank=mean_rank(ranks),
        tied_queries=bounds.tied_queries,
    )


def first_found_ranks(found: NDArray[np.integer[Any]], relevant: Relevance) -> Ids:
    """Rank of the first relevant item in ranked lists that somebody else made, e.g. an index; NOT_FOUND where
    there is none.

    found: (n_queries, m) gallery positions, best first; -1 for no hit. recall_at_k of the result holds for k
    <= m.

    >>> ranks = first_found_ranks(np.array([[5, 3], [4, -1]]), Relevance.lists([[3], [0, 1]]))
    >>> int(ranks[0]), bool(ranks[1] == NOT_FOUND)
    (2, True)
    """
    hits = _relevant_hits(found, relevant)
    if hits.shape[1] == 0:
        return np.full(len(hits), NOT_FOUND, np.int64)
    return np.where(hits.any(axis=1), np.argmax(hits, axis=1) + 1, NOT_FOUND).astype(np.int64)


def relevant_recall_at_k(found: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> float:
    """TREC's recall: the mean over queries of the share of relevant items that are in the top k.

    found: (n_queries, m) gallery positions, best first, none twice; -1 for no hit; m >= k, or the whole
    gallery.

    >>> relevant_recall_at_k(np.array([[7, 2, 9], [0, 8, 1]]), Relevance.lists([[2, 3], [0, 1]]), k=2)
    0.5
    """
    _check_k(k)
    hits = _relevant_hits(found, relevant)[:, :k]
    return float(np.mean(np.count_nonzero(hits, axis=1) / relevant.counts))


def ann_recall_at_k(
    found_ids: NDArray[np.integer[Any]],
    found_scores: NDArray[np.floating[Any]],
    exact_ids: NDArray[np.integer[Any]],
    exact_scores: NDArray[np.floating[Any]],
    k: int,
) -> float:
    """The mean over queries of the share of the k exact neighbours that approximate search found.

    Exact in ties: a hit counts when it is one of the k exact neighbours or scores at least as much as the
    k-th of them, so an index is not blamed for breaking a tie in another way. An id returned twice counts
    once.

    found_ids, found_scores: (n_queries, m), best first; id -1 for no hit. Scores of record: an index that
    returns rounded ones is to be scored again first. exact_ids, exact_scores: (n_queries, at least min(k,
    gallery)), best first, -1 for padding. Where a query has fewer than k exact neighbours (a small gallery),
    these are all there is to find. A query with none counts as 1.

    >>> exact_ids, exact_scores = np.array([[4, 2, 7]]), np.array([[0.9, 0.8, 0.8]])
    >>> ann_recall_at_k(np.array([[4, 7]]), np.array([[0.9, 0.8]]), exact_ids, exact_scores, k=2)  # 7 ties
    1.0
    >>> ann_recall_at_k(np.array([[4, 5]]), np.array([[0.9, 0.1]]), exact_ids, exact_scores, k=2)
    0.5
    """
    _check_k(k)
    if found_ids.shape != found_scores.shape or exact_ids.shape != exact_scores.shape:
        raise ValueError("ids and scores must have the same shape")
    if len(found_ids) != len(exact_ids) or len(found_ids) == 0:
        raise ValueError(f"{len(found_ids)} lists of hits for {len(exact_ids)} queries")
    shares = [
        _share_found(found_ids[q, :k], found_scores[q, :k], exact_ids[q, :k], exact_scores[q, :k])
        for q in range(len(exact_ids))
    ]
    return float(np.mean(shares))


def _share_found(
    found_ids: NDArray[np.integer[Any]],
    found_scores: NDArray[np.floating[Any]],
    exact_ids: NDArray[np.integer[Any]],
    exact_scores: NDArray[np.floating[Any]],
) -> float:
    """`ann_recall_at_k` of one query, cut to k."""
    to_find = exact_ids >= 0
    if not to_find.any():
        return 1.0
    worst = float(exact_scores[to_find].min())
    right = (found_ids >= 0) & ((found_scores >= worst) | np.isin(found_ids, exact_ids))
    return min(1.0, len(np.unique(found_ids[right])) / int(to_find.sum()))


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _check_ranks(ranks: Ids) -> None:
    if len(ranks) == 0:
        raise ValueError("no ranks: a share of no queries is not a number")


def _check(queries: Vectors, gallery: Vectors, relevant: Relevance) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be (n, dim) with one dim")
    if len(relevant) != len(queries):
        raise ValueError(f"relevance for {len(relevant)} queries, but {len(queries)} queries")
    if int(relevant.positions.max()) >= len(gallery):
        raise ValueError(f"position {int(relevant.positions.max())} in a gallery of {len(gallery)}")


def _float32(vectors: Vectors, what: str) -> NDArray[np.float32]:
    """For comparisons within the margin; refuses what would make every comparison false."""
    wide = vectors.astype(np.float32, copy=False)
    if not np.isfinite(wide).all():
        raise ValueError(f"{what}: not all vectors are finite")
    return wide


def _between(relevant: Relevance, block: slice) -> Relevance:
    """The relevance of a block of queries."""
    offsets = relevant.offsets[block.start : block.stop + 1]
    return Relevance(offsets - offsets[0], relevant.positions[offsets[0] : offsets[-1]])


def _count_above(
    queries: Vectors, gallery: Vectors, wide: NDArray[np.float32], longest: float, relevant: Relevance
) -> tuple[Ids, Ids, Ids]:
    """For each query of a block, how many items that are not relevant (score more than, tie with, tie with
    and stand before) the best relevant one."""
    best_score, best_position = _best_relevant(queries, gallery, relevant)
    narrow = _float32(queries, "queries")
    scores = narrow @ wide.T
    # Relevant items never count against a query: the best cannot be beaten by them, and it is the first of
    # those equal to it.
    scores[np.repeat(np.arange(len(queries)), relevant.counts), relevant.positions] = -np.inf
    margin = _margins(narrow, longest)
    low, high = _float32_around(best_score, margin)
    over = scores > high[:, None]
    above = np.count_nonzero(over, axis=1).astype(np.int64)
    near = scores >= low[:, None]
    near ^= over
    tied, tied_before = np.zeros_like(above), np.zeros_like(above)
    for query, position in _batches(np.flatnonzero(near), len(gallery), queries.shape[1]):
        score = _score(queries, query, gallery, position)
        equal = score == best_score[query]
        before = equal & (position < best_position[query])
        for total, counted in ((above, score > best_score[query]), (tied, equal), (tied_before, before)):
            total += np.bincount(query[counted], minlength=len(queries))
    return above, tied, tied_before


def _best_relevant(queries: Vectors, gallery: Vectors, relevant: Relevance) -> tuple[NDArray[np.float64], Ids]:
    """Score and position of each query's best relevant item; of equal ones the lowest position."""
    query = np.repeat(np.arange(len(queries)), relevant.counts)
    score = np.empty(len(query), np.float64)
    step = _pairs_at_once(queries.shape[1])
    for start in range(0, len(query), step):
        pairs = slice(start, start + step)
        score[pairs] = _score(queries, query[pairs], gallery, relevant.positions[pairs])
    best = np.lexsort((relevant.positions, -score, query))[relevant.offsets[:-1]]
    return score[best], relevant.positions[best]


def _score(queries: Vectors, query: Ids, gallery: Vectors, position: Ids) -> NDArray[np.float64]:
    """The score of record of each pair. It depends on the two vectors alone, so that equal vectors have equal
    scores: a matrix product would round the same vector differently at different places."""
    left, right = queries[query].astype(np.float64), gallery[position].astype(np.float64)
    scores: NDArray[np.float64] = np.einsum("nd,nd->n", left, right)
    return scores


def _margins(queries: NDArray[np.float32], longest: float) -> NDArray[np.float64]:
    """How far, at most, a float32 score lies from the score of record, for each query.

    The classical bound on a dot product summed in any order, dim * unit roundoff * |a| * |b| (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1), with four more for the rounding of the vectors
    themselves and of the bounds.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", queries, queries, dtype=np.float64))
    margins: NDArray[np.float64] = np.maximum(MARGIN, (queries.shape[1] + 4) * 2.0**-24 * lengths * longest)
    return margins


def _float32_around(
    score: NDArray[np.float64], margin: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """score - margin and score + margin in float32, rounded away from the score."""
    low = np.nextafter((score - margin).astype(np.float32), np.float32(-np.inf))
    high = np.nextafter((score + margin).astype(np.float32), np.float32(np.inf))
    return low, high


def _pairs_at_once(dim: int) -> int:
    return max(1, BLOCK_BYTES // (2 * 8 * max(1, dim)))


def _batches(flat: NDArray[np.intp], n_items: int, dim: int) -> Iterator[tuple[Ids, Ids]]:
    """(query, position) of flat places in a block of scores, in batches whose float64 vectors fit the
    bound."""
    step = _pairs_at_once(dim)
    for start in range(0, len(flat), step):
        query, position = np.divmod(flat[start : start + step], n_items)
        yield query, position


def _relevant_hits(found: NDArray[np.integer[Any]], relevant: Relevance) -> NDArray[np.bool_]:
    """Which hits are relevant to their query, (n_queries, m)."""
    if found.ndim != 2 or len(found) != len(relevant):
        raise ValueError(f"hits of shape {found.shape} for {len(relevant)} queries")
    # One sorted array of (query, position) pairs, each a single number, answers for all queries at once.
    span = int(max(found.max(initial=0), relevant.positions.max())) + 1
    query = np.arange(len(relevant), dtype=np.int64)
    judged = np.repeat(query, relevant.counts) * span + relevant.positions
    hits: NDArray[np.bool_] = np.isin(query[:, None] * span + found.astype(np.int64), judged) & (found >= 0)
    return hits
