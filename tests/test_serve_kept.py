"""Queries that are taught and kept through the server: what its page does, asked by a program."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.search.kept_queries import keep_query, kept_queries, kept_query
from mmsearch.search.query import MarkPart, Query, TextPart
from mmsearch.serve.running import ServeOptions
from tests.fakes import FakeEncoder
from tests.servers import Running, running


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery) as found:
        yield found


def rows_of(gallery: Path) -> dict[str, int]:
    return {name: row_id for row_id, _, name in Gallery.open(gallery).image_names()}


def paths(server: Running, *parts: object) -> list[str]:
    """The answer to some parts, as paths."""
    response = server.post("/api/query", {"parts": parts})
    assert response.status_code == 200, response.text
    return [hit["path"] for hit in response.json()["hits"]]


def test_what_is_marked_is_kept_under_a_name_and_asked_again(server: Running, gallery: Path) -> None:
    row = rows_of(gallery)
    parts = [{"text": "red"}, {"mark": row["blue.png"]}, {"mark": row["red.png"], "weight": -1}]
    assert server.get("/api/gallery").json()["keeps"] is True
    assert server.get("/api/kept").json() == {"names": []}
    assert server.post("/api/kept", {"name": "blue-ones", "parts": parts}).json() == {"names": ["blue-ones"]}
    asked = paths(server, *parts)
    assert "red.png" not in asked
    assert paths(server, {"kept": "blue-ones"}) == asked
    # A terminal asks it too, in any gallery: it names files, and no rows of this one.
    marks = [part for part in kept_query("blue-ones").parts if isinstance(part, MarkPart)]
    assert [Path(str(mark.item)).name for mark in marks] == ["blue.png", "red.png"]
    flipped = paths(server, {"kept": "blue-ones"}, {"mark": row["red.png"]}, {"mark": row["blue.png"], "weight": -1})
    assert "red.png" in flipped
    assert "blue.png" not in flipped


def test_a_name_that_is_taken_is_given_away_only_on_purpose(server: Running) -> None:
    red, green = ({"name": "mine", "parts": [{"text": each}]} for each in ("red", "green"))
    assert server.post("/api/kept", red).status_code == 200
    refused = server.post("/api/kept", green)
    assert (refused.status_code, refused.json()["code"]) == (422, "name_taken")
    assert paths(server, {"kept": "mine"}) == paths(server, {"text": "red"})
    assert server.post("/api/kept", green | {"replace": True}).status_code == 200
    assert paths(server, {"kept": "mine"}) == paths(server, {"text": "green"})


def test_what_cannot_be_kept_or_asked_by_name_says_why(server: Running, gallery: Path) -> None:
    assert "letters, digits" in server.post("/api/kept", {"name": "../x", "parts": [{"text": "a"}]}).json()["error"]
    assert "no query is kept as nothing" in server.error({"parts": [{"kept": "nothing"}]})
    assert "leave its weight out" in server.error({"parts": [{"kept": "mine", "weight": 2}]})
    assert "one name" in server.error({"parts": [{"kept": "a"}, {"kept": "b"}]})
    many = Query([TextPart("red"), *(MarkPart(row) for row in rows_of(gallery).values() for _ in range(50))])
    keep_query("many", many, Gallery.open(gallery))
    assert "@many has 600 marks; one request has at most 512" in server.error({"parts": [{"kept": "many"}]})


def test_what_is_kept_is_deleted(server: Running) -> None:
    for name in ("one", "other"):
        assert server.post("/api/kept", {"name": name, "parts": [{"text": "red"}]}).status_code == 200
    assert server.client.delete("/api/kept/one").json() == {"names": ["other"]}
    again = server.client.delete("/api/kept/one")
    assert (again.status_code, "no query is kept as one; there is @other" in again.json()["error"]) == (422, True)
    assert server.client.delete("/api/kept/other").json() == {"names": []}


@pytest.mark.parametrize(
    "options", [ServeOptions(allow_hosts=["photos.local"]), ServeOptions(host="0.0.0.0", token="t" * 20)]
)
def test_a_server_that_others_reach_keeps_nothing(gallery: Path, options: ServeOptions) -> None:
    keep_query("mine", Query([TextPart("red")]), Gallery.open(gallery))
    headers = {"authorization": f"Bearer {options.token}"}
    with running(gallery, options=options) as server:
        assert server.get("/api/gallery", headers=headers).json()["keeps"] is False
        asked = {"content-type": "application/json", **headers}
        for answer in (
            server.get("/api/kept", headers=headers),
            server.post("/api/kept", {"name": "x", "parts": [{"text": "a"}]}, headers=asked),
            server.post("/api/query", {"parts": [{"kept": "mine"}]}, headers=asked),
            server.client.delete("/api/kept/mine", headers=headers),
        ):
            assert answer.status_code == 422
            assert "others reach it" in answer.json()["error"]
    assert kept_queries() == ["mine"]


def test_how_well_marks_agree_is_a_note_and_no_warning(server: Running, gallery: Path) -> None:
    row = rows_of(gallery)
    right = [{"mark": row[f"{folder}blue.png"]} for folder in ("", "more/")]
    wrong = [{"mark": row[f"{folder}red.png"], "weight": -1} for folder in ("", "more/")]
    answer = server.post("/api/query", {"parts": right + wrong}).json()
    assert answer["notes"] == ["taught by 4 marks: each left out in turn, 4 fall on their side"]
    assert answer["warnings"] == []
