"""The stage that puts what is likely relevant in the order of its dates."""

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.gallery import read_consistently
from mmsearch.search.candidates import Candidates, Stage, StageContext

__all__ = ["sort_by_date"]

_DATE = "taken_at"


def sort_by_date(context: StageContext) -> Stage | None:
    """Newest first, of the candidates that keep nine in ten of what is relevant; those without a date come last.

    By date alone the first hit would be the newest item of the gallery, whatever was asked. Raises QueryError where
    items of this kind have no date, or where it is not known what is likely relevant.
    """
    query = context.query
    if query.sort != "date":
        return None
    if _DATE not in context.gallery.schema(query.table).names:
        raise QueryError(f"{query.table} have no date to sort by")
    likely_from = context.keep
    if likely_from is None:
        raise QueryError(
            f"what is likely relevant is not known: {context.gallery.path} has too few captions that name pictures"
        )

    def sort(candidates: Candidates) -> Candidates:
        if candidates.bound >= likely_from:
            return candidates.first(0)  # the newest of all may still be missing
        likely = candidates.kept(candidates.ranking >= likely_from, bound=-np.inf)
        if not len(likely):
            return likely
        rows = read_consistently(context.gallery, lambda now: now.rows(query.table, likely.row_ids, [_DATE]))
        dates = rows.column(_DATE).to_numpy(zero_copy_only=False).astype("datetime64[us]")
        seconds = np.where(np.isnat(dates), -np.inf, dates.astype(np.int64) / 1e6)
        return likely.reordered(_DATE, seconds, bound=-np.inf)

    return sort
