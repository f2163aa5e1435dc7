"""The chain of a search: candidates with a bound, stages over them, and the one form of a query."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.embedding import embed
from mmsearch.errors import QueryError
from mmsearch.search.candidates import Candidates, Stage, StageContext
from mmsearch.search.chain import STAGES
from mmsearch.search.distinct import distinct_rows
from mmsearch.search.hits import Hit
from mmsearch.search.leave_out import leave_out_low_scores, leave_out_own_rows
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ImagePart, ItemPart, Part, Query, TextPart, VectorPart
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture


def candidates(scores: list[float], *, bound: float = -np.inf) -> Candidates:
    """Rows 0, 10, 20, … with these scores."""
    return Candidates(np.arange(len(scores)) * 10, {"score": np.array(scores)}, bound)


@pytest.fixture
def opened(tmp_path: Path, fake: FakeEncoder) -> OpenGallery:
    """Sixty pictures, ten of each colour."""
    for seed in range(10):
        for colour in COLOURS:
            write_picture(tmp_path / "photos" / f"{colour} {seed}.png", colour, seed=seed)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    return open_gallery(tmp_path / "g", encoder=fake)


def test_the_first_candidates_leave_a_bound_behind() -> None:
    some = candidates([0.9, 0.8, 0.7], bound=0.6)
    assert (some.first(2).row_ids.tolist(), some.first(2).bound) == ([0, 10], 0.7)
    assert some.first(3).bound == some.first(9).bound == 0.6
    assert some.kept(np.array([True, False, True])).row_ids.tolist() == [0, 20]


def test_another_order_holds_as_far_as_the_bound() -> None:
    """A row that is missing may have as much as the bound: what does not exceed it waits for more rows."""
    some = candidates([0.9, 0.8, 0.7, 0.6], bound=0.6)
    corrected = np.array([0.2, 0.5, 0.5, 0.4])
    assert some.reordered("corrected", corrected, bound=0.4).row_ids.tolist() == [10, 20]
    everything = some.reordered("corrected", corrected, bound=-np.inf)
    assert everything.row_ids.tolist() == [10, 20, 30, 0]
    assert everything.scores["score"].tolist() == [0.8, 0.7, 0.6, 0.9]
    assert everything.ranked_by == "corrected"


def test_each_stage_leaves_out_its_own(opened: OpenGallery) -> None:
    def context(query: Query, own_rows: list[int]) -> StageContext:
        return StageContext(query, opened.gallery, np.array(own_rows, np.int64), wanted=3)

    asked = Query([TextPart("red")], min_score=0.5)
    assert leave_out_own_rows(context(asked, [])) is None
    assert leave_out_low_scores(context(Query([TextPart("red")]), [])) is None
    own, low = leave_out_own_rows(context(asked, [10])), leave_out_low_scores(context(asked, []))
    assert own is not None
    assert low is not None
    some = candidates([0.9, 0.6, 0.4], bound=0.4)
    assert own(some).row_ids.tolist() == [0, 20]
    assert (low(some).row_ids.tolist(), low(some).bound) == ([0, 10], -np.inf)
    assert low(candidates([0.9, 0.6], bound=0.5)).bound == 0.5


def test_distinct_rows_end_where_there_are_enough() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)

    def keep(k: int, shown: list[int]) -> list[bool]:
        rows = np.arange(len(vectors))
        kept = distinct_rows(rows, lambda ids: vectors[ids], cosine=0.9, k=k, shown=np.array(shown, np.int64))
        return list(kept.tolist())

    assert keep(2, []) == [True, False, True]
    assert keep(9, [2]) == [True, False, False, True, True]


def green_last(context: StageContext) -> Stage:
    """A stage of one's own: green pictures come after all others."""

    def penalise(candidates: Candidates) -> Candidates:
        paths = context.gallery.rows("images", candidates.row_ids, ["path"]).column("path").to_pylist()
        penalty = np.array([1.0 if "green" in path else 0.0 for path in paths])
        return candidates.reordered("penalised", candidates.scores["score"] - penalty, bound=candidates.bound)

    return penalise


@pytest.mark.parametrize("k", [1, 7, 30, 60, 100])
def test_a_stage_of_ones_own_is_exact_at_every_depth(opened: OpenGallery, fake: FakeEncoder, k: int) -> None:
    """It changes the order, so that the chain has to look further: the answer equals that over all rows."""
    whole = opened.ask(Query([TextPart("green")], k=60)).hits
    right = sorted(whole, key=lambda hit: (-(hit.score - 1.0 * ("green" in str(hit.path))), hit.row_id))
    reranking = open_gallery(opened.gallery.path, encoder=fake, stages=(*STAGES, green_last))
    answer = reranking.ask(Query([TextPart("green")], k=k))
    assert [hit.path for hit in answer.hits] == [hit.path for hit in right[:k]]
    assert [hit.path for hit in answer.hits] != [hit.path for hit in whole[:k]]
    assert answer.more == (k < 60)
    second_page = reranking.ask(Query([TextPart("green")], k=5, offset=3)).hits
    assert [(hit.rank, hit.path) for hit in second_page] == [(n + 1, right[n].path) for n in range(3, 8)]


def test_a_stage_of_ones_own_goes_with_the_others(opened: OpenGallery, fake: FakeEncoder) -> None:
    """Near-duplicates are left out of the order that the stage before them made."""
    first, *others = STAGES
    reranking = open_gallery(opened.gallery.path, encoder=fake, stages=(first, green_last, *others))
    hits = reranking.ask(Query([TextPart("green")], k=10, distinct=0.97)).hits
    assert len(hits) == len(COLOURS)
    assert sum("green" in str(hit.path) for hit in hits) == 1


parts = st.lists(
    st.one_of(
        st.builds(TextPart, st.text("ab {}é", min_size=1).filter(str.strip), st.sampled_from([1.0, -2.0, 0.5])),
        st.builds(ImagePart, st.sampled_from(["a.png", b"0123456789abcdef"]), st.sampled_from([1.0, 3.0])),
        st.builds(ItemPart, st.sampled_from(["a.png", 7]), st.sampled_from([1.0, -1.0])),
    ),
    min_size=1,
    max_size=3,
)


@given(
    parts=parts,
    k=st.integers(1, 99),
    offset=st.integers(0, 9),
    table=st.sampled_from(["images", "captions"]),
    where=st.sampled_from([None, "width > 3"]),
    min_score=st.sampled_from([None, 0.25]),
    distinct=st.sampled_from([None, 0.97]),
    templates=st.sampled_from([[], ["a {}", "{}"]]),
    title=st.sampled_from(["", "mine"]),
)
def test_a_query_is_the_same_after_its_journey_as_json(parts: list[Part], **others: Any) -> None:
    query = Query(parts, **others)
    there = json.loads(json.dumps(query.to_json()))
    assert Query.from_json(there) == query
    assert set(there) <= {field.name for field in fields(Query)}


def test_a_vector_goes_along() -> None:
    vector = np.array([0.6, 0.8], np.float32)
    (part,) = Query.from_json(Query([VectorPart(vector, "a sound", -1.0)]).to_json()).parts
    assert isinstance(part, VectorPart)
    assert (part.vector.tolist(), part.name, part.weight) == (vector.tolist(), "a sound", -1.0)
    film = np.array([[0.6, 0.8], [1, 0]], np.float32)
    (part,) = Query.from_json(Query([VectorPart(film, "a film")]).to_json()).parts
    assert isinstance(part, VectorPart)
    assert part.vector.tolist() == film.tolist()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "a query is an object of JSON, not list"),
        ({}, 'a query has "parts"'),
        ({"parts": []}, "nothing is asked"),
        ({"parts": ["red"]}, "a part of a query is an object of JSON, not str"),
        ({"parts": [{}]}, "one of text, file, picture, like, mark and vector, and a weight; not of none of them"),
        ({"parts": [{"text": "a", "like": 3}]}, "not of 'text', 'like'"),
        ({"parts": [{"words": "a"}]}, "not of 'words'"),
        ({"parts": [{"text": 3}]}, "the text of a part is 3; it is a text"),
        ({"parts": [{"text": "a", "weight": "2"}]}, "the weight of a part is '2'; it is a number"),
        ({"parts": [{"like": True}]}, "the like of a part is True"),
        ({"parts": [{"picture": "xyz"}]}, "no content hash: 32 hexadecimal digits"),
        ({"parts": [{"vector": ["1"]}]}, "a number of a vector is '1'"),
        ({"parts": [{"vector": [[1.0, 0.0], [1.0]]}]}, "the vectors of a part differ in length"),
        ({"parts": [{"vector": [[1.0], 1.0]}]}, r"a number of a vector is \[1.0\]"),
        ({"parts": [{"text": "a"}], "k": 2.5}, "k of a query is 2.5; it is a whole number"),
        ({"parts": [{"text": "a"}], "k": 0}, "ask for at least one hit"),
        ({"parts": [{"text": "a"}], "table": "films"}, "table of a query is 'films'; it is one of images, captions"),
        ({"parts": [{"text": "a"}], "limit": 3}, "a query has no 'limit'; it has parts, k, offset"),
        ({"parts": [{"text": "a"}], "templates": [3]}, "a template is 3; it is a text"),
    ],
)
def test_json_that_is_no_query(value: object, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Query.from_json(value)


def test_lines_of_json_ask_what_the_command_line_does(opened: OpenGallery, tmp_path: Path, mmsearch: Command) -> None:
    """Also beside lines of words; what begins like an object and is none is words."""
    asked = [
        Query([TextPart("red", 2.0), TextPart("blue", -1.0)], k=2, where="path like '%1%'", id="weighted"),
        Query([ItemPart("green 3.png")], k=3, distinct=0.97),
    ]
    lines = [json.dumps(query.to_json()) for query in asked]
    (tmp_path / "queries").write_text("\n".join([lines[0], "q7\tblue", lines[1], "{red}"]))
    done = mmsearch("query", "--from-file", tmp_path / "queries", "-k", 1, "-g", tmp_path / "g")
    assert (done.code, done.err) == (0, "")
    found: dict[str, list[str]] = {}
    for line in map(json.loads, done.out.splitlines()):
        found.setdefault(line["query"], []).append(line["path"])
    expected = {query.id: paths(opened.ask(query).hits) for query in asked}
    assert found["weighted"] == expected["weighted"]
    assert found["3"] == expected["1"]
    assert {name: len(hits) for name, hits in found.items()} == {"weighted": 2, "q7": 1, "3": 3, "4": 1}
    wrong = mmsearch("query", "--from-file", written(tmp_path, '{"parts": [{"text": 3}]}'), "-g", tmp_path / "g")
    assert (wrong.code, wrong.out) == (1, "")
    assert "line 1 of" in wrong.err
    assert "the text of a part is 3" in wrong.err


def test_an_image_by_its_content_hash_is_one_of_the_gallery(opened: OpenGallery, tmp_path: Path) -> None:
    file = tmp_path / "photos" / "blue 4.png"
    content_hash = opened.gallery.hash_content(file.read_bytes())
    assert opened.ask(Query([ImagePart(content_hash)], k=1)).hits[0].path == "blue 4.png"
    with pytest.raises(QueryError, match="no picture with the content hash 00"):
        opened.ask(Query([ImagePart(bytes(16))]))


def written(folder: Path, text: str) -> Path:
    (folder / "wrong").write_text(text)
    return folder / "wrong"


def paths(hits: Sequence[Hit]) -> list[str | None]:
    return [hit.path for hit in hits]
