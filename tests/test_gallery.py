"""The gallery's one rule: no file is ever replaced, and a version is a name created once."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.errors import (
    CommitConflict,
    EncoderMismatch,
    GalleryBusy,
    GalleryError,
    GalleryNotFound,
    MmsearchWarning,
    StoreError,
)
from mmsearch.exact import Vectors
from mmsearch.gallery import (
    Gallery,
    commit_index,
    commit_scores,
    compacting,
    new_index_folder,
    open_writer,
    read_consistently,
)
from mmsearch.gallery.gallery_writer import GalleryWriter
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from mmsearch.stores import LocalStore
from mmsearch.upkeep.maintenance import compact
from mmsearch.versions import IndexEntry
from tests.vectors import random_unit_vectors

DIM = 4
ENCODER = EncoderIdentity("tests", "sha256:0123", DIM)


def rows(names: list[str]) -> list[ImageRow]:
    return [ImageRow(1, name, None, 10, 20, None, name.encode(), 3, 2, None) for name in names]


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return random_unit_vectors(np.random.default_rng(seed), count, DIM)


def add(writer: GalleryWriter, names: list[str], seed: int = 0) -> np.ndarray:
    writer.set_encoder(ENCODER)
    return writer.append("images", rows(names), vectors(len(names), seed))


def make(folder: Path, *names: str) -> Gallery:
    with open_writer(folder, command="test") as writer:
        add(writer, list(names))
        writer.commit()
    return Gallery.open(folder)


def some_rows(gallery: Gallery) -> tuple[NDArray[np.int64], Vectors]:
    """The first row, by which a gallery is known again."""
    row_ids = np.array([0])
    return row_ids, gallery.vectors("images", row_ids)


def names_in(gallery: Gallery) -> list[str]:
    return sorted(name for _, _, name in gallery.image_names())


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    """The round trip is exact: metadata equal, vectors equal to their float16 bit for bit."""
    gallery = make(tmp_path / "g", "a", "b", "c")
    assert gallery.image_rows(np.array([2, 0])) == rows(["c", "a"])
    assert np.array_equal(gallery.vectors("images", np.array([1])), vectors(3)[1:2].astype(np.float16))


def test_a_row_is_found_by_its_content(tmp_path: Path) -> None:
    """Of the length of what is asked and equal to it, in any shard; dead rows and absent contents are none."""
    gallery = make(tmp_path / "g", "a", "ab", "b", "abc", "ba", "b")
    contents = (b"a", b"ab", b"b", b"abc", b"ba", b"c", b"aba", b"")
    assert [gallery.row_with_content("images", each) for each in contents] == [0, 1, 2, 3, 4, None, None, None]
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.delete("images", np.array([1, 2]))
        add(writer, ["z"])
        writer.commit()
    gallery = Gallery.open(tmp_path / "g")
    assert [gallery.row_with_content("images", each) for each in (b"ab", b"b", b"z")] == [None, 5, 6]


def test_what_is_not_committed_does_not_exist(tmp_path: Path) -> None:
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["a"])
    assert not (tmp_path / "g").exists()
    with pytest.raises(GalleryNotFound, match="mmsearch embed"):
        Gallery.open(tmp_path / "g")


def test_a_gallery_is_found_from_below_as_git_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / ".mmsearch", "a")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert Gallery.open().path == tmp_path / ".mmsearch"
    other = make(tmp_path / "named", "b")
    monkeypatch.setenv("MMSEARCH_GALLERY", str(tmp_path / "named"))
    assert Gallery.open().path == other.path


def test_a_reader_stays_at_its_version_while_others_write(tmp_path: Path) -> None:
    before = make(tmp_path / "g", "a", "b")
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["c"])
        writer.delete("images", [0])
        writer.commit()
    assert names_in(before) == ["a", "b"]
    assert names_in(before.newest()) == ["b", "c"]


def test_a_reader_whose_files_are_gone_goes_on_with_the_newest(tmp_path: Path) -> None:
    """Compaction without grace takes the old shards away under a reader; it reopens once."""
    before = make(tmp_path / "g", "a")
    make(tmp_path / "g", "b")
    compact(tmp_path / "g", grace=timedelta(0))
    with pytest.raises(FileNotFoundError):
        names_in(before)
    assert read_consistently(before, names_in) == ["a", "b"]


def first_shard(gallery: Gallery) -> Path:
    file = gallery.shard_path("images", gallery.shards("images")[0])
    assert isinstance(file, Path)
    return file


def test_a_missing_file_of_the_newest_version_is_named(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "a")
    shard = first_shard(gallery)
    shard.unlink()
    with pytest.raises(GalleryError, match=shard.name):
        read_consistently(gallery, names_in)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    gallery = make(tmp_path / "g", "a")
    shard = first_shard(gallery)
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(GalleryError, match=shard.name):
        names_in(gallery)


def test_another_format_version_is_refused_with_advice(tmp_path: Path) -> None:
    make(tmp_path / "g", "a")
    manifest = tmp_path / "g" / "manifests" / "00000001.json"
    document = json.loads(manifest.read_text())
    manifest.unlink()
    manifest.write_text(json.dumps(document | {"format_version": 99}))
    with pytest.raises(GalleryError, match="format 99"):
        Gallery.open(tmp_path / "g")


def test_a_content_hash_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """Without it every file would seem to have changed."""
    make(tmp_path / "g", "a")
    manifest = tmp_path / "g" / "manifests" / "00000001.json"
    document = json.loads(manifest.read_text())
    assert (document["format_version"], document["content_hash"]) == (2, "blake3")
    manifest.unlink()
    manifest.write_text(json.dumps(document | {"content_hash": "md5"}))
    with pytest.raises(GalleryError, match="the content hash 'md5' is not known here"):
        Gallery.open(tmp_path / "g")


def test_unknown_fields_and_columns_are_ignored(tmp_path: Path) -> None:
    """A later mmsearch may add some; an earlier one still reads what it knows."""
    gallery = make(tmp_path / "g", "a", "b")
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard = first_shard(gallery)
    table = pq.read_table(shard)
    shard.unlink()
    pq.write_table(table.append_column("mood", pa.array(["calm"] * 2)).drop_columns(["taken_at"]), shard)
    assert gallery.image_rows(np.array([0, 1])) == rows(["a", "b"])


def test_a_torn_manifest_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    """A crash on a file system without hard links can leave half a manifest, which nobody was told of."""
    make(tmp_path / "g", "a")
    whole = (tmp_path / "g" / "manifests" / "00000001.json").read_text()
    (tmp_path / "g" / "manifests" / "00000002.json").write_text(whole[:200])
    with pytest.warns(MmsearchWarning, match="incomplete"):
        assert Gallery.open(tmp_path / "g").manifest.version == 1
    with pytest.warns(MmsearchWarning, match="incomplete"):
        gallery = make(tmp_path / "g", "b")
    assert (gallery.manifest.version, names_in(gallery)) == (3, ["a", "b"])


def test_without_hard_links_a_commit_still_creates_and_never_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    make(tmp_path / "g", "a")
    gallery = make(tmp_path / "g", "b")
    assert names_in(gallery) == ["a", "b"]
    assert [path.name for path in sorted((tmp_path / "g" / "manifests").iterdir())] == [
        "00000001.json",
        "00000002.json",
    ]


def test_of_two_writers_without_a_lock_one_fails_and_loses_nothing(tmp_path: Path) -> None:
    """Locks do not work on every file system; the manifest's number decides."""
    make(tmp_path / "g", "a")
    store = LocalStore(tmp_path / "g")
    one = GalleryWriter(store, Gallery.open(tmp_path / "g").manifest, "one")
    two = GalleryWriter(store, Gallery.open(tmp_path / "g").manifest, "two")
    add(one, ["b"])
    add(two, ["c"])
    one.commit()
    with pytest.raises(CommitConflict, match="run the same command again"):
        two.commit()
    assert names_in(Gallery.open(tmp_path / "g")) == ["a", "b"]


def test_an_index_that_was_committed_meanwhile_stays(tmp_path: Path) -> None:
    """`index` takes no lock, so that it never waits for an embed of days; the writer keeps what it added."""
    gallery = make(tmp_path / "g", "a")
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["b"])
        with new_index_folder(gallery) as (name, _):
            commit_index(gallery, IndexEntry(name, "images", ((0, 1),), 1, "Flat"), np.array([0]))
        writer.commit()
    final = Gallery.open(tmp_path / "g")
    assert names_in(final) == ["a", "b"]
    assert [entry.name for entry in final.manifest.indexes] == [name]


def test_scores_stay_while_they_are_named_and_go_with_those_that_replace_them(tmp_path: Path) -> None:
    """`calibrate` takes no lock either. A table has one set; compactions remove what no version names."""
    gallery = make(tmp_path / "g", "a")
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["b"])
        commit_scores(gallery, "images", lambda folder: (folder / "record.json").write_text("{}"), *some_rows(gallery))
        writer.commit()
    final = Gallery.open(tmp_path / "g")
    assert names_in(final) == ["a", "b"]
    first = final.scores_for("images")
    assert first is not None
    assert first.rows == 1
    assert final.scores_for("captions") is None
    assert (final.scores_folder(first.name) / "record.json").read_text() == "{}"
    compact(tmp_path / "g", grace=timedelta(0))
    assert (tmp_path / "g" / "scores" / first.name).is_dir()
    final = Gallery.open(tmp_path / "g")
    second = commit_scores(final, "images", lambda folder: (folder / "record.json").write_text("[]"), *some_rows(final))
    assert [entry.rows for entry in second.manifest.scores] == [2]
    compact(tmp_path / "g", grace=timedelta(0))
    assert [folder.name for folder in (tmp_path / "g" / "scores").iterdir()] == [second.manifest.scores[0].name]


def test_scores_are_committed_after_a_compaction_and_not_into_another_gallery(tmp_path: Path) -> None:
    """Row ids of one that was made anew mean other rows."""
    gallery = make(tmp_path / "g", "a")
    known = some_rows(gallery)
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["b"])
        writer.commit()
    writes = 0

    def write(folder: Path) -> None:
        nonlocal writes
        writes += 1
        (folder / "record.json").write_text("{}")
        if writes == 1:
            compact(tmp_path / "g", grace=timedelta(0))

    final = commit_scores(gallery, "images", write, *known)
    entry = final.scores_for("images")
    assert entry is not None
    assert (final.scores_folder(entry.name) / "record.json").is_file()
    shutil.rmtree(tmp_path / "g")
    for name in "cdefg":
        with open_writer(tmp_path / "g", command="test") as writer:
            add(writer, [name], seed=5)
            writer.commit()
    with pytest.raises(GalleryError, match="made anew"):
        commit_scores(gallery, "images", write, *known)


def test_nothing_is_committed_into_a_gallery_that_only_bears_the_same_number(tmp_path: Path) -> None:
    """It would name shards that are not there, and hold an index of other rows."""
    gallery = make(tmp_path / "g", "a", "b")
    known = some_rows(gallery)
    shutil.rmtree(tmp_path / "g")
    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["c", "d"], seed=5)
        writer.commit()
    with pytest.raises(GalleryError, match="made anew"):
        commit_scores(gallery, "images", lambda folder: (folder / "record.json").write_text("{}"), *known)
    with new_index_folder(gallery) as (name, _), pytest.raises(GalleryError, match="made anew"):
        commit_index(gallery, IndexEntry(name, "images", ((0, 2),), 2, "Flat"), np.array([0, 1]))
    assert names_in(Gallery.open(tmp_path / "g")) == ["c", "d"]
    assert Gallery.open(tmp_path / "g").manifest.version == gallery.manifest.version


def test_an_index_of_rows_that_were_compacted_away_lists_them_as_dead(tmp_path: Path) -> None:
    """Else it would return rows that stand nowhere."""
    snapshot = make(tmp_path / "g", "a", "b", "c")
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.set_encoder(ENCODER)
        writer.delete("images", [1])
        writer.commit()
    compact(tmp_path / "g")
    assert Gallery.open(tmp_path / "g").dead_row_ids("images").tolist() == []
    with new_index_folder(snapshot) as (name, _):
        final = commit_index(snapshot, IndexEntry(name, "images", ((0, 3),), 3, "Flat"), np.arange(3))
    assert final.dead_row_ids("images").tolist() == [1]
    assert (final.live_rows("images"), names_in(final)) == (2, ["a", "c"])


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    make(tmp_path / "g", "a")
    hold = (
        "import sys, time; from pathlib import Path; from mmsearch.stores import LocalStore\n"
        f"with LocalStore(Path({str(tmp_path / 'g')!r})).lock('embed'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(GalleryBusy, match=rf"process {holder.pid} on .*mmsearch embed"),
            open_writer(tmp_path / "g", command="test"),
        ):
            pass
        assert names_in(Gallery.open(tmp_path / "g")) == ["a"]  # readers are never blocked
    finally:
        holder.kill()
        holder.communicate()
    make(tmp_path / "g", "b")  # the lock of a killed process is free


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "g", "a")
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_writer(tmp_path / "g", command="test") as writer:
        add(writer, ["b"])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="the disk is full"):
            writer.commit()
        monkeypatch.setattr(os, "fsync", real)
        assert names_in(Gallery.open(tmp_path / "g")) == ["a"]
        assert len(list((tmp_path / "g" / "images").iterdir())) == 1  # the half-written shard is gone
        writer.commit()
    assert names_in(Gallery.open(tmp_path / "g")) == ["a", "b"]


def test_another_encoder_is_refused_with_both_names(tmp_path: Path) -> None:
    make(tmp_path / "g", "a")
    with open_writer(tmp_path / "g", command="test") as writer, pytest.raises(EncoderMismatch, match=r"tests.*other"):
        writer.set_encoder(EncoderIdentity("other", "sha256:ffff", DIM))


def test_many_small_shards_become_few_and_keep_their_row_ids(tmp_path: Path) -> None:
    with open_writer(tmp_path / "g", command="test") as writer:
        for number in range(compacting.MOST_SMALL_SHARDS + 1):
            ids = add(writer, [f"{number}a", f"{number}b"], seed=number)
            writer.delete("images", ids[:1])
            writer.commit()
    gallery = Gallery.open(tmp_path / "g")
    assert len(gallery.shards("images")) == 1
    found = {row_id: name for row_id, _, name in gallery.image_names()}
    assert found == {2 * number + 1: f"{number}b" for number in range(compacting.MOST_SMALL_SHARDS + 1)}
    for number in (0, 17, 32):
        stored = gallery.vectors("images", np.array([2 * number + 1]))
        assert np.array_equal(stored, vectors(2, number)[1:].astype(np.float16))


def test_compact_removes_what_is_out_of_use_and_only_after_its_grace(tmp_path: Path) -> None:
    make(tmp_path / "g", "a")
    make(tmp_path / "g", "b")
    stray = tmp_path / "g" / "images" / "0123.parquet"  # an interrupted run left it
    stray.write_bytes(b"half a shard")
    kept = compact(tmp_path / "g")
    assert (kept.removed_files, kept.shards_after) == (0, 1)
    assert stray.exists()
    day_ago = time.time() - 90_000
    for path in (tmp_path / "g").rglob("*"):
        os.utime(path, (day_ago, day_ago))
    assert compact(tmp_path / "g").removed_files == 3  # the stray and the two shards that were merged
    assert not stray.exists()
    assert names_in(Gallery.open(tmp_path / "g")) == ["a", "b"]


def test_a_version_is_kept_for_a_day_after_it_was_replaced_however_old_its_files(tmp_path: Path) -> None:
    old = make(tmp_path / "g", "a")
    week_ago = time.time() - 7 * 86_400
    for path in (tmp_path / "g").rglob("*"):
        os.utime(path, (week_ago, week_ago))
    make(tmp_path / "g", "b")
    compact(tmp_path / "g")
    assert names_in(old) == ["a"]


STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 6)),
    st.tuples(st.just("delete"), st.integers(0, 30)),
    st.tuples(st.just("compact"), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=12))
def test_any_sequence_of_changes_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Against the simplest model there is: live rows, their vectors and their number agree after every step."""
    folder = tmp_path_factory.mktemp("g")
    make(folder, "first")
    model = {0: "first"}
    for number, (what, value) in enumerate(steps):
        if what == "compact":
            compact(folder, grace=timedelta(0))
        else:
            with open_writer(folder, command="test") as writer:
                if what == "add":
                    names = [f"{number}-{place}" for place in range(value)]
                    model |= dict(zip(add(writer, names).tolist(), names, strict=True))
                elif value in model and len(model) > 1:
                    writer.delete("images", [value])
                    del model[value]
                writer.commit()
        gallery = Gallery.open(folder)
        assert {row_id: name for row_id, _, name in gallery.image_names()} == model
        assert gallery.live_rows("images") == len(model)
        blocks = list(gallery.vector_blocks("images"))
        assert sorted(np.concatenate([block.row_ids for block in blocks]).tolist()) == sorted(model)


def test_a_gallery_none_of_whose_versions_can_be_read_is_not_begun_anew(tmp_path: Path) -> None:
    """Its shards are still there; a new version over them would let `compact` remove them."""
    make(tmp_path / "g", "a")
    manifest = tmp_path / "g" / "manifests" / "00000001.json"
    manifest.write_text("junk")
    with pytest.warns(MmsearchWarning), pytest.raises(GalleryError, match="restore"):
        Gallery.open(tmp_path / "g")
    with pytest.warns(MmsearchWarning), pytest.raises(GalleryError, match="restore"):
        make(tmp_path / "g", "b")


@pytest.mark.parametrize("harm", ["junk", "gone"])
def test_a_damaged_list_of_deletes_is_named(tmp_path: Path, harm: str) -> None:
    make(tmp_path / "g", "a", "b")
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.set_encoder(ENCODER)
        writer.delete("images", [0])
        writer.commit()
    (file,) = (tmp_path / "g" / "deletes").iterdir()
    file.unlink()
    if harm == "junk":
        file.write_text("junk")
    with pytest.raises(GalleryError, match=file.name):
        read_consistently(Gallery.open(tmp_path / "g"), names_in)
    with pytest.raises(GalleryError, match=file.name), open_writer(tmp_path / "g", command="test") as writer:
        names_in(writer.gallery)


def test_work_goes_on_with_the_newest_version_however_often_files_go(tmp_path: Path) -> None:
    """A compaction may come during the second try as during the first."""
    gallery = make(tmp_path / "g", "a")

    def work(now: Gallery) -> list[str]:
        if now.manifest.version < 4:
            with open_writer(tmp_path / "g", command="test") as writer:
                add(writer, ["b"])
                writer.commit()
            raise FileNotFoundError(2, "gone", str(tmp_path / "g" / "images" / "x.parquet"))
        return names_in(now)

    assert read_consistently(gallery, work) == ["a", "b", "b", "b"]
