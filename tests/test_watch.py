"""`embed --watch`: a gallery that stays in step with a folder."""

import json
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mmsearch import encoders
from mmsearch.embedding import EmbedOptions, EmbedReport, embed
from mmsearch.errors import GalleryBusy, MmsearchError, SourceError
from mmsearch.gallery import Gallery, find_gallery, open_writer
from mmsearch.guides import read_guide
from mmsearch.sources import Selection, SourceFile
from mmsearch.upkeep import watching
from mmsearch.upkeep.watching import watch
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture

SOON = 30.0  # seconds, on a machine that is busy


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths."""
    monkeypatch.setattr(watching, "_QUIET", 0.3)
    monkeypatch.setattr(watching, "_RETRY", 0.2)
    monkeypatch.setattr(watching, "_POLLING", 1)
    monkeypatch.setattr(watching, "_TICK", 0.1)


@pytest.fixture
def photos(photos: Path) -> Path:
    """Nobody has written them a moment ago."""
    age(photos)
    return photos


def age(folder: Path) -> None:
    """Let the pictures of a folder be old."""
    for file in folder.rglob("*.png"):
        os.utime(file, (1e9, 1e9))


@dataclass
class Watched:
    """What a watch that runs in a thread has reported and said."""

    gallery: Path
    reports: list[EmbedReport] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def names(self) -> set[str]:
        return {name for _, _, name in Gallery.open(self.gallery).image_names()}

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + SOON
        while not is_so():
            assert self.error is None, self.error
            assert time.monotonic() < end, (self.totals(), self.said)
            time.sleep(0.02)

    def totals(self) -> dict[str, int]:
        """What all syncs did, but for the first."""
        names = ("added", "updated", "moved", "deleted", "reused", "skipped")
        sums = {name: sum(getattr(report.images, name) for report in self.reports[1:]) for name in names}
        return {name: count for name, count in sums.items() if count}


@contextmanager
def watched(folder: Path, encoder: FakeEncoder, **more: Any) -> Iterator[Watched]:
    """A watch over a folder, once it has synced it for the first time."""
    seen = Watched(more.pop("gallery", folder.parent / "g"))
    ended = threading.Event()

    def report() -> None:
        try:
            for each in watch(
                [folder], gallery=seen.gallery, encoder=encoder, announce=seen.said.append, ended=ended, **more
            ):
                seen.reports.append(each)
        except BaseException as error:  # noqa: BLE001 - shown by `until`
            seen.error = error

    thread = threading.Thread(target=report)
    thread.start()
    try:
        seen.until(lambda: bool(seen.reports) or bool(seen.said and "Waiting" in seen.said[-1]))
        yield seen
    finally:
        ended.set()
        thread.join(SOON)
        assert not thread.is_alive()


def test_what_comes_changes_moves_and_goes_is_followed(photos: Path, fake: FakeEncoder) -> None:
    with watched(photos, fake) as seen:
        assert seen.reports[0].images.added == 12
        write_picture(photos / "new" / "one.png", "blue", seed=500)
        seen.until(lambda: "new/one.png" in seen.names())
        (photos / "red.png").rename(photos / "new" / "moved.png")
        seen.until(lambda: "new/moved.png" in seen.names())
        write_picture(photos / "green.png", "yellow", seed=501)
        seen.until(lambda: fake.images_encoded > 13)
        (photos / "blue.png").unlink()
        seen.until(lambda: "blue.png" not in seen.names())
        shutil.move(photos / "more", photos / "other")
        seen.until(lambda: "other/red.png" in seen.names())
        seen.until(lambda: sum(seen.totals().values()) == 10)
        assert seen.totals() == {"added": 1, "updated": 1, "moved": 7, "deleted": 1}
        assert Gallery.open(seen.gallery).live_rows("images") == 12
        assert not [line for line in seen.said if "Waiting" in line]


@pytest.mark.soak
def test_nothing_is_said_and_nothing_is_written_while_nothing_happens(photos: Path, fake: FakeEncoder) -> None:
    """Also where the gallery lies in the folder that is watched, and what changes is hidden or of no concern."""
    with watched(photos, fake, gallery=photos / ".mmsearch") as seen:
        time.sleep(1.0)
        (photos / ".hidden.png").write_bytes((photos / "red.png").read_bytes())
        (photos / "red.png").chmod(0o600)
        time.sleep(1.5)
        assert len(seen.reports) == 1
        assert Gallery.open(seen.gallery).manifest.version == 1
        write_picture(photos / "new.png", "blue", seed=500)
        seen.until(lambda: "new.png" in seen.names())
        assert Gallery.open(seen.gallery).manifest.version == 2


@pytest.mark.parametrize("dated", ["now", "long ago"])
def test_a_file_that_is_being_written_is_not_read_before_it_is_whole(
    dated: str, photos: Path, fake: FakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says of its time: the clock of a file server may be another one. Other files come meanwhile."""
    monkeypatch.setattr(watching, "_QUIET", 2.0)  # twenty times what is between two writes
    monkeypatch.setattr(watching, "_LONGEST_QUIET", 0.3)
    whole = write_picture(tmp_path / "whole.png", "red", size=(200, 200), seed=9).read_bytes()
    with watched(photos, fake) as seen:
        with (photos / "slow.png").open("wb") as file:
            for start in range(0, len(whole), len(whole) // 12 + 1):
                file.write(whole[start : start + len(whole) // 12 + 1])
                file.flush()
                if dated == "long ago":
                    os.utime(photos / "slow.png", (1e9, 1e9 + start))
                write_picture(tmp_path / "quick.png", "blue", seed=start)
                os.utime(tmp_path / "quick.png", (1e9, 1e9))
                (tmp_path / "quick.png").rename(photos / f"quick{start}.png")
                time.sleep(0.1)
        seen.until(lambda: "slow.png" in seen.names())
        seen.until(lambda: set(seen.totals()) == {"added"})
        assert list(Gallery.open(seen.gallery).skipped_rows()) == []


def test_a_gallery_that_is_still_to_be_made_is_no_version_of_one(
    photos: Path, fake: FakeEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmsearch.cli.embed import _print

    for file in photos.rglob("*"):
        os.utime(file)
    with watched(photos, fake) as seen:
        first = seen.reports[0]
    assert first.version == 0
    _print(first)
    assert capsys.readouterr().out.startswith(f"gallery   {photos.parent / 'g'} (nothing in it yet)\n")


def test_what_has_just_changed_is_not_settled_whatever_its_time_says(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("mmsearch.upkeep.watching.time.monotonic", lambda: now[0])
    restless, status = watching._RestlessFiles(), (photos / "red.png").stat()
    file = SourceFile(str(photos), "red.png", status.st_size, status.st_mtime_ns)
    assert restless.is_settled(file)
    restless.add([file.location])
    assert not restless.is_settled(file)
    now[0] += 0.2
    assert not restless.look()
    now[0] += 0.2
    assert restless.look()
    assert restless.is_settled(file)


def test_what_was_written_a_moment_before_it_begins_is_not_forgotten(photos: Path, fake: FakeEncoder) -> None:
    """Though nothing is there yet, so that not even a gallery is made at first."""
    for file in photos.rglob("*.png"):
        os.utime(file)
    with watched(photos, fake) as seen:
        assert seen.reports[0].images.added == 0
        seen.until(lambda: seen.totals() == {"added": 12})


def test_what_is_quiet_does_not_wait_for_what_is_written_for_hours(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_QUIET", 1.0)  # twenty times what is between two writes
    monkeypatch.setattr(watching, "_LONGEST_QUIET", 2.0)
    ended = threading.Event()

    def write_on() -> None:
        with (photos / "endless.png").open("ab") as file:
            while not ended.wait(0.05):
                file.write(b"x")
                file.flush()

    with watched(photos, fake) as seen:
        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            write_picture(photos / "quick.png", "red", seed=31)
            seen.until(lambda: "quick.png" in seen.names())
            assert "endless.png" not in {row.path for row in Gallery.open(seen.gallery).skipped_rows()}
        finally:
            ended.set()
            writer.join()
        seen.until(lambda: "endless.png" in {row.path for row in Gallery.open(seen.gallery).skipped_rows()})


def test_a_folder_that_goes_away_is_waited_for_and_nothing_is_deleted(photos: Path, fake: FakeEncoder) -> None:
    with watched(photos, fake) as seen:
        photos.rename(photos.with_name("away"))
        seen.until(lambda: any(f"{photos} is not there" in line for line in seen.said))
        time.sleep(0.6)
        assert len(seen.names()) == 12
        write_picture(photos.with_name("away") / "meanwhile.png", "red", seed=31)
        photos.with_name("away").rename(photos)
        seen.until(lambda: "meanwhile.png" in seen.names())
        write_picture(photos / "after.png", "red", seed=32)  # and what comes later is reported again
        seen.until(lambda: "after.png" in seen.names())
        (waiting,) = [line for line in seen.said if "Waiting" in line]
        assert waiting == f"{photos} is not there; is a disk not connected? Waiting; nothing is deleted"
        assert "watching goes on" in seen.said
        seen.until(lambda: seen.totals() == {"added": 2})
        assert fake.images_encoded == 14


def test_an_empty_mount_point_empties_nothing(photos: Path, fake: FakeEncoder) -> None:
    """What an unmounted disk leaves behind: the folder, and whatever lies below the disk."""
    with watched(photos, fake) as seen:
        photos.rename(photos.with_name("away"))
        photos.mkdir()
        seen.until(lambda: any("no files in" in line for line in seen.said))
        assert len(seen.names()) == 12
        photos.rmdir()
        photos.with_name("away").rename(photos)
        write_picture(photos / "after.png", "red", seed=32)
        seen.until(lambda: "after.png" in seen.names())
        seen.until(lambda: seen.totals() == {"added": 1})


def test_a_disk_that_is_unmounted_empties_nothing_though_other_files_lie_below_it(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = [True]
    real = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda place: (mounted[0] and str(place) == str(photos)) or real(place))
    with watched(photos, fake) as seen:
        mounted[0] = False
        photos.rename(photos.with_name("away"))
        write_picture(photos / "below the disk.png", "red", seed=31)
        seen.until(lambda: any(f"{photos} is not mounted any more" in line for line in seen.said))
        time.sleep(0.5)
        assert len(seen.names()) == 12
        shutil.rmtree(photos)
        photos.with_name("away").rename(photos)
        mounted[0] = True
        seen.until(lambda: "watching goes on" in seen.said)
        assert len(seen.names()) == 12
        assert seen.totals() == {}


def test_a_disk_that_is_not_there_at_the_start_is_waited_for(photos: Path, fake: FakeEncoder) -> None:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    photos.rename(photos.with_name("away"))
    with watched(photos, fake) as seen:
        photos.with_name("away").rename(photos)
        seen.until(lambda: bool(seen.reports))
        assert seen.reports[0].images.unchanged == 12


def test_what_was_never_there_is_an_error_and_not_waited_for(photos: Path, fake: FakeEncoder) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        next(watch([photos / "nowhere"], gallery=photos.parent / "g", encoder=fake))
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    with pytest.raises(SourceError, match="elsewhere"):
        next(watch([photos.parent / "elsewhere"], gallery=photos.parent / "g", encoder=fake))


def test_a_gallery_that_is_written_by_another_is_waited_for(photos: Path, fake: FakeEncoder) -> None:
    with watched(photos, fake) as seen:
        with open_writer(seen.gallery, command="test"):
            write_picture(photos / "new.png", "blue", seed=500)
            seen.until(lambda: any("Waiting" in line for line in seen.said))
        seen.until(lambda: "new.png" in seen.names())


def test_a_gallery_that_goes_away_is_waited_for_and_not_made_anew(photos: Path, fake: FakeEncoder) -> None:
    with watched(photos, fake) as seen:
        seen.gallery.rename(seen.gallery.with_name("away"))
        write_picture(photos / "new.png", "blue", seed=500)
        seen.until(lambda: any(f"the gallery {seen.gallery} is not there" in line for line in seen.said))
        assert not seen.gallery.exists()
        seen.gallery.with_name("away").rename(seen.gallery)
        seen.until(lambda: "new.png" in seen.names())


@pytest.mark.soak
def test_many_deletes_at_once_are_refused_until_they_are_meant(
    tmp_path: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(130):
        write_picture(tmp_path / "photos" / "some" / f"{place}.png", seed=place, size=(4, 4))
    write_picture(tmp_path / "photos" / "kept.png", "blue", seed=999)
    age(tmp_path / "photos")
    with watched(tmp_path / "photos", fake) as seen:
        for file in sorted((tmp_path / "photos" / "some").iterdir()):  # not all at a time
            file.unlink()
            time.sleep(0.03)
        seen.until(lambda: any("--prune" in line for line in seen.said))
        assert len(seen.names()) == 131
        seen.until(lambda: embedded_with_prune(tmp_path / "photos", seen.gallery, fake))
        seen.until(lambda: "watching goes on" in seen.said)
        assert seen.names() == {"kept.png"}


def embedded_with_prune(photos: Path, gallery: Path, encoder: FakeEncoder) -> bool:
    """Whether another run took the deletes over; not while the watcher is looking."""
    try:
        embed([photos], gallery=gallery, encoder=encoder, options=EmbedOptions(prune=True))
    except GalleryBusy:
        return False
    return True


@pytest.mark.soak
def test_after_the_machine_slept_it_looks_at_once(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed meanwhile was not reported: the watcher is made to report nothing at all."""
    slept = [0.0]

    def nothing(_: object) -> set[str]:
        time.sleep(0.05)
        return set()

    monkeypatch.setattr(watching._Changes, "next", nothing)
    with watched(photos, fake) as seen:
        real = watching._clock_difference
        monkeypatch.setattr(watching, "_clock_difference", lambda: real() + slept[0])
        time.sleep(1.0)
        write_picture(photos / "new.png", "blue", seed=500)
        time.sleep(1.0)
        assert "new.png" not in seen.names()
        slept[0] = 3600.0
        seen.until(lambda: "new.png" in seen.names())


@pytest.mark.soak
def test_where_the_system_reports_nothing_it_looks_now_and_then(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached. about [...]")

    monkeypatch.setattr("watchfiles.watch", refuse)
    with watched(photos, fake) as seen:
        write_picture(photos / "new.png", "blue", seed=500)
        seen.until(lambda: "new.png" in seen.names())
        (line,) = [line for line in seen.said if "report" in line]
        assert re.search(r"so many folders: files are looked at every 1 seconds .*max_user_watches=", line)


def test_an_object_store_is_listed_now_and_then(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(watching, "_UNPROMPTED", 0.5)
    store, name = fsspec.filesystem("memory"), os.urandom(4).hex()
    store.pipe_file(f"/{name}/red.png", (photos / "red.png").read_bytes())
    seen = Watched(photos.parent / "g")
    ended = threading.Event()
    reports = watch([f"memory://{name}"], gallery=seen.gallery, encoder=fake, announce=seen.said.append, ended=ended)
    # Written a moment ago, by its own account: it is taken once that is past.
    while not seen.reports or not seen.reports[-1].total_images:
        seen.reports.append(next(reports))
    store.pipe_file(f"/{name}/blue.png", (photos / "blue.png").read_bytes())
    assert next(reports).images.added == 1
    assert [line for line in seen.said if line.startswith("object stores report no changes")]
    ended.set()
    assert [*reports] == []


def test_it_is_reached_by_another_name_too(photos: Path, fake: FakeEncoder) -> None:
    link = photos.with_name("link")
    link.symlink_to(photos)
    with watched(link, fake) as seen:
        write_picture(photos / "new.png", "blue", seed=500)
        seen.until(lambda: "new.png" in seen.names())
        seen.until(lambda: seen.totals() == {"added": 1})


def test_a_choice_of_files_is_kept_to(photos: Path, fake: FakeEncoder) -> None:
    with watched(photos, fake, selection=Selection(include=("blue*",), retry_skipped=True)) as seen:
        assert seen.reports[0].images.added == 2
        write_picture(photos / "red2.png", "red", seed=500)
        write_picture(photos / "blue2.png", "blue", seed=501)
        seen.until(lambda: bool(seen.totals()))
        seen.until(lambda: seen.totals() == {"added": 1})


def test_the_encoder_is_opened_once_and_not_before_it_is_needed(
    photos: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    real = encoders.open

    def counted(spec: Any, *arguments: Any, **more: Any) -> Any:
        opened.append(spec)
        return real(spec, *arguments, **more)

    monkeypatch.setattr("mmsearch.encoders.open", counted)
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    opened.clear()
    with watched(photos, "fake") as seen:  # type: ignore[arg-type]
        assert opened == []
        for place in range(3):
            write_picture(photos / f"new{place}.png", "blue", seed=500 + place)
            seen.until(lambda place=place: f"new{place}.png" in seen.names())  # type: ignore[misc]
        assert opened == ["fake"]


def test_once_a_day_it_tidies(photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_TIDY", 0.0)
    with watched(photos, fake) as seen:
        write_picture(photos / "new.png", "blue", seed=500)
        seen.until(lambda: Gallery.open(seen.gallery).manifest.created_by.endswith("compact"))
        assert len(Gallery.open(seen.gallery).manifest.shards["images"]) == 1


def test_without_the_package_it_says_what_to_install(
    photos: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    done = mmsearch("embed", photos, "--watch", "--model", "fake", "-g", photos.parent / "g")
    assert (done.code, done.err) == (
        1,
        "mmsearch: error: watching folders needs a package: pip install 'mmsearch[watch]'\n",
    )
    with pytest.raises(MmsearchError, match="pip install"):
        watch([photos])


@pytest.mark.parametrize(
    "beside", [("--ray", "local"), ("--captions", "c.csv"), ("--limit", 3), ("--prune",), ("--strict",), ("--dry-run",)]
)
def test_what_does_not_go_with_it_is_said(beside: tuple[object, ...], photos: Path, mmsearch: Command) -> None:
    done = mmsearch("embed", photos, "--watch", *beside)
    assert done.code == 2
    assert "leave " in done.err


# --- as a program ---------------------------------------------------------------------------------------------------


@contextmanager
def program(folder: Path, *more: str, before: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    """`mmsearch embed --watch` as a process of its own."""
    command = [*before, sys.executable, "-m", "tests.fake_program", "embed", str(folder), "--watch"]
    with subprocess.Popen(
        [*command, "--model", "fake", "-g", str(folder.parent / "g"), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: "subprocess.Popen[str]", words: str) -> str:
    """The next line of what the program prints that holds these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended: {process.stderr.read() if process.stderr else ''}")


@pytest.mark.parametrize("ending", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM])
def test_a_line_a_batch_and_a_clean_end(ending: signal.Signals, photos: Path) -> None:
    with program(photos) as process:
        line_with(process, "took")
        write_picture(photos / "new.png", "blue", seed=500)
        (photos / "red.png").rename(photos / "so named.png")
        lines = [line_with(process, "in the gallery")]
        while "added" not in lines[-1]:  # what was there before the watch began comes first
            lines.append(line_with(process, "in the gallery"))
        assert re.fullmatch(
            r"(\d\d:\d\d:\d\d  (1 added, 1 moved|1 moved|1 added); \d\d pictures in the gallery\n)+", "".join(lines)
        )
        assert "".join(lines).count("1 moved") == 1
        process.send_signal(ending)
        assert process.wait(SOON) == 130
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1].startswith("mmsearch: interrupted; what was encoded is kept")


@pytest.mark.soak
def test_for_programs_each_batch_is_a_line_of_json(photos: Path) -> None:
    with program(photos, "--format", "jsonl") as process:
        assert json.loads(line_with(process, '"report"'))["images"]["added"] == 12
        (photos / "red.png").rename(photos / "so named.png")
        assert json.loads(line_with(process, '"report"'))["images"]["moved"] == 1


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="limits of inotify are Linux's")
def test_the_real_limit_of_the_system_is_met(photos: Path) -> None:
    for place in range(20):
        (photos / f"folder{place}").mkdir()
    unshare = ("unshare", "-Ur", "sh", "-c", 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh")
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here, so no limit of one's own")
    with program(photos, before=unshare) as process:
        line_with(process, "took")
        assert process.stderr is not None
        assert any("does not report changes in so many folders" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 130


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="mounts of one's own are Linux's")
def test_a_real_disk_that_is_unmounted_empties_nothing(tmp_path: Path) -> None:
    """What lies below the mount point is a folder that is there, with a file in it."""
    disk, keeper = tmp_path / "disk", tmp_path / "keeper"
    disk.mkdir()
    mounted = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs none {disk} && cp -a {keeper}/. {disk} && exec "$@"', "sh")
    write_picture(keeper / "a.png", "red")
    write_picture(keeper / "b.png", "blue")
    age(keeper)
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own here")
    write_picture(disk / "below.png", "green")
    with program(disk, before=mounted) as process:
        line_with(process, "took")
        time.sleep(3)
        subprocess.run(["nsenter", "-t", str(process.pid), "-m", "umount", "-l", str(disk)], check=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "is not mounted any more" in line:
                break
        assert {name for _, _, name in Gallery.open(tmp_path / "g").image_names()} == {"a.png", "b.png"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 130


def test_the_units_of_the_guide_are_understood_by_what_reads_them(tmp_path: Path) -> None:
    text = read_guide("embedding").text
    blocks = re.findall(r"^```(ini|xml)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (unit,) = [block for kind, block in blocks if kind == "ini"]
    (agent,) = [block for kind, block in blocks if kind == "xml"]
    described = plistlib.loads(agent.encode())
    assert described["ProgramArguments"][1:3] == ["embed", "--watch"]
    assert described["KeepAlive"] == {"SuccessfulExit": False}
    assert "SuccessExitStatus=130" in unit
    if (verify := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd here to read its unit")
    program_file = tmp_path / "mmsearch"
    program_file.write_text("#!/bin/sh\n")
    program_file.chmod(0o755)
    file = tmp_path / "mmsearch-watch.service"
    file.write_text(unit.replace("%h/.local/bin/mmsearch", str(program_file)))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [verify, "--user", "verify", file], capture_output=True, text=True, check=False, env=environment
    )
    assert ([line for line in done.stderr.splitlines() if file.name in line], done.returncode) == ([], 0)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_long_life_with_everything_that_happens_to_a_folder(tmp_path: Path) -> None:
    """Files come, change, move and go; the folder goes and comes back; the program is killed and started again. In the
    end the gallery is that of a fresh run, and the memory has stayed as it was."""
    import numpy as np

    rng = np.random.default_rng(7)
    photos = tmp_path / "photos"
    for place in range(60):
        write_picture(photos / f"{place:03d}.png", "red", seed=place)
    seed = 1_000
    memory: list[int] = []

    def resident(process: "subprocess.Popen[str]") -> int:
        fields = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+)", fields)[0])

    def in_step() -> bool:
        if find_gallery(tmp_path / "g") is None:  # nothing was quiet yet
            return False
        held = {name for _, _, name in Gallery.open(tmp_path / "g").image_names()}
        there = {str(file.relative_to(photos)) for file in photos.rglob("*.png")}
        return held == there

    def wait_in_step(process: "subprocess.Popen[str]") -> None:
        end = time.monotonic() + 60
        while not in_step():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)

    for life in range(3):
        with program(photos) as process:
            line_with(process, "took")
            drain = threading.Thread(target=lambda process=process: [*(process.stdout or ())], daemon=True)
            drain.start()
            for step in range(12):
                files = sorted(photos.rglob("*.png"))
                for file in rng.choice(np.array(files, object), 4, replace=False):
                    seed += 1
                    action = rng.integers(4)
                    if action == 0:
                        file.unlink()
                    elif action == 1:
                        write_picture(file, "blue", seed=seed)
                    elif action == 2:
                        (photos / f"f{seed % 5}").mkdir(exist_ok=True)
                        file.rename(photos / f"f{seed % 5}" / f"{seed}.png")
                    else:
                        write_picture(photos / f"f{seed % 5}" / f"{seed}.png", "green", seed=seed)
                for _ in range(2):
                    seed += 1
                    write_picture(photos / f"{seed}.png", "white", seed=seed)
                if step % 6 == 5:
                    photos.rename(tmp_path / "away")
                    time.sleep(3)
                    (tmp_path / "away").rename(photos)
                wait_in_step(process)
                memory.append(resident(process))
            write_picture(photos / f"last{life}.png", "black", seed=9_000 + life)
            time.sleep(float(rng.uniform(0, 4)))
            process.kill()
            process.wait()
    with program(photos) as process:
        line_with(process, "took")
        wait_in_step(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 130
    embed([photos], gallery=tmp_path / "fresh", encoder=FakeEncoder())
    assert {n for *_, n in Gallery.open(tmp_path / "fresh").image_names()} == {
        n for *_, n in Gallery.open(tmp_path / "g").image_names()
    }
    per_life = [memory[start : start + 12] for start in range(0, 36, 12)]
    assert max(life[-1] - life[3] for life in per_life) < 40_000, per_life  # kibibytes
