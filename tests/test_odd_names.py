"""Names that are no text, begin like a formula, or break a line reach whoever asked, whole and harmless."""

import base64
import csv
import io
import json
import os
from pathlib import Path

import pytest

from mmsearch.names import printable
from mmsearch.serve.client import _hit
from tests.conftest import Command
from tests.fakes import write_picture

NO_TEXT = b"caf\xe9.png"
BROKEN = ["a\rb.png", "a,b\n.png", 'a"b.png', "a\tb.png"]
FORMULAS = ["=cmd|calc.png", "+1.png", "-1.png", "@SUM(A1).png", "\t=1.png", "\r=1.png", "＝1.png"]


@pytest.fixture
def gallery(tmp_path: Path, mmsearch: Command) -> Path:
    for place, name in enumerate([os.fsdecode(NO_TEXT), *BROKEN, *FORMULAS]):
        write_picture(tmp_path / "photos" / name, "red", seed=place)
    assert mmsearch("embed", tmp_path / "photos", "-g", tmp_path / "g", "--model", "fake").code == 0
    return tmp_path / "g"


def test_a_name_that_is_no_text_is_given_as_bytes(gallery: Path, mmsearch: Command) -> None:
    lines = mmsearch("query", "red", "-k", 50, "-g", gallery, "--format", "jsonl").out.splitlines()
    hits = {hit["path"]: hit for hit in map(json.loads, lines)}
    odd = hits.pop("caf\\xe9.png")
    assert base64.b64decode(odd["path_bytes"]) == NO_TEXT
    file = base64.b64decode(odd["file_bytes"])
    assert os.path.exists(file)  # noqa: PTH110 - bytes are no Path
    assert file.endswith(b"/photos/" + NO_TEXT)
    assert {(hit["path_bytes"], hit["file_bytes"]) for hit in hits.values()} == {(None, None)}
    # What a server says is a hit again whose file can be opened.
    again = _hit(odd, "images")
    assert (again.row.path_bytes, os.fsencode(again.file or "")) == (NO_TEXT, file)


def test_csv_holds_names_as_they_are(gallery: Path, mmsearch: Command) -> None:
    """Every reader of CSV gets the same rows, those that end a line at a carriage return too."""
    out = mmsearch("query", "red", "-k", 50, "-g", gallery, "--format", "csv").out
    paths = {row["path"] for row in csv.DictReader(io.StringIO(out, newline=""))}
    assert paths == {"caf\\xe9.png", *BROKEN, *FORMULAS}
    outside = "".join(out.split('"')[::2])  # what stands outside of quotes
    assert "\r" not in outside


def test_csv_safe_holds_no_formula(gallery: Path, mmsearch: Command) -> None:
    out = mmsearch("query", "red", "-k", 50, "-g", gallery, "--format", "csv-safe").out
    assert out.startswith("\ufeff")
    rows = list(csv.reader(io.StringIO(out.removeprefix("\ufeff"), newline="")))
    for row in rows[1:]:
        assert float(row[1]) <= 1  # a number stays one
        for cell in row[2:]:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
    paths = {row[3] for row in rows[1:]}
    assert paths == {"caf\\xe9.png", *BROKEN, *(f"'{name}" for name in FORMULAS)}


@pytest.mark.parametrize("name", [*BROKEN, os.fsdecode(NO_TEXT), "a\x1b[31m.png"])
def test_a_picture_is_named_as_it_is_and_as_it_is_shown(
    name: str, gallery: Path, tmp_path: Path, mmsearch: Command
) -> None:
    """Whoever copies a name that breaks a line from an answer has its escapes: by the path, and by the file."""
    write_picture(tmp_path / "photos" / "a\x1b[31m.png", "red", seed=99)
    assert mmsearch("embed", tmp_path / "photos", "-g", gallery).code == 0
    file = str(tmp_path / "photos" / name)
    for asked in (name, printable(name), file, printable(file)):
        done = mmsearch("query", "--like", asked, "-g", gallery, "-k", 50, "--format", "paths0")
        assert done.code == 0, done.err
        files = done.out.split("\0")[:-1]
        assert (len(files), file in files) == (len(BROKEN) + len(FORMULAS) + 1, False)


@pytest.mark.parametrize("text", ["caf\udce9", "\ud83d x"])
def test_words_that_are_no_text_are_refused(text: str, gallery: Path, mmsearch: Command) -> None:
    """Bytes of another encoding, and half of a character: a model would be asked something else."""
    for arguments in ((text,), ("red", "--not", text), ("red", "--template", f"{text} {{}}")):
        done = mmsearch("query", *arguments, "-g", gallery)
        assert (done.code, "is not UTF-8 text" in done.err) == (1, True), done.err
    done = mmsearch("query", "red", "--where", f"path = '{text}'", "-g", gallery)
    assert (done.code, "cannot be used: it is not UTF-8 text" in done.err) == (1, True), done.err


@pytest.mark.parametrize(
    "command",
    [
        ["query", "--like", "none\nb.png"],
        ["query", "--image", "none\nb.png"],
        ["query", "--from-file", "none\nb.txt"],
        ["embed", "none\nfolder"],
        ["forget", "none\nfolder"],
        ["relocate", "none\na", "none\nb"],
        ["query", "red", "--where", "path =\n nothing"],
    ],
)
def test_an_error_is_one_line_whatever_the_name_in_it_holds(
    command: list[str], gallery: Path, mmsearch: Command
) -> None:
    done = mmsearch(*command, "-g", gallery)
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert done.err.startswith("mmsearch: error: ")


def test_odd_names_and_words_can_be_drawn(gallery: Path, tmp_path: Path, mmsearch: Command) -> None:
    """On a contact sheet and a page, also for a query that would break a line."""
    asked = mmsearch(
        "query", "red\x1b[31m\n\u202e", "-k", 50, "-g", gallery,
        "--contact-sheet", tmp_path / "a.png", "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert asked.code == 0, asked.err
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_every_format_gives_a_line_a_hit(gallery: Path, mmsearch: Command) -> None:
    for name in ("table", "trec", "jsonl"):
        out = mmsearch("query", "red", "-k", 50, "-g", gallery, "--format", name).out
        assert len(out.split("\n")) == 1 + 1 + len(BROKEN) + len(FORMULAS), name
        assert "\r" not in out
    for line in mmsearch("query", "red", "-k", 50, "-g", gallery, "--format", "trec").out.splitlines():
        assert len(line.split()) == 6
