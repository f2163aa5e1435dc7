"""Marks: items of the gallery that whoever asks called right or wrong, and what a query learns from them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.gallery import Gallery
from mmsearch.search.own_items import row_named, vector_at
from mmsearch.search.query import MarkPart, Query

if TYPE_CHECKING:
    from mmsearch.scoring import Moments, Taught

__all__ = ["find_marked", "row_of_mark", "teach_by_marks"]

_SAME = 0.9999
"""The cosine from which a vector that was kept is that of the item."""


def find_marked(query: Query, gallery: Gallery) -> dict[MarkPart, int]:
    """The row of each image that a query marks. Of one that is kept with its vector there may be none, or another
    image may have its name by now. Raises QueryError for others, and where one is marked as right and as wrong."""
    rows: dict[MarkPart, int] = {}
    sides: dict[int, bool] = {}
    for mark in (part for part in query.parts if isinstance(part, MarkPart)):
        row = row_of_mark(mark, gallery)
        if row is None:
            continue
        if sides.setdefault(row, mark.weight > 0) != (mark.weight > 0):
            raise QueryError(f"{mark.item} is marked as right and as wrong; say one of them")
        rows[mark] = row
    return rows


def row_of_mark(mark: MarkPart, gallery: Gallery) -> int | None:
    """The row of the image that is marked; None of one that is kept with its vector, where the gallery holds none, or
    another one under its name. Raises QueryError for others."""
    try:
        row = row_named(gallery, mark.item)
    except QueryError:
        if mark.vector is None:
            raise
        return None
    return row if mark.vector is None or _is_of(mark.vector, vector_at(gallery, row)) else None


def _is_of(kept: NDArray[np.float32], vector: NDArray[np.float32]) -> bool:
    lengths = float(np.linalg.norm(kept) * np.linalg.norm(vector))
    return kept.shape == vector.shape and float(kept @ vector) >= _SAME * lengths


def teach_by_marks(
    asked: NDArray[np.float32] | None, marks: Mapping[MarkPart, NDArray[np.float32]], moments: "Moments"
) -> "Taught":
    """What marks, each with its vector, make of a query. asked: the vector (dim,) of all else; None for nothing."""
    from mmsearch.scoring import Examples, teach  # late: few queries are taught

    weights = np.array([mark.weight for mark in marks])
    return teach(asked, Examples(np.stack([*marks.values()]), weights), moments)
