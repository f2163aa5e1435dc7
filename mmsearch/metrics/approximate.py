"""How much of exact search an index finds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ann_recall_at_k"]


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
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
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
