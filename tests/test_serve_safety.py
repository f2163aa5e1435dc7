"""Who is let in, what is given out, and what a hostile client can cost."""

import hmac
import io
import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.errors import MmsearchError
from mmsearch.gallery import Gallery
from mmsearch.items import ImageRow
from mmsearch.search.gallery_files import image_row
from mmsearch.serve import connections, safety
from mmsearch.serve.running import ServeOptions, gallery_app
from tests.fakes import FakeEncoder, write_picture
from tests.servers import Running, running, talk

TOKEN = "a-token-of-some-length"


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery) as found:
        yield found


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery that no test changes."""
    folder = tmp_path_factory.mktemp("still")
    write_picture(folder / "photos" / "red.png", "red")
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder())
    return folder / "g"


@pytest.fixture(scope="module")
def open_to_all(still: Path) -> Iterator[Running]:
    with running(still) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(still: Path) -> Iterator[Running]:
    with running(still, options=ServeOptions(token=TOKEN, host="0.0.0.0", allow_hosts=["photos.home"])) as found:
        yield found


def row_of(gallery: Path, name: str) -> int:
    return next(row_id for row_id, _, path in Gallery.open(gallery).image_names() if path == name)


# --- who is let in ----------------------------------------------------------------------------------------------------

EVERYTHING = [
    "/api/gallery",
    "/api/images/1",
    "/api/images/1/crop",
    "/api/images/1/original",
    "/api/openapi.json",
    "/api/sample",
    "/api/timeline",
    "/api/timeline/pictures",
    "/api/timeline/rows",
    "/api/facets/year",
    "/api/folders",
    "/api/zips/0123456789abcdef0123456789abcdef",
    "/api/pictures/0123456789abcdef0123456789abcdef/thumbnail",
    "/metrics",
]


@pytest.mark.parametrize("path", EVERYTHING)
def test_nothing_is_given_without_the_token(path: str, guarded: Running) -> None:
    wrong = {"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": TOKEN}, {"authorization": "Bearer"}
    for headers in (
        {},
        *wrong,
        {"cookie": f"mmsearch_8765={TOKEN}x"},
        {"authorization": "Bearer \xff".encode("latin-1")},
    ):
        response = guarded.get(path, headers=headers)
        assert (response.status_code, list(response.json())) == (401, ["error"])
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    assert guarded.get(path + "?token=wrong").status_code == 401


def test_the_token_opens_by_header_and_by_a_cookie_that_the_address_sets(guarded: Running) -> None:
    assert guarded.get("/api/gallery", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    visit = guarded.get(f"/?q=a+b&token={TOKEN}&like=1")
    assert (visit.status_code, visit.headers["location"]) == (303, "/?q=a+b&like=1")
    assert visit.headers["set-cookie"] == f"mmsearch_8765={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    guarded.client.cookies.clear()
    assert guarded.get("/api/gallery", headers={"cookie": f"a=b; mmsearch_8765={TOKEN}"}).status_code == 200
    assert guarded.get(f"/api/gallery?token={TOKEN}").status_code == 401  # an address ends up in logs
    assert guarded.get("/health").status_code == 200  # which watchers ask
    guarded.client.cookies.clear()
    session = guarded.post("/api/session", headers={"authorization": f"Bearer {TOKEN}"})
    assert (session.status_code, session.headers["set-cookie"]) == (204, visit.headers["set-cookie"])
    guarded.client.cookies.clear()
    refused = guarded.post("/api/session", headers={"authorization": f"Bearer {TOKEN}x"})
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)


def test_the_page_itself_holds_nothing_of_the_gallery_and_may_ask_for_the_token(
    guarded: Running, open_to_all: Running
) -> None:
    assert guarded.get("/").text == open_to_all.get("/").text
    assert guarded.get("/static/main.js").status_code == 200


def test_every_wrong_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    access = safety.Access.of(TOKEN, [], 1)
    assert [access.admits(given) for given in (TOKEN, "x", "", "\udcff", None)] == [True, False, False, False, False]
    assert len(compared) == 4
    assert all(isinstance(part, bytes) for pair in compared for part in pair)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:{port}", True),
        ("localhost:{port}", True),
        ("LOCALHOST", True),
        ("[::1]:{port}", True),
        ("evil.example:{port}", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.7", False),
        ("", False),
    ],
)
def test_a_name_that_leads_here_by_somebody_elses_dns_is_refused(host: str, known: bool, open_to_all: Running) -> None:
    response = open_to_all.get("/api/gallery", headers={"host": host.format(port=open_to_all.port)})
    assert response.status_code == (200 if known else 421)


def test_behind_a_token_addresses_and_allowed_names_are_known(guarded: Running) -> None:
    for host, status in (("192.168.1.7:8765", 200), ("photos.home", 200), ("evil.example", 421)):
        headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
        assert guarded.get("/api/gallery", headers=headers).status_code == status, host


def test_pages_of_other_sites_are_not_answered(open_to_all: Running) -> None:
    body = {"parts": [{"text": "red"}]}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{open_to_all.port + 1}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        more = {"content-type": "application/json"}
        assert open_to_all.post("/api/query", body, headers=headers | more).status_code == 403, headers
        if "sec-fetch-site" in headers:
            assert open_to_all.get("/api/images/1/original", headers=headers).status_code == 403
    own = {"origin": open_to_all.url, "sec-fetch-site": "same-origin", "content-type": "application/json"}
    assert open_to_all.post("/api/query", body, headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert open_to_all.get("/health", headers=link).status_code == 200
    assert open_to_all.get("/health", headers=link | {"sec-fetch-dest": "iframe"}).status_code == 403
    assert open_to_all.client.options("/api/query", headers={"origin": "https://evil.example"}).status_code == 403


def test_a_form_of_another_site_is_no_query(open_to_all: Running) -> None:
    """What a page can send without asking first has no JSON content type."""
    sent = open_to_all.post(
        "/api/query", content='{"parts": [{"text": "red"}]}', headers={"content-type": "text/plain"}
    )
    assert sent.status_code == 422


def test_an_address_that_others_reach_wants_a_token(gallery: Path) -> None:
    with pytest.raises(MmsearchError, match=r"0\.0\.0\.0 is an address that others reach.*--token"):
        gallery_app(gallery, options=ServeOptions(host="0.0.0.0"))
    with pytest.raises(MmsearchError, match="fewer than 16 characters"):
        gallery_app(gallery, options=ServeOptions(token="short"))
    with pytest.raises(MmsearchError, match="no header may"):
        gallery_app(gallery, options=ServeOptions(token="a token with white space"))


def test_no_log_and_no_error_holds_the_token(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(gallery, options=ServeOptions(token=TOKEN, access_log=True)) as server:
        server.get(f"/?token={TOKEN}")
        server.get("/a%0Ab%1b[31m", headers={"authorization": f"Bearer {TOKEN}"})
        server.client.cookies.clear()
        server.get("/metrics", headers={"authorization": f"Bearer {TOKEN}x"})
    err = capfd.readouterr().err
    assert TOKEN not in err
    assert [line.split(" ")[1:4] for line in err.splitlines()] == [
        ["GET", "/", "303"],
        ["GET", "/a\\nb\\x1b[31m", "404"],
        ["GET", "/metrics", "401"],
    ]


def test_a_bug_is_told_to_the_log_and_not_to_the_client(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("mmsearch.serve.query_threads.answer_queries", fail)
    response = server.post("/api/query", {"parts": [{"text": "red"}]})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert list(response.json()) == ["error"]
    until = time.monotonic() + 60
    while "ZeroDivisionError: a secret" not in log.getvalue() and time.monotonic() < until:  # it comes after the answer
        time.sleep(0.01)
    assert "ZeroDivisionError: a secret" in log.getvalue()


# --- what is given out ------------------------------------------------------------------------------------------------


def given(server: Running, row_id: int) -> set[int]:
    """The statuses with which a picture and its thumbnails are given."""
    asked = ("original", "thumbnail", "thumbnail?edge=1280")
    return {server.get(f"/api/images/{row_id}/{what}").status_code for what in asked}


def replace_by_another_picture(file: Path) -> None:
    write_picture(file, "green", seed=999)


def replace_by_bytes_of_the_same_length(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def replace_by_a_link_to_a_secret(file: Path) -> None:
    secret = file.parent.parent / "secret"
    secret.write_bytes(os.urandom(file.stat().st_size))
    file.unlink()
    file.symlink_to(secret)


def replace_by_a_link_to_a_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_a_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


def remove(file: Path) -> None:
    file.unlink()


def swap_the_folder_for_a_link(file: Path) -> None:
    other = file.parent.parent / "other"
    other.mkdir()
    (other / file.name).write_bytes(b"secret")
    file.parent.rename(file.parent.parent / "moved")
    file.parent.symlink_to(other)


@pytest.mark.parametrize(
    "change",
    [
        replace_by_another_picture,
        replace_by_bytes_of_the_same_length,
        replace_by_a_link_to_a_secret,
        replace_by_a_link_to_a_device,
        replace_by_a_pipe,
        replace_by_a_folder,
        replace_by_a_link_to_itself,
        append,
        remove,
        swap_the_folder_for_a_link,
    ],
    ids=lambda change: change.__name__,
)
def test_what_is_no_longer_what_was_embedded_is_not_given(
    change: Callable[[Path], object], server: Running, gallery: Path, photos: Path
) -> None:
    row_id = row_of(gallery, "red.png")
    change(photos / "red.png")
    assert given(server, row_id) == {410}
    assert server.get("/health").status_code == 200


def test_a_link_to_the_same_content_is_that_content(server: Running, gallery: Path, photos: Path) -> None:
    (photos / "red.png").rename(photos.parent / "moved.png")
    (photos / "red.png").symlink_to(photos.parent / "moved.png")
    assert given(server, row_of(gallery, "red.png")) == {200}


def test_a_picture_that_left_the_gallery_is_not_given(server: Running, gallery: Path, photos: Path) -> None:
    row_id = row_of(gallery, "red.png")
    assert given(server, row_id) == {200}
    (photos / "red.png").rename(photos.parent / "kept.png")
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    (photos.parent / "kept.png").rename(photos / "red.png")
    assert given(server, row_id) == {404}


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made there")
@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.png",
        b"<img src=x onerror=alert(1)>.png",
        b"a\"b'c.png",
        b"a\nb\r.png",
        b"%2e%2e%2f.png",
        b"-rf $(x).png",
    ],
)
def test_hostile_names_are_names(name: bytes, gallery: Path, photos: Path) -> None:
    file = write_picture(photos / "new.png", "white", seed=5)
    target = os.fsencode(photos) + b"/" + name
    os.rename(file, target)  # noqa: PTH104 - to a name that is no text
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    row_id = row_of(gallery, os.fsdecode(name))
    with running(gallery) as server:
        assert given(server, row_id) == {200}
        shown = server.get(f"/api/images/{row_id}").json()["path"]
        assert shown == name.decode("utf-8", "backslashreplace")
        assert "content-disposition" in (headers := server.get(f"/api/images/{row_id}/original").headers)
        assert shown not in headers["content-disposition"]
        assert shown in [hit["path"] for hit in server.ask("white", k=20)["hits"]]


def test_members_of_archives_are_given_while_they_are_the_same(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", "blue")
    archive = tmp_path / "photos" / "a.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "x.png", "in/x.png")
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=FakeEncoder())
    (row_id,) = (row_id for row_id, _, _ in Gallery.open(tmp_path / "g").image_names())
    with running(tmp_path / "g") as server:
        assert server.get(f"/api/images/{row_id}/original").content == (tmp_path / "x.png").read_bytes()
        bomb = b"\0" * (200 << 20)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("in/x.png", bomb)
        assert given(server, row_id) == {410}
        archive.unlink()
        os.mkfifo(archive)
        assert given(server, row_id) == {410}


def test_of_a_gallery_without_hashes_only_pictures_below_its_folder_are_given(
    gallery: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was imported: nothing says what its files were."""
    from mmsearch.serve.routes import images

    row_id = row_of(gallery, "red.png")
    monkeypatch.setattr(images, "image_row", _image_row_without_hash)
    with running(gallery) as server:
        assert given(server, row_id) == {200}
        (photos / "red.png").write_text("no picture")
        assert given(server, row_id) == {410}
        outside = write_picture(tmp_path / "outside.png", "red")
        (photos / "red.png").unlink()
        (photos / "red.png").symlink_to(outside)
        assert given(server, row_id) == {410}


def _image_row_without_hash(gallery: Gallery, row_id: int) -> ImageRow:
    return replace(image_row(gallery, row_id), content_hash=None, bytes=None)


# --- what a client can cost -------------------------------------------------------------------------------------------


def test_a_request_that_does_not_come_to_its_end_is_cut_off(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(safety, "_BODY_SECONDS", 0.3)
    started = time.monotonic()
    assert talk(server) == b""
    assert talk(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: ", b"y", pause=0.2) == b""
    head = (
        b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    )
    assert b" 408 " in talk(server, head + b"{").splitlines()[0]
    assert time.monotonic() - started < 10  # seconds, which the first of them alone would have by default
    assert server.ask("red")["hits"]


def test_a_head_without_an_end_is_cut_off(open_to_all: Running) -> None:
    assert b" 200 " not in talk(open_to_all, b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 1_000 + b"\r\n"] * 200)
    assert open_to_all.ask("red")["hits"]


def test_a_head_that_comes_in_one_burst_is_bounded_too(open_to_all: Running) -> None:
    """Its end comes with its beginning: no time passes in which it could be counted as it comes."""
    fields = b"".join(b"x-%d: " % number + b"y" * 1_000 + b"\r\n" for number in range(100))
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = talk(open_to_all, head + fields + b"\r\n")
    assert b" 200 " not in answer[:40]
    assert b"more than 65,536 bytes" in answer
    assert b" 200 " not in talk(open_to_all, head.replace(b"/health", b"/?" + b"q" * 70_000) + b"\r\n")[:40]
    assert b" 200 " in talk(open_to_all, head + fields[:50_000].rpartition(b"x-")[0] + b"\r\n")[:40]


def test_a_head_behind_a_request_that_is_being_answered_is_bounded(
    open_to_all: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.serve.query_threads import QueryThreads

    answers = QueryThreads._answers

    may_answer = threading.Event()

    def late(*asked: Any) -> Any:
        may_answer.wait(60)
        return answers(*asked)

    monkeypatch.setattr(QueryThreads, "_answers", late)
    body = b'{"parts": [{"text": "red"}]}'
    head = b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    more = [b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 50_000 + b"\r\n"] * 20]
    received = talk(open_to_all, request, *more, pause=0.01)  # and is closed though nothing was answered
    may_answer.set()
    assert b" 200 " not in received


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Content-Type", "Authorization", "Origin"])
@pytest.mark.parametrize("values", [("localhost", "evil.example"), ("evil.example", "localhost"), ("2", "2")])
def test_a_header_that_stands_there_twice_has_no_meaning(
    name: str, values: tuple[str, str], open_to_all: Running
) -> None:
    head = b"POST /api/query HTTP/1.1\r\n" + (b"" if name == "Host" else b"Host: localhost\r\n")
    head += b"Connection: close\r\n"
    twice = "".join(f"{name}: {value}\r\n" for value in values).encode()
    assert b" 400 " in talk(open_to_all, head + twice + b"\r\n{}").splitlines()[0]


@pytest.mark.parametrize(
    "path", ["/", "/health", "/metrics", "/api/gallery", "/api/sample", "/api/images/0", "/api/images/0/thumbnail"]
)
def test_head_is_get_without_the_body(path: str, open_to_all: Running) -> None:
    asked = open_to_all.client.head(path)
    wanted = open_to_all.get(path)
    assert (asked.status_code, asked.content) == (wanted.status_code, b"") == (200, b"")
    assert asked.headers["content-type"] == wanted.headers["content-type"]
    if path != "/metrics":  # whose counters count this too
        assert asked.headers["content-length"] == wanted.headers["content-length"]
    assert open_to_all.client.head("/api/images/1000000").status_code == 404
    assert open_to_all.client.head("/api/query").status_code == 405


@pytest.mark.parametrize(
    "request_",
    [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01" * 99],
)
def test_what_is_no_http_is_answered_by_closing(request_: bytes, open_to_all: Running) -> None:
    assert b" 200 " not in talk(open_to_all, request_)[:40]
    assert open_to_all.ask("red")["hits"]


def test_many_filters_and_pictures_do_not_pile_up(open_to_all: Running) -> None:
    for number in range(30):
        open_to_all.ask("red", where=f"width > {number}", k=1)
    from mmsearch.serve.instruments import TextMemory

    memory = TextMemory()
    import numpy as np

    for number in range(2_000):
        memory.put("f", str(number), np.zeros(3, np.float32), False)
    assert memory.get("f", "0") is None
    assert memory.get("f", "1999") is not None


def test_the_cache_of_thumbnails_is_bounded(gallery: Path, photos: Path, tmp_path: Path) -> None:
    from mmsearch.cache import cache_dir

    for number in range(30):
        Image.effect_noise((320, 240), 80).convert("RGB").save(photos / f"noise {number}.png")
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    with running(gallery, options=ServeOptions(thumbnail_bytes=200_000)) as server:
        for row_id, _, _ in Gallery.open(gallery).image_names():
            assert server.get(f"/api/images/{row_id}/thumbnail").status_code == 200
        kept = list((cache_dir() / "thumbnails").iterdir())
        assert 0 < sum(file.stat().st_size for file in kept) <= 200_000
        assert (cache_dir() / "thumbnails").stat().st_mode & 0o077 == 0
    (cache_dir() / "thumbnails" / ".torn.tmp").write_bytes(b"x")
    with running(gallery, options=ServeOptions(thumbnail_bytes=100_000)) as server:  # takes up what is there
        kept = list((cache_dir() / "thumbnails").iterdir())
        assert 0 < sum(file.stat().st_size for file in kept) <= 100_000
        assert not [file for file in kept if file.suffix == ".tmp"]


def test_threads_that_are_lost_make_the_server_unwell(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said that all was well while no picture was given out any more."""
    monkeypatch.setattr("mmsearch.serve.service._DRAW_SECONDS", 0.1)
    monkeypatch.setattr("mmsearch.serve.pools._MOST_LOST", 2)
    going_on = threading.Event()
    monkeypatch.setattr("mmsearch.images.draw_jpeg", lambda *_: going_on.wait(120) and b"")
    with running(gallery) as server:
        assert server.get("/health").status_code == 200
        for row_id, _, _ in [*Gallery.open(gallery).image_names()][:2]:
            assert server.get(f"/api/images/{row_id}/thumbnail").status_code == 422
        unwell = server.get("/health")
        assert (unwell.status_code, "all threads for thumbnails" in unwell.json()["error"]) == (503, True)
        going_on.set()
        until = time.monotonic() + 60
        while server.get("/health").status_code != 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert server.get("/health").json()["status"] == "ok"


def test_queries_that_are_never_done_make_the_server_unwell(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.budget import Budget
    from mmsearch.serve import query_threads

    monkeypatch.setattr(query_threads, "REQUEST", Budget(seconds=1))
    going_on = threading.Event()
    monkeypatch.setattr(
        query_threads,
        "answer_queries",
        lambda asked, *_, **__: going_on.wait(120) and [MmsearchError("late")] * len(asked),
    )
    with running(gallery) as server:
        for _ in range(2):  # one a thread for filters
            assert "longer than 1 s" in server.error({"parts": [{"text": "red"}], "where": "width > 3"})
        end = time.monotonic() + 60  # an answer may be sent a moment before its thread is given up
        while (unwell := server.get("/health")).status_code != 503 and time.monotonic() < end:
            time.sleep(0.05)
        assert (unwell.status_code, "no thread is left that answers filters" in unwell.json()["error"]) == (503, True)
        going_on.set()
