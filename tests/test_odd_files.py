"""What a file system can say of a file, and what it can hold that is no file, costs at most that one."""

import os
import socket
from pathlib import Path

import pytest

from mmsearch.sources import SourceFile
from mmsearch.upkeep.summary import skipped
from tests.archives import make_tar
from tests.conftest import Command
from tests.fakes import write_picture

_TIMES = {"far": 9_300_000_000, "past": -9_300_000_000, "before": -1}  # seconds: 2264, 1675, 1969


def test_any_time_of_a_file_is_taken(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    """A time that a column cannot hold stops nothing, and the file is known again by it."""
    taken = {}
    for (name, seconds), file in zip(_TIMES.items(), sorted(photos.iterdir()), strict=False):
        try:
            os.utime(file, ns=(seconds * 10**9, seconds * 10**9))
        except OSError:
            continue  # a file system that has no such time
        taken[name] = file
    assert "far" in taken
    first = mmsearch("embed", photos, "--model", "fake", "-g", tmp_path / "g")
    assert first.code == 0, first.err
    again = mmsearch("embed", photos, "-g", tmp_path / "g")
    assert "0 added, 0 updated, 0 deleted" in again.out
    os.utime(taken["far"], (1, 1))
    assert "0 added, 1 updated" in mmsearch("embed", photos, "-g", tmp_path / "g").out


def test_a_number_beyond_a_column_is_the_nearest_that_fits() -> None:
    file = SourceFile("/r", "a.jpg", 2**64 - 1, 9_300_000_000 * 10**9)
    assert (file.size, file.mtime_ns) == (2**63 - 1, 2**63 - 1)
    assert SourceFile("/r", "a.jpg", 1, -(10**20)).mtime_ns == -(2**63)


def test_the_members_of_an_archive_from_the_future_are_read(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    (tmp_path / "p").mkdir()
    make_tar(tmp_path / "p" / "a.tar", [(file.name, file.read_bytes()) for file in sorted(photos.glob("*.png"))[:2]])
    os.utime(tmp_path / "p" / "a.tar", ns=(9_300_000_000 * 10**9,) * 2)
    done = mmsearch("embed", tmp_path / "p", "--model", "fake", "-g", tmp_path / "g")
    assert "2 added" in done.out, done.err
    assert "2 unchanged" in mmsearch("embed", tmp_path / "p", "-g", tmp_path / "g").out


@pytest.fixture
def odd(photos: Path) -> Path:
    """Photos, and links to a pipe, a device and a socket."""
    os.mkfifo(photos.parent / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(photos.parent / "s"))
    for name, target in {
        "pipe.jpg": photos.parent / "pipe",
        "zero.png": Path("/dev/zero"),
        "s.jpg": photos.parent / "s",
    }.items():
        (photos / name).symlink_to(target)
    (photos / "captions.txt").symlink_to(photos.parent / "pipe")
    return photos


_REASONS = {"pipe.jpg": "a named pipe, not a file", "zero.png": "a device, not a file", "s.jpg": "a socket, not a file"}


@pytest.mark.parametrize("way", ["folder", "named", "listed"])
def test_links_to_what_is_no_file_are_told_at_once(odd: Path, tmp_path: Path, mmsearch: Command, way: str) -> None:
    """Opening a pipe waits for whoever writes into it: it is skipped with its reason, and never opened."""
    paths = [odd]
    if way != "folder":
        paths = sorted(odd.glob("*.[jp]*"))
    if way == "listed":
        (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
        paths = [tmp_path / "list.txt"]
    done = mmsearch("embed", *paths, "--model", "fake", "-g", tmp_path / "g")
    assert done.code == 0, done.err
    reasons = {row.path.rpartition("/")[2]: row.reason for _, row in skipped(tmp_path / "g")}
    assert {name: reasons.get(name) for name in _REASONS} == _REASONS


def test_captions_are_not_read_from_pipes(odd: Path, tmp_path: Path, mmsearch: Command) -> None:
    """Neither from one that is named nor from one beside the pictures."""
    mmsearch("embed", odd, "--model", "fake", "-g", tmp_path / "g")
    done = mmsearch("embed", "--captions", odd / "captions.txt", "-g", tmp_path / "g")
    assert done.code == 1
    assert "named pipe" in done.err
    done = mmsearch("embed", "--captions", odd, "-g", tmp_path / "g")
    assert done.code == 1
    assert "named pipe" in done.err


def test_a_tar_behind_a_tar_is_read_too(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    """`cat a.tar b.tar`: tar stops at the first end, and what stands behind it was lost without a word."""
    files = sorted(photos.glob("*.png"))[:3]
    parts = [make_tar(tmp_path / f"{file.stem}.tar", [(file.name, file.read_bytes())]).read_bytes() for file in files]
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "all.tar").write_bytes(b"".join(parts) + b"left behind by others")
    done = mmsearch("embed", tmp_path / "p", "--model", "fake", "-g", tmp_path / "g")
    assert "3 added" in done.out, done.err


def test_a_member_without_a_name_is_said(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    file = next(photos.glob("*.png"))
    make_tar(tmp_path / "a.tar", [("", file.read_bytes()), ("x.png", file.read_bytes())])
    done = mmsearch("embed", tmp_path / "a.tar", "--model", "fake", "-g", tmp_path / "g")
    assert "1 added" in done.out, done.err
    assert [row.reason for _, row in skipped(tmp_path / "g")] == ["it has no name in the archive"]


def test_files_and_folders_named_together_in_a_new_gallery(photos: Path, tmp_path: Path, mmsearch: Command) -> None:
    """`embed *`: the line says which folder to name, and of nothing that it be forgotten first."""
    done = mmsearch("embed", *sorted(photos.iterdir()), "--model", "fake", "-g", tmp_path / "g")
    assert done.code == 1
    assert f"mmsearch embed {photos} " in done.err
    assert "forget" not in done.err


def test_an_empty_archive_is_an_error(tmp_path: Path, mmsearch: Command) -> None:
    make_tar(tmp_path / "a.tar", [])
    done = mmsearch("embed", tmp_path / "a.tar", "--model", "fake", "-g", tmp_path / "g")
    assert done.code == 1
    assert "an empty archive" in done.err


def test_a_folder_called_like_a_scheme_is_a_folder(
    photos: Path, tmp_path: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "s3:")
    done = mmsearch("embed", "s3:/more", "--model", "fake", "-g", tmp_path / "g")
    assert "6 added" in done.out, done.err


def test_pictures_that_moved_are_offered_to_relocate_and_do_not_stand_there_twice(
    photos: Path, tmp_path: Path, mmsearch: Command
) -> None:
    """Roots are relative to the gallery: who moves it without its pictures has moved them too, as it sees it."""
    gallery = photos / ".mmsearch"
    assert mmsearch("embed", photos, "--model", "fake", "-g", gallery).code == 0
    moved = tmp_path / "elsewhere" / ".mmsearch"
    moved.parent.mkdir(parents=True)
    gallery.rename(moved)
    asked = mmsearch("query", "red", "-k", 1, "-g", moved)
    assert "mmsearch relocate" in asked.err
    again = mmsearch("embed", photos, "-g", moved)
    assert again.code == 1
    assert "were moved" in again.err
    command = again.err.split("mmsearch relocate ")[1].split(". To have")[0].split()
    done = mmsearch("relocate", *command, "-g", moved)
    assert done.code == 0, done.err
    assert "12 unchanged" in mmsearch("embed", photos, "-g", moved).out
    (tmp_path / "other").mkdir()
    write_picture(tmp_path / "other" / "new.png", "red", seed=3)
    photos.rename(tmp_path / "away")
    assert (
        mmsearch("embed", tmp_path / "other", "-g", moved).code == 0
    )  # a disk that is not there stops no other folder
