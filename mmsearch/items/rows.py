"""Rows: the records of which tables are made. The fields of a record are the columns of its table.

A column's type follows from the field's: `int` is int64, `str` string, `bytes` binary, `bool` bool, `float` float64,
`datetime` timestamp[us], `list[float]` list<float32>, `list[str]` list<string>; `Annotated[int, "int32"]` names
another. What may be None is nullable.
"""

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["FileRow", "ItemRow", "SkippedRow"]

Bytes: TypeAlias = bytes
"""The built-in, under a name that stays free where a row has a column `bytes`."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row that stands for a file, or for a piece of one.

    Attributes:
        root_id: the root below which the file lies.
        path: relative to the root, valid text; of a piece of a file with its member or span: `a.tar!/x.jpg`.
        path_bytes: the real name where `path` is not it.
        bytes: of the file, or of the piece. None where only reading tells.
        mtime_ns: when the file was last modified.
        etag: what else tells whether it changed: of an object, its ETag; of a piece, `sources.Container.etag`.
    """

    root_id: int
    path: str
    path_bytes: Bytes | None
    bytes: int | None
    mtime_ns: int | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class ItemRow(FileRow):
    """A row whose vector was made of a file, or of a piece of one.

    Attributes:
        content_hash: of what was encoded, by the hash that the manifest names. A vector of known content is not made
            again.
    """

    content_hash: Bytes | None


@dataclass(frozen=True, slots=True)
class SkippedRow(FileRow):
    """One input that could not be embedded. stage: "read", "identify", "decode" or "resize"."""

    stage: str
    reason: str
