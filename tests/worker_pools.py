"""A pool of workers in this process that can be made to fail in all the ways in which those of a cluster do."""

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import pytest

from mmsearch.cluster import WorkerEvent, WorkerResources, dispatcher
from mmsearch.cluster import ray as ray_module
from mmsearch.embedding import pieces

Fault: TypeAlias = Literal["ended", "gone", "hangs"] | Exception | None
"""None: the piece is done. "ended", "gone": its worker, or its machine, is no more. "hangs": the worker stands."""


class _Stuck(deque[tuple[int, bytes]]):
    """What a worker that hangs is given: nobody will ever do it."""

    def __bool__(self) -> bool:
        return False


class PretendedWorkerPool:
    """As `RayWorkerPool`. What goes to a worker and comes from it is pickled; the youngest worker is always first."""

    size: ClassVar[int] = 3
    fault: ClassVar[Callable[[int, Any], Fault]]
    make_another: ClassVar[Callable[[Any, int], Any]]
    last: ClassVar["PretendedWorkerPool"]

    def __init__(self, address: str | None, make: Any, **_: Any) -> None:
        self.address, self._make = address, make
        self._workers: dict[int, Any] = {}
        self._queues: dict[int, deque[tuple[int, bytes]]] = {}
        self._events: deque[WorkerEvent] = deque()
        self._started = 0
        self._shared = pickle.dumps(None)
        self.shared = self.ended = self.done = 0
        self.closed = False
        PretendedWorkerPool.last = self

    def share(self, value: Any) -> None:
        self._shared = pickle.dumps(value)
        self.shared += 1

    def start_workers(self) -> Sequence[int]:
        new = []
        while len(self._workers) < self.size:
            number, self._started = self._started, self._started + 1
            new.append(number)
            self._queues[number] = deque()
            try:
                make = pickle.loads(pickle.dumps(type(self).make_another(self._make, number)))
                self._workers[number] = make(WorkerResources(threads=1, gpu=False))
            except Exception as error:  # noqa: BLE001 - it is what is reported
                self._workers[number] = None
                self._events.append(WorkerEvent("failed", number, error))
            else:
                self._events.append(WorkerEvent("ready", number, self._workers[number].info))
        return new

    def assign(self, worker: int, token: int, piece: Any) -> None:
        self._queues[worker].append((token, pickle.dumps(piece)))

    def wait_for_events(self, seconds: float) -> Sequence[WorkerEvent]:
        if self._events:
            return [self._events.popleft()]
        for worker in sorted(self._queues, reverse=True):
            if self._queues[worker]:
                token, piece = self._queues[worker].popleft()
                return self._do(worker, token, pickle.loads(piece))
        return []

    def _do(self, worker: int, token: int, piece: Any) -> Sequence[WorkerEvent]:
        fault = type(self).fault(worker, piece)
        if fault in ("ended", "gone"):
            self.ended += 1
            self.stop_worker(worker)
            return [WorkerEvent(fault, worker, "killed by signal 11")]
        if fault == "hangs":
            self._queues[worker] = _Stuck()
            return []
        try:
            outcome = self._workers[worker](piece, pickle.loads(self._shared))
            if isinstance(fault, Exception):  # after its shard was written
                raise fault
        except Exception as error:  # noqa: BLE001 - it is what is reported
            return [WorkerEvent("failed", worker, error, token)]
        self.done += 1
        return [WorkerEvent("done", worker, pickle.loads(pickle.dumps(outcome)), token)]

    def stop_worker(self, worker: int) -> None:
        self._workers.pop(worker)
        self._queues.pop(worker)

    def machine_of(self, worker: int) -> str:
        return f"node{worker}"

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def worker_pool(monkeypatch: pytest.MonkeyPatch) -> type[PretendedWorkerPool]:
    """Three pretended workers in the place of Ray's, and pieces of a few files."""
    monkeypatch.setattr(PretendedWorkerPool, "size", 3)
    monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(lambda worker, piece: None), raising=False)
    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(lambda make, worker: make), raising=False)
    monkeypatch.setattr(ray_module, "RayWorkerPool", PretendedWorkerPool)
    monkeypatch.setattr(dispatcher, "_LATE_SECONDS", 1e9)  # of a test on a busy machine nothing is late
    monkeypatch.setattr(pieces, "_FIRST", 4)
    monkeypatch.setattr(pieces, "_LEAST", 2)
    monkeypatch.setattr(pieces, "_SECONDS", 1e-9)
    return PretendedWorkerPool
