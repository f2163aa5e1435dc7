"""What every store has to do, wherever its files lie: one set of tests for all of them."""

import os
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from mmsearch.errors import CommitConflict
from mmsearch.gallery import Gallery, open_writer, remove_unused, rewrite_wasteful, tables
from mmsearch.gallery.gallery_writer import GalleryWriter
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from mmsearch.locations import Location, Url
from mmsearch.stores import (
    NameTaken,
    Store,
    exists,
    file_state,
    is_folder,
    local_copies,
    local_copy,
    objects,
    open_store,
    read_bytes,
)
from tests.s3 import bucket, server

__all__ = ["bucket", "server"]  # fixtures

ENCODER = EncoderIdentity("tests", "sha256:0123", 4)


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """A folder that is not there yet."""
    if request.param == "local":
        yield tmp_path / "g"
    elif request.param == "memory":
        yield Url(f"memory://{secrets.token_hex(4)}/g")
    else:
        yield request.getfixturevalue("bucket") / "g"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits between tries."""
    monkeypatch.setattr(objects, "_FIRST_WAIT", 0.001)


def write(store: Store, name: str, data: bytes) -> None:
    with store.create(name) as file:
        file.write(data)


def interrupted(file: BinaryIO) -> None:
    file.write(b"half")
    raise ZeroDivisionError


def row(name: str) -> ImageRow:
    return ImageRow(1, name, None, 10, 20, None, name.encode(), 3, 2, None)


def add(writer: GalleryWriter, *names: str) -> None:
    writer.set_encoder(ENCODER)
    writer.append("images", [row(name) for name in names], np.eye(4, dtype=np.float32)[: len(names)])


def names_in(place: Location) -> list[str]:
    return sorted(name for _, _, name in Gallery.open(place).image_names())


def test_files_are_written_once_read_and_removed(place: Location) -> None:
    store = open_store(place)
    assert (store.exists(), store.names("images"), store.entries("images")) == (False, [], [])
    for name in ("images/b.parquet", "images/a.parquet", "index/x/one", "index/x/two"):
        write(store, name, name.encode())
    assert store.exists()
    assert store.names("images") == ["a.parquet", "b.parquet"]
    assert store.names(".") == ["images", "index"]
    assert store.read("images/a.parquet") == b"images/a.parquet"
    (entry,) = store.entries("index")
    assert (entry.name, entry.is_folder, entry.files, entry.bytes) == ("x", True, 2, 2 * len("index/x/one"))
    assert [each.bytes for each in store.entries("images")] == [16, 16]
    store.remove("images/a.parquet")
    store.remove("images/a.parquet")
    store.remove_folder("index/x")
    assert (store.names("images"), store.entries("index")) == (["b.parquet"], [])
    with pytest.raises(FileNotFoundError) as missing:
        store.read("images/a.parquet")
    assert str(missing.value.filename) == str(place / "images/a.parquet")


def test_a_file_whose_writing_fails_is_never_seen(place: Location) -> None:
    store = open_store(place)
    write(store, "images/a", b"whole")
    with pytest.raises(ZeroDivisionError), store.create("images/b") as file:
        interrupted(file)
    assert store.names("images") == ["a"]


def test_of_two_that_create_a_name_one_is_told(place: Location) -> None:
    store = open_store(place)
    store.create_if_absent("manifests/1", b"first")
    with pytest.raises(NameTaken):
        store.create_if_absent("manifests/1", b"second")
    assert store.read("manifests/1") == b"first"
    assert store.names("manifests") == ["1"]


def test_of_many_that_create_a_name_at_once_one_is_the_first(place: Location) -> None:
    if str(place).startswith("memory"):
        pytest.skip("fsspec's memory looks first and then writes")
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        store = open_store(place)
        start.wait()
        try:
            store.create_if_absent("manifests/1", str(number).encode())
            outcomes.append(str(number))
        except NameTaken:
            outcomes.append("taken")

    open_store(place).create_if_absent("manifests/0", b"")
    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("taken") == 7
    assert open_store(place).read("manifests/1").decode() in outcomes


def test_a_folder_that_is_published_is_found_by_others(
    place: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(place)
    with store.new_folder("index/x") as folder:
        (folder / "codes").write_bytes(b"1" * 100)
        assert store.local_folder("index/x") == folder
        store.publish("index/x")
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another machine"))
    other = open_store(place).local_folder("index/x")
    assert [(file.name, file.read_bytes()) for file in other.iterdir()] == [("codes", b"1" * 100)]


def test_a_file_is_opened_in_full_or_in_parts(place: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8))
    write(open_store(place), "images/a", data)
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "another machine"))
    for whole in (False, True, False):
        found = open_store(place).open("images/a", size=len(data), whole=whole)
        with found.open("rb") if isinstance(found, Path) else found as stream:
            stream.seek(1 << 20)
            assert stream.read(1000) == data[1 << 20 :][:1000]
            stream.seek(-8, 2)
            assert stream.read() == data[-8:]


def test_a_store_can_be_sent_to_another_process(place: Location) -> None:
    store = open_store(place)
    write(store, "images/a", b"1")
    assert pickle.loads(pickle.dumps(store)).names("images") == ["a"]
    assert pickle.loads(pickle.dumps(place)) == place


def test_a_file_is_replaced_as_a_whole(place: Location) -> None:
    store = open_store(place)
    for data in (b"first", b"second"):
        with store.replace("rows.parquet") as file:
            file.write(data)
    with pytest.raises(ZeroDivisionError), store.replace("rows.parquet") as file:
        interrupted(file)
    assert store.read("rows.parquet") == b"second"
    assert store.names(".") == ["rows.parquet"]


def test_what_stands_somewhere(place: Location) -> None:
    write(open_store(place), "deep/a.txt", b"text")
    file = place / "deep/a.txt"
    assert [exists(each) for each in (place, file, place / "b")] == [True, True, False]
    assert [is_folder(each) for each in (place, file, place / "b")] == [True, False, False]
    assert file_state(file).size == 4
    assert (read_bytes(file), read_bytes(file, 1, 3), local_copy(file).read_bytes()) == (b"text", b"ex", b"text")


def test_a_gallery_is_written_read_and_compacted(place: Location) -> None:
    with open_writer(place, command="test") as writer:
        add(writer, "a", "b")
        writer.commit()
        add(writer, "c")
        writer.commit()
    with open_writer(place, command="test") as writer:
        writer.delete("images", [1])
        writer.commit()
        writer.rewrite(rewrite_wasteful)
        removed = remove_unused(writer.gallery.store, writer.manifest, grace_seconds=-60)
    gallery = Gallery.open(place)
    assert (names_in(place), gallery.live_rows("images"), len(gallery.shards("images"))) == (["a", "c"], 2, 2)
    assert [int(i) for block in gallery.vector_blocks("images") for i in block.row_ids] == [0, 2]
    assert (removed.files, len(gallery.store.names("images")), len(gallery.store.names("manifests"))) == (2, 2, 1)
    assert gallery.data_bytes() == sum(entry.bytes for entry in gallery.store.entries("images"))


def test_of_two_writers_the_second_fails_and_loses_nothing(place: Location) -> None:
    with open_writer(place, command="test") as writer:
        add(writer, "a")
        writer.commit()
    store = open_store(place)
    one, two = (GalleryWriter(store, Gallery.open(place).manifest, name) for name in ("one", "two"))
    add(one, "b")
    add(two, "c")
    one.commit()
    with pytest.raises(CommitConflict, match="run the same command again"):
        two.commit()
    assert names_in(place) == ["a", "b"]


def test_a_shard_that_another_process_wrote_is_named_by_whoever_commits(place: Location) -> None:
    """What a cluster does: workers write through a store of their own, one commits."""
    with open_writer(place, command="test") as writer:
        add(writer, "a")
        writer.commit()
        table = Gallery.open(place).rows("images", np.array([0]), Gallery.open(place).schema("images").names)
        shards = tables.write_shards(pickle.loads(pickle.dumps(open_store(place))), "images", table, None)
    assert (shards[0].rows, shards[0].file_bytes) == (1, file_state(place / f"images/{shards[0].name}").size)


@pytest.mark.parametrize("step", ["before its files", "before its commit", "after its commit"])
@pytest.mark.parametrize("older", [0, 2])
def test_a_compaction_at_any_step_of_a_commit_damages_nothing(
    place: Location, step: str, older: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told of success finds the rows; `older` versions free numbers, which a late commit may take again."""
    with open_writer(place, command="test") as writer:
        add(writer, "a")
        writer.commit()
    store = open_store(place)
    late = GalleryWriter(store, Gallery.open(place).manifest, "late")

    def compacted() -> None:
        for number in range(older):
            with open_writer(place, command="test") as writer:
                add(writer, f"b{number}")
                writer.commit()
        remove_unused(store, Gallery.open(place).manifest, grace_seconds=-60)

    create = type(store).create_if_absent
    real: list[str] = []

    def delayed(self: Store, name: str, data: bytes) -> None:
        if name.startswith("manifests/") and b"mmsearch" in data and b" late" in data and not real:
            real.append(name)
            if step == "before its commit":
                compacted()
            create(self, name, data)
            if step == "after its commit":
                compacted()
            return
        create(self, name, data)

    monkeypatch.setattr(type(store), "create_if_absent", delayed)
    add(late, "c")
    if step == "before its files":
        compacted()
    try:
        late.commit()
        told = ["c"]
    except CommitConflict:
        told = []
    found = names_in(place)
    assert set(told) <= set(found)
    assert {"a", *(f"b{number}" for number in range(older))} <= set(found)
    assert sum(len(block.row_ids) for block in Gallery.open(place).vector_blocks("images")) == len(found)


def test_copies_of_a_bucket_are_for_their_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    store = open_store(Url(f"memory://{secrets.token_hex(4)}/g"))
    write(store, "images/x", b"private")
    (folder,) = (tmp_path / "cache/objects").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)  # as they were made before
    write(store, "images/y", b"private")
    assert folder.stat().st_mode & 0o777 == 0o700


SECOND_USER = """
import os, sys
from pathlib import Path
from mmsearch.locations import Url
from mmsearch.stores import open_store
url, first = sys.argv[1:]
own = open_store(Url(url)).open("images/x")
print(own, own.read_bytes().decode())
for look in (lambda: Path(first).read_bytes(), lambda: os.listdir(Path(first).parent)):
    try:
        print("seen", look())
    except PermissionError:
        print("denied")
"""


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user"
)
def test_a_second_user_of_a_cache_has_a_copy_of_their_own(bucket: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first one may read in a private bucket is not shown to whoever shares the cache with them."""
    as_another = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable]
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name) / "cache"
        shared.mkdir()
        for folder, mode in ((shared.parent, 0o755), (shared, 0o1777)):  # of everyone, as /tmp is
            folder.chmod(mode)
        monkeypatch.setenv("MMSEARCH_CACHE", str(shared))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        if subprocess.run([*as_another, "-c", "import mmsearch, s3fs"], cwd=name, capture_output=True).returncode:
            pytest.skip("another user does not reach this interpreter")
        write(open_store(bucket / "g"), "images/x", b"private")
        (first,) = shared.glob("objects/*/images/x")
        command = [*as_another, "-c", SECOND_USER, str(bucket / "g"), str(first)]
        done = subprocess.run(command, cwd=name, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        own, *denied = done.stdout.splitlines()
        assert own.split()[1] == "private"
        assert not own.startswith(str(shared))
        assert denied == ["denied", "denied"]
        assert first.read_bytes() == b"private"


def test_what_is_being_filled_is_not_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is built for a bucket lies among the copies for hours before it is uploaded."""
    monkeypatch.setattr(local_copies, "MOST_BYTES", 0)
    monkeypatch.setattr(local_copies, "_IN_USE", -60)
    monkeypatch.setattr(local_copies, "_LOOK_AFTER", 0)
    store = open_store(Url(f"memory://{secrets.token_hex(4)}/g"))
    with store.new_folder("index/x") as folder:
        (folder / "codes").write_bytes(b"1")
        write(store, "images/a", b"1")
        assert (folder / "codes").exists()
    write(store, "images/b", b"1")
    assert not folder.exists()
