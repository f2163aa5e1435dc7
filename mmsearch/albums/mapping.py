"""A gallery as a map: every album's pictures in two dimensions, near where they are like each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.albums.grouping import center
from mmsearch.albums.layout import lay_out, place_at_neighbours, trustworthiness
from mmsearch.albums.records import ClustersReport
from mmsearch.exact import Neighbours
from mmsearch.gallery import read_consistently
from mmsearch.items import IMAGES
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.hits import Hit
from mmsearch.search.open_gallery import open_gallery

__all__ = ["AlbumMap", "album_map"]

NEIGHBOURS = 10  # of each picture, by which the map is judged
_LAID_OUT = 2_000
_ON_MAP = 20_000
_JUDGED = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class AlbumMap:
    """Where pictures stand on a map.

    Attributes:
        hits: The pictures, in an order that is drawn by lot: the first of them are from all over the gallery.
        albums: (n,), the number of each picture's album.
        positions: float32 (n, 2).
        laid_out: How many of them, the first, were laid out by each other; the rest stand at their neighbours.
        trustworthiness: How far those who are neighbours on the map are neighbours, 1 at best; see
            `mmsearch.albums.layout`.
    """

    hits: tuple[Hit, ...]
    albums: NDArray[np.int64]
    positions: NDArray[np.float32]
    laid_out: int
    trustworthiness: float


def album_map(report: ClustersReport, *, seed: int = 0, progress: ProgressCallback = quiet) -> AlbumMap:
    """Lay out the pictures of albums, or 20,000 of them. The same albums and seed give the same map.

    Raises GalleryError, StoreError.
    """
    opened = open_gallery(report.gallery)
    row_ids = np.concatenate([album.row_ids for album in report.all_albums])
    albums = np.concatenate([np.full(album.pictures, album.number) for album in report.all_albums])
    scores = np.concatenate([album.scores for album in report.all_albums])
    chosen = np.random.default_rng([seed, 1]).permutation(len(row_ids))[:_ON_MAP]
    row_ids, albums, scores = row_ids[chosen], albums[chosen], scores[chosen]
    vectors = read_consistently(opened.gallery, lambda now: now.vectors(IMAGES.name, row_ids)).astype(np.float32)
    centred = center(vectors, vectors.mean(axis=0, dtype=np.float64))
    landmarks = centred[:_LAID_OUT]
    positions = lay_out(landmarks, progress)
    if len(centred) > len(landmarks):
        progress(Progress("placing pictures on the map", 0, None))
        positions = np.concatenate([positions, place_at_neighbours(centred[_LAID_OUT:], landmarks, positions)])
    judged = np.random.default_rng([seed, 2]).permutation(len(centred))[:_JUDGED]
    k = min(NEIGHBOURS, (len(judged) - 1) // 2)
    kept = trustworthiness(centred[judged], positions[judged], k)
    hits = opened.hits(Neighbours(row_ids[None], scores[None]), IMAGES.name)[0]
    return AlbumMap(tuple(hits), albums, positions, len(landmarks), kept)
