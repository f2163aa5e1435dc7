"""What admits pictures to work on many of them: an SQL expression and a place."""

import warnings

from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.gallery import read_consistently
from mmsearch.gallery.positions import NO_PLACES, knows_places
from mmsearch.items import IMAGES
from mmsearch.search.near import filter_near, remark_on
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["filter_pictures"]


def filter_pictures(opened: OpenGallery, where: str | None, near: str | None) -> str | None:
    """One filter for both, as `filter_near` makes it: each is checked alone, and how a place was understood is warned
    of. Raises QueryError, also where the gallery knows no places."""
    if near is None:
        return where
    if where is not None:
        opened.retriever.check_filter(IMAGES.name, where)
    if not read_consistently(opened.gallery, knows_places):
        raise QueryError(NO_PLACES)
    if (remark := remark_on(near)) is not None:
        warnings.warn(remark, MmsearchWarning, stacklevel=3)
    return filter_near(where, near)
