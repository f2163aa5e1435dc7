"""The same queries through an index, and what that costs."""

import time

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.benchmark_encoding import EncodedBenchmark
from mmsearch.evaluation.records import EvaluateOptions, ViaIndex
from mmsearch.gallery import Gallery
from mmsearch.indexing import IndexOptions, index
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import Relevance, first_found_ranks, recall_at_k
from mmsearch.progress import ProgressCallback
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["measure_through_index"]


def measure_through_index(
    encoded: EncodedBenchmark, options: EvaluateOptions, progress: ProgressCallback
) -> tuple[ViaIndex, ...]:
    """Measures both directions through an index of the cached gallery, built where there is none."""
    items = encoded.items
    directions: tuple[tuple[str, str, NDArray[np.float32], Relevance, NDArray[np.int64]], ...] = (
        ("text_to_image", IMAGES.name, encoded.captions, items.images_of_caption, encoded.image_row_ids),
        ("image_to_text", CAPTIONS.name, encoded.images, items.captions_of_image, encoded.caption_row_ids),
    )
    path = encoded.gallery.path
    results = []
    for direction, table, queries, relevant, row_ids in directions:
        index_options = IndexOptions(factory=options.factory, k=max(options.ks))
        index_report = index(path, table=table, options=index_options, progress=progress)
        opened = OpenGallery(Gallery.open(path))
        started = time.perf_counter()
        hits = opened.search(queries, k=max(options.ks), table=table)
        seconds = time.perf_counter() - started
        ranks = first_found_ranks(_find_positions(hits.row_ids, row_ids), relevant)
        results.append(
            ViaIndex(
                direction=direction,
                factory=index_report.factory,
                effort=index_report.effort,
                recall={k: recall_at_k(ranks, k) for k in options.ks},
                ann=index_report.recall,
                milliseconds=1000 * seconds / len(queries),
            )
        )
    return tuple(results)


def _find_positions(hit_row_ids: NDArray[np.int64], row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turns row ids into positions in the benchmark; -1 for none."""
    order = np.argsort(row_ids)
    nearest = np.minimum(np.searchsorted(row_ids[order], hit_row_ids), len(row_ids) - 1)
    positions = order[nearest]
    return np.where(row_ids[positions] == hit_row_ids, positions, -1)
