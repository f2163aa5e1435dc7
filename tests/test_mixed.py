"""Pictures and captions in one list, ordered by their standard scores."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.gallery import Gallery
from mmsearch.items import BOTH
from mmsearch.scoring import MomentsSum
from mmsearch.search.hits import Hit
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ItemPart, Query, TextPart
from mmsearch.serve.client import Server
from tests import hubby
from tests.conftest import Command
from tests.fakes import provide
from tests.hubby import World
from tests.servers import running
from tests.vectors import unit_vectors

PICTURES = 300


@pytest.fixture(scope="module")
def world() -> World:
    return World(PICTURES)


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures with a caption each, calibrated; the pictures are corrected."""
    return hubby.write_calibrated(tmp_path_factory.mktemp("mixed") / "g", world, PICTURES)


@pytest.fixture
def opened(folder: Path, world: World) -> OpenGallery:
    return open_gallery(folder, encoder=world)


def told(hits: "list[Hit]") -> list[tuple[str, int]]:
    return [(hit.kind.name, hit.row_id) for hit in hits]


def mixed(text: str, k: int = 10, **more: object) -> Query:
    return Query([TextPart(text)], k=k, table=BOTH, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_standard_scores_are_those_of_the_definition(alpha: float, count: int) -> None:
    """Of a film, which asks by several vectors, those of all scores that it has with the rows."""
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng.normal(size=(500, 12)) + 1).astype(np.float32)
    means = rng.random(500).astype(np.float32)
    asked = unit_vectors(rng.normal(size=(count, 12))).astype(np.float32)
    total = MomentsSum(12)
    for block in (slice(0, 200), slice(200, 500)):
        total.add(vectors[block], means[block])
    scores = vectors.astype(np.float64) @ asked.T - alpha * means[:, None]
    highest = scores.max(axis=1)
    z = total.moments().standard_scores(asked if count > 1 else asked[0], highest, alpha=alpha)
    assert z == pytest.approx((highest - scores.mean()) / scores.std(), abs=1e-4)


def test_the_list_is_that_of_both_tables_by_their_standard_scores(
    folder: Path, opened: OpenGallery, world: World
) -> None:
    query = mixed("17 said again", 600)
    hits = list(opened.ask(query).hits)
    assert [hit.rank for hit in hits] == [*range(1, 601)]
    assert sorted(told(hits)) == sorted((name, row) for name in ("images", "captions") for row in range(PICTURES))
    of_table = {name: opened.ask(Query(query.parts, k=300, table=name)).hits for name in ("images", "captions")}
    for name, alone in of_table.items():
        among = [hit for hit in hits if hit.kind.name == name]
        assert [(hit.row_id, hit.score, hit.corrected) for hit in among] == [
            (hit.row_id, hit.score, hit.corrected) for hit in alone
        ]
        ranking = np.array([hit.score if hit.corrected is None else hit.corrected for hit in alone])
        z = (ranking - ranking.mean()) / ranking.std()
        assert [hit.z for hit in among] == pytest.approx(z.tolist(), abs=1e-3)
    assert [hit.z for hit in hits] == sorted((hit.z or 0 for hit in hits), reverse=True)
    assert of_table["images"][0].corrected is not None


def test_pages_of_it_make_up_the_whole(opened: OpenGallery) -> None:
    whole = told(list(opened.ask(mixed("40 said again", 60)).hits))
    pages = [opened.ask(mixed("40 said again", 20, offset=offset)) for offset in (0, 20, 40)]
    assert [hit for page in pages for hit in told(list(page.hits))] == whole
    assert [hit.rank for page in pages for hit in page.hits] == [*range(1, 61)]
    assert all(page.more for page in pages)
    assert not opened.ask(mixed("40 said again", 600)).more


def found_among_both(images: NDArray[np.float32], captions: NDArray[np.float32]) -> tuple[float, float]:
    """The share of captions that find their own picture among the ten best of all pictures and all other captions, by
    the cosine and by standard scores."""
    tables = (images, captions)
    by_cosine = [captions @ table.T for table in tables]
    by_z = []
    for table, scores in zip(tables, by_cosine, strict=True):
        total = MomentsSum(table.shape[1])
        total.add(table)
        moments = total.moments()
        by_z.append(np.stack([moments.standard_scores(q, row) for q, row in zip(captions, scores, strict=True)]))
    shares = []
    for of_images, of_captions in (by_cosine, by_z):
        own = np.diag(of_images)[:, None]
        np.fill_diagonal(of_captions, -np.inf)
        ranks = 1 + np.count_nonzero(of_images > own, axis=1) + np.count_nonzero(of_captions > own, axis=1)
        shares.append(float((ranks <= 10).mean()))
    return shares[0], shares[1]


def test_a_text_finds_its_picture_across_the_modality_gap() -> None:
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(300, 64))
    images, captions = (meanings + 0.5 * rng.normal(size=meanings.shape) for _ in range(2))
    images[:, 0] += 12
    captions[:, 1] += 12
    by_cosine, by_z = found_among_both(*(unit_vectors(each).astype(np.float32) for each in (images, captions)))
    assert by_cosine == 0
    assert by_z > 0.9


def test_so_it_does_among_real_vectors(shared_data: Path) -> None:
    pairs = np.load(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")
    by_cosine, by_z = found_among_both(*unit_vectors(pairs.astype(np.float64)).astype(np.float32))
    assert by_cosine == 0
    assert by_z > 0.79


def test_what_is_asked_with_is_left_out_and_its_caption_found(opened: OpenGallery) -> None:
    hits = opened.ask(Query([ItemPart(23)], k=10, table=BOTH)).hits
    assert ("images", 23) not in told(list(hits))
    assert {hit.kind.name for hit in hits} == {"images", "captions"}


def test_without_scores_the_moments_are_taken_from_the_rows(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(200), captions=[f"{n} said once" for n in range(200)])
    opened = open_gallery(tmp_path / "g", encoder=world)
    hits = opened.ask(mixed("17 said again", 400)).hits
    assert len(hits) == 400
    for name in ("images", "captions"):
        z = np.array([hit.z for hit in hits if hit.kind.name == name])
        assert z.mean() == pytest.approx(0, abs=1e-4)
        assert z.std() == pytest.approx(1, abs=1e-4)


def test_of_a_gallery_of_pictures_alone_these_are_the_answer(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(50))
    opened = open_gallery(tmp_path / "g", encoder=world)
    alone = opened.ask(Query([TextPart("3 said again")], k=50)).hits
    assert told(list(opened.ask(mixed("3 said again", 50)).hits)) == told(list(alone))


def test_limits_hold_in_each_table_and_what_does_not_fit_is_an_error(opened: OpenGallery) -> None:
    hits = opened.ask(mixed("17 said again", 600, where="path like '1%'")).hits
    assert {(hit.path or "")[0] for hit in hits} == {"1"}
    assert {hit.kind.name for hit in hits} == {"images", "captions"}
    assert min(hit.score for hit in opened.ask(mixed("17 said again", 600, min_score=0.3)).hits) >= 0.3
    with pytest.warns(match="no hit scores 1 or more"):
        assert not opened.ask(mixed("17 said again", min_score=1.0)).hits
    with pytest.raises(QueryError, match="width"):
        opened.ask(mixed("17 said again", where="width > 0"))
    with pytest.raises(QueryError, match="not sorted by date"):
        mixed("17 said again", sort="date")
    with pytest.raises(QueryError, match="for each kind by itself"):
        mixed("17 said again", min_probability=0.5)


def test_a_text_is_encoded_once(folder: Path) -> None:
    class Counting(World):
        asked = 0

        def said(self, text: str) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
            self.asked += 1
            return super().said(text)

    counting = Counting(PICTURES)
    opened = open_gallery(folder, encoder=counting)
    opened.ask_all([mixed("17 said again"), mixed("18 said again"), Query([TextPart("17 said again")])])
    assert counting.asked == 2


def test_every_form_says_of_what_kind_a_hit_is(
    folder: Path, world: World, command_line: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, lambda _: world)
    asked = ("query", "17 said again", "-g", folder, "-k", 12, "--in", "both")
    hits = open_gallery(folder, encoder=world).ask(mixed("17 said again", 12)).hits
    lines = [json.loads(line) for line in command_line(*asked, "--format", "jsonl").out.splitlines()]
    assert [(line["table"], line["row_id"], line["z"]) for line in lines] == [
        (hit.kind.name, hit.row_id, hit.z) for hit in hits
    ]
    header, *rows = csv.reader(command_line(*asked, "--format", "csv").out.splitlines())
    assert [(row[header.index("table")], int(row[header.index("row_id")])) for row in rows] == told(list(hits))
    assert {"caption", "width"} <= set(header)
    run = [line.split() for line in command_line(*asked, "--format", "trec").out.splitlines()]
    assert [float(score) for *_, score, _ in run] == pytest.approx([hit.z for hit in hits], abs=1e-6)
    assert len(command_line(*asked, "--format", "table").out.splitlines()) == 12
    command_line(*asked, "--html", folder.parent / "p.html")
    assert (folder.parent / "p.html").read_text("utf-8").count("σ") == 12
    (folder.parent / "asked.txt").write_text("17 said again\n")
    batch = command_line("query", "--from-file", folder.parent / "asked.txt", "-g", folder, "-k", 12, "--in", "both")
    assert [(each["table"], each["row_id"]) for each in map(json.loads, batch.out.splitlines())] == told(list(hits))
    plain = command_line("query", "17 said again", "-g", folder, "--format", "jsonl").out
    assert '"z"' not in plain
    assert '"table"' not in plain


def test_the_server_answers_so_too(folder: Path, world: World) -> None:
    query = mixed("17 said again", 12)
    right = open_gallery(folder, encoder=world).ask(query).hits
    with running(folder, encoder=world) as site, Server(site.url) as server:
        hits = server.ask(query).hits
    assert [(hit.kind.name, hit.row_id, hit.z, hit.rank) for hit in hits] == [
        (hit.kind.name, hit.row_id, hit.z, hit.rank) for hit in right
    ]


def test_moments_are_those_of_the_table_as_it_was_calibrated(folder: Path, opened: OpenGallery, world: World) -> None:
    scores = opened.retriever.scores("images")
    assert scores is not None
    stored = np.concatenate([block.vectors for block in Gallery.open(folder).vector_blocks("images")])
    assert scores.moments.mean[:-1] == pytest.approx(stored.mean(axis=0, dtype=np.float64), abs=1e-5)
