"""Some of a gallery, from all over it: what to look at before anything is asked."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.search.hits import Hit
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["sample", "sample_captions"]

_LOOKED_AT = 48  # captions, of which the shortest are taken


def sample(opened: OpenGallery, n: int, *, where: str | None = None) -> list[Hit]:
    """At most n pictures, spread evenly over the gallery or over what a filter admits; the same for the same version.

    Their score is 0: nothing was asked. Raises FilterError.
    """
    columns, admits = ((), _row_ids) if where is None else opened.retriever.open_filter(IMAGES.name, where)
    some = read_consistently(opened.gallery, lambda now: _spread(now, IMAGES.name, n, columns, admits))
    return opened.hits(Neighbours(some[None], np.zeros((1, len(some)))), IMAGES.name)[0] if some.size else []


def sample_captions(opened: OpenGallery, n: int) -> list[str]:
    """At most n captions from all over the gallery, short ones first: examples of what can be asked."""

    def some(now: Gallery) -> list[str]:
        row_ids = _spread(now, CAPTIONS.name, _LOOKED_AT, (), _row_ids)
        return [row.caption for row in now.records(CAPTIONS, row_ids)] if row_ids.size else []

    return sorted(dict.fromkeys(read_consistently(opened.gallery, some)), key=len)[:n]


def _spread(
    gallery: Gallery,
    table: str,
    n: int,
    columns: Sequence[str],
    admits: Callable[[pa.Table], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """At most n ids, ascending, at even distances among those admitted."""
    pieces = [admits(rows) for rows in gallery.scan(table, columns)]
    row_ids = np.sort(np.concatenate(pieces)) if pieces else np.zeros(0, np.int64)
    positions = np.linspace(0, len(row_ids) - 1, min(n, len(row_ids))).round().astype(np.int64)
    chosen: NDArray[np.int64] = row_ids[positions]
    return chosen


def _row_ids(rows: pa.Table) -> NDArray[np.int64]:
    return np.asarray(rows.column("row_id").to_numpy(), np.int64)
