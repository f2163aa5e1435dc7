"""A server in a thread of this process, over a gallery of the fake encoder; asked over a real socket."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from os import PathLike
from typing import Any

import httpx2
import uvicorn

from mmsearch.serve.running import ServeOptions, gallery_app, server_config
from tests.fakes import FakeEncoder


@dataclass(frozen=True)
class Running:
    """A server that runs. client: does not follow redirects."""

    url: str
    port: int
    client: httpx2.Client

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.client.get(path, **more)

    def post(self, path: str, json: object = None, **more: Any) -> httpx2.Response:
        if json is not None:  # as ASCII: what is no text is to reach the server
            more = {"content": dumps(json), "headers": {"content-type": "application/json"}} | more
        return self.client.post(path, **more)

    def ask(self, text: str = "red", **more: object) -> dict[str, Any]:
        """The answer to a text."""
        response = self.post("/api/query", {"parts": [{"text": text}], **more})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def error(self, body: object, status: int = 422) -> str:
        """What a query is refused with."""
        response = self.post("/api/query", body)
        assert response.status_code == status, response.text
        return str(response.json()["error"])


def talk(server: Running, *sent: bytes, pause: float = 0.0) -> bytes:
    """What comes back from a connection until it is closed, be it before all was sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for data in sent:
                connection.sendall(data)
                time.sleep(pause)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                received += data
        return received


@contextmanager
def running(gallery: str | PathLike[str], *, options: ServeOptions | None = None, **opening: Any) -> Iterator[Running]:
    """Serve a gallery until the block ends."""
    opening = {"encoder": FakeEncoder()} | opening
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(server_config(gallery_app(gallery, options=options or ServeOptions(), **opening)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
                yield Running(f"http://127.0.0.1:{port}", port, client)
        finally:
            server.should_exit = True
            thread.join()
