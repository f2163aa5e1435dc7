"""Assigns pieces of work to workers that may end at any moment; each piece counts once, however often it is tried.

The outcome of a piece has to be the same whichever worker does it, and doing a piece twice has to do no harm.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from mmsearch.errors import ClusterError, MmsearchError

__all__ = ["Dispatcher", "FinishedPiece", "LostPiece", "WorkerEvent", "WorkerPool", "WorkerResources"]

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")

_PIECES_HELD = 2  # pieces that a worker holds: one that it does, and one so that it need not wait for the next
_MOST_ENDED_WORKERS = 2  # workers that may end over a piece before it is cut up to find out why
_MOST_ERRORS = 3  # attempts at a piece that may raise before the run ends with the error
_MOST_EARLY_ENDS = 3  # workers that may end before they are ready, one after the other
_MOST_FRUITLESS_ENDS = 10  # workers that may end in a row with no piece done in between, beyond the number of workers
_LATE_FACTOR = 3.0  # a piece is late after so many times the average duration: an idle worker then does it too
_LATE_SECONDS = 20.0  # and not before
_POLL_SECONDS = 1.0  # between two looks at whether there is room for more workers
_SILENT_SECONDS = 30.0  # without any worker, until the user is told


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What a worker may use of its machine."""

    threads: int
    gpu: bool


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that happened to a worker.

    Attributes:
        status: "ready": the worker can take pieces. "done": it did the piece of `token`. "failed": that piece raised.
            "ended": the worker ended. "gone": its machine went away.
        worker: its number.
        value: by status: what the worker says of itself; the outcome; the exception; why it ended, in words.
        token: of the piece; -1 where there is none.
    """

    status: Literal["ready", "done", "failed", "ended", "gone"]
    worker: int
    value: Any
    token: int = -1


class WorkerPool(Protocol):
    """Workers. Each does its pieces in the order in which they were assigned."""

    def start_workers(self) -> Sequence[int]:
        """Start workers wherever there is room for more. Returns the numbers of the new ones."""
        ...

    def assign(self, worker: int, token: int, piece: Any) -> None:
        """Add a piece to the end of a worker's queue."""
        ...

    def wait_for_events(self, seconds: float) -> Sequence[WorkerEvent]:
        """Return the events since the last call; where there are none, wait for one, at most `seconds`."""
        ...

    def stop_worker(self, worker: int) -> None:
        """Stop a worker, whatever it is doing. No more events come from it."""
        ...

    def machine_of(self, worker: int) -> str:
        """The name of a worker's machine, as users know it."""
        ...

    def close(self) -> None:
        """Stop all workers."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedPiece(Generic[Piece, Outcome]):
    """A piece that was done, and the worker that did it."""

    piece: Piece
    outcome: Outcome
    worker: int


@dataclass(frozen=True, slots=True)
class LostPiece(Generic[Piece]):
    """A piece that ended every worker that tried it, and that cannot be split any more."""

    piece: Piece
    reason: str


@dataclass(slots=True, eq=False)
class _TrackedPiece(Generic[Piece]):
    """A piece with its attempts so far.

    Attributes:
        ended_workers: how many workers ended while they did it.
        errors: how many attempts raised.
        handed_over_at: time of the last attempt.
        settled: whether its result is known; later results of other attempts are ignored.
    """

    piece: Piece
    ended_workers: int = 0
    errors: int = 0
    handed_over_at: float = 0.0
    settled: bool = False


@dataclass(slots=True)
class _Assignment(Generic[Piece]):
    """A piece that a worker has."""

    tracked: _TrackedPiece[Piece]
    worker: int
    started_at: float = field(default_factory=time.monotonic)


Result: TypeAlias = FinishedPiece[Piece, Outcome] | LostPiece[Piece]


class Dispatcher(Generic[Piece, Outcome]):
    """Assigns pieces until all are done. Iterating yields the result of each, in the order in which they finish.

    next_piece: given the number of workers, returns the next piece; None when there are no more.
    split_piece: splits a piece into smaller ones; returns the piece alone where it cannot be split.
    on_ready: called with a worker's number and what it says of itself; an error that it raises ends the run.
    fatal_errors: errors that every other worker would raise too.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        next_piece: Callable[[int], Piece | None],
        split_piece: Callable[[Piece], Sequence[Piece]],
        on_ready: Callable[[int, Any], None],
        fatal_errors: tuple[type[Exception], ...] = (),
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pool, self._next_piece, self._split_piece = pool, next_piece, split_piece
        self._on_ready, self._fatal_errors, self._announce = on_ready, fatal_errors, announce
        self._retries: deque[_TrackedPiece[Piece]] = deque()
        self._assignments: dict[int, _Assignment[Piece]] = {}
        self._tokens = itertools.count()
        self._workers: set[int] = set()
        self._ready: set[int] = set()
        self._lost_pieces: list[LostPiece[Piece]] = []
        self._exhausted = False
        self._early_ends = self._fruitless_ends = self._finished = 0
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Result[Piece, Outcome]]:
        waiting_since = time.monotonic()
        while True:
            self._workers.update(self._pool.start_workers())
            self._assign_pieces()
            if self._ready:
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since > _SILENT_SECONDS:
                self._announce("no worker is ready: the cluster has no room, or a model is being fetched and loaded")
                waiting_since = float("inf")
            if self._exhausted and not self._retries and not self._unsettled_assignments():
                yield from self._lost_pieces
                return
            for event in self._pool.wait_for_events(_POLL_SECONDS):
                yield from self._handle_event(event)

    def _unsettled_assignments(self) -> list[_Assignment[Piece]]:
        return [assignment for assignment in self._assignments.values() if not assignment.tracked.settled]

    def _assign_pieces(self) -> None:
        """Give every worker that is ready as many pieces as it may hold: one to each first, then a second one."""
        counts = dict.fromkeys(sorted(self._ready), 0)
        for assignment in self._assignments.values():
            if assignment.worker in counts:
                counts[assignment.worker] += 1
        for held_at_most in range(1, _PIECES_HELD + 1):
            for worker in [worker for worker, count in counts.items() if count < held_at_most]:
                tracked = self._next_tracked(idle=counts[worker] == 0)
                if tracked is None:
                    return
                token = next(self._tokens)
                tracked.handed_over_at = time.monotonic()
                self._assignments[token] = _Assignment(tracked, worker)
                self._pool.assign(worker, token, tracked.piece)
                counts[worker] += 1

    def _next_tracked(self, *, idle: bool) -> _TrackedPiece[Piece] | None:
        while self._retries:
            tracked = self._retries.popleft()
            if not tracked.settled:
                return tracked
        piece = None if self._exhausted else self._next_piece(len(self._ready))
        if piece is not None:
            return _TrackedPiece(piece)
        self._exhausted = True
        return self._find_late_piece() if idle else None

    def _find_late_piece(self) -> _TrackedPiece[Piece] | None:
        """The piece that has been assigned for the longest time, if that is suspiciously long: its worker may hang."""
        patience = max(_LATE_SECONDS, _LATE_FACTOR * self._seconds / max(1, self._finished))
        late_pieces = [
            assignment.tracked
            for assignment in self._unsettled_assignments()
            if time.monotonic() - assignment.tracked.handed_over_at > patience
        ]
        return min(late_pieces, key=lambda tracked: tracked.handed_over_at, default=None)

    def _handle_event(self, event: WorkerEvent) -> Iterator[Result[Piece, Outcome]]:
        if event.worker not in self._workers:
            return
        if event.status == "ready":
            self._on_ready(event.worker, event.value)
            self._ready.add(event.worker)
            self._early_ends = 0
        elif event.status == "done":
            assignment = self._assignments.pop(event.token)
            self._finished += 1
            self._seconds += time.monotonic() - assignment.started_at
            self._fruitless_ends = 0
            # A worker can work, so it was the lost pieces that ended others, not a fault of all workers.
            yield from self._lost_pieces
            self._lost_pieces = []
            if not assignment.tracked.settled:
                assignment.tracked.settled = True
                yield FinishedPiece(assignment.tracked.piece, event.value, event.worker)
        elif event.status == "failed":
            self._handle_error(event)
        else:
            self._handle_ended_worker(event)

    def _handle_error(self, event: WorkerEvent) -> None:
        """Have a piece whose attempt raised tried by another worker: the machine may be at fault."""
        error: Exception = event.value
        assignment = self._assignments.pop(event.token, None)
        machine = self._pool.machine_of(event.worker)
        if assignment is None or isinstance(error, self._fatal_errors):
            raise _add_machine(error, machine)
        if assignment.tracked.settled:
            return
        assignment.tracked.errors += 1
        if assignment.tracked.errors >= _MOST_ERRORS:
            raise _add_machine(error, machine)
        self._announce(f"a worker on {machine} failed; what it was doing is done again ({error})")
        self._retries.appendleft(assignment.tracked)
        if not isinstance(error, MmsearchError):  # a device that broke, say
            self._pool.stop_worker(event.worker)
            self._take_back_pieces(event.worker)

    def _handle_ended_worker(self, event: WorkerEvent) -> None:
        """Take a worker out that ended. The piece that it was doing is suspected, unless its machine went away."""
        was_ready = event.worker in self._ready
        pieces = self._take_back_pieces(event.worker)
        repeated = "what it was doing is done again"
        if event.status == "gone":
            self._announce(f"lost the machine {self._pool.machine_of(event.worker)}; {repeated}")
            return
        self._announce(f"a worker on {self._pool.machine_of(event.worker)} ended; {repeated} ({event.value})")
        if not was_ready:
            self._early_ends += 1
            if self._early_ends >= _MOST_EARLY_ENDS and not self._ready:
                raise ClusterError(f"workers end before they begin; the last one: {event.value}")
            return
        self._fruitless_ends += 1
        if self._fruitless_ends > _MOST_FRUITLESS_ENDS + len(self._ready):
            raise ClusterError(f"workers end whatever they are given; the last one: {event.value}")
        if pieces:
            self._suspect_piece(pieces[0], event)

    def _take_back_pieces(self, worker: int) -> list[_TrackedPiece[Piece]]:
        """Forget a worker and queue its pieces again. Returns them, the one that it was doing first."""
        self._workers.discard(worker)
        self._ready.discard(worker)
        tokens = sorted(token for token, assignment in self._assignments.items() if assignment.worker == worker)
        pieces = [self._assignments.pop(token).tracked for token in tokens]
        pieces = [tracked for tracked in pieces if not tracked.settled]
        for tracked in reversed(pieces):
            if tracked not in self._retries:
                self._retries.appendleft(tracked)
        return pieces

    def _suspect_piece(self, tracked: _TrackedPiece[Piece], event: WorkerEvent) -> None:
        tracked.ended_workers += 1
        if tracked.ended_workers < _MOST_ENDED_WORKERS:
            return
        self._retries.remove(tracked)
        tracked.settled = True
        smaller_pieces = self._split_piece(tracked.piece)
        if len(smaller_pieces) > 1:
            # One of them ended the workers: it is split again as soon as it ends another one.
            self._retries.extend(
                _TrackedPiece(smaller, ended_workers=_MOST_ENDED_WORKERS - 1) for smaller in smaller_pieces
            )
        else:
            self._lost_pieces.append(LostPiece(tracked.piece, str(event.value)))


def _add_machine(error: Exception, machine: str) -> Exception:
    """The error with the name of the machine, where it is one of ours or says that the machine lacks memory or a
    library. Others are bugs: they are returned as they are and keep their tracebacks."""
    if isinstance(error, MmsearchError):
        return type(error)(f"on {machine}: {error}")
    if isinstance(error, (ImportError, MemoryError, OSError)):
        return ClusterError(
            f"on {machine}: a worker cannot work there ({type(error).__name__}: {' '.join(str(error).split())[:300]}). "
            "Its machine has to have the memory and the libraries that are needed here"
        )
    return error
