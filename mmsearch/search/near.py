"""What was taken near a place: a filter like any other, by the columns `lat` and `lon`."""

import warnings
from typing import TYPE_CHECKING

from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.items import BOTH, IMAGES, kind

if TYPE_CHECKING:
    from mmsearch.gallery import Gallery
    from mmsearch.search.open_gallery import OpenGallery

__all__ = ["NO_PLACES", "filter_near", "filter_pictures", "knows_places", "remark_on", "require_positions"]

NO_PLACES = (
    "the gallery does not know where its pictures were taken; to read it from their files: "
    "mmsearch embed --places --refresh"
)


def filter_near(where: str | None, near: str | None) -> str | None:
    """One filter for both: an SQL expression and a place, as "Lisbon 20km". Raises QueryError where it is no place."""
    if near is None:
        return where
    from mmsearch.places import parse_near  # late: most queries name no place

    taken_there = parse_near(near).sql()
    return taken_there if where is None else f"({where}\n) AND {taken_there}"  # the line break ends a comment


def filter_pictures(opened: "OpenGallery", where: str | None, near: str | None) -> str | None:
    """As `filter_near`, for all work on the pictures that it admits: each is checked alone, and how a place was
    understood is warned of. Raises QueryError, also where the gallery knows no places."""
    if near is None:
        return where
    from mmsearch.gallery import read_consistently  # late: whoever asks a server has none

    if where is not None:
        opened.retriever.check_filter(IMAGES.name, where)
    if not read_consistently(opened.gallery, knows_places):
        raise QueryError(NO_PLACES)
    if (remark := remark_on(near)) is not None:
        warnings.warn(remark, MmsearchWarning, stacklevel=3)
    return filter_near(where, near)


def remark_on(near: str) -> str | None:
    """What people should know of how a place was understood. Raises QueryError."""
    from mmsearch.places import parse_near

    return parse_near(near).remark


def require_positions(table: str) -> None:
    """Raise QueryError where items of a table are taken nowhere."""
    if table == BOTH or "lat" not in kind(table).columns:
        raise QueryError(f"only {IMAGES.name} are taken near a place; look among them: --in {IMAGES.name}")


def knows_places(gallery: "Gallery") -> bool:
    """Whether the gallery knows of any picture where it was taken."""
    pieces = gallery.scan(IMAGES.name, ["lat"])
    return any(rows.column("lat").null_count < rows.num_rows for rows in pieces)
