"""Captions: a text that belongs to an image, or to none, is an item."""

from dataclasses import dataclass

from mmsearch.items.images import IMAGES
from mmsearch.items.kinds import Kind

__all__ = ["CAPTIONS", "CaptionRow"]


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One caption of a gallery, all but its embedding. (source, ordinal) is its key; root_id and path name its image.

    Attributes:
        source: the file of captions that holds it.
        ordinal: its place in that file, from 0.
        truncated: whether it was longer than the model reads, so that its end did not count; None before it is encoded.
    """

    caption: str
    root_id: int | None
    path: str | None
    path_bytes: bytes | None
    source: str
    ordinal: int
    truncated: bool | None = None


CAPTIONS = Kind(
    name="captions",
    row=CaptionRow,
    side="text",
    noun="caption",
    how_to_add="mmsearch embed --captions FILE",
    told=("caption", "path", "file", "gone", "path_bytes", "file_bytes"),
    text="caption",
    belongs_to=IMAGES.name,
)
