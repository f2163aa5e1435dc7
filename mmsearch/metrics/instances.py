"""Average precision of pictures of the same place, as Revisited Oxford and Paris define it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids

__all__ = ["precisions_without_junk", "ranks_without_junk", "trapezoid_average_precision"]


def ranks_without_junk(ranking: Ids, right: NDArray[np.integer[Any]], junk: NDArray[np.integer[Any]]) -> Ids:
    """The ranks, from 0, of what is right, where junk is taken out of the ranking: int64 (n_right,), ascending.

    ranking: (n_items,) positions of all items, best first.

    >>> ranks_without_junk(np.array([4, 2, 0, 1, 3]), np.array([0, 3]), np.array([2])).tolist()
    [1, 3]
    """
    kept = ranking[~np.isin(ranking, junk)]
    ranks: Ids = np.flatnonzero(np.isin(kept, right)).astype(np.int64)
    return ranks


def trapezoid_average_precision(ranks: Ids) -> float:
    """The area under precision and recall by trapezoids (Radenović et al. 2018, after Philbin et al. 2007): each item
    that is right adds the mean of the precisions before and at it.

    ranks: from 0, ascending, of all that is right. It differs from trec_eval's, which adds the precision at the item
    alone.

    >>> trapezoid_average_precision(np.array([0, 3])), trapezoid_average_precision(np.array([1]))
    (0.7083333333333333, 0.25)
    """
    if not len(ranks):
        raise ValueError("nothing is right: an average of nothing is not a number")
    found = np.arange(len(ranks))
    before = np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))
    at = (found + 1) / (ranks + 1)
    return float(np.mean((before + at) / 2))


def precisions_without_junk(ranks: Ids, ks: Sequence[int]) -> list[float]:
    """The precision at each k; at the rank of the last that is right, where that is smaller. ranks: as above.

    >>> precisions_without_junk(np.array([0, 3]), (1, 3, 10))
    [1.0, 0.3333333333333333, 0.5]
    """
    within = [min(int(ranks.max()) + 1, k) for k in ks]
    return [int(np.count_nonzero(ranks < k)) / k for k in within]
