"""The stage that leaves out near-duplicates."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Vectors
from mmsearch.gallery import read_consistently
from mmsearch.search.candidates import Candidates, Stage, StageContext

__all__ = ["distinct_rows", "leave_out_near_duplicates"]

_ROWS_AT_A_TIME = 1024  # candidates whose vectors are in memory together


def leave_out_near_duplicates(context: StageContext) -> Stage | None:
    """Of hits that are nearly the same, the best stays; nothing that is nearly what the query asks with does."""
    cosine, table = context.query.distinct, context.query.table
    if cosine is None:
        return None

    def fetch(row_ids: NDArray[np.int64]) -> Vectors:
        return read_consistently(context.gallery, lambda gallery: gallery.vectors(table, row_ids))

    def leave_out(candidates: Candidates) -> Candidates:
        keep = distinct_rows(candidates.row_ids, fetch, cosine=cosine, k=context.wanted, shown=context.own_rows)
        looked_at = candidates.first(len(keep))
        return looked_at.kept(keep)

    return leave_out


def distinct_rows(
    row_ids: NDArray[np.int64],
    fetch: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    *,
    cosine: float,
    k: int,
    shown: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of some rows (n,), best first, to keep so that no two of them have this cosine or more.

    Going down the list, a row is kept unless it is too close to one that was kept before it, or to one of `shown`.
    fetch: row ids -> their unit vectors, in that order. Returns bool (m,), m <= n: it ends when k rows are kept.
    """
    taken = np.asarray(fetch(shown), np.float32)
    keep = np.zeros(len(row_ids), bool)
    n_kept = 0
    for start in range(0, len(row_ids), _ROWS_AT_A_TIME):
        vectors = np.asarray(fetch(row_ids[start : start + _ROWS_AT_A_TIME]), np.float32)
        near: NDArray[np.bool_] = np.any(vectors @ taken.T >= cosine, axis=1)
        for position, vector in enumerate(vectors):
            if not near[position]:
                keep[start + position] = True
                n_kept += 1
                if n_kept == k:
                    return keep[: start + position + 1]
                near |= vectors @ vector >= cosine
        taken = np.concatenate([taken, vectors[keep[start : start + _ROWS_AT_A_TIME]]])
    return keep
