"""Hits of one file: frames of a film are one moment, pages and tiles one hit, and whatever is asked it is exact."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.calibration import calibrate
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.indexing import IndexOptions, index
from mmsearch.items import CaptionRow, ImageRow
from mmsearch.search.film_moments import moment_numbers
from mmsearch.search.hits import Hit, record
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ItemPart, Query, TextPart, VectorPart
from mmsearch.search.retrieval import EXACT, SearchOptions
from mmsearch.upkeep.maintenance import compact
from tests import hubby
from tests.conftest import Command
from tests.films import DIM, film_vectors, frame, page, photo, tile, write_items
from tests.terminals import in_a_terminal, without_styles
from tests.vectors import random_unit_vectors

Item = tuple[ImageRow, NDArray[np.float32]]


def world(seed: int = 0) -> list[Item]:
    """Twelve films of 3 to 60 frames, two documents, two pictures with tiles, and thirty photos, mixed."""
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for number in range(12):
        vectors = film_vectors(rng, int(rng.integers(3, 60)))
        items += [(frame(f"f{number}.mp4", at, at + 1.0), vector) for at, vector in enumerate(vectors)]
    for number in range(2):
        items += [(page(f"d{number}.pdf", at), random_unit_vectors(rng, DIM)) for at in range(1, 9)]
        items.append((photo(f"p{number}.jpg"), random_unit_vectors(rng, DIM)))
        for left in range(3):
            box = [left / 4, 0.0, left / 4 + 0.5, 1.0]
            items.append((tile(f"p{number}.jpg", box), random_unit_vectors(rng, DIM)))
    items += [(photo(f"{number}.jpg"), random_unit_vectors(rng, DIM)) for number in range(30)]
    return items


def file_of(row: ImageRow) -> str:
    return row.path.partition("!/")[0]


def answering(scores: Sequence[float]) -> list[list[int]]:
    """The moments of a film, as the guide says them: places of frames."""
    least = (max(scores) + median(scores)) / 2
    runs: list[list[int]] = []
    for place, score in enumerate(scores):
        if score >= least:
            if runs and runs[-1][-1] == place - 1:
                runs[-1].append(place)
            else:
                runs.append([place])
    return runs


def told(
    items: Sequence[Item], query: NDArray[np.float32], *, each: bool = False, mean: bool = False
) -> list[tuple[Any, ...]]:
    """The whole answer, by loops: (path, from, to, what ranks) of each hit, best first. query: (dim,), or (n, dim) of
    which the one counts that a row is most like."""
    asked = np.atleast_2d(query).astype(np.float64)
    scored = [(row, max(float(vector.astype(np.float64) @ one) for one in asked)) for row, vector in items]
    films: dict[str, list[tuple[ImageRow, float]]] = {}
    for row, score in scored:
        if row.start_s is not None:
            films.setdefault(file_of(row), []).append((row, score))
    hits: list[tuple[float, float, tuple[Any, ...]]] = []
    for film in films.values():
        film.sort(key=lambda one: one[0].start_s or 0)
        for run in answering([score for _, score in film]):
            best = max(run, key=lambda place: film[place][1])
            row, score = film[best]
            rank = float(np.mean([each[1] for each in film])) if mean else score
            moment = (row.path, film[run[0]][0].start_s, film[run[-1]][0].end_s)
            hits.append((rank, -score if mean else 0, (*moment, rank)))
    hits += [(score, 0, (row.path, None, None, score)) for row, score in scored if row.start_s is None]
    hits.sort(key=lambda hit: (-hit[0], hit[1]))
    if each:
        return [hit for *_, hit in hits]
    best_of: dict[str, tuple[Any, ...]] = {}
    for *_, hit in hits:
        best_of.setdefault(hit[0].partition("!/")[0], hit)
    return [*best_of.values()]


def shown(hits: Sequence[Hit]) -> list[tuple[Any, ...]]:
    return [(hit.path, hit.from_s, hit.to_s, pytest.approx(hit.ranking, abs=1e-9)) for hit in hits]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return world()


@pytest.fixture(scope="module")
def opened(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> OpenGallery:
    """The world in two shards, the second of which holds the end of some files."""
    folder = tmp_path_factory.mktemp("moments") / "g"
    mixed = [items[place] for place in np.random.default_rng(1).permutation(len(items))]
    write_items(folder, mixed[:200])
    return open_gallery(write_items(folder, mixed[200:]))


def ask(opened: OpenGallery, vector: NDArray[np.float32], k: int = 10, **options: Any) -> Sequence[Hit]:
    return opened.ask(Query([VectorPart(vector, "x")], k=k, **options)).hits


@pytest.mark.parametrize("options", [{}, {"each": True}, {"per_video": "mean"}])
def test_hits_are_those_of_loops_over_all_rows(opened: OpenGallery, items: list[Item], options: dict[str, Any]) -> None:
    """At every depth and on every page; a query of which few frames answer, one of which many do, and a film that asks
    by six frames."""
    rng = np.random.default_rng(5)
    for vector in (*random_unit_vectors(rng, 4, DIM), items[40][1], random_unit_vectors(rng, 6, DIM)):
        right = told(items, vector, each="each" in options, mean="per_video" in options)
        for k in (1, 3, 10, 46, 500):
            assert shown(ask(opened, vector, k, **options)) == right[:k]
        assert shown(ask(opened, vector, 7, offset=5, **options)) == right[5:12]
        answer = opened.ask(Query([VectorPart(vector, "x")], k=len(right), **options))
        assert not answer.more
        assert opened.ask(Query([VectorPart(vector, "x")], k=len(right) - 1, **options)).more


def test_neighbours_that_score_more_than_half_way_to_the_best_are_a_moment() -> None:
    scores = np.array([0.1, 0.3, 0.28, 0.1, 0.1, 0.25, 0.1])
    assert moment_numbers(scores).tolist() == [-1, 0, 0, -1, -1, 1, -1]
    assert moment_numbers(scores, 0.29).tolist() == [-1, 0, -1, -1, -1, -1, -1]
    assert moment_numbers(np.full(3, 0.2)).tolist() == [0, 0, 0]
    without = np.where(np.arange(7) == 1, -np.inf, scores)
    assert moment_numbers(without).tolist() == [-1, -1, 0, -1, -1, 0 + 1, -1]
    assert moment_numbers(np.full(2, -np.inf)).tolist() == [-1, -1]


def test_through_an_index_hits_are_the_same(opened: OpenGallery, items: list[Item], tmp_path: Path) -> None:
    folder = write_items(tmp_path / "g", items)
    index(folder, options=IndexOptions(factory="IVF8,Flat"))
    indexed = open_gallery(folder)
    rng = np.random.default_rng(6)
    for vector in (*random_unit_vectors(rng, 3, DIM), random_unit_vectors(rng, 5, DIM)):
        right = told(items, vector)
        for options in (SearchOptions(nprobe=8), EXACT):
            answer = indexed.ask(Query([VectorPart(vector, "x")], k=12), options=options)
            assert shown(answer.hits) == right[:12]


@pytest.mark.parametrize("rows", [20, slice(20, 24)])
def test_a_filter_limits_the_frames_that_answer(opened: OpenGallery, items: list[Item], rows: int | slice) -> None:
    """A moment has no frame that the filter does not admit, and the number of files is that of those admitted."""
    pytest.importorskip("duckdb")
    vector = np.stack([each for _, each in items])[rows]
    admitted = [one for one in items if one[0].start_s is not None and one[0].start_s >= 5]
    right = told(admitted, vector)
    assert shown(ask(opened, vector, 50, where="start_s >= 5")) == right
    assert not opened.ask(Query([VectorPart(vector, "x")], k=50, where="start_s >= 5")).more


@pytest.mark.parametrize("rows", [20, slice(20, 60, 10)])
def test_low_scores_and_distinct(opened: OpenGallery, items: list[Item], rows: int | slice) -> None:
    vector = np.stack([each for _, each in items])[rows]
    right = told(items, vector)
    lowest = 0.25
    low = ask(opened, vector, 50, min_score=lowest)
    assert [hit.path for hit in low] == [path for path, *_, score in right if score >= lowest]
    vectors = {row.path: vector for row, vector in items}
    distinct = ask(opened, vector, 50, distinct=0.3)
    kept: list[str] = []
    for path, *_ in right:
        if all(vectors[path] @ vectors[other] < 0.3 for other in kept):
            kept.append(path)
    assert [hit.path for hit in distinct] == kept


def test_own_items_are_no_answer(opened: OpenGallery, items: list[Item]) -> None:
    vector = items[20][1]
    right = told(items, vector)
    own = items[20][0].path
    like = opened.ask(Query([ItemPart(own)], k=50)).hits
    assert own.partition("!/")[0] not in {file_of(hit.row) for hit in like}
    assert len(like) == len(right) - 1
    each = opened.ask(Query([ItemPart(own)], k=500, each=True)).hits
    moment = next(hit for hit in told(items, vector, each=True) if hit[0] == own)
    assert not [hit for hit in each if hit.path == own or (hit.path or "").startswith(f"{moment[0]}")]


def test_what_died_and_what_was_compacted_answers_no_more(items: list[Item], tmp_path: Path) -> None:
    folder = write_items(tmp_path / "g", items)
    film = [place for place, (row, _) in enumerate(items) if file_of(row) == "f3.mp4"]
    with open_writer(folder, command="tests") as writer:
        writer.delete("images", np.array(film[::2]) + int(_first_row(folder)))
        writer.commit()
    left = [one for place, one in enumerate(items) if place not in film[::2]]
    vector = items[film[1]][1]
    assert shown(ask(open_gallery(folder), vector, 50)) == told(left, vector)
    compact(folder)
    assert shown(ask(open_gallery(folder), vector, 50)) == told(left, vector)


def _first_row(folder: Path, table: str = "images") -> int:
    from mmsearch.gallery import Gallery

    return Gallery.open(folder).shards(table)[0].min_row_id


def test_whole_files_alone_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file holds several items nothing is read for it, and the chain has no such stage."""
    rows = [
        (photo(f"{number}.jpg"), vector)
        for number, vector in enumerate(random_unit_vectors(np.random.default_rng(0), 50, DIM))
    ]
    opened = open_gallery(write_items(tmp_path / "g", rows))
    monkeypatch.setattr("mmsearch.gallery.file_spans.read_file_spans", lambda *_: pytest.fail("paths are read"))
    assert opened.retriever.file_spans("images") is None
    hit = ask(opened, rows[3][1])[0]
    assert (hit.path, hit.from_s, hit.to_s, hit.mean) == ("3.jpg", None, None, None)
    assert not {"from_s", "start_s", "page", "box", "mean"} & record(hit).keys()


def test_a_hit_tells_its_moment_and_its_frame(opened: OpenGallery, items: list[Item]) -> None:
    hit = ask(opened, items[20][1], 1)[0]
    as_told = record(hit)
    assert as_told["start_s"] == items[20][0].start_s
    assert (as_told["from_s"], as_told["to_s"]) == (hit.from_s, hit.to_s)
    assert hit.from_s is not None
    assert hit.to_s is not None
    assert hit.from_s <= hit.row.start_s < hit.row.end_s <= hit.to_s
    by_mean = ask(opened, items[20][1], 50, per_video="mean")
    assert all(record(hit)["mean"] == hit.ranking for hit in by_mean)
    assert any(hit.ranking < hit.score for hit in by_mean)


@pytest.fixture
def trip(tmp_path: Path) -> Path:
    """A folder with a gallery `g` of a film, a document and two photos, whose files are there."""
    vectors = np.eye(DIM, dtype=np.float32)
    rows = [(frame("trip.mp4", 12.48 + at, 13.48 + at), vectors[int(at in (1, 2))]) for at in range(5)]
    rows += [(page("scan.tif", 3), vectors[2]), (photo("a.jpg"), vectors[3]), (photo("b.jpg"), vectors[1])]
    for name in ("trip.mp4", "scan.tif", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    with open_writer(tmp_path / "g", command="tests") as writer:
        writer.set_encoder(EncoderIdentity("tests", "sha256:0123", DIM))
        assert writer.add_root(tmp_path).id == 1
        writer.append("images", [row for row, _ in rows], np.stack([vector for _, vector in rows]))
        writer.commit()
    return tmp_path


def test_programs_and_people_are_told_the_film_and_the_time(
    trip: Path, command_line: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trip)
    asked = ("query", "--like", "b.jpg", "-g", "g", "-k", 3)
    lines = [json.loads(line) for line in command_line(*asked, "--format", "jsonl").out.splitlines()]
    film, document, whole = lines
    assert (film["start_s"], film["from_s"], film["to_s"]) == (pytest.approx(13.48), 13.48, pytest.approx(15.48))
    assert document["page"] == 3
    assert not {"page", "from_s", "start_s"} & whole.keys()
    paths = command_line(*asked, "--format", "paths").out.splitlines()
    assert paths == [str(trip / name) for name in ("trip.mp4", "scan.tif", "a.jpg")]
    assert "start_s" in command_line(*asked, "--format", "csv").out.splitlines()[0]
    by_mean = command_line(*asked, "--per-video", "mean", "--format", "csv").out.splitlines()
    assert ("mean" in by_mean[0], len(by_mean)) == (True, 4)
    shown = without_styles(in_a_terminal(trip, *asked, columns=58))
    assert [line.split(maxsplit=2)[2].rstrip() for line in shown.splitlines()[1:]] == [
        "trip.mp4 0:13-0:16",
        "scan.tif page 3",
        "a.jpg",
    ]
    page_file = trip / "page.html"
    command_line(*asked, "--html", page_file, "--contact-sheet", trip / "sheet.png")
    assert "0:13-0:16" in page_file.read_text()
    assert (trip / "trip.mp4").as_uri() in page_file.read_text()
    assert "t=13.48" not in page_file.read_text()


def test_a_film_that_is_gone_is_said_once(trip: Path) -> None:
    (trip / "trip.mp4").unlink()
    with pytest.warns(MmsearchWarning, match=r"gone since they were embedded: \S+trip\.mp4\."):
        hits = open_gallery(trip / "g").ask(Query([ItemPart("b.jpg")], k=9, each=True)).hits
    assert {hit.whole_path for hit in hits if hit.gone} == {"trip.mp4"}


def test_of_frames_that_do_not_say_when_they_end_the_next_one_does(tmp_path: Path) -> None:
    vectors = np.eye(DIM, dtype=np.float32)
    shot = [0, 1, 1, 0, 0, 1]
    rows = [(frame("a.mp4", 2.0 * at), vectors[which]) for at, which in enumerate(shot)]
    opened = open_gallery(write_items(tmp_path / "g", rows))
    hits = ask(opened, vectors[1], 5, each=True)
    assert [(hit.from_s, hit.to_s) for hit in hits] == [(2.0, 6.0), (10.0, 10.0)]


def test_corrected_hits_are_grouped_by_what_ranks_them(tmp_path: Path) -> None:
    """Frames of films that were calibrated: the best by the corrected score stands for its film."""
    made = hubby.World(400)
    with open_writer(tmp_path / "g", command="tests") as writer:
        writer.set_encoder(hubby.IDENTITY)
        rows = [frame_row(number) for number in range(400)]
        writer.append("images", rows, made.images)
        texts = [CaptionRow(f"{n} said once", 1, rows[n].path, None, "f", n) for n in range(300)]
        writer.append("captions", texts, np.stack([made.said(text.caption) for text in texts]))
        writer.commit()
    calibrate(tmp_path / "g")
    opened = open_gallery(tmp_path / "g", encoder=made)
    scores = opened.retriever.scores("images")
    assert scores is not None
    row_ids = np.arange(400) + _first_row(tmp_path / "g")
    vectors = np.asarray(opened.gallery.vectors("images", row_ids), np.float32)
    lowered = scores.lowered(row_ids, lambda rows: vectors[rows], alpha=scores.record.correction.alpha)
    assert lowered.any()
    by_film = (vectors.astype(np.float64) @ made.said("17 asked for") - lowered).reshape(40, 10)
    for per_video, ranking in (("max", by_film.max(1)), ("mean", by_film.mean(1))):
        grouped = opened.ask(Query([TextPart("17 asked for")], k=15, correct="general", per_video=per_video)).hits
        order = np.argsort(-ranking)[:15]
        assert [hit.path for hit in grouped] == [rows[10 * film + by_film[film].argmax()].path for film in order]
        np.testing.assert_allclose([hit.ranking for hit in grouped], ranking[order], atol=1e-6)
    _check_captions_for_a_film(opened, tmp_path / "g")


def _check_captions_for_a_film(opened: OpenGallery, folder: Path) -> None:
    """A film asks for captions; what the best pair is worth was not measured."""
    captions = np.arange(300) + _first_row(folder, "captions")
    vectors = np.asarray(opened.gallery.vectors("captions", captions), np.float64)
    rows = np.arange(10) + _first_row(folder)
    frames = np.asarray(opened.gallery.vectors("images", rows), np.float64)
    ranking = (vectors @ frames.T).max(axis=1)
    hits = opened.ask(Query([ItemPart("0.mp4")], k=20, table="captions")).hits
    assert [hit.row_id for hit in hits] == captions[np.argsort(-ranking, kind="stable")[:20]].tolist()
    assert all(hit.probability is None for hit in hits)
    np.testing.assert_allclose([hit.ranking for hit in hits], np.sort(ranking)[::-1][:20], atol=1e-6)
    with pytest.raises(QueryError, match="it was measured for queries of a picture and nothing else"):
        opened.ask(Query([ItemPart("0.mp4")], table="captions", min_probability=0.1))


def frame_row(number: int) -> ImageRow:
    return frame(f"{number // 10}.mp4", number % 10, number % 10 + 1)


def test_few_long_films_are_told_apart_without_looking_at_each_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all files were seen, no further row is retrieved: there is none of another file."""
    rng = np.random.default_rng(0)
    rows = [(frame(f"{film}.mp4", at), vector) for film in range(3) for at, vector in enumerate(film_vectors(rng, 700))]
    opened = open_gallery(write_items(tmp_path / "g", rows))
    looked: list[int] = []
    search = opened.retriever.search

    def noted(vectors: NDArray[np.float32], **asked: Any) -> Any:
        looked.append(asked["k"])
        return search(vectors, **asked)

    monkeypatch.setattr(opened.retriever, "search", noted)
    answer = opened.ask(Query([VectorPart(random_unit_vectors(rng, DIM), "x")], k=10))
    assert len(answer.hits) == 3
    assert not answer.more
    assert max(looked) < 2_100


def test_of_each_moment_there_is_no_mean() -> None:
    with pytest.raises(QueryError, match="one mean"):
        Query([TextPart("a")], each=True, per_video="mean")
    with pytest.raises(QueryError, match="max, mean"):
        Query([TextPart("a")], per_video="median")
    asked = Query([TextPart("a")], each=True)
    assert Query.from_json(asked.to_json()) == asked
    with pytest.raises(QueryError, match="true or false"):
        Query.from_json({"parts": [{"text": "a"}], "each": 1})
