"""Some of a gallery, from all over it: what to look at before anything is asked."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.search.hits import Hit
from mmsearch.search.near import filter_near
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["sample", "sample_captions"]

_LOOKED_AT = 48  # captions, of which the shortest are taken


def sample(opened: OpenGallery, n: int, *, where: str | None = None, near: str | None = None) -> list[Hit]:
    """At most n pictures, spread evenly over the gallery or over what a filter admits; the same for the same version.

    Their score is 0: nothing was asked. near: see `Query`.
    Raises FilterError, QueryError.
    """
    if where is not None:
        opened.retriever.check_filter(IMAGES.name, where)
    admitted_by = filter_near(where, near)

    def spread(now: Gallery) -> NDArray[np.int64]:
        if admitted_by is None:
            return _spread(_all(now, IMAGES.name), n)
        return _spread(opened.retriever.admitted(now, IMAGES.name, admitted_by), n)

    some = read_consistently(opened.gallery, spread)
    return opened.hits(Neighbours(some[None], np.zeros((1, len(some)))), IMAGES.name)[0] if some.size else []


def sample_captions(opened: OpenGallery, n: int) -> list[str]:
    """At most n captions from all over the gallery, short ones first: examples of what can be asked."""

    def some(now: Gallery) -> list[str]:
        row_ids = _spread(_all(now, CAPTIONS.name), _LOOKED_AT)
        rows = now.records(CAPTIONS, row_ids) if row_ids.size else []
        return [row.caption for row in rows if row.guessed_by is None]

    return sorted(dict.fromkeys(read_consistently(opened.gallery, some)), key=len)[:n]


def _spread(row_ids: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """At most n of these ids, at even distances."""
    positions = np.linspace(0, len(row_ids) - 1, min(n, len(row_ids))).round().astype(np.int64)
    chosen: NDArray[np.int64] = row_ids[positions]
    return chosen


def _all(gallery: Gallery, table: str) -> NDArray[np.int64]:
    """The ids of a table's live rows, ascending."""
    pieces = [rows.column("row_id").to_numpy() for rows in gallery.scan(table, ())]
    return np.sort(np.concatenate(pieces)) if pieces else np.zeros(0, np.int64)
