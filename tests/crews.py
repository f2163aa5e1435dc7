"""A crew in this process, whose workers can be made to fail in all the ways in which those of a cluster do."""

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import pytest

from mmsearch.cluster import Happened, Share, dispatch
from mmsearch.cluster import ray as ray_module
from mmsearch.embedding import pieces

Fault: TypeAlias = Literal["ended", "gone", "hangs"] | Exception | None
"""None: the piece is done. "ended", "gone": its worker, or its machine, is no more. "hangs": the worker stands."""


class _Stuck(deque[tuple[int, bytes]]):
    """What a worker that hangs is given: nobody will ever do it."""

    def __bool__(self) -> bool:
        return False


class PretendedCrew:
    """As `RayCrew`. What goes to a worker and comes from it is pickled; the youngest worker is always first."""

    size: ClassVar[int] = 3
    fault: ClassVar[Callable[[int, Any], Fault]]
    make_another: ClassVar[Callable[[Any, int], Any]]
    last: ClassVar["PretendedCrew"]

    def __init__(self, address: str | None, make: Any, **_: Any) -> None:
        self.address, self._make = address, make
        self._workers: dict[int, Any] = {}
        self._queues: dict[int, deque[tuple[int, bytes]]] = {}
        self._news: deque[Happened] = deque()
        self._hired = 0
        self._shared = pickle.dumps(None)
        self.shared = self.ended = self.done = 0
        self.closed = False
        PretendedCrew.last = self

    def share(self, value: Any) -> None:
        self._shared = pickle.dumps(value)
        self.shared += 1

    def hire(self) -> Sequence[int]:
        new = []
        while len(self._workers) < self.size:
            number, self._hired = self._hired, self._hired + 1
            new.append(number)
            self._queues[number] = deque()
            try:
                make = pickle.loads(pickle.dumps(type(self).make_another(self._make, number)))
                self._workers[number] = make(Share(threads=1, gpu=False))
            except Exception as error:  # noqa: BLE001 - it is what is reported
                self._workers[number] = None
                self._news.append(Happened("failed", number, error))
            else:
                self._news.append(Happened("ready", number, self._workers[number].introduction))
        return new

    def hand(self, worker: int, token: int, piece: Any) -> None:
        self._queues[worker].append((token, pickle.dumps(piece)))

    def happened(self, seconds: float) -> Sequence[Happened]:
        if self._news:
            return [self._news.popleft()]
        for worker in sorted(self._queues, reverse=True):
            if self._queues[worker]:
                token, piece = self._queues[worker].popleft()
                return self._do(worker, token, pickle.loads(piece))
        return []

    def _do(self, worker: int, token: int, piece: Any) -> Sequence[Happened]:
        fault = type(self).fault(worker, piece)
        if fault in ("ended", "gone"):
            self.ended += 1
            self.dismiss(worker)
            return [Happened(fault, worker, "killed by signal 11")]
        if fault == "hangs":
            self._queues[worker] = _Stuck()
            return []
        try:
            outcome = self._workers[worker](piece, pickle.loads(self._shared))
            if isinstance(fault, Exception):  # after its shard was written
                raise fault
        except Exception as error:  # noqa: BLE001 - it is what is reported
            return [Happened("failed", worker, error, token)]
        self.done += 1
        return [Happened("done", worker, pickle.loads(pickle.dumps(outcome)), token)]

    def dismiss(self, worker: int) -> None:
        self._workers.pop(worker)
        self._queues.pop(worker)

    def where(self, worker: int) -> str:
        return f"node{worker}"

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> type[PretendedCrew]:
    """Three pretended workers in the place of Ray's, and pieces of a few files."""
    monkeypatch.setattr(PretendedCrew, "size", 3)
    monkeypatch.setattr(PretendedCrew, "fault", staticmethod(lambda worker, piece: None), raising=False)
    monkeypatch.setattr(PretendedCrew, "make_another", staticmethod(lambda make, worker: make), raising=False)
    monkeypatch.setattr(ray_module, "RayCrew", PretendedCrew)
    monkeypatch.setattr(dispatch, "_LATE_SECONDS", 1e9)  # of a test on a busy machine nothing is late
    monkeypatch.setattr(pieces, "_FIRST", 4)
    monkeypatch.setattr(pieces, "_LEAST", 2)
    monkeypatch.setattr(pieces, "_SECONDS", 1e-9)
    return PretendedCrew
