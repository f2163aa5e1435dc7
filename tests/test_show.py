"""`mmsearch show`: the hits of the last answer, by their ranks."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch.embedding import embed
from mmsearch.render.local_files import local_file
from mmsearch.search.last_answer import last_answer
from tests.archives import make_tar, make_zip
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture
from tests.servers import running

# A viewer that was started is not waited for.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g").code == 0
    return photos.parent / "g"


@pytest.fixture
def viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose viewer writes down what it is asked to open."""
    opened = tmp_path / "opened"
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "xdg-open"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {opened}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":9")
    return opened


def read_soon(file: Path, lines: int) -> list[str]:
    """What a program that runs on its own has written by then."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if file.exists() and len(found := file.read_text("utf-8").splitlines()) >= lines:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{file} was not written")


def test_a_hit_is_opened_by_its_rank(gallery: Path, mmsearch: Command, viewer: Path) -> None:
    paths = mmsearch("query", "red", "-k", 4, "-g", gallery, "--format", "paths").out.splitlines()
    done = mmsearch("show", 3)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"mmsearch: hit 3 of the answer to 'red': {paths[2]}\n"
    assert read_soon(viewer, 1) == [paths[2]]
    assert mmsearch("show", 2, 1, 2).code == 0
    assert sorted(read_soon(viewer, 3)[1:]) == sorted(paths[:2])
    assert mmsearch("show").err.startswith("mmsearch: hit 1 of")


def test_its_path_is_printed_for_other_programs(photos: Path, mmsearch: Command, viewer: Path) -> None:
    odd = photos / os.fsdecode(b"odd-\xff.png")
    write_picture(photos / "tmp.png", "red", seed=77).rename(odd)
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    paths = mmsearch("query", "red", "-k", 3, "-g", photos.parent / "g", "--format", "paths").out
    assert str(odd) in paths.splitlines()
    done = mmsearch("show", 1, 2, 3, "--print")
    assert (done.out, done.err) == (paths, "")
    assert not viewer.exists()


def test_without_a_display_the_path_is_printed_and_said_why(
    gallery: Path, mmsearch: Command, viewer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    path = mmsearch("query", "red", "-k", 1, "-g", gallery, "--format", "paths").out
    done = mmsearch("show")
    assert (done.code, done.out, done.err) == (0, path, "mmsearch: there is no display here: the path is printed\n")
    assert not viewer.exists()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    assert "a session over ssh" in mmsearch("show").err


def test_what_cannot_be_shown_is_said_in_a_line(gallery: Path, photos: Path, mmsearch: Command, viewer: Path) -> None:
    done = mmsearch("show")
    assert (done.code, done.err) == (
        1,
        'mmsearch: error: no answer is remembered. Ask first: mmsearch query "a dog"\n',
    )
    best = mmsearch("query", "red", "-k", 2, "-g", gallery, "--format", "paths").out.splitlines()[0]
    done = mmsearch("show", 3)
    assert (done.code, done.err) == (
        1,
        "mmsearch: error: the last answer, to 'red', has 2 hits: there is no hit 3\n",
    )
    Path(best).unlink()
    done = mmsearch("show", 1)
    assert (done.code, done.err) == (
        1,
        f"mmsearch: error: {best} is gone. To drop what is gone from the gallery: mmsearch embed\n",
    )
    assert mmsearch("show", 0).code == 2
    assert mmsearch("show", "x").code == 2
    assert "at most 20" in mmsearch("show", *range(1, 22)).err
    assert not viewer.exists()


def test_the_picture_of_a_caption_is_shown(photos: Path, mmsearch: Command, tmp_path: Path) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\nred.png,a red thing\n,of no picture\n", "utf-8")
    gallery = photos.parent / "g"
    assert mmsearch("embed", photos, "--captions", captions, "--model", "fake", "-g", gallery).code == 0
    hits = [
        json.loads(line)
        for line in mmsearch("query", "red", "--in", "captions", "-g", gallery, "--format", "jsonl").out.splitlines()
    ]
    by_caption = {hit["caption"]: hit["rank"] for hit in hits}
    assert mmsearch("show", by_caption["a red thing"], "--print").out == f"{photos / 'red.png'}\n"
    if "of no picture" in by_caption:
        assert "belongs to no picture" in mmsearch("show", by_caption["of no picture"], "--print").err


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_of_what_is_in_an_archive_a_copy_is_opened(
    make: Callable[[Path, list[tuple[str, bytes]]], Path],
    photos: Path,
    fake: FakeEncoder,
    mmsearch: Command,
    tmp_path: Path,
    viewer: Path,
) -> None:
    data = (photos / "red.png").read_bytes()
    folder = tmp_path / "archives"
    folder.mkdir()
    archive = folder / ("a.tar" if make is make_tar else "a.zip")
    make(archive, [("trip/red.png", data), ("trip/evil.desktop", (photos / "more" / "red.png").read_bytes())])
    embed([folder], gallery=tmp_path / "g", encoder=fake)
    hits = mmsearch("query", "red", "-g", tmp_path / "g", "--format", "paths").out.splitlines()
    assert mmsearch("show", 1, 2).code == 0
    copies = {Path(line).name: Path(line) for line in read_soon(viewer, 2)}
    assert set(copies) == {"red.png", "evil.png"}  # by what it is, whatever it is called
    assert copies["red.png"].read_bytes() == data
    assert copies["red.png"].stat().st_mode & 0o077 == 0 or copies["red.png"].parent.stat().st_mode & 0o077 == 0
    archive.unlink()
    assert f"error: {hits[0]} is gone" in mmsearch("show").err


def test_a_cache_that_cannot_be_written_costs_only_the_memory(
    gallery: Path, mmsearch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "file" / "cache"))
    done = mmsearch("query", "--like", "red.png", "-k", 1, "-g", gallery)
    assert (done.code, done.err) == (0, "")
    assert "no answer is remembered" in mmsearch("show").err


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"hits": 3}', b"\xff", b'{"hits": [{}], "asked": 1}'])
def test_whatever_stands_in_its_file_there_is_no_traceback(content: bytes, mmsearch: Command) -> None:
    folder = Path(os.environ["MMSEARCH_CACHE"]) / "answers"
    folder.mkdir()
    (folder / "no terminal.json").write_bytes(content)
    done = mmsearch("show")
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_what_was_asked_is_for_nobody_else_to_read(gallery: Path, mmsearch: Command) -> None:
    mmsearch("query", "red", "-g", gallery)
    folder = Path(os.environ["MMSEARCH_CACHE"]) / "answers"
    assert folder.stat().st_mode & 0o077 == 0
    assert [kind for kind in mmsearch("cache").out.split() if kind == "answers"]


def test_each_terminal_has_its_own_last_answer(gallery: Path, tmp_path: Path) -> None:
    """Two terminals ask; each shows its own hit, and a third, where nothing was asked, the newest."""

    def run(side: int, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mmsearch", *arguments], stdin=side, capture_output=True, check=True, cwd=tmp_path
        )
        return done.stdout.decode().strip()

    terminals = [pty.openpty() for _ in range(3)]
    best = [
        run(side, "query", "--like", like, "-k", "1", "-g", str(gallery), "--format", "paths")
        for like, (_, side) in zip(("red.png", "blue.png"), terminals, strict=False)
    ]
    assert best[0] != best[1]
    shown = [run(side, "show", "--print") for _, side in terminals]
    assert shown == [*best, best[1]]
    for pair in terminals:
        for each in pair:
            os.close(each)


def test_an_answer_of_a_server_on_another_machine_says_so(
    gallery: Path, photos: Path, mmsearch: Command, viewer: Path
) -> None:
    with running(gallery) as server:
        path = mmsearch("query", "--server", server.url, "--like", "red.png", "-k", 1, "--format", "paths").out.strip()
    assert mmsearch("show").code == 0
    assert read_soon(viewer, 1) == [path]
    photos.rename(photos.with_name("elsewhere"))
    done = mmsearch("show")
    assert f"the answer came from {server.url}" in done.err
    assert "is gone" in done.err


def test_a_piece_of_a_file_is_shown_by_the_file(tmp_path: Path) -> None:
    file = write_picture(tmp_path / "odd!" / "x.png")
    assert local_file(str(file)) == file


def test_it_is_remembered_at_once_and_whole(gallery: Path, mmsearch: Command) -> None:
    mmsearch("query", "red", "-k", 5, "-g", gallery)
    answer = last_answer()
    assert (answer.asked, list(answer.files), answer.server) == ("red", [1, 2, 3, 4, 5], None)
    mmsearch("query", "red", "-k", 1, "--where", "width > 10000", "-g", gallery)
    assert mmsearch("show").err == "mmsearch: error: the last answer, to 'red', has 0 hits: there is no hit 1\n"
