"""The same queries through an index, and what that costs."""

import time

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.encoding import Encoded
from mmsearch.evaluation.records import EvaluateOptions, ViaIndex
from mmsearch.gallery import Gallery
from mmsearch.indexing import IndexOptions, index
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import Relevance, first_found_ranks, recall_at_k
from mmsearch.progress import ProgressCallback
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["through_index"]


def through_index(encoded: Encoded, options: EvaluateOptions, progress: ProgressCallback) -> tuple[ViaIndex, ...]:
    """Both directions through an index of the cached gallery, built where there is none."""
    items = encoded.items
    directions: tuple[tuple[str, str, NDArray[np.float32], Relevance, NDArray[np.int64]], ...] = (
        ("text_to_image", IMAGES.name, encoded.captions, items.images_of_caption, encoded.image_row_ids),
        ("image_to_text", CAPTIONS.name, encoded.images, items.captions_of_image, encoded.caption_row_ids),
    )
    place = encoded.gallery.path
    found = []
    for direction, table, queries, relevant, row_ids in directions:
        asked = IndexOptions(factory=options.factory, k=max(options.ks))
        built = index(place, table=table, options=asked, progress=progress)
        opened = OpenGallery(Gallery.open(place))
        started = time.perf_counter()
        hits = opened.search(queries, k=max(options.ks), table=table)
        seconds = time.perf_counter() - started
        ranks = first_found_ranks(_positions(hits.row_ids, row_ids), relevant)
        found.append(
            ViaIndex(
                direction=direction,
                factory=built.factory,
                effort=built.effort,
                recall={k: recall_at_k(ranks, k) for k in options.ks},
                ann=built.recall,
                milliseconds=1000 * seconds / len(queries),
            )
        )
    return tuple(found)


def _positions(found: NDArray[np.int64], row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row ids as positions in the benchmark; -1 for none."""
    order = np.argsort(row_ids)
    places = np.minimum(np.searchsorted(row_ids[order], found), len(row_ids) - 1)
    positions = order[places]
    return np.where(row_ids[positions] == found, positions, -1)
