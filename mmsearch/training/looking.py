"""Where hard negatives are looked for: among the pictures that are learned from, through the index of their gallery."""

import math

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery
from mmsearch.items import IMAGES
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.training.hard_negatives import Look
from mmsearch.training.records import TrainingPairs

__all__ = ["look_in_gallery"]


_LEAST_SHARE = 0.25  # of a gallery's pictures: of fewer hardly any are among the nearest of all


def look_in_gallery(gallery: Gallery, pairs: TrainingPairs) -> Look | None:
    """Finds pictures of pairs through the gallery's index, which stays right: vectors of pictures do not change when
    texts are trained. None, for exact search among the vectors of the pairs, where there is no index, and where most
    of what it finds would be pictures that are not learned from."""
    if pairs.rows is None or gallery.index_for(IMAGES.name) is None:
        return None
    share = pairs.images / gallery.live_rows(IMAGES.name)
    if share < _LEAST_SHARE:
        return None
    opened = OpenGallery(gallery)
    order = np.argsort(pairs.rows)
    ascending = pairs.rows[order]

    def look(texts: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        row_ids = opened.search(texts, k=math.ceil(count / share), table=IMAGES.name).row_ids
        nearest = np.minimum(np.searchsorted(ascending, row_ids), len(ascending) - 1)
        # What is not in the pairs is held out, chosen by, or has no caption.
        found: NDArray[np.int64] = np.where(ascending[nearest] == row_ids, order[nearest], -1)
        return found

    return look
