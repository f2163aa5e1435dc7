"""The stage that says how likely each hit is relevant, and leaves out what is not likely enough."""

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.search.candidates import Candidates, Stage, StageContext
from mmsearch.search.query import Query, TextPart

if TYPE_CHECKING:
    from mmsearch.scoring.presence import Chances
    from mmsearch.scoring.stored import TableScores

__all__ = ["add_probabilities", "chances_for"]


def chances_for(query: Query, scores: "TableScores | None", alpha: float, vectors: int = 1) -> "Chances | None":
    """What the hits of a query are worth, where that was measured of queries like it: of one thing, corrected as those
    were. vectors: how many it searches by. Raises QueryError where the query goes by probabilities that are not known.
    """
    why = _why_unknown(query, scores, alpha, vectors)
    if why is None:
        assert scores is not None
        return scores.record.chances
    if query.min_probability is not None or query.sort == "date":
        otherwise = "order hits by rank (--sort)" if query.sort == "date" else "leave hits out by score (--min-score)"
        raise QueryError(f"the probability of hits is not known: {why}, or {otherwise}")
    return None


def _why_unknown(query: Query, scores: "TableScores | None", alpha: float, vectors: int) -> str | None:
    """Why, and what to do."""
    if scores is None:
        return f"these {query.table} were not calibrated; run mmsearch calibrate"
    record = scores.record
    if record.chances is None:
        return f"{record.correction.why}; add captions that name pictures, and run mmsearch calibrate"
    (part, *others) = query.parts
    is_text = isinstance(part, TextPart)
    if others or vectors > 1 or query.templates or part.weight < 0 or is_text != (record.asks == "text"):
        what = "a text" if record.asks == "text" else "a picture"
        return f"it was measured for queries of {what} and nothing else among {query.table}; ask with {what} alone"
    if alpha != record.correction.alpha:
        return "it was measured for corrected scores; leave --no-correct and --correct out"
    return None


def add_probabilities(context: StageContext) -> Stage | None:
    """Each candidate gets the chance that it is relevant; what has less than the query's `min_probability` is none."""
    chances, lowest = context.chances, context.query.min_probability
    if chances is None:
        return None
    of_hit = chances.of_hit

    def add(candidates: Candidates) -> Candidates:
        probability = of_hit(candidates.ranking, candidates.searched)
        told = candidates.with_scores("probability", probability)
        if lowest is None:
            return told
        # The chance falls with what ranks.
        nothing_more = candidates.bound == -np.inf or of_hit([candidates.bound], candidates.searched)[0] < lowest
        return told.kept(probability >= lowest, bound=-np.inf if nothing_more else None)

    return add
