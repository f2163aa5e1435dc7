"""The search effort: what each one costs and finds, and the cheapest that reaches a target."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, MeasuredRecall, TriedEffort
from mmsearch.gallery import Gallery
from mmsearch.indexing.trial_queries import Questions, without_own
from mmsearch.metrics import ann_recall_at_k
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.search.through_index import search_index

__all__ = [
    "BEYOND",
    "CLOSE_TO_BEST",
    "TIMED",
    "Goal",
    "choose",
    "consistent",
    "lower_bound",
    "measured",
    "milliseconds",
    "size_of",
    "surely_below",
    "try_efforts",
    "tunable",
]

# Single queries timed at each effort, and at the chosen one.
TIMED, TIMED_AT_LAST = 12, 60
# A recall this near to the best is not worth a greater effort, where the target is out of reach.
CLOSE_TO_BEST = 0.005
# How far beyond the first effort that reaches the target to look: more lists allow fewer candidates for each hit.
BEYOND = 4
# One-sided 95 % of the normal distribution.
_Z = 1.645


@dataclass(frozen=True, slots=True)
class Goal:
    """What to tune for. recall: at k hits, by its lower bound. latency_ms: of a single query at most, or None."""

    recall: float
    k: int
    latency_ms: float | None = None


def lower_bound(shares: NDArray[np.float64]) -> float:
    """The lower end of the one-sided 95 % interval of the mean of shares in [0, 1], by the normal approximation.

    >>> round(lower_bound(np.array([1.0, 0.8, 0.9, 1.0])), 3)
    0.846
    """
    if len(shares) < 2:
        return float(shares.mean())
    return float(shares.mean() - _Z * shares.std(ddof=1) / np.sqrt(len(shares)))


def surely_below(found: MeasuredRecall, target: float) -> bool:
    """Whether a measurement contradicts a target: also the upper end of its interval is below."""
    return found.mean is not None and found.low is not None and 2 * found.mean - found.low < target


def tunable(ann: AnnIndex, k: int) -> bool:
    """Whether searches of this kind of index can look at more or less."""
    return len(ann.widths()) > 1 or ann.factors(k) != [None]


def try_efforts(
    ann: AnnIndex,
    gallery: Gallery,
    table: str,
    asked: Sequence[Questions],
    goal: Goal,
    progress: ProgressCallback,
) -> list[TriedEffort]:
    """What every effort worth trying costs and finds: cheapest widths first, to some way beyond the target."""
    tried: list[TriedEffort] = []
    widths = ann.widths()
    reached_at: int | None = None
    for place, width in enumerate(widths):
        at_width = _at_width(ann, gallery, table, asked, width, goal.k)
        tried += at_width
        progress(Progress("measuring recall", place + 1, len(widths)))
        low = max(point.low for point in at_width)
        if low >= goal.recall and reached_at is None:
            reached_at = size_of(width)
        elif low < goal.recall and _flat(tried, low, size_of(width)):
            break
        if reached_at is not None and size_of(width) >= BEYOND * reached_at:
            break
        if goal.latency_ms is not None and min(point.milliseconds for point in at_width) > BEYOND * goal.latency_ms:
            break
    return consistent(tried)


def consistent(tried: Sequence[TriedEffort]) -> list[TriedEffort]:
    """The same efforts with times in which noise has no say: none takes longer than one that does more in every way."""
    return [
        replace(point, milliseconds=min(more.milliseconds for more in tried if _does_more(more.effort, point.effort)))
        for point in tried
    ]


def _does_more(more: Effort, less: Effort) -> bool:
    settings = ("nprobe", "ef_search", "k_factor")
    return all((getattr(more, name) or 0) >= (getattr(less, name) or 0) for name in settings)


def _cost(point: TriedEffort) -> tuple[float, int, int]:
    return point.milliseconds, size_of(point.effort), point.effort.k_factor or 0


def choose(tried: Sequence[TriedEffort], goal: Goal) -> TriedEffort:
    """The cheapest effort that reaches the target.

    Where none does (within the latency, if one is asked for), the cheapest of those that come close to the best.
    """
    allowed = [point for point in tried if goal.latency_ms is None or point.milliseconds <= goal.latency_ms]
    allowed = allowed or [min(tried, key=_cost)]
    good = min(goal.recall, max(point.low for point in allowed) - CLOSE_TO_BEST)
    return min((point for point in allowed if point.low >= good), key=_cost)


def measured(ann: AnnIndex, gallery: Gallery, table: str, asked: Questions, effort: Effort, k: int) -> MeasuredRecall:
    """The recall of one kind of query at an effort, by the very search that queries use."""
    # One more hit only where the query itself will be taken out: others must not profit from it.
    most = k + 1 if (asked.own >= 0).all() else k
    found = without_own(search_index(ann, gallery, table, asked.vectors, most, effort=effort), asked.own, k)
    exact = asked.answers

    def share(q: int, k: int) -> float:
        one = slice(q, q + 1)
        return ann_recall_at_k(found.row_ids[one], found.scores[one], exact.row_ids[one], exact.scores[one], k)

    shares = np.array([share(q, k) for q in range(len(asked.vectors))])
    # A search for one hit looks at no fewer candidates, so that this is its recall too.
    best = float(np.mean([share(q, 1) for q in range(len(asked.vectors))]))
    mean, low = float(shares.mean()), lower_bound(shares)
    return MeasuredRecall(asked.kind, k, len(shares), mean, None, low, asked.source, best)


def milliseconds(
    ann: AnnIndex,
    gallery: Gallery,
    table: str,
    queries: NDArray[np.float32],
    effort: Effort,
    k: int,
    times: int = TIMED_AT_LAST,
) -> float:
    """The median time of single queries, one after the other."""
    spent = []
    for query in queries[np.arange(times) % len(queries)]:
        began = time.perf_counter()
        search_index(ann, gallery, table, query[None], k, effort=effort)
        spent.append(time.perf_counter() - began)
    return 1000 * statistics.median(spent)


def _at_width(
    ann: AnnIndex, gallery: Gallery, table: str, asked: Sequence[Questions], width: Effort, k: int
) -> list[TriedEffort]:
    """A point for each number of candidates at one width of search."""
    efforts = [replace(width, k_factor=factor) for factor in ann.factors(k)]
    shares = {part.kind: _shares(ann, gallery, table, part, efforts, k) for part in asked}
    queries = (next((part for part in asked if part.kind == "text"), None) or asked[0]).vectors
    points = []
    for place, effort in enumerate(efforts):
        mean = {kind: float(found[place].mean()) for kind, found in shares.items()}
        low = {kind: lower_bound(found[place]) for kind, found in shares.items()}
        spent = milliseconds(ann, gallery, table, queries, effort, k, TIMED)
        text, image = (mean.get("text"), low.get("text")), (mean.get("image"), low.get("image"))
        points.append(TriedEffort(effort, spent, *text, *image))
    return points


def _shares(
    ann: AnnIndex, gallery: Gallery, table: str, asked: Questions, efforts: Sequence[Effort], k: int
) -> NDArray[np.float64]:
    """(efforts, queries): the share of its exact neighbours that each query finds."""
    dead = gallery.dead_row_ids(table)
    most = k + 1 if (asked.own >= 0).all() else k
    exact = asked.answers.scores[:, :k]
    to_find = np.maximum(1, np.count_nonzero(np.isfinite(exact), axis=1))
    worst = np.where(np.isfinite(exact), exact, np.inf).min(axis=1, initial=np.inf)
    shares = np.empty((len(efforts), len(asked.vectors)))
    scores: NDArray[np.float64] | None = None
    for place, effort in reversed(list(enumerate(efforts))):
        count = ann.candidates(most, effort)
        if scores is None or not ann.prefixed:
            row_ids, scores = ann.candidate_scores(asked.vectors, count, dead=dead, effort=effort)
            # A hit counts when it scores at least as much as the k-th exact neighbour: ties are broken in many ways.
            right = (scores >= worst[:, None]) & (row_ids != asked.own[:, None])
        shares[place] = np.minimum(1, np.count_nonzero(right[:, :count], axis=1) / to_find)
    return shares


def size_of(width: Effort) -> int:
    """How wide a search is, whatever its setting is called."""
    return width.nprobe or width.ef_search or 1


def _flat(tried: Sequence[TriedEffort], low: float, size: int) -> bool:
    """Whether a width of a quarter found as much: then the lists are not what is missing."""
    before = [point.low for point in tried if size_of(point.effort) * BEYOND <= size]
    return bool(before) and low - max(before) < CLOSE_TO_BEST / 5
