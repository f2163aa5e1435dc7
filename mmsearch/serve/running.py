"""The server: its socket, its start and its end."""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from mmsearch.budget import REQUEST
from mmsearch.cache import writable_cache
from mmsearch.errors import MmsearchError
from mmsearch.locations import expanded
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.serve.app import MakeDoor, make_app
from mmsearch.serve.connections import BoundedProtocol
from mmsearch.serve.safety import Access, Guard
from mmsearch.serve.service import Service
from mmsearch.stores import read_whole

__all__ = ["LOOPBACK", "ServeOptions", "gallery_app", "read_token", "serve_gallery", "server_config"]

_Path = str | os.PathLike[str]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""
_SHORTEST_TOKEN = 16
_MOST_TOKEN_BYTES = 1 << 16
_MOST_CONNECTIONS = 512
_IDLE_SECONDS = 15
_END_SECONDS = 4  # for what is in flight when the server is stopped
_LAST_SECONDS = 8  # after which it ends whatever is at work


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and to whom a gallery is served.

    host, port: where to listen; port 0 takes any that is free. token: what every request must bring; for any address
    but those of loopback one is needed, and made where none is given. allow_hosts: names by which others reach the
    server. hold_bytes: of the gallery that may stay in memory. thumbnail_bytes: of their cache on the disk.
    upload_bytes: the largest picture that is taken. access_log: a line a request on stderr. rerank: the re-ranker that
    queries may name; "" for none.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allow_hosts: Sequence[str] = ()
    hold_bytes: int = 2 << 30
    thumbnail_bytes: int = 1 << 30
    upload_bytes: int = 32 << 20
    access_log: bool = False
    rerank: str = ""


def gallery_app(
    gallery: _Path | None = None,
    *,
    options: ServeOptions = ServeOptions(),
    doors: Mapping[str, MakeDoor] | None = None,
    **opening: Any,
) -> ASGIApp:
    """The page and the API as an ASGI application, for a server of your own. options: host, port are those it will be
    reached by. doors: other ways to the gallery, by their path, behind the same checks:
    `{"/mcp": mmsearch.agents.http.HttpDoor}`. opening: as `open_gallery` takes it. Raises GalleryNotFound,
    GalleryError."""
    return _app(_opened(gallery, options, **opening), options, options.port, doors)[0]


def serve_gallery(
    gallery: _Path | None = None,
    *,
    options: ServeOptions = ServeOptions(),
    encoder: str | None = None,
    device: str = "cpu",
    doors: Mapping[str, MakeDoor] | None = None,
    announce: Callable[[str], None] = lambda _: None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a gallery until Ctrl-C or SIGTERM; requests in flight are finished.

    encoder, device: of queries, as for `open_gallery`. doors: as for `gallery_app`. ready: gets the address when
    requests are taken: with the token where one was made, which is said nowhere else, and without one that was given,
    which whoever gave it has.
    Raises GalleryNotFound, GalleryError, MmsearchError (the port is taken).
    """
    made = options.token is None and options.host not in LOOPBACK
    if made:
        options = replace(options, token=secrets.token_urlsafe(24))
    opened = _opened(gallery, options, encoder=encoder, device=device, announce=announce)
    with _listening(options.host, options.port) as (listener, port):
        app, service = _app(opened, options, port, doors)
        service.warm_up()
        if service.text_problem is not None:
            announce(f"warning: texts cannot be asked, pictures of the gallery can: {service.text_problem}")
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{port}/" + (f"?token={options.token}" if made else "")
        server = _Server(server_config(app))
        asyncio.run(server.run_until_stopped(listener, lambda: ready(address)))
        server.ended()


def read_token(file: _Path) -> str:
    """The token in a file, without the white space around it. Raises MmsearchError."""
    try:
        return read_whole(expanded(file), _MOST_TOKEN_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is no text"
        raise MmsearchError(f"cannot read the token {file}: {reason}") from error


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves the application: bounded in connections and time, trusting no proxy's word."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
    )


def _opened(gallery: _Path | None, options: ServeOptions, **opening: Any) -> OpenGallery:
    opened = open_gallery(
        gallery,
        hold=options.hold_bytes,
        filter_seconds=REQUEST.filter_seconds,
        rerank_only=options.rerank,
        **opening,
    )
    if options.rerank:  # what is wrong with it is said before anybody asks
        opened.rerankers.reranker(options.rerank)
    return opened


def _app(
    opened: OpenGallery, options: ServeOptions, port: int, doors: Mapping[str, MakeDoor] | None
) -> tuple[ASGIApp, Service]:
    if options.token is None and options.host not in LOOPBACK:
        raise MmsearchError(
            f"{options.host} is an address that others reach: they would see every picture. Give a token, which each "
            "request must bring (--token, MMSEARCH_TOKEN), or stay on this machine: --host 127.0.0.1"
        )
    if options.token is not None and len(options.token) < _SHORTEST_TOKEN:
        raise MmsearchError(f"the token has fewer than {_SHORTEST_TOKEN} characters; a short one can be guessed")
    if options.token is not None and not re.fullmatch(r"[\w.~+/=-]+", options.token, re.ASCII):
        raise MmsearchError("the token holds characters that no header may; use letters, digits and . _ ~ + / = -")
    service = Service(
        opened,
        threads=min(4, os.cpu_count() or 1),
        thumbnails=writable_cache("thumbnails"),
        thumbnail_bytes=options.thumbnail_bytes,
        upload_bytes=options.upload_bytes,
        keeps=options.host in LOOPBACK and not options.allow_hosts,  # what is kept is nobody else's business
    )

    def count(method: str, status: int) -> None:
        service.metrics.requests.labels(method, str(status)).inc()

    access = Access.of(options.token, [*options.allow_hosts, options.host], port)
    guard = Guard(
        make_app(service, doors), access, upload_bytes=options.upload_bytes, count=count, log=options.access_log
    )
    return guard, service


class _Server(uvicorn.Server):
    """uvicorn, ended by signals as any other end, not by raising them again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._last: list[threading.Timer] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def _end(self, number: int) -> None:
        """A second Ctrl-C does not wait for what is in flight; nothing keeps the process for long."""
        last = threading.Timer(_LAST_SECONDS, os._exit, [1])
        last.daemon = True
        last.start()
        self._last.append(last)
        self.handle_exit(number, None)

    async def run_until_stopped(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows' loops take no handlers
                loop.add_signal_handler(number, self._end, number)
        serving = loop.create_task(self.serve(sockets=[listener]))
        while not self.started and not serving.done():
            await asyncio.sleep(0.01)
        if self.started:
            ready()
        await serving

    def ended(self) -> None:
        """The process may go on."""
        for last in self._last:
            last.cancel()


@contextmanager
def _listening(host: str, port: int) -> Iterator[tuple[socket.socket, int]]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol has to be named: asyncio sends small packets at once (TCP_NODELAY) only where it is, and else the end
    # of each answer waits 40 ms for the client's acknowledgement of its beginning.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise MmsearchError(
                    f"port {port} of {host} is in use; is a server running already? Take any free one: --port 0"
                ) from error
            raise MmsearchError(
                f"cannot listen at {host} port {port}: {(error.strerror or str(error)).lower()}"
            ) from error
        yield listener, listener.getsockname()[1]
