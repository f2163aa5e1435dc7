"""Teaching by example: marks of right and wrong move a query, it can be kept under a name, and says how sure it is."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import embed
from mmsearch.encoders.specs import CONFIG_NAME, demo_folder
from mmsearch.errors import EncoderMismatch, MmsearchError, MmsearchNote, MmsearchWarning, QueryError
from mmsearch.scoring import Examples, Moments, teach
from mmsearch.scoring.teaching import _DEVIATION, _OFFSET, _PENALTY
from mmsearch.search.kept_queries import delete_kept_query, keep_query, kept_queries, kept_query
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import ItemPart, MarkPart, Part, Query, TextPart
from scripts.postcards.dataset import load_test
from scripts.postcards.scene import Scene
from scripts.teaching_protocol import teaching_figures
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"

Vectors = NDArray[np.float32]


def moments_of(vectors: Vectors) -> Moments:
    wide = np.hstack([vectors, np.zeros((len(vectors), 1))]).astype(np.float64)
    return Moments(wide.mean(0), np.cov(wide.T, bias=True))


def unit(values: NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / lengths, np.float32)


@pytest.fixture(scope="module")
def cloud() -> Vectors:
    """300 vectors around a mean, of which the first 60 share a direction that no other has."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(300, 24)) + 1.5
    vectors[:60, 5] += 4.0
    return unit(vectors)


def marks(cloud: Vectors, right: Sequence[int], wrong: Sequence[int]) -> Examples:
    weights = np.array([1.0] * len(right) + [-1.0] * len(wrong))
    return Examples(cloud[[*right, *wrong]], weights)


def test_it_is_the_minimum_that_is_stated(cloud: Vectors) -> None:
    """By gradient descent on the objective as the module states it, from nothing."""
    moments, examples = moments_of(cloud), marks(cloud, range(4), range(100, 105))
    taught = teach(cloud[7], examples, moments)
    mean, spread = moments.mean[:24], np.sqrt(np.trace(moments.covariance[:24, :24]))
    points = (examples.vectors - mean) / spread
    covariance = moments.covariance[:24, :24] / spread**2

    def scaled(direction: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(direction / np.sqrt(direction @ covariance @ direction))

    guess = _DEVIATION * scaled(scaled(cloud[7].astype(np.float64)) + scaled(points[:4].sum(0)))
    weights, offset = guess.copy(), 0.0
    sides = np.sign(examples.weights)
    for _ in range(60_000):
        pull = -sides / (1 + np.exp(sides * (points @ weights + offset)))
        weights -= 0.02 * (points.T @ pull + _PENALTY * (weights - guess))
        offset -= 0.02 * (pull.sum() + _PENALTY * offset / _OFFSET**2)
    np.testing.assert_allclose(taught.vector, weights / np.linalg.norm(weights), atol=1e-5)


def test_marks_find_what_they_have_in_common(cloud: Vectors) -> None:
    """Of what is asked with nothing but five marks each way, most of the fifty best others are right."""
    taught = teach(None, marks(cloud, range(5), range(100, 105)), moments_of(cloud))
    order = np.argsort(-(cloud @ taught.vector))
    others = order[order >= 5]
    assert (others[:50] < 60).sum() >= 42
    alone = np.argsort(-(cloud @ cloud[0]))
    assert (alone[1:51] < 60).sum() < 36  # what one of them finds by likeness
    assert taught.told_apart is not None
    assert taught.told_apart >= 9


def test_marks_without_a_rule_tell_nothing_apart(cloud: Vectors) -> None:
    """Marks at random: what is left out falls on its side about half of the time, and that is said."""
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(40):
        rows = rng.choice(np.arange(60, 300), 12, replace=False)
        told += teach(None, marks(cloud, rows[:6].tolist(), rows[6:].tolist()), moments_of(cloud)).told_apart or 0
    assert 0.3 < told / (40 * 12) < 0.6


@pytest.mark.parametrize(("right", "wrong"), [((1,), ()), ((1, 2), ()), ((1, 2), (100,)), ((3,), (100, 101))])
def test_few_marks_teach_and_claim_nothing(cloud: Vectors, right: tuple[int, ...], wrong: tuple[int, ...]) -> None:
    taught = teach(None, marks(cloud, right, wrong), moments_of(cloud))
    assert np.linalg.norm(taught.vector) == pytest.approx(1, abs=1e-6)
    assert taught.told_apart is None
    assert taught.in_words() is None
    assert cloud[right[0]] @ taught.vector > (cloud @ taught.vector).mean()


def test_what_is_wrong_moves_a_text_alone(cloud: Vectors) -> None:
    taught = teach(cloud[0], marks(cloud, (), (200, 201)), moments_of(cloud))
    before, after = cloud @ cloud[0], cloud @ taught.vector
    assert np.argsort(np.argsort(-after))[[200, 201]].sum() > np.argsort(np.argsort(-before))[[200, 201]].sum()


def test_items_that_are_all_alike_are_no_fault() -> None:
    same = unit(np.ones((6, 8)))
    taught = teach(None, marks(same, (0, 1), (2, 3)), moments_of(same))
    assert np.isfinite(taught.vector).all()
    assert np.linalg.norm(taught.vector) == pytest.approx(1, abs=1e-6)


# --- in a gallery --------------------------------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path, mmsearch: Command) -> Path:
    for colour in ("red", "green", "blue"):
        for number in range(6):
            write_picture(tmp_path / "pictures" / f"{colour}{number}.png", colour, seed=number)
    done = mmsearch("embed", tmp_path / "pictures", "-g", tmp_path / "g")
    assert done.code == 0, done.err
    return tmp_path / "g"


@pytest.fixture
def opened(gallery: Path) -> OpenGallery:
    return open_gallery(gallery, encoder=FakeEncoder())


def names(text: str) -> list[str]:
    return [json.loads(line)["path"] for line in text.splitlines()]


def test_the_ranks_of_the_last_answer_are_marks(gallery: Path, mmsearch: Command) -> None:
    """As a person does it: ask, mark by rank, keep, ask again by name, mark more."""
    first = mmsearch("query", "a thing", "-g", gallery, "-k", 18, "--format", "jsonl")
    order = names(first.out)
    right = [str(rank) for rank, name in enumerate(order, 1) if name.startswith("blue")][:2]
    wrong = [str(rank) for rank, name in enumerate(order, 1) if not name.startswith("blue")][:3]
    taught = mmsearch(
        "query", "a thing", "-g", gallery, "-k", 6, "--format", "jsonl",
        "--yes", ",".join(right), "--no", ",".join(wrong), "--keep", "blue-ones",
    )  # fmt: skip
    assert taught.code == 0, taught.err
    assert all(name.startswith("blue") for name in names(taught.out))
    assert "kept; to ask it again: mmsearch query @blue-ones" in taught.err
    again = mmsearch("query", "@blue-ones", "-g", gallery, "-k", 6, "--format", "jsonl")
    assert again.out == taught.out
    more = mmsearch(
        "query", "@blue-ones", "-g", gallery, "-k", 6, "--format", "jsonl", "--no", "6", "--keep", "blue-ones"
    )
    assert more.code == 0, more.err
    assert names(taught.out)[5] not in names(more.out)


def test_more_like_a_hit_is_asked_for_by_its_rank(gallery: Path, mmsearch: Command) -> None:
    order = names(mmsearch("query", "a thing", "-g", gallery, "-k", 4, "--format", "jsonl").out)
    by_name = mmsearch("query", "--like", order[2], "-g", gallery, "--format", "jsonl")
    mmsearch("query", "a thing", "-g", gallery, "-k", 4)
    by_rank = mmsearch("query", "--like", "3", "-g", gallery, "--format", "jsonl")
    assert by_rank.out == by_name.out != ""
    assert "there is no hit 99" in mmsearch("query", "--like", "99", "-g", gallery).err


def test_it_says_how_well_the_marks_agree(opened: OpenGallery) -> None:
    marked = [MarkPart(f"blue{n}.png") for n in range(3)] + [MarkPart(f"red{n}.png", -1.0) for n in range(3)]
    with pytest.warns(MmsearchNote, match="taught by 6 marks: each left out in turn, 6 fall on their side"):
        answer = opened.ask(Query(marked))
    assert answer.notes == ("taught by 6 marks: each left out in turn, 6 fall on their side",)
    assert not answer.remarks


def test_a_new_mark_replaces_the_old_one(gallery: Path, opened: OpenGallery) -> None:
    keep_query("these", Query([TextPart("a"), MarkPart("blue0.png"), MarkPart("red0.png", -1.0)]), opened.gallery)
    parts = kept_query("these").parts_and([MarkPart("blue0.png", -1.0)])
    found = [(part.item, part.weight) for part in parts if isinstance(part, MarkPart)]
    assert found == [("red0.png", -1.0), ("blue0.png", -1.0)]


def test_what_is_kept_needs_no_picture(gallery: Path, opened: OpenGallery, mmsearch: Command) -> None:
    """A mark keeps its vector; one whose picture has left the gallery still teaches, and a name that another picture
    has by now leaves that one in."""
    query = Query(
        [MarkPart("blue0.png"), MarkPart("blue1.png"), MarkPart("red0.png", -1.0), MarkPart("red1.png", -1.0)]
    )
    keep_query("blue", query, opened.gallery)
    pictures = gallery.parent / "pictures"
    (pictures / "blue0.png").unlink()
    write_picture(pictures / "red0.png", "blue", seed=9)
    assert mmsearch("embed", pictures, "-g", gallery).code == 0
    done = mmsearch("query", "@blue", "-g", gallery, "-k", 17, "--format", "jsonl")
    assert done.code == 0, done.err
    assert {"red0.png"} == {name for name in names(done.out)[:6] if not name.startswith("blue")}
    assert "red1.png" not in names(done.out)


def test_what_is_wrong_is_left_out_and_what_is_right_is_not(opened: OpenGallery) -> None:
    hits = opened.ask(Query([MarkPart("blue0.png"), MarkPart("red0.png", -1.0)], k=18)).hits
    found = [hit.path for hit in hits]
    assert "blue0.png" in found
    assert "red0.png" not in found
    assert len(found) == 17


def test_a_taught_query_takes_filters_and_pages(opened: OpenGallery) -> None:
    parts = [MarkPart("blue0.png"), MarkPart("red0.png", -1.0)]
    with_all = [hit.row_id for hit in opened.ask(Query(parts, k=18)).hits]
    assert [hit.row_id for hit in opened.ask(Query(parts, k=5, offset=4)).hits] == with_all[4:9]
    green = opened.ask(Query(parts, k=3, where="path like 'green%'")).hits
    assert [hit.path[:5] for hit in green if hit.path] == ["green"] * 3


def test_a_query_with_marks_goes_through_json() -> None:
    query = Query([TextPart("x"), MarkPart("a.jpg"), MarkPart(7, -2.0, np.array([1, 0], np.float32))])
    assert query.title == "x + 1 right − 1 wrong"
    again = Query.from_json(query.to_json())
    assert again.to_json() == query.to_json()
    assert query.to_json()["parts"][1:] == [{"mark": "a.jpg"}, {"mark": 7, "weight": -2.0, "vector": [1.0, 0.0]}]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Query([MarkPart(1, -1.0)]), "nothing is asked but what is wrong"),
        (lambda: Query([TextPart("x"), MarkPart(1)], table="captions"), "marks teach which pictures are right"),
        (lambda: Query([TextPart("x"), MarkPart(1)], table="both"), "marks teach which pictures are right"),
        (lambda: Query([TextPart("x"), MarkPart(1, 0.0)]), "a weight of 0"),
        (lambda: Query.from_json({"parts": [{"mark": 1.5}]}), "the mark of a part"),
        (lambda: Query.from_json({"parts": [{"mark": 1, "vector": "x"}]}), "the vector of a part"),
    ],
)
def test_marks_that_make_no_sense_are_refused(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(QueryError, match=re.escape(said)):
        make()


def test_a_mark_that_is_nothing_says_so(opened: OpenGallery) -> None:
    with pytest.raises(QueryError, match=r"holds no picture nowhere\.png"):
        opened.ask(Query([MarkPart("nowhere.png")]))
    with pytest.raises(QueryError, match="marked as right and as wrong"):
        opened.ask(Query([MarkPart("red0.png"), MarkPart("red0.png", -1.0)]))
    with pytest.raises(QueryError, match="has a vector of shape"):
        opened.ask(Query([MarkPart("red0.png", vector=np.ones(3, np.float32))]))


def test_names_that_are_none(gallery: Path, opened: OpenGallery, mmsearch: Command) -> None:
    asked = Query([MarkPart("blue0.png")])
    keep_query("red-doors", asked, opened.gallery)
    assert kept_queries() == ["red-doors"]
    for name in ("", "a b", "../x", ".hidden", "a/b", "x" * 101):
        with pytest.raises(QueryError, match="is no name for a query"):
            keep_query(name, asked, opened.gallery)
    assert kept_queries() == ["red-doors"]
    done = mmsearch("query", "@red-door", "-g", gallery)
    assert done.code != 0
    assert 'no query is kept as red-door; there is @red-doors. To look for the words: " @red-door"' in done.err
    done = mmsearch("query", "a", "-g", gallery, "--yes", "3-1")
    assert done.code == 2
    assert "3-1 is no rank and no span of ranks" in done.err


def test_what_was_kept_for_another_model_or_is_damaged(
    gallery: Path, opened: OpenGallery, config: Path, mmsearch: Command
) -> None:
    keep_query("mine", Query([MarkPart("blue0.png")]), opened.gallery)
    file = config / "queries" / "mine.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"encoder": "another"}))
    with pytest.raises(EncoderMismatch, match="was kept for another model"):
        kept_query("mine").require_encoder_of(opened.gallery)
    assert "was kept for another model" in mmsearch("query", "@mine", "-g", gallery).err
    for content in ("", "[]", "{}", '{"query": 3, "encoder": ""}', "[" * 100_000):
        file.write_text(content)
        with pytest.raises(MmsearchError, match="cannot be read"):
            kept_query("mine")


def test_kept_queries_are_listed_and_deleted(
    gallery: Path, opened: OpenGallery, config: Path, mmsearch: Command
) -> None:
    nothing = mmsearch("kept")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no query is kept; keep one" in nothing.err
    model = opened.gallery.manifest.encoder.spec
    doors: list[Part] = [TextPart("red door"), MarkPart("red0.png"), MarkPart("blue0.png", -1.0)]
    keep_query("doors", Query(doors), opened.gallery)
    keep_query("blue", Query([TextPart("blue")], templates=["a {} thing"]), opened.gallery)
    assert mmsearch("kept").out.splitlines() == [
        f"@blue\tblue  ({model})",
        f"@doors\tred door + 1 right − 1 wrong  ({model})",
    ]
    told = json.loads(mmsearch("kept", "@blue", "--format", "jsonl").out)
    assert told == {"name": "blue", "title": "blue", "model": model, "templates": ["a {} thing"]}
    # One that cannot be read hides no other, and goes like any other.
    (config / "queries" / "bad.json").write_text("{")
    listed = mmsearch("kept")
    assert (listed.code, len(listed.out.splitlines())) == (0, 2)
    assert "kept as bad cannot be read" in listed.err
    assert "mmsearch kept bad --delete drops it" in listed.err
    assert mmsearch("kept", "bad").code == 1
    assert mmsearch("kept", "@bad", "blue", "--delete").out == "deleted   @bad\ndeleted   @blue\n"
    assert kept_queries() == ["doors"]
    gone = mmsearch("kept", "door", "--delete")
    assert gone.code == 1
    assert "no query is kept as door; there is @doors" in gone.err
    assert mmsearch("kept", "--delete").code == 2
    assert kept_queries() == ["doors"]
    for name in ("../queries/doors", "doors.json", ""):
        with pytest.raises(QueryError):
            delete_kept_query(name)
    assert kept_queries() == ["doors"]


def test_what_is_not_kept_of_a_query_is_said(gallery: Path, config: Path, mmsearch: Command) -> None:
    plain = mmsearch("query", "red", "-g", gallery, "--keep", "reds", "--template", "a {} thing")
    assert "is not kept" not in plain.err
    limited = mmsearch("query", "red", "-g", gallery, "--keep", "reds", "--where", "width > 1", "--distinct")
    assert "what limits the answer is not kept: where width > 1; near-duplicates left out" in limited.err


def test_queries_that_were_kept_before_their_models_were_named_are_listed(
    opened: OpenGallery, config: Path, mmsearch: Command
) -> None:
    keep_query("mine", Query([TextPart("red")]), opened.gallery)
    file = config / "queries" / "mine.json"
    document = json.loads(file.read_text())
    del document["model"]
    file.write_text(json.dumps(document))
    assert mmsearch("kept").out == "@mine\tred\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


# --- on postcards and on real vectors ------------------------------------------------------------------------------

CONCEPTS: dict[str, Callable[[Scene], bool]] = {
    "vehicles": lambda scene: bool(kinds_in(scene) & {"car", "boat", "plane"}),
    "buildings": lambda scene: bool(kinds_in(scene) & {"house", "lighthouse", "windmill"}),
    "bad weather": lambda scene: scene.time in ("storm", "fog"),
    "something purple": lambda scene: any(thing.colour == "purple" for thing in scene.things),
    "three of a kind": lambda scene: any(thing.count == 3 for thing in scene.things),
}


def kinds_in(scene: Scene) -> set[str]:
    return {thing.kind for thing in scene.things}


@pytest.mark.soak
@pytest.mark.skipif(not (demo_folder() / CONFIG_NAME).is_file(), reason="the demo model is not part of this checkout")
def test_what_has_no_word_is_taught_by_five_marks_each_way(tmp_path: Path) -> None:
    """Ideas for which the model's captions had no word, from ten pictures each: of the first ten that are not marked
    nine are right on average; by likeness alone six."""
    with pytest.warns(MmsearchWarning, match="drawn postcards"):
        embed([POSTCARDS / "images"], gallery=tmp_path / "g", encoder="demo")
    opened = open_gallery(tmp_path / "g", hold=1 << 30)
    rows = {name: row_id for row_id, _, name in opened.gallery.image_names()}
    scenes = {rows[postcard.filename]: postcard.scene for postcard in load_test(POSTCARDS)}
    before, after = [], []
    for holds in CONCEPTS.values():
        right = {row for row, scene in scenes.items() if holds(scene)}
        for start in np.random.default_rng(0).choice(sorted(right), 10, replace=False).tolist():
            alike = [hit.row_id for hit in opened.ask(Query([ItemPart(start)], k=40)).hits]
            yes = [start, *[row for row in alike if row in right][:4]]
            no = [row for row in alike if row not in right][:5]
            marked = [*map(MarkPart, yes), *(MarkPart(row, -1.0) for row in no)]
            with pytest.warns(MmsearchNote):
                taught = [hit.row_id for hit in opened.ask(Query(marked, k=15)).hits]
            before.append(right_among((row for row in alike if row not in {*yes, *no}), right))
            after.append(right_among((row for row in taught if row not in yes), right))
    assert np.mean(after) > 0.9
    assert np.mean(before) < 0.7


def right_among(rows: Iterable[int], right: set[int]) -> float:
    first = [*rows][:10]
    return sum(row in right for row in first) / len(first)


def test_marks_help_on_real_vectors(shared_data: Path) -> None:
    """CLIP's of 500 COCO photos: what a word of their captions is about, taught by five marks each way."""
    figures = teaching_figures(shared_data / "modality_gap_clip_vitb16_coco500", shared_data / "coco_val2017", reps=2)
    for asked in ("text", "picture"):
        assert figures[asked, "taught"] > figures[asked, "before"] + 0.1
        assert figures[asked, "taught"] > figures[asked, "means"] - 0.03
