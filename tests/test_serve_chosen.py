"""Several pictures at once: sent as a zip that is made while it is sent, and their paths."""

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery, open_writer
from mmsearch.serve.running import ServeOptions
from mmsearch.serve.zips import NOT_INCLUDED, zip_pieces
from tests.browsing import photo
from tests.fakes import FakeEncoder
from tests.servers import Running, running

NAMES = (  # hostile ones too
    "a/IMG_1.png",
    "b/IMG_1.png",
    "c/img_1.PNG",
    "d/été 🐈.png",
    "e/x..png",
    'f/what?"is<it>.png',
    "g/IMG_1 (2).png",
)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        photo(tmp_path / "photos" / name, (20 * number, 90, 40), (40, 30))
    photo(tmp_path / "photos" / "dated.jpg", (9, 9, 9), (40, 30), "2024:05:01 12:30:10")
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery) as found:
        yield found


def rows_of(gallery: Path) -> dict[str, int]:
    return {name: row_id for row_id, _, name in Gallery.open(gallery).image_names()}


def unzipped(server: Running, rows: list[int]) -> zipfile.ZipFile:
    answer = server.post("/api/zips", {"row_ids": rows}).json()
    got = server.get(f"/api/zips/{answer['zip']}")
    assert got.status_code == 200
    assert got.headers["content-type"] == "application/zip"
    assert got.headers["content-disposition"] == 'attachment; filename="pictures.zip"'
    archive = zipfile.ZipFile(io.BytesIO(got.content))
    assert archive.testzip() is None
    return archive


def test_the_zip_holds_the_files_as_they_are_under_names_of_their_own(server: Running, gallery: Path) -> None:
    rows = rows_of(gallery)
    archive = unzipped(server, [rows[name] for name in (*NAMES, "dated.jpg")])
    assert archive.namelist() == [
        "IMG_1.png",
        "IMG_1 (2).png",
        "img_1 (3).PNG",
        "été 🐈.png",
        "x..png",
        "what__is_it_.png",
        "IMG_1 (2) (2).png",
        "dated.jpg",
    ]
    photos = gallery.parent / "photos"
    for member, name in zip(archive.infolist(), (*NAMES, "dated.jpg"), strict=True):
        assert archive.read(member) == (photos / name).read_bytes()
        assert member.compress_type == zipfile.ZIP_STORED
        assert not member.flag_bits & 8  # its size stands before it, so that whoever reads on need not guess
    assert archive.getinfo("dated.jpg").date_time == (2024, 5, 1, 12, 30, 10)


def test_what_is_gone_is_named_in_the_zip(server: Running, gallery: Path) -> None:
    rows = rows_of(gallery)
    photos = gallery.parent / "photos"
    (photos / NAMES[0]).unlink()
    (photos / NAMES[1]).write_bytes(b"something else")
    with open_writer(gallery, command="test") as writer:
        writer.delete("images", [rows[NAMES[2]]])
        writer.commit()
    asked = [rows[NAMES[0]], rows[NAMES[1]], rows[NAMES[2]], rows[NAMES[3]], 999_999]
    archive = unzipped(server, asked)
    assert archive.namelist() == ["été 🐈.png", NOT_INCLUDED]
    assert archive.read(NOT_INCLUDED).decode().splitlines() == [
        "a/IMG_1.png: the file is gone since it was embedded",
        "b/IMG_1.png: the file was changed since it was embedded",
        f"picture {asked[2]}: it is no longer in the gallery",
        "picture 999999: it is no longer in the gallery",
    ]
    answer = server.post("/api/zips", {"row_ids": asked}).json()
    assert (answer["pictures"], answer["bytes"] > 0) == (3, True)


def test_paths_come_in_the_order_asked(server: Running, gallery: Path) -> None:
    rows = rows_of(gallery)
    asked = [rows[NAMES[3]], 999_999, rows[NAMES[0]]]
    photos = gallery.parent / "photos"
    files = server.post("/api/files", {"row_ids": asked}).json()["files"]
    assert files == [str(photos / NAMES[3]), None, str(photos / NAMES[0])]


@pytest.mark.parametrize("route", ["/api/zips", "/api/files"])
def test_too_many_none_and_nonsense_are_refused(route: str, server: Running) -> None:
    for rows in ([], [-1], ["a"], [0] * 100_001):
        assert server.post(route, {"row_ids": rows}).status_code == 422
    unknown = server.get(f"/api/zips/{'0' * 32}")
    assert (unknown.status_code, "choose the pictures again" in unknown.json()["error"]) == (404, True)


def test_who_has_no_token_gets_no_zip_and_another_site_none_either(gallery: Path) -> None:
    token = "a-token-of-some-length"
    rows = {"row_ids": [*rows_of(gallery).values()][:1]}
    with running(gallery, options=ServeOptions(token=token)) as server:
        assert server.post("/api/zips", rows).status_code == 401
        known = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        body = b'{"row_ids": [0]}'
        zip_name = server.client.post("/api/zips", content=body, headers=known).json()["zip"]
        address = f"/api/zips/{zip_name}"
        assert server.get(address).status_code == 401
        assert server.get(address, headers=known).status_code == 200
        elsewhere = known | {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        assert server.get(address, headers=elsewhere).status_code == 403
        for route in ("/api/zips", "/api/files"):
            assert server.client.post(route, content=body, headers=elsewhere).status_code == 403


def test_memory_is_that_of_the_largest_file_and_not_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        picture = tmp_path / "photos" / f"{number}.bmp"
        photo(picture, (number, 1, 2), (800, 600))
        picture.write_bytes(picture.read_bytes()[:54] + rng.bytes(800 * 600 * 3))
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    gallery = Gallery.open(tmp_path / "g")
    rows = np.array([row_id for row_id, _, _ in gallery.image_names()], np.int64)
    [*zip_pieces(gallery, rows[:1])]
    tracemalloc.start()
    try:
        total = sum(map(len, zip_pieces(gallery, rows)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one = 800 * 600 * 3
    assert total > 12 * one
    assert most < 4.5 * one, most / one
