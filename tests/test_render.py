"""Contact sheets: a tile a hit where it belongs, also where the picture is gone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import QueryError, StoreError
from mmsearch.pipeline.embed import embed
from mmsearch.pipeline.query import OpenGallery, open_gallery
from mmsearch.pipeline.render import Answer, contact_sheet
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
    answers = [Answer(colour, opened.query(colour, k=2)) for colour in ("red", "blue")]
    with Image.open(contact_sheet(answers, tmp_path / "sheet.png")) as sheet:
        for row, colour in enumerate(("red", "blue")):
            for column in (0, 1):
                assert np.abs(np.subtract(tile(sheet, row, column), COLOURS[colour])).max() < 30


def test_a_picture_that_is_gone_leaves_a_tile_that_says_so(opened: OpenGallery, tmp_path: Path) -> None:
    hits = opened.query("red", k=2)
    Path(hits[0].file or "").unlink()
    with Image.open(contact_sheet([Answer("red", hits)] * 2, tmp_path / "sheet.png")) as sheet:
        assert min(tile(sheet, 0, 0)) > 200
        assert np.abs(np.subtract(tile(sheet, 0, 1), COLOURS["red"])).max() < 30


def test_what_cannot_be_drawn_is_refused(opened: OpenGallery, tmp_path: Path) -> None:
    answers = [Answer("red", opened.query("red", k=1))]
    with pytest.raises(QueryError, match="no hits"):
        contact_sheet([], tmp_path / "sheet.png")
    with pytest.raises(QueryError, match=r"\.jpg, \.png or \.webp"):
        contact_sheet(answers, tmp_path / "sheet.docx")
    with pytest.raises(StoreError, match="cannot write"):
        contact_sheet(answers, tmp_path / "nowhere" / "sheet.png")


def test_the_option_of_query(photos: Path, mmsearch: Command, tmp_path: Path) -> None:
    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    done = mmsearch("query", "red", "-k", 3, "-g", gallery, "--contact-sheet", tmp_path / "red.jpg")
    assert len(done.out.splitlines()) == 3
    assert done.err.splitlines()[-1] == f"mmsearch: contact sheet: {tmp_path / 'red.jpg'}"
    with Image.open(tmp_path / "red.jpg") as sheet:
        assert (sheet.format, sheet.width) == ("JPEG", 10 + 3 * 186)
