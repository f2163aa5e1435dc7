"""Tools over HTTP, as an ASGI application for the path of a server that is there already and decides who may ask.

Each request is answered by itself, by JSON: there are no sessions to keep and no streams to hold open, which the
protocol leaves to the server.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mmsearch.agents.extra import HOW_TO_INSTALL, is_installed
from mmsearch.budget import REQUEST
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["HttpDoor"]

_Message = MutableMapping[str, Any]
_Run = Callable[[Callable[[], Any]], Awaitable[Any]]


class HttpDoor:
    """The application, to be entered (`async with`) while it is served.

    The SDK is loaded with the first request: most who look at their pictures in a browser have no agent.
    """

    def __init__(self, newest: Callable[[], OpenGallery], run: _Run) -> None:
        """newest: gives the newest version of the gallery. run: has work done beside the event loop; what it raises of
        its own is an MmsearchError."""
        self._newest, self._run = newest, run
        self._manager: asyncio.Future[Any] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def __aenter__(self) -> "HttpDoor":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed.set()
        if self._serving is not None:
            await self._serving

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        if not is_installed():
            await _refuse(send, 501, HOW_TO_INSTALL)
        elif scope["method"] != "POST":
            await _refuse(send, 405, "agents ask by POST; there are no streams to open and no sessions to end", "POST")
        else:
            manager = await asyncio.shield(self._started())
            await manager.handle_request(scope, receive, send)

    def _started(self) -> "asyncio.Future[Any]":
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._serving = asyncio.create_task(self._serve(self._manager))
        return self._manager

    async def _serve(self, started: "asyncio.Future[Any]") -> None:
        try:
            manager = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            self._manager = None
            started.set_exception(error)
            return
        async with manager.run():
            started.set_result(manager)
            await self._closed.wait()

    def _load(self) -> Any:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from mmsearch.agents.gallery_tools import GalleryTools
        from mmsearch.agents.protocol import make_server

        server = make_server(GalleryTools(self._newest), self._run)
        return StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=REQUEST.body_bytes
        )


async def _refuse(send: Callable[[Any], Awaitable[None]], status: int, message: str, allow: str | None = None) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
