"""Files of one picture as one item, from the first sync to the last: found, renewed, and apart again."""

import io
import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from mmsearch.embedding import EmbedOptions, EmbedReport, Selection, embed, preview
from mmsearch.errors import PruneRefused
from mmsearch.gallery import Gallery
from mmsearch.locations import Url
from mmsearch.search.own_items import row_named
from mmsearch.sources import FolderWalk
from tests.archives import make_tar, make_zip
from tests.fakes import FakeEncoder, jpeg
from tests.galleries import contents, skipped

TAKEOUT = {"title": "IMG_1.jpg", "photoTakenTime": {"timestamp": "1311075398"}, "description": "A dog on a beach"}


def xmp(title: str, rating: int = 4, taken: str = "2011-07-19T11:36:38+02:00") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmp:Rating="{rating}" exif:DateTimeOriginal="{taken}">'
        f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>'
        "<dc:subject><rdf:Bag><rdf:li>dog</rdf:li></rdf:Bag></dc:subject>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def picture(seed: int) -> bytes:
    return jpeg((32, 24), seed)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def sync(folder: Path, fake: FakeEncoder, *, prune: bool = False, **selected: Any) -> EmbedReport:
    options = EmbedOptions(prune=prune)
    return embed([folder], gallery=folder.parent / "g", encoder=fake, selection=Selection(**selected), options=options)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {path: row for (_, path), (row, _) in contents(folder.parent / "g").items()}


def files_of(folder: Path) -> dict[str, list[str] | None]:
    return {path: row["files"] for path, row in rows(folder).items()}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Raw data with a JPEG, a live photo, an edited copy, sidecars of all sorts, and a picture by itself."""
    return write(
        tmp_path / "library",
        {
            "a/IMG_1.CR2": picture(1),
            "a/IMG_1.JPG": picture(2),
            "a/IMG_1.xmp": xmp("Of Lightroom"),
            "b/IMG_2.jpg": picture(3),
            "b/IMG_2-edited.jpg": picture(4),
            "b/IMG_2.jpg.supplemental-metadata.json": json.dumps(TAKEOUT).encode(),
            "b/IMG_3.JPG": picture(5),
            "b/IMG_3.MOV": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
            "c/alone.jpg": picture(6),
            "c/alone.txt": b"a caption",
            "c/Thumbs.db": b"thumbs",
            "c/@eaDir/alone.jpg/SYNOPHOTO_THUMB_M.jpg": picture(7),
        },
    )


def test_the_files_of_one_picture_are_one_item(library: Path, fake: FakeEncoder) -> None:
    counts = sync(library, fake).images
    assert files_of(library) == {
        "a/IMG_1.JPG": ["a/IMG_1.CR2", "a/IMG_1.xmp"],
        "b/IMG_2-edited.jpg": ["b/IMG_2.jpg", "b/IMG_2.jpg.supplemental-metadata.json"],
        "b/IMG_3.JPG": ["b/IMG_3.MOV"],
        "c/alone.jpg": None,
    }
    assert (counts.added, counts.joined, counts.skipped, counts.passed_over) == (4, 5, 0, 2)
    assert skipped(library.parent / "g") == set()


def test_sidecars_say_when_what_and_how_good(library: Path, fake: FakeEncoder) -> None:
    sync(library, fake)
    lightroom, takeout = rows(library)["a/IMG_1.JPG"], rows(library)["b/IMG_2-edited.jpg"]
    assert (lightroom["title"], lightroom["rating"], lightroom["keywords"]) == ("Of Lightroom", 4, ["dog"])
    assert (str(lightroom["taken_at"]), lightroom["taken_from"], lightroom["utc_offset"]) == (
        "2011-07-19 11:36:38",
        "xmp",
        120,
    )
    assert (takeout["title"], takeout["taken_from"]) == ("A dog on a beach", "takeout")
    assert str(takeout["taken_at"]) == "2011-07-19 11:36:38"


def test_a_second_sync_finds_nothing_to_do(library: Path, fake: FakeEncoder) -> None:
    sync(library, fake)
    version = Gallery.open(library.parent / "g").manifest.version
    counts = sync(library, fake).images
    assert (counts.unchanged, counts.added, counts.updated, counts.joined) == (4, 0, 0, 5)
    assert Gallery.open(library.parent / "g").manifest.version == version


def test_every_file_is_accounted_for(library: Path, fake: FakeEncoder) -> None:
    write(library, {"c/film.MOV": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "c/.hidden.jpg": picture(8)})
    for _ in range(2):
        images = sync(library, fake).images
        items = images.added + images.updated + images.unchanged + images.skipped + images.still_skipped
        captions, folders_passed, files_in_them = 1, 1, 1
        on_disk = sum(path.is_file() for path in library.rglob("*"))
        assert items + images.joined + (images.passed_over - folders_passed) + files_in_them + captions == on_disk


@pytest.mark.parametrize("change", ["changed", "removed", "added"])
def test_a_sidecar_renews_the_columns_and_encodes_nothing(change: str, library: Path, fake: FakeEncoder) -> None:
    sidecar = library / "a" / "IMG_1.xmp"
    if change == "added":
        sidecar.unlink()
    sync(library, fake)
    before, encoded = contents(library.parent / "g")[1, "a/IMG_1.JPG"], fake.images_encoded
    if change == "removed":
        sidecar.unlink()
    else:
        sidecar.write_bytes(xmp("Another title", 2))
        os.utime(sidecar, ns=(1, 10**18))
    counts = sync(library, fake).images
    after = contents(library.parent / "g")[1, "a/IMG_1.JPG"]
    assert fake.images_encoded == encoded
    assert (counts.added, counts.updated, counts.reused, counts.unchanged) == (0, 1, 1, 3)
    assert after[0]["content_hash"] == before[0]["content_hash"]
    assert (after[1] == before[1]).all()
    if change == "removed":
        assert (after[0]["title"], after[0]["rating"], after[0]["files"]) == (None, None, ["a/IMG_1.CR2"])
    else:
        assert (after[0]["title"], after[0]["rating"]) == ("Another title", 2)


def test_a_jpeg_that_appears_beside_raw_data_and_goes(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"IMG_1.CR2": picture(1), "other.jpg": picture(9)})
    sync(folder, fake)
    assert files_of(folder) == {"IMG_1.CR2": None, "other.jpg": None}
    write(folder, {"IMG_1.JPG": picture(2)})
    counts = sync(folder, fake).images
    assert files_of(folder) == {"IMG_1.JPG": ["IMG_1.CR2"], "other.jpg": None}
    assert (counts.added, counts.merged, counts.deleted) == (1, 1, 0)
    (folder / "IMG_1.JPG").unlink()
    sync(folder, fake)
    assert files_of(folder) == {"IMG_1.CR2": None, "other.jpg": None}
    write(folder, {"IMG_1.JPG": picture(2)})
    sync(folder, fake)
    (folder / "IMG_1.CR2").unlink()
    encoded = fake.images_encoded
    sync(folder, fake)
    assert files_of(folder) == {"IMG_1.JPG": None, "other.jpg": None}
    assert fake.images_encoded == encoded


def test_a_gallery_of_files_apart_is_joined_and_the_guard_is_not_alarmed(tmp_path: Path, fake: FakeEncoder) -> None:
    files = {f"IMG_{number}.{suffix}": picture(2 * number) for number in range(130) for suffix in ("CR2", "JPG")}
    files = {name: data + name.encode() for name, data in files.items()}
    folder = write(tmp_path / "photos", files)
    assert sync(folder, fake, apart=True).images.joined == 0
    assert len(rows(folder)) == 260
    encoded = fake.images_encoded
    report = sync(folder, fake)
    assert (report.total_images, report.images.merged, report.images.joined, report.images.deleted) == (
        130,
        130,
        130,
        0,
    )
    assert fake.images_encoded == encoded
    report = sync(folder, fake, apart=True)
    assert (report.total_images, report.images.joined) == (260, 0)
    assert set(files_of(folder).values()) == {None}
    for file in folder.glob("*.CR2"):
        file.unlink()
    with pytest.raises(PruneRefused):
        sync(folder, fake, apart=True)


def test_where_the_better_file_holds_no_picture_the_other_stands(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a.JPG": b"", "a.CR2": picture(1), "a.xmp": xmp("Kept"), "b.jpg": picture(3)})
    counts = sync(folder, fake).images
    assert files_of(folder) == {"a.CR2": ["a.xmp"], "b.jpg": None}
    assert rows(folder)["a.CR2"]["title"] == "Kept"
    assert {path for path, *_ in skipped(tmp_path / "g")} == {"a.JPG"}
    assert (counts.added, counts.skipped, counts.joined) == (2, 1, 1)
    counts = sync(folder, fake).images
    assert (counts.unchanged, counts.still_skipped, counts.updated, counts.joined) == (2, 1, 0, 1)
    (folder / "a.JPG").write_bytes(picture(2))
    counts = sync(folder, fake).images
    assert files_of(folder) == {"a.JPG": ["a.CR2", "a.xmp"], "b.jpg": None}
    assert (counts.added, counts.merged) == (1, 1)
    (folder / "a.JPG").write_bytes(b"damaged by now")
    sync(folder, fake)
    assert files_of(folder) == {"a.CR2": ["a.xmp"], "b.jpg": None}


def test_a_jpeg_that_is_damaged_does_not_end_the_row_of_the_raw_data(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a.CR2": picture(1)})
    sync(folder, fake)
    write(folder, {"a.JPG": b"no picture"})
    for _ in range(2):
        sync(folder, fake)
        assert files_of(folder) == {"a.CR2": None}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_takeout_as_an_archive(make: Any, library: Path, fake: FakeEncoder, tmp_path: Path) -> None:
    members = [(str(file.relative_to(library)), file.read_bytes()) for file in library.rglob("*") if file.is_file()]
    folder = tmp_path / "archives"
    folder.mkdir()
    name = f"takeout.{'zip' if make is make_zip else 'tar'}"
    make(folder / name, members)
    sync(folder, fake, apart=True)
    assert len(rows(folder)) == 6
    encoded = fake.images_encoded
    counts = sync(folder, fake).images
    assert fake.images_encoded == encoded
    expected = {
        "a/IMG_1.JPG": ["a/IMG_1.CR2", "a/IMG_1.xmp"],
        "b/IMG_2-edited.jpg": ["b/IMG_2.jpg", "b/IMG_2.jpg.supplemental-metadata.json"],
        "b/IMG_3.JPG": ["b/IMG_3.MOV"],
        "c/alone.jpg": None,
    }
    assert files_of(folder) == {
        f"{name}!/{path}": files and [f"{name}!/{file}" for file in files] for path, files in expected.items()
    }
    assert rows(folder)[f"{name}!/b/IMG_2-edited.jpg"]["title"] == "A dog on a beach"
    assert (counts.joined, counts.merged) == (5, 2)
    again = sync(folder, fake).images
    assert (again.unchanged, again.updated, again.joined) == (4, 0, 5)
    assert skipped(tmp_path / "g") == set()


def test_named_files_are_joined_with_what_was_named_or_is_held(library: Path, fake: FakeEncoder) -> None:
    gallery = library.parent / "g"
    embed([library / "a" / "IMG_1.CR2"], gallery=gallery, encoder=fake)
    assert files_of(library) == {"IMG_1.CR2": ["IMG_1.xmp"]}  # the JPEG was not named
    embed([library / "a" / "IMG_1.JPG"], gallery=gallery, encoder=fake)
    assert files_of(library) == {"IMG_1.JPG": ["IMG_1.CR2", "IMG_1.xmp"]}
    counts = embed([], gallery=gallery, encoder=fake).images
    assert (counts.unchanged, counts.updated, counts.joined) == (1, 0, 2)


def test_a_named_file_of_a_whole_root_keeps_what_stands_beside_it(library: Path, fake: FakeEncoder) -> None:
    sync(library, fake)
    for name in ("IMG_1.JPG", "IMG_1.CR2"):
        counts = embed([library / "a" / name], gallery=library.parent / "g", encoder=fake).images
        assert (counts.unchanged, counts.updated, counts.added) == (1, 0, 0)
    assert files_of(library)["a/IMG_1.JPG"] == ["a/IMG_1.CR2", "a/IMG_1.xmp"]


def test_patterns_choose_among_the_files_of_a_picture(library: Path, fake: FakeEncoder) -> None:
    sync(library, fake, include=("*.CR2",))
    assert files_of(library) == {"a/IMG_1.CR2": ["a/IMG_1.xmp"]}
    sync(library, fake, exclude=("*.CR2", "b/", "c/"))
    assert files_of(library) == {"a/IMG_1.JPG": ["a/IMG_1.CR2", "a/IMG_1.xmp"]}


def test_a_joined_file_is_asked_with_as_the_picture_that_it_is_of(library: Path, fake: FakeEncoder) -> None:
    decomposed = unicodedata.normalize("NFD", "Käfer")
    write(library, {f"{decomposed}.CR2": picture(20), f"{decomposed}.JPG": picture(21)})
    sync(library, fake)
    gallery = Gallery.open(library.parent / "g")
    for one, other in (("a/IMG_1.CR2", "a/IMG_1.JPG"), ("Käfer.CR2", "Käfer.JPG")):
        assert row_named(gallery, str(library / one)) == row_named(gallery, str(library / other))
        assert row_named(gallery, one) == row_named(gallery, other)


def test_thumbnails_of_programs_leave_a_gallery_that_holds_them(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {f"@eaDir/{number}.jpg": picture(number) for number in range(120)})
    write(folder, {f"{number}.jpg": picture(1000 + number) for number in range(5)})
    assert sync(folder, fake, hidden=True).total_images == 125
    counts = sync(folder, fake).images
    assert (counts.deleted, counts.unchanged, counts.passed_over) == (120, 5, 1)


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/a.jpg", "#recycle/a.jpg", "@Recycle/a.jpg", ".@__thumb/a.jpg", ".Trashes/a.jpg", "lost+found/a.jpg"),
        *(".thumbnails/a.jpg", ".picasaoriginals/a.jpg", "Catalog Previews.lrdata/0/a.jpg", "$RECYCLE.BIN/a.jpg"),
        *("x.photoslibrary/resources/derivatives/a.jpg", "System Volume Information/a", "__MACOSX/a.jpg"),
        *("Thumbs.db", "desktop.ini", ".DS_Store", "ehthumbs.db", "Picasa.ini", ".nomedia"),
    ],
)
def test_what_programs_leave_is_passed_over_and_counted(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", {name: picture(1), f"inner/{name}": picture(1), "a.jpg": picture(2)})
    walk = FolderWalk(folder)
    assert [file.name for file in walk] == ["a.jpg"]
    assert walk.hidden + walk.clutter == 2
    assert len([*FolderWalk(folder, hidden=True)]) == 3
    make_zip(tmp_path / "a.zip", [(name, picture(1)), ("a.jpg", picture(2))])
    counts = embed([tmp_path / "a.zip"], gallery=tmp_path / "g", encoder=FakeEncoder()).images
    assert (counts.added, counts.passed_over) == (1, 1)


def test_a_photos_library_gives_its_originals(tmp_path: Path) -> None:
    write(tmp_path, {"x.photoslibrary/originals/0/a.jpg": picture(1), "x.photoslibrary/database/b.jpg": picture(2)})
    assert [file.name for file in FolderWalk(tmp_path)] == ["x.photoslibrary/originals/0/a.jpg"]


def test_folders_that_are_called_like_files_are_entered(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": picture(1), "a.xmp/b.jpg": picture(2), "c.jpg/d.CR2": picture(3), "c.CR2": picture(4)})
    found = {file.name: [other.file.name for other in file.beside] for file in FolderWalk(tmp_path)}
    assert found == {"a.jpg": [], "c.CR2": [], "a.xmp/b.jpg": [], "c.jpg/d.CR2": []}


def test_what_is_beside_may_be_hostile(tmp_path: Path, fake: FakeEncoder) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&b;'
    write(
        tmp_path / "photos",
        {
            **{f"{number}.jpg": picture(number) for number in range(7)},
            "0.jpg.json": b"[" * 100_000,
            "1.jpg.json": b'{"photoTakenTime": {"timestamp": "' + b"9" * 10_000 + b'"}, "people": 7, "geoData": []}',
            "2.jpg.json": b'{"photoTakenTime": {"timestamp": NaN}, "description": "\\ud800 \\u0000 x"}',
            "3.jpg.json": b"\xff\xfe" + b" " * (3 << 20),
            "4.xmp": bomb,
            "5.xmp": b"<x" * 1_000_000,
        },
    )
    (tmp_path / "photos" / "6.xmp").symlink_to("/dev/zero")
    counts = sync(tmp_path / "photos", fake).images
    assert (counts.added, counts.skipped) == (7, 0)
    assert {row["rating"] for row in rows(tmp_path / "photos").values()} == {None}


def test_positions_only_where_they_are_asked_for(tmp_path: Path, fake: FakeEncoder) -> None:
    place = {"geoData": {"latitude": 38.7, "longitude": -9.14}, "photoTakenTime": {"timestamp": "1311075398"}}
    folder = write(tmp_path / "photos", {"a.jpg": picture(1), "a.jpg.json": json.dumps(place).encode()})
    sync(folder, fake)
    assert rows(folder)["a.jpg"]["lat"] is None
    (folder / "a.jpg.json").write_bytes(json.dumps({**place, "description": "Lisbon"}).encode())
    embed([folder], gallery=tmp_path / "g", encoder=fake, options=EmbedOptions(places=True))
    assert (rows(folder)["a.jpg"]["lat"], rows(folder)["a.jpg"]["title"]) == (38.7, "Lisbon")
    (folder / "a.jpg.json").write_bytes(json.dumps({**place, "description": "Lisbon again"}).encode())
    sync(folder, fake)
    assert (rows(folder)["a.jpg"]["lat"], rows(folder)["a.jpg"]["title"]) == (38.7, "Lisbon again")  # it stays


def test_a_camera_says_when_before_takeout_does(tmp_path: Path, fake: FakeEncoder) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2011:07:19 13:36:38"}
    out = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(out, "JPEG", exif=exif)
    folder = write(tmp_path / "photos", {"a.jpg": out.getvalue(), "a.jpg.json": json.dumps(TAKEOUT).encode()})
    sync(folder, fake)
    assert rows(folder)["a.jpg"]["taken_from"] == "exif"


def test_a_dry_run_counts_items(library: Path, fake: FakeEncoder) -> None:
    found = preview([library], gallery=library.parent / "g", encoder=fake)
    assert (found.new, found.unchanged) == (4, 0)


def test_a_copy_of_a_picture_has_its_own_sidecar(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a/x.jpg": picture(1), "a/x.xmp": xmp("One"), "b/x.jpg": picture(1)})
    sync(folder, fake)
    assert {path: row["title"] for path, row in rows(folder).items()} == {"a/x.jpg": "One", "b/x.jpg": None}


def test_in_an_object_store(library: Path, fake: FakeEncoder, tmp_path: Path) -> None:
    place, store = Url(f"memory://joined/{os.urandom(4).hex()}"), fsspec.filesystem("memory")
    for file in library.rglob("*"):
        if file.is_file():
            store.pipe_file(str(place / str(file.relative_to(library))), file.read_bytes())
    counts = embed([place], gallery=tmp_path / "g", encoder=fake).images
    assert (counts.added, counts.joined) == (4, 5)
    assert files_of(library)["a/IMG_1.JPG"] == ["a/IMG_1.CR2", "a/IMG_1.xmp"]
    assert rows(library)["a/IMG_1.JPG"]["title"] == "Of Lightroom"
    store.pipe_file(str(place / "a/IMG_1.xmp"), xmp("Another"))
    encoded = fake.images_encoded
    counts = embed([place], gallery=tmp_path / "g", encoder=fake).images
    assert (counts.unchanged, counts.updated, fake.images_encoded) == (3, 1, encoded)
    assert rows(library)["a/IMG_1.JPG"]["title"] == "Another"


@pytest.mark.parametrize("beside", ["a.xmp", "a.MOV"])
def test_what_holds_no_picture_is_looked_at_once_whatever_stands_beside_it(
    beside: str, tmp_path: Path, fake: FakeEncoder
) -> None:
    folder = write(tmp_path / "photos", {"a.jpg": b"no picture", beside: xmp("Of nothing"), "b.jpg": picture(1)})
    first = sync(folder, fake)
    again = sync(folder, fake)
    assert (first.images.skipped, again.images.skipped, again.images.still_skipped) == (1, 0, 1)
    assert (first.images.joined, again.images.joined) == (1, 1)
    assert again.version == first.version


def test_where_no_file_of_a_picture_holds_one_each_is_named_by_every_run(tmp_path: Path, fake: FakeEncoder) -> None:
    files = {"a.JPG": b"no picture", "a.CR2": b"none either", "a.xmp": xmp("Of nothing"), "b.jpg": picture(1)}
    folder = write(tmp_path / "photos", files)
    first = sync(folder, fake)
    for _ in range(2):
        again = sync(folder, fake)
        assert {path for path, *_ in skipped(tmp_path / "g")} == {"a.JPG", "a.CR2"}
        assert (again.images.skipped, again.images.still_skipped, again.images.joined) == (0, 2, first.images.joined)
        assert again.version == first.version


def test_a_skipped_file_that_stands_beside_a_picture_now_is_forgotten_at_once(
    tmp_path: Path, fake: FakeEncoder
) -> None:
    folder = write(tmp_path / "photos", {"a.JPG": picture(1), "a.CR2": b"no picture", "b.jpg": picture(2)})
    sync(folder, fake, apart=True)
    assert {path for path, *_ in skipped(tmp_path / "g")} == {"a.CR2"}
    first = sync(folder, fake)
    assert skipped(tmp_path / "g") == set()
    assert sync(folder, fake).version == first.version


def test_a_file_that_stays_an_item_is_not_counted_as_joined(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a.CR2": picture(1), "b.jpg": picture(2)})
    sync(folder, fake)
    write(folder, {"a.JPG": b"no picture"})
    for _ in range(2):
        counts = sync(folder, fake).images
        assert (counts.joined, counts.in_gallery) == (0, 2)


def test_what_stays_an_item_beside_a_damaged_file_is_renewed_by_the_same_run(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a.CR2": picture(1), "a.dng": picture(2), "b.jpg": picture(3)})
    sync(folder, fake)
    write(folder, {"a.JPG": b"no picture", "a.xmp": xmp("Of both")})
    encoded = fake.images_encoded
    first = sync(folder, fake)
    assert files_of(folder) == {"a.CR2": ["a.dng", "a.xmp"], "b.jpg": None}
    assert rows(folder)["a.CR2"]["title"] == "Of both"
    assert fake.images_encoded == encoded
    counts = first.images
    assert (counts.updated, counts.merged, counts.skipped, counts.joined, counts.in_gallery) == (1, 1, 1, 2, 2)
    again = sync(folder, fake)
    assert (again.version, again.images.unchanged, again.images.joined) == (first.version, 2, 2)


def test_files_of_one_content_keep_each_its_own_place(tmp_path: Path, fake: FakeEncoder) -> None:
    places = {"a.jpg": (38.7, -9.14), "b.jpg": (10.0, 20.0), "c.jpg": None}
    folder = write(tmp_path / "photos", dict.fromkeys(places, picture(1)))
    for name, place in places.items():
        if place is not None:
            said = {"geoData": {"latitude": place[0], "longitude": place[1]}}
            write(folder, {f"{name}.json": json.dumps(said).encode()})
    embed([folder], gallery=tmp_path / "g", encoder=fake, options=EmbedOptions(places=True))
    for name in places:
        os.utime(folder / name, ns=(1, 10**18))
    assert sync(folder, fake).images.reused == 3
    assert {name: row["lat"] and (row["lat"], row["lon"]) for name, row in rows(folder).items()} == places


def test_raw_data_beside_a_link_to_nothing_are_the_picture_at_once(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = write(tmp_path / "photos", {"a.CR2": picture(1), "b.jpg": picture(2)})
    (folder / "a.JPG").symlink_to(tmp_path / "disk.jpg")
    first = sync(folder, fake)
    for _ in range(2):
        assert files_of(folder) == {"a.CR2": None, "b.jpg": None}
        assert sync(folder, fake).version == first.version
    (tmp_path / "disk.jpg").write_bytes(picture(3))
    sync(folder, fake)
    assert files_of(folder) == {"a.JPG": ["a.CR2"], "b.jpg": None}
    (tmp_path / "disk.jpg").unlink()
    for _ in range(2):  # nothing is said of what is away
        sync(folder, fake)
        assert files_of(folder) == {"a.JPG": ["a.CR2"], "b.jpg": None}


def test_pictures_of_one_content_move_with_their_places_and_a_new_copy_has_none(
    tmp_path: Path, fake: FakeEncoder
) -> None:
    """What stands beside each of two equal files says where it was taken, and later runs do not ask for places."""
    folder = write(tmp_path / "photos", dict.fromkeys(("a.jpg", "b.jpg"), picture(1)))
    for name, lat in (("a.jpg", 10.0), ("b.jpg", 20.0)):
        write(folder, {f"{name}.json": json.dumps({"geoData": {"latitude": lat, "longitude": 5.0}}).encode()})
    embed([folder], gallery=tmp_path / "g", encoder=fake, options=EmbedOptions(places=True))
    (folder / "trip").mkdir()
    for file in [file for file in folder.iterdir() if file.is_file()]:
        file.rename(folder / "trip" / file.name)
    assert sync(folder, fake).images.moved == 2
    places = {"trip/a.jpg": 10.0, "trip/b.jpg": 20.0}
    assert {name: row["lat"] for name, row in rows(folder).items()} == places
    write(folder, {"copy.jpg": picture(1)})
    assert sync(folder, fake).images.moved == 0
    assert {name: row["lat"] for name, row in rows(folder).items()} == places | {"copy.jpg": None}
