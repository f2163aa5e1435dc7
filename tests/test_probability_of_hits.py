"""The chance that hits are relevant, and that anything is: fitted by `calibrate`, told with answers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mmsearch.calibration import CalibrateOptions, calibrate
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.metrics import Relevance
from mmsearch.scoring import HITS, ScoresRecord, fit_chances, sample_presence
from mmsearch.search.answers import UNLIKELY, Answer, Worth
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ItemPart, Query, TextPart
from mmsearch.serve.client import Server
from tests import hubby
from tests.conftest import Command
from tests.fakes import provide
from tests.hubby import World
from tests.servers import running

PICTURES = 400


@pytest.fixture(scope="module")
def world() -> World:
    return World(2 * PICTURES)


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 pictures with a caption each, calibrated; the world knows of 400 more."""
    return hubby.write_calibrated(tmp_path_factory.mktemp("calibrated") / "g", world, PICTURES)


@pytest.fixture
def opened(folder: Path, world: World) -> OpenGallery:
    return open_gallery(folder, encoder=world)


def record_of(opened: OpenGallery) -> ScoresRecord:
    scores = opened.retriever.scores("images")
    assert scores is not None
    return scores.record


def answers(opened: OpenGallery, queries: list[Query]) -> list[Answer]:
    return [answer for answer in opened.ask_all(queries) if isinstance(answer, Answer)]


def test_samples_are_of_queries_whose_answer_is_there_and_of_the_same_without() -> None:
    scores = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8]])
    hits, best = sample_presence(scores, Relevance.lists([[0], [1, 2]]), np.random.default_rng(0))
    assert set(best.searched.tolist()) == {4}  # so few items are searched as a whole
    of_first = best.queries == 0
    assert sorted(set(zip(best.scores[of_first].tolist(), best.relevant[of_first].tolist(), strict=True))) == [
        (0.5, False),
        (0.9, True),
    ]
    of_second = hits.queries == 1
    with_answer = hits.scores[of_second & hits.relevant]
    assert sorted(set(with_answer.tolist())) == [0.4, 0.6]
    assert set(hits.scores[of_second & ~hits.relevant].tolist()) == {0.2, 0.8}
    assert best.relevant.mean() == 0.5


def test_no_more_hits_count_than_a_person_looks_at() -> None:
    scores = np.random.default_rng(0).random((30, 200))
    scores[:, 7] = -1.0  # what all ask for is far below
    hits, best = sample_presence(scores, Relevance.lists([[7]] * 30), np.random.default_rng(0))
    assert not best.relevant.any()
    assert not hits.relevant.any()
    assert len(hits.scores) == HITS * len(best.scores)
    chances = fit_chances([(hits, best)], np.arange(30))
    assert chances.of_any([1.0], 200)[0] < 0.05


def test_chances_come_true_also_among_few_and_where_nothing_fits(opened: OpenGallery) -> None:
    """Of queries that were never seen: half of them ask for what is not there."""
    for where, numbers in ((None, range(PICTURES)), ("path LIKE '%7.jpg'", range(7, PICTURES, 10))):
        asked = [Query([TextPart(f"{n} said later")], where=where) for n in numbers]
        asked += [Query([TextPart(f"{n + PICTURES} said later")], where=where) for n in numbers]
        given = answers(opened, asked)
        wanted = [f"{n}.jpg" for n in numbers] + ["none"] * len(numbers)
        pairs = [*zip(wanted, given, strict=True)]
        right = np.array([any(hit.path == name for hit in answer.hits) for name, answer in pairs])
        chances = np.array([answer.worth.probability for answer in given], float)
        assert abs(chances.mean() - right.mean()) < 0.08
        assert chances[right].mean() > chances[~right].mean() + 0.1
        hits = [hit for answer in given for hit in answer.hits]
        of_hits = np.array([hit.probability for hit in hits], float)
        relevant = [hit.path == name for name, answer in pairs for hit in answer.hits]
        assert of_hits.sum() == pytest.approx(sum(relevant), rel=0.25)
        for answer in given:
            told = [hit.probability or 0 for hit in answer.hits]
            assert told == sorted(told, reverse=True)


def test_fewer_searched_make_the_same_score_worth_more(opened: OpenGallery) -> None:
    everywhere = opened.ask(Query([TextPart("7 said later")]))
    (hit,) = opened.ask(Query([TextPart("7 said later")], where="path = '7.jpg'")).hits
    same = next(each for each in everywhere.hits if each.path == "7.jpg")
    assert hit.corrected == same.corrected
    assert (hit.probability or 0) > (same.probability or 0)


def test_what_is_not_likely_enough_is_left_out(opened: OpenGallery) -> None:
    query = Query([TextPart("7 said later")], k=PICTURES)
    everything = opened.ask(query).hits
    for rank in (3, 30):
        lowest = everything[rank - 1].probability or 0
        right = [hit for hit in everything if (hit.probability or 0) >= lowest]
        assert rank <= len(right) < 40
        some = opened.ask(Query([TextPart("7 said later")], k=100, min_probability=lowest))
        assert (list(some.hits), some.more) == (right, False)
    (first,) = opened.ask(Query([TextPart("7 said later")], k=1, min_probability=lowest)).hits
    assert first == everything[0]
    with pytest.warns(MmsearchWarning, match="with a chance of 1 or more; the best has 0"):
        assert not opened.ask(Query([TextPart("7 said later")], min_probability=1)).hits


def test_a_probability_is_told_only_where_it_was_measured(opened: OpenGallery, tmp_path: Path, world: World) -> None:
    for query in (
        Query([TextPart("7 a"), TextPart("8 a")]),
        Query([TextPart("7 a", -1.0)]),
        Query([TextPart("7 a")], templates=["{} in a picture"]),
        Query([TextPart("7 a")], correct="none"),
        Query([ItemPart(7)]),
    ):
        answer = opened.ask(query)
        assert answer.worth == Worth()
        assert {hit.probability for hit in answer.hits} == {None}
    with pytest.raises(QueryError, match="nothing else among images"):
        opened.ask(Query([TextPart("7 a"), TextPart("8 a")], min_probability=0.5))
    with pytest.raises(
        QueryError, match=r"measured for queries of a picture .*; ask with a picture alone, or .*--min-sc"
    ):
        opened.ask(Query([TextPart("7 a")], table="captions", min_probability=0.5))
    with pytest.raises(QueryError, match=r"for each kind by itself.*look among one kind \(--in images\)"):
        Query([TextPart("7 a")], table="both", min_probability=0.5)
    with pytest.raises(QueryError, match="between 0 and 1"):
        Query([TextPart("7")], min_probability=50)
    hubby.write(tmp_path / "g", world, pictures=range(20))
    plain = open_gallery(tmp_path / "g", encoder=world)
    with pytest.raises(QueryError, match="run mmsearch calibrate"):
        plain.ask(Query([TextPart("7")], min_probability=0.5))
    calibrate(tmp_path / "g", options=CalibrateOptions(encoder=world))
    with pytest.raises(QueryError, match="add captions"):
        open_gallery(tmp_path / "g", encoder=world).ask(Query([TextPart("7")], min_probability=0.5))


def test_without_captions_a_score_is_set_beside_those_of_general_texts(tmp_path: Path, world: World) -> None:
    hubby.write(tmp_path / "g", world, pictures=range(PICTURES))
    calibrate(tmp_path / "g", options=CalibrateOptions(encoder=world))
    opened = open_gallery(tmp_path / "g", encoder=world)
    general = np.array(record_of(opened).general)
    assert len(general) == 101
    for text in ("7 said later", "nothing of the kind"):
        answer = opened.ask(Query([TextPart(text)]))
        assert answer.worth.probability is None
        share = answer.worth.above_general
        assert share is not None
        assert share == pytest.approx((general < answer.hits[0].score).mean(), abs=0.011)
        words = answer.worth.in_words() or ""
        assert f"{100 * share:.0f} % of general texts" in words
        assert "probab" not in words
        assert "chance" not in words


def test_it_is_said_in_words_where_nothing_fits(
    folder: Path, opened: OpenGallery, world: World, command_line: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, lambda _: world)
    texts = [f"{n + PICTURES} said later" for n in range(40)]

    def chance(text: str) -> float:
        return opened.ask(Query([TextPart(text)])).worth.probability or 0

    poor = min(texts, key=chance)
    good = max((f"{n} said later" for n in range(40)), key=chance)
    assert chance(poor) < UNLIKELY < 0.5 < chance(good)
    done = command_line("query", poor, "-g", folder)
    assert "Probably nothing here fits" in done.err
    assert len(done.out.splitlines()) == 10  # and the hits are shown
    assert "Probably" not in command_line("query", good, "-g", folder).err
    answer = opened.ask(Query([TextPart(poor)]))
    lines = [
        json.loads(line) for line in command_line("query", poor, "-g", folder, "--format", "jsonl").out.splitlines()
    ]
    assert [line["probability"] for line in lines] == [hit.probability for hit in answer.hits]
    header, *rows = csv.reader(command_line("query", poor, "-g", folder, "--format", "csv").out.splitlines())
    assert [float(row[header.index("probability")]) for row in rows] == [hit.probability for hit in answer.hits]
    lowest = opened.ask(Query([TextPart(good)])).hits[4].probability
    few = command_line("query", good, "-g", folder, "--min-probability", lowest, "--format", "jsonl").out.splitlines()
    assert 5 <= len(few) < 10
    page = folder.parent / "page.html"
    assert command_line("query", poor, "-g", folder, "--html", page).code == 0
    assert "Probably nothing here fits" in page.read_text("utf-8")
    with running(folder, encoder=world) as site, Server(site.url) as server:
        far = server.ask(Query([TextPart(poor)]))
        body = site.ask(poor)
    assert far.worth == answer.worth
    assert [hit.probability for hit in far.hits] == [hit.probability for hit in answer.hits]
    assert body["worth"].startswith("Probably nothing here fits")


def test_what_is_likely_relevant_is_sorted_by_date(opened: OpenGallery) -> None:
    """And nothing else: the newest picture of all answers nothing."""
    keep = record_of(opened).keep
    assert keep is not None
    everything = opened.ask(Query([TextPart("7 said later")], k=PICTURES)).hits
    likely = [hit for hit in everything if hit.ranking >= keep]
    assert 3 < len(likely) < PICTURES / 2
    dated = sorted((hit for hit in likely if hit.row.taken_at), key=lambda hit: hit.row_id)
    right = sorted(dated, key=lambda hit: hit.row.taken_at, reverse=True)
    right += sorted((hit for hit in likely if not hit.row.taken_at), key=lambda hit: hit.row_id)
    for k in (1, 3, PICTURES):
        answer = opened.ask(Query([TextPart("7 said later")], k=k, sort="date"))
        assert [(hit.row_id, hit.ranking) for hit in answer.hits] == [(hit.row_id, hit.ranking) for hit in right[:k]]
        assert answer.more == (k < len(likely))
    second = opened.ask(Query([TextPart("7 said later")], k=2, offset=2, sort="date")).hits
    assert [(hit.rank, hit.row_id) for hit in second] == [(n + 1, right[n].row_id) for n in (2, 3)]
    few = opened.ask(Query([TextPart("7 said later")], k=PICTURES, sort="date", distinct=0.9)).hits
    assert {hit.row_id for hit in few} < {hit.row_id for hit in likely} or len(few) == len(likely)


def test_where_nothing_is_likely_relevant_it_is_said_why_nothing_is_sorted(opened: OpenGallery) -> None:
    worst = opened.ask(Query([TextPart("7 said later")], k=PICTURES)).hits[-1]
    with pytest.warns(MmsearchWarning, match="no hit is likely relevant, and only such are sorted by date"):
        answer = opened.ask(Query([TextPart("7 said later")], where=f"path = '{worst.path}'", sort="date"))
    assert not answer.hits


def test_nine_in_ten_of_what_is_relevant_are_likely(opened: OpenGallery) -> None:
    asked = [Query([TextPart(f"{n} said later")], k=PICTURES, sort="date") for n in range(PICTURES)]
    kept = [any(hit.path == f"{n}.jpg" for hit in answer.hits) for n, answer in enumerate(answers(opened, asked))]
    assert 0.85 < np.mean(kept) < 0.95


def test_dates_need_chances_and_dates(opened: OpenGallery, folder: Path, mmsearch: Command) -> None:
    with pytest.raises(QueryError, match="corrected scores"):
        opened.ask(Query([TextPart("7 a")], sort="date", correct="none"))
    with pytest.raises(QueryError, match="one of rank, date"):
        Query([TextPart("7 a")], sort="size")
    with pytest.raises(QueryError, match="captions"):
        opened.ask(Query([TextPart("7 a")], table="captions", sort="date"))
    assert mmsearch("query", "7", "-g", folder, "--sort", "date", "--format", "trec").code == 2


def test_words_say_what_they_know() -> None:
    assert Worth().in_words() is None
    assert Worth(probability=UNLIKELY).in_words() is None
    assert "less than 1 %" in (Worth(probability=0.004).in_words() or "")
