"""Two processes at once, and Ctrl-C between any two lines: what was committed stays right."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import EmbedOptions, embed, file_sync
from mmsearch.embedding.recording import RowRecorder
from mmsearch.encoders import Pixels
from mmsearch.gallery import Gallery, commit_index, rewrite_wasteful
from mmsearch.gallery.gallery_writer import GalleryWriter
from mmsearch.indexing import index
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import EXACT
from mmsearch.upkeep import maintenance as maintain
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import contents

FILES = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in range(FILES):
        write_picture(tmp_path / "photos" / f"{place}.png", list(COLOURS)[place % 6], seed=place)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path


@pytest.fixture
def late_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """An index that was built of the gallery as it is now, and is committed when it is called."""
    held: list[Callable[[], Any]] = []

    def hold(gallery: Gallery, *arguments: Any, **more: Any) -> Gallery:
        held.append(lambda: commit_index(gallery, *arguments, **more))
        return gallery

    with monkeypatch.context() as patch:
        patch.setattr("mmsearch.indexing.index_run.commit_index", hold)
        index(folder / "g")

    def commit() -> None:
        while held:
            held.pop()()

    return commit


def delete_half(folder: Path) -> None:
    for place in range(FILES // 2):
        (folder / "photos" / f"{place}.png").unlink()
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())


def assert_complete(folder: Path, live: int) -> None:
    answers = open_gallery(folder / "g", encoder=FakeEncoder())
    found, exact = (answers.query("red", k=1000, options=options) for options in (type(EXACT)(), EXACT))
    assert [hit.row_id for hit in found] == [hit.row_id for hit in exact]
    assert len(found) == answers.gallery.live_rows("images") == live


def test_an_index_committed_while_compact_rewrites(
    folder: Path, late_index: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds rows that the rewrite is dropping at that moment; they must be known as dead."""
    delete_half(folder)

    def rewrite(*arguments: Any) -> Any:
        proposed = rewrite_wasteful(*arguments)
        late_index()
        return proposed

    monkeypatch.setattr(maintain, "rewrite_wasteful", rewrite)
    maintain.compact(folder / "g")
    assert Gallery.open(folder / "g").index_for("images") is not None
    assert_complete(folder, FILES // 2)


def test_an_index_committed_while_embed_works(folder: Path, late_index: Callable[[], None]) -> None:
    """Also one whose rows were partly compacted away: the embed neither stops nor loses what it has done."""
    delete_half(folder)
    maintain.compact(folder / "g")
    for place in range(100, 110):
        write_picture(folder / "photos" / f"{place}.png", "red", seed=place)

    class Meanwhile(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            late_index()
            return super().encode_images(pixels)

    report = embed([folder / "photos"], gallery=folder / "g", encoder=Meanwhile())
    assert report.images.added == 10
    assert_complete(folder, FILES // 2 + 10)


def test_compact_comes_to_an_end(folder: Path, late_index: Callable[[], None]) -> None:
    """Run again, it has nothing to do: no new version, also with shards and lists that cannot be merged."""
    delete_half(folder)
    late_index()
    maintain.compact(folder / "g")
    version = Gallery.open(folder / "g").manifest.version
    assert maintain.compact(folder / "g").shards_after == 1
    assert Gallery.open(folder / "g").manifest.version == version
    assert_complete(folder, FILES // 2)


def interrupted_at(point: int, work: Callable[[], Any]) -> BaseException | None:
    """Run `work`, with Ctrl-C at the `point`-th line that the code of committing and appending executes."""
    watched = {
        function.__code__
        for function in (
            GalleryWriter.commit,
            GalleryWriter._commit,
            GalleryWriter._write_pending,
            GalleryWriter.append,
            GalleryWriter.delete,
            RowRecorder.delete_broken,
            file_sync._delete_vanished,
        )
    }
    passed = 0

    def line(_: FrameType, event: str, __: Any) -> Any:
        nonlocal passed
        if event == "line":
            passed += 1
            if passed - 1 == point:
                raise KeyboardInterrupt
        return line

    sys.settrace(lambda frame, event, _: line if frame.f_code in watched else None)
    try:
        work()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(None)
    return None


@pytest.mark.soak
def test_ctrl_c_at_any_line_of_a_commit(tmp_path: Path) -> None:
    """Never a row twice, never a count that is off, and the same call finishes the job."""
    photos = tmp_path / "photos"
    for place in range(4):
        write_picture(photos / f"{place}.png", "red", seed=place)
    embed([photos], gallery=tmp_path / "before", encoder=FakeEncoder())
    for place in (0, 1, 10, 11):
        write_picture(photos / f"{place}.png", "blue", seed=50 + place)
        os.utime(photos / f"{place}.png", ns=(7, 7))
    (photos / "3.png").unlink()
    (photos / "2.png").write_text("broken")

    def run() -> None:
        embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder(), options=EmbedOptions(threads=1))

    point = 0
    while True:
        shutil.rmtree(tmp_path / "g", ignore_errors=True)
        shutil.copytree(tmp_path / "before", tmp_path / "g")
        if interrupted_at(point, run) is None:
            break
        contents(tmp_path / "g")  # fails on rows that stand twice and on wrong counts
        run()
        found = contents(tmp_path / "g")
        assert sorted(path for _, path in found) == ["0.png", "1.png", "10.png", "11.png"]
        gallery = Gallery.open(tmp_path / "g")
        ids = np.concatenate([block.row_ids for block in gallery.vector_blocks("images")])
        assert len(gallery.vectors("images", ids)) == 4
        point += 1
    assert point > 40
