"""Files of captions as people have them: read as what they are, or refused; never embedded as junk."""

import json
from pathlib import Path

import pytest

from mmsearch.errors import SourceError
from mmsearch.gallery import Gallery
from mmsearch.pipeline.embed import embed
from mmsearch.sources import read_captions
from tests.fakes import FakeEncoder

TWO = [("a.jpg", "a dog"), ("b.jpg", "two cats")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("image,caption\na.jpg,a dog\nb.jpg,two cats\n", "a table with commas"),
        ("\ufeffimage,caption\r\na.jpg,a dog\r\nb.jpg,two cats\r\n", "a table with commas"),
        ("image;caption\na.jpg;a dog\nb.jpg;two cats\n", "a table with semicolons"),
        ("caption\timage\na dog\ta.jpg\ntwo cats\tb.jpg\n", "a table with tabs"),
        ('filename,text\na.jpg,"a dog"\nb.jpg,two cats', "a table with commas"),
        (json.dumps([{"image": image, "caption": text} for image, text in TWO]), "a JSON list"),
        (json.dumps([{"image": image, "caption": text} for image, text in TWO], indent=1), "a JSON list"),
        ("\n".join(json.dumps({"image": image, "caption": text}) for image, text in TWO), "JSON lines"),
        ("a.jpg#0\ta dog\nb.jpg#1\ttwo cats\n", "a Flickr token file"),
    ],
)
def test_captions_with_pictures(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "captions.txt").write_bytes(text.encode())
    found = read_captions(tmp_path / "captions.txt")
    assert [(line.image, line.caption) for line in found.lines] == TWO
    assert (found.kind, found.problems) == (kind, ())


def test_a_caption_a_line_keeps_what_is_no_line_end(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a dog, and a cat\n\n[red] two\u2028three\n", newline="")
    found = read_captions(tmp_path / "c.txt")
    assert [line.caption for line in found.lines] == ["a dog, and a cat", "[red] two\u2028three"]
    (tmp_path / "c.csv").write_text('caption,image\n"a\nb\u2028c\x0bd",x.jpg\n', newline="")
    assert read_captions(tmp_path / "c.csv").lines[0].caption == "a\nb\u2028c\x0bd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no caption"),
        ("caption,image\n", "no caption"),
        ("image,words\na.jpg,a dog\n", "none of them is a caption"),
        ('image,caption\na.jpg,"a dog\nb.jpg,two cats\n', "damaged CSV near line"),
        ('{"image": "a.jpg"}\n', 'no "caption" text'),
    ],
)
def test_what_is_no_file_of_captions_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_captions(tmp_path / "c")


def test_bad_lines_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(
        '{"caption": "x"}\n{"caption": 7}\nnot json\n{"caption": "cut \\ud83d"}\n' + "[" * 100_000
    )
    found = read_captions(tmp_path / "c")
    assert [line.caption for line in found.lines] == ["x", "cut ?"]
    assert [problem.split(":")[0] for problem in found.problems] == ["line 2", "line 3", "line 5"]


def test_a_damaged_file_changes_nothing(tmp_path: Path, fake: FakeEncoder) -> None:
    """One quote that is not closed must not drop the captions that an earlier run has read."""
    file = tmp_path / "c.csv"
    file.write_text("image,caption\na.jpg,one\nb.jpg,two\nc.jpg,three\n")
    embed(captions=[file], gallery=tmp_path / "g", encoder=fake)
    file.write_text('image,caption\na.jpg,one\nb.jpg,"two\nc.jpg,three\n')
    with pytest.raises(SourceError, match="Nothing was changed"):
        embed(captions=[file], gallery=tmp_path / "g", encoder=fake)
    assert Gallery.open(tmp_path / "g").live_rows("captions") == 3


def test_how_a_file_was_read_is_said(tmp_path: Path, fake: FakeEncoder) -> None:
    (tmp_path / "c.txt").write_text("one\ntwo\n")
    said: list[str] = []
    embed(captions=[tmp_path / "c.txt"], gallery=tmp_path / "g", encoder=fake, announce=said.append)
    assert said[0] == "c.txt: 2 captions, read as a caption a line"
