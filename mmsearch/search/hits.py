"""A hit, and how programs are told of it: on the command line and by the server alike."""

import base64
import os
from dataclasses import dataclass
from datetime import datetime

from mmsearch.items import ItemTable
from mmsearch.names import shown

__all__ = ["COLUMNS", "Hit", "base64_text", "record", "shown_file"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One returned row.

    rank: from 1. score: cosine, the float64 dot product of query and stored vector. path: relative to `root`, as valid
    text; path_bytes: what it really is, where it is no text. file: where to open it, a file system string. For a
    caption, path and file are those of its image, if any.
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
    path_bytes: bytes | None = None


COLUMNS = {
    "images": [
        "rank",
        "score",
        "row_id",
        "path",
        "file",
        "width",
        "height",
        "taken_at",
        "gone",
        "damaged",
        "path_bytes",
        "file_bytes",
    ],
    "captions": ["rank", "score", "row_id", "caption", "path", "file", "gone", "path_bytes", "file_bytes"],
}
"""What programs are told of a hit, by table. path_bytes, file_bytes: base64 of the real name where `path` or `file` is
not it, since it is no UTF-8."""


def record(hit: Hit) -> dict[str, object]:
    """A hit as programs are given it: the object of a JSON line."""
    taken_at = hit.taken_at.isoformat() if hit.taken_at else None
    file = shown_file(hit)
    file_bytes = None if hit.file is None or file == hit.file else os.fsencode(hit.file)
    values = {
        "file": file,
        "taken_at": taken_at,
        "path_bytes": base64_text(hit.path_bytes),
        "file_bytes": base64_text(file_bytes),
    }
    return {name: values[name] if name in values else getattr(hit, name) for name in COLUMNS[hit.table]}


def shown_file(hit: Hit) -> str | None:
    """The file as valid text; undecodable bytes as escapes."""
    return None if hit.file is None else shown(hit.file)


def base64_text(name: bytes | None) -> str | None:
    """How programs are given a name that is no text: in base64, since JSON holds nothing but text."""
    return None if name is None else base64.b64encode(name).decode("ascii")
