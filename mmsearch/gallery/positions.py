"""Whether a gallery knows where its pictures were taken: the columns `lat` and `lon`."""

from mmsearch.gallery.gallery_reader import Gallery
from mmsearch.items import IMAGES

__all__ = ["NO_PLACES", "knows_places"]

NO_PLACES = (
    "the gallery does not know where its pictures were taken; to read it from their files: "
    "mmsearch embed --places --refresh"
)


def knows_places(gallery: Gallery) -> bool:
    """Whether the gallery knows of any picture where it was taken."""
    pieces = gallery.scan(IMAGES.name, ["lat"])
    return any(rows.column("lat").null_count < rows.num_rows for rows in pieces)
