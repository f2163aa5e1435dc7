"""Every form of question and every form of answer, as whole outputs: on the postcards of the demo, and on real photos.

What is expected is worked out here from the stored vectors, by numpy and plain Python.
"""

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders import Encoder
from mmsearch.encoders.specs import CONFIG_NAME, demo_folder
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.search.encoding import combined
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import NEAR_DUPLICATE, ImagePart, ItemPart, Query, TextPart
from mmsearch.search.typed_parts import typed_parts, weighted
from tests.conftest import SHARED_DATA, Command
from tests.fakes import FakeEncoder, provide, write_picture
from tests.independent import trec_run
from tests.terminals import in_a_terminal, without_styles

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards" / "images"
FLICKR8K = SHARED_DATA / "flickr8k" / "images_test1k_224"
SOME = 80  # pictures of each are enough for whole outputs, and quick

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A gallery of real pictures, and all that is in it."""

    gallery: Path
    encoder: Encoder
    pictures: list[Path]  # by row id
    images: Vector  # (pictures, dim), as stored
    captions: list[tuple[str, Path]]
    caption_vectors: Vector

    def text(self, text: str) -> Vector:
        return np.asarray(self.encoder.text.encode([text]).vectors[0], np.float64)


@pytest.fixture(scope="module")
def demo() -> Encoder:
    if not (demo_folder() / CONFIG_NAME).is_file():
        pytest.skip("the demo model is not part of this checkout")
    return encoders.open("demo", device="cpu", precision="fp32", announce=lambda _: None)


@pytest.fixture(scope="module", params=["postcards", "flickr8k"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo: Encoder) -> World:
    source = POSTCARDS if request.param == "postcards" else FLICKR8K
    if not source.is_dir():
        pytest.skip(f"the photos are not at {source}")
    folder = tmp_path_factory.mktemp(request.param)
    for file in sorted(source.iterdir())[:SOME]:
        place = folder / "photos" / ("trips" if file.stem[-1] in "02468" else "at home") / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    some = sorted((folder / "photos").rglob("*.jpg"))[::7]
    words = [f"a picture number {place}, {file.stem}" for place, file in enumerate(some)]
    lines = [
        f"{file.relative_to(folder / 'photos')},{json.dumps(text)}" for file, text in zip(some, words, strict=True)
    ]
    (folder / "captions.csv").write_text("image,caption\n" + "\n".join(lines) + "\n")
    with pytest.warns(MmsearchWarning, match="the demo model knows drawn postcards"):
        embed([folder / "photos"], captions=[folder / "captions.csv"], gallery=folder / "g", encoder=demo)
    reader = open_gallery(folder / "g").gallery
    names = {row_id: folder / "photos" / name for row_id, _, name in reader.image_names()}
    ids, caption_ids = np.array(sorted(names)), np.arange(len(some))
    assert ids.tolist() == list(range(SOME))
    return World(
        folder / "g",
        demo,
        [names[row_id] for row_id in ids.tolist()],
        reader.vectors("images", ids).astype(np.float64),
        list(zip(words, some, strict=True)),
        reader.vectors("captions", caption_ids).astype(np.float64),
    )


@pytest.fixture
def ask(world: World, mmsearch: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`mmsearch query` with the real encoder; what it prints."""
    provide(monkeypatch, lambda _: world.encoder)

    def run(*arguments: object, said: str = "") -> str:
        done = mmsearch("query", *arguments, "-g", world.gallery)
        assert done.code == 0, done.err
        assert re.fullmatch(said, done.err), done.err
        return done.out

    return run


NO_BYTES = {"path_bytes": None, "file_bytes": None}  # of names that are text
NO_FACTS = dict.fromkeys(
    [
        *("taken_from", "utc_offset", "camera", "lens", "lat", "lon", "city", "country", "title", "keywords", "rating"),
        "files",
    ]
)
"""What drawn postcards do not say of themselves."""


def unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)


def ranked(scores: Vector, k: int, admitted: Sequence[int] | None = None) -> list[tuple[int, float]]:
    """(row, score) of the k best, ties by row."""
    rows = range(len(scores)) if admitted is None else admitted
    return sorted(((row, float(scores[row])) for row in rows), key=lambda pair: (-pair[1], pair[0]))[:k]


def as_jsonl(world: World, hits: Sequence[tuple[int, float]]) -> list[dict[str, object]]:
    from PIL import Image

    records = []
    for rank, (row, score) in enumerate(hits, 1):
        file = world.pictures[row]
        with Image.open(file) as picture:
            width, height = picture.size
        path = str(file.relative_to(file.parents[1]))
        found = {"rank": rank, "score": pytest.approx(score, abs=2e-6), "row_id": row, "path": path, "file": str(file)}
        records.append(
            {
                **found,
                "width": width,
                "height": height,
                "taken_at": None,
                "gone": False,
                "damaged": False,
                **NO_BYTES,
                **NO_FACTS,
            }
        )
    return records


def parsed(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def check(world: World, out: str, query: Vector, *, k: int = 5, without: Sequence[int] = ()) -> None:
    scores = world.images @ query
    admitted = [row for row in range(SOME) if row not in without]
    assert parsed(out) == as_jsonl(world, ranked(scores, k, admitted))


JSONL = ("-k", 5, "--format", "jsonl")


def test_a_text(world: World, ask: Callable[..., str]) -> None:
    check(world, ask("a red house", *JSONL), world.text("a red house"))


def test_emoji_and_other_scripts(world: World, ask: Callable[..., str]) -> None:
    for text in ("🏖️ ☀️", "一只猫在沙滩上", "غروب الشمس", "zalgo t̷͎̀e̸x̵t"):
        check(world, ask(text, *JSONL), world.text(text))


def test_a_picture_of_the_gallery_and_one_from_elsewhere(world: World, ask: Callable[..., str], tmp_path: Path) -> None:
    """What the gallery holds answers with its stored vector; what it does not hold is encoded."""
    check(world, ask("--image", world.pictures[3], *JSONL), world.images[3])
    from PIL import Image

    with Image.open(world.pictures[4]) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "flipped.png")
        flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("RGB")
    vector = world.encoder.image.encode(world.encoder.image.prepare(flipped)[None])[0].astype(np.float64)
    check(world, ask("--image", tmp_path / "flipped.png", *JSONL), vector)


def test_several_at_once_by_their_weights(world: World, ask: Callable[..., str]) -> None:
    """Unit vectors added up by weight, and made a unit vector again."""
    file = world.pictures[10]
    beach, dog, people, rain = world.text("beach"), world.text("a dog"), world.text("people"), world.text("rain")
    out = ask("beach", "--image", file, "--not", "people", *JSONL)
    check(world, out, unit(beach + world.images[10] - people))
    out = ask(
        "beach^2", "--and", "a dog^.5", "--image", f"{file}^1.5", "--not", "people^0.25", "--and", "rain^-1", *JSONL
    )
    check(world, out, unit(2 * beach + 0.5 * dog + 1.5 * world.images[10] - 0.25 * people - rain))


def test_templates_are_averaged_after_normalisation(world: World, ask: Callable[..., str]) -> None:
    check(world, ask("a tent", "--template", "a photo of {}", *JSONL), world.text("a photo of a tent"))
    forms = ("a photo of {}", "{}, drawn", "{} and {}")
    out = ask("a tent", "--not", "a boat", *(part for form in forms for part in ("--template", form)), *JSONL)
    tent, boat = (
        unit(np.mean([world.text(form.replace("{}", thing)) for form in forms], axis=0))
        for thing in ("a tent", "a boat")
    )
    check(world, out, unit(tent - boat))


def test_more_like_a_hit_without_itself_and_without_a_model(
    world: World, ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(spec: str) -> Encoder:
        raise AssertionError("a model was loaded")

    provide(monkeypatch, unavailable)
    file = world.pictures[7]
    monkeypatch.chdir(file.parent)
    for way in (file, file.relative_to(file.parents[1]), file.name):  # absolute, as hits say it, from here
        check(world, ask("--like", way, *JSONL), world.images[7], without=[7])
    out = ask("--like", file, "--like", f"{world.pictures[8]}^0.5", *JSONL)
    check(world, out, unit(world.images[7] + 0.5 * world.images[8]), without=[7, 8])


def test_filters(world: World, ask: Callable[..., str]) -> None:
    admitted = [row for row, file in enumerate(world.pictures) if file.parent.name == "at home" and row > 20]
    out = ask("a red house", *JSONL, "--where", "path like 'at home/%' and row_id > 20")
    assert parsed(out) == as_jsonl(world, ranked(world.images @ world.text("a red house"), 5, admitted))
    out = ask("--like", world.pictures[admitted[0]], *JSONL, "--where", "path like 'at home/%' and row_id > 20")
    assert parsed(out) == as_jsonl(world, ranked(world.images @ world.images[admitted[0]], 5, admitted[1:]))


def test_a_lowest_score(world: World, ask: Callable[..., str]) -> None:
    scores = world.images @ world.text("a red house")
    best = ranked(scores, SOME)
    floor = (best[2][1] + best[3][1]) / 2
    out = ask("a red house", "--format", "jsonl", "-k", 50, "--min-score", floor)
    assert parsed(out) == as_jsonl(world, best[:3])
    nothing = rf"mmsearch: warning: no hit scores 0\.99 or more; the best scores {best[0][1]:.4f}\n"
    assert ask("a red house", "--format", "jsonl", "--min-score", 0.99, said=nothing) == ""


def test_captions(world: World, ask: Callable[..., str]) -> None:
    for question, vector in (
        (("a red house",), world.text("a red house")),
        (("--image", world.pictures[9]), world.images[9]),
        (("--like", world.pictures[9]), world.images[9]),
    ):
        out = ask(*question, "--in", "captions", *JSONL)
        expected = []
        for rank, (row, score) in enumerate(ranked(world.caption_vectors @ vector, 5), 1):
            text, file = world.captions[row]
            found = {"rank": rank, "score": pytest.approx(score, abs=2e-6), "row_id": row, "caption": text}
            path = str(file.relative_to(file.parents[1]))
            told = {"path": path, "file": str(file), "gone": False, **NO_BYTES, "guessed_by": None}
            expected.append({**found, **told})
        assert parsed(out) == expected


def test_each_format_whole(world: World, ask: Callable[..., str]) -> None:
    """To the last character, from the same hits."""
    hits = ranked(world.images @ world.text("sunset"), 3)
    scores = [hit["score"] for hit in parsed(ask("sunset", "-k", 3, "--format", "jsonl"))]
    assert scores == pytest.approx([score for _, score in hits], abs=2e-6)
    files = [world.pictures[row] for row, _ in hits]
    paths = [str(file.relative_to(file.parents[1])) for file in files]
    records = as_jsonl(world, hits)

    def whole(name: str) -> str:
        return ask("sunset", "-k", 3, "--format", name)

    lines = [f"{rank}\t{score:.4f}\t{file}\n" for rank, (score, file) in enumerate(zip(scores, files, strict=True), 1)]
    assert whole("table") == "".join(lines)
    assert whole("paths") == "".join(f"{file}\n" for file in files)
    assert whole("paths0") == "".join(f"{file}\0" for file in files)
    lines = [
        f"1 Q0 {path.replace(' ', '%20')} {rank} {score} mmsearch\n"
        for rank, (path, score) in enumerate(zip(paths, scores, strict=True), 1)
    ]
    assert whole("trec") == "".join(lines)
    lines = [
        f"{record['rank']},{score},{record['row_id']},{record['path']},{record['file']},"
        f"{record['width']},{record['height']},,false,false,,{',' * len(NO_FACTS)}\n"
        for record, score in zip(records, scores, strict=True)
    ]
    header = ["rank,score,row_id,path,file,width,height,taken_at,gone,damaged,path_bytes,file_bytes", *NO_FACTS]
    assert whole("csv") == ",".join(header) + "\n" + "".join(lines)
    lines = [json.dumps(record | {"score": score}) + "\n" for record, score in zip(records, scores, strict=True)]
    assert whole("jsonl") == "".join(lines)


def test_a_run_is_read_by_the_tools_of_the_field(world: World, ask: Callable[..., str], tmp_path: Path) -> None:
    import ir_measures
    from ir_measures import Success

    (tmp_path / "run").write_text(ask("sunset", "-k", 10, "--format", "trec"))
    run = trec_run(tmp_path / "run")
    qrels = [ir_measures.Qrel("1", run[4].doc_id, 1)]
    assert ir_measures.calc_aggregate([Success @ 4, Success @ 5], qrels, run) == {Success @ 4: 0.0, Success @ 5: 1.0}


# --- with an encoder that knows colours alone -----------------------------------------------------------------------


@pytest.fixture
def opened(photos: Path, fake: FakeEncoder) -> OpenGallery:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    return open_gallery(photos.parent / "g", encoder=fake)


def paths(answer_hits: Sequence[object]) -> list[str]:
    return [getattr(hit, "path", "") or "" for hit in answer_hits]


def test_near_duplicates_make_room_for_others(opened: OpenGallery, photos: Path, fake: FakeEncoder) -> None:
    """Going down the ranking, what comes too close to something shown already is left out; k others remain."""
    for seed in range(60):
        write_picture(photos / "many" / f"{seed}.png", "red", seed=500 + seed)
    embed([photos], gallery=opened.gallery.path, encoder=fake)
    opened = open_gallery(opened.gallery.path, encoder=fake)
    everything = opened.query("red", k=1000)
    vectors = opened.gallery.vectors("images", np.array([hit.row_id for hit in everything])).astype(np.float64)
    expected: list[int] = []
    for place in range(len(everything)):
        if all(vectors[place] @ vectors[earlier] < 0.97 for earlier in expected):
            expected.append(place)
    for k in (1, 3, 6, 100):
        found = opened.ask(Query([TextPart("red")], k=k, distinct=0.97)).hits
        assert paths(found) == paths([everything[place] for place in expected[:k]])
        assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    assert len(expected) == 6  # one of each colour
    alike = opened.ask(Query([ItemPart("red.png")], k=3, distinct=0.97)).hits
    assert not any("red" in hit.path or "many" in hit.path for hit in alike if hit.path)


def test_the_gallery_says_which_of_two_is_meant(opened: OpenGallery, photos: Path, fake: FakeEncoder) -> None:
    other = photos.parent / "other"
    write_picture(other / "red.png", "blue", seed=77)
    embed([other], gallery=opened.gallery.path, encoder=fake)
    opened = open_gallery(opened.gallery.path, encoder=fake)
    with pytest.raises(QueryError, match=rf"red\.png stands .* 2 times.*{photos / 'red.png'}, {other / 'red.png'}"):
        opened.ask(Query([ItemPart("red.png")]))
    assert opened.ask(Query([ItemPart(other / "red.png")])).hits[0].path in ("blue.png", "more/blue.png")
    assert opened.ask(Query([ItemPart(photos / "red.png")])).hits[0].path == "more/red.png"


def test_one_path_below_two_roots_is_two_documents(photos: Path, mmsearch: Command) -> None:
    shutil.copytree(photos, photos.parent / "copy")
    gallery = photos.parent / "g"
    mmsearch("embed", photos, photos.parent / "copy", "--model", "fake", "-g", gallery)
    run = mmsearch("query", "--like", photos / "red.png", "-k", 2, "-g", gallery, "--format", "trec").out
    names = [line.split()[2] for line in run.splitlines()]
    assert names == ["red.png", "more/red.png"]
    run = mmsearch("query", "red", "-k", 4, "-g", gallery, "--format", "trec").out
    assert len({line.split()[2] for line in run.splitlines()}) == 4


def test_a_picture_that_is_gone_is_shown_and_marked(photos: Path, mmsearch: Command) -> None:
    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    (photos / "red.png").unlink()
    (photos / "more" / "red.png").rename(photos / "more" / "moved.png")
    warning = (
        "mmsearch: warning: gone since they were embedded: "
        rf"({photos / 'red.png'}, {photos / 'more/red.png'}|{photos / 'more/red.png'}, {photos / 'red.png'})\. "
        "To drop what is gone: mmsearch embed\n"
    )
    done = mmsearch("query", "red", "-k", 3, "-g", gallery)
    assert re.fullmatch(warning, done.err)
    assert [line.split("\t")[3:] for line in done.out.splitlines()] == [["gone"], ["gone"], []]
    found = mmsearch("query", "red", "-k", 3, "-g", gallery, "--format", "jsonl").out
    assert [hit["gone"] for hit in parsed(found)] == [True, True, False]
    liked = mmsearch("query", "--like", "red.png", "-k", 1, "-g", gallery, "--format", "csv").out
    assert liked.splitlines()[1].endswith(",true,false,," + "," * len(NO_FACTS))
    shutil.rmtree(photos)
    done = mmsearch("query", "red", "-g", gallery)
    assert done.code == 0
    assert done.err == (
        f"mmsearch: warning: {photos} is not there: is a disk not connected? If it was moved: mmsearch relocate\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing is asked: give a text"),
        ([" "], "the query is empty"),
        (["red", "--and", ""], "the query is empty"),
        (["red", "--not", "^2"], "the query is empty"),
        (["red^0"], "a weight of 0 in the query"),
        (["red", "--not", "red"], "the parts of the query cancel out"),
        (["red", "--template", "a photo"], 'the template "a photo" has no {}'),
        (["--image", "https://example.org/a.jpg"], "is a URL, and pictures are read from files"),
        (["--image", "HTTP://example.org/a.jpg^2"], "is a URL"),
        (["--like", "file:///a.jpg"], "is a URL"),
        (["--image", "captions.csv"], "captions.csv is no picture that can be read: not an image"),
        (["--image", "nowhere.jpg^2"], "cannot read the picture nowhere.jpg: no such file or directory"),
        (["--image", ""], "cannot read the picture"),
        (["--image", "."], "cannot read the picture .: is a folder"),
        (["--like", "nowhere.jpg"], "holds no picture nowhere.jpg"),
        (["--like", "\0"], "holds no picture"),
        (["--like", ".."], "holds no picture .."),
        (["red", "--in", "captions"], "holds no captions. Add some: mmsearch embed --captions FILE"),
        (["red", "--min-score", "30"], "the lowest score is 30.0; scores are cosines, between -1 and 1"),
        (["red", "--min-score", "nan"], "scores are cosines"),
        (["red", "--html", "a.jpg"], "a.jpg: name a file that ends in .html or .htm"),
        (["red", "--html", "no/where/a.html"], "there is no folder"),
        (["red", "--contact-sheet", "a.html"], "a.html: name a file that ends in .jpg"),
        (["red", "--copy-to", "no/where"], "cannot make the folder"),
        (["red", "--copy-to", "captions.csv"], "cannot make the folder"),
        (["red", "--open", "-k", "21"], "at most 20: ask for fewer"),
    ],
)
def test_a_bad_question_is_one_clear_line(photos: Path, mmsearch: Command, arguments: list[str], message: str) -> None:
    Path("captions.csv").write_text("image,caption\n")
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    done = mmsearch("query", *arguments, "-g", photos.parent / "g")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("mmsearch: error: ")
    assert message in line


def test_long_questions_are_cut_and_say_so(photos: Path, mmsearch: Command) -> None:
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    for arguments in (["red " * 30_000], ["red", "--not", "blue " * 10_000]):
        done = mmsearch("query", *arguments, "-k", 1, "-g", photos.parent / "g")
        assert (done.code, len(done.out.splitlines())) == (0, 1)
        assert done.err == "mmsearch: warning: the query is longer than the model reads; its end was cut\n"


def test_a_text_that_its_template_makes_endless_is_refused() -> None:
    Query([TextPart("red " * 10_000)], templates=["{} {}"])
    with pytest.raises(QueryError, match="a text of 50,000,000 characters, as it stands in its template"):
        Query([TextPart("x" * 100_000)], templates=["{}" * 500])


def test_a_file_asked_for_by_its_name_is_pointed_out(photos: Path, mmsearch: Command) -> None:
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    done = mmsearch("query", photos / "red.png", "-k", 1, "-g", photos.parent / "g")
    assert done.code == 0
    assert f"to ask with the picture: --image {photos / 'red.png'}" in done.err


def test_nothing_else_to_find_says_so(tmp_path: Path, fake: FakeEncoder) -> None:
    write_picture(tmp_path / "photos" / "only.png")
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    with pytest.warns(MmsearchWarning, match="holds no other images"):
        assert not open_gallery(tmp_path / "g").ask(Query([ItemPart("only.png")])).hits


def test_weights_as_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number behind ^ at the very end, unless a file has that name."""
    assert [weighted(text) for text in ("a^2", "a^-.5", "a^+1.", "a^b", "x^2 + y", "x^2^1", "a ^ 2", "^3")] == [
        ("a", 2.0),
        ("a", -0.5),
        ("a", 1.0),
        ("a^b", 1.0),
        ("x^2 + y", 1.0),
        ("x^2", 1.0),
        ("a ^ 2", 1.0),
        ("", 3.0),
    ]
    monkeypatch.chdir(tmp_path)
    Path("a.png^2").touch()
    parts = typed_parts(
        "sea", also=["sky^2"], away=["people", "rain^0.5"], pictures=["a.png^2", "b.png^2"], like=["c^3"]
    )
    assert parts == [
        TextPart("sea"),
        TextPart("sky", 2.0),
        ImagePart("a.png^2"),
        ImagePart("b.png", 2.0),
        ItemPart("c", 3.0),
        TextPart("people", -1.0),
        TextPart("rain", -0.5),
    ]
    assert Query(parts).title == "sea + 2 × sky + like a.png^2 + 2 × like b.png + 3 × like c − people − 0.5 × rain"


def test_a_part_alone_is_asked_as_it_is() -> None:
    vector = np.random.default_rng(3).normal(size=5).astype(np.float32)
    assert combined([vector], [1.0]) is vector
    np.testing.assert_allclose(combined([vector], [-2.0]), -vector / np.linalg.norm(vector), rtol=1e-6)


def test_a_terminal_gets_a_table_of_links(photos: Path, fake: FakeEncoder) -> None:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    (photos / "more" / "red.png").unlink()
    with pytest.warns(MmsearchWarning, match="gone"):
        score = open_gallery(photos.parent / "g").ask(Query([ItemPart("red.png")], k=2)).hits
    shown = in_a_terminal(photos.parent, "query", "--like", "red.png", "-k", 2, "-g", "g")
    link = "\x1b]8;"
    plain = without_styles(shown)
    rows = [line.split() for line in plain.splitlines()]
    assert rows == [
        ["rank", "score", "size", "picture"],
        ["1", f"{score[0].score:.4f}", "16", "×", "12", "photos/more/red.png", "gone"],
        [
            "2",
            f"{score[1].score:.4f}",
            "16",
            "×",
            "12",
            str((photos / (score[1].path or "")).relative_to(photos.parent)),
        ],
    ]
    assert shown.count(link) == 2  # one link, opened and closed: nothing to click on where the file is gone
    assert (photos / (score[1].path or "")).as_uri() in shown


def test_nothing_heavy_is_loaded_for_what_was_not_asked(photos: Path, fake: FakeEncoder) -> None:
    """A question without filter or page waits for neither DuckDB nor a template engine."""
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    code = (
        "import sys\nfrom mmsearch.cli import main\n"
        "sys.argv = ['mmsearch', 'query', '--like', 'red.png', '-g', 'g']\nmain()\n"
        "sys.exit(str({'duckdb', 'jinja2', 'torch', 'rich', 'webbrowser', 'numpy.random'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=photos.parent, check=False)
    assert done.stderr.strip() == ""
    assert len(done.stdout.splitlines()) == 10


def test_what_counts_as_a_near_duplicate(shared_data: Path) -> None:
    """By the vectors of real CLIP no two of 500 different photos do."""
    features = np.load(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")[0].astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T - 2 * np.eye(len(features))
    assert 0.96 < cosines.max() < NEAR_DUPLICATE


def test_a_picture_saved_again_is_a_near_duplicate(demo: Encoder) -> None:
    """At JPEG quality 50, or at half its size."""
    from PIL import Image

    for file in sorted(POSTCARDS.iterdir())[::50]:
        with Image.open(file) as opened_file:
            picture = opened_file.convert("RGB")
        worse = io.BytesIO()
        picture.save(worse, "JPEG", quality=50)
        with Image.open(worse) as again:
            forms = [picture, again.convert("RGB"), picture.resize((picture.width // 2, picture.height // 2))]
        vectors = demo.image.encode(np.stack([demo.image.prepare(form) for form in forms]))
        assert min(vectors[1:] @ vectors[0]) > NEAR_DUPLICATE
