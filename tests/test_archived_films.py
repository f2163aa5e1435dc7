"""Films, documents and scans in archives: their frames and pages are items as those of plain files are."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.embedding import EmbedOptions, EmbedReport, embed
from mmsearch.encoders import Pixels
from mmsearch.errors import MmsearchWarning
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions
from mmsearch.items import IMAGES, ImageRow, without_span
from mmsearch.render.collecting import collect
from mmsearch.render.local_files import local_file
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ItemPart, Query, TextPart
from mmsearch.sources import FolderWalk, Selection, archives, member_bytes, read_location, unpacking
from tests.archives import make_tar, make_zip
from tests.fakes import FakeEncoder, write_picture
from tests.rendered_films import render_scenes
from tests.servers import running

SCENES = (("red", 2.0), ("blue", 2.0))
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A film, one of another container, a document, a scan of three pages, an animation, a picture."""
    folder = tmp_path_factory.mktemp("files")
    render_scenes(folder / "clip.mp4", SCENES)
    render_scenes(folder / "old.mkv", SCENES)
    pages = [Image.open(write_picture(folder / "made" / f"{colour}.png", colour)).convert("RGB") for colour in COLOURS]
    first, *others = (page.copy() for page in pages)
    first.save(folder / "scan.tif", save_all=True, append_images=others, compression="tiff_lzw")
    first, *others = (page.copy() for page in pages)
    first.save(folder / "doc.pdf", save_all=True, append_images=others)
    first, *others = (page.copy() for page in pages)
    first.save(folder / "moving.gif", save_all=True, append_images=others, duration=600)
    write_picture(folder / "photo.png", "green")
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def write_plain(folder: Path, members: Sequence[tuple[str, bytes]]) -> None:
    for name, data in members:
        (folder / name).write_bytes(data)


def write_archive(shelf: Path, form: str, members: Sequence[tuple[str, bytes]]) -> Path:
    if form == "tar":
        return make_tar(shelf / "a.tar", members)
    return make_zip(shelf / "a.zip", members, zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED)


def sync(folder: Path, encoder: FakeEncoder | None = None, **how: Any) -> EmbedReport:
    return embed([folder], gallery=folder.parent / "g", encoder=encoder or FakeEncoder(), **how)


def rows(folder: Path) -> dict[str, ImageRow]:
    return {row.path: row for _, row in Gallery.open(folder.parent / "g").all_records(IMAGES)}


def skipped(folder: Path) -> dict[str, str]:
    return {row.path: row.reason for row in Gallery.open(folder.parent / "g").skipped_rows()}


def counts(report: EmbedReport) -> dict[str, int]:
    names = ("added", "updated", "reused", "unchanged", "deleted", "moved", "skipped", "still_skipped", "alike")
    return {name: count for name in names if (count := getattr(report.images, name))}


def touched(file: Path) -> None:
    """A change that no clock is needed for."""
    os.utime(file, ns=(file.stat().st_mtime_ns + 10**9,) * 2)


@pytest.mark.parametrize("form", ["tar", "stored", "deflated"])
def test_pictures_made_of_members_are_those_of_the_same_files(
    shelf: Path, files: dict[str, bytes], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = Selection(cuts=CutOptions(animations="every=600ms", tiles="2"))
    wide = write_picture(shelf.parent / "wide.png", "blue", size=(600, 300)).read_bytes()
    files = files | {"wide.png": wide}
    plain = shelf.parent / "plain" / "shelf"
    plain.mkdir(parents=True)
    write_plain(plain, [*files.items()])
    sync(plain, selection=cuts)
    archive = write_archive(shelf, form, [*files.items()])
    encoder = FakeEncoder()
    report = sync(shelf, encoder, selection=cuts)
    assert skipped(shelf) == {}
    expected, held = rows(plain), rows(shelf)
    assert len(expected) == 2 + 2 + 3 + 3 + 3 + 1 + 5
    assert held.keys() == {f"{archive.name}!/{path}" for path in expected}
    for path, row in expected.items():
        member = held[f"{archive.name}!/{path}"]
        for name in (
            "content_hash",
            "width",
            "height",
            "start_s",
            "end_s",
            "page",
            "taken_at",
            "damaged",
            "bytes",
            "box",
        ):
            assert getattr(member, name) == getattr(row, name), (path, name)
    assert counts(report)["added"] == len(expected)
    # Unchanged, it costs a stat.
    opened: list[object] = []
    monkeypatch.setattr("mmsearch.sync.plan.list_container", lambda *a, **_: opened.append(a))
    assert counts(sync(shelf, selection=cuts)) == {"unchanged": len(expected)}
    assert opened == []


def test_each_picture_is_found_shown_and_asked_with_where_it_stands(shelf: Path, files: dict[str, bytes]) -> None:
    write_archive(shelf, "deflated", [*files.items()])
    sync(shelf)
    place = f"{shelf}/a.zip!"
    gallery = open_gallery(shelf.parent / "g", encoder=FakeEncoder())
    answer = gallery.ask(Query((TextPart("blue"),), k=4))
    assert {hit.whole_path for hit in answer.hits} == {f"a.zip!/{name}" for name in files if name != "photo.png"} - {
        "a.zip!/moving.gif"
    }
    red_ones = gallery.ask(Query((TextPart("red"),), k=5))  # the first page of a scan is the member itself
    assert {hit.whole_path for hit in red_ones.hits} == {f"a.zip!/{name}" for name in files if name != "photo.png"}
    film = next(hit for hit in answer.hits if hit.whole_path == "a.zip!/clip.mp4")
    assert (film.from_s, film.gone, film.whole_file) == (2.0, False, f"{place}/clip.mp4")
    whole = gallery.ask(Query((ItemPart(f"{place}/clip.mp4"),), k=1)).hits[0]
    assert whole.whole_path == "a.zip!/old.mkv"
    like_first_page = gallery.ask(Query((ItemPart(f"{place}/scan.tif"),), k=1)).hits[0]
    assert like_first_page.score > 0.99
    assert like_first_page.whole_path != "a.zip!/scan.tif"
    with Image.open(io.BytesIO(read_location(f"{place}/clip.mp4!/t=3"))) as frame:
        red, _, blue = frame.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert blue > 180 > 80 > red
    assert local_file(f"{place}/clip.mp4!/t=3").read_bytes() == files["clip.mp4"]
    assert local_file(f"{place}/clip.mp4").suffix == ".mp4"
    copied = collect([film], shelf.parent / "to").copied[0]
    assert (copied.name, copied.read_bytes()) == ("1-clip.mp4", files["clip.mp4"])
    cut = collect([film], shelf.parent / "to", cut=True)
    assert ([copy.name for copy in cut.copied], cut.whole) == (["1-clip-0m02s-0m03s.mp4"], [])


def test_a_changed_archive_keeps_what_it_still_holds(shelf: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    clip, document = ("clip.mp4", files["clip.mp4"]), ("doc.pdf", files["doc.pdf"])
    write_archive(shelf, "tar", [clip, document])
    assert counts(sync(shelf)) == {"added": 5}
    other = render_scenes(tmp_path / "other.mp4", [("green", 2.0), ("white", 2.0)]).read_bytes()
    touched(write_archive(shelf, "tar", [clip, ("other.mp4", other)]))
    encoder = FakeEncoder()
    report = sync(shelf, encoder, options=EmbedOptions(prune=True))
    assert (report.images.in_gallery, report.images.deleted + report.images.moved) == (4, 3)
    assert encoder.images_encoded == 2  # of the other film
    assert {without_span(path) for path in rows(shelf)} == {"a.tar!/clip.mp4", "a.tar!/other.mp4"}
    (shelf / "a.tar").unlink()
    write_picture(shelf / "b.png", "red")
    assert counts(sync(shelf, options=EmbedOptions(prune=True))) == {"added": 1, "deleted": 4}


def test_other_frames_are_taken_of_an_archive_that_did_not_change(shelf: Path, files: dict[str, bytes]) -> None:
    write_archive(shelf, "stored", [("clip.mp4", files["clip.mp4"]), ("photo.png", files["photo.png"])])
    sync(shelf)
    often = Selection(cuts=CutOptions(frames="every=500ms"))
    assert counts(sync(shelf, selection=often))["added"] == 6
    assert len(rows(shelf)) == 9
    assert counts(sync(shelf)) == {"unchanged": 9}  # what a run does not say stays as it was


def test_what_an_earlier_release_skipped_is_taken(
    shelf: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(shelf, "deflated", [*files.items()])
    with monkeypatch.context() as before:
        before.setattr("mmsearch.sync.plan._RootPlanner._cutting", lambda *_: "")
        before.setattr("mmsearch.sync.whole_containers.WholeContainers._member_cutting", lambda *_: "")
        assert counts(sync(shelf)) == {"added": 3, "skipped": 3}
        assert counts(sync(shelf)) == {"unchanged": 3, "still_skipped": 3}
    report = sync(shelf)
    assert (report.images.in_gallery, skipped(shelf)) == (12, {})
    assert counts(sync(shelf)) == {"unchanged": 12}


def test_without_what_reads_films_they_are_skipped_until_it_is_there(
    shelf: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(shelf, "tar", [("clip.mp4", files["clip.mp4"]), ("photo.png", files["photo.png"])])
    with monkeypatch.context() as without:
        without.setattr("mmsearch.films.reading.find_spec", lambda _: None)
        sync(shelf)
        assert "pip install 'mmsearch[video]'" in skipped(shelf)["a.tar!/clip.mp4"]
        assert counts(sync(shelf)) == {"unchanged": 1, "still_skipped": 1}
    assert counts(sync(shelf)) == {"added": 2, "unchanged": 1}
    assert skipped(shelf) == {}


def test_an_interrupted_archive_is_continued(shelf: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    other = render_scenes(tmp_path / "other.mp4", [("green", 2.0), ("white", 2.0)]).read_bytes()
    write_archive(shelf, "deflated", [("a.mp4", files["clip.mp4"]), ("b.mp4", other)])

    class Stopped(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if self.images_encoded:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    with pytest.raises(KeyboardInterrupt):
        sync(shelf, Stopped(), options=EmbedOptions(batch_size=3, threads=1))
    assert {without_span(path) for path in rows(shelf)} == {"a.zip!/a.mp4"}
    encoder = FakeEncoder()
    assert counts(sync(shelf, encoder)) == {"added": 2, "unchanged": 2}
    assert encoder.images_encoded == 2
    assert counts(sync(shelf)) == {"unchanged": 4}


def test_hostile_and_damaged_members_cost_no_other(
    shelf: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_bytes, "_SUSPICIOUS_BYTES", 1 << 20)
    monkeypatch.setattr(member_bytes, "MOST_UNPACKED_BYTES", 1 << 23)
    clip = files["clip.mp4"]
    archive = shelf / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.mp4", clip)
        file.writestr("we!/ird.mp4", clip)
        file.writestr("good.mp4!/t=0", files["photo.png"])  # the address of a frame of another
        file.writestr("bomb.mp4", bytes(1 << 22))
        file.writestr("huge.mp4", os.urandom(1 << 10) * (1 << 13) + b"1")
        file.writestr("text.mp4", b"no film " * 100)
        file.writestr("../out.mp4", clip)
        file.writestr("half.mp4", clip)
        file.writestr("torn.pdf", b"%PDF-1.4 and nothing")
    data = bytearray(archive.read_bytes())
    (info,) = [each for each in zipfile.ZipFile(archive).infolist() if each.filename == "half.mp4"]
    data[info.header_offset + 60 : info.header_offset + 90] = bytes(30)
    archive.write_bytes(data)
    with pytest.warns(MmsearchWarning, match="1 names that read as pieces of other members"):
        sync(shelf)
    assert {without_span(path) for path in rows(shelf)} == {"a.zip!/good.mp4", "a.zip!/we!/ird.mp4"}
    reasons = skipped(shelf)
    assert {name.removeprefix("a.zip!/") for name in reasons} == {
        *("bomb.mp4", "huge.mp4", "text.mp4", "../out.mp4", "half.mp4", "torn.pdf")
    }
    assert reasons["a.zip!/bomb.mp4"].endswith("as a bomb does")
    assert "over the limit of 8,388,608" in reasons["a.zip!/huge.mp4"]
    assert reasons["a.zip!/../out.mp4"] == "its name leads out of the archive"
    assert reasons["a.zip!/half.mp4"].startswith("damaged in its archive: ")
    assert counts(sync(shelf)) == {"unchanged": 4, "still_skipped": 6}


def test_what_is_stored_is_read_in_place_and_what_is_compressed_is_unpacked_for_a_while(
    shelf: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MOST_KEPT_BYTES", len(files["clip.mp4"]) + 1)
    monkeypatch.setattr(unpacking, "_copies", unpacking._Copies())
    for form, unpacked in (("tar", False), ("stored", False), ("deflated", True)):
        archive = write_archive(shelf, form, [("clip.mp4", files["clip.mp4"]), ("old.mkv", files["old.mkv"])])
        (file,) = [each for each in FolderWalk(shelf) if each.name == archive.name]
        first, second = archives.list_container(file).members
        with member_bytes.bytes_of_member(first) as found, member_bytes.bytes_of_member(second) as other:
            assert (found.path != str(archive)) == unpacked
            for one, name in ((found, "clip.mp4"), (other, "old.mkv")):
                with one.open() as stream:
                    assert stream.read() == files[name]
                    stream.seek(-4, 2)
                    assert stream.read() == files[name][-4:]
        if unpacked:
            assert not Path(found.path).exists()  # the one that was used last stays
            assert Path(other.path).exists()
        archive.unlink()


def test_what_a_killed_process_unpacked_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    code = (
        "import os, signal\nfrom mmsearch.sources.unpacking import unpacked\n"
        "with unpacked('a', 1, '.mp4', lambda file: file.write(b'1')) as path:\n"
        "    print(path, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.read_bytes() == b"1"
    copies = unpacking._Copies()
    with copies.one("b", 0, ".mp4", lambda _: None) as path:
        assert not left.exists()
        assert FileRange(path).length() == 0
        assert [entry.name for entry in (tmp_path / "cache" / "unpacked").iterdir() if entry.is_dir()] == [
            Path(path).parent.name
        ]


def test_a_served_film_of_an_archive_is_given_in_ranges(shelf: Path, files: dict[str, bytes]) -> None:
    film = files["clip.mp4"]
    write_archive(shelf, "deflated", [("clip.mp4", film), ("moving.gif", files["moving.gif"])])
    sync(shelf)
    with running(shelf.parent / "g") as server:
        (hit,) = [each for each in server.ask("blue", k=5)["hits"] if each["path"].startswith("a.zip!/clip.mp4")]
        address = f"/api/images/{hit['row_id']}"
        whole = server.get(f"{address}/film")
        assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "video/mp4", film)
        for asked, part in (("bytes=100-199", film[100:200]), ("bytes=-5", film[-5:]), ("bytes=7-", film[7:])):
            given = server.get(f"{address}/film", headers={"range": asked})
            assert (given.status_code, given.content) == (206, part)
        assert server.get(f"{address}/film", headers={"range": f"bytes={len(film)}-"}).status_code == 416
        assert server.get(f"{address}/thumbnail").status_code == 200
        (shelf / "a.zip").unlink()
        assert server.get(f"{address}/film").status_code == 410
