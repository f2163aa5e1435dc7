"""Searching an index of a gallery. What `query` does and what recall is measured of are this one."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery

if TYPE_CHECKING:
    from mmsearch.ann import AnnIndex, Effort

__all__ = ["search_index"]


def search_index(
    ann: "AnnIndex",
    gallery: Gallery,
    table: str,
    queries: NDArray[np.float32],
    k: int,
    *,
    effort: "Effort",
    lowered: NDArray[np.float64] | None = None,
) -> Neighbours:
    """The k best of what an index finds, by the score of record; dead rows left out. queries: (n, dim).

    effort: what is None in it is as the index was tuned. Where fewer than k are found though more are alive, the query
    looks at every row. lowered: (rows,), by position in the index, what is taken from scores before they are ranked.
    """
    return ann.neighbours(queries, k, dead=gallery.dead_row_ids(table), effort=effort, lowered=lowered)
