"""A hit, and how programs are told of it: on the command line and by the server alike."""

import os
from dataclasses import dataclass
from datetime import datetime

from mmsearch.records import ItemTable

__all__ = ["COLUMNS", "Hit", "record", "shown_file"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One returned row.

    rank: from 1. score: cosine, the float64 dot product of query and stored vector. path: relative to `root`, as valid
    text. file: where to open it, a file system string. For a caption, path and file are those of its image, if any.
    damaged: of an image, whether part of it is missing in the file; None where that was not looked at.
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
    damaged: bool | None = None


COLUMNS = {
    "images": ["rank", "score", "row_id", "path", "file", "width", "height", "taken_at", "gone", "damaged"],
    "captions": ["rank", "score", "row_id", "caption", "path", "file", "gone"],
}
"""What programs are told of a hit, by table."""


def record(hit: Hit) -> dict[str, object]:
    """A hit as programs are given it: the object of a JSON line."""
    taken_at = hit.taken_at.isoformat() if hit.taken_at else None
    values = {"file": shown_file(hit), "taken_at": taken_at}
    return {name: values[name] if name in values else getattr(hit, name) for name in COLUMNS[hit.table]}


def shown_file(hit: Hit) -> str | None:
    """The file as valid text; undecodable bytes as escapes."""
    return None if hit.file is None else os.fsencode(hit.file).decode("utf-8", "backslashreplace")
