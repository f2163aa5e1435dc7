"""The correction for hubs, measured fairly: what a query is corrected by was chosen by other images' queries."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Vectors
from mmsearch.metrics import Ids, Relevance
from mmsearch.scoring import NO_CORRECTION, CorrectionTrial, Setting, bank_means, try_settings

__all__ = ["CrossCorrection", "cross_correct"]

# As `calibrate` has them: the choice is measured on so many queries, and the bank is as large.
_QUERIES = 2000
_BANK = 1024
_LEAST_IMAGES = 60


@dataclass(frozen=True, slots=True, eq=False)
class CrossCorrection:
    """What is taken from the scores of a benchmark's items, by fold of the queries.

    Attributes:
        folds: The fold of each query, 0 or 1: (n_queries,).
        lowered: For the queries of each fold, what is taken from the score of each item, float64 (n_items,); None
            where nothing is.
        trial: How the settings were chosen; None where there are too few images to choose by.
    """

    folds: Ids
    lowered: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
    trial: CorrectionTrial | None

    @property
    def settings(self) -> tuple[Setting, Setting]:
        """For the queries of each fold: what the other fold chose; no correction where it was not seen to help."""
        if self.trial is None or not self.trial.helps:
            return NO_CORRECTION, NO_CORRECTION
        chosen_by_first, chosen_by_second = self.trial.fold_settings
        return chosen_by_second, chosen_by_first


def cross_correct(
    queries: NDArray[np.float32],
    items: Vectors,
    relevant: Relevance,
    image_of_query: Ids,
    image_of_item: Ids,
    *,
    seed: int = 0,
) -> CrossCorrection:
    """The correction of items (n_items, dim) for queries (n_queries, dim), both L2-normalised.

    Half of the images are one fold. The bank for a fold's queries is a sample of the other fold's, and the setting is
    what the other fold chose: no query stands in its own bank or judges its own choice. image_of_query, image_of_item:
    what in the bank is about an item's own image does not count for it.
    """
    rng = np.random.default_rng(seed)
    images = np.unique(image_of_query)
    folds = (rng.permutation(len(images)) % 2)[np.searchsorted(images, image_of_query)]
    if len(images) < _LEAST_IMAGES:
        return CrossCorrection(folds, (None, None), None)
    means = []
    for fold in (0, 1):
        bank = np.sort(rng.permutation(np.flatnonzero(folds != fold))[:_BANK])
        means.append(bank_means(items, queries[bank], owners=image_of_item, bank_owners=image_of_query[bank]))
    asking = np.sort(rng.permutation(len(queries))[:_QUERIES])
    scores = queries[asking] @ np.asarray(items, np.float32).T
    clusters = np.unique(image_of_query[asking], return_inverse=True)[1]
    trial = try_settings(scores, relevant.of(asking), means, folds[asking], clusters)
    uncorrected = CrossCorrection(folds, (None, None), trial)
    first, second = (
        None if setting == NO_CORRECTION else setting.alpha * means[fold][setting.k]
        for fold, setting in enumerate(uncorrected.settings)
    )
    return replace(uncorrected, lowered=(first, second))
