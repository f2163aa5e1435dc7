"""What scores look like when what is asked for is there, and when it is not: samples that chances are fitted to.

A query whose answer is known is asked twice, of the same items: with what it asks for among them, and without. It is
asked of few items and of many, so that a chance can go by how many were searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.scoring.probability import Probability, fit_probability

if TYPE_CHECKING:
    from mmsearch.metrics import Relevance

__all__ = ["HITS", "Chances", "Samples", "fit_chances", "sample_presence"]

HITS = 10
"""How many of the best hits count: what a person looks at."""

_SHARES = (1 / 8, 1 / 4, 1 / 2, 1)
"""Of the items, how many are searched."""

_FEWEST = 4 * HITS


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Scores with what became of them.

    scores: float64 (n,). searched: int64 (n,), among how many items. relevant: bool (n,). queries: int64 (n,), which
    query each belongs to.
    """

    scores: NDArray[np.float64]
    searched: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    queries: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chances:
    """Fitted to queries of which every second one found nothing, since what it asked for was not there.

    Attributes:
        of_hit: The chance that one of the `HITS` best hits is relevant, by its score.
        of_any: The chance that any of them is, by the score of the best.
    """

    of_hit: Probability
    of_any: Probability


def sample_presence(
    scores: NDArray[np.floating], relevant: "Relevance", rng: "np.random.Generator"
) -> tuple[Samples, Samples]:
    """(the `HITS` best hits of queries, the best hit of each with whether any of these is relevant).

    scores: (n_queries, n_items), what ranks. relevant: positions of what each query asks for.
    """
    of_hit: list[tuple[NDArray[np.float64], int, NDArray[np.bool_], int]] = []
    of_any: list[tuple[float, int, bool, int]] = []
    n_items = scores.shape[1]
    for share in _SHARES:
        count = max(min(_FEWEST, n_items), round(share * n_items))
        columns = np.sort(rng.permutation(n_items)[:count])
        position_of = np.full(n_items, -1)
        position_of[columns] = np.arange(count)
        for query, all_scores in enumerate(scores):
            own = relevant.positions[relevant.offsets[query] : relevant.offsets[query + 1]]
            others = all_scores[columns].astype(np.float64)
            inside = position_of[own]
            others[inside[inside >= 0]] = -np.inf
            best = np.sort(np.partition(others, max(0, count - HITS))[-HITS:])[::-1]
            best = best[np.isfinite(best)]
            for there in (False, True):
                found, is_own = best, np.zeros(len(best), bool)
                if there:
                    found = np.concatenate([best, all_scores[own]])
                    is_own = np.concatenate([is_own, np.ones(len(own), bool)])
                    order = np.argsort(-found, kind="stable")[:HITS]
                    found, is_own = found[order], is_own[order]
                if len(found):
                    of_hit.append((found, count, is_own, query))
                    of_any.append((float(found[0]), count, bool(is_own.any()), query))
    sizes = [len(found) for found, *_ in of_hit]
    hits = Samples(
        np.concatenate([found for found, *_ in of_hit]),
        np.repeat([count for _, count, _, _ in of_hit], sizes),
        np.concatenate([is_own for _, _, is_own, _ in of_hit]),
        np.repeat([query for *_, query in of_hit], sizes),
    )
    best_scores, counts, any_found, queries = (np.array(column) for column in zip(*of_any, strict=True))
    return hits, Samples(best_scores, counts, any_found, queries)


def fit_chances(samples: Sequence[tuple[Samples, Samples]], clusters: NDArray[np.int64]) -> Chances:
    """The chances that follow from samples of some groups of queries, each as `sample_presence` gives them.

    clusters: (queries of all groups,), one after the other: what is held out together when a form is chosen (images).
    """

    def fit(groups: Sequence[Samples]) -> Probability:
        first = np.cumsum([0, *(int(group.queries.max()) + 1 for group in groups)])
        queries = np.concatenate([group.queries + start for group, start in zip(groups, first[:-1], strict=True)])
        return fit_probability(
            np.concatenate([group.scores for group in groups]),
            np.concatenate([group.searched for group in groups]),
            np.concatenate([group.relevant for group in groups]),
            clusters[queries],
        )

    return Chances(fit([hits for hits, _ in samples]), fit([best for _, best in samples]))
