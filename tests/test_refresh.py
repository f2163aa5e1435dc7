"""`embed --refresh`: headers are read again, rows are changed in place, and nothing is encoded."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from mmsearch.embedding import EmbedOptions, embed, refresh
from mmsearch.errors import SourceError
from mmsearch.gallery import Gallery, update_rows
from mmsearch.indexing import index
from mmsearch.items import IMAGES
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query
from mmsearch.upkeep.maintenance import compact
from mmsearch.upkeep.summary import info
from tests.conftest import Command
from tests.fakes import FakeEncoder
from tests.test_dates import saved
from tests.test_old_gallery import MODIFIED, OLD
from tests.test_photo_facts import LISBON, with_exif

BASE = ExifTags.Base
CANON: dict[int, Any] = {BASE.Make: "Canon", BASE.Model: "Canon EOS 40D", BASE.DateTime: "2011:07:19 11:36:38"}
_FACTS = ("taken_at", "taken_from", "camera", "title", "keywords", "lat", "lon", "city", "country")


def rows_of(gallery: Path) -> dict[str, Mapping[str, Any]]:
    opened = Gallery.open(gallery)
    return {
        row.path: {name: getattr(row, name) for name in _FACTS} | {"row_id": row_id}
        for row_id, row in opened.all_records(IMAGES)
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """With a camera and a place, with neither, and one in an archive; a PNG that says what it is behind its pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    data = with_exif(CANON, gps=LISBON)
    (folder / "canon.jpg").write_bytes(data)
    (folder / "plain.png").write_bytes(saved("PNG"))
    said = PngImagePlugin.PngInfo()
    said.add_text("Title", "Red")
    (folder / "titled.png").write_bytes(saved("PNG", pnginfo=said))
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("inner.jpg", with_exif(CANON | {BASE.Model: "Canon EOS R5"}))
    return folder


@pytest.fixture
def forgetful(photos: Path, tmp_path: Path, fake: FakeEncoder) -> Path:
    """Its gallery as an earlier release left it: with the dates alone."""
    gallery = tmp_path / "gallery"
    embed([photos], gallery=gallery, encoder=fake)
    forget_facts(gallery)
    return gallery


def forget_facts(gallery: Path) -> None:
    from mmsearch.gallery import open_writer

    nothing = dict.fromkeys(name for name in _FACTS if name != "taken_at")
    with open_writer(gallery, command="test") as writer:
        for shard in writer.gallery.shards("images"):
            updates = {row_id: nothing for row_id, _ in writer.gallery.records_in(IMAGES, shard)}
            writer.rewrite(partial(update_rows, table="images", shard=shard, updates=updates))


def test_headers_are_read_and_nothing_is_encoded(forgetful: Path, photos: Path) -> None:
    before, version = rows_of(forgetful), Gallery.open(forgetful).manifest.version
    vectors = Gallery.open(forgetful).vectors("images", np.arange(4))
    assert info(forgetful).before_facts == 2
    report = refresh(gallery=forgetful)
    assert (report.changed, report.unchanged, report.missing, report.stale, report.unread) == (3, 1, 0, 0, 0)
    assert report.columns == {"taken_from": 2, "camera": 2, "title": 1}
    after = rows_of(forgetful)
    assert {path: row["row_id"] for path, row in after.items()} == {path: row["row_id"] for path, row in before.items()}
    assert (after["canon.jpg"]["camera"], after["canon.jpg"]["taken_from"]) == ("Canon EOS 40D", "edited")
    assert after["more.zip!/inner.jpg"]["camera"] == "Canon EOS R5"
    assert (after["titled.png"]["title"], after["canon.jpg"]["lat"]) == ("Red", None)
    assert np.array_equal(Gallery.open(forgetful).vectors("images", np.arange(4)), vectors)
    assert info(forgetful).before_facts == 0
    # Nothing more is to be said, so nothing is written: by itself, and by a sync.
    assert report.version == version + 1
    assert refresh(gallery=forgetful).version == version + 1
    assert embed(gallery=forgetful).version == version + 1


def test_places_come_with_places_and_stay_without(forgetful: Path) -> None:
    refresh(gallery=forgetful, places=True)
    known = rows_of(forgetful)["canon.jpg"]
    assert (known["lat"], known["lon"], known["city"], known["country"]) == (38.7083333, -9.14, "Lisbon", "Portugal")
    assert refresh(gallery=forgetful).changed == 0
    assert rows_of(forgetful)["canon.jpg"] == known


def test_a_file_that_is_gone_or_changed_keeps_its_row(forgetful: Path, photos: Path) -> None:
    before = rows_of(forgetful)
    (photos / "titled.png").unlink()
    (photos / "canon.jpg").write_bytes(with_exif({BASE.Model: "Another"}))
    with zipfile.ZipFile(photos / "more.zip", "w") as archive:
        archive.writestr("inner.jpg", with_exif({BASE.Model: "Another"}))
    report = refresh(gallery=forgetful)
    assert (report.changed, report.unchanged, report.missing, report.stale) == (0, 1, 1, 2)
    assert rows_of(forgetful) == before
    shutil.rmtree(photos)
    assert refresh(gallery=forgetful).missing == 4


def test_a_file_that_cannot_be_read_is_named(forgetful: Path, photos: Path, mmsearch: Command) -> None:
    file = photos / "canon.jpg"
    state = file.stat()
    file.write_bytes(b"\0" * state.st_size)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = mmsearch("embed", "--refresh", "-g", forgetful)
    assert done.code == 0
    assert f"{file} cannot be read" in done.err
    assert "3 read: 2 changed, 1 unchanged" in done.out


def test_only_what_is_named_is_read(forgetful: Path, photos: Path) -> None:
    report = refresh([photos / "canon.jpg"], gallery=forgetful)
    assert (report.changed, report.unchanged) == (1, 0)
    assert rows_of(forgetful)["titled.png"]["title"] is None
    assert refresh([photos], gallery=forgetful).changed == 2
    with pytest.raises(SourceError, match="no picture below"):
        refresh([photos.parent / "elsewhere"], gallery=forgetful)


def test_an_index_and_dead_rows_stay_good(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    gallery = tmp_path / "gallery"
    for number in range(30):
        Image.new("RGB", (16, 12), (8 * number, 255 - 8 * number, 90)).save(photos / f"more{number}.png")
    embed([photos], gallery=gallery, encoder=fake)
    index(gallery)
    (photos / "more3.png").unlink()
    embed(gallery=gallery)
    forget_facts(gallery)
    before = [(hit.row_id, hit.score) for hit in open_gallery(gallery, encoder=fake).ask(Query.of("red", k=50)).hits]
    assert refresh(gallery=gallery).changed == 3
    opened = Gallery.open(gallery)
    assert len(opened.manifest.indexes) == 1
    assert index(gallery).outcome == "kept"
    found = open_gallery(gallery, encoder=fake).ask(Query.of("red", k=50)).hits
    assert [(hit.row_id, hit.score) for hit in found] == before
    assert "more3.png" not in {hit.path for hit in found}
    compact(gallery)
    assert rows_of(gallery)["canon.jpg"]["camera"] == "Canon EOS 40D"


def test_an_old_gallery_is_refreshed(tmp_path: Path) -> None:
    """Of a release that had none of these columns: its pictures have got a header since, with the old time."""
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    file = folder / "pictures" / "postcard_0001.jpg"
    size = file.stat().st_size
    exif = Image.Exif()
    exif[BASE.Model] = "Postcard camera"
    with Image.open(file) as picture:
        again = io.BytesIO()
        picture.save(again, "JPEG", quality=30, exif=exif)
    file.write_bytes(again.getvalue() + bytes(size - len(again.getvalue())))
    for each in folder.rglob("*"):
        os.utime(each, (MODIFIED, MODIFIED))
    report = refresh(gallery=folder / "gallery")
    assert (report.changed, report.unread, report.stale) == (1, 0, 0)
    assert rows_of(folder / "gallery")["postcard_0001.jpg"]["camera"] == "Postcard camera"
    assert embed(gallery=folder / "gallery").images.unchanged == 10


def test_what_stands_beside_a_picture_is_read_again(tmp_path: Path, fake: FakeEncoder) -> None:
    from tests.test_dates import packet

    folder, gallery = tmp_path / "photos", tmp_path / "gallery"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(with_exif(CANON))
    (folder / "a.xmp").write_bytes(packet('xmp:Rating="5" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'))
    embed([folder], gallery=gallery, encoder=fake)
    (row,) = [row for _, row in Gallery.open(gallery).all_records(IMAGES)]
    assert (row.rating, row.files) == (5, ["a.xmp"])
    assert refresh(gallery=gallery).changed == 0


@pytest.mark.parametrize("sidecar", ["a.jpg.xmp", "a.xmp"])
def test_what_is_said_of_a_damaged_file_stays_with_what_stands_for_it(
    sidecar: str, tmp_path: Path, fake: FakeEncoder
) -> None:
    from tests.test_dates import packet

    folder, gallery = tmp_path / "photos", tmp_path / "gallery"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no picture")
    (folder / "a.cr2").write_bytes(with_exif(CANON))
    (folder / sidecar).write_bytes(packet('xmp:Rating="5" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'))
    embed([folder], gallery=gallery, encoder=fake)
    for _ in range(2):
        (row,) = [row for _, row in Gallery.open(gallery).all_records(IMAGES)]
        assert (row.path, row.rating, row.files) == ("a.cr2", 5, [sidecar])
        assert refresh(gallery=gallery).changed == 0


_KILLED = """
import sys
from mmsearch.embedding import refresh
done = 0
def progress(state):
    if state.done == 3:
        import os
        os.kill(os.getpid(), 9)
refresh(gallery=sys.argv[1], threads=1, progress=progress)
"""


def test_a_run_that_was_killed_is_done_again(forgetful: Path) -> None:
    before = rows_of(forgetful)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(forgetful)], check=False, timeout=120)
    assert killed.returncode == -9
    assert rows_of(forgetful) == before
    assert refresh(gallery=forgetful).changed == 3


def test_what_was_read_before_ctrl_c_is_kept(forgetful: Path) -> None:
    def interrupt(state: Any) -> None:
        if state.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refresh(gallery=forgetful, threads=1, progress=interrupt)
    assert 0 < refresh(gallery=forgetful).changed < 3


@pytest.mark.parametrize("option", ["--prune", "--each-file", "--hidden", "--retry-skipped", "--strict", "--watch"])
def test_what_it_has_no_use_for_is_not_passed_over(option: str, forgetful: Path, mmsearch: Command) -> None:
    refused = mmsearch("embed", "--refresh", option, "-g", forgetful)
    assert refused.code == 2
    assert "leave out" in " ".join(refused.err.replace("\u2502", " ").split())


def test_the_command_says_what_it_did(forgetful: Path, mmsearch: Command) -> None:
    said = mmsearch("info", "-g", forgetful).out
    assert "2 images were embedded before cameras, titles and keywords were kept" in said
    refused = mmsearch("embed", "--refresh", "--dry-run", "-g", forgetful)
    assert (refused.code, "--refresh" in refused.err) == (2, True)
    done = mmsearch("embed", "--refresh", "--places", "-g", forgetful, "--format", "jsonl")
    report = json.loads(done.out.splitlines()[-1])
    assert (report["event"], report["changed"], report["columns"]["lat"]) == ("report", 3, 1)
    again = mmsearch("embed", "--refresh", "-g", forgetful)
    assert "4 read: 0 changed, 4 unchanged" in again.out
    assert "headers " not in mmsearch("info", "-g", forgetful).out


def test_by_decoding_and_by_the_header_the_same_is_known(photos: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    """So that what was just embedded is not changed, whatever its format; a text of PNG may stand behind its pixels."""
    from tests.test_dates import chunk

    data = saved("PNG")
    end = data.index(b"IEND") - 4
    (photos / "behind.png").write_bytes(data[:end] + chunk(b"tEXt", b"Title\0Behind") + data[end:])
    exif = Image.Exif()
    exif[BASE.Model] = "EOS"
    for kind in ("WEBP", "TIFF", "AVIF", "JPEG2000"):
        (photos / f"x.{kind.lower()}").write_bytes(saved(kind, **({} if kind == "JPEG2000" else {"exif": exif})))
    gallery = tmp_path / "gallery"
    embed([photos], gallery=gallery, encoder=fake, options=EmbedOptions(places=True))
    assert rows_of(gallery)["behind.png"]["title"] == "Behind"
    assert refresh(gallery=gallery, places=True).changed == 0
