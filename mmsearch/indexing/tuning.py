"""Measures what each search effort costs and finds, and chooses the cheapest that reaches a target."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, MeasuredRecall, TriedEffort
from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery
from mmsearch.indexing.trial_queries import TrialQueries, remove_own_rows
from mmsearch.metrics import ann_recall_at_k
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.search.through_index import search_index

__all__ = [
    "BEYOND",
    "CLOSE_TO_BEST",
    "TIMED",
    "Goal",
    "MeasuredIndex",
    "choose_effort",
    "make_times_consistent",
    "lower_bound",
    "measure_recall",
    "measure_milliseconds",
    "size_of",
    "time_in_turn",
    "is_surely_below",
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
    """What an index is tuned for.

    Attributes:
        recall: At k hits, by its lower bound.
        latency_ms: Of a single query at most, or None.
    """

    recall: float
    k: int
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredIndex:
    """An index of a gallery's table, as it is searched.

    Attributes:
        lowered: What is taken from the score of each of its rows, by position, before they are ranked; None: nothing.
    """

    ann: AnnIndex
    gallery: Gallery
    table: str
    lowered: NDArray[np.float64] | None = None

    def neighbours(self, queries: NDArray[np.float32], k: int, effort: Effort) -> Neighbours:
        """By the very search that queries use. queries: (n, dim)."""
        return search_index(self.ann, self.gallery, self.table, queries, k, effort=effort, lowered=self.lowered)


def lower_bound(shares: NDArray[np.float64]) -> float:
    """The lower end of the one-sided 95 % interval of the mean of shares in [0, 1], by the normal approximation.

    >>> round(lower_bound(np.array([1.0, 0.8, 0.9, 1.0])), 3)
    0.846
    """
    if len(shares) < 2:
        return float(shares.mean())
    return float(shares.mean() - _Z * shares.std(ddof=1) / np.sqrt(len(shares)))


def is_surely_below(recall: MeasuredRecall, target: float) -> bool:
    """Whether a measurement contradicts a target: also the upper end of its interval is below."""
    return recall.mean is not None and recall.low is not None and 2 * recall.mean - recall.low < target


def tunable(ann: AnnIndex, k: int) -> bool:
    """Whether searches of this kind of index can look at more or less."""
    return len(ann.widths()) > 1 or ann.factors(k) != [None]


def try_efforts(
    searched: MeasuredIndex, queries: Sequence[TrialQueries], goal: Goal, progress: ProgressCallback
) -> list[TriedEffort]:
    """Tries efforts, the cheapest widths first, to some way beyond the target; returns what each costs and finds."""
    tried: list[TriedEffort] = []
    widths = searched.ann.widths()
    reached_at: int | None = None
    for number, width in enumerate(widths):
        points = _try_width(searched, queries, width, goal.k)
        tried += points
        progress(Progress("measuring recall", number + 1, len(widths)))
        low = max(point.low for point in points)
        if low >= goal.recall and reached_at is None:
            reached_at = size_of(width)
        elif low < goal.recall and _has_levelled_off(tried, low, size_of(width)):
            break
        if reached_at is not None and size_of(width) >= BEYOND * reached_at:
            break
        if goal.latency_ms is not None and min(point.milliseconds for point in points) > BEYOND * goal.latency_ms:
            break
    return make_times_consistent(time_in_turn(searched, tried, _timed_queries(queries), goal))


def time_in_turn(
    searched: MeasuredIndex, tried: Sequence[TriedEffort], vectors: NDArray[np.float32], goal: Goal
) -> list[TriedEffort]:
    """Times the efforts that reach the target again, one query after the other with each of them.

    What else the machine does then slows all of them alike; minutes apart it can make the dearer of two the quicker.
    """
    spent: dict[Effort, list[float]] = {point.effort: [] for point in tried if point.low >= goal.recall}
    for vector in vectors[np.arange(TIMED) % len(vectors)]:
        for effort, times in spent.items():
            times.append(measure_milliseconds(searched, vector[None], effort, goal.k, repeats=1))
    return [
        replace(point, milliseconds=statistics.median(spent[point.effort])) if point.effort in spent else point
        for point in tried
    ]


def _timed_queries(queries: Sequence[TrialQueries]) -> NDArray[np.float32]:
    """Those of texts, where there are any."""
    return (next((group for group in queries if group.kind == "text"), None) or queries[0]).vectors


def make_times_consistent(tried: Sequence[TriedEffort]) -> list[TriedEffort]:
    """Removes noise from the times of efforts: none takes longer than one that does more in every way."""
    return [
        replace(point, milliseconds=min(more.milliseconds for more in tried if _does_more(more.effort, point.effort)))
        for point in tried
    ]


def _does_more(more: Effort, less: Effort) -> bool:
    settings = ("nprobe", "ef_search", "k_factor")
    return all((getattr(more, name) or 0) >= (getattr(less, name) or 0) for name in settings)


def _cost_key(point: TriedEffort) -> tuple[float, int, int]:
    return point.milliseconds, size_of(point.effort), point.effort.k_factor or 0


def choose_effort(tried: Sequence[TriedEffort], goal: Goal) -> TriedEffort:
    """Chooses the cheapest effort that reaches the target.

    Where none does (within the latency, if one is asked for), the cheapest of those that come close to the best.
    """
    allowed = [point for point in tried if goal.latency_ms is None or point.milliseconds <= goal.latency_ms]
    allowed = allowed or [min(tried, key=_cost_key)]
    good = min(goal.recall, max(point.low for point in allowed) - CLOSE_TO_BEST)
    return min((point for point in allowed if point.low >= good), key=_cost_key)


def measure_recall(searched: MeasuredIndex, queries: TrialQueries, effort: Effort, k: int) -> MeasuredRecall:
    """Measures the recall of one kind of query at an effort, by the very search that queries use."""
    # One more hit only where the query itself will be taken out: others must not profit from it.
    hit_count = k + 1 if (queries.own_row_ids >= 0).all() else k
    hits = remove_own_rows(searched.neighbours(queries.vectors, hit_count, effort), queries.own_row_ids, k)
    exact = queries.exact_neighbours

    def share_found(q: int, k: int) -> float:
        row = slice(q, q + 1)
        return ann_recall_at_k(hits.row_ids[row], hits.ranking[row], exact.row_ids[row], exact.ranking[row], k)

    shares = np.array([share_found(q, k) for q in range(len(queries.vectors))])
    # A search for one hit looks at no fewer candidates, so that this is its recall too.
    best_at_one = float(np.mean([share_found(q, 1) for q in range(len(queries.vectors))]))
    mean, low = float(shares.mean()), lower_bound(shares)
    return MeasuredRecall(queries.kind, k, len(shares), mean, None, low, queries.source, best_at_one)


def measure_milliseconds(
    searched: MeasuredIndex, vectors: NDArray[np.float32], effort: Effort, k: int, repeats: int = TIMED_AT_LAST
) -> float:
    """Measures the median time of single queries, one after the other."""
    spent = []
    for vector in vectors[np.arange(repeats) % len(vectors)]:
        began = time.perf_counter()
        searched.neighbours(vector[None], k, effort)
        spent.append(time.perf_counter() - began)
    return 1000 * statistics.median(spent)


def _try_width(searched: MeasuredIndex, queries: Sequence[TrialQueries], width: Effort, k: int) -> list[TriedEffort]:
    """Measures a point for each number of candidates at one width of search."""
    efforts = [replace(width, k_factor=factor) for factor in searched.ann.factors(k)]
    shares = {group.kind: _measure_shares(searched, group, efforts, k) for group in queries}
    timed = _timed_queries(queries)
    points = []
    for row, effort in enumerate(efforts):
        mean = {kind: float(shares_by_effort[row].mean()) for kind, shares_by_effort in shares.items()}
        low = {kind: lower_bound(shares_by_effort[row]) for kind, shares_by_effort in shares.items()}
        spent = measure_milliseconds(searched, timed, effort, k, TIMED)
        text, image = (mean.get("text"), low.get("text")), (mean.get("image"), low.get("image"))
        points.append(TriedEffort(effort, spent, *text, *image))
    return points


def _measure_shares(
    searched: MeasuredIndex, queries: TrialQueries, efforts: Sequence[Effort], k: int
) -> NDArray[np.float64]:
    """(efforts, queries): the share of its exact neighbours that each query finds."""
    ann, lowered = searched.ann, searched.lowered
    dead = searched.gallery.dead_row_ids(searched.table)
    hit_count = k + 1 if (queries.own_row_ids >= 0).all() else k
    exact_scores = queries.exact_neighbours.ranking[:, :k]
    to_find = np.maximum(1, np.count_nonzero(np.isfinite(exact_scores), axis=1))
    worst = np.where(np.isfinite(exact_scores), exact_scores, np.inf).min(axis=1, initial=np.inf)
    shares = np.empty((len(efforts), len(queries.vectors)))
    scores: NDArray[np.float64] | None = None
    for row, effort in reversed(list(enumerate(efforts))):
        count = ann.candidates(hit_count, effort, lowered=lowered)
        if scores is None or not ann.candidates_are_nested(lowered):
            row_ids, scores = ann.candidate_scores(queries.vectors, count, dead=dead, effort=effort, lowered=lowered)
            # A hit counts when it scores at least as much as the k-th exact neighbour: ties are broken in many ways.
            is_right = (scores >= worst[:, None]) & (row_ids != queries.own_row_ids[:, None])
        shares[row] = np.minimum(1, np.count_nonzero(is_right[:, :count], axis=1) / to_find)
    return shares


def size_of(width: Effort) -> int:
    """How wide a search is, whatever its setting is called."""
    return width.nprobe or width.ef_search or 1


def _has_levelled_off(tried: Sequence[TriedEffort], low: float, width: int) -> bool:
    """Whether a width of a quarter found as much: then the lists are not what is missing."""
    before = [point.low for point in tried if size_of(point.effort) * BEYOND <= width]
    return bool(before) and low - max(before) < CLOSE_TO_BEST / 5
