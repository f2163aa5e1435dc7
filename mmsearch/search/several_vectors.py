"""Queries of several vectors, as a film or document asks by each of its frames: of a row the highest score counts.

Each vector is searched by as a query of its own, which is exact: see `mmsearch.exact.best_of_queries`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours, Vectors, best_of_queries, highest_scores

__all__ = ["best_rows", "of_vectors"]

Fetch = Callable[[NDArray[np.int64]], Vectors]


def of_vectors(neighbours: Neighbours, vectors: slice) -> Neighbours:
    """What was found by some of the vectors that were searched by together."""
    corrected = None if neighbours.corrected is None else neighbours.corrected[vectors]
    return Neighbours(neighbours.row_ids[vectors], neighbours.scores[vectors], corrected, neighbours.searched)


def best_rows(found: Neighbours, look: int, vectors: NDArray[np.float32], fetch: Fetch | None = None) -> Neighbours:
    """The best rows (n,) of one query, without padding, n <= look.

    found: by each of its vectors (m, dim), as far as that. fetch: row ids -> their vectors, where an index may have
    found a row by another vector than the one that it is most like: what was found is scored with all of them then.
    """
    several = len(found.row_ids) > 1
    best = best_of_queries(found, look) if several else found
    there = best.row_ids[0] >= 0
    corrected = None if best.corrected is None else best.corrected[0][there]
    only = Neighbours(best.row_ids[0][there], best.scores[0][there], corrected, best.searched)
    return _scored_with_all(only, vectors, fetch) if several and fetch is not None and there.any() else only


def _scored_with_all(found: Neighbours, vectors: NDArray[np.float32], fetch: Fetch) -> Neighbours:
    scores = highest_scores(vectors, fetch(found.row_ids))
    corrected = None if found.corrected is None else scores - (found.scores - found.corrected)
    ranking = scores if corrected is None else corrected
    order = np.lexsort((found.row_ids, -ranking))
    return replace(
        found,
        row_ids=found.row_ids[order],
        scores=scores[order],
        corrected=None if corrected is None else corrected[order],
    )
