"""Items of the gallery that a query names, and their vectors: asked with them, no model is needed."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.exact import Vectors
from mmsearch.gallery import Gallery, read_consistently, rows_of_file
from mmsearch.items import IMAGES
from mmsearch.locations import Location, located
from mmsearch.names import composed, shown
from mmsearch.search.query import NEAR_DUPLICATE

__all__ = [
    "MOST_VECTORS",
    "different_places",
    "mean_vector",
    "row_named",
    "rows_named",
    "vector_at",
    "vector_of",
]


MOST_VECTORS = 64
"""So many vectors a query has at most: each is searched by."""


def row_named(gallery: Gallery, named: str | os.PathLike[str] | int) -> int:
    """The live picture of a row id, of a file, or of a path as the gallery says it. Raises QueryError unless it is one.

    A file that stands beside another one, as raw data beside what was made of them, is that picture.
    A path that stands below several roots is told apart by naming its file.
    """
    if isinstance(named, int):
        return _live(gallery, named)
    return _rows_named(gallery, os.fspath(named), (_rows_at,))[0]


def rows_named(gallery: Gallery, named: str | os.PathLike[str] | int) -> NDArray[np.int64]:
    """The row of `row_named`, or of a film or document that is no picture itself all of its frames or pages, in their
    order: int64 (n,). Raises QueryError where there is neither."""
    if isinstance(named, int):
        return np.array([_live(gallery, named)], np.int64)
    return np.array(_rows_named(gallery, os.fspath(named), (_rows_at, _pieces_of)), np.int64)


_Look = Callable[[Gallery, str], list[tuple[int, int]]]
"""A path relative to a root -> (row id, root id) of what has it."""


def _rows_named(gallery: Gallery, asked: str, looks: Sequence[_Look]) -> list[int]:
    """The rows of the first look that finds some. Raises QueryError."""
    try:
        absolute = located(asked)
    except RuntimeError:  # the home of nobody
        absolute = Path(asked)
    folders = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}
    paths_below_roots = [
        (root_id, path)
        for root_id, folder in folders.items()
        if folder is not None and (path := _below(absolute, folder)) is not None
    ]
    for look in looks:
        rows = [row for root_id, path in paths_below_roots for row in look(gallery, path) if row[1] == root_id]
        rows = rows or look(gallery, asked)
        if rows:
            break
    else:
        raise QueryError(
            f"the gallery {gallery.path} holds no picture {asked}. Name one as a query shows it, "
            "or ask with any file: --image FILE"
        )
    roots = dict.fromkeys(root_id for _, root_id in rows)
    if len(roots) > 1 or (look is _rows_at and len(rows) > 1):
        named_by = ", ".join(str((folders.get(root_id) or Path()) / asked) for root_id in roots)
        raise QueryError(f"{asked} stands in the gallery {len(roots)} times; name one of them: {named_by}")
    return [row_id for row_id, _ in rows]


def _below(path: Location, folder: Location) -> str | None:
    """A path relative to a folder that holds it, also where only Unicode tells their names apart."""
    if path.is_relative_to(folder):
        return str(path.relative_to(folder))
    inside, outside = composed(str(path)), f"{composed(str(folder))}/"
    return inside.removeprefix(outside) if inside.startswith(outside) else None


def vector_at(gallery: Gallery, row_id: int) -> NDArray[np.float32]:
    """The stored vector (dim,) of a picture."""
    return read_consistently(gallery, lambda now: _vector(now, row_id))


def different_places(vectors: Vectors) -> list[int]:
    """The places of those of some vectors (n, dim) that are no near-duplicates of each other, `MOST_VECTORS` at most.

    The first is what most of them are like; each further one is the least like all before it, until all that are left
    are near-duplicates of some of them. So the first few are as far spread as so many can be.

    >>> different_places(np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32))
    [3, 0, 2]
    """
    wide = np.asarray(vectors, np.float32)
    chosen = [int(np.argmax(wide @ mean_vector(wide)))]
    nearest = wide @ wide[chosen[0]]
    while len(chosen) < MOST_VECTORS and nearest.min() < NEAR_DUPLICATE:
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, wide @ wide[chosen[-1]])
    return chosen


def mean_vector(vectors: Vectors) -> NDArray[np.float32]:
    """What vectors (n, dim) have in common: their mean, as a unit vector (dim,).

    >>> mean_vector(np.array([[1, 0], [0, 1]], np.float32)).round(2).tolist()
    [0.7099999785423279, 0.7099999785423279]
    """
    mean = np.asarray(vectors, np.float64).mean(axis=0)
    unit: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit


def vector_of(gallery: Gallery, content_hash: bytes) -> NDArray[np.float32] | None:
    """The stored vector (dim,) of a live picture with this content; None where the gallery holds none."""

    def find(now: Gallery) -> NDArray[np.float32] | None:
        row_id = now.row_with_content(IMAGES.name, content_hash)
        return None if row_id is None else _vector(now, row_id)

    return read_consistently(gallery, find)


def _live(gallery: Gallery, row_id: int) -> int:
    if not read_consistently(gallery, lambda now: now.is_live(IMAGES.name, row_id)):
        raise QueryError(f"the gallery {gallery.path} holds no picture with the row id {row_id}")
    return row_id


def _rows_at(gallery: Gallery, path: str) -> list[tuple[int, int]]:
    return read_consistently(gallery, lambda now: now.rows_at(IMAGES.name, shown(path)) or now.rows_beside(shown(path)))


def _pieces_of(gallery: Gallery, path: str) -> list[tuple[int, int]]:
    return read_consistently(gallery, lambda now: rows_of_file(now, IMAGES.name, shown(path)))


def _vector(gallery: Gallery, row_id: int) -> NDArray[np.float32]:
    return np.asarray(gallery.vectors(IMAGES.name, np.array([row_id]))[0], np.float32)
