"""Items of the gallery that a query names, and their vectors: asked with them, no model is needed."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import IMAGES
from mmsearch.locations import Location, located
from mmsearch.names import composed, shown

__all__ = ["row_named", "vector_at", "vector_of"]


def row_named(gallery: Gallery, named: str | os.PathLike[str] | int) -> int:
    """The live picture of a row id, of a file, or of a path as the gallery says it. Raises QueryError unless it is one.

    A file that stands beside another one, as raw data beside what was made of them, is that picture.
    A path that stands below several roots is told apart by naming its file.
    """
    if isinstance(named, int):
        return _live(gallery, named)
    asked = os.fspath(named)
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
    rows = [row for root_id, path in paths_below_roots for row in _rows_at(gallery, path) if row[1] == root_id]
    rows = rows or _rows_at(gallery, asked)
    if not rows:
        raise QueryError(
            f"the gallery {gallery.path} holds no picture {asked}. Name one as a query shows it, "
            "or ask with any file: --image FILE"
        )
    if len(rows) > 1:
        named_by = ", ".join(str((folders.get(root_id) or Path()) / asked) for _, root_id in rows)
        raise QueryError(f"{asked} stands in the gallery {len(rows)} times; name one of them: {named_by}")
    return rows[0][0]


def _below(path: Location, folder: Location) -> str | None:
    """A path relative to a folder that holds it, also where only Unicode tells their names apart."""
    if path.is_relative_to(folder):
        return str(path.relative_to(folder))
    inside, outside = composed(str(path)), f"{composed(str(folder))}/"
    return inside.removeprefix(outside) if inside.startswith(outside) else None


def vector_at(gallery: Gallery, row_id: int) -> NDArray[np.float32]:
    """The stored vector (dim,) of a picture."""
    return read_consistently(gallery, lambda now: _vector(now, row_id))


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


def _vector(gallery: Gallery, row_id: int) -> NDArray[np.float32]:
    return np.asarray(gallery.vectors(IMAGES.name, np.array([row_id]))[0], np.float32)
