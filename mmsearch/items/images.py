"""Images: a picture is an item."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from mmsearch.items.kinds import Files, Kind
from mmsearch.items.rows import ItemRow

__all__ = ["IMAGES", "ImageRow"]


@dataclass(frozen=True, slots=True)
class ImageRow(ItemRow):
    """One image of a gallery, all but its embedding.

    Attributes:
        width, height: as seen, after orientation.
        taken_at: as its camera says.
        damaged: whether part of the picture is missing in the file; None where that was not looked at.
        start_s, end_s: when it is seen, in seconds, where it is a frame of a film.
        page: in its file, from 1, where that has several.
        box: of a tile: left, top, right and bottom in shares of the upright picture.
    """

    width: Annotated[int | None, "int32"]
    height: Annotated[int | None, "int32"]
    taken_at: datetime | None
    damaged: bool | None = None
    start_s: float | None = None
    end_s: float | None = None
    page: Annotated[int | None, "int32"] = None
    box: list[float] | None = None


IMAGES = Kind(
    name="images",
    row=ImageRow,
    side="image",
    noun="picture",
    how_to_add="mmsearch embed PICTURES",
    told=("path", "file", "width", "height", "taken_at", "gone", "damaged", "path_bytes", "file_bytes"),
    files=Files(),
)
