"""What the page shows beside the hits: some of the gallery, examples, pictures that were sent, pictures of captions."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from mmsearch.budget import REQUEST
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from tests.fakes import FakeEncoder, write_picture
from tests.servers import Running, running


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    captions = tmp_path / "captions.csv"
    lines = ["image,caption", "red.png,a red one", "red.png,red", "more/red.png,another red one", "gone.png,of nothing"]
    captions.write_text("\n".join(lines))
    embed([photos], captions=[captions], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery) as found:
        yield found


def test_a_sample_is_spread_over_the_gallery_and_always_the_same(server: Running, gallery: Path) -> None:
    names = {row_id: name for row_id, _, name in Gallery.open(gallery).image_names()}
    ids = sorted(names)
    answer = server.get("/api/sample?n=4").json()
    assert [hit["row_id"] for hit in answer["hits"]] == [ids[0], ids[4], ids[7], ids[11]]
    assert [(hit["rank"], hit["score"]) for hit in answer["hits"]] == [(1, None), (2, None), (3, None), (4, None)]
    assert [hit["path"] for hit in answer["hits"]] == [names[hit["row_id"]] for hit in answer["hits"]]
    assert answer["captions"] == ["red", "a red one", "of nothing", "another red one"]
    assert answer["version"] == Gallery.open(gallery).manifest.version
    assert server.get("/api/sample?n=4").json() == answer
    assert [hit["row_id"] for hit in server.get("/api/sample").json()["hits"]] == ids


def test_a_sample_of_what_a_filter_admits(server: Running) -> None:
    admitted = server.get("/api/sample", params={"where": "path like 'more/%'"}).json()
    assert {hit["path"].split("/")[0] for hit in admitted["hits"]} == {"more"}
    assert (len(admitted["hits"]), admitted["captions"]) == (6, [])
    assert server.get("/api/sample", params={"where": "width < 0"}).json()["hits"] == []
    refused = server.get("/api/sample", params={"where": "widht > 3"})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_filter")
    assert "there is no column widht" in refused.json()["error"]
    assert server.get("/api/sample?n=0").status_code == 422
    assert server.get("/api/sample?n=1000").status_code == 422


def test_a_bad_filter_of_a_query_has_a_code(server: Running) -> None:
    refused = server.post("/api/query", {"parts": [{"text": "red"}], "where": "1 +"})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_filter")


def test_hits_among_captions_name_their_pictures(server: Running, gallery: Path) -> None:
    ids = {name: row_id for row_id, _, name in Gallery.open(gallery).image_names()}
    hits = server.ask("red", table="captions")["hits"]
    pictures = {hit["caption"]: (hit["image"], hit["width"], hit["height"]) for hit in hits}
    assert pictures == {
        "a red one": (ids["red.png"], 16, 12),
        "red": (ids["red.png"], 16, 12),
        "another red one": (ids["more/red.png"], 16, 12),
        "of nothing": (None, None, None),
    }


def test_a_picture_that_was_sent_is_shown_as_long_as_it_is_known(server: Running, tmp_path: Path) -> None:
    own = write_picture(tmp_path / "own.png", "red", seed=7, size=(900, 600))
    sent = server.post("/api/pictures", content=own.read_bytes()).json()["picture"]
    shown = server.get(f"/api/pictures/{sent}/thumbnail")
    assert (shown.status_code, shown.headers["content-type"], shown.content[:2]) == (200, "image/jpeg", b"\xff\xd8")
    held = (tmp_path / "photos" / "red.png").read_bytes()
    sent = server.post("/api/pictures", content=held).json()["picture"]
    assert server.get(f"/api/pictures/{sent}/thumbnail").content[:2] == b"\xff\xd8"
    unknown = server.get(f"/api/pictures/{'0' * 32}/thumbnail")
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["picture"]) == (
        404,
        "unknown_picture",
        "0" * 32,
    )
    assert server.get("/api/pictures/xyz/thumbnail").status_code == 422


def test_what_may_be_filtered_by_and_how_much_may_be_sent(server: Running) -> None:
    about = server.get("/api/gallery").json()
    assert {"path", "width", "taken_at"} < {column["name"] for column in about["columns"]["images"]}
    assert {"caption", "path"} < {column["name"] for column in about["columns"]["captions"]}
    assert not {"embedding"} & {column["name"] for table in about["columns"].values() for column in table}
    assert about["limits"] == {"upload_bytes": 32 << 20, **asdict(REQUEST)}
