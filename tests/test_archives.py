"""Pictures in archives: read in place, synced like a folder, and safe from whatever an archive claims."""

import io
import os
import random
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import EmbedOptions, EmbedReport, Selection, embed
from mmsearch.encoders import Pixels
from mmsearch.errors import MmsearchWarning, SourceError
from mmsearch.gallery import Gallery
from mmsearch.loading import load
from mmsearch.sources import archives as archives_module
from mmsearch.sources import file_in, list_container, read_location
from mmsearch.workers import Workers
from tests.archives import make_tar, make_zip
from tests.fakes import COLOURS, FakeEncoder, when_opened, write_picture
from tests.galleries import contents


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    """Name -> file content of six pictures."""
    files = [write_picture(tmp_path / "made" / f"{name}.png", name, seed=7) for name in COLOURS]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    return tmp_path / "shards"


def run(shards: Path, fake: FakeEncoder, **options: Any) -> EmbedReport:
    return embed([shards], gallery=shards.parent / "g", encoder=fake, options=EmbedOptions(**options))


def paths(gallery: Path) -> list[str]:
    return sorted(path for _, path in contents(gallery))


def skipped(gallery: Path) -> dict[str, str]:
    return {row.path: row.reason for row in Gallery.open(gallery).skipped_rows()}


def make_parquet(file: Path, rows: Sequence[bytes | None]) -> Path:
    """As Hugging Face datasets does, in small row groups."""
    image = pa.array([None if row is None else {"bytes": row, "path": "x.png"} for row in rows])
    table = pa.table({"image": image, "caption": [f"row {place} red" for place in range(len(rows))]})
    pq.write_table(table, file, row_group_size=4)
    return file


MAKE = {"tar": make_tar, "zip": make_zip}


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_members_have_the_vectors_and_rows_of_the_same_files(
    kind: str, shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    if kind == "parquet":
        make_parquet(shards / "a.parquet", list(pictures.values()))
        names = [f"a.parquet!/{place}" for place in range(6)]
    else:
        MAKE[kind](shards / f"a.{kind}", ((f"in/{name}", data) for name, data in pictures.items()))
        names = [f"a.{kind}!/in/{name}" for name in pictures]
    report = run(shards, fake)
    assert (report.images.added, report.images.skipped, fake.images_encoded) == (6, 0, 6)
    embed([shards.parent / "made"], gallery=shards.parent / "plain", encoder=FakeEncoder())
    found = {path: row for (_, path), row in contents(shards.parent / "g").items()}
    plain = {path: row for (_, path), row in contents(shards.parent / "plain").items()}
    assert set(found) == set(names)
    for name, original in zip(names, pictures, strict=True):
        (row, vector), (wanted, expected) = found[name], plain[original]
        assert np.array_equal(vector, expected)
        same = ("content_hash", "width", "height", "taken_at")
        assert [row[column] for column in same] == [wanted[column] for column in same]
        assert row["bytes"] == (None if kind == "parquet" else wanted["bytes"])
        assert row["mtime_ns"] == (shards / f"a.{kind}").stat().st_mtime_ns


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_an_unchanged_archive_costs_a_stat(
    kind: str, shards: Path, pictures: dict[str, bytes], fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with members that are skipped too."""
    if kind == "parquet":
        make_parquet(shards / "a.parquet", [*pictures.values(), b"no picture", None])
    else:
        MAKE[kind](shards / f"a.{kind}", [*pictures.items(), ("bad.jpg", b"no picture"), ("empty.jpg", b"")])
    write_picture(shards / "beside.png")
    first = run(shards, fake)
    assert (first.images.added, first.images.skipped) == (7, 2)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the archive was opened")

    for lister in archives_module._LISTERS:
        monkeypatch.setitem(archives_module._LISTERS, lister, opened)
    again = run(shards, fake)
    assert (again.images.unchanged, again.images.still_skipped, again.version) == (7, 2, first.version)


def test_the_life_of_an_archive(shards: Path, pictures: dict[str, bytes], fake: FakeEncoder) -> None:
    """Touched, moved, with members added, changed and removed, and removed itself, run after run."""
    archive = make_tar(shards / "a.tar", pictures.items())
    run(shards, fake)
    os.utime(archive, ns=(1, 1))
    touched = run(shards, fake)
    assert (touched.images.updated, touched.images.reused, fake.images_encoded) == (6, 6, 6)
    archive.rename(shards / "b.tar")
    moved = run(shards, fake)
    assert (moved.images.moved, moved.images.added, moved.images.deleted, fake.images_encoded) == (6, 0, 0, 6)
    assert run(shards, fake).images.unchanged == 6

    other = write_picture(shards.parent / "other.png", "blue", seed=99).read_bytes()
    changed = {**pictures, "red.png": other, "new.png": other + b"\0"}
    del changed["black.png"]
    make_tar(shards / "b.tar", changed.items())
    report = run(shards, fake)
    assert (report.images.added, report.images.updated, report.images.deleted) == (1, 5, 1)
    assert fake.images_encoded == 8
    assert paths(shards.parent / "g") == sorted(f"b.tar!/{name}" for name in changed)

    write_picture(shards / "plain.png")
    (shards / "b.tar").unlink()
    assert (run(shards, fake).images.deleted, paths(shards.parent / "g")) == (6, ["plain.png"])


def test_a_named_archive_mirrors_its_members_and_nothing_else(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    """Its folder becomes a root of which only it belongs to the gallery, also when all roots are synced."""
    archive = make_zip(shards / "a.zip", pictures.items())
    write_picture(shards / "beside.png")
    gallery = shards.parent / "g"
    embed([archive], gallery=gallery, encoder=fake)
    assert len(paths(gallery)) == 6
    assert embed(gallery=gallery, encoder=fake).images.unchanged == 6
    make_zip(archive, list(pictures.items())[:4])
    os.utime(archive, ns=(5, 5))
    assert embed([archive], gallery=gallery, encoder=fake).images.deleted == 2
    assert embed([shards], gallery=gallery, encoder=fake).total_images == 5  # named whole, it is one


def test_an_interrupted_archive_is_continued(shards: Path, pictures: dict[str, bytes]) -> None:
    make_tar(shards / "a.tar", [*pictures.items(), ("bad.jpg", b"no")])

    class Interrupted(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if self.images_encoded >= 2:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    options = EmbedOptions(batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        embed([shards], gallery=shards.parent / "g", encoder=Interrupted(), options=options)
    fake = FakeEncoder()
    report = run(shards, fake)
    images = report.images  # the skipped one may have been written before the interruption, or not
    assert (images.unchanged, images.added, images.skipped + images.still_skipped) == (2, 4, 1)
    assert run(shards, fake).images.unchanged == 6


def test_hostile_members_are_skipped_with_a_reason(shards: Path, pictures: dict[str, bytes], fake: FakeEncoder) -> None:
    good = pictures["red.png"]
    with tarfile.open(shards / "a.tar", "w") as archive:

        def add(name: str, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))

        add("/absolute/./red.png", good)
        add("../../escape.png", good)
        add("inner.zip", b"PK\3\4")
        add("link.png", type=tarfile.LNKTYPE, linkname="/absolute/red.png")
        add("nowhere.png", type=tarfile.LNKTYPE, linkname="gone.png")
        add("symbolic.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add("device.png", type=tarfile.CHRTYPE)
        add("twice.png", pictures["blue.png"])
        add("twice.png", pictures["green.png"])
        add(".hidden.png", good)
        add("notes", b"these are notes")
    with pytest.warns(UserWarning, match="1 names twice; the last"):
        report = run(shards, fake)
    gallery = shards.parent / "g"
    assert paths(gallery) == ["a.tar!/absolute/red.png", "a.tar!/link.png", "a.tar!/twice.png"]
    rows = contents(gallery)
    twice = next(vector for (_, path), (_, vector) in rows.items() if path.endswith("twice.png"))
    embed([shards.parent / "made" / "green.png"], gallery=shards.parent / "one", encoder=fake)
    assert np.array_equal(twice, next(iter(contents(shards.parent / "one").values()))[1])
    assert skipped(gallery) == {
        "a.tar!/../../escape.png": "its name leads out of the archive",
        "a.tar!/inner.zip": "an archive inside of an archive is not opened",
        "a.tar!/nowhere.png": "a link to a member that is not there",
        "a.tar!/notes": "not an image",
    }
    assert report.images.added == 3
    assert run(shards, fake).images.unchanged == 3


def test_what_a_zip_may_do_to_its_members(shards: Path, pictures: dict[str, bytes], fake: FakeEncoder) -> None:
    """Encrypted, compressed in other ways, damaged, and bombs of zeros, which are never unpacked whole."""
    good = pictures["red.png"]
    with zipfile.ZipFile(shards / "a.zip", "w") as archive:
        archive.writestr("stored.png", good)
        archive.writestr("bzip2.png", pictures["blue.png"], zipfile.ZIP_BZIP2)
        archive.writestr("lzma.png", pictures["green.png"], zipfile.ZIP_LZMA)
        archive.writestr("damaged.png", pictures["white.png"])
        archive.writestr("secret.png", pictures["black.png"])
        archive.writestr("bomb.png", bytes(64 << 20), zipfile.ZIP_DEFLATED)
        archive.writestr("__MACOSX/._red.png", b"resource fork")
        archive.writestr("folder/", b"")
    data = bytearray((shards / "a.zip").read_bytes())
    place = data.index(pictures["white.png"])
    data[place + 100] ^= 0xFF
    for header, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag of encryption, in both places
        start = 0
        while (start := data.find(header, start)) >= 0:
            name = start + (30 if header == b"PK\3\4" else 46)
            if data[name:].startswith(b"secret.png"):
                data[start + offset] |= 1
            start += 4
    (shards / "a.zip").write_bytes(data)
    run(shards, fake)
    assert paths(shards.parent / "g") == ["a.zip!/bzip2.png", "a.zip!/lzma.png", "a.zip!/stored.png"]
    reasons = skipped(shards.parent / "g")
    assert reasons["a.zip!/secret.png"] == "encrypted"
    assert reasons["a.zip!/bomb.png"] == "not an image"
    assert "Bad CRC-32" in reasons["a.zip!/damaged.png"]
    assert len(reasons) == 3


def test_a_truncated_tar_gives_what_it_has_and_loses_nothing(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    """What an earlier, whole one held is unknown, not vanished; and the whole one is taken in again when it is back."""
    archive = make_tar(shards / "a.tar", pictures.items())
    whole = archive.read_bytes()
    run(shards, fake)
    archive.write_bytes(whole[: len(whole) // 2])
    report = run(shards, fake)
    reasons = skipped(shards.parent / "g")
    assert list(reasons) == ["a.tar"]
    assert "truncated tar: it ends after" in reasons["a.tar"]
    assert (report.images.deleted, report.total_images) == (0, 6)
    assert 2 <= report.images.reused <= 4
    version = report.version
    assert run(shards, fake).version == version
    archive.write_bytes(whole)
    os.utime(archive, ns=(9, 9))
    assert run(shards, fake).total_images == 6
    assert skipped(shards.parent / "g") == {}


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_its_end(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    """What comes after it is unknown, so that its pictures stay."""
    archive = make_tar(shards / "a.tar", pictures.items())
    run(shards, fake)
    data = bytearray(archive.read_bytes())
    data[data.index(b"yellow.png") + 120] ^= 0xFF
    archive.write_bytes(data)
    os.utime(archive, ns=(6, 6))
    report = run(shards, fake)
    assert (report.images.deleted, report.total_images, report.images.reused) == (0, 6, 3)
    assert "is no header" in skipped(shards.parent / "g")["a.tar"]


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_mutated_archives_raise_nothing_else(kind: str, shards: Path, pictures: dict[str, bytes]) -> None:
    """Whatever bytes an archive is made of: members, or a reason why not; each within seconds."""
    members = [("long" * 40 + ".png", pictures["red.png"]), *pictures.items()]
    if kind == "parquet":
        make_parquet(shards / "a.parquet", list(pictures.values()))
    else:
        MAKE[kind](shards / f"a.{kind}", members)
    whole = (shards / f"a.{kind}").read_bytes()
    rng = random.Random(7)
    encoder, workers = FakeEncoder(), Workers(2, "test")
    damaged = refused = 0
    for attempt in range(200):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            place, what = rng.randrange(len(data)), rng.random()
            if what < 0.6:
                data[place] = rng.randrange(256)
            elif what < 0.8:
                data[place : place + 20] = bytes([rng.choice((0, 0x80, 0xFF))]) * 20
            elif what < 0.9:
                other = rng.randrange(len(data))
                data[place : place + 512] = data[other : other + 512]
            elif len(data) > 1000:
                del data[max(place, 1000) :]
        file = shards / f"{attempt}.{kind}"
        file.write_bytes(data)
        started = time.monotonic()
        listing = list_container(file_in(shards, file))
        damaged += listing.damaged is not None
        pictures_of_it = load(iter(listing.members), lambda: encoder.image, workers, 2)
        refused += sum(picture.error is not None for picture in pictures_of_it)
        assert time.monotonic() - started < 60
        file.unlink()
    workers.__exit__()
    assert damaged > 10
    assert refused > 10


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.tar", b"<html>not found</html>" * 100, "not a tar"),
        ("a.tar", b"", "empty file"),
        ("a.zip", b"PK\3\4 and then nothing", "truncated, or not a zip"),
        ("a.zip", b"", "empty file"),
        ("a.parquet", b"PAR1 no", "not a Parquet file"),
        ("a.tar.gz", b"\x1f\x8b", "unpack it"),
        ("a.7z", b"7z", "unpack it"),
    ],
)
def test_what_is_no_archive_is_a_skipped_row(
    name: str, data: bytes, reason: str, shards: Path, fake: FakeEncoder
) -> None:
    (shards / name).write_bytes(data)
    write_picture(shards / "good.png")
    report = run(shards, fake)
    assert report.images.added == 1
    assert reason in skipped(shards.parent / "g")[name]
    assert run(shards, fake).version == report.version


def test_a_tar_header_that_wants_gigabytes_is_refused(shards: Path, fake: FakeEncoder) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (shards / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    write_picture(shards / "good.png")
    run(shards, fake)
    assert "a header of" in skipped(shards.parent / "g")["a.tar"]


def test_a_member_of_absurd_size_is_not_believed(shards: Path, fake: FakeEncoder) -> None:
    info = tarfile.TarInfo("huge.png")
    info.size = 1 << 50
    (shards / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\x89PNG\r\n\x1a\n" + bytes(2000))
    write_picture(shards / "good.png")
    run(shards, fake)
    assert "1,125,899,906,842,624 bytes of huge.png" in skipped(shards.parent / "g")["a.tar"]


def test_an_archive_that_changes_while_it_is_read_is_tried_again(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_tar(shards / "a.tar", pictures.items())
    write_picture(shards / "good.png")
    with monkeypatch.context() as patch:
        when_opened(patch, lambda _: os.utime(archive, ns=(3, 3)))
        report = run(shards, fake)
    assert report.images.skipped_reasons == (("its archive changed since it was listed", 6),)
    assert run(shards, fake).total_images == 7
    assert skipped(shards.parent / "g") == {}


def test_an_archive_that_may_not_be_read_keeps_its_pictures(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tar(shards / "a.tar", pictures.items())
    run(shards, fake)
    os.utime(shards / "a.tar", ns=(4, 4))

    def refused(_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(archives_module._LISTERS, "tar", refused)
    report = run(shards, fake)
    assert report.images.unreadable == ((str(shards / "a.tar"), "Permission denied"),)
    assert report.total_images == 6
    with pytest.raises(SourceError, match=r"nothing of what was named can be read: .*/a\.tar: Permission denied"):
        embed([shards / "a.tar"], gallery=shards.parent / "g", encoder=fake)
    assert len(paths(shards.parent / "g")) == 6


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_names_with_backslashes_are_said_and_found(
    make: Callable[..., Path], shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    """As old programs on Windows write them: in folders there, and so they stand in folders here."""
    archive = make(shards / f"a.{make.__name__[5:]}", [(f"trip\\{name}", data) for name, data in pictures.items()])
    with pytest.warns(MmsearchWarning, match=r"holds 6 names with backslashes; they stand here with slashes"):
        run(shards, fake)
    assert paths(shards.parent / "g") == sorted(f"{archive.name}!/trip/{name}" for name in pictures)
    assert read_location(f"{archive}!/trip/red.png") == pictures["red.png"]
    assert run(shards, fake).images.unchanged == 6  # an archive that is not listed again is not spoken of again


def test_rows_of_parquet_in_any_order(shards: Path, pictures: dict[str, bytes], fake: FakeEncoder) -> None:
    """Forty rows in row groups of four, of which a first run takes some; a plain binary column too."""
    many = [
        write_picture(shards.parent / "many" / f"{place}.png", seed=100 + place).read_bytes() for place in range(40)
    ]
    make_parquet(shards / "a.parquet", many)
    pq.write_table(pa.table({"jpg": pa.array(list(pictures.values()), pa.large_binary())}), shards / "b.parquet")
    selection = Selection(include=("a.parquet!/3", "a.parquet!/39", "a.parquet!/17"))
    first = embed([shards], gallery=shards.parent / "g", encoder=fake, selection=selection)
    assert first.images.added == 3
    assert run(shards, fake).total_images == 46
    assert fake.images_encoded == 46
    rows = {path: row for (_, path), row in contents(shards.parent / "g").items()}
    embed([shards.parent / "many"], gallery=shards.parent / "plain", encoder=fake)
    plain = {path: row for (_, path), row in contents(shards.parent / "plain").items()}
    for place in range(40):
        assert np.array_equal(rows[f"a.parquet!/{place}"][1], plain[f"{place}.png"][1])


def test_hidden_members_are_taken_in_on_request_and_stay(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    make_tar(shards / "a.tar", [("red.png", pictures["red.png"]), (".blue.png", pictures["blue.png"])])
    write_picture(shards / ".plain.png", "green", seed=4)
    assert run(shards, fake).total_images == 1
    hidden = embed([shards], gallery=shards.parent / "g", encoder=fake, selection=Selection(hidden=True))
    assert (hidden.total_images, hidden.images.unchanged) == (3, 1)
    again = run(shards, fake)
    assert (again.total_images, again.version) == (3, hidden.version)


def test_hidden_members_of_a_named_archive_stay_when_it_changes(
    shards: Path, pictures: dict[str, bytes], fake: FakeEncoder
) -> None:
    """A run that does not look at them does not know that they are gone."""
    archive = make_tar(shards / "a.tar", [("red.png", pictures["red.png"]), (".blue.png", pictures["blue.png"])])
    embed([archive], gallery=shards.parent / "g", encoder=fake, selection=Selection(hidden=True))
    make_tar(archive, [("green.png", pictures["green.png"])])
    os.utime(archive, ns=(8, 8))
    embed([archive], gallery=shards.parent / "g", encoder=fake)
    assert paths(shards.parent / "g") == ["a.tar!/.blue.png", "a.tar!/green.png"]
    embed([archive], gallery=shards.parent / "g", encoder=fake, selection=Selection(hidden=True))
    assert paths(shards.parent / "g") == ["a.tar!/green.png"]


def test_a_real_webdataset_shard(shared_data: Path, tmp_path: Path, fake: FakeEncoder) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    shutil.copy(shared_data / "clip_retrieval_outputs" / "webdataset" / "image4.tar", folder)
    assert run(folder, fake).images.added == 2
    rows = {path: (row["width"], row["height"]) for (_, path), (row, _) in contents(tmp_path / "g").items()}
    assert rows == {"image4.tar!/321_421.jpg": (321, 421), "image4.tar!/389_535.jpg": (389, 535)}
