"""Files of captions as people have them: read as what they are, or refused; never embedded as junk."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.benchmarks.annotation_files import read_annotations
from mmsearch.embedding import embed
from mmsearch.errors import BenchmarkError, SourceError
from mmsearch.gallery import Gallery
from mmsearch.sources import ColumnNames, read_captions
from tests.conftest import Command
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
        (
            json.dumps(
                {
                    "info": {},
                    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
                    "annotations": [{"image_id": 3, "caption": "a dog"}, {"image_id": 7, "caption": "two cats\n"}],
                }
            ),
            "COCO JSON",
        ),
        (
            json.dumps(
                {"images": [{"filename": image, "sentences": [{"raw": text}]} for image, text in TWO]}, indent=1
            ),
            "Karpathy JSON",
        ),
    ],
)
def test_captions_with_pictures(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "captions.txt").write_bytes(text.encode())
    found = read_captions(tmp_path / "captions.txt")
    assert [(line.image, line.caption) for line in found.lines] == TWO
    assert (found.form, found.problems) == (kind, ())


def test_what_is_wrong_in_a_data_set_is_told_by_its_place(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 3, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 4, "caption": "a dog"}, {"image_id": 3, "caption": "a cat"}, {"image_id": 3}, 7],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    found = read_captions(tmp_path / "coco.json")
    assert [(line.image, line.caption) for line in found.lines] == [("a.jpg", "a cat")]
    assert [problem.partition(":")[0] for problem in found.problems] == ["annotation 1", "annotation 3", "annotation 4"]
    karpathy = {
        "images": [
            {"filename": "a.jpg", "filepath": "val2014", "sentences": [{"raw": "a dog"}, {"tokens": []}]},
            {"filename": "b.jpg"},
        ]
    }
    (tmp_path / "karpathy.json").write_text(json.dumps(karpathy))
    found = read_captions(tmp_path / "karpathy.json")
    assert [(line.image, line.caption) for line in found.lines] == [("val2014/a.jpg", "a dog")]
    assert [problem.partition(":")[0] for problem in found.problems] == ["image 1", "image 2"]
    (tmp_path / "boxes.json").write_text(
        json.dumps({"images": coco["images"], "annotations": [{"bbox": [1, 2, 3, 4]}]})
    )
    with pytest.raises(SourceError, match=r"no caption in .*boxes\.json; annotation 1: no caption"):
        read_captions(tmp_path / "boxes.json")


FOUR = [("a.jpg", "a dog, brown"), ("a.jpg", "it's a dog"), ("b.jpg", "two cats"), ("b.jpg", "cats")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('image,caption1,caption2\na.jpg,"a dog, brown",it\'s a dog\nb.jpg,two cats,cats\n', "a table with commas"),
        ('image,caption_0,Caption_1\na.jpg,"a dog, brown",it\'s a dog\nb.jpg,two cats,cats\n', "a table with commas"),
        ("sep=;\r\nimage;caption\r\na.jpg;a dog, brown\r\na.jpg;it's a dog\r\nb.jpg;two cats\r\nb.jpg;cats\r\n",
         "a table with semicolons"),
        ("""image,captions\na.jpg,"['a dog, brown', ""it's a dog""]"\nb.jpg,"['two cats', 'cats']"\n""",
         "a table with commas"),
        ('image,captions\na.jpg,"[""a dog, brown"", ""it\'s a dog""]"\nb.jpg,"[""two cats"", ""cats""]"\n',
         "a table with commas"),
        ("a.jpg,0,a dog, brown\na.jpg,1,it's a dog\nb.jpg,0,two cats\nb.jpg,1,cats\n", "a table without a header"),
        ("a.jpg\t0\ta dog, brown\na.jpg\t1\tit's a dog\nb.jpg\t0\ttwo cats\nb.jpg\t1\tcats\n",
         "a table without a header"),
        ("a.jpg,a dog, brown\na.jpg,it's a dog\nb.jpg,two cats\nb.jpg,cats\n", "a table without a header"),
        ("IMAGE|Caption\na.jpg|a dog, brown\na.jpg|it's a dog\nb.jpg|two cats\nb.jpg|cats\n", "a table with bars"),
        (json.dumps([{"Image": "a.jpg", "captions": ["a dog, brown", "it's a dog"]},
                     {"Image": "b.jpg", "captions": ["two cats", "cats"]}]), "a JSON list"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_programs_write_them_are_read_alike_by_embed_and_eval(
    text: str, kind: str, encoding: str, tmp_path: Path
) -> None:
    """Wide tables, lists in cells, numbers between, no header, Excel's first line: right, and not whole rows."""
    file = tmp_path / "table.txt"
    file.write_bytes(text.encode(encoding))
    found = read_captions(file)
    assert [(line.image, line.caption) for line in found.lines] == FOUR
    assert (found.form, found.problems) == (kind, ())
    draft = read_annotations(file, ColumnNames())
    assert [(draft.images[image].name, caption) for image, caption in draft.captions] == FOUR


def test_columns_with_other_names_are_an_error_that_names_the_options_and_can_be_named(tmp_path: Path) -> None:
    """By its suffix, or because a column holds names of images; in any case never whole rows as captions."""
    text = 'foto,beschreibung,mehr\na.jpg,"a dog, brown",it\'s a dog\nb.jpg,two cats,cats\n'
    for name in ("t.csv", "t.txt"):
        (tmp_path / name).write_text(text)
        expected = r"columns foto, beschreibung, mehr, and none.*--image-column and --caption-column"
        with pytest.raises(SourceError, match=expected):
            read_captions(tmp_path / name)
        with pytest.raises(BenchmarkError, match=expected):
            read_annotations(tmp_path / name, ColumnNames())
        names = ColumnNames("Foto", ("Beschreibung", "mehr"))
        assert [(line.image, line.caption) for line in read_captions(tmp_path / name, names).lines] == FOUR
        draft = read_annotations(tmp_path / name, names)
        assert [(draft.images[image].name, caption) for image, caption in draft.captions] == FOUR
        with pytest.raises(SourceError, match="none of them is what was named"):
            read_captions(tmp_path / name, ColumnNames("photo"))
    pq.write_table(pa.table({"foto": ["a.jpg"], "wort": ["one"]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"columns foto, wort, and none"):
        read_captions(tmp_path / "t.parquet")
    assert read_captions(tmp_path / "t.parquet", ColumnNames("foto", ("wort",))).lines[0].caption == "one"


def test_the_options_reach_both_commands(tmp_path: Path, photos: Path, mmsearch: Command) -> None:
    (tmp_path / "t.csv").write_text("foto,wort\nred.png,all red\nblue.png,all blue\n")
    plain = mmsearch("embed", photos, "--model", "fake", "-g", tmp_path / "g", "--captions", tmp_path / "t.csv")
    assert (plain.code, "--caption-column" in plain.err) == (1, True)
    named = ("--image-column", "foto", "--caption-column", "wort")
    done = mmsearch("embed", photos, "--model", "fake", "-g", tmp_path / "g", "--captions", tmp_path / "t.csv", *named)
    assert done.code == 0, done.err
    assert "captions  2 in the gallery" in done.out
    # The stages are those of pictures: what captions took beside them is said, and only where there were any.
    assert re.search(r"^took      [0-9.]+ s on cpu, fp32; [0-9.]+ s of them captions$", done.out, re.MULTILINE)
    assert "of them captions" not in mmsearch("embed", photos, "--model", "fake", "-g", tmp_path / "g").out
    done = mmsearch("eval", "custom", "--images", photos, "--annotations", tmp_path / "t.csv", *named)
    assert done.code == 0, done.err
    assert "2 images, 2 captions" in done.out


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
