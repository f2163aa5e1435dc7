"""Who may ask, and how much: everything that is decided before a request reaches its route."""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.budget import REQUEST
from mmsearch.serve.connections import HEAD_BYTES

__all__ = ["Access", "Guard"]

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
# The page holds nothing of the gallery, and asks for the token where it is wanted.
_OPEN = {"/", "/health"}
_PAGE = "/static/"
_UPLOADS = "/api/pictures"
_DRAINED_BYTES = 256 << 20
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
# Where a body is not read to its end, the connection cannot be used again.
_CLOSE = {"connection": "close"}
# Of two, one program believes the first and another the last.
_ONCE = {"host", "content-length", "content-type", "transfer-encoding", "authorization", "origin"}
_DIGITS = 20  # of a length: more would take long to read as a number
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_BODY_SECONDS = 30.0
_SEND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. token: what every request must bring; None for loopback. hosts: names that the server goes by.

    cookie: under which name a browser keeps the token; cookies do not tell ports apart, so the name does.
    """

    token: str | None
    hosts: frozenset[str]
    cookie: str

    @classmethod
    def of(cls, token: str | None, hosts: Iterable[str], port: int) -> "Access":
        """hosts: beside those of loopback, and beside every literal address where there is a token."""
        return cls(token, frozenset({*_LOOPBACK, *(host.lower() for host in hosts)}), f"mmsearch_{port}")

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server: another name means that somebody's DNS leads here."""
        host = re.sub(r":\d*$", "", header.strip().lower())
        if host in self.hosts:
            return True
        return self.token is not None and _is_address(host)

    def kept(self, token: str) -> str:
        """The cookie with which a browser keeps the token."""
        return f"{self.cookie}={token}; HttpOnly; SameSite=Strict; Path=/"

    def admits(self, given: str | None) -> bool:
        """Whether this is the token. Takes as long for every wrong one."""
        if self.token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, access: Access, *, upload_bytes: int, count: Callable[[str, int], None], log: bool = False
    ) -> None:
        """count: gets the method and the status of each answer. log: a line on stderr for each."""
        self._app, self._access, self._upload_bytes, self._count, self._log = app, access, upload_bytes, count, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        answer = _Sending(send, bodies=scope["method"] != "HEAD")
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _drained(receive)
                await refusal(answer)
            else:
                asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(asked, _Receiving(receive, self._most_bytes(scope)), answer)
        except _Left:
            pass
        except Exception:  # noqa: BLE001 - a bug is this server's, and no concern of who asks
            traceback.print_exc(file=sys.stderr)
        finally:
            self._count(scope["method"] if scope["method"] in _METHODS else "other", answer.status)
            if self._log:
                # Without the query, in which a token may stand.
                took = (time.perf_counter() - started) * 1e3
                method, path = (text.encode("unicode_escape").decode() for text in (scope["method"], scope["path"]))
                print(f"mmsearch: {method} {path} {answer.status} {took:.1f} ms", file=sys.stderr, flush=True)

    def _most_bytes(self, scope: Scope) -> int:
        return self._upload_bytes if scope["path"] == _UPLOADS else REQUEST.body_bytes

    def _refusal(self, scope: Scope) -> "_Response | None":
        """What to answer instead of the application; None where it may answer."""
        head_bytes = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if head_bytes + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES:
            return _error(431, f"the head of the request has more than {HEAD_BYTES:,} bytes")
        names = [name.decode("latin-1") for name, _ in scope["headers"]]
        if twice := sorted(name for name in _ONCE if names.count(name) > 1):
            return _error(400, f"the header {twice[0]} stands there more than once")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if "host" not in headers:
            return _error(400, "the request has no Host header")
        if not self._access.knows_host(headers["host"]):
            return _error(421, "the Host header names no address of this server; allow a name with --allow-host NAME")
        if (problem := _cross_site(scope, headers)) is not None:
            return _error(403, problem)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _DIGITS or int(length) > (most := self._most_bytes(scope)):
            return _error(413, f"the body has {length[:_DIGITS]} bytes; at most {most:,} are read")
        return self._stranger(scope, headers)

    def _stranger(self, scope: Scope, headers: Mapping[str, str]) -> "_Response | None":
        if self._access.token is None:
            return None
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(asked).get("token")
        if scope["path"] == "/" and given is not None and self._access.admits(given):
            rest = urlencode([pair for pair in asked if pair[0] != "token"])
            location = f"/?{rest}" if rest else "/"
            return _Response(303, b"", {"location": location, "set-cookie": self._access.kept(given)})
        if scope["path"] in _OPEN or scope["path"].startswith(_PAGE):
            return None
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._access.admits(bearer.strip()):
            if scope["path"] == "/api/session" and scope["method"] == "POST":
                return _Response(204, b"", {"set-cookie": self._access.kept(bearer.strip())})
            return None
        if self._access.admits(_cookie(headers.get("cookie", ""), self._access.cookie)):
            return None
        return _error(
            401,
            "this server wants its token: open the address that `mmsearch serve` printed, or send the header "
            "Authorization: Bearer TOKEN",
            {"www-authenticate": "Bearer"},
        )


def _cross_site(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """Why a request is none of this server's own page, as far as a browser says; None where it may be."""
    site = headers.get("sec-fetch-site", "none")
    visit = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    if site not in ("none", "same-origin") and not (visit and headers.get("sec-fetch-dest") == "document"):
        return "a page of another site asks, which this server does not answer"
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{headers.get('host')}", f"https://{headers.get('host')}"):
        return "the Origin header names another site, which this server does not answer"
    return None


def _cookie(header: str, name: str) -> str | None:
    try:
        cookie = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class _Left(Exception):
    """The client does not take the answer."""


class _Receiving:
    """A body of bounded size and time. Raises HTTPException, which the application answers."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive, self._most, self._left = receive, most_bytes, most_bytes
        self._until: float | None = None
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # then it waits for the client to leave, for which there is no limit
            return await self._receive()
        if self._until is None:  # from here on: before, the client may have had to wait for its turn
            self._until = time.monotonic() + _BODY_SECONDS
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {_BODY_SECONDS:g} seconds", _CLOSE) from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            if not self._whole:
                await _drained(self._receive)
            raise HTTPException(413, f"the body has more than {self._most:,} bytes", _CLOSE)
        return message


async def _drained(receive: Receive) -> None:
    """Take the rest of a body and throw it away, within bounds: who is cut off while sending never sees the answer."""
    left, until = _DRAINED_BYTES, time.monotonic() + _BODY_SECONDS
    with contextlib.suppress(TimeoutError):
        while left > 0:
            message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


class _Sending:
    """A response with the headers that every one has, to a client that takes it."""

    def __init__(self, send: Send, *, bodies: bool) -> None:
        """bodies: whether they are sent; the answer to HEAD is that to GET without its body."""
        self._send, self._bodies = send, bodies
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            more = {"cache-control": "no-store", **_HEADERS}
            message["headers"] = [
                *message["headers"],
                *((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in present),
            ]
        elif not self._bodies:
            message = {**message, "body": b""}
        try:
            await asyncio.wait_for(self._send(message), _SEND_SECONDS)
        except TimeoutError:
            raise _Left from None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    headers: Mapping[str, str]

    async def __call__(self, send: Any) -> None:
        headers = {**self.headers, "content-length": str(len(self.body))}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        await send({"type": "http.response.body", "body": self.body})


def _error(status: int, what: str, headers: Mapping[str, str] | None = None) -> _Response:
    body = json.dumps({"error": what}).encode()
    return _Response(status, body, {"content-type": "application/json", **_CLOSE, **(headers or {})})
