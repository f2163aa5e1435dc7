"""Threads for work that must not hold up the event loop, none of which may take for ever."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mmsearch.workers import Overdue, Workers

__all__ = ["Pool", "TooBusy", "TooSlow"]

_T = TypeVar("_T")
_STUCK_SECONDS = 20.0  # that work waits for a thread
_MOST_LOST = 8  # threads that were given up on and work on


class TooBusy(Exception):
    """So much is waiting that more would wait too long."""


class TooSlow(Exception):
    """A piece of work took longer than it may."""


class Pool:
    """`threads` threads. seconds: how long each piece of work may run. most_waiting: how many may wait for a thread."""

    def __init__(self, threads: int, name: str, *, seconds: float, most_waiting: int = 1_000) -> None:
        self._workers = Workers(threads, name)
        self._seconds, self._most = seconds, threads + most_waiting
        self._name = name
        self._inside = self._lost = 0
        self._waiting: dict[Future[Any], float] = {}

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """What `work(*arguments)` returns or raises. Raises TooBusy, TooSlow."""
        if self._inside >= self._most or self._lost >= _MOST_LOST:
            raise TooBusy
        self._inside += 1
        future = self._workers.submit(work, *arguments)
        self._waiting[future] = time.monotonic()
        try:
            return await self._result(future)
        finally:
            self._inside -= 1
            self._waiting.pop(future, None)

    @property
    def problem(self) -> str | None:
        """Why no work is done here; None where it is."""
        if self._lost >= _MOST_LOST:
            return f"all threads for {self._name} are lost to work that does not end"
        late = time.monotonic() - max(self._seconds, _STUCK_SECONDS)
        if any(since < late and not future.running() for future, since in self._waiting.items()):
            return f"no thread is free for {self._name}"
        return None

    def close(self) -> None:
        """Drop what waits; what runs ends with the process."""
        self._workers.__exit__()

    async def _result(self, future: "Future[_T]") -> _T:
        loop = asyncio.get_running_loop()
        waiting = asyncio.wrap_future(future)
        while not future.done():
            try:
                left = self._workers.left(future, self._seconds)
            except Overdue:
                self._lost += 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._found))
                waiting.cancel()
                raise TooSlow(f"it took longer than {self._seconds:g} s") from None
            await asyncio.wait({waiting}, timeout=left)
        return await waiting

    def _found(self) -> None:
        self._lost -= 1
