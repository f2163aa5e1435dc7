"""Some rows of a table at random, with their vectors."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery.gallery_reader import Gallery
from mmsearch.versions import Coverage

__all__ = ["sample_rows"]


def sample_rows(
    gallery: Gallery, table: str, count: int, rng: "np.random.Generator", *, skip: Coverage = ()
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row ids and vectors of `count` live rows outside `skip` at random (all, where there are fewer), in one pass."""
    rows = gallery.live_rows(table) if not skip else sum(len(part) for part in gallery.scan(table, [], skip=skip))
    sampled = np.sort(rng.choice(rows, size=min(count, rows), replace=False))
    ids = np.empty(len(sampled), np.int64)
    vectors = np.empty((len(sampled), gallery.manifest.encoder.dim), np.float32)
    passed = filled = 0
    for block in gallery.vector_blocks(table, skip=skip):
        end = passed + len(block.row_ids)
        offsets = sampled[np.searchsorted(sampled, passed) : np.searchsorted(sampled, end)] - passed
        target = slice(filled, filled + len(offsets))
        ids[target], vectors[target] = block.row_ids[offsets], block.vectors[offsets]
        passed, filled = end, target.stop
    return ids, vectors
