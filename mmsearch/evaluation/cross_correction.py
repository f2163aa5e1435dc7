"""What corrects the scores of a benchmark for hubs: no query judges the choice by which it is corrected."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.correcting import LEAST_IMAGES, own_banks, split_images, try_banks
from mmsearch.evaluation.records import Items
from mmsearch.metrics import Direction, Ids, Vectors
from mmsearch.scoring import NO_CORRECTION, CorrectionTrial, Setting

__all__ = ["CrossCorrection", "cross_correct"]


@dataclass(frozen=True, slots=True, eq=False)
class CrossCorrection:
    """What is taken from the scores of the items of one direction, by fold of its queries.

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


def cross_correct(direction: Direction, images: Vectors, captions: Vectors, items: Items) -> CrossCorrection:
    """The correction of one direction, as the corrected figures of a report have it.

    images, captions: (n, dim), L2-normalised, in the order of items. The bank for the queries of one half of the images
    are queries of the other half, which choose the setting too.
    """
    image_folds = split_images(items)
    banks = own_banks(images, captions, items, image_folds)
    if direction == "text_to_image":
        queries, searched, banks_of_items = captions[items.query_captions], images, banks.text_to_image
        relevant, image_of_query = items.images_of_caption, items.image_of_caption
    else:
        queries, searched, banks_of_items = images[items.query_images], captions, banks.image_to_text
        relevant, image_of_query = items.captions_of_image, items.query_images
    folds = image_folds[image_of_query]
    if len(np.unique(image_of_query)) < LEAST_IMAGES or banks_of_items is None:
        return CrossCorrection(folds, (None, None), None)
    means, trial = try_banks(queries, searched, relevant, image_of_query, folds, banks_of_items)
    uncorrected = CrossCorrection(folds, (None, None), trial)
    first, second = (
        None if setting == NO_CORRECTION else setting.alpha * means[fold][setting.k]
        for fold, setting in enumerate(uncorrected.settings)
    )
    return replace(uncorrected, lowered=(first, second))
