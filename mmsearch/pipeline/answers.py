"""What becomes of what was found: near-duplicates left out, rows made into hits, files that are gone noticed."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MmsearchWarning
from mmsearch.exact import Neighbours, ascending
from mmsearch.gallery import Gallery, consistently
from mmsearch.locations import Location, url_of
from mmsearch.pipeline.questions import Query
from mmsearch.records import CaptionRow, ImageRow, ItemTable
from mmsearch.sources import archive_of

__all__ = ["Answer", "Hit", "distinct", "hits_of", "kept", "warn_of_gone", "warn_of_nothing"]

_NAMED = 3  # files that a warning names before it counts the rest
_FETCHED = 1024  # candidates whose vectors are held at a time while near-duplicates are looked for


@dataclass(frozen=True, slots=True)
class Hit:
    """One returned row.

    rank: from 1. score: cosine, the float64 dot product of query and stored vector. path: relative to `root`, as valid
    text. file: where to open it, a file system string. For a caption, path and file are those of its image, if any.
    gone: the file was not there any more when the answer was given. Object stores are not asked.
    """

    rank: int
    score: float
    row_id: int
    table: ItemTable
    caption: str | None
    root: str | None
    path: str | None
    file: str | None
    width: int | None = None
    height: int | None = None
    taken_at: datetime | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its hits, best first. pictures: the files of the pictures that it asked with."""

    query: Query
    hits: Sequence[Hit]
    pictures: Sequence[str] = ()


def kept(found: Neighbours, keep: NDArray[np.bool_]) -> Neighbours:
    """Those hits of a single query for which `keep` (width,) is true."""
    return Neighbours(found.row_ids[:, keep], found.scores[:, keep])


def distinct(
    row_ids: NDArray[np.int64],
    fetch: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    *,
    cosine: float,
    k: int,
    shown: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of some hits (best first) to keep so that no two of them have this cosine or more; at most k are kept.

    Going down the list, a hit is kept unless it is too close to one that was kept before it, or to one of `shown`.
    fetch: row ids -> their unit vectors, in that order.
    """
    taken = np.asarray(fetch(shown), np.float32)
    keep = np.zeros(len(row_ids), bool)
    for start in range(0, len(row_ids), _FETCHED):
        vectors = np.asarray(fetch(row_ids[start : start + _FETCHED]), np.float32)
        near: NDArray[np.bool_] = np.any(vectors @ taken.T >= cosine, axis=1)
        for place, vector in enumerate(vectors):
            if not near[place]:
                keep[start + place] = True
                if keep.sum() == k:
                    return keep
                near |= vectors @ vector >= cosine
        taken = np.concatenate([taken, vectors[keep[start : start + _FETCHED]]])
    return keep


def hits_of(gallery: Gallery, found: Neighbours, table: ItemTable) -> list[list[Hit]]:
    """What was found, with the metadata of each row: a list a query."""
    wanted = ascending(found.row_ids[found.row_ids >= 0])
    rows = consistently(gallery, lambda present: _rows(present, table, wanted))
    folders = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}
    answers = []
    for row_ids, scores in zip(found.row_ids.tolist(), found.scores.tolist(), strict=True):
        pairs = [(row_id, score) for row_id, score in zip(row_ids, scores, strict=True) if row_id >= 0]
        answers.append(
            [_hit(rank, score, row_id, rows[row_id], folders) for rank, (row_id, score) in enumerate(pairs, 1)]
        )
    return answers


def warn_of_gone(hits: Sequence[Hit]) -> None:
    """A warning that names files that are not where they were, or the folder that all of them are missing from."""
    gone = list(dict.fromkeys(hit.file for hit in hits if hit.gone and hit.file))
    if not gone:
        return
    folders = sorted({hit.root for hit in hits if hit.gone and hit.root})
    absent = [folder for folder in folders if not Path(folder).is_dir()]
    if absent == folders:
        what = f"{', '.join(absent)} is not there: is a disk not connected? If it was moved: mmsearch relocate"
    else:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        what = f"gone since they were embedded: {', '.join(gone[:_NAMED])}{more}. To drop what is gone: mmsearch embed"
    warnings.warn(what, MmsearchWarning, stacklevel=3)


def warn_of_nothing(query: Query, best: float | None, *, left_out: int, items: int) -> None:
    """A warning that says why there is no hit. best: the highest score that was seen. left_out: hits asked with."""
    if best is not None:
        why = f"no hit scores {query.min_score:g} or more; the best scores {best:.4f}"
    elif query.where is not None:
        other = "other " if left_out else ""
        why = f"the filter admits none of the {items:,} {other}{query.table}: {query.where}"
    else:
        why = f"the gallery holds no other {query.table}"
    warnings.warn(why, MmsearchWarning, stacklevel=4)


_Row = ImageRow | CaptionRow


def _rows(gallery: Gallery, table: ItemTable, row_ids: NDArray[np.int64]) -> dict[int, _Row]:
    rows: list[_Row] = [*(gallery.image_rows(row_ids) if table == "images" else gallery.caption_rows(row_ids))]
    return dict(zip(row_ids.tolist(), rows, strict=True))


def _hit(rank: int, score: float, row_id: int, row: _Row, folders: dict[int, Location | None]) -> Hit:
    root = folders.get(row.root_id) if row.root_id is not None else None
    name = row.path if row.path_bytes is None else os.fsdecode(row.path_bytes)
    file = None if root is None or name is None else str(root / name)
    where = None if root is None else str(root)
    gone = file is not None and _is_gone(file)
    if isinstance(row, CaptionRow):
        return Hit(rank, score, row_id, "captions", row.caption, where, row.path, file, gone=gone)
    return Hit(rank, score, row_id, "images", None, where, row.path, file, row.width, row.height, row.taken_at, gone)


def _is_gone(file: str) -> bool:
    if url_of(file) is not None:  # a request each, for what who opens it learns anyway
        return False
    try:
        Path(archive_of(file) or file).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # not for us to see: it may well be there
        return False
    return False
