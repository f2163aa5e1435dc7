"""What is said of a picture beside its pixels, by its file or by what lies beside that: one record for all sources."""

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate
from typing import Any, Literal, TypeAlias, get_args

__all__ = [
    "DATE_SOURCES",
    "DateSource",
    "NOTHING_SAID",
    "PhotoFacts",
    "Position",
    "SaidDate",
    "clean_keywords",
    "clean_rating",
    "clean_text",
    "date_of_timestamp",
    "join_make",
    "merge_facts",
    "parse_date",
    "position_at",
]

DateSource: TypeAlias = Literal["exif", "xmp", "iptc", "png", "quicktime", "created", "takeout", "edited"]
"""What says when a picture was taken. created: when its file was made, as by a scanner; edited: when it was changed
last, which is no date of taking and counts where nothing else is said."""

DATE_SOURCES: tuple[DateSource, ...] = get_args(DateSource)
"""The best first."""

_FIRST_PHOTOGRAPH = 1826
_UNSET = ((1904, 1, 1, 0, 0, 0), (1970, 1, 1, 0, 0, 0))
"""The second with which clocks of films and of computers begin: nobody set them."""
_DATE = re.compile(
    r"\s*(\d{4})(?!\d)(?:[:/.-](\d\d?)(?!\d)(?:[:/.-](\d\d?)(?!\d)(?:[ T]+(\d\d?):(\d\d?)(?::(\d\d?)(?:\.\d+)?)?"
    r"\s*(Z|[+-]\d\d:?\d\d)?)?)?)?"
)
_OFFSET = re.compile(r"\s*(?:Z|([+-])(\d\d):?(\d\d))\s*\0*$")
_WIDEST_OFFSET = 14 * 60  # minutes: Kiribati
_LONGEST_DATE = 100  # characters; a text chunk may hold a book
_LONGEST_TEXT, _MOST_KEYWORDS = 1000, 256
_MEANS_NOTHING = frozenset(
    {"unknown", "none", "n/a", "na", "null", "undefined", "not available", "default", "untitled"}
)
_COMPANY = frozenset(
    {
        *("ag", "camera", "cameras", "co", "company", "computer", "corp", "corporation", "digital", "electric"),
        *("electronics", "gmbh", "imaging", "inc", "limited", "ltd", "optical", "technologies"),
    }
)
"""Words behind the name of a maker, in small letters."""


@dataclass(frozen=True, slots=True)
class SaidDate:
    """One date that something says of a picture, in local time where the camera was.

    Attributes:
        parts: Year, month, day, hour, minute, second: as many as are said; the time whole or not at all.
        source: What says it.
        utc_offset: How far local time was ahead of UTC, in minutes; None where that is not said.
    """

    parts: tuple[int, ...]
    source: DateSource
    utc_offset: int | None = None

    @property
    def moment(self) -> datetime:
        """The date, without a time zone; what is not said is the first of the year or month, at midnight."""
        return datetime(*(*self.parts, 1, 1)[: max(3, len(self.parts))])  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Position:
    """A place on Earth, WGS 84, in degrees. lat: north is positive, -90 to 90. lon: east is positive, -180 to 180."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What is said of a picture beside its pixels; what is not, or is nonsense, is None or empty.

    Attributes:
        dates: All that are said, in any order.
        camera: Maker and model, the maker once.
        lens: Likewise.
        position: Where it was taken; None also where that was not asked for.
        title: What it is called.
        description: What is written about it, in a line.
        keywords: In the order in which they stand, each once.
        rating: 1 to 5; -1 for rejected. What nobody has rated has none.
    """

    dates: tuple[SaidDate, ...] = ()
    camera: str | None = None
    lens: str | None = None
    position: Position | None = None
    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None

    @property
    def taken(self) -> SaidDate | None:
        """The date by the best source, completed by the next that says the same and more: a day by a time of that day.

        A date of editing completes no other, nor does that of Takeout, which is in UTC.
        """
        ranked = sorted(self.dates, key=lambda date: DATE_SOURCES.index(date.source))
        if not ranked:
            return None
        best = ranked[0]
        for date in ranked[1:]:
            length = len(best.parts)
            fits = date.source == best.source or date.source not in ("takeout", "edited")
            if not fits or date.parts[:length] != best.parts:
                continue
            if len(date.parts) > length:
                best = SaidDate(date.parts, best.source, date.utc_offset)
            elif best.utc_offset is None and length > 3:
                best = SaidDate(best.parts, best.source, date.utc_offset)
        return best

    @property
    def taken_at(self) -> datetime | None:
        """When it was taken, by that date; without a time zone."""
        return None if (taken := self.taken) is None else taken.moment

    def columns(self) -> dict[str, Any]:
        """Those columns of the row of an image that are said here."""
        taken = self.taken
        return {
            "taken_at": taken and taken.moment,
            "taken_from": taken and taken.source,
            "utc_offset": taken and taken.utc_offset,
            "camera": self.camera,
            "lens": self.lens,
            "lat": self.position and self.position.lat,
            "lon": self.position and self.position.lon,
            "title": self.title or self.description,
            "keywords": list(self.keywords) or None,
            "rating": self.rating,
        }


NOTHING_SAID = PhotoFacts()


def merge_facts(first: PhotoFacts, *others: PhotoFacts) -> PhotoFacts:
    """Merge what several sources say: dates by the order of `DATE_SOURCES`, whichever comes first here; of all else
    what the first of them says, and the keywords of all."""
    merged = first
    for other in others:
        if other == NOTHING_SAID:
            continue
        merged = PhotoFacts(
            merged.dates + other.dates,
            merged.camera or other.camera,
            merged.lens or other.lens,
            merged.position or other.position,
            merged.title or other.title,
            merged.description or other.description,
            clean_keywords((*merged.keywords, *other.keywords)),
            merged.rating if merged.rating is not None else other.rating,
        )
    return merged


def parse_date(text: Any, source: DateSource, offset: Any = None) -> tuple[SaidDate, ...]:
    """The date that a text says: 2011:07:19 11:36:38, 2011-07-19T11:36:38.5+02:00, 2011-07, or an e-mail's. None of it
    where it is implausible: month 0, hour 25, the first second of a clock that nobody set; cameras write them.

    offset: what another field says of the time zone, "+02:00"; it counts where the text says nothing.
    """
    text = _to_text(text)
    if text is None:
        return ()
    match = _DATE.match(text[:_LONGEST_DATE])
    if match is not None:
        *groups, zone = match.groups()
        known = groups if groups[3] is not None else groups[:3]
        parts = tuple(int(part or 0) for part in known if part is not None or len(known) > 3)
    else:
        named = parsedate(text[:_LONGEST_DATE])  # Tue, 19 Jul 2011 11:36:38 +0200, as PNG recommends
        parts = named[:6] if named and str(named[0]) in text else ()
        zone = text[:_LONGEST_DATE].rsplit(" ", 1)[-1]
    try:
        moment = datetime(*(*parts, 1, 1)[: max(3, len(parts))])  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return ()
    if not parts or moment.year < _FIRST_PHOTOGRAPH or parts in _UNSET:
        return ()
    minutes = _parse_offset(zone)
    minutes = _parse_offset(_to_text(offset)) if minutes is None else minutes
    return (SaidDate(parts, source, minutes if len(parts) > 3 else None),)


def _parse_offset(text: str | None) -> int | None:
    """Minutes ahead of UTC; None where a text is no offset."""
    match = None if text is None else _OFFSET.match(text)
    if match is None:
        return None
    sign, hours, minutes = match.groups()
    if sign is None:
        return 0
    ahead = int(hours) * 60 + int(minutes)
    return None if ahead > _WIDEST_OFFSET or int(minutes) > 59 else -ahead if sign == "-" else ahead


def date_of_timestamp(seconds: float, source: DateSource) -> tuple[SaidDate, ...]:
    """The date, in UTC, of a number of seconds since 1970."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return ()
    parts = moment.timetuple()[:6]
    return () if moment.year < _FIRST_PHOTOGRAPH or parts in _UNSET else (SaidDate(parts, source, 0),)


def position_at(lat: float | None, lon: float | None) -> Position | None:
    """A position, to the centimetre; None where either is unknown or no angle on Earth, or where both are 0, which is
    what devices write that do not know."""
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return None
    if abs(lat) > 90 or abs(lon) > 180 or (lat == 0 and lon == 0):
        return None
    return Position(round(lat, 7), round(lon, 7))


def clean_text(value: Any, longest: int = _LONGEST_TEXT) -> str | None:
    """A text in a line, as it was meant: to its first NUL, without control characters, composed (NFC), and as UTF-8
    where it is that, read as Latin-1. None where it says nothing: no letter and no digit, "unknown", "----"."""
    text = _to_text(value)
    if text is None:
        return None
    text = text.split("\0", 1)[0][: 4 * longest]
    if not text.isascii():
        try:
            text = text.encode("latin-1").decode("utf-8")
        except UnicodeError:
            text = text.encode("utf-8", "replace").decode("utf-8")
        text = unicodedata.normalize("NFC", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())[:longest]
    if not any(map(str.isalnum, text)) or text.casefold() in _MEANS_NOTHING:
        return None
    return text


def _to_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def clean_keywords(values: Iterable[Any]) -> tuple[str, ...]:
    """Keywords without those that say nothing, each once, up to 256 of them."""
    cleaned = (clean_text(value) for value in values)
    return tuple(dict.fromkeys(text for text in cleaned if text is not None))[:_MOST_KEYWORDS]


def clean_rating(value: Any) -> int | None:
    """A rating, 1 to 5, or -1 for rejected; None for 0, which is what programs write of what nobody has rated."""
    try:
        rating = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not math.isfinite(rating) or not -1 <= rating <= 5:
        return None
    return int(rating) or None


def join_make(make: Any, model: Any) -> str | None:
    """Maker and model of a camera or a lens, the maker once and without its legal form.

    >>> join_make("Canon", "Canon EOS 40D"), join_make("NIKON CORPORATION", "NIKON D70"), join_make("Apple", "iPhone 5")
    ('Canon EOS 40D', 'NIKON D70', 'Apple iPhone 5')
    """
    maker, name = clean_text(make), clean_text(model)
    if name is None or not re.search(r"[1-9]|[^\W\d_]{3}", name):  # a lens that was not seen: 0.0 mm f/0.0
        name = None
    if maker is None:
        return name
    words = maker.split()
    while len(words) > 1 and _COMPANY.issuperset(filter(None, re.split("[.,]+", words[-1].casefold()))):
        words.pop()
    if name is None:
        return " ".join(words)
    begins_with_maker = any(len(word) > 2 and name.casefold().startswith(word.casefold()) for word in words)
    return name if begins_with_maker else " ".join([*words, name])
