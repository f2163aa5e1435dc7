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
        taken_at: when it was taken, in local time; as the best source says that there is.
        damaged: whether part of the picture is missing in the file; None where that was not looked at.
        start_s, end_s: when it is seen, in seconds, where it is a frame of a film.
        page: in its file, from 1, where that has several.
        box: of a tile: left, top, right and bottom in shares of the upright picture.
        taken_from: what says `taken_at`: "exif", "xmp", "iptc", "png", "quicktime", "created", "takeout", or "edited",
            which is the date of the last change.
        utc_offset: how far `taken_at` is ahead of UTC, in minutes.
        camera, lens: maker and model.
        lat, lon: where it was taken, WGS 84, in degrees; null where that was not asked for.
        city, country: near that place.
        title: or the description, where there is none.
        keywords: what people have put on it.
        rating: 1 to 5, -1 for rejected.
        files: the paths of the other files that make up the same picture.
        files_state: what tells whether these changed, see `sources.SourceFile.beside_state`.
    """

    width: Annotated[int | None, "int32"]
    height: Annotated[int | None, "int32"]
    taken_at: datetime | None
    damaged: bool | None = None
    start_s: float | None = None
    end_s: float | None = None
    page: Annotated[int | None, "int32"] = None
    box: list[float] | None = None
    taken_from: str | None = None
    utc_offset: Annotated[int | None, "int32"] = None
    camera: str | None = None
    lens: str | None = None
    lat: float | None = None
    lon: float | None = None
    city: str | None = None
    country: str | None = None
    title: str | None = None
    keywords: list[str] | None = None
    rating: Annotated[int | None, "int32"] = None
    files: list[str] | None = None
    files_state: bytes | None = None


IMAGES = Kind(
    name="images",
    row=ImageRow,
    side="image",
    noun="picture",
    how_to_add="mmsearch embed PICTURES",
    told=(
        *("path", "file", "width", "height", "taken_at", "gone", "damaged", "path_bytes", "file_bytes"),
        *("taken_from", "utc_offset", "camera", "lens", "lat", "lon", "city", "country", "title", "keywords"),
        *("rating", "files"),
    ),
    files=Files(),
)
