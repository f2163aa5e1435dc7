"""The last stage: rows become hits, and files that are gone are noticed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours, ascending
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import MEMBER, AnyKind, kind
from mmsearch.locations import Location, url_of
from mmsearch.names import real_name
from mmsearch.search.hits import Hit

__all__ = ["hits_of", "is_gone", "side_by_side", "why_gone"]

_NAMED = 3  # files that a warning names before it counts the rest


def side_by_side(parts: Sequence[Neighbours]) -> Neighbours:
    """What was found for several queries, as one: padded to the widest."""
    width = max((part.row_ids.shape[1] for part in parts), default=0)
    n_queries = sum(len(part.row_ids) for part in parts)
    row_ids, scores = np.full((n_queries, width), -1, np.int64), np.full((n_queries, width), -np.inf)
    corrected = np.full((n_queries, width), np.nan)  # of queries that are not corrected
    first = 0
    for part in parts:
        rows, columns = slice(first, first + len(part.row_ids)), slice(part.row_ids.shape[1])
        row_ids[rows, columns], scores[rows, columns] = part.row_ids, part.scores
        if part.corrected is not None:
            corrected[rows, columns] = part.corrected
        first = rows.stop
    return Neighbours(row_ids, scores, corrected)


def hits_of(
    gallery: Gallery, neighbours: Neighbours, table: str, offsets: Sequence[int] | None = None
) -> list[list[Hit]]:
    """What was neighbours, with the metadata of each row: a list a query.

    offsets: for each query, how many of the best are passed over: the first hit has the rank after them.
    """
    passed = np.zeros(len(neighbours.row_ids), np.int64) if offsets is None else np.asarray(offsets, np.int64)
    wanted = ascending(
        neighbours.row_ids[(neighbours.row_ids >= 0) & (np.arange(neighbours.row_ids.shape[1]) >= passed[:, None])]
    )
    of = kind(table)
    rows = read_consistently(gallery, lambda present: _rows(present, of, wanted))
    folders = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}
    corrected = np.full(neighbours.scores.shape, np.nan) if neighbours.corrected is None else neighbours.corrected
    answers = []
    for row_ids, *scores, first in zip(
        neighbours.row_ids.tolist(), neighbours.scores.tolist(), corrected.tolist(), passed.tolist(), strict=True
    ):
        found = [(row_id, each) for row_id, *each in zip(row_ids, *scores, strict=True) if row_id >= 0][first:]
        answers.append(
            [
                _hit(rank, each, row_id, of, rows[row_id], folders)
                for rank, (row_id, each) in enumerate(found, first + 1)
            ]
        )
    return answers


def why_gone(hits: Sequence[Hit]) -> list[str]:
    """A line that names files that are not where they were, or the folder that all of them are missing from; none where
    nothing is gone."""
    gone = list(dict.fromkeys(hit.whole_file for hit in hits if hit.gone and hit.whole_file))
    if not gone:
        return []
    folders = sorted({hit.root for hit in hits if hit.gone and hit.root})
    absent = [folder for folder in folders if not Path(folder).is_dir()]
    if absent == folders:
        return [f"{', '.join(absent)} is not there: is a disk not connected? If it was moved: mmsearch relocate"]
    more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    # Where all are, it is not the pictures that went: they were moved, or the gallery was, which looks beside itself.
    moved = "; if they, or the gallery, were moved: mmsearch relocate" if all(hit.gone for hit in hits) else ""
    told = f"gone since they were embedded: {', '.join(gone[:_NAMED])}{more}"
    return [f"{told}. To drop what is gone: mmsearch embed{moved}"]


def _rows(gallery: Gallery, kind: AnyKind, row_ids: NDArray[np.int64]) -> dict[int, Any]:
    if not len(row_ids):
        return {}  # pyarrow imports pandas to make a table of no rows
    return dict(zip(row_ids.tolist(), gallery.records(kind, row_ids), strict=True))


def _hit(
    rank: int, scores: Sequence[float], row_id: int, kind: AnyKind, row: Any, folders: Mapping[int, Location | None]
) -> Hit:
    score, corrected = scores
    root = folders.get(row.root_id) if row.root_id is not None else None
    name = None if row.path is None else real_name(row.path, row.path_bytes)
    file = None if root is None or name is None else str(root / name)
    where = None if root is None else str(root)
    hit = Hit(rank, score, row_id, kind, row, where, file, False, None if math.isnan(corrected) else corrected)
    return replace(hit, gone=True) if hit.whole_file is not None and is_gone(hit.whole_file) else hit


def is_gone(file: str) -> bool:
    """Whether a file, or the archive that holds it, is not there. Object stores are not asked."""
    if url_of(file) is not None:  # a request each, for what who opens it learns anyway
        return False
    try:
        Path(file).stat()
    except (FileNotFoundError, NotADirectoryError):
        return not _is_in_archive(file)
    except (OSError, ValueError):  # not for us to see: it may well be there; a name that no file system takes
        return False
    return False


def _is_in_archive(file: str) -> bool:
    """Whether a name that is no file is that of a member of an archive that is there, or not for us to see."""
    if MEMBER not in file:
        return False
    from mmsearch.sources import container_of  # late: most hits are files

    try:
        archive = container_of(file)
        if archive is not None:
            Path(archive).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return archive is not None
