"""The API: the hits of the command line over HTTP, and a defined answer to everything else."""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import images
from mmsearch.budget import REQUEST
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.indexing import index
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ItemPart, Part, Query, TextPart
from mmsearch.serve import sent_images
from mmsearch.serve.running import ServeOptions
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.servers import Running, running

CSP = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    (tmp_path / "captions.txt").write_text("image,caption\nred.png,all <b>red</b>\nblue.png,the sea\n")
    embed([photos], captions=[tmp_path / "captions.txt"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery) as found:
        yield found


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of a gallery that no test changes."""
    folder = tmp_path_factory.mktemp("still")
    for seed, colour in enumerate(COLOURS):
        write_picture(folder / "photos" / f"{colour}.png", colour, seed=seed)
        write_picture(folder / "photos" / "more" / f"{colour}.png", colour, seed=seed + 100)
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())
    with running(folder / "g") as found:
        yield found


def row_ids(gallery: Path) -> dict[str, int]:
    return {name: row_id for row_id, _, name in Gallery.open(gallery).image_names()}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        ({"k": 3}, ["-k", 3]),
        ({"table": "captions", "k": 5}, ["--in", "captions", "-k", 5]),
        ({"where": "path like 'more/%'", "k": 9}, ["--where", "path like 'more/%'", "-k", 9]),
        ({"distinct": True, "min_score": 0.1, "k": 9}, ["--distinct", "--min-score", 0.1, "-k", 9]),
        ({"templates": ["a photo of {}", "{}"], "k": 4}, ["--template", "a photo of {}", "--template", "{}", "-k", 4]),
    ],
)
def test_hits_are_the_objects_of_the_command_lines_json_lines(
    more: dict[str, object], arguments: list[object], indexed: bool, gallery: Path, mmsearch: Command
) -> None:
    if indexed:
        index(gallery)
    printed = mmsearch("query", "red", "--gallery", gallery, "--format", "jsonl", *arguments)
    with running(gallery, encoder=FakeEncoder("fake")) as server:
        answer = server.ask("red", **more)
    beside = ("image", "width", "height") if more.get("table") == "captions" else ()  # of the captions' pictures
    hits = [{name: value for name, value in hit.items() if name not in beside} for hit in answer["hits"]]
    assert hits == [json.loads(line) for line in printed.out.splitlines()]
    assert answer["hits"]
    assert answer["version"] == Gallery.open(gallery).manifest.version


def test_pages_of_hits_are_those_of_one_answer(still: Running) -> None:
    whole = still.ask(k=12)
    pages = [still.ask(k=5, offset=offset) for offset in (0, 5, 10, 15)]
    assert [hit for page in pages for hit in page["hits"]] == whole["hits"]
    assert [hit["rank"] for hit in whole["hits"]] == list(range(1, 13))
    assert [page["more"] for page in pages] == [True, True, False, False]
    assert whole["more"] is False


def test_parts_weigh_as_they_do_in_python(server: Running, gallery: Path) -> None:
    ids = row_ids(gallery)
    asked = [{"text": "red", "weight": 2}, {"like": ids["blue.png"]}, {"text": "green", "weight": -1}]
    parts: list[Part] = [TextPart("red", 2), ItemPart(gallery.parent / "photos" / "blue.png"), TextPart("green", -1)]
    own = open_gallery(gallery, encoder=FakeEncoder()).ask(Query(parts, k=4))
    answer = server.post("/api/query", {"parts": asked, "k": 4}).json()
    assert [(hit["row_id"], hit["score"]) for hit in answer["hits"]] == [(hit.row_id, hit.score) for hit in own.hits]
    assert answer["title"] == f"2 × red + like picture {ids['blue.png']} − green"
    by_path = {"parts": [asked[0], {"like": "blue.png"}, asked[2]], "k": 4}
    assert server.post("/api/query", by_path).json()["hits"] == answer["hits"]


def test_what_the_answer_has_to_say_of_itself_comes_with_it(server: Running, photos: Path) -> None:
    (photos / "red.png").unlink()
    answer = server.ask("red", k=2)
    assert [hit["gone"] for hit in answer["hits"]] == [hit["path"] == "red.png" for hit in answer["hits"]]
    assert f"gone since they were embedded: {photos / 'red.png'}" in answer["warnings"][0]
    assert "no hit scores 1 or more" in server.ask("red", min_score=1.0)["warnings"][0]
    assert "its end was cut" in server.ask(" ".join(["word"] * 100))["warnings"][0]


def test_several_queries_have_each_their_answer_or_their_error(still: Running) -> None:
    queries = [
        {"parts": [{"text": "red"}], "k": 1},
        {"parts": [{"text": "  "}]},
        {"parts": [{"picture": "0" * 32}]},
        {"parts": [{"text": "blue"}], "k": 2, "where": "nonsense"},
        {"parts": [{"text": "blue"}], "k": 2},
    ]
    answers = still.post("/api/queries", {"queries": queries}).json()["answers"]
    assert [next(name for name in ("hits", "code", "error") if name in each) for each in answers] == [
        "hits",
        "error",
        "code",
        "code",
        "hits",
    ]
    assert answers[0] == still.ask("red", k=1)
    assert answers[4] == still.ask("blue", k=2)
    assert answers[2]["code"] == "unknown_picture"
    assert "there is no column nonsense" in answers[3]["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"parts": []}, "parts is a list of 0; it has at least 1 entry"),
        ({"parts": [{"text": "a", "like": 1}]}, "exactly one of text, picture, like, mark and kept"),
        ({"parts": [{}]}, "exactly one of text, picture, like, mark and kept"),
        ({"parts": [{"text": "a", "weight": 0}]}, "a weight of 0"),
        ({"parts": [{"text": "\ud800"}]}, "parts[0].text is '\\ud800'; it is text in valid Unicode"),
        (
            {"parts": [{"text": "x" * 10_001}]},
            "parts[0].text is 10,001 characters long; it has at most 10,000 characters",
        ),
        ({"parts": [{"like": 10**6}]}, "no picture with the row id 1000000"),
        ({"parts": [{"like": -1}]}, "parts[0].like is -1; it is at least 0"),
        ({"parts": [{"like": "no/such.png"}]}, "holds no picture no/such.png"),
        ({"parts": [{"like": "~nobody-of-that-name/x"}]}, "holds no picture"),
        ({"parts": [{"like": "a\0b"}]}, "holds no picture"),
        ({"parts": [{"picture": "../../etc/passwd"}]}, "it is written as ^[0-9a-f]{32}$"),
        ({"parts": [{"text": "a"}], "k": 0}, "k is 0; it is at least 1"),
        ({"parts": [{"text": "a"}], "k": 6_000, "offset": 6_000}, "k + offset is 12,000; it is at most 10,000"),
        ({"parts": [{"text": "a"}], "where": "select 1"}, "cannot be used"),
        ({"parts": [{"text": "a"}], "where": "length(repeat(path, 100000000)) > 3"}, "the function repeat"),
        ({"parts": [{"text": "a"}], "where": "not " * 990 + "true"}, "nested too deeply"),
        ({"parts": [{"text": "a"}], "templates": ["no slot"]}, "has no {}"),
        ({"parts": [{"text": "a"}], "nonsense": 1}, "nonsense is not known here"),
        ({"parts": [{"text": "a"}, {"text": "a", "weight": -1}]}, "cancel out"),
        ([], "the body is a list of 0; it is an object"),
        ({"parts": [{"text": 1}]}, "parts[0].text is 1; it is a text"),
        ({"parts": [{"text": "a"}], "table": "photos"}, "table is 'photos'; it is 'images' or 'captions'"),
        (
            {"parts": [{"text": "a"}], "distinct": "x"},
            "distinct is 'x'; it is true or false; distinct is 'x'; it is a number",
        ),
        ({"k": 3}, "parts is missing"),
    ],
)
def test_what_has_no_answer_says_why(body: dict[str, object], message: str, still: Running) -> None:
    assert message in still.error(body)


def test_a_body_without_its_content_type_is_told_so(still: Running) -> None:
    refused = still.client.post("/api/query", content=b'{"parts": [{"text": "red"}]}')
    assert refused.status_code == 422
    assert refused.json() == {
        "error": "the body is not taken as JSON: send it with the header Content-Type: application/json"
    }


def test_what_is_not_there_is_said_in_words_of_our_own(still: Running) -> None:
    assert still.get("/api/nothing").json()["error"].startswith("there is nothing at /api/nothing")
    assert still.get("/api/query").json()["error"].startswith("/api/query does not take GET")
    assert still.get("/api/query").headers["allow"] == "POST"
    assert still.client.delete("/api/kept").headers["allow"] == "GET, POST"  # of both of its routes


LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([{"parts": [{"text": LONG}], "templates": ["{}" * 4_990]}], "a text of 49,900,000 characters"),
        ([{"parts": [{"text": LONG}], "templates": ["{} x"]}], "a text of 10,002 characters"),
        ([{"parts": [{"text": "x"}] * 16, "templates": ["{}"] * 100}] * 2, "3,200 texts"),
        ([{"parts": [{"text": LONG}] * 16}] * 3, "480,000 characters"),
        ([{"parts": [{"text": "x"}], "k": 1, "offset": 9_000}] * 12, "108,012"),
    ],
)
def test_the_work_of_a_request_is_counted_before_it_is_done(
    queries: list[dict[str, object]], message: str, gallery: Path
) -> None:
    encoder = FakeEncoder()
    with running(gallery, encoder=encoder) as server:
        response = server.post("/api/queries", {"queries": queries})
        assert (response.status_code, message in response.json()["error"]) == (422, True), response.json()
        if len(queries) == 1:
            assert message in server.error(queries[0])
        description = server.get("/api/openapi.json").json()["info"]["description"]
        assert server.get("/api/gallery").json()["limits"]["characters"] == 400_000
    assert encoder.texts_encoded == 0
    assert "text characters 10,000" in description
    assert "hits together 100,000" in description


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"parts": [{"text": "a", "weight": Infinity}]}', b"\xff"]
)
def test_a_body_that_is_no_query_is_refused(body: bytes, still: Running) -> None:
    response = still.post("/api/query", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert isinstance(response.json()["error"], str)


def test_a_picture_that_is_sent_can_be_asked_with(server: Running, tmp_path: Path) -> None:
    file = write_picture(tmp_path / "asked.png", "blue", seed=77)
    sent = server.post("/api/pictures", content=file.read_bytes()).json()
    assert sent | {"picture": ""} == {"picture": "", "width": 16, "height": 12, "in_gallery": False}
    answer = server.post("/api/query", {"parts": [{"picture": sent["picture"]}], "k": 2}).json()
    own = open_gallery(tmp_path / "g", encoder=FakeEncoder()).query(image=file, k=2)
    assert [(hit["row_id"], hit["score"]) for hit in answer["hits"]] == [(hit.row_id, hit.score) for hit in own]
    assert answer["hits"][0]["path"] in ("blue.png", "more/blue.png")


def test_a_picture_of_the_gallery_needs_no_model(gallery: Path, photos: Path) -> None:
    encoder = FakeEncoder()
    with running(gallery, encoder=encoder) as server:
        sent = server.post("/api/pictures", content=(photos / "red.png").read_bytes()).json()
        assert sent["in_gallery"] is True
    with running(gallery, encoder=encoder) as server:  # which never got it
        answer = server.post("/api/query", {"parts": [{"picture": sent["picture"]}], "k": 1}).json()
    assert answer["hits"][0]["path"] == "red.png"
    assert (encoder.images_encoded, encoder.texts_encoded) == (0, 0)


@pytest.mark.parametrize(("content", "why"), [(b"", "empty file"), (b"GIF89a", "GIF"), (b"no picture", "not an image")])
def test_what_is_no_picture_is_refused(content: bytes, why: str, still: Running) -> None:
    response = still.post("/api/pictures", content=content)
    assert (response.status_code, why in response.json()["error"]) == (422, True)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(still: Running) -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    response = still.post("/api/pictures", content=file.getvalue())
    assert response.status_code == 422
    assert "megapixels, over the limit of 100" in response.json()["error"]
    assert "--max-pixels" not in response.json()["error"]


def test_an_upload_is_bounded_before_it_is_read(gallery: Path) -> None:
    with running(gallery, options=ServeOptions(upload_bytes=1_000)) as server:
        assert server.post("/api/pictures", content=b"x" * 1_001).status_code == 413
        assert server.post("/api/pictures", content=iter([b"x" * 600] * 3)).status_code == 413  # of no stated length
        assert server.post("/api/query", content=b" " * (2 << 20) + b"{}").status_code == 413
        assert server.ask("red")["hits"]


def test_a_picture_is_taken_up_to_the_limits_that_the_api_states_and_no_further(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bytes and of pixels; what is beyond costs neither a decoder's nor an encoder's work."""
    picture = write_picture(tmp_path / "a.png", "blue", size=(30, 20), seed=9).read_bytes()
    monkeypatch.setattr(sent_images, "REQUEST", replace(REQUEST, pixels=30 * 20))
    encoder = FakeEncoder()
    with running(gallery, encoder=encoder) as server:
        limits = server.get("/api/gallery").json()["limits"]
        assert (limits["upload_bytes"], limits["pixels"]) == (32 << 20, 100_000_000)
        just = picture.ljust(limits["upload_bytes"], b"\0")  # readers of PNG stop at its end
        assert server.post("/api/pictures", content=just).json()["width"] == 30
        assert encoder.images_encoded == 1
        monkeypatch.setattr(images.decoding, "_decode", None)
        assert server.post("/api/pictures", content=just + b"\0").status_code == 413
        monkeypatch.setattr(sent_images, "REQUEST", replace(REQUEST, pixels=30 * 20 - 1))
        refused = server.post("/api/pictures", content=picture)
        assert (refused.status_code, "over the limit" in refused.json()["error"]) == (422, True)
    assert encoder.images_encoded == 1


def test_what_the_gallery_is(server: Running, gallery: Path, photos: Path) -> None:
    found = server.get("/api/gallery").json()
    assert list(found.pop("columns")) == ["images", "captions"]
    assert found == {
        "name": "g",
        "version": 2,
        "images": 12,
        "captions": 2,
        "encoder": {"spec": "fake", "dim": 49, "declared": False},
        "reranker": None,
        "indexes": [],
        "roots": [{"id": 1, "path": str(photos)}],
        "limits": {"upload_bytes": 32 << 20, **asdict(REQUEST)},
        "keeps": True,
        "answers_text": True,
        "text_problem": None,
        "mmsearch": found["mmsearch"],
    }
    assert server.get("/health").json() == {"status": "ok", "version": 2}


def test_what_is_known_of_a_picture(server: Running, gallery: Path, photos: Path) -> None:
    row_id = row_ids(gallery)["red.png"]
    found = server.get(f"/api/images/{row_id}").json()
    assert {name: found[name] for name in ("row_id", "path", "file", "width", "height", "gone", "captions")} == {
        "row_id": row_id,
        "path": "red.png",
        "file": str(photos / "red.png"),
        "width": 16,
        "height": 12,
        "gone": False,
        "captions": ["all <b>red</b>"],
    }
    for unknown, status in ((10**6, 404), (2**63 - 1, 404), (2**63, 422), ("x", 422), (-1, 422)):
        assert server.get(f"/api/images/{unknown}").status_code == status


def test_a_thumbnail_is_made_once_and_kept(server: Running, gallery: Path, photos: Path) -> None:
    write_picture(photos / "wide.png", "green", size=(1_000, 400))
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    row_id = row_ids(gallery)["wide.png"]
    first = server.get(f"/api/images/{row_id}/thumbnail?edge=640")
    shown = Image.open(io.BytesIO(first.content))
    assert (shown.format, shown.size) == ("JPEG", (640, 256))
    again = server.get(f"/api/images/{row_id}/thumbnail?edge=640", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert server.get(f"/api/images/{row_id}/thumbnail").headers["etag"] != first.headers["etag"]
    assert server.get(f"/api/images/{row_id}/thumbnail?edge=100000").status_code == 422
    (photos / "wide.png").unlink()
    assert server.get(f"/api/images/{row_id}/thumbnail?edge=640").content == first.content
    assert server.get(f"/api/images/{row_id}/thumbnail?edge=1280").status_code == 410
    counted = server.get("/metrics").text
    assert 'mmsearch_thumbnails_total{outcome="made"} 2.0' in counted
    assert 'mmsearch_thumbnails_total{outcome="cached"} 1.0' in counted


def test_a_turned_photograph_has_an_upright_thumbnail(server: Running, gallery: Path, photos: Path) -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, :50] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(photos / "turned.jpg", exif=exif, quality=95)
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    shown = Image.open(io.BytesIO(server.get(f"/api/images/{row_ids(gallery)['turned.jpg']}/thumbnail").content))
    assert shown.size == (60, 100)
    red = np.asarray(shown)[:, :, 0]
    assert red[10, 30] > 200 > 50 > red[90, 30]
    assert not shown.getexif()


def test_an_original_is_given_as_it_is(server: Running, gallery: Path, photos: Path) -> None:
    Image.new("RGB", (5, 5)).save(photos / "scan.tif")
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    ids = row_ids(gallery)
    red, scan = (server.get(f"/api/images/{ids[name]}/original") for name in ("red.png", "scan.tif"))
    assert red.content == (photos / "red.png").read_bytes()
    assert (red.headers["content-type"], red.headers["content-disposition"]) == ("image/png", "inline")
    assert scan.content == (photos / "scan.tif").read_bytes()
    assert scan.headers["content-disposition"] == f'attachment; filename="picture-{ids["scan.tif"]}"'


def test_a_gallery_whose_model_cannot_be_loaded_still_answers_by_its_pictures(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(gallery, encoder=None) as server:  # its spec, "fake", names no model
        assert "fake" in server.error({"parts": [{"text": "red"}]}, 409)
        row_id = row_ids(gallery)["red.png"]
        answer = server.post("/api/query", {"parts": [{"like": row_id}], "k": 1}).json()
        assert answer["hits"][0]["path"] == "more/red.png"


def test_the_page_and_what_it_needs_are_served_and_nothing_else(still: Running) -> None:
    assert still.get("/static/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for_editors = ("/static/messages.d.ts", "/static/tsconfig.json")
    outside = ("/static/nothing.js", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/", "/nothing")
    for path in for_editors + outside:
        response = still.get(path)
        assert (response.status_code, list(response.json())) == (404, ["error"]), path
    assert still.client.put("/api/query").status_code == 405


def test_every_answer_forbids_what_a_page_could_be_made_to_do(still: Running) -> None:
    for path in ("/", "/api/gallery", "/nothing", "/health", "/api/images/1/thumbnail"):
        headers = still.get(path).headers
        assert headers["content-security-policy"].startswith(CSP), path
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_metrics_count(server: Running) -> None:
    server.ask("red")
    server.ask("red", offset=5)
    server.error({"parts": [{"text": " "}]})
    server.post("/api/pictures", content=b"x")
    text = server.get("/metrics").text
    for line in (
        'mmsearch_queries_total{outcome="answered",table="images"} 2.0',
        'mmsearch_uploads_total{outcome="QueryError"} 1.0',
        'mmsearch_requests_total{method="POST",status="422"} 2.0',
        "mmsearch_encode_seconds_count 1.0",  # the second page of a text encodes nothing
        "mmsearch_search_seconds_count 2.0",
        "mmsearch_gallery_images 12.0",
        "mmsearch_gallery_version 2.0",
    ):
        assert f"\n{line}\n" in text, line


def test_colours_answer_for_themselves(still: Running) -> None:
    for colour in COLOURS:
        assert {hit["path"] for hit in still.ask(colour, k=2)["hits"]} == {f"{colour}.png", f"more/{colour}.png"}
