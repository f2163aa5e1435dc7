"""Figures of one direction: of each query, and averaged over them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.ranking import Ranking
from mmsearch.metrics.relevance import Direction, Ids, Relevance
from mmsearch.metrics.uncertainty import Interval, wilson_interval

__all__ = [
    "DirectionResult",
    "average_precision_at_k",
    "average_precision_at_r",
    "mean_rank",
    "median_rank",
    "ndcg_at_k",
    "per_query",
    "r_precisions",
    "recall_at_k",
    "relevant_recall_at_k",
    "summarize",
]

Figures = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DirectionResult:
    """The figures of one direction of a benchmark.

    Attributes:
        queries: The number of queries.
        gallery: The number of items that were ranked.
        recall: k -> R@k.
        recall_optimistic: k -> R@k with every tie in favour of the relevant item.
        recall_pessimistic: k -> R@k with every tie against it.
        relevant_recall: k -> TREC's recall.
        mean_reciprocal_rank: Of the best relevant item.
        mean_average_precision: At 10, over all relevant items.
        ndcg: At 10, over all relevant items.
        intervals: Name of a figure as in `per_query` -> its 95 % interval; empty where none was computed.
        wilson: k -> Wilson's interval of R@k; empty likewise.
    """

    direction: Direction
    queries: int
    gallery: int
    recall: dict[int, float]
    recall_optimistic: dict[int, float]
    recall_pessimistic: dict[int, float]
    relevant_recall: dict[int, float]
    median_rank: float
    mean_rank: float
    mean_reciprocal_rank: float
    mean_average_precision: float
    ndcg: float
    tied_queries: int
    intervals: dict[str, Interval] = field(default_factory=dict)
    wilson: dict[int, Interval] = field(default_factory=dict)

    def interval(self, name: str) -> Interval:
        """The interval to show of a figure, named as in `per_query`: the bootstrap's; or Wilson's where all queries
        agree (at 0 or 1), which leaves the bootstrap nothing to resample. Of a mean of values between 0 and 1 that
        are no yes or no, such as MRR, Wilson's is then the wider one. Raises KeyError where none was computed."""
        bootstrap = self.intervals[name]
        if bootstrap.low == bootstrap.high and name != "mean_rank":
            for k, share in self.recall.items():
                if share == bootstrap.low and share in (0, 1):
                    return self.wilson.get(k, bootstrap)
        return bootstrap


def per_query(ranking: Ranking, ks: Sequence[int] = (1, 5, 10)) -> dict[str, Figures]:
    """Every figure that is a mean over queries, as float64 (n_queries,) under its name in reports: "R@1", …,
    "relevant_recall@1", …, "mean_rank", "MRR", "mAP@10", "nDCG@10".

    Those that look at all relevant items need top lists: of max(10, *ks) or of the whole gallery.
    """
    ranks, top, relevant = ranking.bounds.ranks, ranking.top, ranking.relevant
    return {
        **{f"R@{k}": (ranks <= k).astype(np.float64) for k in ks},
        **{f"relevant_recall@{k}": relevant_recalls(top, relevant, k) for k in ks},
        "mean_rank": ranks.astype(np.float64),
        "MRR": 1 / ranks,
        "mAP@10": average_precision_at_k(top, relevant, 10),
        "nDCG@10": ndcg_at_k(top, relevant, 10),
    }


def summarize(
    direction: Direction,
    ranking: Ranking,
    gallery: int,
    ks: Sequence[int] = (1, 5, 10),
    intervals: dict[str, Interval] | None = None,
    independent: int | None = None,
) -> DirectionResult:
    """All figures of one direction. gallery: the number of items that were ranked. independent: of how many independent
    draws Wilson's interval is; None for none."""
    bounds, figures = ranking.bounds, per_query(ranking, ks)
    recall = {k: recall_at_k(bounds.ranks, k) for k in ks}
    return DirectionResult(
        direction=direction,
        queries=len(bounds.ranks),
        gallery=gallery,
        recall=recall,
        recall_optimistic={k: recall_at_k(bounds.optimistic, k) for k in ks},
        recall_pessimistic={k: recall_at_k(bounds.pessimistic, k) for k in ks},
        relevant_recall={k: float(np.mean(figures[f"relevant_recall@{k}"])) for k in ks},
        median_rank=median_rank(bounds.ranks),
        mean_rank=mean_rank(bounds.ranks),
        mean_reciprocal_rank=float(np.mean(figures["MRR"])),
        mean_average_precision=float(np.mean(figures["mAP@10"])),
        ndcg=float(np.mean(figures["nDCG@10"])),
        tied_queries=bounds.tied_queries,
        intervals=dict(intervals or {}),
        wilson={} if independent is None else {k: wilson_interval(share, independent) for k, share in recall.items()},
    )


def recall_at_k(ranks: Ids, k: int) -> float:
    """R@k: the share of queries whose best relevant item is in the top k. ranks: int64 (n_queries,), from 1.

    >>> recall_at_k(np.array([1, 2, 4, 10]), 3)
    0.5
    """
    _check_ranks(ranks)
    _check_k(k)
    return int(np.count_nonzero(ranks <= k)) / len(ranks)


def median_rank(ranks: Ids) -> float:
    """The middle rank; of an even number the mean of the middle two.

    >>> median_rank(np.array([1, 2, 4, 10]))
    3.0
    """
    _check_ranks(ranks)
    return float(np.median(ranks))


def mean_rank(ranks: Ids) -> float:
    """The average rank. Few very bad queries dominate it: the median says more.

    >>> mean_rank(np.array([1, 2, 4, 10]))
    4.25
    """
    _check_ranks(ranks)
    return float(np.mean(ranks))


def relevant_recall_at_k(hit_positions: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> float:
    """TREC's recall: the mean over queries of the share of relevant items that are in the top k.

    hit_positions: (n_queries, m) gallery positions, best first, none twice; -1 for no hit; m >= k, or the whole
    gallery.

    >>> relevant_recall_at_k(np.array([[7, 2, 9], [0, 8, 1]]), Relevance.lists([[2, 3], [0, 1]]), k=2)
    0.5
    """
    return float(np.mean(relevant_recalls(hit_positions, relevant, k)))


def relevant_recalls(hit_positions: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> Figures:
    """`relevant_recall_at_k` of each query, (n_queries,)."""
    shares: Figures = np.count_nonzero(_hits_are_relevant(hit_positions, relevant, k), axis=1) / relevant.counts
    return shares


def average_precision_at_k(hit_positions: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> Figures:
    """The average precision of each query, cut at k: (n_queries,). Their mean is mAP@k.

    The sum of the precisions at the ranks of relevant items in the top k, divided by the number of relevant
    items: trec_eval's map_cut. hit_positions: as for `relevant_recall_at_k`.

    >>> average_precision_at_k(np.array([[7, 2, 9, 3]]), Relevance.lists([[2, 3]]), k=4).tolist()
    [0.5]
    """
    hits = _hits_are_relevant(hit_positions, relevant, k)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    averages: Figures = np.sum(precision * hits, axis=1) / relevant.counts
    return averages


def average_precision_at_r(hit_positions: NDArray[np.integer[Any]], relevant: Relevance) -> Figures:
    """The average precision of each query, cut at R, the number of items relevant to it: (n_queries,). Their mean is
    mAP@R (Musgrave et al. 2020, as ECCV Caption has it; Chun et al. 2022).

    hit_positions: as for `relevant_recall_at_k`, at least R of each query.

    >>> average_precision_at_r(np.array([[7, 2, 3], [1, 0, 5]]), Relevance.lists([[2, 3], [1]])).tolist()
    [0.25, 1.0]
    """
    hits = _hits_within_r(hit_positions, relevant)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    averages: Figures = np.sum(precision * hits, axis=1) / relevant.counts
    return averages


def r_precisions(hit_positions: NDArray[np.integer[Any]], relevant: Relevance) -> Figures:
    """R-precision of each query: the share of its R best hits that are relevant, where R is the number of items
    relevant to it: (n_queries,). hit_positions: as for `average_precision_at_r`.

    >>> r_precisions(np.array([[7, 2, 3], [1, 0, 5]]), Relevance.lists([[2, 3], [1]])).tolist()
    [0.5, 1.0]
    """
    shares: Figures = np.count_nonzero(_hits_within_r(hit_positions, relevant), axis=1) / relevant.counts
    return shares


def ndcg_at_k(hit_positions: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> Figures:
    """The normalised discounted cumulative gain of each query: (n_queries,). Their mean is nDCG@k.

    A relevant item at rank r gains 1 / log2(1 + r), divided by what the best order would gain (Järvelin and
    Kekäläinen 2002, as trec_eval's ndcg_cut). hit_positions: as for `relevant_recall_at_k`.

    >>> ndcg_at_k(np.array([[7, 2], [2, 7]]), Relevance.lists([[2], [2]]), k=2).round(4).tolist()
    [0.6309, 1.0]
    """
    hits = _hits_are_relevant(hit_positions, relevant, k)
    gain = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(gain)])[np.minimum(relevant.counts, k)]
    normalised: Figures = np.sum(hits * gain[: hits.shape[1]], axis=1) / best
    return normalised


def _hits_are_relevant(hit_positions: NDArray[np.integer[Any]], relevant: Relevance, k: int) -> NDArray[np.bool_]:
    """Which of the k best hits are relevant to their query, (n_queries, at most k)."""
    _check_k(k)
    if hit_positions.ndim != 2 or len(hit_positions) != len(relevant):
        raise ValueError(f"hits of shape {hit_positions.shape} for {len(relevant)} queries")
    return relevant.are_relevant(np.arange(len(relevant))[:, None], hit_positions[:, :k].astype(np.int64))


def _hits_within_r(hit_positions: NDArray[np.integer[Any]], relevant: Relevance) -> NDArray[np.bool_]:
    """Which hits are relevant to their query and among its R best, (n_queries, the largest R)."""
    most = int(relevant.counts.max())
    hits = _hits_are_relevant(hit_positions, relevant, most)
    return hits & (np.arange(hits.shape[1]) < relevant.counts[:, None])


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _check_ranks(ranks: Ids) -> None:
    if len(ranks) == 0:
        raise ValueError("no ranks: a share of no queries is not a number")
