"""What a film says of itself beside its frames: when and where it was taken, by which camera."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from mmsearch.images import PhotoFacts, SaidDate, clean_text, join_make, parse_date, position_at

__all__ = ["facts_at", "film_facts"]

_APPLE = "com.apple.quicktime."
_ANDROID = "com.android."
_ISO_6709 = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)")  # degrees; the forms with minutes are not met


def film_facts(tags: Mapping[str, str]) -> PhotoFacts:
    """What the texts of a container say, by their names in small letters.

    Apple's date of creation is local time with its distance from UTC. The one of MP4 is in UTC, and where that was is
    not said, so that it counts only where no other is there.

    >>> film_facts({"creation_time": "2024-05-01T10:00:00.000000Z"}).taken_at
    datetime.datetime(2024, 5, 1, 10, 0)
    """
    place = _ISO_6709.match(tags.get(f"{_APPLE}location.iso6709") or tags.get("location") or "")
    return PhotoFacts(
        (
            *parse_date(tags.get(f"{_APPLE}creationdate"), "quicktime"),
            *parse_date(tags.get("creation_time"), "created"),
            *parse_date(tags.get("date"), "created"),
        ),
        camera=join_make(
            tags.get(f"{_APPLE}make") or tags.get(f"{_ANDROID}manufacturer") or tags.get("make"),
            tags.get(f"{_APPLE}model") or tags.get(f"{_ANDROID}model") or tags.get("model"),
        ),
        position=None if place is None else position_at(float(place[1]), float(place[2])),
        title=clean_text(tags.get("title")),
        description=clean_text(tags.get("description")),
    )


def facts_at(facts: PhotoFacts, seconds: float) -> PhotoFacts:
    """What a film says of its frame at some seconds: that is as much later as the film had run by then."""
    later = tuple(_later(date, seconds) if len(date.parts) > 3 else date for date in facts.dates)
    return replace(facts, dates=later)


def _later(date: SaidDate, seconds: float) -> SaidDate:
    try:
        moment = date.moment + timedelta(seconds=int(seconds))
    except OverflowError:
        return date
    return replace(date, parts=moment.timetuple()[:6])
