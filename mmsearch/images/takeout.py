"""What the JSON that Google's Takeout writes beside a picture says of it."""

import json
from collections.abc import Mapping
from typing import Any

from mmsearch.images.photo_facts import (
    NOTHING_SAID,
    PhotoFacts,
    Position,
    clean_keywords,
    clean_text,
    date_of_timestamp,
    position_at,
)

__all__ = ["takeout_facts"]


def takeout_facts(data: bytes, *, places: bool = False) -> PhotoFacts:
    """What a file of Takeout's says of its picture; nothing where it is none of these, or damaged.

    The date is in UTC. `title` is the name that the picture had when it was uploaded, and not looked at. places: its
    position too; the one that people or Google set counts before that of the camera.

    >>> takeout_facts(b'{"photoTakenTime": {"timestamp": "1311075398"}, "description": "A dog"}').description
    'A dog'
    """
    try:
        said = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return NOTHING_SAID
    if not isinstance(said, dict) or not {"photoTakenTime", "geoData", "googlePhotosOrigin"} & said.keys():
        return NOTHING_SAID
    taken = _seconds(said.get("photoTakenTime"))
    people = said.get("people")
    names = [_inside(person).get("name") for person in people] if isinstance(people, list) else []
    position = None
    if places:
        position = _position(said.get("geoData")) or _position(said.get("geoDataExif"))
    return PhotoFacts(
        () if taken is None else date_of_timestamp(taken, "takeout"),
        position=position,
        description=clean_text(said.get("description")),
        keywords=clean_keywords(names),
    )


def _inside(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float | None:
    return _number(_inside(value).get("timestamp"))


def _position(value: Any) -> Position | None:
    return position_at(_number(_inside(value).get("latitude")), _number(_inside(value).get("longitude")))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
