"""Pages of PDFs: rendered, bounded, and skipped with a reason where they cannot be."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch import cutting
from mmsearch.cutting import pdf_pages
from mmsearch.embedding import EmbedReport, embed
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery
from mmsearch.images import MadePicture
from mmsearch.items import IMAGES, ImageRow
from mmsearch.kept_processes import KeptProcesses
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart
from tests.fakes import COLOURS, FakeEncoder, write_picture

pytest.importorskip("pypdfium2")

PAGES = ("red", "green", "blue")
PAUSES = """
import json, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if not request["pages"]:
        print(json.dumps({"pages": 4}), flush=True)
    for page in request["pages"]:
        if page == 2:
            sys.exit(1)
        if page == 3:
            time.sleep(600)
        answer = {"width": 1, "height": 1, "bytes": 3, "facts": {}}
        print(json.dumps(answer), flush=True)
        sys.stdout.buffer.write(bytes([page, 0, 0])); sys.stdout.flush()
"""


def write_pdf(file: Path, colours: Sequence[str] = PAGES, size: tuple[int, int] = (30, 40), **said: Any) -> Path:
    first, *others = (Image.new("RGB", size, COLOURS[colour]) for colour in colours)
    first.save(file, "PDF", save_all=True, append_images=others, **said)
    return file


def write_locked_pdf(file: Path) -> Path:
    """One page, and a password that nobody knows."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
        b"<</Filter/Standard/V 1/R 2/P -4/O<" + b"11" * 32 + b">/U<" + b"22" * 32 + b">>>",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj" % number + each + b"endobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(data)
    data += b"xref\n0 5\n0000000000 65535 f \n" + table
    data += b"trailer<</Size 5/Root 1 0 R/Encrypt 4 0 R/ID[<33><33>]>>\nstartxref\n%d\n%%%%EOF" % start
    file.write_bytes(data)
    return file


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    write_pdf(folder / "three.pdf", title="Three colours", creationDate=datetime(2019, 3, 4, 5, 6, 7).timetuple())
    write_picture(folder / "photo.png", "white")
    return folder


def sync(folder: Path, encoder: FakeEncoder | None = None) -> EmbedReport:
    return embed([folder], gallery=folder.parent / "g", encoder=encoder or FakeEncoder())


def rows(folder: Path) -> dict[str, ImageRow]:
    return {row.path: row for _, row in Gallery.open(folder.parent / "g").all_records(IMAGES)}


def reasons(folder: Path) -> dict[str, str]:
    return {row.path: row.reason for row in Gallery.open(folder.parent / "g").skipped_rows()}


def test_each_page_of_a_pdf_is_found_and_kept(papers: Path) -> None:
    assert sync(papers).images.added == 4
    held = rows(papers)
    assert list(held) == ["photo.png", *(f"three.pdf!/page={page}" for page in (1, 2, 3))]
    page = held["three.pdf!/page=2"]
    assert (page.page, page.width, page.height, page.title) == (2, 1200, 1600, "Three colours")
    assert (page.taken_at, page.taken_from) == (datetime(2019, 3, 4, 5, 6, 7), "created")
    opened = open_gallery(papers.parent / "g", encoder=FakeEncoder())
    for number, colour in enumerate(PAGES, 1):
        (hit,) = opened.ask(Query([TextPart(colour)], k=1)).hits
        assert hit.path == f"three.pdf!/page={number}"
    encoder = FakeEncoder()
    assert (sync(papers, encoder).images.unchanged, encoder.images_encoded) == (4, 0)
    (papers / "three.pdf").rename(papers / "moved.pdf")
    assert (sync(papers, encoder).images.moved, encoder.images_encoded) == (3, 0)


def test_locked_broken_and_empty_documents_are_skipped_with_a_reason(papers: Path) -> None:
    write_locked_pdf(papers / "locked.pdf")
    (papers / "broken.pdf").write_bytes((papers / "three.pdf").read_bytes()[:500])
    (papers / "empty.pdf").write_bytes(b"")
    (papers / "no.pdf").write_bytes(b"a letter")
    assert sync(papers).images.added == 4
    damaged = "damaged PDF: Failed to load document (PDFium: Data format error)."
    expected = {"broken.pdf": damaged, "empty.pdf": "empty file", "locked.pdf": "encrypted PDF", "no.pdf": damaged}
    assert reasons(papers) == expected
    assert sync(papers).images.still_skipped == 4


def test_a_document_that_claims_a_million_pages_gives_some(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1000000>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n"
    )
    spans = list(cutting.list_spans(str(tmp_path / "a.pdf"), "a.pdf"))
    assert len(spans) == 20_001
    assert spans[-1].refused == "only its first 20,000 pages are read"
    first, second = cutting.make_pictures(str(tmp_path / "a.pdf"), "a.pdf", ["page=1", "page=2"], 10**8)
    assert isinstance(first, MadePicture)
    assert isinstance(second, ImageError)


def test_huge_and_tiny_pages_are_rendered_at_a_bounded_size(tmp_path: Path) -> None:
    for size in ((14_000, 3), (1, 1), (2_000, 3_000)):
        file = write_pdf(tmp_path / "a.pdf", ["red"], size=size)
        (picture,) = cutting.make_pictures(str(file), "a.pdf", ["page=1"], 10**8)
        assert isinstance(picture, MadePicture)
        assert max(picture.image.size) == 1600


def test_pages_that_are_not_there_are_refused(papers: Path) -> None:
    names = ["page=4", "page=0", "page=-1", "page=two", "page=3", f"page={'9' * 30}"]
    pictures = list(cutting.make_pictures(str(papers / "three.pdf"), "three.pdf", names, 10**8))
    assert [isinstance(picture, MadePicture) for picture in pictures] == [name == "page=3" for name in names]
    assert isinstance(pictures[0], ImageError)
    assert pictures[0].reason == "it has 3 pages"


@pytest.fixture
def pausing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Page 2 ends the process that renders, page 3 makes it wait."""
    (tmp_path / "pausing.py").write_text(PAUSES)
    readers = KeptProcesses(pdf_pages._Reader)
    monkeypatch.setattr(pdf_pages, "pdf_processes", readers)
    monkeypatch.setattr(pdf_pages, "_PROCESS", str(tmp_path / "pausing.py"))
    monkeypatch.setattr(pdf_pages, "_SECONDS", 8.0)
    yield
    readers.end()


@pytest.mark.soak
@pytest.mark.usefixtures("pausing")
def test_pages_that_end_or_stop_the_renderer_cost_no_others(papers: Path) -> None:
    pictures = cutting.make_pictures(
        str(papers / "three.pdf"), "a.pdf", [f"page={page}" for page in range(1, 5)], 10**8
    )
    told = [each.reason if isinstance(each, ImageError) else each.image.getpixel((0, 0)) for each in pictures]
    assert told == [(1, 0, 0), "it ended what renders PDFs", "not rendered within 8 seconds", (4, 0, 0)]


def test_without_the_extra_the_line_that_installs_it_is_told(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.cutting.pdf_pages.find_spec", lambda _: None)
    assert sync(papers).images.added == 1
    assert reasons(papers) == {"three.pdf": "PDF, whose pages are read through: pip install 'mmsearch[pdf]'"}
    assert sync(papers).images.still_skipped == 1
    monkeypatch.undo()
    assert sync(papers).images.added == 3
    assert reasons(papers) == {}


def write_texts(file: Path, texts: Sequence[str]) -> Path:
    """A PDF with a page a text, in Helvetica."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for text in texts:
        kids.append(len(objects) + 1)
        lines = b"".join(b"(%s) ' " % line.encode() for line in text.split("\n"))
        content = b"BT /F 12 Tf 14 TL 20 380 Td %sET" % lines
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>"
            % (len(objects) + 2)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(b"%d 0 R" % kid for kid in kids), len(kids))
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj%sendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start, size = len(data), len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    file.write_bytes(data + b"startxref\n%d\n%%%%EOF" % start)
    return file


def captions(folder: Path) -> dict[str, list[tuple[str | None, str]]]:
    held: dict[str, list[tuple[str | None, str]]] = {}
    for _, row in Gallery.open(folder.parent / "g").all_captions():
        held.setdefault(row.source.rpartition("text.pdf!/")[2], []).append((row.path, row.caption))
    return held


@pytest.mark.parametrize("named", ["papers", "papers/text.pdf"])
def test_the_text_of_pages_becomes_captions_of_them(papers: Path, named: str) -> None:
    write_texts(papers / "text.pdf", ["A red boat.\nIt sails", "", "\n".join(["word " * 10] * 10)])
    write_texts(papers.parent / "other.pdf", ["Nobody embedded this.", "", "Nor this."])
    how: Any = {"gallery": papers.parent / "g", "encoder": FakeEncoder()}
    report = embed([papers], captions=[papers.parent / named], **how)
    assert (report.captions.added, report.captions.unmatched) == (3, 0)
    long = [" ".join(["word"] * 60), " ".join(["word"] * 40)]
    assert captions(papers) == {
        "page=1": [("text.pdf!/page=1", "A red boat. It sails")],
        "page=3": [("text.pdf!/page=3", text) for text in long],
    }
    assert embed([], captions=[papers.parent / named], **how).captions.unchanged == 3
    # A page of the same number in another document is not taken for its picture.
    stray = embed([], captions=[papers.parent / "other.pdf"], **how)
    assert (stray.captions.added, stray.captions.unmatched) == (0, 2)
