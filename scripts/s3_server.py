"""An S3 server on loopback (moto), and a proxy before it that is slow, fails, and counts, as a test wants it.

Used by tests and by scripts/bench_store.py.
"""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["CREDENTIALS", "Proxy", "s3_server"]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not/a/real/secret/but/must/never/show",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_START_SECONDS = 60
_HOP_BY_HOP = ("transfer-encoding", "connection")


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a fresh, empty server, for as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **CREDENTIALS}) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


class Proxy:
    """Hands requests on to `server`. A context manager.

    seconds: how long each waits first. fault: told the method and the path of each; answers None to hand it on, a
    status to answer with instead, "drop" to close the connection, or "lose" to hand it on and close without an answer.
    without: a header that it does not hand on, as servers do that do not know it. requests: how many came, by method.
    most_at_once: how many of them were under way together.
    """

    def __init__(
        self,
        server: str,
        *,
        seconds: float = 0.0,
        fault: Callable[[str, str], int | str | None] = lambda _method, _path: None,
        without: str = "",
    ) -> None:
        self.seconds, self.fault, self._without = seconds, fault, without.lower()
        self.requests: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._counting = threading.Lock()
        self._server = urlsplit(server)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                with proxy._counting:
                    proxy.requests[self.command] += 1
                    proxy.at_once += 1
                    proxy.most_at_once = max(proxy.most_at_once, proxy.at_once)
                try:
                    self._passed_on()
                finally:
                    with proxy._counting:
                        proxy.at_once -= 1

            def _passed_on(self) -> None:
                body = self._body()
                if proxy.seconds:
                    time.sleep(proxy.seconds)
                fault = proxy.fault(self.command, self.path)
                if fault == "drop":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    self._answer(fault, {}, b"")
                    return
                status, headers, data = self._forwarded(body)
                if fault == "lose":
                    self.close_connection = True
                    return
                self._answer(status, headers, data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - as http.server has it

            def _body(self) -> bytes:
                if "100-continue" in self.headers.get("Expect", ""):
                    self.send_response_only(100)
                    self.end_headers()
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _forwarded(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(proxy._server.hostname or "", proxy._server.port)
                left_out = ("expect", proxy._without)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                return answer.status, dict(answer.getheaders()), data

            def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
                self.send_response_only(status)
                kept = {name.lower(): value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
                if self.command != "HEAD":
                    kept["content-length"] = str(len(data))
                for name, value in kept.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
