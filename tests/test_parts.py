"""Several pictures in one file: pages of a TIFF, and what any cutter has to go through."""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch import cutting
from mmsearch.embedding import EmbedOptions, EmbedReport, embed, preview, refresh
from mmsearch.errors import ImageError, MmsearchError
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions, Cutter, MadePicture, PictureSpan
from mmsearch.items import IMAGES, ImageRow
from mmsearch.search.gallery_files import FileContent, FileGone, read_content
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ImagePart, Query, TextPart
from mmsearch.sources import Selection, read_location
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.worker_pools import PretendedWorkerPool, worker_pool

__all__ = ["worker_pool"]

PAGES = ("red", "green", "blue", "yellow")


def write_tiff(file: Path, colours: Sequence[str] = PAGES, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.new("RGB", (24, 16 + page), COLOURS[colour]) for page, colour in enumerate(colours))
    first.save(file, "TIFF", save_all=True, append_images=others, **options)
    return file


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A scan of four pages, one of a single page, and a photo."""
    write_tiff(tmp_path / "scans" / "scan.tif")
    write_tiff(tmp_path / "scans" / "single.tiff", ["black"])
    write_picture(tmp_path / "scans" / "photo.png", "white")
    return tmp_path / "scans"


def sync(folder: Path, encoder: FakeEncoder | None = None, **how: object) -> EmbedReport:
    return embed([folder], gallery=folder.parent / "g", encoder=encoder or FakeEncoder(), **how)  # type: ignore[arg-type]


def rows(folder: Path) -> dict[str, ImageRow]:
    return {row.path: row for _, row in Gallery.open(folder.parent / "g").all_records(IMAGES)}


def vectors(folder: Path) -> dict[str, bytes]:
    gallery = Gallery.open(folder.parent / "g")
    return {
        row.path: gallery.vectors(IMAGES.name, np.array([row_id])).tobytes()
        for row_id, row in gallery.all_records(IMAGES)
    }


def counts(report: EmbedReport) -> dict[str, int]:
    names = ("added", "updated", "reused", "unchanged", "deleted", "moved", "skipped", "still_skipped")
    return {name: count for name in names if (count := getattr(report.images, name))}


def touch(file: Path) -> None:
    later = file.stat().st_mtime_ns + 1_000_000_000
    os.utime(file, ns=(later, later))


def test_each_page_is_an_item_and_the_first_is_the_file(scans: Path) -> None:
    assert counts(sync(scans)) == {"added": 6}
    assert {path: (row.page, row.width, row.height, row.bytes is None) for path, row in rows(scans).items()} == {
        "photo.png": (None, 16, 12, False),
        "scan.tif": (1, 24, 16, False),
        "scan.tif!/page=2": (2, 24, 17, True),
        "scan.tif!/page=3": (3, 24, 18, True),
        "scan.tif!/page=4": (4, 24, 19, True),
        "single.tiff": (None, 24, 16, False),
    }
    opened = open_gallery(scans.parent / "g", encoder=FakeEncoder())
    for page, colour in enumerate(PAGES, 1):
        (hit,) = opened.ask(Query([TextPart(colour)], k=1)).hits
        assert hit.path == ("scan.tif" if page == 1 else f"scan.tif!/page={page}")
        assert not hit.gone


def test_what_did_not_change_is_neither_opened_nor_encoded(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(scans)
    before = rows(scans)
    monkeypatch.setattr("mmsearch.sync.plan.list_pictures", lambda *_: pytest.fail("it was opened"))
    encoder = FakeEncoder()
    assert (counts(sync(scans, encoder)), encoder.images_encoded) == ({"unchanged": 6}, 0)
    assert rows(scans) == before


def test_a_gallery_that_knew_only_first_pages_gets_the_others_and_keeps_its_vectors(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("mmsearch.cutting.registry.CUTTERS", ())
        assert counts(sync(scans)) == {"added": 3}
    encoder = FakeEncoder()
    assert counts(sync(scans, encoder)) == {"added": 3, "updated": 2, "reused": 2, "unchanged": 1}
    assert encoder.images_encoded == 3
    assert rows(scans)["scan.tif"].page == 1
    assert counts(sync(scans)) == {"unchanged": 6}


def test_pages_of_known_content_keep_their_vectors_and_those_no_longer_there_go(scans: Path) -> None:
    sync(scans)
    (scans / "scan.tif").rename(scans / "renamed.tif")
    encoder = FakeEncoder()
    assert (counts(sync(scans, encoder)), encoder.images_encoded) == ({"unchanged": 2, "moved": 4}, 0)
    touch(scans / "renamed.tif")
    assert counts(sync(scans, encoder)) == {"unchanged": 2, "updated": 4, "reused": 4}
    assert encoder.images_encoded == 0
    write_tiff(scans / "renamed.tif", ["red", "black"])
    touch(scans / "renamed.tif")
    assert counts(sync(scans, encoder)) == {"unchanged": 2, "updated": 2, "deleted": 2}
    assert {path for path in rows(scans) if "renamed" in path} == {"renamed.tif", "renamed.tif!/page=2"}
    (scans / "renamed.tif").unlink()
    assert counts(sync(scans)) == {"unchanged": 2, "deleted": 2}


def test_a_file_that_becomes_one_of_a_single_page_is_itself_again(scans: Path) -> None:
    sync(scans)
    write_tiff(scans / "scan.tif", ["green"])
    touch(scans / "scan.tif")
    assert counts(sync(scans)) == {"unchanged": 2, "updated": 1, "deleted": 3}
    assert rows(scans)["scan.tif"].page is None


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {"compression": "raw"}, {"big_endian": True}])
def test_pages_are_those_that_pillow_shows(tmp_path: Path, options: dict[str, Any]) -> None:
    file = write_tiff(tmp_path / "a.tif", **options)
    spans = [f"page={page}" for page in (1, 3, 4, 9)]
    *found, missing = cutting.make_pictures(str(file), "a.tif", spans, 1_000_000)
    with Image.open(file) as reference:
        for picture, page in zip(found, (1, 3, 4), strict=True):
            assert isinstance(picture, MadePicture)
            reference.seek(page - 1)
            assert np.array_equal(np.asarray(picture.image), np.asarray(reference.convert("RGB")))
    assert isinstance(missing, ImageError)
    assert missing.reason == "it has 4 pages"


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    page = Image.new("RGB", (20, 20), COLOURS["red"])
    small, mask = page.resize((5, 5)), Image.new("RGB", (20, 20), COLOURS["white"])
    for image, subfile in ((small, 1), (mask, 4)):
        image.encoderinfo = {"tiffinfo": {254: subfile}}
    page.save(file, "TIFF", save_all=True, append_images=[small, page, mask])
    assert [span.name for span in cutting.list_spans(str(file), "a.tif")] == ["", "page=2"]


def test_a_truncated_file_gives_what_is_there_and_says_what_is_not(scans: Path) -> None:
    data = (scans / "scan.tif").read_bytes()
    (scans / "scan.tif").write_bytes(data[: len(data) * 5 // 8])
    sync(scans)
    assert [path for path in rows(scans) if path.startswith("scan")] == ["scan.tif", "scan.tif!/page=2"]
    skipped = {row.path: row.reason for row in Gallery.open(scans.parent / "g").skipped_rows()}
    assert list(skipped) == ["scan.tif!/page=3", "scan.tif!/page=4"]
    assert all("truncated" in reason for reason in skipped.values())
    assert counts(sync(scans)) == {"unchanged": 4, "still_skipped": 2}


def test_pages_that_never_end_are_bounded(tmp_path: Path) -> None:
    file = write_tiff(tmp_path / "a.tif", ["red"])
    data = bytearray(file.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    data[start + 2 + 12 * entries :][:4] = start.to_bytes(4, "little")
    at = start + 2 + 12 * entries
    data[at : at + 4] = start.to_bytes(4, "little")
    file.write_bytes(data)
    spans = list(cutting.list_spans(str(file), "a.tif"))
    assert [(span.name, span.refused is not None) for span in spans] == [("", False), ("page=2", True)]


def test_a_run_that_ended_in_the_middle_goes_on(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(FakeEncoder):
        def encode_images(self, pixels: object) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
            if self.images_encoded >= 2:
                raise KeyboardInterrupt
            return super().encode_images(pixels)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        sync(scans, Interrupted(), options=EmbedOptions(batch_size=1, threads=1))
    there = len(rows(scans))
    assert 0 < there < 6
    encoder = FakeEncoder()
    assert counts(sync(scans, encoder)) == {"added": 6 - there, "unchanged": there}
    assert encoder.images_encoded == 6 - there
    assert len(rows(scans)) == 6


def test_by_the_exact_way_and_on_a_cluster_the_same_pages_come(
    scans: Path, worker_pool: type[PretendedWorkerPool]
) -> None:
    sync(scans)
    mine = vectors(scans)
    for options in (EmbedOptions(exact=True), EmbedOptions(ray="auto")):
        gallery = scans.parent / f"other-{options.exact}" / "g"
        embed([scans], gallery=gallery, encoder=FakeEncoder(), options=options)
        assert vectors(gallery.parent / "scans") == mine


def test_a_page_is_a_picture_wherever_one_is_named(scans: Path) -> None:
    sync(scans)
    with Image.open(io.BytesIO(read_location(scans / "scan.tif!/page=2"))) as page:
        assert (page.size, page.getpixel((3, 3))) == ((24, 17), COLOURS["green"])
    with pytest.raises(ImageError, match="it has 4 pages"):
        read_location(scans / "scan.tif!/page=5")
    with pytest.raises(FileNotFoundError):
        read_location(scans / "no.tif!/page=2")
    page_3 = str(scans / "scan.tif!/page=3")
    opened = open_gallery(scans.parent / "g", encoder=FakeEncoder())
    assert opened.ask(Query([ImagePart(page_3)], k=1)).hits[0].path == "scan.tif!/page=3"
    row = rows(scans)["scan.tif!/page=3"]
    assert read_content(opened.gallery, row) == FileContent(read_location(page_3), row.content_hash or b"")
    touch(scans / "scan.tif")
    assert read_content(opened.gallery, row).content_hash == row.content_hash
    write_tiff(scans / "scan.tif", ["black"] * 4)
    with pytest.raises(FileGone, match="changed since it was embedded"):
        read_content(opened.gallery, row)


def test_a_dry_run_counts_pages_and_a_refresh_leaves_them(scans: Path) -> None:
    estimate = preview([scans], gallery=scans.parent / "g", encoder=FakeEncoder())
    assert (estimate.new, estimate.timing and estimate.timing.sample) == (6, 6)
    sync(scans)
    before = rows(scans)
    report = refresh([scans], gallery=scans.parent / "g")
    assert (report.changed, report.stale, report.missing, report.unread) == (0, 0, 0, 0)
    assert rows(scans) == before


class _Halves:
    """A cutter of PNG: two halves beside the picture, and a third one that hangs where it is asked to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.hang = ""
        self.released = threading.Event()

    def list_spans(self, _: FileRange, options: CutOptions) -> Iterator[PictureSpan]:
        yield PictureSpan("")
        for half in range(int(options.tiles or 0)):
            yield PictureSpan(f"half={half}", {"box": [half / 2, 0.0, half / 2 + 0.5, 1.0]})

    def make(self, file: FileRange, spans: Sequence[str], _: int) -> Iterator[MadePicture | ImageError]:
        with file.open() as stream, Image.open(stream) as image:
            for span in spans:
                self.made.append(span)
                if span == self.hang:
                    self.released.wait(60)
                if span == "half=9":
                    raise ValueError("it is torn")
                half, width = int(span.partition("=")[2]), image.width // 2
                yield MadePicture(image.convert("RGB").crop((half * width, 0, (half + 1) * width, image.height)))

    def cutter(self) -> Cutter:
        def word(options: CutOptions) -> str | None:
            return f"halves-{options.tiles}" if options.tiles else None

        return Cutter("half", (".png",), "half", word, self.list_spans, self.make)


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Halves]:
    halves = _Halves()
    monkeypatch.setattr("mmsearch.cutting.registry.CUTTERS", (halves.cutter(),))
    yield halves
    halves.released.set()


def test_a_picture_and_pieces_of_it_stand_side_by_side_and_other_options_cut_anew(
    photos: Path, halves: _Halves
) -> None:
    two, one = (Selection(cuts=CutOptions(tiles=count)) for count in ("2", "1"))
    assert counts(sync(photos)) == {"added": 12}
    encoder = FakeEncoder()
    assert counts(sync(photos, encoder, selection=two)) == {"added": 24, "updated": 12, "reused": 12}
    assert encoder.images_encoded == 24
    box = rows(photos)["red.png!/half=1"].box
    assert box == [0.5, 0.0, 1.0, 1.0]
    assert counts(sync(photos, selection=two)) == {"unchanged": 36}
    assert counts(sync(photos, selection=one)) == {"updated": 24, "reused": 24, "deleted": 12}
    # Fewer pieces are no disk that is not mounted: nothing asks for --prune.
    assert counts(sync(photos)) == {"unchanged": 12, "deleted": 12}


def test_pieces_of_a_file_are_bounded_in_time_each_and_one_that_fails_costs_no_other(
    photos: Path, halves: _Halves
) -> None:
    halves.hang = "half=1"
    only = Selection(include=("/red.png",), cuts=CutOptions(tiles="10"))
    report = sync(photos, selection=only, options=EmbedOptions(seconds=2, threads=1))
    assert counts(report) == {"added": 9, "skipped": 2}
    reasons = {row.path: row.reason for row in Gallery.open(photos.parent / "g").skipped_rows()}
    assert reasons == {
        "red.png!/half=1": "not decoded within 2 seconds",
        "red.png!/half=9": "damaged: it is torn",
    }


@pytest.mark.parametrize("fault", [KeyError("stts"), MemoryError(), RecursionError("too deep"), ValueError()])
def test_a_file_whose_pieces_cannot_be_listed_costs_no_other(
    photos: Path, halves: _Halves, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def list_spans(file: FileRange, options: CutOptions) -> Iterator[PictureSpan]:
        if "red" in file.path:
            raise fault
        yield from halves.list_spans(file, options)

    broken = replace(halves.cutter(), list_spans=list_spans)
    monkeypatch.setattr("mmsearch.cutting.registry.CUTTERS", (broken,))
    only = Selection(include=("/red.png", "/blue.png"), cuts=CutOptions(tiles="2"))
    assert counts(sync(photos, selection=only)) == {"added": 3, "skipped": 1}
    ((path, reason),) = ((row.path, row.reason) for row in Gallery.open(photos.parent / "g").skipped_rows())
    assert path == "red.png"
    assert reason == "out of memory" if isinstance(fault, MemoryError) else reason.startswith("damaged: ")


def test_a_file_whose_pieces_fail_after_long_is_given_up_and_tried_anew_when_it_changes(
    photos: Path, halves: _Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.cutting.registry._LONG_SECONDS", 0.0)
    monkeypatch.setattr("mmsearch.cutting.registry._MOST_LOST_SECONDS", 0.0)
    monkeypatch.setattr("mmsearch.cutting.registry._lost_seconds", {})
    names = ["half=0", "half=9", "half=1", "half=0"]  # half=9 fails
    for _ in range(2):
        first, *others = cutting.make_pictures(str(photos / "red.png"), "red.png", names, 10**8)
        assert isinstance(first, MadePicture)
        assert [str(other) for other in others] == ["damaged: it is torn"] * 3
        others = list(cutting.make_pictures(str(photos / "red.png"), "red.png", ["half=0", "half=1"], 10**8))
        assert all("took 0 seconds and gave nothing" in str(other) for other in others)
        touch(photos / "red.png")
    assert halves.made == ["half=0", "half=9"] * 2


def test_what_is_not_installed_is_said_and_made_up_for_later(
    photos: Path, halves: _Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(halves.cutter(), missing=lambda: "halves, read through: pip install 'mmsearch[halves]'")
    two = Selection(include=("/red.png",), cuts=CutOptions(tiles="2"))
    with monkeypatch.context() as patch:
        patch.setattr("mmsearch.cutting.registry.CUTTERS", (missing,))
        with pytest.raises(MmsearchError, match="mmsearch\\[halves\\]"):
            sync(photos, selection=two)
    assert counts(sync(photos, selection=two)) == {"added": 3}
