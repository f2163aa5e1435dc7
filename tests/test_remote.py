"""Galleries and pictures in an S3 (moto's, on loopback): every command, every way in which a store can fail."""

import filecmp
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import mmsearch as library
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.encoders import Pixels
from mmsearch.errors import (
    CommitConflict,
    GalleryError,
    GalleryNotFound,
    MmsearchError,
    MmsearchWarning,
    PruneRefused,
    StoreError,
)
from mmsearch.file_ranges import RangedFile
from mmsearch.gallery import Gallery, open_writer, update_rows
from mmsearch.identity import EncoderIdentity
from mmsearch.items import IMAGES, ImageRow
from mmsearch.loading import load
from mmsearch.locations import Location, Url, joined, located, redacted
from mmsearch.render.collecting import collect
from mmsearch.search.open_gallery import open_gallery
from mmsearch.sources import FolderWalk, read_location
from mmsearch.stores import local_copies, objects, open_store
from mmsearch.stores.local_copies import LocalCopies
from mmsearch.upkeep.maintenance import relocate
from mmsearch.workers import Workers
from scripts.s3_server import CREDENTIALS, Proxy
from tests.archives import make_tar
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import contents
from tests.rendered_films import render_scenes
from tests.s3 import bucket, files_of, server, through
from tests.test_import import vectors, write_output

__all__ = ["bucket", "server"]  # fixtures

SECRET = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
ODD_NAMES = (
    "a b.png",
    "ü ß 日本.png",
    "100%.png",
    "q?x=1&y.png",
    "hash#1.png",
    "[a]*.png",
    "it's;$HOME.png",
    "%41.png",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits between tries."""
    monkeypatch.setattr(objects, "_FIRST_WAIT", 0.01)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures in two folders, some with odd names."""
    names = [*ODD_NAMES, "c.png", "d.png", "deep/er/e.png", "deep/f.png"]
    for place, name in enumerate(names):
        write_picture(tmp_path / "photos" / name, list(COLOURS)[place % 6], seed=place)
    return tmp_path / "photos"


@pytest.fixture
def remote(photos: Path, bucket: Url) -> Url:
    """The same pictures in a bucket."""
    for file in photos.rglob("*.png"):
        put(bucket / "photos" / file.relative_to(photos).as_posix(), file.read_bytes())
    return bucket / "photos"


def put(url: Url, data: bytes) -> None:
    files_of(url.scheme).pipe_file(url.key, data)


def picture(colour: str, seed: int, tmp_path: Path) -> bytes:
    return write_picture(tmp_path / "one.png", colour, seed=seed).read_bytes()


def begun(place: Url) -> bool:
    return bool(open_store(place).names("manifests"))


def remote_contents(place: Url) -> dict[str, Any]:
    return {path: row["content_hash"] for (_, path), (row, _) in contents(place).items()}


def test_headers_in_a_bucket_are_read_again(mmsearch: Command, remote: Url, bucket: Url, tmp_path: Path) -> None:
    """An object that was replaced is left to the next sync."""
    place = bucket / "g"
    assert mmsearch("embed", remote, "-g", place, "--model", "fake").code == 0
    before = Gallery.open(place).manifest.version
    assert "12 read: 0 changed, 12 unchanged" in mmsearch("embed", "--refresh", "-g", place).out
    assert Gallery.open(place).manifest.version == before
    with open_writer(place, command="test") as writer:
        (shard,) = writer.gallery.shards("images")
        updates = {row_id: {"camera": "another"} for row_id, _ in writer.gallery.records_in(IMAGES, shard)}
        writer.rewrite(partial(update_rows, table="images", shard=shard, updates=updates))
    put(remote / "c.png", picture("green", 7, tmp_path))
    done = mmsearch("embed", "--refresh", "-g", place)
    assert (done.code, "11 read: 11 changed, 0 unchanged" in done.out) == (0, True), (done.out, done.err)
    assert "passed by 1 whose files were changed since they were embedded" in done.out
    cameras = [row.camera for _, row in Gallery.open(place).all_records(IMAGES)]
    assert sorted(map(str, cameras)) == [*["None"] * 11, "another"]


def test_every_command(mmsearch: Command, remote: Url, bucket: Url, photos: Path, tmp_path: Path) -> None:
    """The life of a gallery that never was on a disk, from pictures that never were."""
    place = bucket / "g"
    put(bucket / "captions.csv", b"image,caption\nphotos/c.png,a white picture\nphotos/d.png,a black one\n")
    found = mmsearch("embed", remote, "--captions", bucket / "captions.csv", "-g", place, "--model", "fake")
    assert (found.code, found.out.splitlines()[:3]) == (
        0,
        [
            f"gallery   {place} (version 2, fake)",
            "pictures  12 in the gallery: 12 added, 0 updated, 0 deleted, 0 unchanged",
            "captions  2 in the gallery: 2 added, 0 updated, 0 deleted, 0 unchanged",
        ],
    ), found.err
    again = mmsearch("embed", "-g", place)
    assert "0 added, 0 updated, 0 deleted, 12 unchanged" in again.out
    assert mmsearch("index", "-g", place).code == 0
    answer = mmsearch("query", "red", "-k", "1", "--format", "jsonl", "-g", place)
    hit = json.loads(answer.out)
    assert (hit["file"], hit["gone"]) == (f"{remote}/{hit['path']}", False)
    assert (
        mmsearch("query", "--image", hit["file"], "-k", "1", "--format", "paths", "-g", place).out == f"{hit['file']}\n"
    )
    assert mmsearch("query", "--like", hit["file"], "-k", "1", "-g", place).code == 0
    shown = mmsearch("info", "--format", "json", "-g", place)
    held = json.loads(shown.out)
    assert (held["path"], held["images"], held["roots"][0]["path"]) == (str(place), 12, str(remote))
    assert (held["roots"][0]["present"], held["indexes"][0]["damaged"]) == (True, None)
    assert "text_to_image" in mmsearch("eval", "gallery", place).out
    for target in (bucket / "out/rows.parquet", tmp_path / "rows.parquet"):
        assert mmsearch("export", target, "-g", place).code == 0
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 12
    assert files_of("s3").cat_file((bucket / "out/rows.parquet").key) == (tmp_path / "rows.parquet").read_bytes()
    files_of("s3").rm_file((remote / "c.png").key)
    assert "1 deleted" in mmsearch("embed", "-g", place).out
    assert mmsearch("compact", "-g", place, "--grace", "0").code == 0
    moved = mmsearch("relocate", remote, photos, "-g", place)
    assert moved.out == f"{place}: {remote} is now {photos}\n"
    assert mmsearch("forget", photos, "-g", place).code == 0
    assert json.loads(mmsearch("info", "--format", "json", "-g", place).out)["images"] == 0


def test_a_gallery_in_a_store_equals_one_on_a_disk(remote: Url, photos: Path, bucket: Url, tmp_path: Path) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    there, here = contents(bucket / "g"), contents(tmp_path / "g")
    assert there.keys() == here.keys()
    for key, (row, vector) in there.items():
        same = ("path", "bytes", "content_hash", "width", "height")
        assert [row[name] for name in same] == [here[key][0][name] for name in same]
        assert row["etag"]
        assert vector.tolist() == here[key][1].tolist()
    manifest = Gallery.open(bucket / "g").manifest
    assert [root.uri for root in manifest.roots] == [str(remote)]


def test_a_gallery_on_a_disk_of_pictures_in_a_store(remote: Url, tmp_path: Path) -> None:
    embed([remote], gallery=tmp_path / "g", encoder=FakeEncoder())
    hits = open_gallery(tmp_path / "g", encoder=FakeEncoder()).query("red", k=2)
    assert all(hit.file == f"{remote}/{hit.path}" for hit in hits)
    answer = library.Answer(library.Query.of("red"), hits)
    assert library.contact_sheet([answer], tmp_path / "sheet.png").stat().st_size > 1000
    page = library.html_page([answer], tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 2
    copied = library.collect(hits, tmp_path / "copies")
    assert ([file.name[:2] for file in copied.copied], copied.failed) == (["1-", "2-"], ()) or copied.failed == []
    assert len(library.collect(hits, tmp_path / "copies").present) == 2
    files_of("s3").rm_file(Url(hits[0].file or "").key)
    assert library.collect(hits, tmp_path / "others").failed == [(hits[0].file, "gone since it was embedded")]


def test_the_etag_decides_about_change(remote: Url, bucket: Url, tmp_path: Path) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    same = files_of("s3").cat_file((remote / "c.png").key)
    time.sleep(1.1)  # S3 keeps times in seconds
    put(remote / "c.png", same)
    put(remote / "d.png", picture("red", 77, tmp_path))
    fake = FakeEncoder()
    counts = embed([], gallery=bucket / "g", encoder=fake).images
    assert (counts.updated, counts.unchanged, fake.images_encoded) == (1, 11, 1)


def test_an_import_into_a_store(bucket: Url, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"image_path": f"/data/{place}.jpg", "caption": str(place)} for place in range(5)]
    write_output(tmp_path / "output", 0, rows, vectors(5))
    with pytest.warns(MmsearchWarning, match="declared"):
        report = library.import_vectors(tmp_path / "output", model="ViT-B/32", gallery=bucket / "g")
    assert (report.images, report.captions, str(report.gallery)) == (5, 5, f"{bucket}/g")
    assert library.info(bucket / "g").images == 5


def test_odd_keys(bucket: Url, tmp_path: Path) -> None:
    """What cannot be a path is said and left; markers of folders are no pictures."""
    root = bucket / "photos"
    raw = files_of("s3")
    put(root / "fine.png", picture("red", 1, tmp_path))
    for key in ("photos//double.png", "photos/a//b.png", "photos/folder/", "photos/./dot.png", "photos/../up.png"):
        raw.call_s3("put_object", Bucket=bucket.key, Key=key, Body=picture("blue", 2, tmp_path))
    raw.call_s3("put_object", Bucket=bucket.key, Key="photos/", Body=b"")
    report = embed([root], gallery=bucket / "g", encoder=FakeEncoder())
    assert list(remote_contents(bucket / "g")) == ["fine.png"]
    assert len(report.images.unreadable) >= 3
    assert all("cannot be read" in reason for _, reason in report.images.unreadable)
    assert embed([], gallery=bucket / "g", encoder=FakeEncoder()).images.unchanged == 1


def test_files_lists_archives_and_captions(remote: Url, bucket: Url, tmp_path: Path) -> None:
    one = picture("red", 50, tmp_path)
    archive, packed, table = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in (("x.png", one), ("x.txt", b"a red thing")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("y.png", picture("blue", 51, tmp_path))
    pq.write_table(pa.table({"image": pa.array([picture("white", 52, tmp_path)], pa.binary())}), table)
    for name, stream in (("a.tar", archive), ("b.zip", packed), ("c.parquet", table)):
        put(bucket / "packed" / name, stream.getvalue())
    put(bucket / "lists/few.txt", b"../photos/c.png\n" + f"{remote}/deep/f.png\nhttps://example.org/x.png\n".encode())
    (tmp_path / "local.csv").write_text(f"path\n{remote}/d.png\ns3://KEY:{SECRET}@bucket/x.png\n")
    lists = io.BytesIO()
    pq.write_table(pa.table({"path": [f"{remote}/a b.png"]}), lists)
    put(bucket / "lists/more.parquet", lists.getvalue())
    said: list[str] = []
    named: list[Location] = [
        bucket / "lists/few.txt",
        tmp_path / "local.csv",
        bucket / "lists/more.parquet",
        remote / "100%.png",
    ]
    embed(named, gallery=bucket / "g", encoder=FakeEncoder(), announce=said.append)
    embed([bucket / "packed"], captions=[bucket / "packed"], gallery=bucket / "g", encoder=FakeEncoder())
    assert sorted(remote_contents(bucket / "g")) == [
        "100%.png", "a b.png", "a.tar!/x.png", "b.zip!/y.png", "c.parquet!/0", "c.png", "d.png", "deep/f.png",
    ]  # fmt: skip
    assert SECRET not in "".join(said)
    assert [row.path for _, row in Gallery.open(bucket / "g").all_captions()] == ["a.tar!/x.png"]
    again = embed([], gallery=bucket / "g", encoder=FakeEncoder()).images
    assert (again.unchanged, again.added) == (8, 0)
    hit = open_gallery(bucket / "g", encoder=FakeEncoder()).query(image=f"{bucket}/packed/a.tar!/x.png", k=1)[0]
    assert hit.file == f"{bucket}/packed/a.tar!/x.png"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("absent", "there is no such bucket as s3://"),
        ("denied", "cannot look at .*access denied"),
        ("gone", "not there"),
    ],
)
def test_a_source_that_is_not_there_erases_nothing(
    where: str, message: str, remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())

    def denied(_: str, path: str) -> int | None:
        return 403 if where == "denied" and "photos" in path else None

    if where == "gone":
        files_of("s3").rm(remote.key, recursive=True)
    with Proxy(server, fault=denied) as proxy, through(proxy.address, monkeypatch):
        asked = {"absent": [Url("s3://there-is-no-such-bucket/photos")], "denied": [remote], "gone": []}[where]
        with pytest.raises(MmsearchError, match=message):
            embed(asked, gallery=bucket / "g", encoder=FakeEncoder())
    assert Gallery.open(bucket / "g").live_rows("images") == 12


def test_a_folder_that_may_not_be_listed_is_unknown(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    files_of("s3").rm_file((remote / "d.png").key)

    def denied(_: str, path: str) -> int | None:
        return 403 if "prefix=photos%2Fdeep%2F" in path else None

    with Proxy(server, fault=denied) as proxy, through(proxy.address, monkeypatch):
        images = embed([], gallery=bucket / "g", encoder=FakeEncoder()).images
    ((folder, reason),) = images.unreadable
    assert (folder, "access denied" in reason, images.deleted, images.unchanged) == (f"{remote}/deep", True, 1, 9)
    assert Gallery.open(bucket / "g").live_rows("images") == 11


def test_a_changed_archive_is_read_again(bucket: Url, tmp_path: Path) -> None:
    def zipped(*names: str) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for place, name in enumerate(names):
                archive.writestr(name, picture("red", place, tmp_path))
        return stream.getvalue()

    put(bucket / "packed/a.zip", zipped("x.png", "y.png"))
    embed([bucket / "packed"], gallery=bucket / "g", encoder=FakeEncoder())
    put(bucket / "packed/a.zip", zipped("x.png", "y.png", "z.png"))
    fake = FakeEncoder()
    counts = embed([], gallery=bucket / "g", encoder=fake).images
    assert (counts.added, counts.updated, counts.reused, fake.images_encoded) == (1, 2, 2, 1)
    assert sorted(remote_contents(bucket / "g")) == ["a.zip!/x.png", "a.zip!/y.png", "a.zip!/z.png"]


def test_a_film_in_an_archive(bucket: Url, tmp_path: Path) -> None:
    film = render_scenes(tmp_path / "clip.mp4", [("red", 2.0), ("blue", 2.0)])
    put(bucket / "packed/a.tar", make_tar(tmp_path / "a.tar", [("clip.mp4", film.read_bytes())]).read_bytes())
    gallery = bucket / "g"
    assert embed([bucket / "packed"], gallery=gallery, encoder=FakeEncoder()).images.added == 2
    assert embed([bucket / "packed"], gallery=gallery, encoder=FakeEncoder()).images.unchanged == 2
    hit = open_gallery(gallery, encoder=FakeEncoder()).query("blue", k=1)[0]
    assert hit.file == f"{bucket}/packed/a.tar!/clip.mp4!/t=2"
    assert read_location(hit.file).startswith(b"\x89PNG")
    copied = collect([hit], tmp_path / "to").copied[0]
    assert copied.read_bytes() == film.read_bytes()


def test_the_guard_against_deletes_holds(bucket: Url, tmp_path: Path) -> None:
    for place in range(120):
        put(bucket / f"photos/{place}.png", picture("red", place, tmp_path))
    embed([bucket / "photos"], gallery=bucket / "g", encoder=FakeEncoder())
    for place in range(110):
        files_of("s3").rm_file(f"{bucket.key}/photos/{place}.png")
    with pytest.raises(PruneRefused):
        embed([], gallery=bucket / "g", encoder=FakeEncoder())
    assert (
        embed([], gallery=bucket / "g", encoder=FakeEncoder(), options=EmbedOptions(prune=True)).images.deleted == 110
    )


def test_a_gallery_inside_a_root_is_passed_by(bucket: Url, tmp_path: Path) -> None:
    put(bucket / "photos/a.png", picture("red", 1, tmp_path))
    for _ in range(2):
        report = embed([bucket / "photos"], gallery=bucket / "photos/.mm", encoder=FakeEncoder())
        assert (report.total_images, report.images.skipped) == (1, 0)


# Failures


def flaky(times: int, what: int | str, only: Callable[[str, str], bool]) -> Callable[[str, str], int | str | None]:
    """Each request that `only` picks fails so many times before it comes through."""
    seen: dict[tuple[str, str], int] = {}

    def fault(method: str, path: str) -> int | str | None:
        if not only(method, path):
            return None
        seen[method, path] = seen.get((method, path), 0) + 1
        return what if seen[method, path] <= times else None

    return fault


@pytest.mark.parametrize("what", [503, *(pytest.param(each, marks=pytest.mark.soak) for each in (500, 429, "drop"))])
def test_every_request_fails_twice_and_all_goes_well(
    what: int | str, remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(server, fault=flaky(2, what, lambda *_: True)) as proxy, through(proxy.address, monkeypatch):
        report = embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
        assert (report.images.added, report.images.skipped) == (12, 0)
        library.index(bucket / "g")
        assert len(open_gallery(bucket / "g", encoder=FakeEncoder()).query("red", k=12)) == 12


def test_a_store_that_never_answers_is_given_up(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    with Proxy(server, fault=lambda *_: 503) as proxy, through(proxy.address, monkeypatch):
        with pytest.raises(StoreError, match=r"cannot read s3://.*/g/manifests: no answer in 6 tries over \d+ s"):
            Gallery.open(bucket / "g")
        assert proxy.requests.total() <= 12


def test_objects_that_cannot_be_read_stay_unknown(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(method: str, path: str) -> int | None:
        return 503 if method == "GET" and path.endswith("c.png") else None

    with Proxy(server, fault=broken) as proxy, through(proxy.address, monkeypatch):
        report = embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
        assert (report.images.added, report.images.skipped) == (11, 1)
    assert embed([], gallery=bucket / "g", encoder=FakeEncoder()).images.added == 1


def manifests_put(method: str, path: str) -> bool:
    return method == "PUT" and "/manifests/0" in path


def test_a_commit_whose_answer_was_lost_is_our_own(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try finds the name taken, by the first."""
    with Proxy(server, fault=flaky(1, "lose", manifests_put)) as proxy, through(proxy.address, monkeypatch):
        assert embed([remote], gallery=bucket / "g", encoder=FakeEncoder()).version == 1
    assert Gallery.open(bucket / "g").live_rows("images") == 12


def test_a_commit_that_fails_to_the_end_is_said_and_repeated(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Proxy(server, fault=lambda *request: 503 if manifests_put(*request) else None) as proxy,
        through(proxy.address, monkeypatch),
        pytest.raises(StoreError, match="Nothing committed before is lost"),
    ):
        embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    assert embed([remote], gallery=bucket / "g", encoder=FakeEncoder()).images.added == 12


def test_of_two_embeds_at_once_one_fails_and_nothing_is_lost(remote: Url, bucket: Url, tmp_path: Path) -> None:
    """There is no lock in an object store; the one that commits second is told, and runs again."""
    put(bucket / "more/x.png", picture("red", 90, tmp_path))

    class Meanwhile(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if not begun(bucket / "g"):
                embed([bucket / "more"], gallery=bucket / "g", encoder=FakeEncoder())
            return super().encode_images(pixels)

    with pytest.raises(CommitConflict, match="run the same command again"):
        embed([remote], gallery=bucket / "g", encoder=Meanwhile())
    assert list(remote_contents(bucket / "g")) == ["x.png"]
    assert embed([remote], gallery=bucket / "g", encoder=FakeEncoder()).total_images == 13


def test_a_store_that_does_not_keep_its_word_is_refused(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers take If-None-Match and do not look at it; two writers would both win."""
    with (
        Proxy(server, without="If-None-Match") as proxy,
        through(proxy.address, monkeypatch),
        pytest.raises(StoreError, match="took a second object of one name"),
    ):
        embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    assert not files_of("s3").exists((bucket / "g").key)


def test_a_scheme_without_conditional_puts_is_read_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_CREATES", ())
    objects.objects_of.cache_clear()
    with (
        pytest.raises(StoreError, match="create an object only if it is absent"),
        open_writer(Url("memory://x/g"), command="test"),
    ):
        pass
    objects.objects_of.cache_clear()


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(StoreError, match=r"gs:// needs gcsfs: pip install 'mmsearch\[gs\]'"):
        Gallery.open("gs://bucket/g")
    with pytest.raises(StoreError, match="nonsense:// is no scheme that fsspec knows"):
        Gallery.open("nonsense://bucket/g")


def test_a_damaged_shard_is_named(remote: Url, bucket: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    gallery = Gallery.open(bucket / "g")
    shard = gallery.shard_path("images", gallery.shards("images")[0])
    assert isinstance(shard, Url)
    put(shard, files_of("s3").cat_file(shard.key)[:-10])
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another machine"))
    with pytest.raises(GalleryError, match=r"bytes came instead of"):
        open_gallery(bucket / "g", encoder=FakeEncoder()).query("red")
    files_of("s3").rm_file(shard.key)
    with pytest.raises(GalleryError, match=r"is missing from s3://.*, which names it"):
        open_gallery(bucket / "g", encoder=FakeEncoder()).query("red")


KILLED = """
import sys
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.gallery import gallery_writer
from tests.fakes import FakeEncoder
gallery_writer.COMMIT_SECONDS = 0.0
embed([sys.argv[1]], gallery=sys.argv[2], encoder=FakeEncoder(), options=EmbedOptions(batch_size=1, threads=1))
"""


@pytest.mark.parametrize("upload", [2, *(pytest.param(each, marks=pytest.mark.soak) for each in (1, *range(3, 16)))])
def test_killed_in_the_middle_of_an_upload_and_run_again(
    upload: int, remote: Url, photos: Path, bucket: Url, server: str, tmp_path: Path
) -> None:
    """Of shards and of manifests: what is there is whole, and the same command finishes the job."""
    process: list[subprocess.Popen[bytes]] = []
    seen = 0

    def kill(method: str, path: str) -> str | None:
        nonlocal seen
        seen += method == "PUT" and "probe" not in path
        if seen == upload and method == "PUT":
            process[0].send_signal(signal.SIGKILL)
            return "drop" if upload % 2 else None
        return None

    with Proxy(server, fault=kill) as proxy:
        root = Path(__file__).resolve().parents[1]
        env = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": proxy.address, "PYTHONPATH": str(root)}
        process.append(subprocess.Popen([sys.executable, "-c", KILLED, str(remote), str(bucket / "g")], env=env))
        assert process[0].wait(60) == -signal.SIGKILL
    if begun(bucket / "g"):
        remote_contents(bucket / "g")  # fails on rows that stand twice
    report = embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    assert report.total_images == 12
    embed([photos], gallery=tmp_path / "local", encoder=FakeEncoder())
    assert remote_contents(bucket / "g") == {
        path: row["content_hash"] for (_, path), (row, _) in contents(tmp_path / "local").items()
    }


@pytest.mark.soak
def test_a_large_file_is_seen_when_its_last_part_is_there(
    bucket: Url, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over 100 MB s3fs uploads in parts; one of them fails, and so does putting them together."""
    seen: list[bool] = []
    fails = flaky(1, 503, lambda method, path: "partNumber=2" in path or (method == "POST" and "uploadId" in path))

    def fault(method: str, path: str) -> int | str | None:
        if method in ("PUT", "POST"):
            listed = http.client.HTTPConnection(server.removeprefix("http://"))
            listed.request("GET", f"/{bucket.key}?list-type=2")
            seen.append(b"vectors.npy" in listed.getresponse().read())
        return fails(method, path)

    file = tmp_path / "vectors.npy"
    file.write_bytes(os.urandom(1 << 20) * 120)
    with Proxy(server, fault=fault) as proxy, through(proxy.address, monkeypatch):
        objects.objects_of("s3").upload(file, bucket / "vectors.npy")
    assert (len(seen) > 6, any(seen)) == (True, False)
    copy = tmp_path / "copy"
    objects.objects_of("s3").download(bucket / "vectors.npy", copy, file.stat().st_size)
    assert filecmp.cmp(file, copy, shallow=False)


# Speed, as requests


def test_a_query_takes_few_requests_and_a_second_one_fewer(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    library.index(bucket / "g")
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another machine"))
    with Proxy(server) as proxy, through(proxy.address, monkeypatch):
        open_gallery(bucket / "g", encoder=FakeEncoder()).query("red", k=3)
        first = proxy.requests.total()
        open_gallery(bucket / "g", encoder=FakeEncoder()).query("red", k=3)
        assert (first, proxy.requests.total() - first) == (8, 2)  # the index and the shard; a listing and a manifest


def test_what_was_written_here_is_not_fetched(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    library.index(bucket / "g")
    with Proxy(server) as proxy, through(proxy.address, monkeypatch):
        open_gallery(bucket / "g", encoder=FakeEncoder()).query("red", k=3)
        assert proxy.requests == {"GET": 2}


def test_of_large_shards_only_the_rows_that_are_shown_are_fetched(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A scan of the vectors fetches a shard whole; what is said of ten hits is fetched in parts, which are kept."""
    embed([remote], gallery=bucket / "g", encoder=FakeEncoder())
    gallery = Gallery.open(bucket / "g")
    expected = gallery.image_rows(np.array([3, 5]))
    monkeypatch.setattr("mmsearch.stores.remote._FETCHED_WHOLE", 0)
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another machine"))
    with Proxy(server) as proxy, through(proxy.address, monkeypatch):
        assert Gallery.open(bucket / "g").image_rows(np.array([3, 5])) == expected
        first = proxy.requests.total()
        assert Gallery.open(bucket / "g").image_rows(np.array([3, 5])) == expected
        assert proxy.requests.total() - first == 2
        assert first < 8


def test_what_is_fetched_at_once_is_what_arrow_asks_for(
    bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else it would be fetched twice. A row group's metadata is one piece; between them stand vectors."""
    identity = EncoderIdentity("tests", "sha256:0", 64)
    vectors = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    with open_writer(bucket / "g", command="test") as writer:
        writer.set_encoder(identity)
        row = ImageRow(1, "a.png", None, 1, 1, None, b"0123456789abcdef", 1, 1, None)
        writer.append("images", [row] * len(vectors), vectors)
        writer.commit()
    monkeypatch.setattr("mmsearch.stores.remote._FETCHED_WHOLE", 0)
    counts: list[int] = []
    with Proxy(server) as proxy, through(proxy.address, monkeypatch):
        for fetch in (RangedFile.fetch, lambda *_: None):
            monkeypatch.setattr(RangedFile, "fetch", fetch)
            monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / f"machine {len(counts)}"))
            gallery = Gallery.open(bucket / "g")
            proxy.requests.clear()
            assert len(list(gallery.image_names())) == len(vectors)
            counts.append(proxy.requests.total())
    assert counts == [6, 6]  # the footer, and five row groups


def test_a_bucket_that_is_not_there_is_said_before_any_work(photos: Path, bucket: Url) -> None:
    fake = FakeEncoder()
    with pytest.raises(StoreError, match="cannot write s3://no-such-bucket-here/g: there is no such bucket"):
        embed([photos], gallery="s3://no-such-bucket-here/g", encoder=fake)
    assert fake.images_encoded == 0
    with pytest.raises(StoreError, match="cannot read s3://no-such-bucket-here/g: there is no such bucket"):
        Gallery.open("s3://no-such-bucket-here/g")
    with pytest.raises(GalleryNotFound, match="no gallery at s3://"):
        Gallery.open(bucket / "nothing")


def test_a_gallery_whose_bucket_is_denied_is_not_said_to_be_missing(
    bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files_of("s3"), "ls", denied)
    with pytest.raises(StoreError, match=r"cannot read .*: access denied"):
        Gallery.open(bucket / "g")


def test_a_dry_run_writes_nothing(remote: Url, bucket: Url) -> None:
    found = library.preview([remote], gallery=bucket / "g", encoder=FakeEncoder())
    assert (found.new, files_of("s3").exists((bucket / "g").key)) == (12, False)


def test_what_was_read_ahead_is_not_kept(remote: Url) -> None:
    """A skipped file waits to be written with many others; its megabytes must not."""
    put(remote / "broken.png", b"no picture")
    with Workers(2, "test") as workers:
        found = list(load(FolderWalk(remote), lambda: FakeEncoder().image, workers, 2))
    assert (len(found), sum(each.error is not None for each in found)) == (13, 1)
    assert all(each.file.ahead is None for each in found)


@pytest.mark.soak
def test_latency_is_hidden_by_reading_many_at_a_time(
    bucket: Url, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(60):
        put(bucket / f"photos/{place}.png", picture("red", place, tmp_path))
    with Proxy(server, seconds=0.5) as proxy, through(proxy.address, monkeypatch):
        embed([bucket / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder(), options=EmbedOptions(threads=2))
        assert proxy.most_at_once > 20


def test_copies_are_bounded_and_never_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = LocalCopies(Url("s3://b/g"))

    def tear(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError

    def fill(path: Path) -> None:
        path.write_bytes(b"x" * 400)

    with pytest.raises(ZeroDivisionError):
        held.keep("images/torn", tear)
    assert held.present("images/torn") is None
    monkeypatch.setattr(local_copies, "MOST_BYTES", 1000)
    monkeypatch.setattr(local_copies, "_LOOK_AFTER", 1)
    for place in range(5):
        path = held.keep(f"images/{place}", fill)
        os.utime(path, (place, place))
    held.keep("images/last", fill)
    assert sorted(file.name for file in held.path("images").iterdir()) == ["4", "last"]


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        f"s3://KEY:{SECRET}@bucket/g",
        f"s3://bucket/g?X-Amz-Signature={SECRET}&X-Amz-Date=1",
        f"az://container/g?sv=2024&sig={SECRET}",
        f"gs://bucket/g?access_token={SECRET}",
    ],
)
def test_a_url_with_credentials_is_refused_without_repeating_them(url: str, mmsearch: Command, tmp_path: Path) -> None:
    write_picture(tmp_path / "photos/a.png")
    for arguments in (
        ["embed", tmp_path / "photos", "-g", url],
        ["embed", url, "-g", tmp_path / "g"],
        ["query", "red", "-g", url],
        ["query", "--image", url, "-g", tmp_path / "g"],
        ["info", "-g", url],
        ["export", url, "-g", tmp_path / "g"],
        ["relocate", url, tmp_path, "-g", tmp_path / "g"],
    ):
        found = mmsearch(*arguments)
        assert found.code == 1
        assert SECRET not in found.out + found.err
    with pytest.raises(StoreError, match="holds credentials") as refused:
        located(url)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_secrets_never_show(
    remote: Url, bucket: Url, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mmsearch: Command
) -> None:
    """Not in what is written, kept and said, nor in what errors were caused by."""
    place = bucket / "g"
    mmsearch("embed", remote, "-g", place, "--model", "fake")
    said = [mmsearch("info", "-g", place), mmsearch("info", "--format", "json", "-g", place)]
    secret_address = server.replace("://", f"://user:{SECRET}@")
    failures: list[BaseException] = []
    for address, fault in ((secret_address, None), (server, 403), (server, 500)):
        with Proxy(server, fault=lambda *_, fault=fault: fault) as proxy:
            used = address if fault is None else proxy.address.replace("://", f"://user:{SECRET}@")
            with through(used.replace("127.0.0.1", "localhost.invalid") if fault is None else used, monkeypatch):
                said.append(mmsearch("info", "-g", place))
                for ask in (lambda: Gallery.open(place), lambda: embed([remote], gallery=place, encoder=FakeEncoder())):
                    with pytest.raises(MmsearchError) as failed:
                        ask()
                    failures.append(failed.value)
    with through(server, monkeypatch):
        store = open_store(place)
        written = [store.read(f"manifests/{name}") for name in store.names("manifests")]
    kept = [file.read_bytes() for file in Path(os.environ["MMSEARCH_CACHE"]).rglob("*") if file.is_file()]
    assert all(SECRET.encode() not in data for data in (*written, *kept))
    assert all(SECRET not in found.out + found.err for found in said)
    for failure in failures:
        chain: BaseException | None = failure
        while chain is not None:
            assert SECRET not in str(chain) + repr(chain)
            chain = chain.__cause__ or chain.__context__
        assert SECRET not in "".join(traceback.format_exception(failure))


# Places


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("s3://bucket/photos/", "s3://bucket/photos"),
        ("S3://bucket", "s3://bucket"),
        ("s3://bucket/a b?c#d%20e", "s3://bucket/a b?c#d%20e"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("file:///tmp/x", "/tmp/x"),
        ("/tmp/x/../g", "/tmp/g"),
    ],
)
def test_places_as_they_are_typed(typed: str, found: str) -> None:
    assert str(located(typed)) == found


@pytest.mark.parametrize("typed", ["s3://", "s3:///x", Path("s3://bucket/x"), "https://example.org/x"])
def test_what_is_no_place(typed: Any) -> None:
    if typed == "s3:///x":
        assert str(located(typed)) == "s3://x"  # as every tool takes it
        return
    with pytest.raises(StoreError):
        located(typed)


def test_the_members_of_a_url() -> None:
    url = Url("s3://bucket/photos/a b.jpg")
    assert (url.scheme, url.key, url.name, url.stem, url.suffix) == (
        "s3", "bucket/photos/a b.jpg", "a b.jpg", "a b", ".jpg",
    )  # fmt: skip
    assert (str(url.parent), str(url.parent.parent), str(url.parent.parent.parent)) == (
        "s3://bucket/photos", "s3://bucket", "s3://bucket",
    )  # fmt: skip
    assert Url.from_uri(url.as_uri()) == url
    assert url.as_uri() == "s3://bucket/photos/a%20b.jpg"
    assert str(url.relative_to(Url("s3://bucket"))) == "photos/a b.jpg"
    assert not url.is_relative_to(Url("s3://bucket/photo"))
    assert str(Url("s3://bucket/g").at("../photos")) == "s3://bucket/photos"
    assert joined("s3://bucket/lists", "../photos/x.jpg") == "s3://bucket/photos/x.jpg"
    assert joined("/lists", "s3://bucket/x.jpg") == "s3://bucket/x.jpg"


def test_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET_KEY", "0123456789abcdef")
    text = "GET https://u:p@h/x?X-Amz-Signature=abc&a=1 failed for 0123456789abcdef"
    assert redacted(text) == "GET https://***@h/x?X-Amz-Signature=***&a=1 failed for ***"


def test_what_lies_on_a_disk_needs_no_fsspec(photos: Path, tmp_path: Path) -> None:
    """Its import costs more than the query."""
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    code = (
        "import sys; from mmsearch.gallery import Gallery; import mmsearch.search.open_gallery\n"
        "import mmsearch.upkeep.summary\n"
        f"gallery = Gallery.open({str(tmp_path / 'g')!r}); list(gallery.vector_blocks('images'))\n"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp', 'botocore') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_root_moves_between_a_disk_and_a_store(remote: Url, photos: Path, bucket: Url, tmp_path: Path) -> None:
    """Nothing is encoded again: what was uploaded is read once, and known by its content."""
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    relocate(photos, remote, gallery=tmp_path / "g")
    fake = FakeEncoder()
    counts = embed([], gallery=tmp_path / "g", encoder=fake).images
    assert (counts.updated, counts.reused, fake.images_encoded) == (12, 12, 0)
