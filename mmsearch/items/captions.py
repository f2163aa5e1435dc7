"""Captions: a text that belongs to an image, or to none, is an item."""

from dataclasses import dataclass

__all__ = ["CaptionRow"]


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One caption of a gallery, all but its embedding. (source, ordinal) is its key; root_id and path name its image.

    truncated: whether it was longer than the model reads, so that its end did not count; None before it is encoded.
    """

    caption: str
    root_id: int | None
    path: str | None
    path_bytes: bytes | None
    source: str
    ordinal: int
    truncated: bool | None = None
