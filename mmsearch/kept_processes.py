"""Processes that wait for their next request: to start one takes longer than most requests do."""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

__all__ = ["KeptProcess", "KeptProcesses"]


class KeptProcess(Protocol):
    """A process that answers requests, one at a time."""

    @property
    def is_free(self) -> bool:
        """Whether it is there, has answered all that it was asked, and may be asked again."""

    def end(self) -> None:
        """End it."""


_Process = TypeVar("_Process", bound=KeptProcess)


class KeptProcesses(Generic[_Process]):
    """Processes of one sort; those that nobody uses, one a core at most, are kept until this program ends."""

    def __init__(self, start: Callable[[], _Process]) -> None:
        self._start = start
        self._idle: list[_Process] = []
        self._used = 0
        self._lock = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.end)

    @contextmanager
    def one(self) -> Iterator[_Process]:
        """A process to be asked by this thread alone. It is ended where it is not free when the block ends."""
        with self._lock:
            if self._owner != os.getpid():  # a fork: they are its parent's
                self._idle, self._used, self._owner = [], 0, os.getpid()
            process = self._take_idle()
            self._used += 1
        try:
            process = process or self._start()
            yield process
        finally:
            with self._lock:
                self._used -= 1
                is_kept = process is not None and process.is_free and len(self._idle) < (os.cpu_count() or 1)
                if is_kept and process is not None:
                    self._idle.append(process)
            if process is not None and not is_kept:
                process.end()

    def _take_idle(self) -> _Process | None:
        """One that waits; those that something ended meanwhile are forgotten."""
        while self._idle:
            process = self._idle.pop()
            if process.is_free:
                return process
            process.end()
        return None

    @property
    def used(self) -> int:
        """How many are being asked now."""
        return self._used

    def end(self) -> None:
        """End all that wait."""
        with self._lock:
            for process in self._idle if self._owner == os.getpid() else ():
                process.end()
            self._idle = []
