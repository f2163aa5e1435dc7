"""Queries that arrive together are answered together.

Each thread takes all that wait, up to a bound, and answers them in one go; what arrives meanwhile waits for the next
thread. One query alone waits for nothing. Filters, the search for what is no near-duplicate, and re-rankers have
threads of their own: they may take long.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmsearch.budget import REQUEST
from mmsearch.errors import GalleryError, MmsearchError
from mmsearch.search.chain import answer_queries
from mmsearch.search.followed_gallery import FollowedGallery
from mmsearch.search.query import Query
from mmsearch.serve.instruments import RememberingEncoders, TextMemory, TimedRetriever
from mmsearch.serve.messages import answer_json
from mmsearch.serve.metrics import Metrics
from mmsearch.serve.pools import TooBusy, TooSlow

__all__ = ["QueryThreads"]

_MOST_TOGETHER = 32
_SLOW_THREADS = 2
_MOST_WAITING = 2_000
_TRIES = 3  # on ever newer versions, where one loses its files


@dataclass(frozen=True, slots=True)
class _WaitingQuery:
    """A query and the place for its answer, a JSON object."""

    query: Query
    answer: "asyncio.Future[bytes]"
    since: float = field(default_factory=time.perf_counter)


class QueryThreads:
    """Threads that answer queries."""

    def __init__(self, followed: FollowedGallery, metrics: Metrics, threads: int) -> None:
        self._followed, self._metrics = followed, metrics
        self._memory = TextMemory()
        self._quick: queue.SimpleQueue[_WaitingQuery | None] = queue.SimpleQueue()
        self._slow: queue.SimpleQueue[_WaitingQuery | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=each, name="asking", daemon=True)
            for each in [(self._quick, _MOST_TOGETHER)] * threads + [(self._slow, 1)] * _SLOW_THREADS
        ]
        self._since: dict[threading.Thread, float] = {}
        for thread in self._threads:
            thread.start()

    async def ask(self, queries: Sequence[Query]) -> list[bytes | MmsearchError]:
        """The answers as JSON objects, in the order of the queries. Raises TooBusy, TooSlow."""
        if self._quick.qsize() + self._slow.qsize() + len(queries) > _MOST_WAITING:
            raise TooBusy
        loop = asyncio.get_running_loop()
        waiting = [_WaitingQuery(query, loop.create_future()) for query in queries]
        for each in waiting:
            query = each.query
            may_take_long = any(value is not None for value in (query.where, query.near, query.distinct, query.rerank))
            may_take_long |= query.per_video == "mean"
            (self._slow if may_take_long else self._quick).put(each)
        answers: list[bytes | MmsearchError] = []
        try:
            async with asyncio.timeout(REQUEST.seconds):
                for each in waiting:
                    try:
                        answers.append(await each.answer)
                    except MmsearchError as error:
                        answers.append(error)
        except TimeoutError:
            raise TooSlow(f"it took longer than {REQUEST.seconds:g} s") from None
        finally:
            for each in waiting:  # what has not begun does not begin
                each.answer.cancel()
        return answers

    def close(self) -> None:
        """End the threads when what waits is answered."""
        for _thread in self._threads[:-_SLOW_THREADS]:
            self._quick.put(None)
        for _thread in self._threads[-_SLOW_THREADS:]:
            self._slow.put(None)

    @property
    def problem(self) -> str | None:
        """Why queries are not answered; None where they are: a lane of threads is at work on the same for too long."""
        late = time.monotonic() - REQUEST.seconds
        for name, lane in (("queries", self._threads[:-_SLOW_THREADS]), ("filters", self._threads[-_SLOW_THREADS:])):
            if all(not thread.is_alive() or self._since.get(thread, late + 1) < late for thread in lane):
                return f"no thread is left that answers {name}"
        return None

    def _work(self, waiting: "queue.SimpleQueue[_WaitingQuery | None]", most: int) -> None:
        while (first := waiting.get()) is not None:
            batch = [first]
            while len(batch) < most:
                try:
                    other = waiting.get_nowait()
                except queue.Empty:
                    break
                if other is None:
                    waiting.put(None)
                    break
                batch.append(other)
            self._since[threading.current_thread()] = time.monotonic()
            # Of those who have left, nobody waits.
            self._answer([each for each in batch if not each.answer.cancelled()])
            self._since.pop(threading.current_thread(), None)

    def _answer(self, batch: Sequence[_WaitingQuery]) -> None:
        self._metrics.batch.observe(len(batch))
        try:
            answers = self._answers([each.query for each in batch])
        except MmsearchError as error:
            answers = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            if len(batch) > 1:  # but not to those beside it
                for each in batch:
                    self._answer([each])
                return
            self._settle(batch[0], error)
            return
        for each, answer in zip(batch, answers, strict=True):
            self._settle(each, answer)

    def _answers(self, queries: Sequence[Query]) -> list[bytes | MmsearchError]:
        for left in reversed(range(_TRIES)):
            opened = self._followed.newest()
            encoders = RememberingEncoders(opened.encoders, self._memory, self._metrics)
            retriever = TimedRetriever(opened.retriever, self._metrics)
            try:
                results = answer_queries(
                    queries,
                    opened.gallery,
                    encoders,
                    retriever,
                    rerankers=opened.rerankers,
                    stages=opened.stages,
                )
            except GalleryError:
                if left and self._followed.newest() is not opened:
                    continue  # a file went between the finding of a row and the reading of it
                raise
            return [each if isinstance(each, MmsearchError) else answer_json(each, opened.gallery) for each in results]
        raise AssertionError("the last try returns or raises")

    def _settle(self, waiting: _WaitingQuery, answer: bytes | Exception) -> None:
        outcome = "answered" if isinstance(answer, bytes) else type(answer).__name__
        self._metrics.queries.labels(waiting.query.table, outcome).inc()
        self._metrics.query_seconds.observe(time.perf_counter() - waiting.since)
        with contextlib.suppress(RuntimeError):  # the loop has ended: so has whoever asked
            waiting.answer.get_loop().call_soon_threadsafe(_give, waiting.answer, answer)


def _give(future: "asyncio.Future[bytes]", answer: bytes | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, bytes):
        future.set_result(answer)
    else:
        future.set_exception(answer)
