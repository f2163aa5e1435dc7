"""A served gallery that others write: followed at once, and never answered wrongly meanwhile."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.exact import exact_search
from mmsearch.gallery import Gallery, InMemoryGallery, open_writer
from mmsearch.indexing import index
from mmsearch.items import ImageRow
from mmsearch.search.answers import Answer
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query
from mmsearch.serve.running import ServeOptions
from mmsearch.upkeep.maintenance import compact, forget
from tests.fakes import FakeEncoder, write_picture
from tests.servers import Running, running

ALL = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(30):
        write_picture(tmp_path / "photos" / f"{number}.png", "red", seed=number)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path


def paths(server: Running, **more: object) -> set[str]:
    return {hit["path"] for hit in server.ask("red", k=ALL, **more)["hits"]}


def test_each_change_is_answered_from_the_next_question_on(folder: Path) -> None:
    """Embedded, deleted, indexed, compacted, forgotten: no question after it is answered from before it."""
    gallery, photos = folder / "g", folder / "photos"
    names = {f"{number}.png" for number in range(30)}
    with running(gallery) as server:
        assert paths(server) == names
        write_picture(photos / "new.png", "red", seed=100)
        embed([photos], gallery=gallery, encoder=FakeEncoder())
        assert paths(server) == names | {"new.png"}
        (photos / "3.png").unlink()
        embed([photos], gallery=gallery, encoder=FakeEncoder())
        assert paths(server) == (names | {"new.png"}) - {"3.png"}
        index(gallery)
        assert paths(server) == (names | {"new.png"}) - {"3.png"}
        (photos / "4.png").unlink()
        embed([photos], gallery=gallery, encoder=FakeEncoder())
        compact(gallery, grace=timedelta(0))
        assert paths(server) == (names | {"new.png"}) - {"3.png", "4.png"}
        assert paths(server, where="path like '1%'") == {name for name in names if name.startswith("1")}
        write_picture(folder / "more" / "other.png", "red", seed=101)
        embed([folder / "more"], gallery=gallery, encoder=FakeEncoder())
        forget(photos, gallery=gallery)
        assert paths(server) == {"other.png"}
        assert server.get("/api/gallery").json()["images"] == 1


def test_a_version_is_followed_without_a_question(folder: Path) -> None:
    with running(folder / "g") as server:
        write_picture(folder / "photos" / "new.png", "red", seed=100)
        embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())
        version, until = Gallery.open(folder / "g").manifest.version, time.monotonic() + 60
        while server.get("/health").json()["version"] != version:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_gallery_that_is_gone_is_said_to_be_and_comes_back(folder: Path) -> None:
    with running(folder / "g") as server:
        (folder / "g").rename(folder / "away")
        assert "is gone" in server.error({"parts": [{"text": "red"}]}, 503)
        assert server.get("/health").status_code == 503
        (folder / "away").rename(folder / "g")
        assert len(server.ask("red", k=5)["hits"]) == 5
        assert server.get("/health").status_code == 200


def test_a_gallery_that_is_made_anew_with_another_encoder_is_not_answered_by_the_old(folder: Path) -> None:
    """Its vectors have nothing to do with what the old one says of a text."""
    with running(folder / "g", encoder=FakeEncoder("fake")) as server:
        assert server.ask("red")["hits"]
        other = FakeEncoder("other")
        embed([folder / "photos"], gallery=folder / "g2", encoder=other)
        embed([folder / "photos" / "1.png"], gallery=folder / "g2", encoder=other)
        for number in range(5):  # so that its version is another
            write_picture(folder / "photos" / f"x{number}.png", "red", seed=200 + number)
            embed([folder / "photos"], gallery=folder / "g2", encoder=other)
        shutil.rmtree(folder / "g")
        (folder / "g2").rename(folder / "g")
        assert "other" in server.error({"parts": [{"text": "red"}]}, 409)


@contextmanager
def asked_meanwhile(server: Running, gone: set[str], check: Callable[[list[Any], set[str]], None]) -> Iterator[None]:
    """Ask without a pause while the block runs, and check the hits of every answer, with what was gone before it."""
    clients = 4
    stop = threading.Event()
    wrong: list[BaseException] = []
    count = [0] * clients

    def ask(number: int) -> None:
        more: dict[str, object] = {} if number % 2 else {"where": "path like '%'"}
        while not stop.is_set():
            try:
                before = set(gone)
                check(server.ask(f"red {count[number]}", k=ALL, **more)["hits"], before)
            except BaseException as error:  # noqa: BLE001 - raised below
                wrong.append(error)
                return
            count[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
        until = time.monotonic() + 60
        while not all(count) and not wrong and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[0]
    assert min(count) > 0


@pytest.mark.parametrize("hold_bytes", [0, 1 << 30])
def test_no_answer_is_wrong_or_lacks_anything_while_the_gallery_is_written(hold_bytes: int, folder: Path) -> None:
    """Pictures come, go and are put elsewhere; what stays all the time is in every answer, what is gone in none."""
    gallery, photos = folder / "g", folder / "photos"
    stay = {f"{number}.png" for number in range(30)}
    gone: set[str] = set()

    def check(hits: list[Any], gone_before: set[str]) -> None:
        found = [hit["path"] for hit in hits]
        assert stay <= set(found), stay - set(found)
        assert len(found) == len(set(found))
        assert not gone_before & set(found)
        assert [hit["rank"] for hit in hits] == list(range(1, len(found) + 1))

    options = ServeOptions(hold_bytes=hold_bytes)
    with running(gallery, options=options) as server, asked_meanwhile(server, gone, check):
        for number in range(6):
            write_picture(photos / f"new{number}.png", "red", seed=300 + number)
            embed([photos], gallery=gallery, encoder=FakeEncoder())
            if number % 2:
                index(gallery)
            if number >= 2:
                (photos / f"new{number - 2}.png").unlink()
                embed([photos], gallery=gallery, encoder=FakeEncoder())
                gone.add(f"new{number - 2}.png")
            compact(gallery, grace=timedelta(0))  # which takes away what the questions in flight read
            time.sleep(0.1)


# --- what is held -----------------------------------------------------------------------------------------------------


def written(folder: Path, rows: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with open_writer(folder, command="test") as writer:
        encoder = FakeEncoder().identity
        writer.set_encoder(type(encoder)(encoder.spec, encoder.fingerprint, 16))
        root = writer.add_root(folder.parent / "photos")
        for start in range(0, rows, 700):
            some = vectors[start : start + 700]
            made = [
                ImageRow(root.id, f"{number}.jpg", None, 1, 1, None, str(number).encode(), 4, 3, None)
                for number in range(start, start + len(some))
            ]
            writer.append("images", made, some)
            writer.commit()
    return vectors


@pytest.mark.parametrize("most_bytes", [1, 60_000, 1 << 30])
def test_what_is_held_answers_as_what_is_read(most_bytes: int, tmp_path: Path) -> None:
    """Whatever share of it there is room for: rows, vectors, filters, hashes, with dead rows and covered ranges."""
    vectors = written(tmp_path / "g", 2_000)
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.delete("images", np.arange(0, 2_000, 7))
        writer.commit()
    read = Gallery.open(tmp_path / "g")
    held = InMemoryGallery.wrap(read, most_bytes)
    everything: list[tuple[tuple[tuple[int, int], ...], int]] = [
        (skip, k) for skip in ((), ((100, 900),), ((0, 1_400), (1_500, 1_501))) for k in (1, 5, 2_000)
    ]
    for skip, k in everything:  # a dead row is the best for its own vector
        one, other = (
            exact_search(gallery.vector_blocks("images", skip=skip), vectors[:20], k) for gallery in (read, held)
        )
        three = exact_search(held.vector_blocks("images", skip=skip), vectors[:20], k, threads=3)
        for found in (other, three):
            assert np.array_equal(one.row_ids, found.row_ids)
            assert np.array_equal(one.scores, found.scores)
    some = np.array([1_999, 3, 700, 699, 14])
    assert read.image_rows(some) == held.image_rows(some)
    assert np.array_equal(read.vectors("images", some), held.vectors("images", some))
    assert read.row_with_content("images", b"1500") == held.row_with_content("images", b"1500")
    assert [read.is_live("images", row) for row in (3, 7, 9_999)] == [True, False, False]
    assert [held.is_live("images", row) for row in (3, 7, 9_999)] == [True, False, False]
    assert read.content_hashes("images") == held.content_hashes("images")
    assert held.bytes_in_memory <= most_bytes


def test_what_no_version_names_is_let_go(tmp_path: Path) -> None:
    written(tmp_path / "g", 2_000)
    opened = open_gallery(tmp_path / "g", hold=1 << 30)
    query = np.eye(16, dtype=np.float32)[:1]
    opened.search(query)
    held = opened.gallery
    assert isinstance(held, InMemoryGallery)
    before = held.bytes_in_memory
    with open_writer(tmp_path / "g", command="test") as writer:
        writer.delete("images", np.arange(1_990))
        writer.commit()
    compact(tmp_path / "g", grace=timedelta(0))
    newest = opened.newest()
    assert isinstance(newest.gallery, InMemoryGallery)
    newest.search(query)
    assert newest.gallery.bytes_in_memory < before / 10
    assert newest.newest() is newest


def test_many_threads_may_ask_one_gallery(folder: Path) -> None:
    opened = open_gallery(folder / "g", encoder=FakeEncoder(), hold=1 << 30)
    (expected,) = opened.ask_all([Query.of("red", k=7)])
    assert isinstance(expected, Answer)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(30):
            (answer,) = opened.ask_all([Query.of("red", k=7)])
            if not isinstance(answer, Answer) or answer.hits != expected.hits:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
