"""Contact sheets: a tile a hit where it belongs, also where the picture is gone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.errors import QueryError, StoreError
from mmsearch.render import contact_sheet
from mmsearch.search.answers import Answer
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ImagePart, Query
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder


@pytest.fixture
def opened(photos: Path, fake: FakeEncoder) -> OpenGallery:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    return open_gallery(photos.parent / "g", encoder=fake)


def tile(sheet: Image.Image, row: int, column: int) -> tuple[int, ...]:
    """The colour in the middle of a tile."""
    height = (sheet.height - 10) // 2
    pixel = sheet.getpixel((10 + 186 * column + 88, 10 + height * row + 28 + 88))
    assert isinstance(pixel, tuple)
    return pixel


def test_each_hit_is_where_its_rank_puts_it(opened: OpenGallery, tmp_path: Path) -> None:
    answers = [opened.ask(Query.of(colour, k=2)) for colour in ("red", "blue")]
    with Image.open(contact_sheet(answers, tmp_path / "sheet.png")) as sheet:
        for row, colour in enumerate(("red", "blue")):
            for column in (0, 1):
                assert np.abs(np.subtract(tile(sheet, row, column), COLOURS[colour])).max() < 30


def test_a_picture_that_is_gone_leaves_a_tile_that_says_so(opened: OpenGallery, tmp_path: Path) -> None:
    answer = opened.ask(Query.of("red", k=2))
    Path(answer.hits[0].file or "").unlink()
    with Image.open(contact_sheet([answer] * 2, tmp_path / "sheet.png")) as sheet:
        assert min(tile(sheet, 0, 0)) > 200
        assert np.abs(np.subtract(tile(sheet, 0, 1), COLOURS["red"])).max() < 30


def test_what_cannot_be_drawn_is_refused(opened: OpenGallery, tmp_path: Path) -> None:
    answers = [opened.ask(Query.of("red", k=1))]
    with pytest.raises(QueryError, match="no answers"):
        contact_sheet([], tmp_path / "sheet.png")
    with pytest.raises(QueryError, match="too many hits"):
        contact_sheet([Answer(answers[0].query, [*answers[0].hits] * 1000)], tmp_path / "sheet.png")
    with pytest.raises(QueryError, match=r"\.jpeg, \.png or \.webp"):
        contact_sheet(answers, tmp_path / "sheet.docx")
    with pytest.raises(StoreError, match="cannot write"):
        contact_sheet(answers, tmp_path / "nowhere" / "sheet.png")


def test_many_hits_go_on_in_the_next_row(opened: OpenGallery, tmp_path: Path) -> None:
    """Ten to a row, the picture that was asked with first; an answer without hits keeps its line."""
    (red,) = opened.query("red", k=1)
    asked = opened.ask(Query([ImagePart(red.file or "")], k=12))
    nothing = Answer(Query.of("nothing"), [])
    with Image.open(contact_sheet([asked, nothing], tmp_path / "sheet.png")) as sheet:
        assert sheet.size == (10 + 10 * 186, 10 + (28 + 2 * 204 + 10) + (28 + 10))
        pixels = np.asarray(sheet, np.int64)
        for place, hit in enumerate([asked.hits[0], *asked.hits]):
            pixel = pixels[10 + 28 + 204 * (place // 10) + 88, 10 + 186 * (place % 10) + 88]
            colour = COLOURS[Path(hit.path or "").stem]
            assert np.abs(pixel - colour).max() < 30, place


def test_the_option_of_query(photos: Path, mmsearch: Command, tmp_path: Path) -> None:
    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    done = mmsearch("query", "red", "-k", 3, "-g", gallery, "--contact-sheet", tmp_path / "red.jpg")
    assert len(done.out.splitlines()) == 3
    assert done.err.splitlines()[-1] == f"mmsearch: contact sheet: {tmp_path / 'red.jpg'}"
    with Image.open(tmp_path / "red.jpg") as sheet:
        assert (sheet.format, sheet.width) == ("JPEG", 10 + 3 * 186)
