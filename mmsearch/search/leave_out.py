"""The stages that leave out: what the query asks with, and what scores too little."""

import numpy as np

from mmsearch.search.candidates import Candidates, Stage, StageContext

__all__ = ["leave_out_low_scores", "leave_out_own_rows"]


def leave_out_own_rows(context: StageContext) -> Stage | None:
    """The items that a query asks with are no answer to it."""
    own_rows = context.own_rows
    if not own_rows.size:
        return None
    return lambda candidates: candidates.kept(~np.isin(candidates.row_ids, own_rows))


def leave_out_low_scores(context: StageContext) -> Stage | None:
    """Hits that score less than the query's `min_score` are none."""
    lowest = context.query.min_score
    if lowest is None:
        return None

    def leave_out(candidates: Candidates) -> Candidates:
        nothing_more = candidates.highest_missing_score < lowest
        return candidates.kept(candidates.scores["score"] >= lowest, bound=-np.inf if nothing_more else None)

    return leave_out
