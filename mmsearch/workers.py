"""Threads that can be given up on.

`concurrent.futures` waits for each of its threads, when a pool is closed and again when Python ends: a decoder that
never returns would keep the program for ever. These threads are daemons, and one that hangs is replaced."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self, TypeVar

__all__ = ["Overdue", "Workers"]

_Result = TypeVar("_Result")


class Overdue(Exception):
    """A task ran longer than it may; its thread is waited for no longer."""


class Workers:
    """`count` threads that take tasks in the order in which they were submitted. A context manager."""

    def __init__(self, count: int, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._started: dict[Future[Any], float] = {}
        self._threads: list[threading.Thread] = []
        self._given_up: set[Future[Any]] = set()
        self._current: dict[int, Future[Any]] = {}  # by the thread that does it
        self.add(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the tasks that have not been started. The threads end after their current tasks; none is waited for."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task[0].cancel()
        for _thread in self._threads:
            self._tasks.put(None)

    def add(self, count: int) -> None:
        """Start `count` more threads."""
        for _ in range(count):
            self._add_thread()

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> "Future[_Result]":
        """Have `function(*arguments)` run by the next free thread."""
        future: Future[_Result] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def result(self, future: "Future[_Result]", seconds: float) -> _Result:
        """Wait for a task; return or raise what it did. Raises Overdue where it has been running for longer than
        `seconds`: then its thread is given up, and a new one takes its place."""
        while True:
            try:
                return future.result(timeout=self.left(future, seconds))
            except TimeoutError:
                if future.done():  # its own, or it came just now
                    return future.result()

    def left(self, future: "Future[Any]", seconds: float) -> float:
        """How many seconds a task still has: all of them while it waits for a thread. Raises Overdue, see `result`."""
        started = self._started.get(future)
        if started is None or future.done():
            return seconds
        left = started + seconds - time.monotonic()
        if left <= 0:
            self._given_up.add(future)
            self._add_thread()
            raise Overdue
        return left

    def begin_anew(self) -> None:
        """Called by a task that does several things: the time that it may take counts from now on."""
        if (future := self._current.get(threading.get_ident())) is not None:
            self._started[future] = time.monotonic()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            self._started[future] = time.monotonic()
            self._current[threading.get_ident()] = future
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            self._started.pop(future, None)
            self._current.pop(threading.get_ident(), None)
            if future in self._given_up:
                return
            del task, future, function, arguments  # what they hold is not kept until the next one comes
