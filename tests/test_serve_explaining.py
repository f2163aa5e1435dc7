"""Where in a picture what is asked is seen, found by the server."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.budget import REQUEST
from mmsearch.embedding import embed
from mmsearch.encoders import Pixels
from mmsearch.gallery import Gallery
from mmsearch.search.kept_queries import keep_query
from mmsearch.search.query import Query, TextPart
from tests.hues import BLUE_SQUARE, RED_SQUARE, HueEncoder, middle, two_squares
from tests.servers import Running, running


@pytest.fixture(scope="module")
def hues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hues")
    two_squares(folder / "Photos" / "squares.png")
    two_squares(folder / "Photos" / "gone.png")
    embed([folder / "Photos"], gallery=folder / "g", encoder=HueEncoder())
    (folder / "Photos" / "gone.png").unlink()
    return folder / "g"


@pytest.fixture(scope="module")
def server(hues: Path) -> Iterator[Running]:
    with running(hues, encoder=HueEncoder()) as found:
        yield found


def row_of(server: Running, name: str) -> int:
    hits = server.get("/api/sample").json()["hits"]
    return next(int(hit["row_id"]) for hit in hits if hit["path"] == name)


def holds(box: list[float], square: tuple[float, ...]) -> bool:
    x, y = middle(square)
    return box[0] < x < box[2] and box[1] < y < box[3]


def test_each_phrase_has_its_box_and_heat(server: Running) -> None:
    row = row_of(server, "squares.png")
    answer = server.post(f"/api/images/{row}/regions", {"parts": [{"text": "a red square, a blue square and a kite"}]})
    assert answer.status_code == 200, answer.text
    red, blue, kite = answer.json()["regions"]
    assert [each["phrase"] for each in (red, blue, kite)] == ["a red square", "a blue square", "a kite"]
    assert holds(red["box"], RED_SQUARE)
    assert holds(blue["box"], BLUE_SQUARE)
    assert (kite["box"], kite["peak"], kite["heat"]) == (None, None, None)
    for each, square in ((red, RED_SQUARE), (blue, BLUE_SQUARE)):
        heat = np.array(each["heat"])
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        assert holds([x / 32 - 0.15, y / 32 - 0.15, x / 32 + 0.15, y / 32 + 0.15], square)
        assert each["fall"] > 0
        assert each["phrase_fall"] > 0


def test_a_preview_is_asked_for_and_says_that_it_is_one(server: Running) -> None:
    row = row_of(server, "squares.png")
    asked = {"parts": [{"text": "a red square"}]}
    (quick,) = server.post(f"/api/images/{row}/regions", asked | {"quick": True}).json()["regions"]
    (measured,) = server.post(f"/api/images/{row}/regions", asked).json()["regions"]
    assert (quick["preview"], measured["preview"]) == (True, False)
    assert holds(quick["box"], RED_SQUARE)
    assert quick["box"] != measured["box"]


def test_what_cannot_be_explained_says_why(server: Running) -> None:
    squares, gone = row_of(server, "squares.png"), row_of(server, "gone.png")
    red = {"parts": [{"text": "red"}]}
    many = {"parts": [{"text": ", ".join(f"thing {number}" for number in range(17))}]}
    for path, body, status, words in (
        (f"/api/images/{gone}/regions", red, 410, "gone since it was embedded"),
        ("/api/images/999/regions", red, 404, "no picture with the row id 999"),
        (f"/api/images/{squares}/regions", many, 422, "17 phrases; at most 16"),
        (f"/api/images/{squares}/regions", {"parts": []}, 422, "parts"),
    ):
        answer = server.post(path, body)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_a_gallery_whose_model_is_not_here_says_so(hues: Path) -> None:
    with running(hues, encoder="local-dir:/nowhere") as server:
        row = row_of(server, "squares.png")
        answer = server.post(f"/api/images/{row}/regions", {"parts": [{"like": row}]})
        assert answer.status_code == 409
        assert "nowhere" in answer.json()["error"]


def test_what_is_kept_is_explained_by_its_name(server: Running, hues: Path) -> None:
    keep_query("reds", Query([TextPart("a red thing")]), Gallery.open(hues))
    answer = server.post(f"/api/images/{row_of(server, 'squares.png')}/regions", {"parts": [{"kept": "reds"}]})
    assert [each["phrase"] for each in answer.json()["regions"]] == ["a red thing"]


class _SlowHues(HueEncoder):
    """Holds what is encoded in batches until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.held, self.may_go_on = 0, threading.Event(), threading.Event()
        side, encode = self.image, self.image.encode

        def slowly(pixels: Pixels) -> NDArray[np.float32]:
            if len(pixels) > 1:
                self.batches += 1
                self.held.set()
                assert self.may_go_on.wait(30)
            return encode(pixels)

        side.encode = slowly  # type: ignore[method-assign]


def test_it_ends_when_whoever_asked_has_left(hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one does not wait for what nobody wants."""
    noticed: list[threading.Event] = []

    def event() -> threading.Event:
        noticed.append(threading.Event())
        return noticed[-1]

    monkeypatch.setattr("mmsearch.serve.routes.explaining.Event", event)
    encoder = _SlowHues()
    with running(hues, encoder=encoder) as server:
        row = row_of(server, "squares.png")
        body = b'{"parts": [{"text": "red"}]}'
        head = f"POST /api/images/{row}/regions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert encoder.held.wait(30)
        assert noticed[0].wait(30)
        encoder.may_go_on.set()
        answer = server.post(f"/api/images/{row}/regions", {"parts": [{"text": "blue"}]})
        assert answer.status_code == 200
        assert encoder.batches == 1 + 5  # four of windows and one of boxes
        assert server.get("/health").status_code == 200


def test_it_takes_no_longer_than_it_may(hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.serve.routes.explaining.REQUEST", replace(REQUEST, explain_seconds=0))
    with running(hues, encoder=HueEncoder()) as server:
        answer = server.post(f"/api/images/{row_of(server, 'squares.png')}/regions", {"parts": [{"text": "red"}]})
        assert (answer.status_code, answer.json()["error"]) == (422, "this was given up: it took longer than 0 s")
