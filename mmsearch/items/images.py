"""Images: a picture is an item."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

__all__ = ["ImageRow"]

Bytes: TypeAlias = bytes
"""The built-in, under a name that stays free where a row has a column `bytes`."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of a gallery, all but its embedding.

    path: relative to the root, valid text; path_bytes: the real name where `path` is not it.
    content_hash: blake2b-128 of the file. width, height: as seen, after orientation. damaged: whether part of the
    picture is missing in the file; None where that was not looked at.
    """

    root_id: int
    path: str
    path_bytes: Bytes | None
    bytes: int | None
    mtime_ns: int | None
    etag: str | None
    content_hash: Bytes | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    damaged: bool | None = None
