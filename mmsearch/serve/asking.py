"""Queries that arrive together are answered together.

Each thread takes all that wait, up to a bound, and answers them in one go; what arrives meanwhile waits for the next
thread. One query alone waits for nothing. Filters run in a thread of their own: they may take long.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from mmsearch.errors import MmsearchError
from mmsearch.pipeline.answers import Answer
from mmsearch.pipeline.questions import Query
from mmsearch.serve.following import Following

__all__ = ["Answered", "Asking", "TooBusy"]

_MOST_TOGETHER = 32
_MOST_WAITING = 2_000


class TooBusy(Exception):
    """So many queries are waiting that another would wait too long."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a query. version: of the gallery that answered."""

    result: Answer | MmsearchError
    version: int


_Waiting = tuple[Query, "asyncio.Future[Answered]"]


class Asking:
    """Threads that answer queries."""

    def __init__(self, following: Following, threads: int) -> None:
        self._following = following
        self._quick: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._slow: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._threads = [
            *(
                threading.Thread(target=self._work, args=(self._quick, _MOST_TOGETHER), daemon=True)
                for _ in range(threads)
            ),
            threading.Thread(target=self._work, args=(self._slow, 1), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def ask(self, queries: Sequence[Query]) -> list[Answered]:
        """The answers, in the order of the queries. Raises TooBusy."""
        if self._quick.qsize() + self._slow.qsize() > _MOST_WAITING:
            raise TooBusy
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answered]] = [loop.create_future() for _ in queries]
        for query, future in zip(queries, futures, strict=True):
            (self._slow if query.where is not None else self._quick).put((query, future))
        return await asyncio.gather(*futures)

    def close(self) -> None:
        """End the threads when what waits is answered."""
        for _thread in self._threads[:-1]:
            self._quick.put(None)
        self._slow.put(None)

    def _work(self, waiting: "queue.SimpleQueue[_Waiting | None]", most: int) -> None:
        while (first := waiting.get()) is not None:
            together = [first]
            while len(together) < most:
                try:
                    other = waiting.get_nowait()
                except queue.Empty:
                    break
                if other is None:
                    waiting.put(None)
                    break
                together.append(other)
            self._answer([pair for pair in together if not pair[1].cancelled()])

    def _answer(self, together: Sequence[_Waiting]) -> None:
        try:
            opened = self._following.newest()
            results = opened.ask_all([query for query, _ in together])
            version = opened.gallery.manifest.version
            answers: list[Answered] = [Answered(result, version) for result in results]
        except MmsearchError as error:
            answers = [Answered(error, -1) for _ in together]
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            for _, future in together:
                future.get_loop().call_soon_threadsafe(_fail, future, error)
            return
        for (_, future), answer in zip(together, answers, strict=True):
            future.get_loop().call_soon_threadsafe(_finish, future, answer)


def _finish(future: "asyncio.Future[Answered]", answer: Answered) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: "asyncio.Future[Answered]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
