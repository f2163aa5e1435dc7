"""What a picture says of itself, and what stands beside it, as columns of its row."""

from dataclasses import replace
from typing import Any, BinaryIO

from mmsearch import images
from mmsearch.places import has_names, name_place
from mmsearch.sources import SourceFile, merge_beside

__all__ = ["columns_of_facts", "read_header_columns"]

_PLACE_NAMES = ("city", "country")
_PLACE = ("lat", "lon", *_PLACE_NAMES)


def read_header_columns(file: SourceFile, stream: BinaryIO, *, max_pixels: int, places: bool) -> dict[str, Any]:
    """Those columns of the row of a picture that its header and what stands beside it give; nothing is encoded.

    file: with what stands beside it. stream: its bytes, seekable. places: where it was taken, too; else there are no
    such columns, and none of names where these are not installed. Raises ImageError.
    """
    facts = images.read_header_facts(stream, max_pixels=max_pixels, places=places)
    columns = columns_of_facts(file, facts, places=places)
    left_out = () if places and has_names() else _PLACE_NAMES if places else _PLACE
    return {name: value for name, value in columns.items() if name not in left_out}


def columns_of_facts(file: SourceFile, own: images.PhotoFacts, *, places: bool) -> dict[str, Any]:
    own = own if places else replace(own, position=None)  # which films say without being asked
    facts = merge_beside(file, own, places=places)
    position = facts.position
    city, country = (None, None) if position is None else name_place(position.lat, position.lon)
    return {**facts.columns(), "city": city, "country": country}
