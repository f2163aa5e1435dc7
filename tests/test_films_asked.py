"""A whole film or document as what is asked with: each of its frames or pages, whoever holds it."""

import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmsearch.embedding import embed
from mmsearch.errors import QueryError
from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions
from mmsearch.search.asked_files import is_plain
from mmsearch.search.encoding import combinations
from mmsearch.search.kept_queries import keep_query, kept_query
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.own_items import MOST_VECTORS, different_places
from mmsearch.search.pending import vectors_of_query
from mmsearch.search.query import NEAR_DUPLICATE, ImagePart, ItemPart, MarkPart, Query, TextPart, VectorPart
from mmsearch.search.several_vectors import best_rows
from mmsearch.sources import Selection
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture
from tests.rendered_films import render, render_scenes
from tests.test_pdf_pages import write_pdf
from tests.vectors import random_unit_vectors, unit_vectors

POSTCARDS = Path(__file__).parents[1] / "data/postcards/images"
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


def different(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors[different_places(vectors)]


def frames_of(folder: Path, name: str) -> NDArray[np.float32]:
    """The vectors of its rows."""
    gallery = Gallery.open(folder.parent / "g")
    ids = [row_id for row_id, _, path in gallery.image_names() if path.startswith(f"{name}!/")]
    return np.asarray(gallery.vectors("images", np.array(ids)), np.float32)


@pytest.mark.parametrize("name", ["day.mp4", "paper.pdf"])
def test_one_of_the_gallery_is_asked_with_by_its_name_and_is_no_answer(
    opened: OpenGallery, folder: Path, name: str
) -> None:
    """No model is loaded for it; a score is that of the best pair of a frame of it and one of each other file."""
    asked = different(frames_of(folder, name)).astype(np.float64)
    assert len(asked) == 3  # a colour each
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
            score = float((asked @ np.asarray(gallery.vectors("images", np.array([row_id]))[0], float)).max())
            file = path.partition("!/")[0]
            best[file] = max(best.get(file, -1.0), score)
        best.pop(name)
        assert found == pytest.approx(best, abs=1e-6)
    assert name not in files(opened, ItemPart(name), 50, each=True)


def test_a_photo_of_one_of_its_scenes_is_found_as_well_as_a_film_of_all_of_them(opened: OpenGallery) -> None:
    """By the mean of three colours no photo of one of them is near."""
    like = {hit.path: hit.score for hit in opened.ask(Query([ItemPart("day.mp4")], k=9)).hits}
    assert min(like[f"{colour}.jpg"] for colour in ("red", "green", "yellow")) > 0.95
    assert max(like[f"{colour}.jpg"] for colour in ("blue", "white")) < 0.8


def test_words_beside_a_film_go_with_each_frame(opened: OpenGallery, folder: Path, fake: FakeEncoder) -> None:
    """As if the words had been asked with each frame alone, and the best answer to them counted."""
    asked = open_gallery(folder.parent / "g", encoder=fake)
    words = TextPart("white", 0.5)
    frames = different(frames_of(folder, "day.mp4"))
    together = asked.ask(Query([words, ItemPart("day.mp4")], k=50, each=True)).hits
    own = {row_id for row_id, _, path in asked.gallery.image_names() if path.startswith("day.mp4!/")}
    best: dict[int, float] = {}
    for frame in frames:
        for row_id, score in scores_of(asked, Query([words, VectorPart(frame, "a frame")], k=99)).items():
            best[row_id] = max(best.get(row_id, -1.0), score)
    assert {hit.row_id: hit.score for hit in together} == pytest.approx(
        {row_id: best[row_id] for row_id in (hit.row_id for hit in together)}, abs=1e-9
    )
    assert not own & {hit.row_id for hit in together}
    assert together[0].row_id == max(best.keys() - own, key=lambda row_id: (best[row_id], -row_id))


def scores_of(opened: OpenGallery, query: Query) -> dict[int, float]:
    """Of all rows, by the vector that a query of one vector searches by."""
    (vector,) = vectors_of_query(query, opened.gallery, opened.encoders, opened.retriever)
    found = opened.search(vector[None], k=query.k)
    return dict(zip(found.row_ids[0].tolist(), found.scores[0].tolist(), strict=True))


def test_two_films_ask_by_pairs_of_their_frames_and_one_that_leads_away_by_its_mean(opened: OpenGallery) -> None:
    rng = np.random.default_rng(0)
    one, other = random_unit_vectors(rng, 2, 40, 8)
    pairs = combinations([one, other], [1.0, 2.0])
    assert len(pairs) == MOST_VECTORS
    right = [unit_vectors(left.astype(float) + 2.0 * right) for left in one[:8] for right in other[:8]]
    np.testing.assert_allclose(pairs, right, atol=1e-6)
    away = combinations([one, other[:1]], [-1.0, 1.0])
    np.testing.assert_allclose(away, [unit_vectors(other[0] - unit_vectors(one.astype(float).mean(axis=0)))], atol=1e-6)
    both = files(opened, ItemPart("day.mp4"), 20)
    without = [hit.path for hit in opened.ask(Query([ItemPart("day.mp4"), ItemPart("night.mp4", -1.0)], k=20)).hits]
    assert len(without) == len(both) - 1


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, 200))
def test_of_many_frames_those_that_differ_most_ask(seed: int, count: int) -> None:
    """Whatever does not ask is a near-duplicate of what does, as long as there is room; and no two that ask are."""
    rng = np.random.default_rng(seed)
    centres = random_unit_vectors(rng, 40, 6)
    vectors = unit_vectors(centres[rng.integers(0, 40, count)] + 0.02 * rng.standard_normal((count, 6)))
    chosen = different(vectors.astype(np.float32))
    assert 1 <= len(chosen) <= MOST_VECTORS
    assert {vector.tobytes() for vector in chosen} <= {vector.tobytes() for vector in vectors.astype(np.float32)}
    assert ((chosen @ chosen.T)[~np.eye(len(chosen), dtype=bool)] < NEAR_DUPLICATE + 1e-6).all()
    if len(chosen) < MOST_VECTORS:
        assert ((vectors @ chosen.T).max(axis=1) >= NEAR_DUPLICATE - 1e-6).all()


@pytest.mark.parametrize("lowered", [0.0, 0.1])
def test_what_an_index_found_by_one_frame_has_the_score_of_the_frame_that_it_is_most_like(lowered: float) -> None:
    asked = np.eye(2, dtype=np.float32)
    rows = {5: [0.6, 0.8], 7: [0.7, np.sqrt(1 - 0.49)], 9: [1.0, 0.0]}
    scores = np.array([[1.0, 0.7, 0.6], [-np.inf, -np.inf, -np.inf]])
    found = Neighbours(np.array([[9, 7, 5], [-1, -1, -1]]), scores, scores - lowered if lowered else None)
    best = best_rows(found, 3, asked, lambda row_ids: np.array([rows[row] for row in row_ids.tolist()], np.float32))
    assert best.row_ids.tolist() == [9, 5, 7]
    np.testing.assert_allclose(best.scores, [1.0, 0.8, np.sqrt(1 - 0.49)], atol=1e-6)
    np.testing.assert_allclose(best.ranking, best.scores - lowered, atol=1e-12)
    nothing = Neighbours(np.full((2, 1), -1), np.full((2, 1), -np.inf))
    assert not len(best_rows(nothing, 3, asked, lambda _: pytest.fail("nothing is fetched")).row_ids)


def test_a_film_of_many_scenes_asks_with_a_bounded_number_of_them() -> None:
    vectors = random_unit_vectors(np.random.default_rng(1), 500, 32)
    assert len(different(vectors)) == MOST_VECTORS


def test_a_kept_query_keeps_the_frames(opened: OpenGallery, folder: Path) -> None:
    """It asks what the film asked, in galleries that do not hold the film too; marks teach its mean."""
    keep_query("trip", Query([ItemPart("day.mp4")]), opened.gallery)
    (part,) = kept_query("trip").parts
    assert isinstance(part, VectorPart)
    held = {hit.path: hit.score for hit in opened.ask(Query([ItemPart("day.mp4")], k=20)).hits}
    kept = {hit.path: hit.score for hit in opened.ask(Query([part], k=20)).hits}
    assert {path: score for path, score in kept.items() if path in held} == held
    taught = opened.ask(Query([part, MarkPart("red.jpg"), MarkPart("blue.jpg", -1.0)], k=20)).hits
    assert "blue.jpg" not in {hit.path for hit in taught}
    with pytest.raises(QueryError, match=r"trip has a vector of shape \(2, 3\); those of the gallery have 49 values"):
        opened.ask(Query([VectorPart(np.eye(3, dtype=np.float32)[:2], "trip")]))


def test_why_a_picture_was_found_is_shown_for_the_frame_that_found_it(opened: OpenGallery, folder: Path) -> None:
    asked = open_gallery(folder.parent / "g", encoder=FakeEncoder())
    green = next(row_id for row_id, _, path in asked.gallery.image_names() if path == "green.jpg")
    vector = np.asarray(asked.gallery.vectors("images", np.array([green]))[0], np.float32)
    frames = different(frames_of(folder, "day.mp4"))
    nearest = VectorPart(frames[(frames @ vector).argmax()], "day.mp4")
    other = VectorPart(frames[(frames @ vector).argmin()], "day.mp4")
    by_film, by_frame, by_other = (
        [(region.box, region.score) for region in asked.regions(Query([part]), green)]
        for part in (ItemPart("day.mp4"), nearest, other)
    )
    assert by_film == by_frame != by_other


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


def with_a_picture(colour: str) -> list[NDArray[np.uint8]]:
    """Two seconds each of black, of letters on black, and of a picture whose upper half is of a colour."""
    black = np.zeros((96, 160, 3), np.uint8)
    title = Image.fromarray(black)
    ImageDraw.Draw(title).text((50, 40), "Our trip", "white")
    scene = np.full((96, 160, 3), COLOURS["white"], np.uint8)
    scene[:48] = COLOURS[colour]
    return [black, np.asarray(title), scene]


def test_what_is_black_or_a_title_in_every_film_does_not_ask(tmp_path: Path) -> None:
    """Held or new: the film that shares a scene is found, not that which begins as black. Where the film of the gallery
    is gone nobody can tell, and all of its frames ask."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name, colour in (("red.mp4", "red"), ("blue.mp4", "blue"), ("again.mp4", "red")):
        shown = with_a_picture(colour)
        if name == "again.mp4":
            shown = shown[2:]
        times = np.arange(0, 2 * len(shown), 0.5).tolist()
        render(folder / name, times, group=1, draw=lambda number, shown=shown: shown[number // 4])  # type: ignore[misc]
    encoder = FakeEncoder()
    embed([folder], gallery=tmp_path / "g", encoder=encoder)
    asked = open_gallery(tmp_path / "g", encoder=None)
    assert files(asked, ItemPart("red.mp4"), 2) == ["again.mp4", "blue.mp4"]
    new = Path(shutil.copy(folder / "red.mp4", tmp_path / "new.mp4"))
    found = open_gallery(tmp_path / "g", encoder=encoder).ask(Query([ImagePart(new)], k=3)).hits
    assert found[2].path.startswith("blue.mp4!/")  # type: ignore[union-attr]
    assert found[2].score < 0.9
    with ZipFile(tmp_path / "films.zip", "w", ZIP_DEFLATED) as archive:  # where it is unpacked to be seen
        for film in folder.iterdir():
            archive.write(film, film.name)
    embed([tmp_path / "films.zip"], gallery=tmp_path / "zipped", encoder=encoder)
    zipped = open_gallery(tmp_path / "zipped", encoder=None).ask(Query([ItemPart("films.zip!/red.mp4")], k=3)).hits
    assert max(hit.score for hit in zipped if "blue.mp4" in str(hit.path)) < 0.9
    (folder / "red.mp4").unlink()
    blue = next(hit for hit in asked.ask(Query([ItemPart("red.mp4")], k=2)).hits if "blue.mp4" in str(hit.path))
    assert blue.score > 0.99


def test_no_picture_is_plain_and_black_is(shared_data: Path) -> None:
    photos = [*sorted((shared_data / "flickr8k").rglob("*.jpg")), *sorted(POSTCARDS.glob("*.jpg"))]
    assert len(photos) > 1_000
    assert not [photo for photo in photos[::4] if is_plain(Image.open(photo).convert("RGB"))]
    black, title, scene = (Image.fromarray(each) for each in with_a_picture("red"))
    noise = np.random.default_rng(0).normal(6, 3, (96, 160, 3)).clip(0, 255).astype(np.uint8)
    assert [is_plain(each) for each in (black, title, scene, Image.fromarray(noise))] == [True, True, False, True]


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
