"""Kinds of items are data: what is particular to one stands in one file, and everything else asks the registry."""

import ast
import csv
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch import items
from mmsearch.embedding import EmbedOptions, EmbedReport, Selection, embed
from mmsearch.errors import MmsearchError
from mmsearch.gallery import Gallery, open_writer, tables
from mmsearch.indexing import index
from tests import notes_kind
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture
from tests.notes_kind import NOTES
from tests.servers import running
from tests.worker_pools import PretendedWorkerPool, worker_pool

__all__ = ["worker_pool"]

PACKAGE = Path(items.__file__).parents[1]
OLD = Path(__file__).parent / "old_gallery" / "gallery"
OTHER_WORDS = {
    "benchmarks/composed.py": "the key under which FashionIQ keeps what is said",
    "benchmarks/film_files.py": "a key of annotations of films",
    "benchmarks/json_files.py": "keys of annotations as COCO and Karpathy write them",
    "benchmarks/labelled_images.py": "what columns of lists of labels are called",
    "benchmarks/published.py": "columns of a table: how a source prepared both sides",
    "benchmarks/regions.py": "a key of COCO's layout",
    "sources/caption_files.py": "a key of COCO's layout",
    "sources/caption_tables.py": "what columns of tables of captions are called",
    "cli/zeroshot.py": "the heading of a column of counts",
    "evaluation/films.py": "what is counted of each row of a table",
    "evaluation/regions.py": "what is counted of each row of a table",
    "evaluation/slices.py": "what is counted of each row of a table",
    "evaluation/studies/study_file.py": "keys of a study's file",
    "metrics/health.py": "the two sides of an embedding space, as its figures name them",
    "reports/markdown.py": "the heading of a table of counts",
    "reports/plots.py": "the legend of a chart",
    "reports/study_tables.py": "columns of a table of counts",
}
"""Where a word that is also the name of a kind means something else."""


def names_spelled(file: Path) -> list[int]:
    """The lines of a file in which a string is the name of a kind."""
    names = {kind.name for kind in items.kinds()}
    return [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]


def test_no_other_code_spells_the_name_of_a_kind() -> None:
    found = {
        str(file.relative_to(PACKAGE)): lines
        for file in PACKAGE.rglob("*.py")
        if file.parent != PACKAGE / "items" and (lines := names_spelled(file))
    }
    assert found.keys() == OTHER_WORDS.keys(), found


def test_each_kind_stands_in_one_file() -> None:
    for kind in items.kinds():
        spelling = [file.name for file in (PACKAGE / "items").glob("*.py") if kind.name in _constants(file)]
        assert spelling == [f"{kind.name}.py"]


def _constants(file: Path) -> set[object]:
    return {node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("table", items.table_names())
def test_columns_are_those_of_the_first_release_and_nullable_ones(table: str) -> None:
    """A gallery of format version 1 has all columns that are not nullable, in the types that they have today."""
    (file,) = (OLD / table).glob("*.parquet")
    old = pq.read_schema(file)
    new = tables.schema(table, 256, "float16")
    assert [new.field(column.name) for column in old] == list(old)
    assert all(column.nullable for column in new if column.name not in old.names)


def test_numbers_of_parts_are_columns_of_images() -> None:
    schema = tables.schema(items.IMAGES.name, 4, "float32")
    assert schema.field("start_s").type == schema.field("end_s").type == pa.float64()
    assert schema.field("page").type == pa.int32()
    assert schema.field("box").type == pa.list_(pa.field("element", pa.float32()))


def test_an_unknown_kind_is_named_with_those_that_there_are() -> None:
    with pytest.raises(MmsearchError, match="no kind of item 'sounds'; there are images, captions"):
        items.kind("sounds")


@pytest.mark.parametrize("taken", ["images", "skipped", "deletes", "scores"])
def test_a_name_that_is_taken_is_refused(taken: str) -> None:
    kind = items.Kind(taken, items.CaptionRow, "text", "note", "mmsearch embed NOTES", ("path",))
    with pytest.raises(ValueError, match=f"'{taken}'"):
        items.register(kind)
    assert items.kind("images") is items.IMAGES


FIRST = "# Red\n\nall of it is red\n\n# Green\n\na green thing\n"
SECOND = "# Blue\n\nthe sea is blue\n## White\n\nwhite as snow\n"


@pytest.fixture
def notes() -> Iterator[items.AnyKind]:
    """The kind `notes`, for as long as a test takes."""
    items.register(NOTES)
    yield NOTES
    items.unregister(NOTES.name)


@pytest.fixture
def folder(tmp_path: Path, notes: items.AnyKind) -> Path:
    """Two notes of two headings each, beside a picture; and what looks like a note and is none."""
    written = tmp_path / "notes"
    write_picture(written / "yellow.png", "yellow", seed=1)
    (written / "first.md").write_text(FIRST)
    (written / "more").mkdir()
    (written / "more" / "second.md").write_text(SECOND)
    (written / "broken.md").write_bytes(b"# \xff\xfe")
    return tmp_path


def sync(folder: Path, encoder: FakeEncoder | None = None, **more: object) -> EmbedReport:
    return embed([folder / "notes"], gallery=folder / "g", encoder=encoder or FakeEncoder(), **more)  # type: ignore[arg-type]


def held(folder: Path) -> dict[str, tuple[int, str, str]]:
    """Path -> row id, heading and text of every note."""
    return {row.path: (row_id, row.heading, row.text) for row_id, row in Gallery.open(folder / "g").all_records(NOTES)}


def counts(report: EmbedReport) -> dict[str, int]:
    return {name: count for name, count in asdict(report.others["notes"]).items() if count}


def touch(file: Path, text: str) -> None:
    """Write a file that is surely newer than it was."""
    later = file.stat().st_mtime_ns + 10**9
    file.write_text(text)
    os.utime(file, ns=(later, later))


def test_the_kind_of_the_notes_is_short() -> None:
    assert len(Path(notes_kind.__file__).read_text("utf-8").splitlines()) <= 80


def test_a_file_yields_an_item_a_heading(folder: Path) -> None:
    report = sync(folder)
    assert counts(report) == {"added": 4}
    assert (report.images.added, report.images.in_gallery, report.images.skipped) == (1, 5, 1)
    assert {path: told for path, (_, *told) in held(folder).items()} == {
        "first.md!/heading=1": ["Red", "all of it is red"],
        "first.md!/heading=2": ["Green", "a green thing"],
        "more/second.md!/heading=1": ["Blue", "the sea is blue"],
        "more/second.md!/heading=2": ["White", "white as snow"],
    }
    (skipped,) = Gallery.open(folder / "g").skipped_rows()
    assert (skipped.path, skipped.stage) == ("broken.md", "identify")
    assert "can't decode byte 0xff" in skipped.reason


def test_an_unchanged_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(folder)
    before = held(folder)

    def never(*_: object) -> None:
        raise AssertionError("it was cut again")

    monkeypatch.setattr("mmsearch.sources.archives._spans", lambda cut, file: never() if "broken" not in file else [])
    fake = FakeEncoder()
    report = sync(folder, fake)
    assert (counts(report), fake.texts_encoded, fake.images_encoded) == ({"unchanged": 4}, 0, 0)
    assert held(folder) == before


def test_of_a_changed_file_the_headings_that_are_known_keep_their_vectors(folder: Path) -> None:
    sync(folder)
    before = held(folder)
    vectors = Gallery.open(folder / "g").vectors("notes", _ids(before["first.md!/heading=1"]))
    touch(folder / "notes" / "first.md", FIRST.replace("green", "black"))
    fake = FakeEncoder()
    report = sync(folder, fake)
    assert (counts(report), fake.texts_encoded) == ({"updated": 2, "reused": 1, "unchanged": 2}, 1)
    after = held(folder)
    assert after["first.md!/heading=2"][2] == "a black thing"
    assert after["more/second.md!/heading=1"] == before["more/second.md!/heading=1"]
    kept = Gallery.open(folder / "g").vectors("notes", _ids(after["first.md!/heading=1"]))
    assert (kept == vectors).all()


def _ids(*rows: tuple[int, str, str]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.array([row_id for row_id, *_ in rows])


def test_what_a_file_no_longer_holds_is_dropped_and_so_is_a_file_that_is_gone(folder: Path) -> None:
    sync(folder)
    touch(folder / "notes" / "first.md", FIRST.partition("# Green")[0])
    (folder / "notes" / "more" / "second.md").unlink()
    report = sync(folder)
    assert counts(report) == {"updated": 1, "reused": 1, "deleted": 3}
    assert list(held(folder)) == ["first.md!/heading=1"]


def test_a_file_that_broke_keeps_what_it_held_until_it_is_whole_again(folder: Path) -> None:
    sync(folder)
    before = held(folder)
    (folder / "notes" / "first.md").write_bytes(b"\xff")
    report = sync(folder)
    assert (report.images.skipped, counts(report)) == (1, {"unchanged": 2})
    assert held(folder) == before
    touch(folder / "notes" / "first.md", FIRST)
    assert counts(sync(folder)) == {"updated": 2, "reused": 2, "unchanged": 2}
    assert [row.path for row in Gallery.open(folder / "g").skipped_rows()] == ["broken.md"]


def test_another_way_to_cut_takes_all_items_anew(folder: Path) -> None:
    sync(folder)
    items.unregister(NOTES.name)
    assert NOTES.files is not None
    items.register(replace(NOTES, files=replace(NOTES.files, cutting="otherwise")))
    assert counts(sync(folder)) == {"updated": 4, "reused": 4}
    assert counts(sync(folder)) == {"unchanged": 4}


def test_patterns_choose_files_and_not_headings(folder: Path) -> None:
    report = sync(folder, selection=Selection(include=("first.md",)))
    assert (counts(report), report.images.added) == ({"added": 2}, 0)


def test_a_note_in_an_archive_is_refused_as_an_archive_is(folder: Path) -> None:
    from tests.archives import make_tar

    make_tar(folder / "notes" / "a.tar", [("x.md", b"# Red\n")])
    sync(folder)
    reasons = {row.path: row.reason for row in Gallery.open(folder / "g").skipped_rows()}
    assert reasons["a.tar!/x.md"] == "an archive inside of an archive is not opened"


def test_a_cluster_makes_the_same_items(folder: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    sync(folder)
    spread = embed(
        [folder / "notes"], gallery=folder / "spread" / "g", encoder=FakeEncoder(), options=EmbedOptions(ray="auto")
    )
    assert counts(spread) == {"added": 4}
    mine, theirs = Gallery.open(folder / "g"), Gallery.open(folder / "spread" / "g")
    for kind in (NOTES, items.IMAGES):
        rows = [sorted((row.path, row_id) for row_id, row in gallery.all_records(kind)) for gallery in (mine, theirs)]
        assert [path for path, _ in rows[0]] == [path for path, _ in rows[1]]
        one, other = (
            gallery.vectors(kind.name, np.array([row_id for _, row_id in own]))
            for gallery, own in zip((mine, theirs), rows, strict=True)
        )
        np.testing.assert_array_equal(one, other)
    assert theirs.manifest.promised == {}


def test_a_gallery_keeps_tables_of_kinds_that_are_not_known(folder: Path) -> None:
    sync(folder)
    before = held(folder)
    items.unregister(NOTES.name)
    for file in (folder / "notes").rglob("*.md"):
        file.unlink()
    with open_writer(folder / "g", command="test") as writer:
        writer.delete(items.IMAGES.name, [0])
        writer.commit()
    items.register(NOTES)
    assert held(folder) == before


def ask(mmsearch: Command, folder: Path, *arguments: object) -> str:
    done = mmsearch("query", "blue", "--in", "notes", "-g", folder / "g", *arguments)
    assert done.code == 0, done.err
    return done.out


def test_notes_are_found_in_every_format(folder: Path, mmsearch: Command) -> None:
    sync(folder, FakeEncoder("fake"))
    file = f"{folder / 'notes' / 'more' / 'second.md'}!/heading=1"
    first = json.loads(ask(mmsearch, folder, "--format", "jsonl").splitlines()[0])
    assert first == {
        "rank": 1,
        "score": pytest.approx(1, abs=1e-3),
        "row_id": held(folder)["more/second.md!/heading=1"][0],
        "heading": "Blue",
        "text": "the sea is blue",
        "path": "more/second.md!/heading=1",
        "file": file,
        "page": 1,
        "gone": False,
        "path_bytes": None,
        "file_bytes": None,
    }
    header, row, *_ = csv.reader(ask(mmsearch, folder, "--format", "csv").splitlines())
    assert (header, row[3:8]) == (list(first), ["Blue", "the sea is blue", first["path"], file, "1"])
    assert ask(mmsearch, folder, "--format", "paths", "-k", 1) == f"{file}\n"
    assert ask(mmsearch, folder, "--format", "trec", "-k", 1).split()[:4] == ["1", "Q0", first["path"], "1"]
    assert ask(mmsearch, folder, "--format", "table", "-k", 1).split("\t")[2] == "the sea is blue\n"
    assert len(ask(mmsearch, folder, "--where", "heading = 'White'", "--format", "paths").splitlines()) == 1


def test_notes_are_shown_on_a_sheet_and_on_a_page_and_copied(folder: Path, mmsearch: Command) -> None:
    sync(folder, FakeEncoder("fake"))
    sheet, page = folder / "sheet.png", folder / "page.html"
    ask(mmsearch, folder, "--contact-sheet", sheet, "--html", page, "--copy-to", folder / "copies", "-k", 1)
    assert sheet.stat().st_size > 1000
    text = page.read_text("utf-8")
    assert "<blockquote>the sea is blue</blockquote>" in text
    assert "1 note, best first" in text
    (copy,) = (folder / "copies").iterdir()
    assert copy.read_text() == SECOND.partition("## White")[0]


def test_notes_are_indexed_and_exported(folder: Path, mmsearch: Command) -> None:
    sync(folder, FakeEncoder("fake"))
    exact = ask(mmsearch, folder, "--format", "jsonl")
    assert index(folder / "g", table="notes").rows == 4
    assert ask(mmsearch, folder, "--format", "jsonl") == exact
    assert mmsearch("export", folder / "notes.parquet", "--in", "notes", "-g", folder / "g").code == 0
    rows = pq.read_table(folder / "notes.parquet").to_pylist()
    assert [row["heading"] for row in rows] == ["Red", "Green", "Blue", "White"]
    assert [row["page"] for row in rows] == [1, 2, 1, 2]
    assert "holds     1 images, 0 captions, 4 notes; 1 files skipped" in mmsearch("info", "-g", folder / "g").out
    done = mmsearch("query", "blue", "--in", "note", "-g", folder / "g")
    assert done.code == 2
    assert "'note' is not one of 'images', 'captions', 'notes'" in " ".join(done.err.replace("│", " ").split())


def test_notes_are_served(folder: Path, mmsearch: Command) -> None:
    sync(folder, FakeEncoder("fake"))
    printed = ask(mmsearch, folder, "--format", "jsonl", "-k", 2)
    with running(folder / "g", encoder=FakeEncoder("fake")) as server:
        assert server.ask("blue", table="notes", k=2)["hits"] == [json.loads(line) for line in printed.splitlines()]
        told = server.get("/api/gallery").json()
        assert (told["notes"], [column["name"] for column in told["columns"]["notes"]][-3:]) == (
            4,
            ["heading", "text", "page"],
        )
        assert server.error({"parts": [{"text": "x"}], "table": "sounds"})
        asked = mmsearch("query", "blue", "--in", "notes", "--server", server.url, "--format", "jsonl", "-k", 2)
        assert (asked.code, asked.out) == (0, printed)
