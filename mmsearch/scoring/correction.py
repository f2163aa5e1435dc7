"""Correction for hubs: an item's scores are lowered by how well it scores with queries that do not mean it.

    corrected(q, i) = score(q, i) - alpha * mean of the k highest scores of i with a bank of queries

"Nearest Neighbor Normalization Improves Multimodal Retrieval", Chowdhury, Wang, Hall, Xu, Yeh, Boix-Adserà, Jegelka,
EMNLP 2024. Of a file with several items (frames, pages, tiles) the best item answers, so that the file is what may be
a hub: all of its items are lowered alike, by what the best of them scores with each query of the bank.

The bank has to be of the kind that asks: texts for images, images for captions. A query that truly asks
for an item must not stand in the item's own bank, or the item is lowered for being right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import VectorBlock, Vectors, exact_search

if TYPE_CHECKING:
    from mmsearch.metrics import Difference, Relevance

__all__ = [
    "ALPHAS",
    "CAUTIOUS",
    "KS",
    "NO_CORRECTION",
    "CorrectionTrial",
    "Setting",
    "average_trials",
    "bank_means",
    "best_of_files",
    "try_settings",
]

ALPHAS = (0.25, 0.5, 0.75, 1.0)
KS = (1, 2, 4, 8, 16, 32)
"""The settings that are tried."""

_ITEMS_AT_ONCE = 4096
_SCORES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Setting:
    """How much is taken away. alpha: the share of the mean; 0 for no correction. k: of so many scores."""

    alpha: float
    k: int


NO_CORRECTION = Setting(0.0, 1)
CAUTIOUS = Setting(0.25, 16)
"""What the paper recommends where nothing can be measured."""


def bank_means(
    vectors: Vectors,
    bank: NDArray[np.float32],
    ks: Sequence[int] = KS,
    *,
    owners: NDArray[np.int64] | None = None,
    bank_owners: NDArray[np.int64] | None = None,
    starts: NDArray[np.integer[Any]] | None = None,
) -> dict[int, NDArray[np.float64]]:
    """The mean of the k highest scores of each item with a bank, for each of some k: float64 (n,).

    vectors: (n, dim), of the items. bank: (m, dim), at least one row. Both L2-normalised. owners (n,), bank_owners
    (m,): what in the bank has an item's own id does not count for it. Of fewer than k scores the mean is of those
    there are; of none it is 0. starts: where several items are of one file, see `best_of_files`; each of them then has
    the mean of its file, whose score with a query is that of its best item. They have one owner.

    >>> items, bank = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2]
    >>> bank_means(items, bank, (1, 2))[1].tolist(), bank_means(items, bank, (1, 2))[2].tolist()
    ([1.0, 1.0, 0.0], [0.5, 0.5, 0.0])
    >>> bank_means(items, bank, (1,), owners=np.arange(3), bank_owners=np.arange(2))[1].tolist()
    [0.0, 0.0, 0.0]
    """
    if starts is not None and len(starts) < len(vectors):
        return _bank_means_of_files(vectors, bank, ks, owners, bank_owners, starts)
    most_own = 0
    if bank_owners is not None and owners is not None:
        most_own = int(np.unique_counts(bank_owners).counts.max(initial=0))
    width = max(ks)
    means = {k: np.zeros(len(vectors)) for k in ks}
    for start in range(0, len(vectors), _ITEMS_AT_ONCE):
        rows = slice(start, start + _ITEMS_AT_ONCE)
        items = np.ascontiguousarray(vectors[rows], np.float32)
        best = exact_search([VectorBlock(np.arange(len(bank)), bank)], items, width + most_own)
        scores = best.scores
        if owners is not None and bank_owners is not None:
            is_own = bank_owners[best.row_ids] == owners[rows, None]
            scores = -np.sort(np.where(is_own, np.inf, -scores), axis=1)
        is_score = np.isfinite(scores)
        sums = np.cumsum(np.where(is_score, scores, 0.0), axis=1)
        counts = np.cumsum(is_score, axis=1)
        for k in ks:
            last = min(k, scores.shape[1]) - 1
            means[k][rows] = sums[:, last] / np.maximum(1, counts[:, last])
    return means


def _bank_means_of_files(
    vectors: Vectors,
    bank: NDArray[np.float32],
    ks: Sequence[int],
    owners: NDArray[np.int64] | None,
    bank_owners: NDArray[np.int64] | None,
    starts: NDArray[np.integer[Any]],
) -> dict[int, NDArray[np.float64]]:
    counts = np.diff(starts, append=len(vectors))
    means = {k: np.zeros(len(starts)) for k in ks}
    alone = starts[counts == 1]
    of_alone = None if owners is None else owners[alone]
    for k, values in bank_means(vectors[alone], bank, ks, owners=of_alone, bank_owners=bank_owners).items():
        means[k][counts == 1] = values
    for file in np.flatnonzero(counts > 1).tolist():
        first = int(starts[file])
        items = np.asarray(vectors[first : first + int(counts[file])], np.float32)
        scores = (items @ bank.T).max(axis=0)
        if owners is not None and bank_owners is not None:
            scores = scores[bank_owners != owners[first]]
        best = np.sort(scores)[::-1][: max(ks)].astype(np.float64)
        for k in ks:
            means[k][file] = best[:k].mean() if len(best) else 0.0
    return {k: np.repeat(values, counts) for k, values in means.items()}


def best_of_files(scores: NDArray[np.floating[Any]], starts: NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
    """What the best item of each file scores: (n_queries, n_files).

    scores: (n_queries, n_items), the items of one file side by side. starts: (n_files,), ascending, the first of each.

    >>> best_of_files(np.array([[0.1, 0.9, 0.3, 0.2]]), np.array([0, 2, 3])).tolist()
    [[0.9, 0.3, 0.2]]
    """
    return scores if len(starts) == scores.shape[1] else np.maximum.reduceat(scores, starts, axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class CorrectionTrial:
    """What a correction is worth, measured on queries whose answers are known.

    Attributes:
        chosen: The setting that is best on all queries.
        gain: Of the mean reciprocal rank, each query corrected by what was chosen on the other fold.
        plain_ranks: int64 (n_queries,), of the first relevant item by the score.
        corrected_ranks: int64 (n_queries,), by the corrected score, the choice being the other fold's; of several
            splits (n_splits, n_queries).
        fold_settings: What was chosen on the queries of each fold, of the first split.
        mrr: The mean reciprocal rank of all queries by each setting.
    """

    chosen: Setting
    gain: "Difference"
    plain_ranks: NDArray[np.int64]
    corrected_ranks: NDArray[np.int64]
    fold_settings: tuple[Setting, Setting]
    mrr: Mapping[Setting, float]

    @property
    def helps(self) -> bool:
        """Whether the interval of the gain lies above zero."""
        return self.gain.interval.low > 0

    @property
    def setting(self) -> Setting:
        """What to use: no correction where it was not seen to help."""
        return self.chosen if self.helps else NO_CORRECTION


def try_settings(
    scores: NDArray[np.floating[Any]],
    relevant: "Relevance",
    means: Sequence[Mapping[int, NDArray[np.float64]]],
    folds: NDArray[np.integer[Any]],
    clusters: NDArray[np.int64],
    starts: NDArray[np.integer[Any]] | None = None,
) -> CorrectionTrial:
    """Choose alpha and k by two-fold cross-fitting: every query counts, and none judges its own choice.

    scores: (n_queries, n_items), cosines. relevant: positions of the items that each query asks for. means: of the
    items, for each fold of queries, as `bank_means` gives them. folds: (n_queries,), 0 or 1; the queries of one
    cluster belong to one fold. clusters: (n_queries,), from 0, what is resampled for the interval (images). starts:
    where several items are of one file, see `best_of_files`; then files are ranked, each by its best item, and
    `relevant` are positions of files. Raises ValueError where a fold has no query.
    """
    if sorted(np.unique(folds).tolist()) != [0, 1]:
        raise ValueError("both folds need queries")
    settings = [Setting(alpha, k) for k in sorted(means[0]) for alpha in ALPHAS]
    plain = _ranks(scores, relevant, None, starts)
    ranks = {setting: np.empty(len(scores), np.int64) for setting in settings}
    for fold in (0, 1):
        (queries,) = np.nonzero(folds == fold)
        of_fold = relevant.take(queries)
        for setting in settings:
            lowered = setting.alpha * means[fold][setting.k]
            ranks[setting][queries] = _ranks(scores[queries], of_fold, lowered, starts)
    reciprocal = {NO_CORRECTION: 1 / plain} | {setting: 1 / ranks[setting] for setting in settings}
    ranks[NO_CORRECTION] = plain

    def choose(queries: NDArray[np.bool_]) -> Setting:
        return _best({setting: float(values[queries].mean()) for setting, values in reciprocal.items()})

    first, second = choose(folds == 0), choose(folds == 1)
    crossed = np.where(folds == 0, ranks[second], ranks[first])
    gain = _gain(plain, 1 / crossed[None], clusters)
    mrr = {setting: float(values.mean()) for setting, values in reciprocal.items()}
    return CorrectionTrial(_best(mrr), gain, plain, crossed, (first, second), mrr)


def average_trials(trials: Sequence[CorrectionTrial], clusters: NDArray[np.int64]) -> CorrectionTrial:
    """Trials of the same queries split otherwise, as one: what a query gains is the mean of what it gained in each.

    Of few queries one split may show a gain and the next one none; which it is should not be left to the lot.
    clusters: (n_queries,), as of each trial.
    """
    plain, corrected = trials[0].plain_ranks, np.stack([trial.corrected_ranks for trial in trials])
    gain = _gain(plain, 1 / corrected, clusters)
    mrr = {setting: float(np.mean([trial.mrr[setting] for trial in trials])) for setting in trials[0].mrr}
    return CorrectionTrial(_best(mrr), gain, plain, corrected, trials[0].fold_settings, mrr)


def _best(mrr: Mapping[Setting, float]) -> Setting:
    """Of equal ones the first: no correction before any."""
    return max(mrr, key=lambda setting: mrr[setting])


def _gain(plain: NDArray[np.int64], reciprocal: NDArray[np.float64], clusters: NDArray[np.int64]) -> "Difference":
    """Of the mean reciprocal rank. reciprocal: corrected, (n_splits, n_queries)."""
    figures = {"MRR": 1 / plain}, {"MRR": reciprocal.mean(axis=0)}
    from mmsearch.metrics import differences  # late: a query measures nothing

    return differences(*figures, clusters, int(clusters.max()) + 1)["MRR"]


def _ranks(
    scores: NDArray[np.floating[Any]],
    relevant: "Relevance",
    lowered: NDArray[np.float64] | None,
    starts: NDArray[np.integer[Any]] | None,
) -> NDArray[np.int64]:
    """Ranks, from 1, of the best relevant item of each query; of equal scores the lower position comes first."""
    ranks = np.empty(len(scores), np.int64)
    step = max(1, _SCORES_AT_ONCE // max(1, scores.shape[1]))
    positions = np.arange(scores.shape[1] if starts is None else len(starts))
    for start in range(0, len(scores), step):
        block = scores[start : start + step] if lowered is None else scores[start : start + step] - lowered
        block = block if starts is None else best_of_files(block, starts)
        for row, values in enumerate(block, start):
            own = relevant.positions[relevant.offsets[row] : relevant.offsets[row + 1]]
            best = own[np.argmax(values[own])]
            before = (values > values[best]) | ((values == values[best]) & (positions < best))
            ranks[row] = 1 + np.count_nonzero(before)
    return ranks
