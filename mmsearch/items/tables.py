"""The tables of a gallery."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["ITEM_TABLES", "TABLES", "ItemTable", "SkippedRow", "Table"]

ItemTable: TypeAlias = Literal["images", "captions"]
"""The tables that can be searched."""
Table: TypeAlias = Literal["images", "captions", "skipped"]
"""The tables of a gallery. Row ids of each count apart."""

Bytes: TypeAlias = bytes
"""The built-in, under a name that stays free where a row has a column `bytes`."""

ITEM_TABLES: tuple[ItemTable, ...] = ("images", "captions")
TABLES: tuple[Table, ...] = ("images", "captions", "skipped")


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """One input that could not be embedded. stage: "read", "identify", "decode" or "resize"."""

    root_id: int
    path: str
    path_bytes: Bytes | None
    bytes: int | None
    mtime_ns: int | None
    etag: str | None
    stage: str
    reason: str
