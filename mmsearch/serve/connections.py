"""Connections that do not wait for ever for a request, nor take one of any length."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_BYTES", "BoundedProtocol"]

_HEAD_SECONDS = 10.0
HEAD_BYTES = 64 << 10
"""Of the head of a request: its first line and its headers."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which reads the head of a request for as long and as far as it is sent. Whoever sends a byte
    a minute, or headers without an end, is cut off here."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        went_on = self._in_head  # else a body may stand before the head in what came
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._head_came()
        if self._in_head or not answering:
            self._head_bytes += len(data) if went_on or not answering else 0
        if self._head_bytes > HEAD_BYTES:
            self.transport.abort()
        elif answering:
            return
        elif self._deadline is None and not self.transport.is_closing():
            self._await_head()

    def on_message_begin(self) -> None:
        self._head_bytes, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes, self._in_head = 0, False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
