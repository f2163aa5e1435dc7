"""Pieces of work dealt out to workers that may end at any moment; each piece counts once, however often it is tried.

What a piece comes to has to be the same whoever does it, and do no harm when it is done twice.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from mmsearch.errors import ClusterError, MmsearchError

__all__ = ["Crew", "Dispatch", "Done", "Happened", "Lost", "Share"]

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")

_QUEUED = 2  # pieces that a worker holds: one that it does, and one so that it need not wait for the next
_TRIES = 2  # workers that may end over a piece before it is cut up to find out why
_ERRORS = 3  # attempts that may raise before the error is everybody's
_STILLBORN = 3  # workers that may end before they have begun, one after the other
_FRUITLESS = 10  # workers that may end, beside one of each that there is, with nothing done in between
_LATE = 3.0  # times the average that a piece may take before an idle worker does it too
_LATE_SECONDS = 20.0
_POLL = 1.0  # seconds between two looks at whether there is room for more workers
_SILENCE = 30.0  # seconds without any worker, until that is said


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker has of its machine."""

    threads: int
    gpu: bool


@dataclass(frozen=True, slots=True)
class Happened:
    """News of a worker. what: it is ready, and `value` is how it introduced itself; it did the piece of `token`, and
    `value` is the outcome; that failed, with an exception; it ended, and `value` says why; or its machine went away.
    """

    what: Literal["ready", "done", "failed", "ended", "gone"]
    worker: int
    value: Any
    token: int = -1


class Crew(Protocol):
    """Workers, each doing one piece after the other in the order in which they are handed over."""

    def hire(self) -> Sequence[int]:
        """Start workers wherever there is room for more; the numbers of those that are new."""
        ...

    def hand(self, worker: int, token: int, piece: Any) -> None:
        """Have a worker do a piece after those that it has."""
        ...

    def happened(self, seconds: float) -> Sequence[Happened]:
        """What happened since, waiting at most so long for something to happen."""
        ...

    def dismiss(self, worker: int) -> None:
        """Stop a worker, whatever it does. Nothing more is heard of it."""
        ...

    def where(self, worker: int) -> str:
        """The machine that a worker is on, for people."""
        ...

    def close(self) -> None:
        """Stop all of them."""
        ...


@dataclass(frozen=True, slots=True)
class Done(Generic[Piece, Outcome]):
    """A piece that was done. worker: by whom."""

    piece: Piece
    outcome: Outcome
    worker: int


@dataclass(frozen=True, slots=True)
class Lost(Generic[Piece]):
    """A piece that cannot be cut any more and ended every worker that tried it."""

    piece: Piece
    reason: str


@dataclass(slots=True, eq=False)
class _Attempted(Generic[Piece]):
    piece: Piece
    ended: int = 0
    errors: int = 0
    handed: float = 0.0
    settled: bool = False


@dataclass(slots=True)
class _Given(Generic[Piece]):
    """A piece in the hands of a worker."""

    attempted: _Attempted[Piece]
    worker: int
    since: float = field(default_factory=time.monotonic)


Result: TypeAlias = Done[Piece, Outcome] | Lost[Piece]


class Dispatch(Generic[Piece, Outcome]):
    """Deals pieces out until all are done, and hands over what each comes to, in whatever order they finish.

    cut: the next piece for one of so many workers; None when all are cut. split: a piece in smaller ones; itself alone
    where that cannot be. ready: told a worker's introduction; what it raises ends the run. fatal: errors of a worker
    that no other worker would not have.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        cut: Callable[[int], Piece | None],
        split: Callable[[Piece], Sequence[Piece]],
        ready: Callable[[int, Any], None],
        fatal: tuple[type[Exception], ...] = (),
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._crew, self._cut, self._split = crew, cut, split
        self._on_ready, self._fatal, self._announce = ready, fatal, announce
        self._again: deque[_Attempted[Piece]] = deque()
        self._given: dict[int, _Given[Piece]] = {}
        self._tokens = itertools.count()
        self._workers: set[int] = set()
        self._ready: set[int] = set()
        self._condemned: list[Lost[Piece]] = []
        self._exhausted = False
        self._stillborn = self._fruitless = self._finished = 0
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Result[Piece, Outcome]]:
        waiting_since = time.monotonic()
        while True:
            self._workers.update(self._crew.hire())
            self._deal()
            if self._ready:
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since > _SILENCE:
                self._announce("no worker is ready: the cluster has no room, or a model is being fetched and loaded")
                waiting_since = float("inf")
            if self._exhausted and not self._again and not self._open():
                yield from self._condemned
                return
            for event in self._crew.happened(_POLL):
                yield from self._take(event)

    def _open(self) -> list[_Given[Piece]]:
        return [given for given in self._given.values() if not given.attempted.settled]

    def _deal(self) -> None:
        """Give every worker that is ready as many pieces as it may hold; first one to each, then the next."""
        holding = dict.fromkeys(sorted(self._ready), 0)
        for given in self._given.values():
            if given.worker in holding:
                holding[given.worker] += 1
        for most in range(1, _QUEUED + 1):
            for worker in [worker for worker, held in holding.items() if held < most]:
                attempted = self._next(idle=holding[worker] == 0)
                if attempted is None:
                    return
                token = next(self._tokens)
                attempted.handed = time.monotonic()
                self._given[token] = _Given(attempted, worker)
                self._crew.hand(worker, token, attempted.piece)
                holding[worker] += 1

    def _next(self, *, idle: bool) -> _Attempted[Piece] | None:
        while self._again:
            attempted = self._again.popleft()
            if not attempted.settled:
                return attempted
        piece = None if self._exhausted else self._cut(len(self._ready))
        if piece is not None:
            return _Attempted(piece)
        self._exhausted = True
        return self._late() if idle else None

    def _late(self) -> _Attempted[Piece] | None:
        """The oldest piece that takes suspiciously long: whoever has it may hang."""
        patience = max(_LATE_SECONDS, _LATE * self._seconds / max(1, self._finished))
        late = [each.attempted for each in self._open() if time.monotonic() - each.attempted.handed > patience]
        return min(late, key=lambda attempted: attempted.handed, default=None)

    def _take(self, event: Happened) -> Iterator[Result[Piece, Outcome]]:
        if event.worker not in self._workers:
            return
        if event.what == "ready":
            self._on_ready(event.worker, event.value)
            self._ready.add(event.worker)
            self._stillborn = 0
        elif event.what == "done":
            given = self._given.pop(event.token)
            self._finished += 1
            self._seconds += time.monotonic() - given.since
            self._fruitless = 0
            # Somebody can work: it was those pieces, and not the workers.
            yield from self._condemned
            self._condemned = []
            if not given.attempted.settled:
                given.attempted.settled = True
                yield Done(given.attempted.piece, event.value, event.worker)
        elif event.what == "failed":
            self._failed(event)
        else:
            self._without(event)

    def _failed(self, event: Happened) -> None:
        """An attempt raised: perhaps that machine's fault, so that another one tries."""
        error: Exception = event.value
        given = self._given.pop(event.token, None)
        where = self._crew.where(event.worker)
        if given is None or isinstance(error, self._fatal):
            raise _located(error, where)
        if given.attempted.settled:
            return
        given.attempted.errors += 1
        if given.attempted.errors >= _ERRORS:
            raise _located(error, where)
        self._announce(f"a worker on {where} failed; what it was doing is done again ({error})")
        self._again.appendleft(given.attempted)
        if not isinstance(error, MmsearchError):  # a device that broke, say
            self._crew.dismiss(event.worker)
            self._forget(event.worker)

    def _without(self, event: Happened) -> None:
        """A worker is no more. What it was doing is under suspicion, unless its machine went away."""
        was_ready = event.worker in self._ready
        held = self._forget(event.worker)
        again = "what it was doing is done again"
        if event.what == "gone":
            self._announce(f"lost the machine {self._crew.where(event.worker)}; {again}")
            return
        self._announce(f"a worker on {self._crew.where(event.worker)} ended; {again} ({event.value})")
        if not was_ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN and not self._ready:
                raise ClusterError(f"workers end before they begin; the last one: {event.value}")
            return
        self._fruitless += 1
        if self._fruitless > _FRUITLESS + len(self._ready):
            raise ClusterError(f"workers end whatever they are given; the last one: {event.value}")
        if held:
            self._suspect(held[0], event)

    def _forget(self, worker: int) -> list[_Attempted[Piece]]:
        """Take back all that a worker held, the one that it was doing first."""
        self._workers.discard(worker)
        self._ready.discard(worker)
        tokens = sorted(token for token, given in self._given.items() if given.worker == worker)
        held = [self._given.pop(token).attempted for token in tokens]
        held = [attempted for attempted in held if not attempted.settled]
        for attempted in reversed(held):
            if attempted not in self._again:
                self._again.appendleft(attempted)
        return held

    def _suspect(self, attempted: _Attempted[Piece], event: Happened) -> None:
        attempted.ended += 1
        if attempted.ended < _TRIES:
            return
        self._again.remove(attempted)
        attempted.settled = True
        parts = self._split(attempted.piece)
        if len(parts) > 1:
            # One of them did it: that one is cut again when it ends a worker once more.
            self._again.extend(_Attempted(part, ended=_TRIES - 1) for part in parts)
        else:
            self._condemned.append(Lost(attempted.piece, str(event.value)))


def _located(error: Exception, where: str) -> Exception:
    """An error of ours, or of a machine that lacks memory or a library, with where it came from; others are bugs and
    keep their tracebacks."""
    if isinstance(error, MmsearchError):
        return type(error)(f"on {where}: {error}")
    if isinstance(error, (ImportError, MemoryError, OSError)):
        return ClusterError(
            f"on {where}: a worker cannot work there ({type(error).__name__}: {' '.join(str(error).split())[:300]}). "
            "Its machine has to have the memory and the libraries that are needed here"
        )
    return error
