"""The stage that takes a second look: the best candidates in the order of a re-ranker, which sees the picture of each
and the words of the query together. What it does not look at keeps its order, and comes after them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery
from mmsearch.items import ImageRow
from mmsearch.search.candidates import Candidates, Stage, StageContext
from mmsearch.search.opened_rerankers import Rerankers
from mmsearch.search.query import PLUS_SCORE, TextPart

if TYPE_CHECKING:
    from mmsearch.rerankers import LookedAt, Reranker

__all__ = ["rerank"]


def rerank(context: StageContext) -> Stage | None:
    """The best `depth` candidates in the order of the query's re-ranker; of equal ones the lower row id first. With
    `within`, those that were looked at when the time was over. Raises EncoderError, QueryError."""
    query = context.query
    if query.rerank is None:
        return None
    (part,) = query.parts
    assert isinstance(part, TextPart)  # see Query
    text, looked_at = part.text, (context.rerankers or Rerankers()).reranker(query.rerank)
    at_once = looked_at.reranker.pairs_at_once

    def stage(candidates: Candidates) -> Candidates:
        if len(candidates) < context.wanted and candidates.bound > -np.inf:
            return candidates  # it is called again, with more of them
        row_ids = candidates.row_ids[: query.depth].tolist()
        told = context.second_look
        told.wanted = len(row_ids)
        values = np.full(len(candidates), -np.inf)
        began = time.monotonic()
        for start in range(0, len(row_ids), at_once):
            if start and query.within is not None and time.monotonic() - began >= query.within:
                break
            fits = _match(looked_at, text, context.gallery, row_ids[start : start + at_once])
            values[start : start + len(fits)] = fits
            told.looked_at += int(np.count_nonzero(fits > -np.inf))
            told.unread += int(np.count_nonzero(fits == -np.inf))
        if query.rerank_by == PLUS_SCORE:
            values += candidates.scores["score"]
        return candidates.reranked(values)

    return stage


def _match(looked_at: "LookedAt", text: str, gallery: Gallery, row_ids: Sequence[int]) -> NDArray[np.float64]:
    """float64 (n,): how well a text fits the pictures of n rows; -inf where one cannot be read."""
    from mmsearch.search.gallery_files import NoSuchImage, image_row  # late: most queries need no files

    rows: list[ImageRow | None] = []
    for row_id in row_ids:
        try:
            rows.append(image_row(gallery, row_id))
        except NoSuchImage:  # deleted since
            rows.append(None)
    # A picture is known again by its content; one whose content is not known, by its row.
    keys = [(row.content_hash if row else None) or row_id for row_id, row in zip(row_ids, rows, strict=True)]
    row_of = dict(zip(keys, rows, strict=True))
    return looked_at.match([text] * len(rows), keys, lambda key: _prepared(gallery, row_of[key], looked_at.reranker))


def _prepared(gallery: Gallery, row: ImageRow | None, reranker: "Reranker") -> Any:
    """A row's picture as the re-ranker takes it; None where it cannot be read."""
    from mmsearch import images
    from mmsearch.search.gallery_files import FileGone, read_content

    if row is None:
        return None
    try:
        return reranker.prepare(images.decode(read_content(gallery, row).data).image)
    except (FileGone, ImageError):
        return None
