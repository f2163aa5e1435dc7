"""`mmsearch serve` and `mmsearch query --server`, as processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from mmsearch.embedding import embed
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture
from tests.processes import children
from tests.servers import Running, running

SERVE = [sys.executable, "-m", "mmsearch", "serve", "--port", "0"]


@pytest.fixture
def gallery(photos: Path, tmp_path: Path) -> Path:
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    return tmp_path / "g"


@contextlib.contextmanager
def started(*arguments: object, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server in a process of its own, and the line that it prints. Its model cannot be loaded."""
    process = subprocess.Popen(
        [*SERVE, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_says_where_it_is_answers_and_ends_well(number: signal.Signals, gallery: Path) -> None:
    with started("-g", gallery) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert httpx2.get(address + "health", trust_env=False).json() == {"status": "ok", "version": 1}
        idle = socket.create_connection(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2])))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        idle.close()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "warning: texts cannot be asked, pictures of the gallery can" in err


def test_no_answer_waits_for_an_acknowledgement(gallery: Path) -> None:
    """A kept connection whose small packets are held back (Nagle's algorithm) costs 40 ms an answer."""
    with started("-g", gallery) as (_, address), httpx2.Client(base_url=address, trust_env=False) as client:
        seconds = [client.get("health").elapsed.total_seconds() for _ in range(120)]
    assert sorted(seconds)[20] < 0.03  # on a machine that does much else, most may take longer


def connect_for_ever(port: int) -> None:
    """Until it is refused: a process takes a while to hear of a signal."""
    while True:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()


def test_what_is_in_flight_is_finished(gallery: Path, tmp_path: Path) -> None:
    """A body is still on its way when the server is told to stop; its answer comes, and then the end."""
    content = write_picture(tmp_path / "asked.png", "red", seed=0).read_bytes()
    with started("-g", gallery) as (process, address):
        port = int(address.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            head = f"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content[:10])
            httpx2.get(address + "health", trust_env=False)  # what came before it has been read
            process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError, match=r"refused|reset"):
                connect_for_ever(port)
            connection.sendall(content[10:])
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes of a process are listed there")
def test_it_ends_soon_whatever_is_at_work(gallery: Path) -> None:
    """A filter that never ends, a body that never comes."""
    with started("-g", gallery) as (process, address), httpx2.Client(base_url=address, trust_env=False) as client:
        assert client.get("api/sample?where=width%3E3").status_code == 200
        (filtering,) = children(process.pid)
        os.kill(filtering, signal.SIGSTOP)

        def ask() -> None:
            with contextlib.suppress(httpx2.HTTPError):
                httpx2.get(address + "api/sample?where=width%3E4", trust_env=False, timeout=60)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, 1)
        assert time.monotonic() - at < 30
        asking.join()
        until = time.monotonic() + 60
        while Path(f"/proc/{filtering}").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not Path(f"/proc/{filtering}").exists()


def test_a_port_that_is_taken_is_an_error_that_says_what_next(gallery: Path, mmsearch: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = mmsearch("serve", "-g", gallery, "--port", port)
    assert (result.code, result.out) == (1, "")
    assert f"port {port} of 127.0.0.1 is in use" in result.err
    assert "--port 0" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-g", "nowhere"], "no gallery at"),
        (["--host", "no.such.name.invalid"], "cannot listen at no.such.name.invalid"),
        (["--token", "short"], "fewer than 16 characters"),
        (["--token-file", "no-such-file"], "cannot read the token no-such-file"),
    ],
)
def test_what_cannot_be_served_is_an_error(
    arguments: list[str], message: str, gallery: Path, mmsearch: Command
) -> None:
    chosen = [] if "-g" in arguments else ["-g", gallery]
    result = mmsearch("serve", *chosen, "--port", 0, *arguments)
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_beyond_this_machine_a_token_is_made_and_printed(gallery: Path, tmp_path: Path) -> None:
    with started("-g", gallery, "--host", "0.0.0.0") as (_, address):
        found = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/\?token=([\w-]{20,})", address)
        assert found
        here = f"http://127.0.0.1:{found[1]}"
        assert httpx2.get(f"{here}/api/gallery", trust_env=False).status_code == 401
        known = {"authorization": f"Bearer {found[2]}"}
        assert httpx2.get(f"{here}/api/gallery", headers=known, trust_env=False).json()["images"] == 12
    (tmp_path / "token").write_text("a-token-from-a-file\n")
    with started("-g", gallery, "--token-file", tmp_path / "token") as (_, address):
        known = {"authorization": "Bearer a-token-from-a-file"}
        assert httpx2.get(f"{address}api/gallery", headers=known, trust_env=False).json()["images"] == 12
    with started("-g", gallery, MMSEARCH_TOKEN="a-token-from-the-environment") as (_, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)  # what is printed ends up in logs
        assert httpx2.get(f"{address}api/gallery", trust_env=False).status_code == 401
        known = {"authorization": "Bearer a-token-from-the-environment"}
        assert httpx2.get(f"{address}api/gallery", headers=known, trust_env=False).json()["images"] == 12


# --- asking it from the command line ----------------------------------------------------------------------------------


@pytest.fixture
def server(gallery: Path) -> Iterator[Running]:
    with running(gallery, encoder=FakeEncoder("fake")) as found:
        yield found


@pytest.mark.parametrize("output", ["table", "jsonl", "csv", "paths", "paths0", "trec"])
def test_a_server_answers_in_every_format_as_the_gallery_does(
    output: str, server: Running, gallery: Path, photos: Path, tmp_path: Path, mmsearch: Command
) -> None:
    (photos / "more" / "red.png").unlink()
    asked = write_picture(tmp_path / "asked.png", "red", seed=5)
    question = ["red", "--and", "black^0.5", "--not", "green", "--image", asked, "--like", photos / "blue.png"]
    more = ["-k", 5, "--where", "path <> 'x'", "--template", "a {} thing", "--distinct", "--format", output]
    own = mmsearch("query", *question, *more, "-g", gallery)
    remote = mmsearch("query", *question, *more, "--server", server.url)
    assert remote == own
    assert remote.out.count("red.png")
    assert "gone since they were embedded" in remote.err


@pytest.mark.parametrize("output", ["jsonl", "trec"])
def test_a_server_answers_many_queries(
    output: str, server: Running, gallery: Path, tmp_path: Path, mmsearch: Command
) -> None:
    (tmp_path / "asked.txt").write_text("".join(f"q{number}\tred {number}\n" for number in range(600)))
    more = ["--from-file", tmp_path / "asked.txt", "--format", output, "-k", 2]
    assert mmsearch("query", *more, "--server", server.url) == mmsearch("query", *more, "-g", gallery)


def test_what_a_server_refuses_is_an_error_of_the_command(
    server: Running, gallery: Path, tmp_path: Path, mmsearch: Command
) -> None:
    (tmp_path / "no.png").write_text("no picture")
    for arguments, message in (
        (["red", "--where", "nonsense"], "there is no column nonsense"),
        (["--like", "no/such.png"], "holds no picture no/such.png"),
        (["--image", tmp_path / "no.png"], "is no picture that can be read: not an image"),
        (["--image", tmp_path / "missing.png"], "cannot read the picture"),
        (["red", "-k", 100_000], "k is 100000; it is at most 10,000"),
    ):
        result = mmsearch("query", *arguments, "--server", server.url)
        assert (result.code, result.out, message in result.err) == (1, "", True), result.err
    for arguments in ["--exact"], ["-g", gallery]:
        assert mmsearch("query", "red", *arguments, "--server", server.url).code == 2


def test_what_is_no_server_is_said_to_be_none(
    mmsearch: Command, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        result = mmsearch("query", "red", "--server", f"http://127.0.0.1:{port}")
        assert (result.code, "Start one: mmsearch serve" in result.err) == (1, True)
        other.listen()
        threading.Thread(target=_answer_once, args=(other,), daemon=True).start()
        result = mmsearch("query", "red", "--server", f"127.0.0.1:{port}")
        assert (result.code, "is no server of mmsearch" in result.err) == (1, True)
    assert "is no address" in mmsearch("query", "red", "--server", "ftp://x").err
    from mmsearch.serve.running import ServeOptions

    with running(gallery, options=ServeOptions(token="a-token-of-some-length")) as guarded:
        result = mmsearch("query", "red", "--server", guarded.url)
        assert (result.code, "MMSEARCH_TOKEN" in result.err) == (1, True)
        assert mmsearch("query", "red", "--server", f"{guarded.url}/?token=a-token-of-some-length").code == 0
        monkeypatch.setenv("MMSEARCH_TOKEN", "a-token-of-some-length")
        assert mmsearch("query", "red", "--server", guarded.url).code == 0


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    connection.close()


def test_a_client_loads_neither_a_model_nor_a_server() -> None:
    heavy = ("torch", "open_clip", "faiss", "duckdb", "fastapi", "pydantic", "uvicorn")
    code = f"import sys, mmsearch.serve.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
