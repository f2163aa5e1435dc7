"""Asking with a part of a picture: how it is written, what is cut, and that all doors answer alike."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.boxes import Box, intersection_over_union
from mmsearch.embedding import embed
from mmsearch.errors import QueryError
from mmsearch.search.kept_queries import keep_query, kept_query
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ImagePart, ItemPart, Query, VectorPart
from mmsearch.search.query_files import answer_in_batches, read_queries
from mmsearch.search.typed_parts import image_part, item_part
from mmsearch.serve.client import Server
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture
from tests.servers import running

QUARTERS = {"red": "0,0,0.5,0.5", "green": "0.5,0,1,0.5", "blue": "0,0.5,0.5,1", "yellow": "0.5,0.5,1,1"}


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """A picture of four colours, a quarter each, stored on its side."""
    picture = Image.new("RGB", (400, 300))
    for colour, box in QUARTERS.items():
        picture.paste(COLOURS[colour], Box.read(box).pixels(400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "yard.png", exif=exif)
    return tmp_path / "yard.png"


@pytest.fixture
def gallery(tmp_path: Path, yard: Path, monkeypatch: pytest.MonkeyPatch) -> OpenGallery:
    for colour in QUARTERS:
        write_picture(tmp_path / "photos" / f"{colour}.png", colour)
    (tmp_path / "photos" / "yard.png").write_bytes(yard.read_bytes())
    provide(monkeypatch)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder="fake")
    return open_gallery(tmp_path / "g", encoder="fake")


def test_boxes_are_written_and_read() -> None:
    assert Box.read(" 0.25, 0,.5,1e0") == Box(0.25, 0, 0.5, 1)
    assert str(Box(0, 1 / 3, 2 / 3, 1)) == "0,0.333333,0.666667,1"
    for left in np.random.default_rng(0).random(50):
        box = Box(left / 2, left / 3, (1 + left) / 2, 1)
        assert Box.read(str(box)) == box
    for wrong in (
        "0,0,1",
        "a,b,c,d",
        "0.5,0,0.5,1",
        "0,0,1.1,1",
        "-0.1,0,1,1",
        "nan,0,1,1",
        "0,0,inf,1",
        "0,1,1,0",
        "",
    ):
        with pytest.raises(QueryError, match="box"):
            Box.read(wrong)


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (17, 400), (20_000, 10_000)])
def test_a_box_has_a_pixel_of_every_picture(size: tuple[int, int]) -> None:
    for box in (Box(0, 0, 1e-6, 1e-6), Box(0.999999, 0.999999, 1, 1), Box(0, 0, 1, 1), Box(0.3, 0.3, 0.6, 0.4)):
        left, top, right, bottom = box.pixels(*size)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
    assert Box(0, 0, 1, 1).pixels(*size) == (0, 0, *size)


def test_how_well_boxes_agree() -> None:
    assert intersection_over_union((0, 0, 4, 4), (2, 2, 6, 6)) == pytest.approx(4 / 28)
    assert intersection_over_union((0, 0, 4, 4), (4, 0, 8, 4)) == 0
    assert intersection_over_union((1, 1, 2, 2), (0, 0, 4, 4)) == pytest.approx(1 / 16)
    assert intersection_over_union((1, 2, 3, 4), (1, 2, 3, 4)) == 1


@pytest.mark.parametrize("colour", QUARTERS)
def test_a_part_is_cut_out_of_the_upright_picture_and_then_encoded(
    gallery: OpenGallery, yard: Path, colour: str
) -> None:
    box = Box.read(QUARTERS[colour])
    hits = gallery.query(image=f"{yard}#box={box}", k=3)
    assert hits[0].path == f"{colour}.png"
    encoder = FakeEncoder()
    exact = encoder.encode_images(encoder.preprocess(Image.new("RGB", (200, 150), COLOURS[colour]))[None])[0]
    row = gallery.query(image=yard.parent / "photos" / f"{colour}.png", k=1)[0].row_id
    stored = gallery.gallery.vectors("images", np.array([row]))[0]
    assert hits[0].score == pytest.approx(float(exact.astype(np.float64) @ stored.astype(np.float64)), abs=1e-6)
    like = gallery.ask(Query([ItemPart("yard.png", box=box)], k=9)).hits
    assert [hit.path for hit in like] == [hit.path for hit in gallery.query(image=f"{yard}#box={box}", k=9)
                                          if hit.path != "yard.png"]  # fmt: skip
    assert {hit.path for hit in like} == {f"{each}.png" for each in QUARTERS}


def test_small_things_are_cut_before_anything_is_shrunk(tmp_path: Path, gallery: OpenGallery) -> None:
    large = Image.new("RGB", (4000, 3000), COLOURS["white"])
    large.paste(COLOURS["blue"], (3000, 1200, 3040, 1230))
    large.save(tmp_path / "large.jpg", quality=95)
    box = Box(3000 / 4000, 1200 / 3000, 3040 / 4000, 1230 / 3000)
    assert gallery.query(image=f"{tmp_path / 'large.jpg'}#box={box}", k=1)[0].path == "blue.png"


def test_what_is_typed_is_a_file_a_weight_and_a_box(yard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(yard.parent)
    box = Box(0, 0, 0.5, 0.5)
    assert image_part("yard.png#box=0,0,0.5,0.5^2") == ImagePart("yard.png", 2.0, box)
    assert item_part("trips/a.jpg#box=0,0,.5,.5") == ItemPart("trips/a.jpg", 1.0, box)
    assert image_part("yard.png") == ImagePart("yard.png")
    named = Path("odd#box=0,0,0.5,0.5")
    named.write_bytes(yard.read_bytes())
    assert image_part(str(named)) == ImagePart(str(named))
    assert image_part(f"{named}^3") == ImagePart(str(named), 3.0)
    assert image_part(f"{named}#box=0,0,0.5,0.5") == ImagePart(str(named), 1.0, box)
    with pytest.raises(QueryError, match="'0,0,2' is no box"):
        image_part("yard.png#box=0,0,2")
    with pytest.raises(QueryError, match="no part of a picture"):
        image_part("yard.png#box=0,0,2,2")


def test_a_part_survives_json_and_bad_json_is_named() -> None:
    query = Query([ImagePart("a.jpg", 2.0, Box(0, 0, 0.5, 0.5)), ItemPart(7, box=Box(0.25, 0, 1, 1))], k=3)
    assert query.to_json()["parts"] == [
        {"file": "a.jpg", "box": [0, 0, 0.5, 0.5], "weight": 2.0},
        {"like": 7, "box": [0.25, 0, 1, 1]},
    ]
    assert Query.from_json(json.loads(json.dumps(query.to_json()))) == query
    assert query.title == "2 × like a part of a.jpg + like a part of picture 7"
    for part, said in [
        ({"file": "a", "box": "0,0,1,1"}, "it is a list"),
        ({"file": "a", "box": [0, 0, 1]}, "not 3 numbers"),
        ({"file": "a", "box": [0, 0, 1, "x"]}, "a side of a box"),
        ({"file": "a", "box": [0, 0, 1, True]}, "a side of a box"),
        ({"like": 1, "box": [1, 0, 0, 1]}, "no part of a picture"),
        ({"text": "a", "box": [0, 0, 1, 1]}, "not of 'text', 'box'"),
        ({"box": [0, 0, 1, 1]}, "not of 'box'"),
    ]:
        with pytest.raises(QueryError, match=said):
            Query.from_json({"parts": [part]})
    with pytest.raises(QueryError, match="by its content alone"):
        Query([ImagePart(b"0" * 16, box=Box(0, 0, 1, 1))])


def test_files_of_queries_and_kept_queries_ask_with_parts(tmp_path: Path, gallery: OpenGallery, yard: Path) -> None:
    lines = [
        json.dumps({"parts": [{key: name, "box": [0.5, 0, 1, 0.5]}], "k": 1})
        for key, name in (("file", str(yard)), ("like", "yard.png"))
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    answers = list(answer_in_batches(gallery, read_queries(str(tmp_path / "queries.jsonl"))))
    assert [answer.hits[0].path for answer in answers] == ["green.png", "green.png"]
    keep_query("green", answers[1].query, gallery.gallery)
    kept = kept_query("green")
    assert not any(isinstance(part, VectorPart) for part in kept.parts)
    assert gallery.ask(Query(kept.parts, k=1)).hits[0].path == "green.png"


def test_a_part_of_a_file_that_changed_is_an_error(tmp_path: Path, gallery: OpenGallery) -> None:
    write_picture(tmp_path / "photos" / "yard.png", "white")
    with pytest.raises(QueryError, match=r"a part of yard\.png cannot be asked with: the file was changed"):
        gallery.ask(Query([ItemPart("yard.png", box=Box(0, 0, 0.5, 0.5))]))
    with pytest.raises(QueryError, match=r"cannot read the picture .*none\.jpg"):
        gallery.query(image=tmp_path / "none.jpg#box=0,0,0.5,0.5")


def test_the_command_asks_with_a_part(gallery: OpenGallery, yard: Path, mmsearch: Command) -> None:
    asked = f"{yard}#box={QUARTERS['yellow']}"
    result = mmsearch("query", "--image", asked, "-k", "1", "-g", gallery.gallery.path, "--format", "jsonl")
    assert json.loads(result.out)["path"] == "yellow.png"
    wrong = mmsearch("query", "--image", f"{yard}#box=1,2", "-g", gallery.gallery.path)
    assert wrong.code == 1
    assert "'1,2' is no box: write left, top, right and bottom" in wrong.err


def test_a_server_answers_as_the_gallery_does(tmp_path: Path, gallery: OpenGallery, yard: Path) -> None:
    box = Box.read(QUARTERS["blue"])
    with running(tmp_path / "g") as server, Server(server.url) as client:
        for part in (ImagePart(yard, box=box), ItemPart("yard.png", box=box)):
            here, there = (asking.ask(Query([part], k=9)) for asking in (gallery, client))
            assert [(hit.path, hit.score) for hit in there.hits] == [(hit.path, hit.score) for hit in here.hits]
        row = next(hit.row_id for hit in gallery.query("red", k=9) if hit.path == "yard.png")
        shown = server.get(f"/api/images/{row}/part", params={"box": str(box)})
        picture = Image.open(io.BytesIO(shown.content))
        assert picture.size == (200, 150)
        assert np.abs(np.asarray(picture, int) - COLOURS["blue"]).max() < 8
        whole = server.post("/api/pictures", content=yard.read_bytes()).json()
        part_of = server.post(f"/api/pictures?box={box}", content=yard.read_bytes()).json()
        assert (whole["picture"] == part_of["picture"], part_of["width"], part_of["height"]) == (False, 200, 150)
        for path in (f"/api/images/{row}/part?box=0,0,9,9", f"/api/images/{row}/part?box=x"):
            assert "box" in server.get(path).json()["error"]
        assert "box" in server.post("/api/pictures?box=1,1,0,0", content=yard.read_bytes()).json()["error"]
        assert "no part of a picture" in server.error({"parts": [{"like": row, "box": [1, 1, 0, 0]}]})
        assert "box" in server.error({"parts": [{"text": "a", "box": [0, 0, 1, 1]}]})
