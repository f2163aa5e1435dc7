"""A whole film or document as what is asked with: the mean of its frames or pages, whoever holds it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import embed
from mmsearch.errors import QueryError
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ImagePart, ItemPart, Query
from mmsearch.sources import Selection
from tests.conftest import Command
from tests.fakes import FakeEncoder, provide, write_picture
from tests.rendered_films import render_scenes
from tests.test_pdf_pages import write_pdf

DAY = (("red", 3.0), ("green", 3.0), ("yellow", 3.0))
AGAIN = (("green", 2.0), ("yellow", 2.0), ("red", 2.0))
NIGHT = (("blue", 4.0), ("black", 4.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of the same three colours, one of others, a document, and photos of one colour each."""
    made = tmp_path_factory.mktemp("asked") / "files"
    made.mkdir()
    for name, scenes in (("day.mp4", DAY), ("again.mp4", AGAIN), ("night.mp4", NIGHT)):
        render_scenes(made / name, scenes)
    write_pdf(made / "paper.pdf", ("red", "green", "yellow"))
    for colour in ("red", "green", "yellow", "blue", "white"):
        write_picture(made / f"{colour}.jpg", colour)
    embed(
        [made],
        gallery=made.parent / "g",
        encoder=FakeEncoder(),
        selection=Selection(cuts=CutOptions(frames="every=1s")),
    )
    return made


@pytest.fixture
def opened(folder: Path) -> OpenGallery:
    return open_gallery(folder.parent / "g", encoder=None)


def files(opened: OpenGallery, part: ItemPart | ImagePart, k: int = 3, *, each: bool = False) -> list[str]:
    hits = opened.ask(Query([part], k=k, each=each)).hits
    return [(hit.path or "").partition("!/")[0] for hit in hits]


def mean_of(folder: Path, name: str) -> NDArray[np.float64]:
    """Of its rows, from the definition."""
    gallery = Gallery.open(folder.parent / "g")
    ids = [row_id for row_id, _, path in gallery.image_names() if path.startswith(f"{name}!/")]
    mean = np.asarray(gallery.vectors("images", np.array(ids)), np.float64).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


@pytest.mark.parametrize("name", ["day.mp4", "paper.pdf"])
def test_one_of_the_gallery_is_asked_with_by_its_name_and_is_no_answer(
    opened: OpenGallery, folder: Path, name: str
) -> None:
    """No model is loaded for it; a score is that of the mean with the best of each other file."""
    for named in (name, folder / name):
        answer = opened.ask(Query([ItemPart(named)], k=20))
        (label,) = answer.pictures
        assert label.startswith(f"{folder / name}!/")
        found = {(hit.path or "").partition("!/")[0]: hit.score for hit in answer.hits}
        assert name not in found
        assert len(found) == 8
        gallery = opened.gallery
        best: dict[str, float] = {}
        for row_id, _, path in gallery.image_names():
            score = float(mean_of(folder, name) @ np.asarray(gallery.vectors("images", np.array([row_id]))[0], float))
            file = path.partition("!/")[0]
            best[file] = max(best.get(file, -1.0), score)
        best.pop(name)
        assert found == pytest.approx(best, abs=1e-6)
    assert name not in files(opened, ItemPart(name), 50, each=True)


def test_a_file_that_is_asked_with_answers_too_and_one_that_is_held_needs_no_model(
    opened: OpenGallery, folder: Path, tmp_path: Path
) -> None:
    held = opened.ask(Query([ImagePart(folder / "day.mp4")], k=9)).hits
    like = opened.ask(Query([ItemPart("day.mp4")], k=9)).hits
    others = [(hit.path, hit.score) for hit in held if not (hit.path or "").startswith("day.mp4")]
    assert len(held) == 9
    assert others == [(hit.path, hit.score) for hit in like]
    encoder = FakeEncoder()
    new = render_scenes(tmp_path / "new.mp4", (("blue", 9.0), ("black", 3.0)))
    asked = open_gallery(folder.parent / "g", encoder=encoder)
    assert files(asked, ImagePart(new), 1) == ["night.mp4"]
    assert 2 <= encoder.images_encoded <= 64
    day = open_gallery(folder.parent / "g", encoder=encoder).ask(Query([ImagePart(folder / "day.mp4")], k=1)).hits
    assert day[0].score == pytest.approx(held[0].score, abs=0.02)  # each scene counts once, however it was cut


def test_what_a_film_shows_for_long_counts_no_more_than_what_is_new(folder: Path, tmp_path: Path) -> None:
    """Eleven seconds of blue and one of black are two things."""
    asked = open_gallery(folder.parent / "g", encoder=FakeEncoder())
    long = render_scenes(tmp_path / "long.mp4", (("blue", 11.0), ("black", 2.5)))
    short = render_scenes(tmp_path / "short.mp4", (("blue", 2.5), ("black", 2.5)))
    scores = [[hit.score for hit in asked.ask(Query([ImagePart(each)], k=9)).hits] for each in (long, short)]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def test_other_files_of_the_same_name_and_broken_ones_are_said(folder: Path, tmp_path: Path) -> None:
    asked = open_gallery(folder.parent / "g", encoder=FakeEncoder())
    (tmp_path / "day.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    with pytest.raises(QueryError, match=r"cannot ask with .*day\.mp4: "):
        asked.ask(Query([ImagePart(tmp_path / "day.mp4")]))
    with pytest.raises(QueryError, match=r"holds no picture gone\.mp4"):
        asked.ask(Query([ItemPart("gone.mp4")]))
    with pytest.raises(QueryError, match="cannot read the picture"):
        asked.ask(Query([ImagePart(tmp_path / "gone.mp4")]))


def test_on_the_command_line_and_on_a_page(
    folder: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch)
    gallery = folder.parent / "g"
    lines = mmsearch("query", "--like", "day.mp4", "-g", gallery, "--format", "paths", "-k", 2).out.splitlines()
    assert {Path(line).name for line in lines} <= {"again.mp4", "paper.pdf", "red.jpg", "green.jpg", "yellow.jpg"}
    page = tmp_path / "a.html"
    mmsearch("query", "--image", folder / "night.mp4", "-g", gallery, "--html", page)
    assert "night.mp4" in page.read_text()
    mmsearch("query", "--image", folder / "night.mp4", "-g", gallery, "--contact-sheet", tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").stat().st_size > 1_000
