"""The server: its socket, its start and its end."""

import asyncio
import errno
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from mmsearch.cache import cache_dir
from mmsearch.errors import MmsearchError
from mmsearch.pipeline.query import OpenGallery, open_gallery
from mmsearch.serve.app import make_app
from mmsearch.serve.following import Following
from mmsearch.serve.safety import Access, Guard
from mmsearch.serve.thumbnails import Thumbnails

__all__ = ["ServeOptions", "gallery_app", "serve_gallery"]

_Path = str | os.PathLike[str]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and to whom a gallery is served.

    host, port: where to listen; port 0 takes any that is free. token: what every request must bring; made where it is
    needed and none is given. allow_hosts: names by which others reach the server. thumbnail_bytes: of the cache.
    upload_bytes: the largest body of a request. access_log: a line a request on stderr.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allow_hosts: Sequence[str] = ()
    thumbnail_bytes: int = 1 << 30
    upload_bytes: int = 64 << 20
    access_log: bool = False


def gallery_app(opened: OpenGallery, options: ServeOptions, *, port: int, token: str | None) -> Any:
    """The page and the API of a gallery as an ASGI application."""
    thumbnails = Thumbnails(cache_dir() / "thumbnails", options.thumbnail_bytes)
    hosts = [*options.allow_hosts, options.host]
    access = Access.of(token, hosts, port)
    app = make_app(Following(opened), thumbnails)
    return Guard(app, access, most_bytes=options.upload_bytes, log=options.access_log)


def serve_gallery(
    gallery: _Path | None = None,
    *,
    options: ServeOptions = ServeOptions(),
    encoder: str | None = None,
    device: str = "cpu",
    announce: Callable[[str], None] = lambda _: None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a gallery until Ctrl-C or SIGTERM; requests in flight are finished.

    ready: gets the address, with the token where there is one, when requests are taken.
    Raises GalleryNotFound, GalleryError, MmsearchError (the port is taken).
    """
    opened = open_gallery(gallery, encoder=encoder, device=device, announce=announce)
    token = options.token
    if token is None and options.host not in _LOOPBACK:
        token = secrets.token_urlsafe(24)
    with _listening(options.host, options.port) as (listener, port):
        app = gallery_app(opened, options, port=port, token=token)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=20, lifespan="on"
        )
        server = _Server(config)
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{port}/" + (f"?token={token}" if token else "")
        asyncio.run(server.run_until_stopped(listener, lambda: ready(address)))


class _Server(uvicorn.Server):
    """uvicorn, ended by signals as any other end, not by raising them again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        serving = loop.create_task(self.serve(sockets=[listener]))
        while not self.started and not serving.done():
            await asyncio.sleep(0.01)
        if self.started:
            ready()
        await serving


@contextmanager
def _listening(host: str, port: int) -> Iterator[tuple[socket.socket, int]]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
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
