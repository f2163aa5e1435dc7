"""query --from-file: many questions, answered as if each had been asked alone."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.search import query_files as batch
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.search.query_files import answer_in_batches, batches_of, read_queries
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.independent import trec_run


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g").code == 0
    return photos.parent / "g"


def written(folder: Path, content: bytes) -> Path:
    (folder / "queries.txt").write_bytes(content)
    return folder / "queries.txt"


def test_json_lines_are_those_of_single_queries(gallery: Path, tmp_path: Path, mmsearch: Command) -> None:
    """Each line is a hit as `--format jsonl` gives it, with the query's id and text before it."""
    asked = written(tmp_path, b"something red\n\nq7\tall blue\r\nkitchen\n")
    done = mmsearch("query", "--from-file", asked, "-k", 2, "-g", gallery)
    assert (done.code, done.err) == (0, "")
    expected = ""
    for name, text in [("1", "something red"), ("q7", "all blue"), ("4", "kitchen")]:
        for line in mmsearch("query", text, "-k", 2, "-g", gallery, "--format", "jsonl").out.splitlines():
            expected += json.dumps({"query": name, "text": text, **json.loads(line)}, ensure_ascii=False) + "\n"
    assert done.out == expected


def test_a_trec_run_whole(gallery: Path, photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    """Six columns whatever the names hold, readable by ir_measures."""
    (photos / "red.png").unlink()
    (photos / "more" / "red.png").unlink()
    write_picture(photos / "50% red picture.png", "red", seed=5)
    mmsearch("embed", photos, "-g", gallery)
    asked = written(tmp_path, b"a\tred\nb\tblue\n")
    done = mmsearch("query", "--from-file", asked, "-k", 1, "-g", gallery, "--format", "trec")
    first, second = done.out.splitlines()
    assert first.split(" ")[:4] == ["a", "Q0", "50%25%20red%20picture.png", "1"]
    assert second.split(" ")[2] in ("blue.png", "more/blue.png")
    (tmp_path / "run.txt").write_text(done.out)
    run = trec_run(tmp_path / "run.txt")
    assert [(each.query_id, each.score > 0.9) for each in run] == [("a", True), ("b", True)]


def test_captions_in_a_trec_run_are_named_by_their_row_ids(gallery: Path, tmp_path: Path, mmsearch: Command) -> None:
    (tmp_path / "captions.txt").write_text("all red\nall blue\n")
    mmsearch("embed", "--captions", tmp_path / "captions.txt", "-g", gallery)
    asked = written(tmp_path, b"blue\n")
    done = mmsearch("query", "--from-file", asked, "-k", 1, "--in", "captions", "-g", gallery, "--format", "trec")
    assert done.out.split(" ")[:4] == ["1", "Q0", "1", "1"]


def test_queries_come_from_stdin_too(gallery: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffred\nyellow\n".encode())))
    done = mmsearch("query", "--from-file", "-", "-k", 1, "-g", gallery)
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["red", "yellow"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no queries"),
        (b" \n\t\n", "holds no queries"),
        (b"red\nb\xff\n", "line 2 of .* is not UTF-8"),
        (b"a\tred\na\tblue\n", "two queries with the id 'a'"),
        (b"3\tred\n\nblue\n", "two queries with the id '3'"),
        (b"two words\tred\n", "line 1 of .* no id, tab, query"),
        (b"x\t \n", "line 1 of .* no id, tab, query"),
    ],
)
def test_a_file_that_holds_no_good_queries(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=message):
        read_queries(str(written(tmp_path, content)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for file in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(QueryError, match="cannot read the queries"):
            read_queries(str(file))


def test_from_file_goes_with_nothing_else(gallery: Path, photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    asked = written(tmp_path, b"red\n")
    for more in (
        ["blue"],
        ["--image", photos / "red.png"],
        ["--format", "csv"],
        ["--contact-sheet", tmp_path / "a.jpg"],
        ["--not", "blue"],
        ["--where", "width > 3"],
        ["--distinct"],
    ):
        done = mmsearch("query", "--from-file", asked, "-g", gallery, *more)
        assert (done.code, done.out) == (2, ""), more
    assert mmsearch("query", "--from-file", asked, "--format", "trec", "-g", gallery).code == 0


def test_batches_join_without_a_seam_and_what_was_cut_is_said_once(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    opened = open_gallery(photos.parent / "g", encoder=fake)
    texts = [*COLOURS, "red " * 50, "blue " * 50]
    monkeypatch.setattr(batch, "_BATCH", 3)
    questions = [Query([TextPart(text)], k=3, id=str(number)) for number, text in enumerate(texts)]
    with pytest.warns(MmsearchWarning, match="2 of 8 queries are longer"):
        answers = list(answer_in_batches(opened, questions))
    assert [answer.query for answer in answers] == questions
    for answer in answers[:6]:
        assert answer.hits == opened.query(answer.query.title, k=3)


def test_an_empty_table_is_an_error(gallery: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch("query", "--from-file", written(tmp_path, b"red\n"), "--in", "captions", "-g", gallery)
    assert (done.code, done.out) == (1, "")
    assert "holds no captions" in done.err


def test_a_line_that_no_model_reads_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Megabytes in one line would be taken into tokens whole, and then cut."""
    file = written(tmp_path, b"red\n" + b"x" * 10_001 + b"\nblue\n")
    with pytest.raises(QueryError, match=r"line 2 of .* has 10,001 characters; a query has at most 10,000"):
        read_queries(str(file))


def test_what_is_encoded_together_is_bounded() -> None:
    questions = [Query([TextPart("x" * 9_000)], id=str(number)) for number in range(100)]
    batches = [*batches_of(questions, 1_024)]
    assert [question for batch in batches for question in batch] == questions
    assert {sum(len(question.title) for question in batch) for batch in batches} == {396_000, 108_000}
    assert [len(batch) for batch in batches_of([Query([TextPart("red")], id=str(n)) for n in range(5)], 2)] == [2, 2, 1]


def test_one_path_below_two_roots_is_two_documents_for_all_queries(
    gallery: Path, photos: Path, tmp_path: Path, mmsearch: Command
) -> None:
    """And equal scores, which trec_eval would order by name, are lowered by last bits; others stay what they are."""
    import shutil

    shutil.copytree(photos, tmp_path / "copy")
    assert mmsearch("embed", tmp_path / "copy", "-g", gallery).code == 0
    asked = written(tmp_path, b"a\tred\nb\tblue\n")
    run = [
        line.split()
        for line in mmsearch(
            *("query", "--from-file", asked, "-k", 6, "-g", gallery, "--format", "trec")
        ).out.splitlines()
    ]
    for query, text in (("a", "red"), ("b", "blue")):
        lines = [line for line in run if line[0] == query]
        assert len({line[2] for line in lines}) == len(lines) == 6
        scores = np.array([float(line[4]) for line in lines]).astype(np.float32)
        assert (np.diff(scores) < 0).all()
        alone = mmsearch("query", text, "-k", 6, "-g", gallery, "--format", "trec").out.splitlines()
        assert [line.split()[3:5] for line in alone] == [line[3:5] for line in lines]
    assert {line[2] for line in run} >= {str(tmp_path / "copy" / "red.png"), str(photos / "red.png")}
