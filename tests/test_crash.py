"""Whatever happens at any write, fsync or commit: nothing committed is lost, and the same command finishes the job."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import EmbedOptions, embed
from mmsearch.encoders import Pixels
from mmsearch.errors import SourceError, StoreError
from mmsearch.gallery import Gallery, find_gallery, gallery_writer
from mmsearch.upkeep.maintenance import compact
from tests.archives import make_tar
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import assert_equal, contents

FILES = 24
MEMBERS = 8  # of an archive beside them


class Crash(BaseException):
    """The machine stops here."""


@contextmanager
def crash_at(point: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Stop at the `point`-th write, fsync or link, before it or after it; from then on nothing reaches the disk.

    Yields the count of points so far.
    """
    passed = [0]
    dead = [False]

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            step()
            result = real(*args, **kwargs)
            try:
                step()
            except Crash:
                if result is not None:
                    result.close()
                raise
            return result

        return call

    def step() -> None:
        if dead[0]:
            raise Crash
        if passed[0] == point:
            dead[0] = True
            raise Crash
        passed[0] += 1

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if dead[0]:  # cleaning up is something that a stopped machine does not do
            return
        real_unlink(path, missing_ok=missing_ok)

    real_unlink = Path.unlink
    real_open = Path.open
    created = guard(real_open)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", guard(os.fsync))
        patch.setattr(os, "link", guard(os.link))
        patch.setattr(
            Path, "open", lambda path, mode="r", *a, **k: (created if "x" in mode else real_open)(path, mode, *a, **k)
        )
        patch.setattr(Path, "unlink", unlink)
        yield passed


def change(folder: Path) -> None:
    """New, edited, moved, deleted and broken files, so that a run has rows, deletes and skipped rows to write."""
    write_picture(folder / "new.png", "blue", seed=900)
    write_picture(folder / "0.png", "white", seed=901)
    os.utime(folder / "0.png", ns=(7, 7))
    (folder / "1.png").rename(folder / "moved.png")
    (folder / "2.png").unlink()
    (folder / "3.png").write_text("no longer a picture")


@pytest.mark.soak
def test_a_crash_at_any_point_loses_nothing_and_the_same_call_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point in turn, with a commit after each batch, over a gallery that exists and has changes to take in."""
    folder = tmp_path / "photos"
    for place in range(6):
        write_picture(folder / f"{place}.png", "red", seed=place)
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    known = contents(tmp_path / "before").keys()
    change(folder)
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)  # a commit whenever a batch is done
    options = EmbedOptions(batch_size=1, threads=1)

    def run(gallery: Path) -> None:
        embed([folder], gallery=gallery, encoder=FakeEncoder(), options=options)

    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with crash_at(10**9, monkeypatch) as passed:
        run(tmp_path / "whole")
    assert passed[0] > 40
    for point in range(passed[0]):
        gallery = tmp_path / f"g{point}"
        shutil.copytree(tmp_path / "before", gallery)
        with crash_at(point, monkeypatch), pytest.raises(Crash):
            run(gallery)
        # What was committed before is there, or has been replaced by a later commit: never half of either.
        found = contents(gallery)
        assert {key for key in known if key[1] in ("4.png", "5.png")} <= found.keys()
        run(gallery)
        assert_equal(gallery, tmp_path / "whole")
        shutil.rmtree(gallery)


@pytest.mark.soak
def test_a_crash_at_any_point_with_archives_and_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with other members and a bad one, a truncated archive, and captions beside pictures."""
    folder, data = tmp_path / "photos", tmp_path / "data"
    pictures = [write_picture(data / f"{place}.png", "red", seed=place).read_bytes() for place in range(6)]
    folder.mkdir()
    make_tar(folder / "a.tar", [(f"{place}.png", pictures[place]) for place in range(4)])
    make_tar(folder / "b.tar", [(f"{place}.png", pictures[place]) for place in range(4)])
    (folder / "a.txt").write_text("one\ntwo\n")
    write_picture(folder / "a.png", "blue", seed=20)
    embed([folder], captions=[folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    make_tar(folder / "a.tar", [(f"{n}.png", pictures[n]) for n in (1, 2, 4, 5)] + [("bad.png", b"no picture")])
    (folder / "b.tar").write_bytes((folder / "b.tar").read_bytes()[:1500])
    (folder / "a.txt").write_text("two\nthree\n")
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)

    def run(gallery: Path) -> None:
        options = EmbedOptions(batch_size=1, threads=1)
        embed([folder], captions=[folder], gallery=gallery, encoder=FakeEncoder(), options=options)

    def captions(gallery: Path) -> list[str]:
        return sorted(row.caption for _, row in Gallery.open(gallery).all_captions())

    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with crash_at(10**9, monkeypatch) as passed:
        run(tmp_path / "whole")
    assert sorted(path for _, path in contents(tmp_path / "whole") if path.startswith("b.tar")) == [
        f"b.tar!/{place}.png" for place in range(4)
    ]
    for point in range(passed[0]):
        gallery = tmp_path / f"g{point}"
        shutil.copytree(tmp_path / "before", gallery)
        with crash_at(point, monkeypatch), pytest.raises(Crash):
            run(gallery)
        contents(gallery)  # fails on rows that stand twice
        run(gallery)
        assert_equal(gallery, tmp_path / "whole")
        assert captions(gallery) == captions(tmp_path / "whole") == ["three", "two"]
        shutil.rmtree(gallery)


class FullDisk:
    """A file on a disk that has room for so many bytes more, shared between the files of a run."""

    def __init__(self, stream: Any, room: list[int]) -> None:
        self._stream, self._room = stream, room

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        written = min(size, self._room[0])
        self._stream.write(memoryview(data).cast("B")[:written])
        self._room[0] -= written
        if written < size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_a_disk_that_fills_up_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any byte: the error says what to do, nothing committed is lost, and with room the same call finishes."""
    folder = tmp_path / "photos"
    for place in range(6):
        write_picture(folder / f"{place}.png", "red", seed=place)
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    before = contents(tmp_path / "before").keys()
    change(folder)
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    options = EmbedOptions(batch_size=1, threads=1)
    real_open = Path.open

    def run(gallery: Path, room: list[int]) -> None:
        def limited(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            stream = real_open(path, mode, *more, **options)
            return FullDisk(stream, room) if "x" in mode else stream

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", limited)
            embed([folder], gallery=gallery, encoder=FakeEncoder(), options=options)

    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    plenty = [1 << 40]
    run(tmp_path / "whole", plenty)
    needed = (1 << 40) - plenty[0]
    assert needed > 10_000
    for room in range(0, needed, needed // 25):
        gallery = tmp_path / f"g{room}"
        shutil.copytree(tmp_path / "before", gallery)
        with pytest.raises(StoreError, match="disk is full; free some space and run the same command again"):
            run(gallery, [room])
        assert {key for key in before if key[1] in ("4.png", "5.png")} <= contents(gallery).keys()
        named = {shard.name for shards in Gallery.open(gallery).manifest.shards.values() for shard in shards}
        lying = {file.name for table in ("images", "skipped") for file in (gallery / table).glob("*.parquet")}
        earlier = {file.name for file in (tmp_path / "before").rglob("*.parquet")}
        assert len(lying - named - earlier) <= 2  # what was cut off is cleaned away; a whole one may wait for `compact`
        run(gallery, [1 << 40])
        assert_equal(gallery, tmp_path / "whole")
        shutil.rmtree(gallery)


def test_a_new_gallery_on_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "photos" / "a.png")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="disk is full"):
            embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    assert find_gallery(tmp_path / "g") is None
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    assert len(contents(tmp_path / "g")) == 1


def test_a_folder_that_goes_away_during_the_run(tmp_path: Path) -> None:
    """Its disk is pulled: what was embedded is kept, nothing is deleted, and the next run takes the rest in."""
    folder = tmp_path / "disk" / "photos"
    for place in range(10):
        write_picture(folder / f"{place}.png", "red", seed=place)
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    for place in range(10, 60):
        write_picture(folder / f"{place}.png", "blue", seed=place)

    class Pulling(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if folder.is_dir():
                (tmp_path / "disk").rename(tmp_path / "drawer")
            return super().encode_images(pixels)

    options = EmbedOptions(batch_size=4, threads=1)
    with pytest.raises(SourceError, match="went away during the run"):
        embed([folder], gallery=tmp_path / "g", encoder=Pulling(), options=options)
    kept = len(contents(tmp_path / "g"))
    assert 14 <= kept < 60
    with pytest.raises(SourceError, match="not there"):
        embed(gallery=tmp_path / "g", encoder=FakeEncoder())
    (tmp_path / "drawer").rename(tmp_path / "disk")
    fake = FakeEncoder()
    report = embed(gallery=tmp_path / "g", encoder=fake)
    assert (report.total_images, fake.images_encoded, report.images.still_skipped) == (60, 60 - kept, 0)
    assert list(Gallery.open(tmp_path / "g").skipped_rows()) == []


def test_a_crash_during_compaction_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    for place in range(8):
        write_picture(folder / f"{place}.png", "green", seed=place)
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder(), options=EmbedOptions(batch_size=2))
    (folder / "0.png").unlink()
    embed([folder], gallery=tmp_path / "before", encoder=FakeEncoder())
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    with crash_at(10**9, monkeypatch) as passed:
        compact(tmp_path / "whole")
    for point in range(passed[0]):
        gallery = tmp_path / f"g{point}"
        shutil.copytree(tmp_path / "before", gallery)
        with crash_at(point, monkeypatch), pytest.raises(Crash):
            compact(gallery)
        assert_equal(gallery, tmp_path / "before")
        compact(gallery)
        assert_equal(gallery, tmp_path / "before")


SLOW_EMBED = """
import sys, time
from pathlib import Path
from tests.fakes import FakeEncoder
from mmsearch.gallery import gallery_writer
from mmsearch.embedding import EmbedOptions, embed

class Slow(FakeEncoder):
    def encode_images(self, pixels):
        time.sleep(0.03)  # half a second in all: longer than any of the kills below waits, on any machine
        return super().encode_images(pixels)

gallery_writer.COMMIT_SECONDS = 0.02
print("ready", flush=True)
embed([sys.argv[1]], gallery=sys.argv[2], encoder=Slow(), options=EmbedOptions(batch_size=2))
"""


def start(folder: Path, gallery: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EMBED, str(folder), str(gallery)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def many_photos(folder: Path) -> None:
    for place in range(FILES):
        write_picture(folder / f"{place}.png", list(COLOURS)[place % len(COLOURS)], seed=place)
    for place in range(MEMBERS):
        write_picture(folder.parent / "members" / f"{place}.png", "white", seed=1000 + place)
    members = sorted((folder.parent / "members").iterdir())
    make_tar(folder / "shard.tar", [(file.name, file.read_bytes()) for file in members])
    (folder / "broken.jpg").write_text("no picture")


def test_kill_9_in_the_middle_and_the_same_command_continues(tmp_path: Path) -> None:
    many_photos(tmp_path / "photos")
    process = start(tmp_path / "photos", tmp_path / "g")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if find_gallery(tmp_path / "g") and Gallery.open(tmp_path / "g").live_rows("images") >= 4:
            break
        time.sleep(0.005)
    process.kill()
    process.communicate()
    committed = contents(tmp_path / "g")
    assert 4 <= len(committed) <= FILES + MEMBERS
    fake = FakeEncoder()
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=fake)
    assert fake.images_encoded == FILES + MEMBERS - len(committed)  # nothing committed is encoded again
    embed([tmp_path / "photos"], gallery=tmp_path / "whole", encoder=fake)
    assert_equal(tmp_path / "g", tmp_path / "whole")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_fifty_random_kills(tmp_path: Path) -> None:
    """Killed again and again at random moments, the gallery is right at each and complete in the end."""
    rng = random.Random(20)
    many_photos(tmp_path / "photos")
    embed([tmp_path / "photos"], gallery=tmp_path / "whole", encoder=FakeEncoder())
    whole = contents(tmp_path / "whole").keys()
    kills = 0
    for attempt in range(50):
        gallery = tmp_path / f"g{attempt % 10}"
        process = start(tmp_path / "photos", gallery)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if find_gallery(gallery):
            assert contents(gallery).keys() <= whole
        if process.returncode == 0:  # it was quicker: a gallery that is complete is nothing to be killed at
            shutil.rmtree(gallery)
    assert kills >= 25
    for number in range(10):
        embed([tmp_path / "photos"], gallery=tmp_path / f"g{number}", encoder=FakeEncoder())
        assert_equal(tmp_path / f"g{number}", tmp_path / "whole")


@pytest.mark.soak
def test_two_embeds_of_one_gallery_at_once(tmp_path: Path) -> None:
    """One writes, the other is told so and changes nothing."""
    many_photos(tmp_path / "photos")
    first = start(tmp_path / "photos", tmp_path / "g")
    while find_gallery(tmp_path / "g") is None and first.poll() is None:
        time.sleep(0.005)
    second = start(tmp_path / "photos", tmp_path / "g")
    assert first.wait(60) == 0
    second.wait(60)
    first.communicate()
    second.communicate()
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    assert len(contents(tmp_path / "g")) == FILES + MEMBERS


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks the system which file a descriptor is")
def test_a_version_is_named_only_after_all_that_it_names_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power may fail at any moment: each file and its folder are synced before the manifest gets its name, and the
    manifest's folder is before the run goes on."""
    folder, gallery = tmp_path / "photos", tmp_path / "g"
    for place in range(6):
        write_picture(folder / f"{place}.png", "red", seed=place)
    synced: list[str] = []
    commits = 0
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    def link(temporary: Path, target: Path) -> None:
        nonlocal commits
        commits += 1
        proposed = json.loads(temporary.read_text())
        names = [f"{table}/{shard['name']}" for table, shards in proposed["shards"].items() for shard in shards]
        names += [f"deletes/{file['name']}" for files in proposed["deletes"].values() for file in files]
        for name in names:
            at = synced.index(str(gallery / name))
            assert str((gallery / name).parent) in synced[at:], name
        assert str(temporary) in synced
        real_link(temporary, target)
        synced.append("linked")

    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    options = EmbedOptions(batch_size=2, threads=1)
    embed([folder], gallery=gallery, encoder=FakeEncoder(), options=options)
    change(folder)
    embed([folder], gallery=gallery, encoder=FakeEncoder(), options=options)
    assert commits >= 4
    for place, what in enumerate(synced):
        if what == "linked":
            assert synced[place + 1] == str(gallery / "manifests")
